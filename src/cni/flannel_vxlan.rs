//! `flannel-vxlan`, and `flannel-vxlan-directrouting`: flannel's `vxlan` backend.
//!
//! Packets between nodes travel as Ethernet frames in UDP (50 bytes more: IPv4 20, UDP 8, VXLAN 8, Ethernet 14). The
//! device learns nothing: for every other node flanneld writes down its VTEP's Ethernet address as a permanent neighbour,
//! that node's address as a permanent FDB entry, and the route to its podCIDR. With DirectRouting a node on the same
//! segment gets a plain route instead. Source: flannel v0.28.9, pkg/backend/vxlan.

use super::flannel::{Backend, Lease, Local};
use crate::error::Result;
use crate::names;
use crate::plan::{FdbEntry, Link, LinkKind, Mac, Namespace, Neighbour, Route, Vxlan};
use crate::topology::{Mode, Node};

/// UDP port where the configuration has 0: the Linux kernel's own, older than IANA's 4789.
const PORT: u16 = 8472;

/// Everything through the VXLAN device.
pub(super) const VXLAN: Backend = Backend { mode: Mode::FlannelVxlan, overhead: 50, register, add_lease: add_remote };

/// Through the VXLAN device what a router is between.
pub(super) const DIRECT_ROUTING: Backend =
    Backend { mode: Mode::FlannelVxlanDirectRouting, add_lease: add_direct_or_remote, ..VXLAN };

/// `flannel.1`, called after the VNI.
fn device(local: &Local) -> String {
    format!("flannel.{}", local.cluster.network.flannel.vni)
}

/// The Ethernet address of a node's VTEP, which its lease carries.
fn vtep_mac(local: &Local, node: &Node) -> Mac {
    names::mac(&[&local.cluster.name, &node.name, &device(local)])
}

fn register(local: &Local, ns: &mut Namespace) -> Result<()> {
    let flannel = &local.cluster.network.flannel;
    let kind = LinkKind::Vxlan(Vxlan {
        vni: flannel.vni,
        local: local.node.address.into(),
        dev: local.node.nic.clone(),
        port: flannel.port.unwrap_or(PORT),
        learning: flannel.learning,
    });
    ns.links.push(Link {
        mac: Some(vtep_mac(local, local.node)),
        mtu: Some(local.mtu),
        addresses: vec![local.device_address()],
        ..Link::new(&device(local), kind)
    });
    Ok(())
}

fn add_remote(local: &Local, lease: &Lease, ns: &mut Namespace) -> Result<()> {
    let (dev, mac, vtep) = (device(local), vtep_mac(local, lease.node), lease.subnet.network());
    ns.neighbours.push(Neighbour { address: vtep.into(), mac, dev: dev.clone() });
    ns.fdb.push(FdbEntry { mac, dev: dev.clone(), dst: lease.node.address.into() });
    ns.routes.push(Route { onlink: true, ..Route::via(lease.subnet, vtep, &dev) });
    Ok(())
}

/// flanneld asks for the route to the other node: where it has no gateway, the node is a neighbour.
fn add_direct_or_remote(local: &Local, lease: &Lease, ns: &mut Namespace) -> Result<()> {
    if local.node.segment != lease.node.segment {
        return add_remote(local, lease, ns);
    }
    ns.routes.push(Route::via(lease.subnet, lease.node.address, &local.node.nic));
    Ok(())
}
