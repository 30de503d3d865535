//! `calico-ipip-crosssubnet`: Calico with `ipipMode: CrossSubnet`.
//!
//! BIRD compares the next hop with the node's own subnet: inside it packets go bare, as in `calico-bgp`; to other
//! subnets, whose routers know no pods, they go through tunl0, as in `calico-ipip`. Every pod has tunl0's MTU.

use super::calico::Flavour;
use super::{calico_bgp, calico_ipip};
use crate::topology::Mode;

/// What makes this mode of Calico's.
pub(super) const FLAVOUR: Flavour = Flavour {
    mode: Mode::CalicoIpipCrossSubnet,
    remote_route: |remote| {
        if remote.is_in_subnet() { calico_bgp::route(remote) } else { calico_ipip::route(remote) }
    },
    ..calico_ipip::FLAVOUR
};
