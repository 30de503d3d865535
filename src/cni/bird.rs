//! The configuration of a real BIRD on a node of Calico's (confd v3.18, etc/calico/confd/templates/bird.cfg.template,
//! bird_ipam.cfg.template, and bird6.cfg.template, bird6_ipam.cfg.template for IPv6), in the words of BIRD 2.
//!
//! A BIRD 1.6 has one family, and calico/node runs two: `bird` and `bird6`. BIRD 2 could have both; here each has a process,
//! a configuration and a control socket of its own all the same, so that one can end without the other.
//!
//! Calico runs its own BIRD 1.6, whose kernel protocol has an attribute of Calico's, `krt_tunnel`: the device that a
//! route goes through instead of the next hop's. BIRD 2 as distributions have it can say the same: next hops of BGP are
//! looked up in a table of its own, where each node is `onlink` on tunl0; packets that stay bare get their NIC back in
//! the filter.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::BgpSession;
use crate::ipam::Ipam;
use crate::plan::Family;
use crate::topology::{Cluster, EncapsulationMode, IpPool, Node, Segment};

/// Seconds between two looks of its at the kernel's routes (`scan time`).
pub(super) const SCAN: u32 = 2;
/// The autonomous system of a cluster (BGPConfiguration's `asNumber`).
const AS: u32 = 64512;

/// Whether nodes have BGP sessions: Calico leaves BIRD out where all pools are VXLAN's.
pub(super) fn is_used(cluster: &Cluster) -> bool {
    cluster.network.pools.iter().any(|pool| !pool.vxlan.is_on())
}

/// The sessions of the node-to-node mesh of one family, for which Calico has a BIRD each. The side whose peer's address is the larger text waits for the other.
pub(super) fn mesh<'c>(cluster: &'c Cluster, node: &Node, family: Family) -> Vec<BgpSession<'c>> {
    let others = cluster.nodes.iter().filter(|other| other.name != node.name);
    let session = |peer: &'c Node| {
        let (own, theirs) = (node.address_in(family)?, peer.address_in(family)?);
        Some(BgpSession { peer, passive: theirs.to_string() > own.to_string() })
    };
    others.filter_map(session).collect()
}

/// Where a BIRD runs.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) ipam: &'a Ipam,
    pub(super) node: &'a Node,
    pub(super) segment: &'a Segment,
}

/// The configuration of a node's BIRD of one family.
pub(super) fn config(here: &Here, family: Family) -> String {
    let Here { cluster, ipam, node, segment } = *here;
    let pools: Vec<&IpPool> = cluster.network.pools.iter().filter(|pool| pool.family() == family).collect();
    let has_tunnel = pools.iter().any(|pool| pool.ipip.is_on());
    let blocks = ipam.blocks_of(&node.name).map(|block| block.prefix);
    let blocks: Vec<IpNet> = blocks.filter(|block| Family::of(&block.addr()) == family).collect();
    let mut text = String::from("# What Calico v3.18 writes for its BIRD 1.6, in the words of BIRD 2.\n");
    let mut add = |part: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{part}");
    };
    // An id has four bytes, with IPv6 as well.
    add(&format!("log stderr all;\ntimeformat protocol iso short;\nrouter id {};\n", node.address));
    if has_tunnel {
        add(&tunnel_next_hops(cluster, node));
    }
    add(&export_filter(&pools, &blocks));
    add(&kernel_filter(&pools, node, segment, has_tunnel));
    add(&protocols(family, &blocks));
    add(&template(node, family, has_tunnel));
    for session in mesh(cluster, node, family) {
        let passive = if session.passive { " passive on;" } else { "" };
        let Some(peer) = session.peer.address_in(family) else { continue };
        let name = peer.to_string().replace(['.', ':'], "_");
        add(&format!("protocol bgp Mesh_{name} from bgp_template {{ neighbor {peer} as {AS};{passive} }}"));
    }
    text
}

/// What BIRD 2 calls a family's routes.
fn channel(family: Family) -> &'static str {
    match family {
        Family::Inet => "ipv4",
        Family::Inet6 => "ipv6",
    }
}

/// Where BGP looks up next hops: every node is on tunl0.
fn tunnel_next_hops(cluster: &Cluster, node: &Node) -> String {
    let mut text = String::from(
        "# In place of `krt_tunnel`, an attribute of Calico's own BIRD.\nipv4 table tunnel_next_hops;\n\
         protocol static through_tunl0 {\n  ipv4 { table tunnel_next_hops; };\n",
    );
    for BgpSession { peer, .. } in mesh(cluster, node, Family::Inet) {
        let _ = writeln!(text, "  route {0}/32 via {0}%tunl0 onlink;", peer.address);
    }
    text + "}\n"
}

/// A node tells its blocks as wholes, and of other pools' addresses what it has: borrowed ones.
fn export_filter(pools: &[&IpPool], blocks: &[IpNet]) -> String {
    let mut text = String::from("filter calico_export_to_bgp_peers {\n");
    for block in blocks {
        let _ = writeln!(text, "  if ( net = {block} ) then accept;");
        let _ = writeln!(text, "  if ( net ~ {block} ) then reject;");
    }
    for pool in pools {
        let _ = writeln!(text, "  if ( net ~ {} ) then accept;", pool.cidr);
    }
    text + "  reject;\n}\n"
}

/// Which routes go to the kernel, and through which device.
fn kernel_filter(pools: &[&IpPool], node: &Node, segment: &Segment, has_tunnel: bool) -> String {
    let mut text = String::from(
        "filter calico_kernel_programming {\n  # Connected routes: the kernel has them by itself.\n  \
         if ( source = RTS_DEVICE ) then reject;\n",
    );
    for pool in pools {
        let _ =
            writeln!(text, "  if ( net ~ {} ) then {{ {}}}", pool.cidr, programming(pool, node, segment, has_tunnel));
    }
    text + "  accept;\n}\n"
}

fn programming(pool: &IpPool, node: &Node, segment: &Segment, has_tunnel: bool) -> String {
    if pool.vxlan.is_on() {
        return "reject; ".to_owned();
    }
    let (nic, subnet) = (&node.nic, segment.subnet);
    let bare = format!("ifname = \"{nic}\"; gw = bgp_next_hop; onlink = false;");
    match (pool.ipip, has_tunnel) {
        (EncapsulationMode::Always, _) | (EncapsulationMode::Never, false) => "accept; ".to_owned(),
        (EncapsulationMode::CrossSubnet, _) => {
            format!("if ( source = RTS_BGP && bgp_next_hop ~ {subnet} ) then {{ {bare} }} accept; ")
        }
        // Without a tunnel in another pool, BIRD itself finds the router by the default route.
        (EncapsulationMode::Never, true) => format!(
            "if ( source = RTS_BGP ) then {{ if ( bgp_next_hop ~ {subnet} ) then {{ {bare} }} \
             else {{ ifname = \"{nic}\"; gw = {}; onlink = false; }} }} accept; ",
            segment.router
        ),
    }
}

fn protocols(family: Family, blocks: &[IpNet]) -> String {
    let channel = channel(family);
    let mut text = format!(
        "protocol kernel {{\n  learn; persist; scan time 2; graceful restart; merge paths on; metric 0;\n  \
         {channel} {{ import all; export filter calico_kernel_programming; }};\n}}\n\
         protocol device {{ scan time 2; }}\n\
         protocol direct {{ {channel}; interface -\"cali*\", -\"kube-ipvs*\", \"*\"; }}\n\
         protocol static {{\n  {channel};\n",
    );
    for block in blocks.iter().filter(|block| block.prefix_len() < block.max_prefix_len()) {
        let _ = writeln!(text, "  route {block} blackhole;");
    }
    text + "}\n"
}

fn template(node: &Node, family: Family, has_tunnel: bool) -> String {
    let table = if has_tunnel { "igp table tunnel_next_hops; " } else { "" };
    let (channel, own) = (channel(family), node.address_in(family).unwrap_or(node.address.into()));
    format!(
        "template bgp bgp_template {{\n  local as {AS};\n  multihop;\n  source address {own};\n  graceful restart;\n  \
         connect delay time 2;\n  connect retry time 5;\n  error wait time 5,30;\n  \
         {channel} {{ {table}gateway recursive; import all; export filter calico_export_to_bgp_peers; add paths on; }};\n}}\n",
    )
}
