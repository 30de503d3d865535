//! Virtual servers, the real servers behind them, and the addresses of the dummy device.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::plan::ipvs::{Key, RealServer, VirtualServer};
use crate::proxy::Target;
use crate::proxy::iptables;
use crate::proxy::view::{PortView, View};

/// With which every real server is given its share.
const WEIGHT: u32 = 1;

/// The virtual servers of one family: for each port of a Service those of its cluster address, its external ones, those of
/// load balancers, and the node's port at each of the node's addresses. Of two with the same address and port the later
/// one counts, as with kube-proxy, whose order is random.
pub fn servers(view: &View) -> Vec<VirtualServer> {
    let nodes = node_addresses(view);
    let mut order: Vec<Key> = Vec::new();
    let mut all: BTreeMap<Key, VirtualServer> = BTreeMap::new();
    for port in &view.ports {
        let (number, internal, external) = (port.port.port, inside(view, port), outside(view, port));
        let mut at: Vec<(IpAddr, u16, &[RealServer])> = vec![(port.cluster_ip, number, &internal)];
        at.extend(port.external_ips.iter().chain(&port.ingress).map(|ip| (*ip, number, external.as_slice())));
        if let Some(node_port) = port.port.node_port {
            at.extend(nodes.iter().map(|ip| (*ip, node_port, external.as_slice())));
        }
        for (address, number, real) in at {
            let key = Key { address, protocol: port.protocol().number(), port: number };
            if all.insert(key, server(view, port, key, real)).is_none() {
                order.push(key);
            }
        }
    }
    order.into_iter().filter_map(|key| all.remove(&key)).collect()
}

fn server(view: &View, port: &PortView, at: Key, servers: &[RealServer]) -> VirtualServer {
    let scheduler = view.config.ipvs.scheduler.clone();
    VirtualServer {
        at,
        // `mh` came with the flag for the source's port in 1.27.
        by_source_port: scheduler == "mh" && view.config.minor >= 27,
        scheduler,
        persistence: port.service.affinity,
        servers: servers.to_vec(),
    }
}

/// The real servers for what comes to the cluster's address.
fn inside(view: &View, port: &PortView) -> Vec<RealServer> {
    // `internalTrafficPolicy` is used from 1.22 on.
    real(view, port, port.internal_local() && view.config.minor >= 22)
}

/// Those for what comes to any other address.
fn outside(view: &View, port: &PortView) -> Vec<RealServer> {
    real(view, port, port.external_local())
}

fn real(view: &View, port: &PortView, stays: bool) -> Vec<RealServer> {
    let chosen: Vec<&Target> = match view.config.minor {
        ..=23 => {
            // 1.22 and 1.23 take endpoints of other nodes away where traffic inside must stay, but for what has a policy
            // of its own for outside.
            let near_only = view.config.minor >= 22 && port.internal_local() && !port.external_local();
            let wanted = |target: &&Target| target.ready && (target.local || !(stays || near_only));
            port.endpoints.iter().filter(wanted).collect()
        }
        _ => {
            let found = port.reachable(view);
            // Without an endpoint here those elsewhere serve at least the node's own pods.
            if stays && !found.local.is_empty() { found.local } else { found.cluster }
        }
    };
    chosen.into_iter().map(|target| RealServer { to: target.to, weight: WEIGHT }).collect()
}

/// The addresses of the dummy device, each once.
pub fn addresses(view: &View) -> Vec<IpAddr> {
    // Before 1.27 also those that another device of the node has.
    let elsewhere = |ip: &IpAddr| view.config.minor >= 27 && view.host.addresses.contains(ip);
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for port in &view.ports {
        let others = port.external_ips.iter().chain(&port.ingress).copied().filter(|ip| !elsewhere(ip));
        all.extend(std::iter::once(port.cluster_ip).chain(others).filter(|ip| seen.insert(*ip)));
    }
    all
}

/// The node's addresses that have servers for node ports: those of the chosen prefixes, or all of them. From 1.22 on
/// loopback is none, which never worked. 1.23 to 1.26 leave out of all those what they find on the dummy device, also where
/// another device has it too (kubernetes issue 114815).
pub(super) fn node_addresses(view: &View) -> Vec<IpAddr> {
    let minor = view.config.minor;
    let bound = if (23..=26).contains(&minor) { addresses(view) } else { Vec::new() };
    let own = || view.host.addresses.iter().copied().filter(|ip| view.family.has(ip) && !bound.contains(ip));
    let chosen = iptables::node_port_addresses(view).unwrap_or_else(|| own().collect());
    let of_link = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let mut seen = BTreeSet::new();
    let fit = |ip: &IpAddr| !of_link(ip) && (minor <= 21 || !ip.is_loopback());
    chosen.into_iter().filter(fit).filter(|ip| seen.insert(*ip)).collect()
}
