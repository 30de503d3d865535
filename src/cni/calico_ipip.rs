//! `calico-ipip`: Calico with `ipipMode: Always`.
//!
//! Every packet between pods of different nodes goes through tunl0, which puts a second IPv4 header (20 bytes,
//! protocol 4) around it. BIRD installs one route per remote block, `via` the other node's address and `onlink`,
//! because that address is on no prefix of tunl0; the next hop is the destination of the outer header.

use super::calico::{Flavour, Remote, Tunnel};
use crate::plan::{Family, Link, LinkKind, Protocol, Route};
use crate::topology::Mode;

/// What makes this mode of Calico's.
pub(super) const FLAVOUR: Flavour =
    Flavour { mode: Mode::CalicoIpip, tunnels: &[&TUNNEL], blackholes: true, remote_route: route };

/// The ipip module's own device, which asks routes for where to send, and so needs to know no peer.
pub(super) const TUNNEL: Tunnel = Tunnel {
    device: "tunl0",
    family: Family::Inet,
    overhead: 20,
    serves: |pool| pool.ipip.is_on(),
    link: |_| Some(Link::new(TUNNEL.device, LinkKind::Ipip)),
    needs_address: false,
    peer: |_, _| None,
};

/// `10.100.247.0/26 via 10.1.10.10 dev tunl0 proto bird onlink`
pub(super) fn route(remote: &Remote) -> Option<Route> {
    let plain = Route::via(remote.prefix, remote.address()?, TUNNEL.device);
    Some(Route { onlink: true, protocol: Protocol::Bird, ..plain })
}
