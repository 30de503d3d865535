//! The ways to Services that `minik verify` tries. PURE.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::compose;
use crate::plan::{Namespace, Plan, Role};
use crate::topology::{Cluster, Service, ServicePort, ServiceProtocol};
use crate::verify::{Protocol, ServicePath};

/// Ports of Services that are tried; a cluster's later ones have rules of the same shape.
const PORTS_MAX: usize = 32;

/// The check by which an endpoint is to be sent back to itself, and of how many endpoints at most it is one.
const HAIRPIN: &str = "service-hairpin";
const HAIRPIN_MAX: usize = 8;

/// Set where nodes send on what is for a port of 127.0.0.1.
const LOCALNET: &str = "net.ipv4.conf.all.route_localnet";

/// For each port of a Service: its cluster, external and load balancer addresses from a pod on every node; its
/// cluster address from one of its own endpoints, until that is sent back to itself, and from every node; its node port on every node from a client, and
/// by 127.0.0.1 on a node, where that is let through. For each port of a pod on its node: that one from a client.
pub(super) fn of(cluster: &Cluster, plan: &Plan) -> Vec<ServicePath> {
    let mut paths = Vec::new();
    if cluster.proxy.is_some() {
        let ports = cluster.services.iter().flat_map(|service| service.ports.iter().map(move |port| (service, port)));
        let known = ports.filter(|(service, _)| service.proxy_name.is_none() && !service.cluster_ips.is_empty());
        let slices = compose::endpoints(cluster, plan);
        for (service, port) in known.take(PORTS_MAX) {
            let own =
                slices.iter().filter(|slice| slice.namespace == service.namespace && slice.service == service.name);
            let endpoints =
                own.flat_map(|slice| &slice.endpoints).filter(|one| one.ready).map(|one| one.address).collect();
            paths.extend(of_port(cluster, plan, (service, port), &endpoints));
        }
    }
    paths.extend(host_ports(cluster, plan));
    paths
}

fn protocol(protocol: ServiceProtocol) -> Option<Protocol> {
    match protocol {
        ServiceProtocol::Tcp => Some(Protocol::Tcp),
        ServiceProtocol::Udp => Some(Protocol::Udp),
        // Nobody in a pod speaks it.
        ServiceProtocol::Sctp => None,
    }
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }
}

fn client(plan: &Plan) -> Option<&Namespace> {
    plan.namespaces.iter().find(|ns| ns.role == Role::Client)
}

fn of_port(
    cluster: &Cluster,
    plan: &Plan,
    (service, port): (&Service, &ServicePort),
    endpoints: &BTreeSet<IpAddr>,
) -> Vec<ServicePath> {
    let Some(protocol) = protocol(port.protocol) else { return Vec::new() };
    let mut paths = Vec::new();
    let mut add = |name: &str, from: &str, address: Ipv4Addr, number: u16, spread: bool| {
        paths.push(ServicePath {
            name: name.to_owned(),
            from: from.to_owned(),
            to: format!("{}:{number} ({address})", service.key()),
            address,
            port: number,
            protocol,
            spread,
            hairpin: name == HAIRPIN,
            keeps: service.affinity,
        });
    };
    let is_endpoint = |pod: &&Namespace| pod.address().is_some_and(|address| endpoints.contains(&address.into()));
    for (at, node) in plan.nodes().enumerate() {
        let on_node = |pod: &&Namespace| matches!(&pod.role, Role::Pod { node: on, .. } if *on == node.name);
        // An endpoint would come to itself now and then, which is a check of its own.
        let others = plan.pods().filter(on_node).find(|pod| !is_endpoint(pod));
        let Some(pod) = others.or_else(|| plan.pods().find(on_node)) else { continue };
        for address in service.cluster_ips.iter().filter_map(v4) {
            add("service-cluster-ip", &pod.name, address, port.port, at == 0);
        }
        for address in service.external_ips.iter().filter_map(v4) {
            add("service-external-ip", &pod.name, address, port.port, false);
        }
        for address in service.ingress.iter().filter(|ip| !service.proxied_ingress.contains(ip)).filter_map(v4) {
            add("service-load-balancer", &pod.name, address, port.port, false);
        }
    }
    let back = plan.pods().find(is_endpoint).filter(|_| service.affinity.is_none() && endpoints.len() <= HAIRPIN_MAX);
    if let (Some(pod), Some(address)) = (back, service.cluster_ips.iter().find_map(v4)) {
        add(HAIRPIN, &pod.name, address, port.port, false);
    }
    for node in plan.nodes() {
        for address in service.cluster_ips.iter().filter_map(v4) {
            add("service-from-node", &node.name, address, port.port, false);
        }
    }
    let loopback = |node: &&Namespace| node.sysctls.iter().any(|one| one.key == LOCALNET && one.value == "1");
    if let (Some(node), Some(number)) = (plan.nodes().find(loopback), port.node_port) {
        add("service-node-port-by-loopback", &node.name, Ipv4Addr::LOCALHOST, number, false);
    }
    if let (Some(client), Some(number)) = (client(plan), port.node_port) {
        for node in &cluster.nodes {
            add("service-node-port", &client.name, node.address, number, false);
        }
    }
    paths
}

fn host_ports(cluster: &Cluster, plan: &Plan) -> Vec<ServicePath> {
    let Some(client) = client(plan) else { return Vec::new() };
    let mut paths = Vec::new();
    for pod in &cluster.pods {
        let Some(node) = cluster.nodes.iter().find(|node| node.name == pod.node) else { continue };
        // Pods in their host's network have none of their own.
        let own = plan.namespace(&pod.key()).is_some_and(|ns| ns.name == pod.key());
        for port in pod.containers.iter().flat_map(|container| &container.ports).filter(|_| own) {
            let spoken = ServiceProtocol::ALL.into_iter().find(|known| known.name() == port.protocol);
            let (Some(number), Some(protocol)) = (port.host_port, spoken.and_then(protocol)) else { continue };
            let address = match port.host_ip {
                Some(ip) if !ip.is_unspecified() => v4(&ip),
                Some(IpAddr::V6(_)) => None,
                _ => Some(node.address),
            };
            paths.extend(address.map(|address| ServicePath {
                name: "host-port".to_owned(),
                from: client.name.clone(),
                to: format!("{}:{number} ({address})", pod.key()),
                address,
                port: number,
                protocol,
                spread: false,
                hairpin: false,
                keeps: None,
            }));
        }
    }
    paths
}
