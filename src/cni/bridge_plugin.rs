//! The `bridge` plugin of the CNI project: pods as ports of a bridge that is their gateway.
//!
//! The bridge comes into being with the first pod of a node, not before. A pod's veth is called `veth` and eight
//! hexadecimal digits on the node, `eth0` in the pod; the address comes from [`host_local`](super::host_local).
//! Source: plugins v1.9.1, plugins/main/bridge/bridge.go, pkg/ip/link_linux.go, plugins/ipam/host-local.
//!
//! Names and Ethernet addresses are random on a real node; here they are hashes. The plugin pins the bridge's address
//! when it gives the bridge its own IP address, so that it does not change as ports leave: here it is the bridge's from
//! the beginning.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sha1::Sha1;
use sha2::{Digest, Sha512};

use super::host_local::{HostLocal, container_id};
use super::underlay;
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::netfilter::{Match, Rule, TableName, Target};
use crate::plan::{Address, Datapath, Family, Link, LinkKind, Mac, Namespace, Plan, Role, Route, Scope, Sysctl, Table};
use crate::topology::{Cluster, Mode, Node, Pod};

/// A pod's interface (`CNI_IFNAME`).
const POD_NIC: &str = "eth0";
/// Longest name of a chain in bytes, as the plugins have it.
const CHAIN_MAX: usize = 28;

/// The plugin's configuration, by the names of its fields.
#[derive(Debug, Clone)]
pub(super) struct Conf {
    /// `name` of the network, which is also the directory of host-local's files.
    pub name: &'static str,
    /// `bridge`, `cni0` by default.
    pub bridge: &'static str,
    /// `mtu` in bytes.
    pub mtu: u32,
    /// `hairpinMode`: a port may send back where a frame came from.
    pub hairpin_mode: bool,
    /// `promiscMode`: the bridge takes every frame.
    pub promisc_mode: bool,
    /// `ipMasq`: what pods send out of their subnet gets the node's address.
    pub ip_masq: bool,
    /// Destinations that pods reach through the gateway: `routes` of the IPAM configuration, and the default route with
    /// `isDefaultGateway`.
    pub routes: Vec<IpNet>,
}

/// A mode in which this plugin connects the pods.
pub(super) struct Flavour<'a> {
    /// The mode.
    pub mode: Mode,
    /// The plugin's configuration on a node.
    pub conf: &'a dyn Fn(&Node) -> Result<Conf>,
    /// What else is on a node: daemons' links, routes, rules and files. It runs before any pod comes.
    pub node: &'a dyn Fn(&Node, &mut Namespace) -> Result<()>,
}

/// The plan of a cluster whose pods this plugin connects.
///
/// # Errors
/// `Topology` if a podCIDR is missing, too small or full; those of the flavour.
pub(super) fn plan(cluster: &Cluster, datapath: Datapath, flavour: &Flavour) -> Result<Plan> {
    let mut namespaces = underlay::namespaces(cluster)?;
    let mut pods: BTreeMap<String, Namespace> = BTreeMap::new();
    for node in &cluster.nodes {
        let mut ns = underlay::host(cluster, &underlay::Host::node(node), Role::Node)?;
        ns.sysctls = node_sysctls();
        if node.address6.is_some() {
            // The plugin turns forwarding on with the first address of a bridge, kubeadm asks for the other.
            ns.sysctls.extend(underlay::ipv6(true));
            ns.sysctls.push(Sysctl::new("net.bridge.bridge-nf-call-ip6tables", "1"));
        }
        (flavour.node)(node, &mut ns)?;
        let added = add_pods(cluster, &(flavour.conf)(node)?, node, &mut ns)?;
        pods.extend(added.into_iter().map(|pod| (pod.name.clone(), pod)));
        ns.routes.sort_by_key(|route| (route.dst.addr(), route.dst.prefix_len()));
        namespaces.push(ns);
    }
    for pod in &cluster.pods {
        namespaces.push(
            pods.remove(&pod.key()).ok_or_else(|| {
                Error::new(Kind::Topology, format!("pod {}: there is no node {}", pod.key(), pod.node))
            })?,
        );
    }
    Ok(Plan { cluster: cluster.name.clone(), mode: flavour.mode.name().to_string(), datapath, namespaces })
}

/// The Ethernet address of a node's bridge.
pub(super) fn bridge_mac(cluster: &Cluster, node: &Node, bridge: &str) -> Mac {
    names::mac(&[&cluster.name, &node.name, bridge])
}

/// What `ipMasq` puts into the nat table for one pod: a chain of its own, and the rule in POSTROUTING that leads to it
/// (plugins: pkg/ip/ipmasq_iptables_linux.go, pkg/utils/utils.go).
fn masquerade(cluster: &Cluster, network: &str, pod: &Pod, own: IpNet, nat: &mut Table) {
    let id = container_id(cluster, pod);
    let hash: String = Sha512::digest(format!("{network}{id}")).iter().map(hex).collect();
    let chain = format!("CNI-{}", &hash[..CHAIN_MAX - "CNI-".len()]);
    let rule = |condition, target| Rule {
        comments: vec![format!("name: \"{network}\" id: \"{id}\"")],
        matches: vec![condition],
        target: Some(target),
        ..Rule::default()
    };
    let to = |net, invert| Match::Destination { net, invert };
    let multicast = multicast(Family::of(&own.addr()));
    nat.chain(&chain).rules = vec![
        rule(to(own.trunc(), false), Target::Accept),
        rule(to(multicast, true), Target::Masquerade { random_fully: false }),
    ];
    let from = Match::Source { net: IpNet::from(own.addr()), invert: false };
    nat.chain("POSTROUTING").rules.push(rule(from, Target::Jump { chain }));
}

/// All multicast addresses of a family.
pub(super) fn multicast(family: Family) -> IpNet {
    match family {
        Family::Inet => Ipv4Net::new_assert([224, 0, 0, 0].into(), 4).into(),
        Family::Inet6 => Ipv6Net::new_assert([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8).into(),
    }
}

/// What every node has, and `bridge-nf-call-iptables`, which kubeadm and flannel ask for: it shows frames between two
/// ports to iptables.
pub(super) fn node_sysctls() -> Vec<Sysctl> {
    let mut all = underlay::node_sysctls();
    all.push(Sysctl::new("net.bridge.bridge-nf-call-iptables", "1"));
    all
}

/// Runs the plugin's ADD for each pod of a node, in the order of creation: the bridge and its ports are added to the
/// node, and the pods' namespaces come back.
fn add_pods(cluster: &Cluster, conf: &Conf, node: &Node, ns: &mut Namespace) -> Result<Vec<Namespace>> {
    let pods: Vec<&Pod> = cluster.pods.iter().filter(|pod| pod.node == node.name).collect();
    if pods.is_empty() {
        return Ok(Vec::new());
    }
    let mut pools = pools(conf, node)?;
    let gateways: Vec<IpNet> = pools.iter().map(HostLocal::gateway).collect();
    ns.links.push(Link {
        mac: Some(bridge_mac(cluster, node, conf.bridge)),
        mtu: Some(conf.mtu),
        promiscuous: conf.promisc_mode,
        addresses: gateways.iter().copied().map(address).collect(),
        ..Link::new(conf.bridge, LinkKind::Bridge)
    });
    let veths = veths(cluster, &pods);
    let mut added = Vec::with_capacity(pods.len());
    for (pod, veth) in pods.into_iter().zip(&veths) {
        ns.links.push(port(cluster, conf, pod, veth));
        let own = pools.iter_mut().map(|pool| pool.allocate(cluster, pod, POD_NIC)).collect::<Result<Vec<IpNet>>>()?;
        for own in own.iter().filter(|_| conf.ip_masq) {
            masquerade(cluster, conf.name, pod, *own, ns.table_in(Family::of(&own.addr()), TableName::Nat));
        }
        added.push(pod_namespace(cluster, conf, pod, veth, &own, &gateways));
    }
    ns.files.extend(pools.iter().flat_map(HostLocal::files));
    Ok(added)
}

/// A node's ranges of host-local: its podCIDR, and that of IPv6 if it has one.
fn pools(conf: &Conf, node: &Node) -> Result<Vec<HostLocal>> {
    let first = node.pod_cidr.ok_or_else(|| {
        let message = format!("node {} has pods and no podCIDR", node.name);
        Error::new(Kind::Topology, message).hint("write `podCIDR:` at the node, or make `clusterCIDR` larger")
    })?;
    let mut pools = vec![HostLocal::new(conf.name, first)?];
    if let Some(second) = node.pod_cidr6 {
        pools.push(HostLocal::new(conf.name, second)?.numbered(1));
    }
    Ok(pools)
}

/// The node's ends of its pods' veths. Of two equal hashes the later takes another one, as the plugin tries again with
/// another random name.
fn veths(cluster: &Cluster, pods: &[&Pod]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut name = |pod: &Pod| {
        let digest = |attempt: u32| Sha1::digest(format!("{}\0{}\0{attempt}", cluster.name, pod.key()));
        let named = |attempt| format!("veth{}", digest(attempt).iter().take(4).map(hex).collect::<String>());
        (0..).map(named).find(|name| taken.insert(name.clone())).unwrap_or_default()
    };
    pods.iter().map(|pod| name(pod)).collect()
}

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

/// An address as a plugin adds it: with the broadcast address of its prefix.
pub(super) fn address(net: IpNet) -> Address {
    let broadcast = match net {
        IpNet::V4(net) => (net.prefix_len() < 31).then(|| net.broadcast()),
        IpNet::V6(_) => None,
    };
    Address { net, broadcast, scope: Scope::Global }
}

/// The node's end of a pod's veth.
fn port(cluster: &Cluster, conf: &Conf, pod: &Pod, veth: &str) -> Link {
    Link {
        mac: Some(names::mac(&[&cluster.name, &pod.node, veth])),
        mtu: Some(conf.mtu),
        master: Some(conf.bridge.to_string()),
        hairpin: conf.hairpin_mode,
        ..Link::new(veth, LinkKind::Veth { peer_namespace: pod.key(), peer: POD_NIC.to_string() })
    }
}

/// `own` are the pod's addresses, `gateways` those of the bridge. In a cluster without IPv6 a pod keeps silent there; the
/// plugin's `accept_dad` has then nothing to say.
fn pod_namespace(
    cluster: &Cluster,
    conf: &Conf,
    pod: &Pod,
    veth: &str,
    own: &[IpNet],
    gateways: &[IpNet],
) -> Namespace {
    let role = Role::Pod { node: pod.node.clone(), namespace: pod.namespace.clone(), pod: pod.name.clone() };
    let mut ns = Namespace::new(&cluster.name, &pod.key(), &pod.name, role);
    let has_ipv6 = own.iter().any(|own| own.addr().is_ipv6());
    ns.sysctls = vec![Sysctl::new("net.ipv4.ip_forward", "0")];
    ns.sysctls.extend(if has_ipv6 { underlay::ipv6(false) } else { vec![underlay::no_ipv6()] });
    ns.links.push(Link {
        mac: Some(names::mac(&[&cluster.name, &pod.key(), POD_NIC])),
        mtu: Some(conf.mtu),
        addresses: own.iter().copied().map(address).collect(),
        sysctls: vec![Sysctl::new(format!("net.ipv4.conf.{POD_NIC}.arp_notify"), "1")],
        ..Link::new(POD_NIC, LinkKind::Veth { peer_namespace: pod.node.clone(), peer: veth.to_string() })
    });
    let via = |to: &IpNet| {
        let gateway = gateways.iter().find(|gateway| gateway.addr().is_ipv4() == to.addr().is_ipv4())?;
        Some(Route::via(*to, gateway.addr(), POD_NIC))
    };
    ns.routes = conf.routes.iter().filter_map(via).collect();
    ns
}
