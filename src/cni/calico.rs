//! What the modes of Calico share: addresses, pods, host routes, rules.
//!
//! A pod has one /32 and reaches everything through 169.254.1.1, for which its node answers by proxy ARP with
//! ee:ee:ee:ee:ee:ee. A node routes each of its pods' /32 to the pod's veth, holds its own block as a blackhole and
//! the other nodes' blocks as a [`Flavour`] says (cni-plugin v3.18, dataplane_linux.go; felix v3.18; confd's BIRD
//! templates).

mod addresses;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

pub(super) use addresses::tunnel_key;

use addresses::Addresses;

use super::{
    bird, calico_bgp, calico_ipip, calico_ipip_crosssubnet, calico_vxlan, calico_vxlan_crosssubnet, felix, underlay,
};
use crate::error::{Error, Kind, Result};
use crate::ipam::Ipam;
use crate::names;
use crate::plan::{
    Address, Bird, Datapath, Family, FdbEntry, Ipv4Conf, Keeper, Keeps, Link, LinkKind, Mac, Namespace, Neighbour,
    Plan, Protocol, Role, Route, Scope, Sysctl,
};
use crate::topology::{Cluster, IpPool, Mode, Node, Pod, Routing, Segment};

/// The next hop of every pod.
const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The address of every host end of a pod's veth.
const HOST_MAC: Mac = Mac([0xee; 6]);
/// A pod's NIC.
const POD_NIC: &str = "eth0";

/// What makes one Calico mode differ from another. Each pool has one, by its `ipipMode` and `vxlanMode`; a cluster with
/// several pools may have several.
pub(super) struct Flavour {
    /// The mode.
    pub mode: Mode,
    /// The devices that encapsulate, at most one of a family.
    pub tunnels: &'static [&'static Tunnel],
    /// Whether a node holds its own blocks as blackholes, as BIRD does.
    pub blackholes: bool,
    /// The route to a block, or a borrowed address, of another node; none if that node cannot be reached.
    pub remote_route: fn(&Remote) -> Option<Route>,
}

/// An encapsulating device that every node has.
pub(super) struct Tunnel {
    /// Its name.
    pub device: &'static str,
    /// Whose packets it takes, in outer headers of the same.
    pub family: Family,
    /// Bytes that it adds to each packet.
    pub overhead: u32,
    /// Whether a pool's packets go through it.
    pub serves: fn(&IpPool) -> bool,
    /// The device on a node, without address and MTU; none on a node without an address of its family.
    pub link: fn(&Node) -> Option<Link>,
    /// Whether a node needs an address on it to have it at all.
    pub needs_address: bool,
    /// What it must know of another node's device: name and address.
    pub peer: fn(&Node, IpAddr) -> Option<(Neighbour, FdbEntry)>,
}

/// A prefix that another node is responsible for, as seen from a node.
pub(super) struct Remote<'a> {
    /// The prefix.
    pub prefix: IpNet,
    /// The node that has it.
    pub node: &'a Node,
    /// The node that the route is for.
    pub here: &'a Node,
    /// The segment that this node is on.
    pub segment: &'a Segment,
    /// The device that encapsulates in this family, with its addresses on both nodes.
    pub vteps: Option<(&'static Tunnel, IpAddr, IpAddr)>,
}

impl Remote<'_> {
    /// The other node's address, of the prefix's family.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.node.address_in(self.family())
    }

    /// The prefix's family.
    pub(super) fn family(&self) -> Family {
        Family::of(&self.prefix.addr())
    }

    /// Whether the other node's address is in this node's own subnet.
    pub(super) fn is_in_subnet(&self) -> bool {
        let subnet = self.segment.subnet_in(self.family());
        subnet.zip(self.address()).is_some_and(|(subnet, address)| subnet.contains(&address))
    }
}

/// Every flavour.
const FLAVOURS: [&Flavour; 5] = [
    &calico_bgp::FLAVOUR,
    &calico_ipip::FLAVOUR,
    &calico_ipip_crosssubnet::FLAVOUR,
    &calico_vxlan::FLAVOUR,
    &calico_vxlan_crosssubnet::FLAVOUR,
];

/// Every tunnel, in the order in which calico-node sees to their addresses.
const TUNNELS: [&Tunnel; 3] = [&calico_ipip::TUNNEL, &calico_vxlan::TUNNEL, &calico_vxlan::TUNNEL6];

/// The flavour of a pool.
fn flavour(pool: &IpPool) -> &'static Flavour {
    FLAVOURS.into_iter().find(|flavour| flavour.mode == pool.mode()).unwrap_or(&calico_bgp::FLAVOUR)
}

/// The tunnels of a cluster: Felix makes a device for each encapsulation that any pool has.
fn tunnels(cluster: &Cluster) -> impl Iterator<Item = &'static Tunnel> {
    TUNNELS.into_iter().filter(|tunnel| cluster.network.pools.iter().any(tunnel.serves))
}

/// Fewest nodes for which a thread is worth its start, and most threads.
const SHARE_MIN: usize = 8;
const THREADS_MAX: usize = 4;

/// Whether packets of any pool go through the ipip module.
pub(super) fn has_ipip(cluster: &Cluster) -> bool {
    tunnels(cluster).any(|tunnel| tunnel.device == calico_ipip::TUNNEL.device)
}

/// The addresses of a cluster of Calico's.
pub(super) fn ipam(cluster: &Cluster) -> Result<Ipam> {
    Ok(addresses::assign(cluster)?.ipam)
}

/// The plan of a cluster of Calico's.
pub(super) fn plan(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    let addresses = addresses::assign(cluster)?;
    let mut namespaces = underlay::namespaces(cluster)?;
    namespaces.extend(node_namespaces(cluster, &addresses)?);
    for pod in &cluster.pods {
        namespaces.push(pod_namespace(cluster, &addresses, pod)?);
    }
    let mode = cluster.network.mode.name().to_string();
    Ok(Plan { cluster: cluster.name.clone(), mode, datapath, namespaces })
}

/// The MTU of a node's tunnel: the file's, else what the node's NIC leaves after encapsulation.
fn tunnel_mtu(cluster: &Cluster, tunnel: &Tunnel, node: &Node) -> u32 {
    cluster.network.mtu.unwrap_or(node.mtu.saturating_sub(tunnel.overhead))
}

/// The MTU of a node's pods: the smallest that any tunnel of the cluster leaves, whether a pod's packets go through it
/// or not (felix v3.18, int_dataplane.go, determinePodMTU).
fn pod_mtu(cluster: &Cluster, node: &Node) -> u32 {
    let of_tunnels = tunnels(cluster).map(|tunnel| tunnel_mtu(cluster, tunnel, node));
    of_tunnels.min().unwrap_or(cluster.network.mtu.unwrap_or(node.mtu))
}

/// All nodes. What Felix makes for them is most of a plan, with a hash for every rule, so that many nodes are shared
/// among some threads.
fn node_namespaces(cluster: &Cluster, addresses: &Addresses) -> Result<Vec<Namespace>> {
    let some = |nodes: &[Node]| -> Result<Vec<Namespace>> {
        nodes.iter().map(|node| node_namespace(cluster, addresses, node)).collect()
    };
    let share = cluster.nodes.len().div_ceil(THREADS_MAX).max(SHARE_MIN);
    if cluster.nodes.len() <= share {
        return some(&cluster.nodes);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = cluster.nodes.chunks(share).map(|nodes| scope.spawn(move || some(nodes))).collect();
        let mut all = Vec::with_capacity(cluster.nodes.len());
        for thread in threads {
            all.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

fn node_namespace(cluster: &Cluster, addresses: &Addresses, node: &Node) -> Result<Namespace> {
    let segment = underlay::segment(cluster, &node.segment)?;
    let mtu = pod_mtu(cluster, node);
    let pods: Vec<&Pod> = cluster.pods.iter().filter(|pod| pod.node == node.name).collect();
    let mut ns = underlay::host(cluster, &underlay::Host::node(node), Role::Node)?;
    ns.sysctls = underlay::node_sysctls();
    if node.address6.is_some() {
        ns.sysctls.extend(underlay::ipv6(true));
    }
    for tunnel in tunnels(cluster) {
        ns.links.extend(tunnel_link(cluster, addresses, node, tunnel));
        for (neighbour, entry) in tunnel_peers(cluster, addresses, node, tunnel) {
            ns.neighbours.push(neighbour);
            ns.fdb.push(entry);
        }
    }
    let has_ipv6 = |pod: &Pod| addresses.pod(pod).iter().any(IpAddr::is_ipv6);
    ns.links.extend(pods.iter().map(|pod| host_end(pod, mtu, has_ipv6(pod))));
    ns.routes.extend(pods.iter().flat_map(|pod| {
        let veth = felix::names::veth(pod);
        addresses.pod(pod).iter().map(move |address| Route::on_link(IpNet::from(*address), &veth))
    }));
    ns.routes.extend(block_routes(cluster, addresses, node, segment));
    if cluster.network.routing == Routing::Bird {
        let here = bird::Here { cluster, ipam: &addresses.ipam, node, segment };
        let families = Family::BOTH.into_iter().filter(|family| node.address_in(*family).is_some());
        ns.birds = families.map(|family| Bird { family, config: bird::config(&here, family) }).collect();
    }
    ns.routes.sort_by_key(|route| (route.dst.addr(), route.dst.prefix_len()));
    add_felix(cluster, addresses, node, &pods, &mut ns);
    ns.keepers = felix::keepers(felix::REFRESH, &tunnels(cluster).map(|tunnel| tunnel.device).collect::<Vec<_>>());
    if bird::is_used(cluster) && ns.birds.is_empty() {
        ns.keepers.push(Keeper::new("bird", bird::SCAN, Keeps::routes(Protocol::Bird)));
    }
    Ok(ns)
}

/// Felix's sets and rules, of IPv6 too on a node that has it (`FELIX_IPV6SUPPORT`).
fn add_felix(cluster: &Cluster, addresses: &Addresses, node: &Node, pods: &[&Pod], ns: &mut Namespace) {
    for family in Family::BOTH.into_iter().filter(|family| node.address_in(*family).is_some()) {
        let of_family = || tunnels(cluster).filter(move |tunnel| tunnel.family == family);
        let in_use = |tunnel: &'static Tunnel| addresses.tunnel(node, tunnel).map(|_| tunnel.device);
        let local = felix::Local {
            cluster,
            node,
            family,
            pods,
            ipip: family == Family::Inet && has_ipip(cluster),
            vteps: of_family().find(|tunnel| tunnel.needs_address).map(|tunnel| {
                let has_device = |other: &&Node| addresses.tunnel(other, tunnel).is_some();
                cluster.nodes.iter().filter(has_device).collect()
            }),
            tunnels: &of_family().filter_map(in_use).collect::<Vec<_>>(),
            links: &ns.links,
        };
        let (sets, tables) = (felix::sets(&local), felix::tables(&local));
        match family {
            Family::Inet => (ns.sets, ns.tables) = (sets, tables),
            Family::Inet6 => {
                ns.sets.extend(sets);
                ns.tables6 = tables;
            }
        }
    }
}

/// A node's device of a tunnel. A node that no pool of the encapsulation selects has no address for it; Felix makes
/// tunl0 all the same, and no vxlan.calico.
fn tunnel_link(cluster: &Cluster, addresses: &Addresses, node: &Node, tunnel: &Tunnel) -> Option<Link> {
    let address = addresses.tunnel(node, tunnel);
    if address.is_none() && tunnel.needs_address {
        return None;
    }
    let addresses = address.map(|address| Address { net: IpNet::from(address), broadcast: None, scope: Scope::Global });
    let mtu = Some(tunnel_mtu(cluster, tunnel, node));
    Some(Link { mtu, addresses: addresses.into_iter().collect(), ..(tunnel.link)(node)? })
}

/// What a node's device of a tunnel must know of those of the other nodes.
fn tunnel_peers(cluster: &Cluster, addresses: &Addresses, node: &Node, tunnel: &Tunnel) -> Vec<(Neighbour, FdbEntry)> {
    if addresses.tunnel(node, tunnel).is_none() {
        return Vec::new();
    }
    let others = cluster.nodes.iter().filter(|other| other.name != node.name);
    others.filter_map(|other| (tunnel.peer)(other, addresses.tunnel(other, tunnel)?)).collect()
}

/// The node's end of a pod's veth. With IPv6 it has `proxy_ndp` as well, as the plugin writes it: no entry of a proxy
/// is ever made, as pods route by its link-local address.
pub(super) fn host_end(pod: &Pod, mtu: u32, has_ipv6: bool) -> Link {
    let ipv4 =
        Ipv4Conf { proxy_arp: Some(true), forwarding: Some(true), route_localnet: Some(true), proxy_delay: Some(0) };
    let kind = LinkKind::Veth { peer_namespace: pod.key(), peer: POD_NIC.to_string() };
    let name = felix::names::veth(pod);
    let proxy_ndp = has_ipv6.then(|| Sysctl::new(format!("net.ipv6.conf.{name}.proxy_ndp"), "1"));
    let sysctls = proxy_ndp.into_iter().collect();
    Link { mac: Some(HOST_MAC), mtu: Some(mtu), ipv4, sysctls, ..Link::new(&name, kind) }
}

/// The routes to blocks: own ones as blackholes, others' as the flavour of their pool has it. A borrowed address is a
/// route of its own, which beats the owner's blackhole; blocks of one address get no blackhole.
fn block_routes(cluster: &Cluster, addresses: &Addresses, node: &Node, segment: &Segment) -> Vec<Route> {
    let ipam = &addresses.ipam;
    let by_name: BTreeMap<&str, &Node> = cluster.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let by_pool: BTreeMap<&str, &Flavour> =
        ipam.pools().iter().map(|pool| (pool.name.as_str(), flavour(pool))).collect();
    let remote = |prefix: IpNet, flavour: &Flavour, owner: &str| {
        let owner = by_name.get(owner)?;
        let tunnel = flavour.tunnels.iter().find(|tunnel| tunnel.family == Family::of(&prefix.addr()));
        let vteps = tunnel.and_then(|t| Some((*t, addresses.tunnel(node, t)?, addresses.tunnel(owner, t)?)));
        (flavour.remote_route)(&Remote { prefix, node: owner, here: node, segment, vteps })
    };
    let mut routes = Vec::new();
    for block in ipam.blocks() {
        let Some(flavour) = by_pool.get(block.pool.as_str()) else { continue };
        if block.node != node.name {
            routes.extend(remote(block.prefix, flavour, &block.node));
        } else if flavour.blackholes && block.prefix.prefix_len() < block.prefix.max_prefix_len() {
            routes.push(Route { protocol: Protocol::Bird, ..Route::blackhole(block.prefix) });
        }
        let borrowed = block.allocations().filter(|used| used.borrowed && used.node != node.name);
        routes.extend(borrowed.filter_map(|used| remote(used.address.into(), flavour, &used.node)));
    }
    routes
}

fn pod_namespace(cluster: &Cluster, addresses: &Addresses, pod: &Pod) -> Result<Namespace> {
    let node = cluster.nodes.iter().find(|node| node.name == pod.node);
    let (Some(node), own @ [_, ..]) = (node, addresses.pod(pod)) else {
        return Err(Error::new(Kind::Topology, format!("pod {} has no node or no address", pod.key())));
    };
    Ok(pod_at(cluster, pod, own, pod_mtu(cluster, node)))
}

/// The namespace of a pod with these addresses, one of a family. IPv6 needs no gateway that nobody has: the other end
/// of the veth has a link-local address.
pub(super) fn pod_at(cluster: &Cluster, pod: &Pod, addresses: &[IpAddr], mtu: u32) -> Namespace {
    let role = Role::Pod { node: pod.node.clone(), namespace: pod.namespace.clone(), pod: pod.name.clone() };
    let mut ns = Namespace::new(&cluster.name, &pod.key(), &pod.name, role);
    let has_ipv6 = addresses.iter().any(IpAddr::is_ipv6);
    ns.sysctls = vec![Sysctl::new("net.ipv4.ip_forward", "0")];
    ns.sysctls.extend(if has_ipv6 { underlay::ipv6(false) } else { vec![underlay::no_ipv6()] });
    let kind = LinkKind::Veth { peer_namespace: pod.node.clone(), peer: felix::names::veth(pod) };
    ns.links.push(Link {
        mac: Some(names::mac(&[&cluster.name, &pod.key(), POD_NIC])),
        mtu: Some(mtu),
        addresses: addresses.iter().map(|address| own_address(*address)).collect(),
        ..Link::new(POD_NIC, kind)
    });
    ns.routes.push(Route::on_link(Ipv4Net::from(POD_GATEWAY), POD_NIC));
    ns.routes.push(Route::default_via(POD_GATEWAY, POD_NIC));
    if has_ipv6 {
        ns.routes.push(Route::default_via(HOST_MAC.link_local(), POD_NIC));
    }
    ns
}

/// A pod's address: alone in its prefix.
fn own_address(address: IpAddr) -> Address {
    let broadcast = if let IpAddr::V4(own) = address { Some(own) } else { None };
    Address { net: IpNet::from(address), broadcast, scope: Scope::Global }
}
