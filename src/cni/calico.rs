//! What the modes of Calico share: addresses, pods, host routes, rules.
//!
//! A pod has one /32 and reaches everything through 169.254.1.1, for which its node answers by proxy ARP with
//! ee:ee:ee:ee:ee:ee. A node routes each of its pods' /32 to the pod's veth, holds its own block as a blackhole and
//! the other nodes' blocks as a [`Flavour`] says (cni-plugin v3.18, dataplane_linux.go; felix v3.18; confd's BIRD
//! templates).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{felix, underlay};
use crate::error::{Error, Kind, Result};
use crate::ipam::{Ipam, Owner};
use crate::names;
use crate::plan::{
    Address, Datapath, Ipv4Conf, Link, LinkKind, Mac, Namespace, Plan, Protocol, Role, Route, Scope, Sysctl,
};
use crate::topology::{Cluster, Mode, Node, Pod};

/// The next hop of every pod.
const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The address of every host end of a pod's veth.
const HOST_MAC: Mac = Mac([0xee; 6]);
/// A pod's NIC.
const POD_NIC: &str = "eth0";

/// What makes one Calico mode differ from another.
pub(super) struct Flavour {
    /// The mode.
    pub mode: Mode,
    /// The device that encapsulates, if any does.
    pub tunnel: Option<Tunnel>,
    /// The route to a block, or a borrowed address, of another node.
    pub remote_route: fn(&Remote) -> Route,
}

/// An encapsulating device that every node has.
pub(super) struct Tunnel {
    /// Its name.
    pub device: &'static str,
    /// What it is.
    pub kind: LinkKind,
    /// Bytes that it adds to each packet.
    pub overhead: u32,
}

/// A prefix that another node is responsible for.
pub(super) struct Remote<'a> {
    /// The prefix.
    pub prefix: Ipv4Net,
    /// The node that has it.
    pub node: &'a Node,
}

/// Who has which address, after every node and then every pod got its own.
struct Addressing {
    ipam: Ipam,
    /// Tunnel address by node.
    tunnels: BTreeMap<String, Ipv4Addr>,
    /// Address by pod (`namespace/name`).
    pods: BTreeMap<String, Ipv4Addr>,
}

/// The addresses of a cluster in this flavour of Calico.
pub(super) fn ipam(cluster: &Cluster, flavour: &Flavour) -> Result<Ipam> {
    Ok(assign(cluster, flavour)?.ipam)
}

/// The plan of a cluster in this flavour of Calico.
pub(super) fn plan(cluster: &Cluster, datapath: Datapath, flavour: &Flavour) -> Result<Plan> {
    let addressing = assign(cluster, flavour)?;
    let mut namespaces = underlay::namespaces(cluster)?;
    for node in &cluster.nodes {
        namespaces.push(node_namespace(cluster, flavour, &addressing, node)?);
    }
    for pod in &cluster.pods {
        namespaces.push(pod_namespace(cluster, flavour, &addressing, pod)?);
    }
    let mode = flavour.mode.name().to_string();
    Ok(Plan { cluster: cluster.name.clone(), mode, datapath, namespaces })
}

/// Hands out addresses in the order in which a cluster comes to life: blocks fixed by hand, then each node's tunnel
/// (calico-node starts before any pod), then the pods.
fn assign(cluster: &Cluster, flavour: &Flavour) -> Result<Addressing> {
    let mut ipam = Ipam::new(&cluster.network.pools, cluster.network.strict_affinity);
    for node in &cluster.nodes {
        if let Some(block) = node.block {
            ipam.claim(&node.name, block)?;
        }
    }
    let memory = &cluster.memory;
    ipam.recall(memory);
    let tunnel = flavour.tunnel.as_ref().map(|tunnel| Owner::Tunnel { device: tunnel.device.to_string() });
    let devices = cluster.nodes.iter().filter_map(|node| Some((node.name.clone(), &node.name, tunnel.clone()?)));
    let pods = cluster.pods.iter().map(|pod| (pod.key(), &pod.node, owner(pod)));
    let had_tunnel = |node: &String| memory.tunnels.get(node).copied();
    let had_pod = |key: &String| memory.pods.get(key).and_then(|kept| kept.address);
    let (devices, pods): (Vec<_>, Vec<_>) = (devices.collect(), pods.collect());
    let mut tunnels = keep(&mut ipam, &devices, had_tunnel);
    let mut addresses = keep(&mut ipam, &pods, had_pod);
    ipam.requeue(&memory.addresses());
    assign_others(&mut ipam, devices, &mut tunnels)?;
    assign_others(&mut ipam, pods, &mut addresses)?;
    Ok(Addressing { ipam, tunnels, pods: addresses })
}

fn owner(pod: &Pod) -> Owner {
    Owner::Pod { namespace: pod.namespace.clone(), name: pod.name.clone() }
}

/// Somebody who needs an address: its key in the result, its node, and what it is to the IPAM.
type Asker<'a> = (String, &'a String, Owner);

/// The addresses of those that had one and still can have it.
fn keep(ipam: &mut Ipam, askers: &[Asker], had: impl Fn(&String) -> Option<Ipv4Addr>) -> BTreeMap<String, Ipv4Addr> {
    let kept = askers.iter().filter_map(|(key, node, owner)| Some((key, node, owner, had(key)?)));
    let mut kept: Vec<_> = kept.collect();
    kept.retain(|(_, node, owner, address)| ipam.keep(node, owner, *address));
    kept.into_iter().map(|(key, _, _, address)| (key.clone(), address)).collect()
}

fn assign_others(ipam: &mut Ipam, askers: Vec<Asker>, given: &mut BTreeMap<String, Ipv4Addr>) -> Result<()> {
    for (key, node, owner) in askers {
        if let Entry::Vacant(place) = given.entry(key) {
            place.insert(ipam.assign(node, owner)?);
        }
    }
    Ok(())
}

/// The MTU of pods and of the tunnel on a node: the file's, else what the node's NIC leaves after encapsulation.
fn pod_mtu(cluster: &Cluster, flavour: &Flavour, node: &Node) -> Result<u32> {
    let nic = underlay::segment(cluster, &node.segment)?.mtu;
    let overhead = flavour.tunnel.as_ref().map_or(0, |tunnel| tunnel.overhead);
    Ok(cluster.network.mtu.unwrap_or(nic.saturating_sub(overhead)))
}

fn node_namespace(cluster: &Cluster, flavour: &Flavour, addressing: &Addressing, node: &Node) -> Result<Namespace> {
    let mtu = pod_mtu(cluster, flavour, node)?;
    let pods: Vec<&Pod> = cluster.pods.iter().filter(|pod| pod.node == node.name).collect();
    let mut ns = underlay::host(cluster, &underlay::Host::node(node), Role::Node)?;
    ns.sysctls = node_sysctls();
    ns.links.extend(tunnel_link(flavour, addressing, node, mtu));
    ns.links.extend(pods.iter().map(|pod| host_end(pod, mtu)));
    ns.routes.extend(pods.iter().filter_map(|pod| {
        let address = addressing.pods.get(&pod.key())?;
        Some(Route::on_link((*address).into(), &felix::names::veth(pod)))
    }));
    ns.routes.extend(block_routes(cluster, flavour, &addressing.ipam, node));
    ns.routes.sort_by_key(|route| (route.dst.addr(), route.dst.prefix_len()));
    let local =
        felix::Local { cluster, pods: &pods, tunnel: flavour.tunnel.as_ref().map(|t| t.device), links: &ns.links };
    ns.sets = felix::sets(&local);
    ns.tables = felix::tables(&local);
    Ok(ns)
}

/// A new namespace inherits the host's IPv4 settings: those that decide whether packets pass are written down. Felix
/// writes `accept_ra` on every host end; as a default it reaches all of them at once.
fn node_sysctls() -> Vec<Sysctl> {
    vec![
        Sysctl::new("net.ipv4.ip_forward", "1"),
        Sysctl::new("net.ipv4.conf.all.rp_filter", "0"),
        Sysctl::new("net.ipv4.conf.default.rp_filter", "0"),
        Sysctl::new("net.ipv6.conf.default.accept_ra", "0"),
    ]
}

fn tunnel_link(flavour: &Flavour, addressing: &Addressing, node: &Node, mtu: u32) -> Option<Link> {
    let tunnel = flavour.tunnel.as_ref()?;
    let address = addressing.tunnels.get(&node.name)?;
    let addresses = vec![Address { net: Ipv4Net::from(*address).into(), broadcast: None, scope: Scope::Global }];
    Some(Link { mtu: Some(mtu), addresses, ..Link::new(tunnel.device, tunnel.kind.clone()) })
}

/// The node's end of a pod's veth.
fn host_end(pod: &Pod, mtu: u32) -> Link {
    let ipv4 =
        Ipv4Conf { proxy_arp: Some(true), forwarding: Some(true), route_localnet: Some(true), proxy_delay: Some(0) };
    let kind = LinkKind::Veth { peer_namespace: pod.key(), peer: POD_NIC.to_string() };
    Link { mac: Some(HOST_MAC), mtu: Some(mtu), ipv4, ..Link::new(&felix::names::veth(pod), kind) }
}

/// What BIRD installs: own blocks as blackholes, others' through the flavour's route. A borrowed address is a route of
/// its own, which beats the owner's blackhole; blocks of one address get no blackhole.
fn block_routes(cluster: &Cluster, flavour: &Flavour, ipam: &Ipam, node: &Node) -> Vec<Route> {
    let by_name: BTreeMap<&str, &Node> = cluster.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let remote = |prefix, owner: &str| by_name.get(owner).map(|node| (flavour.remote_route)(&Remote { prefix, node }));
    let mut routes = Vec::new();
    for block in ipam.blocks() {
        if block.node != node.name {
            routes.extend(remote(block.prefix, &block.node));
        } else if block.prefix.prefix_len() < 32 {
            routes.push(Route { protocol: Protocol::Bird, ..Route::blackhole(block.prefix) });
        }
    }
    let borrowed = ipam.allocations().filter(|used| used.borrowed && used.node != node.name);
    routes.extend(borrowed.filter_map(|used| remote(used.address.into(), &used.node)));
    routes
}

fn pod_namespace(cluster: &Cluster, flavour: &Flavour, addressing: &Addressing, pod: &Pod) -> Result<Namespace> {
    let node = cluster.nodes.iter().find(|node| node.name == pod.node);
    let (Some(node), Some(&address)) = (node, addressing.pods.get(&pod.key())) else {
        return Err(Error::new(Kind::Topology, format!("pod {}: there is no node {}", pod.key(), pod.node)));
    };
    let role = Role::Pod { node: pod.node.clone(), namespace: pod.namespace.clone(), pod: pod.name.clone() };
    let mut ns = Namespace::new(&cluster.name, &pod.key(), &pod.name, role);
    ns.sysctls = vec![Sysctl::new("net.ipv4.ip_forward", "0"), Sysctl::new("net.ipv6.conf.all.disable_ipv6", "1")];
    let kind = LinkKind::Veth { peer_namespace: pod.node.clone(), peer: felix::names::veth(pod) };
    ns.links.push(Link {
        mac: Some(names::mac(&[&cluster.name, &pod.key(), POD_NIC])),
        mtu: Some(pod_mtu(cluster, flavour, node)?),
        addresses: vec![Address { net: Ipv4Net::from(address).into(), broadcast: Some(address), scope: Scope::Global }],
        ..Link::new(POD_NIC, kind)
    });
    ns.routes.push(Route::on_link(POD_GATEWAY.into(), POD_NIC));
    ns.routes.push(Route::default_via(POD_GATEWAY, POD_NIC));
    Ok(ns)
}
