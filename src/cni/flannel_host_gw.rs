//! `flannel-host-gw`: flannel's `host-gw` backend, plain routes and no device.
//!
//! The next hop to a pod is its node, so all nodes must be on one segment: the kernel takes no gateway that it cannot
//! reach on the link. Source: flannel v0.28.9, pkg/backend/hostgw/hostgw.go, pkg/backend/route_network.go.

use ipnet::IpNet;

use super::flannel::{Backend, Lease, Local};
use crate::error::{Error, Kind, Result};
use crate::plan::{Family, Keeper, Keeps, Namespace, Protocol, Route};
use crate::topology::Mode;

/// Routes through the nodes' NICs.
pub(super) const HOST_GW: Backend = Backend { mode: Mode::FlannelHostGw, overhead: 0, register, add_lease };

/// No device; but flanneld looks every ten seconds whether its routes are there (`routeCheckRetries`), which it does for no
/// route of the vxlan backend, DirectRouting's among them (flannel#1070).
fn register(local: &Local, family: Family, ns: &mut Namespace) -> Result<()> {
    let flannel = &local.cluster.network.flannel;
    let routes = Keeps::Routes {
        protocol: Protocol::Boot,
        device: Some(local.node.nic.clone()),
        within: match family {
            Family::Inet => Some(flannel.network.into()),
            Family::Inet6 => flannel.network6.map(IpNet::from),
        },
    };
    ns.keepers.push(Keeper::new("flanneld", 10, routes));
    Ok(())
}

/// `10.244.1.0/24 via 10.1.10.10 dev ens33`
fn add_lease(local: &Local, lease: &Lease, ns: &mut Namespace) -> Result<()> {
    let (here, there) = (local.node, lease.node);
    let route = Route::via(lease.subnet, lease.public_ip()?, &here.nic);
    if here.segment != there.segment {
        let message = format!(
            "flannel's host-gw cannot reach {} from {}: `ip route add {route}` is refused with \"Nexthop has invalid \
             gateway\", as a router is between segment {} and segment {}",
            there.name, here.name, here.segment, there.segment
        );
        return Err(Error::new(Kind::Topology, message).hint(
            "put all nodes on one segment, or take flannel-vxlan-directrouting, which routes inside a segment and \
             encapsulates across",
        ));
    }
    ns.routes.push(route);
    Ok(())
}
