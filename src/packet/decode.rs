//! From captured bytes to a [`Frame`]. Bytes come from anybody: nothing here panics or trusts a length field.

use pnet::packet::Packet as _;
use pnet::packet::arp::ArpPacket;
use pnet::packet::icmp::IcmpPacket;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::tcp::TcpPacket;
use pnet::packet::udp::UdpPacket;

use super::{
    Arp, ArpOperation, Body, ETHERNET_HEADER, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Frame, Icmp,
    Inside, Ip, Mark, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_IPIP, PROTOCOL_IPV6, PROTOCOL_SCTP, PROTOCOL_TCP,
    PROTOCOL_UDP, Packet, TcpFlags, Transport, UDP_HEADER, VXLAN_HEADER, VXLAN_PORTS, decode6, sctp,
};
use crate::plan::Mac;

/// IP headers inside each other, or ICMP quotations in each other, that are looked into; deeper ones are left.
pub(super) const DEPTH_MAX: usize = 8;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ARP_LENGTH: usize = 28;
/// The flag `I` of a VXLAN header.
const VNI_VALID: u8 = 0x08;

/// What a device puts in front of its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// Nothing: the packet is bare IP.
    RawIp,
}

/// Which UDP ports carry packets of others. A port says nothing by itself: who captures must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnels {
    /// Destination ports of VXLAN.
    pub vxlan: Vec<u16>,
    /// Destination ports of bare IP in UDP.
    pub bare: Vec<u16>,
}

/// VXLAN at the ports where `tcpdump` looks for it, and nothing else.
impl Default for Tunnels {
    fn default() -> Self {
        Tunnels { vxlan: VXLAN_PORTS.to_vec(), bare: Vec::new() }
    }
}

/// How far to look, and for what.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    tunnels: &'a Tunnels,
    depth: usize,
}

impl Scope<'_> {
    /// One header further in; none where it is deep enough.
    pub(super) fn deeper(self) -> Option<Self> {
        self.depth.checked_sub(1).map(|depth| Scope { depth, ..self })
    }
}

/// Decodes what was captured on a device of `link` type. `length` is the frame's length on the wire, which is
/// more than `bytes` if the capture kept only its beginning. `vlan` is a tag that the kernel took off.
pub fn frame(link: LinkType, bytes: &[u8], length: usize, vlan: Option<u16>, tunnels: &Tunnels) -> Frame {
    let scope = Scope { tunnels, depth: DEPTH_MAX };
    match link {
        LinkType::RawIp => {
            Frame { ethernet: None, body: packet(bytes, scope).map_or(Body::Malformed, Body::Ip), length }
        }
        LinkType::Ethernet => ethernet(bytes, length, vlan, scope),
    }
}

fn ethernet(bytes: &[u8], length: usize, vlan: Option<u16>, scope: Scope) -> Frame {
    let Some((header, rest)) = bytes.split_first_chunk::<ETHERNET_HEADER>() else {
        return Frame { ethernet: None, body: Body::Malformed, length };
    };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
    let mut kind = u16::from_be_bytes([t0, t1]);
    let (mut tag, mut payload) = (vlan, rest);
    if kind == ETHERTYPE_VLAN
        && let Some(([c0, c1, k0, k1], inner)) = rest.split_first_chunk::<4>()
    {
        tag = Some(u16::from_be_bytes([*c0, *c1]) & 0x0fff);
        kind = u16::from_be_bytes([*k0, *k1]);
        payload = inner;
    }
    let ethernet = Ethernet { src: Mac([s0, s1, s2, s3, s4, s5]), dst: Mac([d0, d1, d2, d3, d4, d5]), vlan: tag };
    Frame { ethernet: Some(ethernet), body: network(kind, payload, scope), length }
}

fn network(ethertype: u16, bytes: &[u8], scope: Scope) -> Body {
    match ethertype {
        ETHERTYPE_IPV4 => packet4(bytes, scope).map_or(Body::Malformed, Body::Ip),
        ETHERTYPE_IPV6 => decode6::packet(bytes, scope).map_or(Body::Malformed, Body::Ip),
        ETHERTYPE_ARP => arp(bytes).map_or(Body::Malformed, Body::Arp),
        other => Body::Other(other, Mark::find(bytes)),
    }
}

fn arp(bytes: &[u8]) -> Option<Arp> {
    let message = ArpPacket::new(bytes)?;
    let operation = match message.get_operation().0 {
        1 => ArpOperation::Request,
        2 => ArpOperation::Reply,
        other => ArpOperation::Other(other),
    };
    Some(Arp {
        operation,
        sender_mac: Mac(message.get_sender_hw_addr().octets()),
        sender: message.get_sender_proto_addr(),
        target_mac: Mac(message.get_target_hw_addr().octets()),
        target: message.get_target_proto_addr(),
        mark: bytes.get(ARP_LENGTH..).and_then(Mark::find),
    })
}

/// Decodes an IP packet of either family from its first header on; none if there is no whole header.
pub fn ip(bytes: &[u8], tunnels: &Tunnels) -> Option<Packet> {
    packet(bytes, Scope { tunnels, depth: DEPTH_MAX })
}

/// A packet of the family that its first bits say.
fn packet(bytes: &[u8], scope: Scope) -> Option<Packet> {
    match bytes.first()? >> 4 {
        6 => decode6::packet(bytes, scope),
        _ => packet4(bytes, scope),
    }
}

fn packet4(bytes: &[u8], scope: Scope) -> Option<Packet> {
    let header = Ipv4Packet::new(bytes)?;
    let header_length = usize::from(header.get_header_length()) * 4;
    if header.get_version() != 4 || header_length < 20 {
        return None;
    }
    let flags = header.get_flags();
    let (src, dst) = (header.get_source().into(), header.get_destination().into());
    let layer = Ip {
        id: Some(header.get_identification().into()),
        dont_fragment: flags & 0b010 != 0,
        more_fragments: flags & 0b001 != 0,
        offset: (header.get_fragment_offset() & 0x1fff).wrapping_mul(8),
        ..Ip::new(src, dst, header.get_next_level_protocol().0, header.get_ttl(), header.get_total_length())
    };
    let end = usize::from(layer.length).min(bytes.len());
    Some(layered(layer, bytes.get(header_length..end).unwrap_or(&[]), scope))
}

/// A header and what it carries: another packet, or a transport.
pub(super) fn layered(layer: Ip, payload: &[u8], scope: Scope) -> Packet {
    let inside = match layer.protocol {
        _ if layer.offset > 0 => None,
        PROTOCOL_IPIP => scope.deeper().and_then(|scope| packet4(payload, scope)),
        PROTOCOL_IPV6 => scope.deeper().and_then(|scope| decode6::packet(payload, scope)),
        _ => None,
    };
    if let Some(mut inside) = inside {
        inside.layers.insert(0, layer);
        return inside;
    }
    let (transport, rest) = transport(&layer, payload, scope);
    Packet { layers: vec![layer], transport, mark: Mark::find(rest) }
}

/// The transport header, and what follows it.
fn transport<'a>(layer: &Ip, payload: &'a [u8], scope: Scope) -> (Transport, &'a [u8]) {
    if layer.offset > 0 {
        return (Transport::Fragment, payload);
    }
    let decoded = match layer.protocol {
        PROTOCOL_ICMP if !layer.is_v6() => icmp(payload, scope),
        PROTOCOL_ICMPV6 if layer.is_v6() => decode6::icmp(payload, scope),
        PROTOCOL_UDP => udp(payload, scope),
        PROTOCOL_TCP => tcp(payload),
        PROTOCOL_SCTP => {
            let whole = !layer.is_fragment() && payload.len() == usize::from(layer.payload());
            sctp::decode(payload, whole).map(|packet| (Transport::Sctp(packet), [].as_slice()))
        }
        _ => Some((Transport::Other, payload)),
    };
    decoded.unwrap_or((Transport::Truncated, &[]))
}

fn icmp<'a>(payload: &'a [u8], scope: Scope) -> Option<(Transport, &'a [u8])> {
    let message = IcmpPacket::new(payload)?;
    let ([_, _, _, _, w0, w1, w2, w3], rest) = payload.split_first_chunk::<8>()?;
    let (high, low) = (u16::from_be_bytes([*w0, *w1]), u16::from_be_bytes([*w2, *w3]));
    let (kind, code) = (message.get_icmp_type().0, message.get_icmp_code().0);
    let quoted = || scope.deeper().and_then(|scope| packet4(rest, scope)).map(Box::new);
    let icmp = match kind {
        0 => Icmp::EchoReply { id: Some(high), seq: low },
        8 => Icmp::EchoRequest { id: Some(high), seq: low },
        3 => Icmp::Unreachable { code, mtu: low, about: quoted() },
        11 => Icmp::TimeExceeded { code, about: quoted() },
        _ => Icmp::Other { kind, code },
    };
    Some((Transport::Icmp(icmp), rest))
}

fn udp<'a>(payload: &'a [u8], scope: Scope) -> Option<(Transport, &'a [u8])> {
    let header = UdpPacket::new(payload)?;
    let (src, dst) = (header.get_source(), header.get_destination());
    let rest = payload.get(usize::from(UDP_HEADER)..).unwrap_or(&[]);
    let length = usize::from(header.get_length().saturating_sub(UDP_HEADER));
    let inside = scope.deeper().and_then(|scope| match dst {
        port if scope.tunnels.vxlan.contains(&port) => vxlan(rest, length, scope),
        port if scope.tunnels.bare.contains(&port) => packet(rest, scope).map(Inside::Bare),
        _ => None,
    });
    let (src, dst) = (Some(src), Some(dst));
    Some(match inside {
        // What is inside has a mark of its own.
        Some(inside) => (Transport::Tunnel { src, dst, inside: Box::new(inside) }, &[]),
        None => (Transport::Udp { src, dst }, rest),
    })
}

/// A VXLAN header whose VNI is valid, and the frame behind it. `length` is that of both in bytes.
fn vxlan(bytes: &[u8], length: usize, scope: Scope) -> Option<Inside> {
    let ([flags, _, _, _, v0, v1, v2, _], rest) = bytes.split_first_chunk::<8>()?;
    let vni = u32::from_be_bytes([0, *v0, *v1, *v2]);
    let length = length.saturating_sub(usize::from(VXLAN_HEADER));
    (flags & VNI_VALID != 0).then(|| Inside::Vxlan { vni, frame: ethernet(rest, length, None, scope) })
}

fn tcp(payload: &[u8]) -> Option<(Transport, &[u8])> {
    let header = TcpPacket::new(payload)?;
    let transport = Transport::Tcp {
        src: Some(header.get_source()),
        dst: Some(header.get_destination()),
        flags: TcpFlags(header.get_flags()),
        seq: Some(header.get_sequence()),
        ack: header.get_acknowledgement(),
    };
    let length = usize::from(header.get_data_offset()) * 4;
    Some((transport, header.packet().len().ge(&length).then(|| payload.get(length..)).flatten().unwrap_or(&[])))
}
