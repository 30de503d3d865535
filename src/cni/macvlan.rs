//! `macvlan`: pods on their node's own segment, by the macvlan plugin in mode `bridge` with host-local.
//!
//! A pod's eth0 is a macvlan device of the node's NIC: it has an Ethernet address of its own and an address out of the
//! segment's subnet, and the segment's router is its gateway. The node's IP stack takes no part: no bridge, no route, no
//! rule of iptables. For the same reason a node and its own pods cannot talk: what the node sends leaves through the NIC,
//! and no switch sends a frame back to where it came from. Each node's host-local has a range of its own in the subnet,
//! the node's `podCIDR`. Source: plugins v1.9.1, plugins/main/macvlan/macvlan.go.

use super::bridge_plugin::address;
use super::host_local::HostLocal;
use super::underlay;
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::{Datapath, File, Link, LinkKind, Namespace, Plan, Role, Route, Sysctl};
use crate::topology::{Cluster, Mode, Node, Pod, Segment};

/// `name` of the network.
const NETWORK: &str = "macvlan-net";
/// A pod's interface (`CNI_IFNAME`).
const POD_NIC: &str = "eth0";

/// The plan of a cluster whose pods this plugin connects.
pub(super) fn plan(cluster: &Cluster, datapath: Datapath) -> Result<Plan> {
    let mut namespaces = underlay::namespaces(cluster)?;
    let mut added = Vec::new();
    for node in &cluster.nodes {
        let mut ns = underlay::host(cluster, &underlay::Host::node(node), Role::Node)?;
        ns.sysctls = node_sysctls();
        added.extend(add_pods(cluster, node, &mut ns)?);
        namespaces.push(ns);
    }
    for pod in &cluster.pods {
        let own = added.iter().position(|ns: &Namespace| ns.name == pod.key());
        let own = own.ok_or_else(|| Error::new(Kind::Topology, format!("pod {}: there is no such node", pod.key())))?;
        namespaces.push(added.swap_remove(own));
    }
    Ok(Plan { cluster: cluster.name.clone(), mode: Mode::Macvlan.name().to_string(), datapath, namespaces })
}

/// A new namespace inherits the host's settings: those that decide whether packets pass are written down.
fn node_sysctls() -> Vec<Sysctl> {
    vec![
        Sysctl::new("net.ipv4.ip_forward", "1"),
        Sysctl::new("net.ipv4.conf.all.rp_filter", "0"),
        Sysctl::new("net.ipv4.conf.default.rp_filter", "0"),
    ]
}

/// Runs the plugin's ADD for each pod of a node; the pods' namespaces come back.
fn add_pods(cluster: &Cluster, node: &Node, ns: &mut Namespace) -> Result<Vec<Namespace>> {
    let segment = underlay::segment(cluster, &node.segment)?;
    let range = node.pod_cidr.ok_or_else(|| {
        let message = format!("node {} has no range of addresses for its pods", node.name);
        Error::new(Kind::Topology, message).hint(format!("write `podCIDR:` at the node, a part of {}", segment.subnet))
    })?;
    let mut pool = HostLocal::of_range(NETWORK, segment.subnet, range, segment.router);
    ns.files.push(conf(cluster, node, segment, &pool));
    let mut added = Vec::new();
    for pod in cluster.pods.iter().filter(|pod| pod.node == node.name) {
        let own = pool.allocate(cluster, pod, POD_NIC)?;
        let parent = LinkKind::Macvlan { parent_namespace: node.name.clone(), parent: node.nic.clone() };
        let mut ns = pod_namespace(cluster, pod);
        ns.links.push(Link {
            mac: Some(names::mac(&[&cluster.name, &pod.key(), POD_NIC])),
            mtu: Some(mtu(cluster, segment)),
            addresses: vec![address(own)],
            sysctls: vec![Sysctl::new(format!("net.ipv4.conf.{POD_NIC}.arp_notify"), "1")],
            ..Link::new(POD_NIC, parent)
        });
        ns.routes = vec![Route::default_via(segment.router, POD_NIC)];
        added.push(ns);
    }
    ns.files.extend(pool.files());
    Ok(added)
}

/// The plugin refuses a larger MTU than the NIC's, and takes the NIC's without `mtu`.
fn mtu(cluster: &Cluster, segment: &Segment) -> u32 {
    cluster.network.mtu.map_or(segment.mtu, |mtu| mtu.min(segment.mtu))
}

/// The cluster has no IPv6, so a pod keeps silent there.
fn pod_namespace(cluster: &Cluster, pod: &Pod) -> Namespace {
    let role = Role::Pod { node: pod.node.clone(), namespace: pod.namespace.clone(), pod: pod.name.clone() };
    let mut ns = Namespace::new(&cluster.name, &pod.key(), &pod.name, role);
    ns.sysctls = vec![Sysctl::new("net.ipv4.ip_forward", "0"), Sysctl::new("net.ipv6.conf.all.disable_ipv6", "1")];
    ns
}

/// What an administrator writes down for the container runtime, on each node with another range.
fn conf(cluster: &Cluster, node: &Node, segment: &Segment, pool: &HostLocal) -> File {
    let (start, end) = pool.range();
    let content = format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "{NETWORK}",
  "type": "macvlan",
  "master": "{}",
  "mode": "bridge",
  "mtu": {},
  "ipam": {{
    "type": "host-local",
    "subnet": "{}",
    "rangeStart": "{start}",
    "rangeEnd": "{end}",
    "gateway": "{}",
    "routes": [
      {{ "dst": "0.0.0.0/0" }}
    ]
  }}
}}
"#,
        node.nic,
        mtu(cluster, segment),
        segment.subnet,
        segment.router
    );
    File::new("/etc/cni/net.d/10-macvlan.conf", content)
}
