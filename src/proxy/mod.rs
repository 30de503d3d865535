//! From Services and their endpoints to what kube-proxy and kubelet put into a node. PURE.
//!
//! Everything here speaks of one node and one family of addresses at a time, as kube-proxy does: a [`View`] is what that
//! node's kube-proxy knows. [`iptables`] turns it into the chains of the iptables mode, from Kubernetes 1.20 to 1.30,
//! [`nftables`] into the table of the nftables mode, [`ipvs`] into the virtual servers, sets and rules of the ipvs mode.
//! [`kubelet`] and
//! [`hostport`] are the rules beside. What each of them gives is an [`Overlay`]: chains of its own and the jumps to them,
//! which [`Overlay::onto`] merges with what a CNI mode has planned, in the order in which the real programs come.
//!
//! Source: kubernetes pkg/proxy/{iptables,ipvs,nftables}/proxier.go and pkg/proxy/topology.go of 1.20.0 to 1.30.3,
//! pkg/kubelet/kubelet_network_linux.go; compared with what the real programs write (tests/kube-proxy/).

mod aside;
mod endpoints;
pub mod hostport;
pub mod iptables;
pub mod ipvs;
pub mod kubelet;
mod names;
pub mod nftables;
mod overlay;
mod rules;
mod selected;
mod view;

pub use aside::{forwards, health, published};
pub use endpoints::{Reachable, Target};
pub use overlay::{Jump, Overlay, Place};
pub use selected::{PodState, selected};
pub use view::{Host, PortView, View};
