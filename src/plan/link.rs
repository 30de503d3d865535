//! Links of a namespace: what they are and how they are set.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::Serialize;

use super::{Address, Mac, Sysctl};

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its name (at most 15 bytes).
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Hardware address, where the kernel shall not choose one.
    pub mac: Option<Mac>,
    /// MTU in bytes; none leaves the kernel's.
    pub mtu: Option<u32>,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it is set promiscuous.
    #[serde(skip_serializing_if = "is_off")]
    pub promiscuous: bool,
    /// A bridge port that may send a frame back to where it came from.
    #[serde(skip_serializing_if = "is_off")]
    pub hairpin: bool,
    /// The queueing discipline at its root; none leaves the kernel's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qdisc: Option<Qdisc>,
    /// Share of the packets that leave through it that a rule drops, in millionths ([`super::line`]).
    #[serde(skip_serializing_if = "is_zero")]
    pub loss: u32,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// IPv4 settings of `net.ipv4.conf.<link>` that netlink can set together with the link.
    pub ipv4: Ipv4Conf,
    /// Further settings of this link.
    pub sysctls: Vec<Sysctl>,
}

/// `net.ipv4.conf.<link>.*` and `net.ipv4.neigh.<link>.*` settings that a mode changes; none leaves the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ipv4Conf {
    /// `proxy_arp`: answer ARP for addresses that are routed through another device.
    pub proxy_arp: Option<bool>,
    /// `forwarding`.
    pub forwarding: Option<bool>,
    /// `route_localnet`: 127.0.0.0/8 is not martian.
    pub route_localnet: Option<bool>,
    /// `neigh/<link>/proxy_delay` in hundredths of a second; the kernel's default is 80.
    pub proxy_delay: Option<u32>,
}

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum LinkKind {
    /// `lo`, which every namespace has.
    Loopback,
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Veth {
        /// Name (inside the cluster) of the namespace where the other end is.
        peer_namespace: String,
        /// Name of the other end.
        peer: String,
    },
    /// `tunl0`, the device of the ipip module: remote any, local any, ttl inherit, nopmtudisc.
    Ipip,
    /// An ipip tunnel to one peer, as kube-router makes per node of another subnet: ttl inherit, pmtudisc.
    IpipPeer {
        /// Source of the outer header.
        local: Ipv4Addr,
        /// Destination of the outer header.
        remote: Ipv4Addr,
    },
    /// A VXLAN device.
    Vxlan(Vxlan),
    /// flannel's `udp` backend: a TUN device whose packets the agent carries bare in UDP.
    Udp(UdpTunnel),
    /// A dummy device, which leads nowhere: it is there for its addresses, which the kernel takes for its own even while
    /// it is down.
    Dummy,
    /// A macvlan device in bridge mode.
    Macvlan {
        /// Name (inside the cluster) of the namespace where the lower device is.
        parent_namespace: String,
        /// Name of the lower device.
        parent: String,
    },
}

/// A VXLAN device: one VNI, unicast to the peers of the FDB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vxlan {
    /// Network identifier, 24 bits.
    pub vni: u32,
    /// Source of the outer header, of either family; the outer header is of the same.
    pub local: IpAddr,
    /// The lower device, in the same namespace.
    pub dev: String,
    /// UDP destination port.
    pub port: u16,
    /// Whether it learns FDB entries from what it receives.
    pub learning: bool,
}

/// What flannel's proxy knows: where its UDP socket is, and which subnet is behind which node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UdpTunnel {
    /// Address that the UDP socket is bound to: the node's.
    pub local: Ipv4Addr,
    /// UDP port, here and at the peers.
    pub port: u16,
    /// Subnets of other nodes with those nodes' addresses.
    pub peers: Vec<(Ipv4Net, Ipv4Addr)>,
}

/// A queueing discipline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "qdisc")]
pub enum Qdisc {
    /// `htb`, with the handle `1:` and without classes, as kubenet puts it on cbr0.
    Htb {
        /// Minor number of the class for what no filter takes; tc reads and prints it as hexadecimal: 0x30 is `30`.
        default: u32,
    },
    /// `netem`: what a line does to packets.
    Netem(Netem),
    /// `tbf`: a token bucket, which stands in for netem's rate.
    Tbf {
        /// Rate in bytes a second.
        rate: u64,
    },
}

impl Qdisc {
    /// How many bytes a token bucket of this rate holds: those of 10 ms, within limits.
    pub fn burst(rate: u64) -> u32 {
        u32::try_from(rate / 100).unwrap_or(u32::MAX).clamp(Self::BURST_MIN, Self::BURST_MAX)
    }

    const BURST_MIN: u32 = 10_000;
    const BURST_MAX: u32 = 16_000_000;

    /// How many bytes wait in front of a token bucket at most: those of 50 ms, and a burst.
    pub fn queue(rate: u64) -> u32 {
        u32::try_from(rate / 20).unwrap_or(u32::MAX).saturating_add(Self::burst(rate))
    }
}

/// What a line does to packets that leave through a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Netem {
    /// Delay in microseconds.
    pub delay: u32,
    /// Share of packets that are lost, in millionths.
    pub loss: u32,
    /// Rate in bytes a second; 0 is without limit.
    pub rate: u64,
}

/// As `ip link add … type` reads it.
impl fmt::Display for Vxlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Vxlan { vni, local, dev, port, learning } = self;
        write!(f, "vxlan id {vni} local {local} dev {dev} dstport {port}")?;
        f.write_str(if *learning { "" } else { " nolearning" })
    }
}

/// As `tc qdisc add dev … root` reads it: with its handle if it needs one.
impl fmt::Display for Qdisc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // tc takes this number for hexadecimal, and prints it so.
            Qdisc::Htb { default } => write!(f, "handle 1: htb default {default:#x}"),
            Qdisc::Netem(netem) => netem.fmt(f),
            // tc's "bps" is bytes a second.
            Qdisc::Tbf { rate } => {
                write!(f, "tbf rate {rate}bps burst {} limit {}", Qdisc::burst(*rate), Qdisc::queue(*rate))
            }
        }
    }
}

/// As `tc` reads it: `netem delay 10000us loss 1% rate 125000bps`.
impl fmt::Display for Netem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("netem")?;
        if self.delay != 0 {
            write!(f, " delay {}us", self.delay)?;
        }
        if self.loss != 0 {
            write!(f, " loss {}%", f64::from(self.loss) / 10_000.0)?;
        }
        // tc's "bps" is bytes a second.
        if self.rate != 0 { write!(f, " rate {}bps", self.rate) } else { Ok(()) }
    }
}

impl LinkKind {
    /// Whether it puts a header around packets and sends them through another link.
    pub fn is_tunnel(&self) -> bool {
        match self {
            LinkKind::Loopback
            | LinkKind::Bridge
            | LinkKind::Veth { .. }
            | LinkKind::Dummy
            | LinkKind::Macvlan { .. } => false,
            LinkKind::Ipip | LinkKind::IpipPeer { .. } | LinkKind::Vxlan(_) | LinkKind::Udp(_) => true,
        }
    }

    /// Whether others are met through it, without a header around packets: neither loopback nor dummy nor tunnel.
    pub fn is_met(&self) -> bool {
        !matches!(self, LinkKind::Loopback | LinkKind::Dummy) && !self.is_tunnel()
    }

    /// Whether it is one of the ipip module's, for which a TUN device can stand in.
    pub fn is_ipip(&self) -> bool {
        matches!(self, LinkKind::Ipip | LinkKind::IpipPeer { .. })
    }
}

impl Link {
    /// A link that is up, without address, and with the kernel's settings.
    pub fn new(name: &str, kind: LinkKind) -> Self {
        Link {
            name: name.to_string(),
            kind,
            mac: None,
            mtu: None,
            master: None,
            up: true,
            promiscuous: false,
            hairpin: false,
            qdisc: None,
            loss: 0,
            addresses: Vec::new(),
            ipv4: Ipv4Conf::default(),
            sysctls: Vec::new(),
        }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_off(switch: &bool) -> bool {
    !switch
}
