//! A cluster's whole plan: what its CNI mode makes, and what kubelet, kube-proxy and host ports add to the nodes. PURE.
//!
//! The order is that of a node that boots: kubelet, kube-proxy, then the pods with their host ports; Felix keeps its own
//! rules before all of them. A real node has kubelet's and kube-proxy's rules always, if only for the Services
//! `kubernetes` and `kube-dns`; here a cluster has them if its input has a Service or says `proxy:`.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::cni;
use crate::dns;
use crate::error::{Error, Kind, Result};
use crate::plan::nft::NftTable;
use crate::plan::{Backend, Datapath, Family, Namespace, Plan, Role, RouteKind, Sysctl};
use crate::proxy::{self, Host, PodState, View, hostport, iptables, ipvs, kubelet, nftables};
use crate::topology::{
    Cluster, EndpointSlice, HostPorts, Iptables, Node, Pod, ProxyConfig, ProxyMode, ServiceProtocol,
};

/// The plan of a cluster.
///
/// # Errors
/// As [`cni::plan`]; `Topology` where two Services contradict each other in a way that keeps all from working.
pub fn plan(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    plan_while(cluster, datapath, as_said)
}

/// The plan of a cluster in a moment at which its pods are in these states.
///
/// # Errors
/// As [`plan`].
pub fn plan_while(cluster: &Cluster, datapath: Datapath, state: impl Fn(&Pod) -> PodState) -> Result<Plan> {
    let mut plan = cni::plan(cluster, datapath)?;
    if let Some(config) = &cluster.proxy {
        let slices = endpoints_while(cluster, &plan, state);
        for node in &cluster.nodes {
            let found = plan.namespaces.iter_mut().find(|ns| ns.role == Role::Node && ns.name == node.name);
            add_proxy(cluster, config, node, &slices, found.ok_or_else(|| no_node(node))?)?;
        }
    }
    publish_ports(cluster, &mut plan)?;
    give_names(cluster, &mut plan);
    for node in plan.namespaces.iter_mut().filter(|ns| ns.role == Role::Node) {
        node.backend = match cluster.iptables {
            None => Backend::Machine,
            Some(Iptables::Nft) => Backend::Nft,
            Some(Iptables::Legacy) => Backend::Legacy,
        };
    }
    Ok(plan)
}

/// The endpoints of every Service: those written by hand, and the pods that selectors find.
pub fn endpoints(cluster: &Cluster, plan: &Plan) -> Vec<EndpointSlice> {
    endpoints_while(cluster, plan, as_said)
}

/// How a pod is when nothing changes.
fn as_said(pod: &Pod) -> PodState {
    PodState { ready: pod.ready, terminating: false }
}

fn endpoints_while(cluster: &Cluster, plan: &Plan, state: impl Fn(&Pod) -> PodState) -> Vec<EndpointSlice> {
    let found = proxy::selected(cluster, plan, state);
    cluster.slices.iter().cloned().chain(found).collect()
}

/// Gives pods with a namespace of their own their host name, and what they look names up by.
fn give_names(cluster: &Cluster, plan: &mut Plan) {
    let pods: BTreeMap<String, &Pod> = cluster.pods.iter().map(|pod| (pod.key(), pod)).collect();
    for ns in plan.namespaces.iter_mut().filter(|ns| matches!(ns.role, Role::Pod { .. })) {
        let Some(pod) = pods.get(&ns.name) else { continue };
        ns.hostname = pod.host().to_owned();
        ns.domain = dns::host_domain(cluster, pod);
        ns.resolver = dns::resolver(cluster, pod);
    }
}

fn no_node(node: &Node) -> Error {
    Error::new(Kind::Topology, format!("node {} has no namespace", node.name))
}

/// Adds kubelet's and kube-proxy's rules to a node.
fn add_proxy(
    cluster: &Cluster,
    config: &ProxyConfig,
    node: &Node,
    slices: &[EndpointSlice],
    ns: &mut Namespace,
) -> Result<()> {
    let host = host(node, ns);
    // On a node without IPv6 the rules that a real one has in ip6tables beside would never see a packet.
    let second = node.address6.map(|_| Family::Inet6);
    for family in std::iter::once(Family::Inet).chain(second) {
        let view = View::new(config, &host, family, &cluster.services, slices);
        add_family(config, &view, ns)?;
    }
    ns.keepers.push(kubelet::keeper());
    if config.mode == ProxyMode::Iptables {
        ns.keepers.extend(iptables::keepers(config.minor));
    }
    if config.mode == ProxyMode::Nftables {
        ns.keepers.push(nftables::keeper());
    }
    if config.mode == ProxyMode::Ipvs {
        ns.keepers.extend(ipvs::keepers());
        let known = |one: &Sysctl, all: &[Sysctl]| all.iter().any(|other| other.key == one.key);
        let wanted: Vec<Sysctl> = ipvs::sysctls(config).into_iter().filter(|one| !known(one, &ns.sysctls)).collect();
        ns.sysctls.extend(wanted);
    }
    let localnet = config.mode == ProxyMode::Iptables && (config.minor < 26 || config.localhost_node_ports);
    if localnet {
        ns.sysctls.push(Sysctl::new("net.ipv4.conf.all.route_localnet", "1"));
    }
    Ok(())
}

/// Adds the rules of one family.
fn add_family(config: &ProxyConfig, view: &View, ns: &mut Namespace) -> Result<()> {
    let family = view.family;
    kubelet::overlay(config.minor, family, 1 << config.masquerade_bit, config.random_fully).onto(ns, family);
    if config.mode != ProxyMode::None {
        ns.forwards.extend(proxy::forwards(view));
        // Of health checks there is one server, whatever the family.
        let health = proxy::health(view);
        match &mut ns.health {
            None => ns.health = Some(health),
            Some(known) => known.join(health),
        }
    }
    match config.mode {
        ProxyMode::Iptables => iptables::overlay(view).onto(ns, family),
        ProxyMode::Nftables => {
            let table = nftables::table(view);
            refuse_contradiction(&table)?;
            ns.nft.push(table);
        }
        ProxyMode::Ipvs => ipvs::add(view, ns),
        ProxyMode::None => {}
    }
    Ok(())
}

/// What nft refuses, and with it all of the table: kube-proxy then says so in its log, again and again, and nothing works.
fn refuse_contradiction(table: &NftTable) -> Result<()> {
    let Some((map, key)) = table.contradiction() else { return Ok(()) };
    let what = format!("two Services have `{key}` (the map {map}), and nft refuses kube-proxy's table for it");
    Err(Error::new(Kind::Topology, what)
        .hint("give one of them another address or port; the iptables mode takes the first"))
}

/// A node as its kube-proxy sees it.
fn host(node: &Node, ns: &Namespace) -> Host {
    let own = ["127.0.0.1", "::1"].iter().filter_map(|ip| ip.parse().ok());
    Host {
        name: node.name.clone(),
        node_ips: Family::BOTH.into_iter().filter_map(|family| node.address_in(family)).collect(),
        addresses: own.chain(ns.addresses().map(|(_, address)| address.net.addr())).collect(),
        zone: node.labels.get("topology.kubernetes.io/zone").cloned(),
        pod_cidrs: Family::BOTH.into_iter().filter_map(|family| node.pod_cidr_in(family)).collect(),
    }
}

/// Adds the rules of pods that have ports of their nodes.
fn publish_ports(cluster: &Cluster, plan: &mut Plan) -> Result<()> {
    let kind = cluster.network.mode.host_ports();
    if matches!(kind, HostPorts::None | HostPorts::Own) {
        return Ok(());
    }
    for node in &cluster.nodes {
        let here = || cluster.pods.iter().filter(|pod| pod.node == node.name);
        let of_family = |family| here().filter_map(|pod| published(plan, pod, family)).collect();
        let [published, second]: [Vec<hostport::Published>; 2] = Family::BOTH.map(of_family);
        if published.is_empty() {
            continue;
        }
        let found = plan.namespaces.iter_mut().find(|ns| ns.role == Role::Node && ns.name == node.name);
        let ns = found.ok_or_else(|| no_node(node))?;
        ns.forwards.extend(proxy::published(&published));
        match kind {
            HostPorts::Portmap(network) => {
                hostport::portmap(&cluster.name, network, &published).onto(ns, Family::Inet);
                hostport::portmap(&cluster.name, network, &second).onto(ns, Family::Inet6);
                // The plugin lets packets for 127.0.0.1 leave by the device that leads to the pod.
                let devices = || published.iter().map(|pod| &pod.device);
                for link in ns.links.iter_mut().filter(|link| devices().any(|device| *device == link.name)) {
                    link.ipv4.route_localnet = Some(true);
                }
            }
            _ => {
                if cluster.proxy.is_none() {
                    let version = ProxyConfig::KUBENET_MINOR;
                    kubelet::overlay(version, Family::Inet, 1 << 14, true).onto(ns, Family::Inet);
                }
                hostport::kubelet(&cluster.name, &published).onto(ns, Family::Inet);
            }
        }
    }
    Ok(())
}

/// A pod's ports of its node; none if it has none, or no address of this family, or lives in another's namespace.
fn published(plan: &Plan, pod: &Pod, family: Family) -> Option<hostport::Published> {
    let declared = pod.containers.iter().flat_map(|container| &container.ports);
    let mapping = |port: &crate::topology::ContainerPort| {
        let protocol = ServiceProtocol::ALL.into_iter().find(|known| known.name() == port.protocol)?;
        let host_port = port.host_port?;
        Some(hostport::Mapping { protocol, host_port, host_ip: port.host_ip, container_port: port.port })
    };
    let ports: Vec<hostport::Mapping> = declared.filter_map(mapping).collect();
    if ports.is_empty() {
        return None;
    }
    let (ns, node) = (plan.namespace(&pod.key())?, plan.namespace(&pod.node)?);
    let address = ns.address_in(family)?;
    let net = ns.addresses().map(|(_, own)| own.net).find(|net| net.addr() == address)?;
    Some(hostport::Published {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        address: net,
        device: device_to(node, net).unwrap_or_default(),
        ports,
    })
}

/// The node's device on the most specific route to a pod, or with the pod's subnet.
fn device_to(node: &Namespace, pod: IpNet) -> Option<String> {
    let own = node.addresses().filter(|(_, address)| {
        address.net.prefix_len() < address.net.max_prefix_len() && address.net.contains(&pod.addr())
    });
    let direct = own.map(|(link, address)| (address.net.prefix_len(), link.name.clone()));
    let routed = node.routes.iter().filter_map(|route| match route.kind {
        RouteKind::Unicast if route.dst.contains(&pod.addr()) => Some((route.dst.prefix_len(), route.dev.clone()?)),
        _ => None,
    });
    direct.chain(routed).max_by_key(|(length, _)| *length).map(|(_, device)| device)
}
