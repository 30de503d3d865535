//! `calico-bgp`: Calico without encapsulation (`ipipMode: Never`, `vxlanMode: Never`).
//!
//! Packets between pods of different nodes cross the underlay as they are, with the pods' own addresses. BIRD's route
//! goes through the node's NIC. BIRD resolves a next hop that is on no prefix of the node by the kernel's routes that it
//! has learned: the other node is behind the default route, so the route's gateway becomes the underlay's router, which
//! knows no pods. Calico needs a fabric that does, or an encapsulation.

use super::calico::{Flavour, Remote};
use crate::plan::{Protocol, Route};
use crate::topology::Mode;

/// What makes this mode of Calico's.
pub(super) const FLAVOUR: Flavour =
    Flavour { mode: Mode::CalicoBgp, tunnels: &[], blackholes: true, remote_route: route };

/// `10.100.247.0/26 via 10.1.10.10 dev ens33 proto bird`
pub(super) fn route(remote: &Remote) -> Option<Route> {
    let gateway = if remote.is_in_subnet() { remote.address() } else { remote.segment.router_in(remote.family()) };
    Some(Route { protocol: Protocol::Bird, ..Route::via(remote.prefix, gateway?, &remote.here.nic) })
}
