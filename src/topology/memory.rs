//! What a live cluster has handed out so far, so that a change leaves alone what it does not mean.
//!
//! A cluster is computed anew from its files and edits at every command. A pod that was there before keeps its node
//! and, as far as the mode's addressing still has it, its address; who comes later gets what a real IPAM would give
//! after all that happened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::service::{Service, ServicePort};
use crate::plan::Family;

/// Nodes and addresses that are given, and in which order addresses came back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The pods by `namespace/name`.
    pub pods: BTreeMap<String, Kept>,
    /// Addresses of Calico's tunnel devices, by `node/device`.
    pub tunnels: BTreeMap<String, IpAddr>,
    /// Calico's blocks with their nodes, in the order in which they were claimed.
    pub blocks: Vec<(IpNet, String)>,
    /// Addresses that were in use and are no more, in the order in which they came back.
    pub released: Vec<IpAddr>,
    /// The address that host-local gave last, by node.
    pub last_reserved: BTreeMap<String, Ipv4Addr>,
    /// The IPv6 address that host-local gave last, by node.
    pub last_reserved6: BTreeMap<String, Ipv6Addr>,
    /// The Services by `namespace/name`.
    pub services: BTreeMap<String, KeptService>,
}

/// What a Service was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptService {
    /// Its cluster addresses.
    pub addresses: Vec<IpAddr>,
    /// Its node ports, by the port's name and protocol (`http/TCP`) and by its number and protocol (`#80/TCP`).
    pub node_ports: BTreeMap<String, u16>,
    /// The node port of its health check.
    pub health_check: Option<u16>,
}

impl KeptService {
    /// What this Service has.
    pub fn of(service: &Service) -> KeptService {
        let given = |key: fn(&ServicePort) -> String| {
            service.ports.iter().filter_map(move |port| Some((key(port), port.node_port?)))
        };
        KeptService {
            addresses: service.cluster_ips.clone(),
            node_ports: given(KeptService::by_name).chain(given(KeptService::by_number)).collect(),
            health_check: service.health_check_node_port,
        }
    }

    fn by_name(port: &ServicePort) -> String {
        format!("{}/{}", port.name, port.protocol.name())
    }

    fn by_number(port: &ServicePort) -> String {
        format!("#{}/{}", port.port, port.protocol.name())
    }

    /// The node port that a port had. kubectl merges what is applied into the port of the same number, which keeps its node
    /// port under another name; the API server gives it to the port of the same name.
    pub(super) fn node_port(&self, port: &ServicePort) -> Option<u16> {
        let of = |key: String| self.node_ports.get(&key).copied();
        of(KeptService::by_number(port)).or_else(|| of(KeptService::by_name(port)))
    }
}

/// What a pod has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its node.
    pub node: String,
    /// Its address; none without a network of its own.
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address, if it has one.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
}

impl Kept {
    /// Its address of this family.
    pub fn address_in(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Inet => self.address.map(IpAddr::from),
            Family::Inet6 => self.address6.map(IpAddr::from),
        }
    }
}

impl Memory {
    /// This memory after `before`: what `before` had and this has not came back last.
    pub fn after(mut self, before: &Memory) -> Memory {
        let now: BTreeSet<IpAddr> = self.addresses().into_iter().collect();
        let returned = before.addresses().into_iter().filter(|address| !now.contains(address));
        self.released = before.released.iter().copied().filter(|address| !now.contains(address)).collect();
        for address in returned {
            self.released.retain(|earlier| *earlier != address);
            self.released.push(address);
        }
        for (node, last) in &before.last_reserved {
            self.last_reserved.entry(node.clone()).or_insert(*last);
        }
        for (node, last) in &before.last_reserved6 {
            self.last_reserved6.entry(node.clone()).or_insert(*last);
        }
        self
    }

    /// Forgets a pod, by `namespace/name`: its addresses came back last.
    pub fn forget(&mut self, pod: &str) {
        let Some(kept) = self.pods.remove(pod) else { return };
        let returned: Vec<IpAddr> = Family::BOTH.into_iter().filter_map(|family| kept.address_in(family)).collect();
        self.released.retain(|earlier| !returned.contains(earlier));
        self.released.extend(returned);
    }

    /// Every address that a pod or a tunnel has.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let of = |kept: &Kept| Family::BOTH.map(|family| kept.address_in(family));
        let pods = self.pods.values().flat_map(of).flatten();
        pods.chain(self.tunnels.values().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(pods: &[(&str, u8)]) -> Memory {
        let kept = |last: u8| Kept { node: "n".into(), address: Some([10, 0, 0, last].into()), address6: None };
        Memory { pods: pods.iter().map(|(name, last)| (name.to_string(), kept(*last))).collect(), ..Memory::default() }
    }

    #[test]
    fn addresses_come_back_in_order_and_leave_when_they_are_given_again() {
        let first = memory(&[("a", 1), ("b", 2), ("c", 3)]);
        let second = memory(&[("a", 1), ("c", 3)]).after(&first);
        assert_eq!(second.released, [IpAddr::from([10, 0, 0, 2])]);
        let third = memory(&[("c", 3), ("d", 2)]).after(&second);
        assert_eq!(third.released, [IpAddr::from([10, 0, 0, 1])]);
        let mut fourth = memory(&[]).after(&third);
        assert_eq!(fourth.released, [1, 3, 2].map(|last| IpAddr::from([10, 0, 0, last])));
        fourth.pods = memory(&[("a", 9)]).pods;
        fourth.forget("a");
        fourth.forget("nobody");
        assert_eq!((fourth.pods.len(), fourth.released.last()), (0, Some(&IpAddr::from([10, 0, 0, 9]))));
    }
}
