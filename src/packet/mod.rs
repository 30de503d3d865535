//! Frames as values: what a prediction says and what a capture saw, in one vocabulary. PURE.
//!
//! [`Frame`] is what was seen on one interface, decoded layer by layer; a prediction is a `Frame` too, in which
//! the fields that a kernel chooses freely (an IP id, a masqueraded port) are [`None`]. So comparing the two is
//! comparing two values field by field, and both print like `tcpdump -n`.

pub mod build;
pub mod decode;
mod decode6;
mod display;
mod icmp;
mod ip;
mod sctp;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests6;

use std::net::Ipv4Addr;

pub use icmp::Icmp;
pub use ip::{Ip, solicited_node};
pub use sctp::{CHUNK_HEADER, Chunk, INIT_CHUNK, Init, SCTP_HEADER, Sctp};

use crate::plan::Mac;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// IEEE 802 Local Experimental EtherType 1: no protocol stack takes it, so minik's own marks travel under it.
pub const ETHERTYPE_MARK: u16 = 0x88b5;
/// IP protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// IP protocol number of IP in IP.
pub const PROTOCOL_IPIP: u8 = 4;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// IP protocol number of IPv6 in another packet.
pub const PROTOCOL_IPV6: u8 = 41;
/// IP protocol number of IPv6's fragment header.
pub const PROTOCOL_FRAGMENT: u8 = 44;
/// IP protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;
/// IP protocol number of SCTP.
pub const PROTOCOL_SCTP: u8 = 132;
/// Length of an IPv4 header without options, in bytes.
pub const IP_HEADER: u16 = 20;
/// Length of an IPv6 header without extension headers, in bytes.
pub const IPV6_HEADER: u16 = 40;
/// Length of IPv6's fragment header, in bytes.
pub const FRAGMENT_HEADER: u16 = 8;
/// Length of an Ethernet header, in bytes.
pub const ETHERNET_HEADER: usize = 14;
/// Length of a UDP header, in bytes.
pub const UDP_HEADER: u16 = 8;
/// Length of a TCP header without options, in bytes.
pub const TCP_HEADER: u16 = 20;
/// Length of the header of an ICMP echo or error, of both families, in bytes.
pub const ICMP_HEADER: u16 = 8;
/// IPv6's smallest MTU in bytes: no link has a smaller one, and none below it is told (RFC 8200, 5; RFC 8201, 4).
pub const IPV6_MTU_MIN: u16 = 1280;
/// Length of a VXLAN header, in bytes.
pub const VXLAN_HEADER: u16 = 8;
/// UDP ports of VXLAN: IANA's, and Linux's own, which older specifications called OTV.
pub const VXLAN_PORTS: [u16; 2] = [4789, OTV_PORT];
/// Linux's default port of VXLAN, which `tcpdump` knows as OTV.
pub const OTV_PORT: u16 = 8472;

/// One frame on one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The Ethernet header; none on a device that carries bare IP (tunl0).
    pub ethernet: Option<Ethernet>,
    /// What it carries.
    pub body: Body,
    /// Bytes on the wire, link-layer header included: what `tcpdump -e` prints as `length`.
    pub length: usize,
}

/// Whether a frame leaves or enters a namespace through an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Direction::In => "in",
            Direction::Out => "out",
        })
    }
}

/// An Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ethernet {
    /// Source address.
    pub src: Mac,
    /// Destination address.
    pub dst: Mac,
    /// VLAN id, if it is tagged.
    pub vlan: Option<u16>,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// ARP for IPv4 over Ethernet.
    Arp(Arp),
    /// IPv4 or IPv6.
    Ip(Packet),
    /// Another protocol, by its EtherType, with the bytes in which a [`Mark`] may stand.
    Other(u16, Option<Mark>),
    /// Bytes that do not even hold the headers they begin.
    Malformed,
}

/// An ARP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Whether it asks or answers.
    pub operation: ArpOperation,
    /// Sender's hardware address.
    pub sender_mac: Mac,
    /// Sender's address.
    pub sender: Ipv4Addr,
    /// Target's hardware address.
    pub target_mac: Mac,
    /// Target's address.
    pub target: Ipv4Addr,
    /// The mark in the frame's padding, if there is one. The kernel pads no answer with it.
    pub mark: Option<Mark>,
}

/// What an ARP message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArpOperation {
    /// `who-has`.
    Request,
    /// `is-at`.
    Reply,
    /// Another operation.
    Other(u16),
}

/// An IP packet, with as many IP headers as there are around each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The IP headers, outermost first. Never empty in a decoded or predicted packet.
    pub layers: Vec<Ip>,
    /// What the innermost header carries.
    pub transport: Transport,
    /// The first bytes of the transport's payload, by which minik knows its own packets again.
    pub mark: Option<Mark>,
}

/// What the innermost IP header carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// An ICMP message, of IPv6 if the header is.
    Icmp(Icmp),
    /// A UDP datagram. A port is none in a prediction if the kernel chooses it.
    Udp {
        /// Source port.
        src: Option<u16>,
        /// Destination port.
        dst: Option<u16>,
    },
    /// A TCP segment. A port is none in a prediction if the kernel chooses it.
    Tcp {
        /// Source port.
        src: Option<u16>,
        /// Destination port.
        dst: Option<u16>,
        /// Its flags.
        flags: TcpFlags,
        /// Sequence number; none in a prediction if the kernel chooses it.
        seq: Option<u32>,
        /// Acknowledged sequence number.
        ack: u32,
    },
    /// An SCTP packet.
    Sctp(Sctp),
    /// A UDP datagram that carries another packet.
    Tunnel {
        /// Source port; none in a prediction, where the kernel takes a hash of what is inside.
        src: Option<u16>,
        /// Destination port.
        dst: Option<u16>,
        /// What it carries.
        inside: Box<Inside>,
    },
    /// A fragment that does not begin its datagram: no transport header.
    Fragment,
    /// Another protocol.
    Other,
    /// The packet ends before the transport header does.
    Truncated,
}

impl Transport {
    /// Source and destination port, of those that have ports. One is none in a prediction if the kernel chooses it.
    pub fn ports(&self) -> Option<(Option<u16>, Option<u16>)> {
        match self {
            Transport::Udp { src, dst }
            | Transport::Tcp { src, dst, .. }
            | Transport::Sctp(Sctp { src, dst, .. })
            | Transport::Tunnel { src, dst, .. } => Some((*src, *dst)),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn ports_mut(&mut self) -> Option<(&mut Option<u16>, &mut Option<u16>)> {
        match self {
            Transport::Udp { src, dst }
            | Transport::Tcp { src, dst, .. }
            | Transport::Sctp(Sctp { src, dst, .. })
            | Transport::Tunnel { src, dst, .. } => Some((src, dst)),
            _ => None,
        }
    }
}

/// What a tunnel over UDP carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// An Ethernet frame of a virtual network (RFC 7348).
    Vxlan {
        /// The network's identifier, 24 bits.
        vni: u32,
        /// The frame.
        frame: Frame,
    },
    /// An IP packet without any header around it, as flannel's `udp` backend sends it.
    Bare(Packet),
}

impl Inside {
    /// The IP packet in it.
    pub fn packet(&self) -> Option<&Packet> {
        match self {
            Inside::Vxlan { frame, .. } => frame.packet(),
            Inside::Bare(packet) => Some(packet),
        }
    }
}

/// TCP flags that tell what a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
}

/// Eight bytes that say "minik sent this", and which of its probes it is.
///
/// A probe's payload is this mark again and again, so that each fragment of it (they begin at multiples of eight
/// bytes) and each quotation in an ICMP error carries one, whatever address translation does to the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u32);

impl Mark {
    /// Length of a mark in bytes.
    pub const LENGTH: usize = 8;
    const MAGIC: [u8; 4] = *b"mnik";

    /// The bytes in the payload.
    pub fn bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&Self::MAGIC);
        bytes[4..].copy_from_slice(&self.0.to_be_bytes());
        bytes
    }

    /// The mark at the beginning of `payload`, if one is there.
    pub fn find(payload: &[u8]) -> Option<Mark> {
        let (magic, rest) = payload.split_first_chunk::<4>()?;
        let (number, _) = rest.split_first_chunk::<4>()?;
        (*magic == Self::MAGIC).then(|| Mark(u32::from_be_bytes(*number)))
    }

    /// Fills `payload` with it.
    pub fn fill(self, payload: &mut [u8]) {
        for (byte, mark) in payload.iter_mut().zip(self.bytes().iter().cycle()) {
            *byte = *mark;
        }
    }
}

impl Packet {
    /// The header that routers and rules look at.
    pub fn outer(&self) -> Option<&Ip> {
        self.layers.first()
    }

    /// Whether its outermost header is IPv6's.
    pub fn is_v6(&self) -> bool {
        self.outer().is_some_and(Ip::is_v6)
    }

    /// The header that the sender of the innermost transport wrote.
    pub fn inner(&self) -> Option<&Ip> {
        self.innermost().layers.last()
    }

    /// The packet that a tunnel over UDP carries.
    pub fn inside(&self) -> Option<&Packet> {
        match &self.transport {
            Transport::Tunnel { inside, .. } => inside.packet(),
            _ => None,
        }
    }

    /// The packet in all tunnels; the packet itself if it is in none.
    pub fn innermost(&self) -> &Packet {
        self.inside().map_or(self, Packet::innermost)
    }

    /// All IP headers, outermost first, through all tunnels.
    pub fn headers(&self) -> impl Iterator<Item = &Ip> {
        std::iter::successors(Some(self), |packet| packet.inside()).flat_map(|packet| &packet.layers)
    }

    /// The mark of the packet, or of the packet that an ICMP error is about.
    pub fn any_mark(&self) -> Option<Mark> {
        let packet = self.innermost();
        match &packet.transport {
            Transport::Icmp(icmp) => icmp.about().map_or(packet.mark, Packet::any_mark),
            _ => packet.mark,
        }
    }
}

impl Frame {
    /// Whether neighbours ask or tell by it who has an address: ARP, or neighbour discovery.
    pub fn is_of_neighbours(&self) -> bool {
        match &self.body {
            Body::Arp(_) => true,
            Body::Ip(Packet { transport: Transport::Icmp(icmp), .. }) => {
                matches!(icmp, Icmp::Solicitation { .. } | Icmp::Advertisement { .. })
            }
            _ => false,
        }
    }

    /// The IP packet in it.
    pub fn packet(&self) -> Option<&Packet> {
        match &self.body {
            Body::Ip(packet) => Some(packet),
            _ => None,
        }
    }
}
