//! `calico-ipip`: Calico with `ipipMode: Always`.
//!
//! Every packet between pods of different nodes goes through tunl0, which puts a second IPv4 header (20 bytes,
//! protocol 4) around it. BIRD installs one route per remote block, `via` the other node's address and `onlink`,
//! because that address is on no prefix of tunl0; the next hop is the destination of the outer header.

use super::calico::{Flavour, Remote, Tunnel};
use crate::plan::{LinkKind, Protocol, Route};
use crate::topology::Mode;

/// What makes this mode of Calico's.
pub(super) const FLAVOUR: Flavour = Flavour {
    mode: Mode::CalicoIpip,
    tunnel: Some(Tunnel { device: "tunl0", kind: LinkKind::Ipip, overhead: 20 }),
    remote_route,
};

/// `10.100.247.0/26 via 10.1.10.10 dev tunl0 proto bird onlink`
fn remote_route(remote: &Remote) -> Route {
    Route { onlink: true, protocol: Protocol::Bird, ..Route::via(remote.prefix, remote.node.address, "tunl0") }
}
