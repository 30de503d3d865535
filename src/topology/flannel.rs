//! flannel's settings.

use ipnet::Ipv4Net;
use serde::Serialize;

/// What flanneld is told: `net-conf.json`, and its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flannel {
    /// `Network`: the prefix of all pods.
    pub network: Ipv4Net,
    /// `Backend.VNI`, 24 bits.
    pub vni: u32,
    /// `Backend.Port`: the UDP port, if it is not the backend's own.
    pub port: Option<u16>,
    /// `Backend.MTU` in bytes: of the outgoing packets, if it is not the NIC's.
    pub mtu: Option<u32>,
    /// `Backend.Learning`: the VXLAN device learns where Ethernet addresses are.
    pub learning: bool,
    /// `--ip-masq`: what leaves the pods' prefix gets the node's address.
    pub ip_masq: bool,
    /// Whether masquerade rules say `--random-fully`, as they do where iptables and kernel know it.
    pub random_fully: bool,
}

impl Flannel {
    /// flannel as its manifest installs it.
    pub fn new(network: Ipv4Net) -> Flannel {
        Flannel { network, vni: 1, port: None, mtu: None, learning: false, ip_masq: true, random_fully: true }
    }
}
