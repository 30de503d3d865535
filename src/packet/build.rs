//! From a description to the bytes of a frame, with right lengths and checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::MutablePacket;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherType, EtherTypes};
use pnet::packet::icmp::{IcmpPacket, IcmpType, IcmpTypes, echo_request::MutableEchoRequestPacket};
use pnet::packet::icmpv6::Icmpv6Packet;
use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::MutableIpv4Packet;
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{MutableTcpPacket, TcpPacket};
use pnet::packet::udp::{MutableUdpPacket, UdpPacket};
use pnet::util::MacAddr;

use super::decode6::OPTION_MARK;
use super::{
    ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_MARK, FRAGMENT_HEADER, INIT_CHUNK, IP_HEADER,
    IPV6_HEADER, Init, Mark, PROTOCOL_FRAGMENT, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP,
    PROTOCOL_UDP, SCTP_HEADER, TcpFlags, sctp, solicited_node,
};
use crate::error::{Error, Kind, Result};
use crate::plan::Mac;

/// The shortest Ethernet frame without its checksum, in bytes; ARP is padded to it.
const FRAME_MIN: usize = 60;
const ARP_LENGTH: usize = 28;
/// Types of ICMPv6.
const ECHO_REQUEST_V6: u8 = 128;
const NEIGHBOUR_SOLICITATION: u8 = 135;

/// What a probe says to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// ICMP echo request.
    Echo {
        /// Identifier.
        id: u16,
        /// Sequence number.
        seq: u16,
    },
    /// UDP datagram.
    Udp {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
    },
    /// TCP SYN without options.
    Syn {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
        /// Sequence number.
        seq: u32,
    },
    /// SCTP INIT, without a mark: it is known by its tag.
    Init {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
        /// What it offers.
        init: Init,
    },
}

impl Message {
    /// Length of its header in bytes.
    pub fn header(&self) -> u16 {
        match self {
            Message::Echo { .. } | Message::Udp { .. } => 8,
            Message::Syn { .. } => 20,
            Message::Init { .. } => SCTP_HEADER + INIT_CHUNK,
        }
    }
}

/// A probe as an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Source address; unspecified lets the kernel choose, where a raw socket sends it.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Identification; an IPv6 packet has it in its fragments only.
    pub id: u16,
    /// Don't fragment. IPv6 has no such bit, see [`super::Ip::dont_fragment`].
    pub dont_fragment: bool,
    /// Total length of the IP packet in bytes.
    pub length: u16,
    /// What it says.
    pub message: Message,
    /// What its payload is filled with.
    pub mark: Mark,
}

impl Probe {
    /// Whether it is IPv6.
    pub fn is_v6(&self) -> bool {
        self.dst.is_ipv6()
    }

    /// The IP protocol number.
    pub fn protocol(&self) -> u8 {
        match self.message {
            Message::Echo { .. } if self.is_v6() => PROTOCOL_ICMPV6,
            Message::Echo { .. } => PROTOCOL_ICMP,
            Message::Udp { .. } => PROTOCOL_UDP,
            Message::Syn { .. } => PROTOCOL_TCP,
            Message::Init { .. } => PROTOCOL_SCTP,
        }
    }
}

/// The IP packet of `probe`.
///
/// # Errors
/// If `length` cannot hold the headers, or its addresses are of two families.
pub fn ip(probe: &Probe) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(probe.length)];
    let written = match (probe.src, probe.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => packet4(&mut bytes, probe, src, dst),
        (IpAddr::V6(src), IpAddr::V6(dst)) => packet6(&mut bytes, probe, src, dst),
        (src, dst) => return Err(Error::new(Kind::Usage, format!("no packet goes from {src} to {dst}"))),
    };
    let protocol = probe.protocol();
    let text = || format!("{} bytes are too few for a packet of IP protocol {protocol}", probe.length);
    written.ok_or_else(|| Error::new(Kind::Usage, text()))?;
    Ok(bytes)
}

fn packet4(bytes: &mut [u8], probe: &Probe, src: Ipv4Addr, dst: Ipv4Addr) -> Option<()> {
    let mut header = MutableIpv4Packet::new(bytes)?;
    header.set_version(4);
    header.set_header_length(5);
    header.set_total_length(probe.length);
    header.set_identification(probe.id);
    header.set_flags(if probe.dont_fragment { 0b010 } else { 0 });
    header.set_ttl(probe.ttl);
    header.set_next_level_protocol(IpNextHeaderProtocol(probe.protocol()));
    header.set_source(src);
    header.set_destination(dst);
    write_message(header.payload_mut(), probe)?;
    seal(bytes);
    Some(())
}

fn packet6(bytes: &mut [u8], probe: &Probe, src: Ipv6Addr, dst: Ipv6Addr) -> Option<()> {
    let mut header = MutableIpv6Packet::new(bytes)?;
    header.set_version(6);
    header.set_payload_length(probe.length.checked_sub(IPV6_HEADER)?);
    header.set_next_header(IpNextHeaderProtocol(probe.protocol()));
    header.set_hop_limit(probe.ttl);
    header.set_source(src);
    header.set_destination(dst);
    write_message(bytes.get_mut(usize::from(IPV6_HEADER)..)?, probe)
}

fn write_message(bytes: &mut [u8], probe: &Probe) -> Option<()> {
    probe.mark.fill(bytes.get_mut(usize::from(probe.message.header())..)?);
    match probe.message {
        Message::Echo { id, seq } => {
            let mut echo = MutableEchoRequestPacket::new(bytes)?;
            let kind = if probe.is_v6() { IcmpType(ECHO_REQUEST_V6) } else { IcmpTypes::EchoRequest };
            echo.set_icmp_type(kind);
            echo.set_identifier(id);
            echo.set_sequence_number(seq);
        }
        Message::Udp { src, dst } => {
            let length = u16::try_from(bytes.len()).ok()?;
            let mut udp = MutableUdpPacket::new(bytes)?;
            udp.set_source(src);
            udp.set_destination(dst);
            udp.set_length(length);
        }
        Message::Syn { src, dst, seq } => {
            let mut tcp = MutableTcpPacket::new(bytes)?;
            tcp.set_source(src);
            tcp.set_destination(dst);
            tcp.set_sequence(seq);
            tcp.set_data_offset(5);
            tcp.set_flags(TcpFlags::SYN);
            tcp.set_window(64240);
        }
        // Its checksum is another.
        Message::Init { src, dst, init } => {
            init.write(bytes.get_mut(usize::from(SCTP_HEADER)..)?)?;
            return sctp::seal(bytes, src, dst, 0);
        }
    }
    write_checksum(bytes, probe)
}

/// The checksum of the message in `bytes`, with the addresses of the probe where the protocol has them in it.
fn write_checksum(bytes: &mut [u8], probe: &Probe) -> Option<()> {
    let (at, sum) = match (probe.message, probe.src, probe.dst) {
        (Message::Echo { .. }, IpAddr::V6(src), IpAddr::V6(dst)) => {
            (2, pnet::packet::icmpv6::checksum(&Icmpv6Packet::new(bytes)?, &src, &dst))
        }
        (Message::Echo { .. }, ..) => (2, pnet::packet::icmp::checksum(&IcmpPacket::new(bytes)?)),
        // The kernel fills in an unspecified source after us, so no checksum over it can be right: none at all.
        (Message::Udp { .. }, src, _) if src.is_unspecified() => (6, 0),
        (Message::Udp { .. }, IpAddr::V4(src), IpAddr::V4(dst)) => {
            (6, pnet::packet::udp::ipv4_checksum(&UdpPacket::new(bytes)?, &src, &dst))
        }
        // In IPv6 zero is no checksum, and none is not allowed (RFC 8200, 8.1).
        (Message::Udp { .. }, IpAddr::V6(src), IpAddr::V6(dst)) => {
            let sum = pnet::packet::udp::ipv6_checksum(&UdpPacket::new(bytes)?, &src, &dst);
            (6, if sum == 0 { 0xffff } else { sum })
        }
        (Message::Syn { .. }, IpAddr::V4(src), IpAddr::V4(dst)) => {
            (16, pnet::packet::tcp::ipv4_checksum(&TcpPacket::new(bytes)?, &src, &dst))
        }
        (Message::Syn { .. }, IpAddr::V6(src), IpAddr::V6(dst)) => {
            (16, pnet::packet::tcp::ipv6_checksum(&TcpPacket::new(bytes)?, &src, &dst))
        }
        _ => return None,
    };
    bytes.get_mut(at..at + 2)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Writes the header checksum of the IPv4 packet in `bytes`.
fn seal(bytes: &mut [u8]) {
    if let Some(mut header) = MutableIpv4Packet::new(bytes) {
        header.set_checksum(0);
        let checksum = pnet::packet::ipv4::checksum(&header.to_immutable());
        header.set_checksum(checksum);
    }
}

/// Splits an IP packet without options and extension headers as a sender with this MTU does: the pieces carry a
/// multiple of eight bytes, the first ones as much as fits. IPv6's pieces have `id` in a header more.
pub fn fragments(packet: &[u8], mtu: u16, id: u16) -> Vec<Vec<u8>> {
    let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
    let (header_length, around) =
        if is_v6 { (IPV6_HEADER, IPV6_HEADER + FRAGMENT_HEADER) } else { (IP_HEADER, IP_HEADER) };
    let at = usize::from(header_length);
    let (Some(header), Some(payload)) = (packet.get(..at), packet.get(at..)) else {
        return Vec::new();
    };
    let room = usize::from(mtu.saturating_sub(around)) / 8 * 8;
    if packet.len() <= usize::from(mtu) || room == 0 {
        return vec![packet.to_vec()];
    }
    let last = payload.len().div_ceil(room).saturating_sub(1);
    let piece = |(index, part): (usize, &[u8])| {
        let (more, offset) = (index < last, u16::try_from(index * room).unwrap_or(u16::MAX));
        if is_v6 { piece6(header, part, more, offset, id) } else { piece4(header, part, more, offset) }
    };
    payload.chunks(room).enumerate().map(piece).collect()
}

fn piece4(header: &[u8], part: &[u8], more: bool, offset: u16) -> Vec<u8> {
    let mut bytes = [header, part].concat();
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    if let Some(mut ip) = MutableIpv4Packet::new(&mut bytes) {
        ip.set_total_length(length);
        ip.set_flags(if more { 0b001 } else { 0 });
        ip.set_fragment_offset(offset / 8);
    }
    seal(&mut bytes);
    bytes
}

fn piece6(header: &[u8], part: &[u8], more: bool, offset: u16, id: u16) -> Vec<u8> {
    let protocol = header.get(6).copied().unwrap_or_default();
    let mut own = [protocol, 0, 0, 0, 0, 0, 0, 0];
    own[2..4].copy_from_slice(&(offset | u16::from(more)).to_be_bytes());
    own[4..8].copy_from_slice(&u32::from(id).to_be_bytes());
    let mut bytes = [header, &own, part].concat();
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).saturating_sub(IPV6_HEADER);
    if let Some(mut ip) = MutableIpv6Packet::new(&mut bytes) {
        ip.set_payload_length(length);
        ip.set_next_header(IpNextHeaderProtocol(PROTOCOL_FRAGMENT));
    }
    bytes
}

/// Puts an Ethernet header before an IP packet, of the family that its first bits say.
pub fn ethernet(src: Mac, dst: Mac, packet: &[u8]) -> Vec<u8> {
    let kind = if packet.first().is_some_and(|first| first >> 4 == 6) { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    framed(src, dst, EtherType(kind), packet)
}

fn framed(src: Mac, dst: Mac, kind: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ETHERNET_HEADER + payload.len());
    bytes.extend_from_slice(&dst.0);
    bytes.extend_from_slice(&src.0);
    bytes.extend_from_slice(&kind.0.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// An ARP request for `target` as a broadcast frame, its padding filled with `mark`.
///
/// # Errors
/// Never in practice: only if the buffer made here were too short for ARP.
pub fn arp_request(sender_mac: Mac, sender: Ipv4Addr, target: Ipv4Addr, mark: Mark) -> Result<Vec<u8>> {
    let mut payload = [0; FRAME_MIN - ETHERNET_HEADER];
    mark.fill(&mut payload[ARP_LENGTH..]);
    let mut arp =
        MutableArpPacket::new(&mut payload).ok_or_else(|| Error::new(Kind::Usage, "no room for an ARP message"))?;
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(ArpOperations::Request);
    arp.set_sender_hw_addr(MacAddr::from(sender_mac.0));
    arp.set_sender_proto_addr(sender);
    arp.set_target_proto_addr(target);
    Ok(framed(sender_mac, Mac::BROADCAST, EtherTypes::Arp, &payload))
}

/// A neighbour solicitation for `target` as a multicast frame, with `mark` in an option that nobody reads.
pub fn neighbour_solicitation(sender_mac: Mac, sender: Ipv6Addr, target: Ipv6Addr, mark: Mark) -> Vec<u8> {
    const MESSAGE: usize = 48;
    let (group, group_mac) = solicited_node(target);
    let mut message = [0; MESSAGE];
    message[0] = NEIGHBOUR_SOLICITATION;
    message[8..24].copy_from_slice(&target.octets());
    // Source link-layer address, one unit of eight bytes.
    message[24..26].copy_from_slice(&[1, 1]);
    message[26..32].copy_from_slice(&sender_mac.0);
    message[32..34].copy_from_slice(&[OPTION_MARK, 2]);
    message[40..48].copy_from_slice(&mark.bytes());
    if let Some(packet) = Icmpv6Packet::new(&message) {
        let sum = pnet::packet::icmpv6::checksum(&packet, &sender, &group);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let mut packet = vec![0; usize::from(IPV6_HEADER)];
    if let Some(mut header) = MutableIpv6Packet::new(&mut packet) {
        header.set_version(6);
        header.set_payload_length(MESSAGE as u16);
        header.set_next_header(IpNextHeaderProtocol(PROTOCOL_ICMPV6));
        // What comes from farther away is no neighbour's (RFC 4861, 7.1).
        header.set_hop_limit(255);
        header.set_source(sender);
        header.set_destination(group);
    }
    packet.extend_from_slice(&message);
    ethernet(sender_mac, group_mac, &packet)
}

/// A broadcast frame that no protocol stack takes. It teaches switches where `src` is, and tells a capture that
/// everything sent before it has been seen.
pub fn marker(src: Mac, mark: Mark) -> Vec<u8> {
    let mut payload = [0; FRAME_MIN - ETHERNET_HEADER];
    mark.fill(&mut payload);
    framed(src, Mac::BROADCAST, EtherType(ETHERTYPE_MARK), &payload)
}
