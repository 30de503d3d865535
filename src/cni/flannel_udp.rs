//! `flannel-udp`: flannel's `udp` backend, a TUN device and a program that carries its packets.
//!
//! The kernel routes the whole pod network to `flannel0`; flanneld's proxy knows which node has which podCIDR, and sends
//! the packet bare, as the payload of a UDP datagram (28 bytes more: IPv4 20, UDP 8). It lowers the TTL once on each
//! side. Source: flannel v0.28.9, pkg/backend/udp (udp_amd64.go, udp_network_amd64.go, proxy_amd64.c).

use ipnet::IpNet;

use super::flannel::{Backend, Lease, Local};
use crate::error::Result;
use crate::plan::{Family, Link, LinkKind, Namespace, Route, Scope, UdpTunnel};
use crate::topology::Mode;

/// UDP port where the configuration has none.
const PORT: u16 = 8285;

/// The device: the first free of `flannel%d`.
const DEVICE: &str = "flannel0";

/// Everything through the TUN.
pub(super) const UDP: Backend = Backend { mode: Mode::FlannelUdp, overhead: 28, register, add_lease };

fn register(local: &Local, family: Family, ns: &mut Namespace) -> Result<()> {
    let flannel = &local.cluster.network.flannel;
    let tunnel = UdpTunnel { local: local.node.address, port: flannel.port.unwrap_or(PORT), peers: Vec::new() };
    ns.links.push(Link {
        mtu: Some(local.mtu),
        addresses: local.device_address(family).into_iter().collect(),
        ..Link::new(DEVICE, LinkKind::Udp(tunnel))
    });
    ns.routes.push(Route { scope: Scope::Global, ..Route::on_link(flannel.network, DEVICE) });
    Ok(())
}

/// A line in the proxy's own table; the kernel knows nothing of it.
fn add_lease(_: &Local, lease: &Lease, ns: &mut Namespace) -> Result<()> {
    for link in &mut ns.links {
        if let (LinkKind::Udp(tunnel), IpNet::V4(subnet)) = (&mut link.kind, lease.subnet) {
            tunnel.peers.push((subnet, lease.node.address));
        }
    }
    Ok(())
}
