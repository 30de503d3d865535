//! The ways to Services that `minik verify` tries. PURE.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::compose;
use crate::plan::netfilter::Family;
use crate::plan::{Namespace, Plan, Role};
use crate::topology::{Cluster, EndpointPort, Service, ServicePort, ServiceProtocol};
use crate::verify::{Protocol, ServicePath};

/// Ports of Services that are tried; a cluster's later ones have rules of the same shape.
const PORTS_MAX: usize = 32;

/// The check by which an endpoint is to be sent back to itself, and of how many endpoints at most it is one.
const HAIRPIN: &str = "service-hairpin";
const HAIRPIN_MAX: usize = 8;

/// Set where nodes send on what is for a port of 127.0.0.1.
const LOCALNET: &str = "net.ipv4.conf.all.route_localnet";

/// For each port of a Service, in each of its families: its cluster, external and load balancer addresses from a pod on
/// every node, and from a client that has a route there; its cluster address from one of its own endpoints, until that is
/// sent back to itself, and from every node; its node port on every node from a client, and by 127.0.0.1 on a node, where
/// that is let through. For each port of a pod on its node: that one from a client.
pub(super) fn of(cluster: &Cluster, plan: &Plan) -> Vec<ServicePath> {
    let mut paths = Vec::new();
    if cluster.proxy.is_some() {
        let ports = cluster.services.iter().flat_map(|service| service.ports.iter().map(move |port| (service, port)));
        let known = ports.filter(|(service, _)| service.proxy_name.is_none() && !service.cluster_ips.is_empty());
        let slices = compose::endpoints(cluster, plan);
        for (service, port) in known.take(PORTS_MAX) {
            // A port whose `targetPort` no pod has a name for is in no slice.
            let serves = |own: &EndpointPort| own.name == port.name && own.protocol == port.protocol;
            let own = slices.iter().filter(|slice| {
                slice.namespace == service.namespace && slice.service == service.name && slice.ports.iter().any(serves)
            });
            let endpoints =
                own.flat_map(|slice| &slice.endpoints).filter(|one| one.ready).map(|one| one.address).collect();
            paths.extend(of_port(cluster, plan, (service, port), &endpoints));
        }
    }
    paths.extend(host_ports(cluster, plan));
    paths
}

fn protocol(protocol: ServiceProtocol) -> Protocol {
    match protocol {
        ServiceProtocol::Tcp => Protocol::Tcp,
        ServiceProtocol::Udp => Protocol::Udp,
        ServiceProtocol::Sctp => Protocol::Sctp,
    }
}

/// Whether a namespace has addresses of the family of `address`.
fn speaks(ns: &Namespace, address: IpAddr) -> bool {
    ns.address_in(Family::of(&address)).is_some()
}

/// Whether a host knows a gateway for just this address, not only for everything.
fn knows_way(ns: &Namespace, address: IpAddr) -> bool {
    ns.routes.iter().any(|route| route.via.is_some() && route.dst.prefix_len() > 0 && route.dst.contains(&address))
}

/// Whether a pod looks for an address on its own link, as one on the nodes' Ethernet does, and nobody there has it: what it
/// sends does not even leave it.
fn is_unclaimed(plan: &Plan, pod: &Namespace, address: IpAddr) -> bool {
    let on_link = pod.addresses().any(|(_, own)| own.net.contains(&address));
    on_link && !plan.namespaces.iter().any(|ns| ns.addresses().any(|(_, own)| own.net.addr() == address))
}

fn client(plan: &Plan) -> Option<&Namespace> {
    plan.namespaces.iter().find(|ns| ns.role == Role::Client)
}

/// A port of a Service in a cluster, and the paths to it so far.
struct OfPort<'a> {
    plan: &'a Plan,
    service: &'a Service,
    port: &'a ServicePort,
    endpoints: &'a BTreeSet<IpAddr>,
    paths: Vec<ServicePath>,
}

fn of_port(
    cluster: &Cluster,
    plan: &Plan,
    (service, port): (&Service, &ServicePort),
    endpoints: &BTreeSet<IpAddr>,
) -> Vec<ServicePath> {
    let mut of = OfPort { plan, service, port, endpoints, paths: Vec::new() };
    of.asked_by_pods();
    of.back_to_itself();
    of.asked_by_nodes();
    if let Some(client) = client(plan) {
        of.asked_from_outside(cluster, client);
    }
    of.paths
}

impl OfPort<'_> {
    fn add(&mut self, name: &str, from: &Namespace, address: IpAddr, port: u16, spread: bool) {
        // Who has no address of a family asks nobody in it.
        if speaks(from, address) {
            self.paths.push(ServicePath {
                name: name.to_owned(),
                from: from.name.clone(),
                to: to(&self.service.key(), address, port),
                address,
                port,
                protocol: protocol(self.port.protocol),
                spread,
                hairpin: name == HAIRPIN,
                keeps: self.service.affinity,
            });
        }
    }

    /// The addresses at which it is, with the name of their checks.
    fn by_address(&self) -> Vec<(&'static str, IpAddr)> {
        let Service { cluster_ips, external_ips, ingress, proxied_ingress, .. } = self.service;
        let balanced = ingress.iter().filter(|ip| !proxied_ingress.contains(ip));
        let own = cluster_ips.iter().map(|ip| ("service-cluster-ip", *ip));
        let external = external_ips.iter().map(|ip| ("service-external-ip", *ip));
        own.chain(external).chain(balanced.map(|ip| ("service-load-balancer", *ip))).collect()
    }

    fn is_endpoint(&self, pod: &Namespace, family: Family) -> bool {
        pod.address_in(family).is_some_and(|own| self.endpoints.contains(&own))
    }

    fn asked_by_pods(&mut self) {
        let plan = self.plan;
        let mut spread = true;
        for node in plan.nodes() {
            let on_node = |pod: &&Namespace| matches!(&pod.role, Role::Pod { node: on, .. } if *on == node.name);
            // An endpoint would come to itself now and then, which is a check of its own.
            let is_none = |pod: &&Namespace| !Family::BOTH.into_iter().any(|family| self.is_endpoint(pod, family));
            let others = plan.pods().filter(on_node).find(is_none);
            let Some(pod) = others.or_else(|| plan.pods().find(on_node)) else { continue };
            for (name, address) in self.by_address() {
                if !is_unclaimed(plan, pod, address) {
                    self.add(name, pod, address, self.port.port, spread && name == "service-cluster-ip");
                }
            }
            spread = false;
        }
    }

    fn back_to_itself(&mut self) {
        let plan = self.plan;
        for address in &self.service.cluster_ips {
            let family = Family::of(address);
            let of_family = self.endpoints.iter().filter(|endpoint| Family::of(endpoint) == family).count();
            let back = plan.pods().find(|pod| self.is_endpoint(pod, family));
            if let Some(pod) = back.filter(|_| self.service.affinity.is_none() && of_family <= HAIRPIN_MAX) {
                self.add(HAIRPIN, pod, *address, self.port.port, false);
            }
        }
    }

    fn asked_by_nodes(&mut self) {
        let plan = self.plan;
        for node in plan.nodes() {
            for address in &self.service.cluster_ips {
                self.add("service-from-node", node, *address, self.port.port, false);
            }
        }
        let loopback = |node: &&Namespace| node.sysctls.iter().any(|one| one.key == LOCALNET && one.value == "1");
        let has_v4 = self.service.cluster_ips.iter().any(IpAddr::is_ipv4);
        if let (Some(node), Some(number), true) = (plan.nodes().find(loopback), self.port.node_port, has_v4) {
            self.add("service-node-port-by-loopback", node, Ipv4Addr::LOCALHOST.into(), number, false);
        }
    }

    fn asked_from_outside(&mut self, cluster: &Cluster, client: &Namespace) {
        for node in cluster.nodes.iter().filter(|_| self.port.node_port.is_some()) {
            for family in self.service.cluster_ips.iter().map(Family::of) {
                if let (Some(address), Some(number)) = (node.address_in(family), self.port.node_port) {
                    self.add("service-node-port", client, address, number, false);
                }
            }
        }
        for (name, address) in self.by_address() {
            if knows_way(client, address) {
                self.add(name, client, address, self.port.port, false);
            }
        }
    }
}

/// What is asked, for the report.
fn to(key: &str, address: IpAddr, number: u16) -> String {
    format!("{key}:{number} ({address})")
}

fn host_ports(cluster: &Cluster, plan: &Plan) -> Vec<ServicePath> {
    let Some(client) = client(plan) else { return Vec::new() };
    let mut paths = Vec::new();
    for pod in &cluster.pods {
        let Some(node) = cluster.nodes.iter().find(|node| node.name == pod.node) else { continue };
        // Pods in their host's network have none of their own.
        let Some(own) = plan.namespace(&pod.key()).filter(|ns| ns.name == pod.key()) else { continue };
        for port in pod.containers.iter().flat_map(|container| &container.ports) {
            let spoken = ServiceProtocol::ALL.into_iter().find(|known| known.name() == port.protocol);
            let (Some(number), Some(protocol)) = (port.host_port, spoken.map(protocol)) else { continue };
            let of_node = |family: &Family| node.address_in(*family);
            let addresses: Vec<IpAddr> = match port.host_ip {
                Some(ip) if !ip.is_unspecified() => vec![ip],
                Some(any) => of_node(&Family::of(&any)).into_iter().collect(),
                None => Family::BOTH.iter().filter_map(of_node).collect(),
            };
            let heard = |address: &IpAddr| speaks(client, *address) && speaks(own, *address);
            paths.extend(addresses.into_iter().filter(heard).map(|address| ServicePath {
                name: "host-port".to_owned(),
                from: client.name.clone(),
                to: to(&pod.key(), address, number),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Datapath;
    use crate::topology::{Overrides, builtin, parse};

    /// A Service at an address of the nodes' Ethernet that no machine has.
    const OUTSIDE: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {externalIPs: [10.1.10.77], selector: {app: test}, ports: [{port: 80}]}
";

    /// Who asks at that address, in the built-in cluster of a mode.
    fn asking_outside(mode: &str) -> Vec<String> {
        let mut source = builtin::find(mode).unwrap().source();
        source.text += OUTSIDE;
        let cluster = parse(&[source], &Overrides::default()).unwrap();
        let plan = compose::plan(&cluster, Datapath::Kernel).unwrap();
        let paths = of(&cluster, &plan).into_iter().filter(|path| path.name == "service-external-ip");
        paths.map(|path| path.from).collect()
    }

    #[test]
    fn pods_on_the_nodes_ethernet_ask_for_nothing_there_that_nobody_has() {
        assert_eq!(asking_outside("calico-vxlan").len(), 2, "a pod of each node");
        assert_eq!(asking_outside("macvlan"), Vec::<String>::new());
    }
}
