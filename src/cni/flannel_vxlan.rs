//! `flannel-vxlan`, and `flannel-vxlan-directrouting`: flannel's `vxlan` backend.
//!
//! Packets between nodes travel as Ethernet frames in UDP (50 bytes more: IPv4 20, UDP 8, VXLAN 8, Ethernet 14). The
//! device learns nothing: for every other node flanneld writes down its VTEP's Ethernet address as a permanent neighbour,
//! that node's address as a permanent FDB entry, and the route to its podCIDR. With DirectRouting a node on the same
//! segment gets a plain route instead. Source: flannel v0.28.9, pkg/backend/vxlan.

use super::flannel::{Backend, Lease, Local};
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::{Family, FdbEntry, Link, LinkKind, Mac, Namespace, Neighbour, Route, Vxlan};
use crate::topology::{Mode, Node};

/// UDP port where the configuration has 0: the Linux kernel's own, older than IANA's 4789.
const PORT: u16 = 8472;

/// Bytes that the kernel reserves around a packet in IPv6: IPv6 40, UDP 8, VXLAN 8, Ethernet 14.
const OVERHEAD6: u32 = 70;

/// Everything through the VXLAN device.
pub(super) const VXLAN: Backend = Backend { mode: Mode::FlannelVxlan, overhead: 50, register, add_lease: add_remote };

/// Through the VXLAN device what a router is between.
pub(super) const DIRECT_ROUTING: Backend =
    Backend { mode: Mode::FlannelVxlanDirectRouting, add_lease: add_direct_or_remote, ..VXLAN };

/// `flannel.1`, called after the VNI, and `flannel-v6.1`.
fn device(local: &Local, family: Family) -> String {
    let vni = local.cluster.network.flannel.vni;
    match family {
        Family::Inet => format!("flannel.{vni}"),
        Family::Inet6 => format!("flannel-v6.{vni}"),
    }
}

/// The Ethernet address of a node's VTEP, which its lease carries.
fn vtep_mac(local: &Local, node: &Node, family: Family) -> Mac {
    names::mac(&[&local.cluster.name, &node.name, &device(local, family)])
}

/// flanneld asks for 50 bytes less than the NIC's in both families (`encapOverhead`). In IPv6 the kernel allows no more
/// than 70 less, and gives the device that; pods are told of 50 all the same, and learn the rest by "packet too big".
fn mtu(local: &Local, family: Family) -> u32 {
    match family {
        Family::Inet => local.mtu,
        Family::Inet6 => local.mtu.min(local.node.mtu.saturating_sub(OVERHEAD6)),
    }
}

fn register(local: &Local, family: Family, ns: &mut Namespace) -> Result<()> {
    let flannel = &local.cluster.network.flannel;
    let kind = LinkKind::Vxlan(Vxlan {
        vni: flannel.vni,
        local: local.node.address_in(family).ok_or_else(|| no_address(local.node))?,
        dev: local.node.nic.clone(),
        port: flannel.port.unwrap_or(PORT),
        learning: flannel.learning,
    });
    ns.links.push(Link {
        mac: Some(vtep_mac(local, local.node, family)),
        mtu: Some(mtu(local, family)),
        addresses: local.device_address(family).into_iter().collect(),
        ..Link::new(&device(local, family), kind)
    });
    Ok(())
}

fn add_remote(local: &Local, lease: &Lease, ns: &mut Namespace) -> Result<()> {
    let family = lease.family();
    let (dev, mac, vtep) = (device(local, family), vtep_mac(local, lease.node, family), lease.subnet.network());
    ns.neighbours.push(Neighbour { address: vtep, mac, dev: dev.clone() });
    ns.fdb.push(FdbEntry { mac, dev: dev.clone(), dst: lease.public_ip()? });
    ns.routes.push(Route { onlink: true, ..Route::via(lease.subnet, vtep, &dev) });
    Ok(())
}

/// flanneld asks for the route to the other node: where it has no gateway, the node is a neighbour.
fn add_direct_or_remote(local: &Local, lease: &Lease, ns: &mut Namespace) -> Result<()> {
    if local.node.segment != lease.node.segment {
        return add_remote(local, lease, ns);
    }
    ns.routes.push(Route::via(lease.subnet, lease.public_ip()?, &local.node.nic));
    Ok(())
}

fn no_address(node: &Node) -> Error {
    Error::new(Kind::Topology, format!("node {} has no IPv6 address for its VXLAN device", node.name))
}
