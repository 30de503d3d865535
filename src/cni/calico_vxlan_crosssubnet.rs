//! `calico-vxlan-crosssubnet`: Calico with `vxlanMode: CrossSubnet`, without BIRD.
//!
//! Felix compares the other node's address with this node's own subnet: inside it packets go bare, by a route of
//! Felix's own protocol number; to other subnets they go through vxlan.calico. Every pod has that device's MTU.

use super::calico::{Flavour, Remote};
use super::calico_vxlan;
use crate::plan::{Protocol, Route};
use crate::topology::Mode;

/// What makes this mode of Calico's.
pub(super) const FLAVOUR: Flavour =
    Flavour { mode: Mode::CalicoVxlanCrossSubnet, remote_route: route, ..calico_vxlan::FLAVOUR };

/// `10.100.247.0/26 via 10.1.10.10 dev ens33 proto 80 onlink` inside a subnet (vxlan_mgr.go, `defaultVXLANProto`)
fn route(remote: &Remote) -> Option<Route> {
    if !remote.is_in_subnet() {
        return calico_vxlan::route(remote);
    }
    let plain = Route::via(remote.prefix, remote.address()?, &remote.here.nic);
    Some(Route { onlink: true, protocol: Protocol::Felix, ..plain })
}
