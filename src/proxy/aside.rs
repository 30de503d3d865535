//! What kube-proxy does beside its rules: what it has connection tracking forget, and the HTTP servers that load balancers
//! ask.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::plan::forwarding::{Forgets, Forwarding};
use crate::plan::{Health, HealthCheck};
use crate::topology::ServiceProtocol;

use super::hostport::Published;
use super::view::{PortView, View};

/// The ports of Services whose entries outlive their endpoints: those by UDP (`detectStaleConnections` leaves all others
/// out, also in 1.20, where `deleteEndpointConnections` would take SCTP as well).
pub fn forwards(view: &View) -> Vec<Forwarding> {
    let minor = view.config.minor;
    let lasting = |port: &&PortView| port.protocol() == ServiceProtocol::Udp;
    let forwarding = |port: &PortView| Forwarding {
        name: port.name.clone(),
        protocol: port.protocol().number(),
        addresses: [&[port.cluster_ip][..], &port.external_ips].concat(),
        balancers: port.ingress.clone(),
        node_port: port.port.node_port,
        endpoints: port.endpoints.iter().filter(|target| target.ready).map(|target| target.to).collect(),
        // Node ports are bound until 1.23.
        forgets: Forgets { new_port: minor < 24, first_endpoint: minor >= 21 },
    };
    view.ports.iter().filter(lasting).map(forwarding).collect()
}

/// The host ports of these pods by UDP.
pub fn published(pods: &[Published]) -> Vec<Forwarding> {
    let forwarding = |pod: &Published| {
        let udp = pod.ports.iter().filter(|port| port.protocol == ServiceProtocol::Udp);
        let port = |port: &super::hostport::Mapping| Forwarding {
            name: format!("{}_{} hostport {}", pod.pod, pod.namespace, port.host_port),
            protocol: port.protocol.number(),
            addresses: Vec::new(),
            balancers: Vec::new(),
            node_port: Some(port.host_port),
            // Neither of them forgets anything when a pod goes.
            endpoints: Vec::new(),
            forgets: Forgets { new_port: true, first_endpoint: false },
        };
        udp.map(port).collect::<Vec<_>>()
    };
    pods.iter().flat_map(forwarding).collect()
}

/// The HTTP servers of the node's kube-proxy (pkg/proxy/healthcheck).
pub fn health(view: &View) -> Health {
    let mut checks: BTreeMap<(&str, &str), (u16, BTreeSet<IpAddr>)> = BTreeMap::new();
    for port in &view.ports {
        let Some(number) = port.health_check() else { continue };
        let key = (port.service.namespace.as_str(), port.service.name.as_str());
        let (_, local) = checks.entry(key).or_insert((number, BTreeSet::new()));
        local.extend(port.endpoints.iter().filter(|target| target.ready && target.local).map(|target| target.to.ip()));
    }
    let check = |((namespace, name), (port, local)): ((&str, &str), (u16, BTreeSet<IpAddr>))| HealthCheck {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        port,
        local: local.len(),
    };
    let (minor, ranges) = (view.config.minor, &view.config.node_port_addresses);
    // Since 1.23 they go by `--nodeport-addresses` as node ports do.
    let own = view.host.addresses.iter().filter(|ip| view.family.has(ip));
    let chosen = own.filter(|ip| minor >= 23 && ranges.iter().any(|range| range.contains(*ip)));
    let addresses = chosen.copied().collect();
    Health { minor, addresses, checks: checks.into_iter().map(check).collect() }
}
