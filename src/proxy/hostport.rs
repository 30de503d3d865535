//! Ports of a node that lead to a pod (`hostPort`): by the CNI portmap plugin, and by kubelet where it runs kubenet.
//!
//! Sources: containernetworking/plugins plugins/meta/portmap (v1); kubernetes pkg/kubelet/dockershim/network/hostport
//! (1.20). Both make names from ids of containers, which are random; here they are hashes of the pod's name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use sha2::{Digest, Sha512};

use super::iptables::MARK_MASQ;
use super::names;
use super::overlay::{Jump, Overlay, Place};
use super::rules::{Chains, jump, local, port, rule, source, to};
use crate::plan::Family;
use crate::plan::netfilter::{Match, Side, TableName, Target};
use crate::topology::ServiceProtocol;

/// A pod with ports of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its address of one family, with its prefix length.
    pub address: IpNet,
    /// The node's device that leads to it.
    pub device: String,
    /// The ports, in the order in which the containers declare them.
    pub ports: Vec<Mapping>,
}

/// A port of a node that leads to a pod's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its protocol.
    pub protocol: ServiceProtocol,
    /// The node's port.
    pub host_port: u16,
    /// The one address of the node that takes it; if that is unspecified, all of its family.
    pub host_ip: Option<IpAddr>,
    /// The pod's port.
    pub container_port: u16,
}

/// The mark for connections that the portmap plugin masquerades (bit 13).
const PORTMAP_MARK: u32 = 1 << 13;

/// Ports of one `multiport` match.
const MULTIPORT_MAX: usize = 15;

impl Published {
    /// The id of its sandbox.
    fn id(&self, cluster: &str) -> String {
        crate::names::sandbox(cluster, &format!("{}/{}", self.namespace, self.pod))
    }

    /// Those of its ports that an address of its family may take.
    fn of_family(&self) -> impl DoubleEndedIterator<Item = &Mapping> {
        let v6 = self.address.addr().is_ipv6();
        self.ports.iter().filter(move |mapping| mapping.host_ip.is_none_or(|ip| ip.is_ipv6() == v6))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A jump to what is for the node itself, at the end of a chain of the nat table.
fn portal(from: &str, comment: &str, chain: &str) -> Jump {
    let rule = rule(comment, vec![local(Side::Dst, false)], jump(chain));
    Jump { table: TableName::Nat, from: from.to_owned(), rule, place: Place::Tail }
}

/// What the portmap plugin of the CNI network `network` leaves for these pods of a node, whose addresses are all of one
/// family. With IPv6 it does nothing for connections from the node's own ::1: nothing leaves a host from there.
pub fn portmap(cluster: &str, network: &str, pods: &[Published]) -> Overlay {
    const DNAT: &str = "CNI-HOSTPORT-DNAT";
    const SET_MARK: &str = "CNI-HOSTPORT-SETMARK";
    const MASQ: &str = "CNI-HOSTPORT-MASQ";
    if pods.is_empty() {
        return Overlay::default();
    }
    let mut nat = Chains::default();
    nat.add(
        SET_MARK,
        rule("CNI portfwd masquerade mark", Vec::new(), Target::SetMark { value: PORTMAP_MARK, mask: PORTMAP_MARK }),
    );
    let marked = Match::Mark { value: PORTMAP_MARK, mask: PORTMAP_MARK, invert: false };
    nat.add(MASQ, rule("", vec![marked], Target::Masquerade { random_fully: false }));
    for pod in pods {
        let id = pod.id(cluster);
        let mut chain = format!("CNI-DN-{}", hex(&Sha512::digest(format!("{network}{id}"))));
        chain.truncate(28);
        let mut comment = format!("dnat name: \"{network}\" id: \"{id}\"");
        comment.truncate(255);
        for protocol in ServiceProtocol::ALL {
            let of_protocol = pod.ports.iter().filter(|mapping| mapping.protocol == protocol);
            let numbers: Vec<(u16, u16)> = of_protocol.map(|m| (m.host_port, m.host_port)).collect();
            for ports in numbers.chunks(MULTIPORT_MAX) {
                let matches = vec![
                    Match::Protocol { number: protocol.number() },
                    Match::DestinationPorts { ports: ports.to_vec() },
                ];
                nat.add(DNAT, rule(&comment, matches, jump(&chain)));
            }
        }
        for mapping in pod.of_family() {
            portmap_rules(&mut nat, &chain, pod, mapping, SET_MARK);
        }
    }
    let masquerade = rule("CNI portfwd requiring masquerade", Vec::new(), jump(MASQ));
    let mut jumps = vec![portal("PREROUTING", "", DNAT), portal("OUTPUT", "", DNAT)];
    jumps.push(super::iptables::head(TableName::Nat, "POSTROUTING", masquerade));
    let chains = nat.into_chains().into_iter().map(|chain| (TableName::Nat, chain)).collect();
    Overlay { chains, jumps }
}

/// The pod's own packets and those of 127.0.0.1 are marked, then all are translated.
fn portmap_rules(nat: &mut Chains, chain: &str, pod: &Published, mapping: &Mapping, set_mark: &str) {
    let matches = || -> Vec<Match> {
        let host_ip = mapping.host_ip.filter(|ip| !ip.is_unspecified()).map(to);
        host_ip.into_iter().chain(port(mapping.protocol.number(), mapping.host_port)).collect()
    };
    let from = |net: IpNet| source(net, false).into_iter().chain(matches()).collect();
    nat.add(chain, rule("", from(pod.address.trunc()), jump(set_mark)));
    if pod.address.addr().is_ipv4() {
        nat.add(chain, rule("", from(IpAddr::from(Ipv4Addr::LOCALHOST).into()), jump(set_mark)));
    }
    let to = SocketAddr::new(pod.address.addr(), mapping.container_port);
    nat.add(chain, rule("", matches(), Target::Dnat { to }));
}

/// The chain of a host port of kubelet's: `id` is the sandbox's.
fn kubelet_chain(id: &str, mapping: &Mapping) -> String {
    format!("KUBE-HP-{}", names::hash(&format!("{id}{}{}", mapping.host_port, mapping.protocol.name()), 16))
}

/// What kubelet leaves for these pods of a node, the newest first.
pub fn kubelet(cluster: &str, pods: &[Published]) -> Overlay {
    const PORTS: &str = "KUBE-HOSTPORTS";
    let Some(first) = pods.first() else { return Overlay::default() };
    let mut nat = Chains::default();
    nat.declare(PORTS);
    for pod in pods.iter().rev() {
        let id = pod.id(cluster);
        for mapping in pod.of_family().rev() {
            let chain = kubelet_chain(&id, mapping);
            let comment = format!("{}_{} hostport {}", pod.pod, pod.namespace, mapping.host_port);
            let protocol = mapping.protocol.number();
            nat.add(PORTS, rule(&comment, port(protocol, mapping.host_port).into(), jump(&chain)));
            let own = source(pod.address.addr().into(), false).into_iter().collect();
            nat.add(&chain, rule(&comment, own, jump(MARK_MASQ)));
            let to = SocketAddr::new(pod.address.addr(), mapping.container_port);
            let matches = vec![Match::Protocol { number: protocol }, Match::Transport { protocol, port: None }];
            nat.add(&chain, rule(&comment, matches, Target::Dnat { to }));
        }
    }
    let back = vec![
        Match::OutInterface { name: first.device.clone() },
        Match::Source { net: Family::Inet.loopback(), invert: false },
    ];
    let masquerade = rule("SNAT for localhost access to hostports", back, Target::Masquerade { random_fully: false });
    let mut jumps = ["OUTPUT", "PREROUTING"].map(|from| portal(from, "kube hostport portals", PORTS)).to_vec();
    jumps.push(Jump { table: TableName::Nat, from: "POSTROUTING".to_owned(), rule: masquerade, place: Place::Tail });
    let chains = nat.into_chains().into_iter().map(|chain| (TableName::Nat, chain)).collect();
    Overlay { chains, jumps }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_chains_have_the_names_of_its_own_tests() {
        use ServiceProtocol::{Sctp, Tcp, Udp};
        for (protocol, host_port, expected) in [
            (Tcp, 8080, "IJHALPHTORMHHPPK"),
            (Udp, 8081, "63UPIDJXVRSZGSUZ"),
            (Sctp, 8083, "XU6AWMMJYOZOFTFZ"),
            (Tcp, 8443, "WFBOALXEP42XEMJK"),
        ] {
            let mapping = Mapping { protocol, host_port, host_ip: None, container_port: 80 };
            assert_eq!(kubelet_chain("id", &mapping), format!("KUBE-HP-{expected}"));
        }
    }
}
