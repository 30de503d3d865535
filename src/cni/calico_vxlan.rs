//! `calico-vxlan`: Calico with `vxlanMode: Always`, without BIRD (felix v3.18, dataplane/linux/vxlan_mgr.go).
//!
//! Every packet between pods of different nodes goes through vxlan.calico, which puts Ethernet, VXLAN (VNI 4096), UDP
//! (port 4789) and IPv4 around it, 50 bytes. Felix tells the device of each node all that it must know of the others:
//! the route to a block goes `via` the other device's address, a permanent neighbour says its MAC, a permanent FDB
//! entry says at which node that is. So no ARP crosses the tunnel. There is no blackhole: a node's own block is as far
//! as its pods' routes go (Felix adds one from v3.20 on).

use std::net::IpAddr;

use super::calico::{Flavour, Remote, Tunnel};
use super::felix::names::vtep_mac;
use crate::plan::{Family, FdbEntry, Link, LinkKind, Neighbour, Route, Vxlan};
use crate::topology::{Mode, Node};

/// VXLAN network identifier (Felix's `VXLANVNI`).
const VNI: u32 = 4096;
/// UDP port (Felix's `VXLANPort`).
pub(super) const PORT: u16 = 4789;

/// What makes this mode of Calico's.
pub(super) const FLAVOUR: Flavour =
    Flavour { mode: Mode::CalicoVxlan, tunnels: &[&TUNNEL, &TUNNEL6], blackholes: false, remote_route: route };

/// Felix's VXLAN device.
pub(super) const TUNNEL: Tunnel = Tunnel {
    device: "vxlan.calico",
    overhead: 50,
    family: Family::Inet,
    serves: |pool| pool.vxlan.is_on() && pool.family() == Family::Inet,
    link: |node| link(&TUNNEL, node),
    needs_address: true,
    peer: |node, address| peer(&TUNNEL, node, address),
};

/// Its twin for IPv6, in IPv6 (felix v3.23, which brought VXLAN for IPv6 pools).
pub(super) const TUNNEL6: Tunnel = Tunnel {
    device: "vxlan-v6.calico",
    overhead: 70,
    family: Family::Inet6,
    serves: |pool| pool.vxlan.is_on() && pool.family() == Family::Inet6,
    link: |node| link(&TUNNEL6, node),
    needs_address: true,
    peer: |node, address| peer(&TUNNEL6, node, address),
};

fn link(tunnel: &Tunnel, node: &Node) -> Option<Link> {
    let local = node.address_in(tunnel.family)?;
    let vxlan = Vxlan { vni: VNI, local, dev: node.nic.clone(), port: PORT, learning: false };
    let mac = Some(vtep_mac(&node.name, tunnel.family));
    Some(Link { mac, ..Link::new(tunnel.device, LinkKind::Vxlan(vxlan)) })
}

fn peer(tunnel: &Tunnel, node: &Node, address: IpAddr) -> Option<(Neighbour, FdbEntry)> {
    let (mac, dev) = (vtep_mac(&node.name, tunnel.family), tunnel.device.to_string());
    let neighbour = Neighbour { address, mac, dev: dev.clone() };
    Some((neighbour, FdbEntry { mac, dev, dst: node.address_in(tunnel.family)? }))
}

/// `10.100.247.0/26 via 10.100.247.0 dev vxlan.calico onlink`
pub(super) fn route(remote: &Remote) -> Option<Route> {
    let (tunnel, _, there) = remote.vteps?;
    Some(Route { onlink: true, ..Route::via(remote.prefix, there, tunnel.device) })
}
