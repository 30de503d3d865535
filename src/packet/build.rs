//! From a description to the bytes of a frame, with right lengths and checksums.

use std::net::Ipv4Addr;

use pnet::packet::MutablePacket;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherType, EtherTypes};
use pnet::packet::icmp::{IcmpPacket, IcmpTypes, echo_request::MutableEchoRequestPacket};
use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::MutableIpv4Packet;
use pnet::packet::tcp::MutableTcpPacket;
use pnet::packet::udp::MutableUdpPacket;
use pnet::util::MacAddr;

use super::{
    ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_MARK, IP_HEADER, Mark, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP,
    TcpFlags,
};
use crate::error::{Error, Kind, Result};
use crate::plan::Mac;

/// The shortest Ethernet frame without its checksum, in bytes; ARP is padded to it.
const FRAME_MIN: usize = 60;
const ARP_LENGTH: usize = 28;

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
}

impl Message {
    /// The IP protocol number.
    pub fn protocol(&self) -> u8 {
        match self {
            Message::Echo { .. } => PROTOCOL_ICMP,
            Message::Udp { .. } => PROTOCOL_UDP,
            Message::Syn { .. } => PROTOCOL_TCP,
        }
    }

    /// Length of its header in bytes.
    pub fn header(&self) -> u16 {
        match self {
            Message::Echo { .. } | Message::Udp { .. } => 8,
            Message::Syn { .. } => 20,
        }
    }
}

/// A probe as an IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Source address; unspecified lets the kernel choose, where a raw socket sends it.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Identification.
    pub id: u16,
    /// Don't fragment.
    pub dont_fragment: bool,
    /// Total length of the IP packet in bytes.
    pub length: u16,
    /// What it says.
    pub message: Message,
    /// What its payload is filled with.
    pub mark: Mark,
}

/// The IPv4 packet of `probe`.
///
/// # Errors
/// If `length` cannot hold the headers.
pub fn ip(probe: &Probe) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(probe.length)];
    {
        let mut header = MutableIpv4Packet::new(&mut bytes).ok_or_else(|| too_short(probe))?;
        header.set_version(4);
        header.set_header_length(5);
        header.set_total_length(probe.length);
        header.set_identification(probe.id);
        header.set_flags(if probe.dont_fragment { 0b010 } else { 0 });
        header.set_ttl(probe.ttl);
        header.set_next_level_protocol(IpNextHeaderProtocol(probe.message.protocol()));
        header.set_source(probe.src);
        header.set_destination(probe.dst);
        write_message(header.payload_mut(), probe).ok_or_else(|| too_short(probe))?;
    }
    seal(&mut bytes);
    Ok(bytes)
}

fn too_short(probe: &Probe) -> Error {
    Error::new(
        Kind::Usage,
        format!("{} bytes are too few for a packet of IP protocol {}", probe.length, probe.message.protocol()),
    )
}

fn write_message(bytes: &mut [u8], probe: &Probe) -> Option<()> {
    probe.mark.fill(bytes.get_mut(usize::from(probe.message.header())..)?);
    match probe.message {
        Message::Echo { id, seq } => {
            let mut echo = MutableEchoRequestPacket::new(bytes)?;
            echo.set_icmp_type(IcmpTypes::EchoRequest);
            echo.set_identifier(id);
            echo.set_sequence_number(seq);
            let checksum = pnet::packet::icmp::checksum(&IcmpPacket::new(bytes)?);
            bytes.get_mut(2..4)?.copy_from_slice(&checksum.to_be_bytes());
        }
        Message::Udp { src, dst } => {
            let length = u16::try_from(bytes.len()).ok()?;
            let mut udp = MutableUdpPacket::new(bytes)?;
            udp.set_source(src);
            udp.set_destination(dst);
            udp.set_length(length);
            // The kernel fills in an unspecified source after us, so no checksum over it can be right: none at all.
            if !probe.src.is_unspecified() {
                let checksum = pnet::packet::udp::ipv4_checksum(&udp.to_immutable(), &probe.src, &probe.dst);
                udp.set_checksum(checksum);
            }
        }
        Message::Syn { src, dst, seq } => {
            let mut tcp = MutableTcpPacket::new(bytes)?;
            tcp.set_source(src);
            tcp.set_destination(dst);
            tcp.set_sequence(seq);
            tcp.set_data_offset(5);
            tcp.set_flags(TcpFlags::SYN);
            tcp.set_window(64240);
            let checksum = pnet::packet::tcp::ipv4_checksum(&tcp.to_immutable(), &probe.src, &probe.dst);
            tcp.set_checksum(checksum);
        }
    }
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

/// Splits an IPv4 packet without options as a sender with this MTU does (`man 7 ip`): the pieces carry a multiple
/// of eight bytes, the first ones as much as fits.
pub fn fragments(packet: &[u8], mtu: u16) -> Vec<Vec<u8>> {
    let header_length = usize::from(IP_HEADER);
    let (Some(header), Some(payload)) = (packet.get(..header_length), packet.get(header_length..)) else {
        return Vec::new();
    };
    let room = usize::from(mtu.saturating_sub(IP_HEADER)) / 8 * 8;
    if packet.len() <= usize::from(mtu) || room == 0 {
        return vec![packet.to_vec()];
    }
    let last = payload.len().div_ceil(room).saturating_sub(1);
    let piece = |(index, part): (usize, &[u8])| {
        let mut bytes = [header, part].concat();
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        if let Some(mut ip) = MutableIpv4Packet::new(&mut bytes) {
            ip.set_total_length(length);
            ip.set_flags(if index < last { 0b001 } else { 0 });
            ip.set_fragment_offset(u16::try_from(index * room / 8).unwrap_or(u16::MAX));
        }
        seal(&mut bytes);
        bytes
    };
    payload.chunks(room).enumerate().map(piece).collect()
}

/// Puts an Ethernet header of type IPv4 before `packet`.
pub fn ethernet(src: Mac, dst: Mac, packet: &[u8]) -> Vec<u8> {
    framed(src, dst, EtherType(ETHERTYPE_IPV4), packet)
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

/// A broadcast frame that no protocol stack takes. It teaches switches where `src` is, and tells a capture that
/// everything sent before it has been seen.
pub fn marker(src: Mac, mark: Mark) -> Vec<u8> {
    let mut payload = [0; FRAME_MIN - ETHERNET_HEADER];
    mark.fill(&mut payload);
    framed(src, Mac::BROADCAST, EtherType(ETHERTYPE_MARK), &payload)
}

#[cfg(test)]
mod tests {
    use super::super::decode::{self, LinkType, Tunnels};
    use super::super::{Body, Icmp, Transport};
    use super::*;
    use proptest::prelude::*;

    fn frame(link: LinkType, bytes: &[u8], length: usize, vlan: Option<u16>) -> crate::packet::Frame {
        let tunnels = Tunnels { bare: vec![8285], ..Tunnels::default() };
        decode::frame(link, bytes, length, vlan, &tunnels)
    }

    fn echo(length: u16) -> Probe {
        Probe {
            src: Ipv4Addr::new(10, 100, 84, 129),
            dst: Ipv4Addr::new(10, 100, 247, 1),
            ttl: 64,
            id: 7,
            dont_fragment: false,
            length,
            message: Message::Echo { id: 1, seq: 1 },
            mark: Mark(42),
        }
    }

    fn in_tunnel(inside: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 9, 0, 0, 63, 4, 0, 0, 10, 1, 10, 9, 10, 1, 10, 10];
        let length = (bytes.len() + inside.len()) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(inside);
        bytes
    }

    #[test]
    fn a_tunnelled_ping_prints_as_tcpdump_does() {
        let bytes = ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]), &in_tunnel(&ip(&echo(84)).unwrap()));
        let seen = frame(LinkType::Ethernet, &bytes, bytes.len(), None);
        assert_eq!(
            seen.packet().unwrap().to_string(),
            "10.1.10.9 > 10.1.10.10: 10.100.84.129 > 10.100.247.1: ICMP echo request, id 1, seq 1, length 64"
        );
        assert_eq!(
            seen.to_string(),
            "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype IPv4 (0x0800), length 118: 10.1.10.9 > 10.1.10.10: \
             10.100.84.129 > 10.100.247.1: ICMP echo request, id 1, seq 1, length 64"
        );
        assert_eq!(seen.packet().unwrap().mark, Some(Mark(42)));
    }

    /// An IPv4 packet of a datagram from one node to the other.
    fn in_udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0xc0, 0x01];
        datagram.extend_from_slice(&port.to_be_bytes());
        datagram.extend_from_slice(&(payload.len() as u16 + 8).to_be_bytes());
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(payload);
        let mut bytes = in_tunnel(&datagram);
        bytes[9] = 17;
        bytes
    }

    #[test]
    fn vxlan_prints_as_tcpdump_does_with_the_frame_inside_behind_it() {
        let inner = ethernet(Mac([2, 0, 0, 0, 0, 3]), Mac([2, 0, 0, 0, 0, 4]), &ip(&echo(84)).unwrap());
        let with_header = |vni: u8| [&[8, 0, 0, 0, 0, 0x10, vni, 0], &inner[..]].concat();
        let inside = "02:00:00:00:00:03 > 02:00:00:00:00:04, ethertype IPv4 (0x0800), length 98: \
                      10.100.84.129 > 10.100.247.1: ICMP echo request, id 1, seq 1, length 64";
        let bytes = ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]), &in_udp(4789, &with_header(0)));
        let seen = frame(LinkType::Ethernet, &bytes, bytes.len(), None);
        assert_eq!((seen.length, seen.packet().unwrap().any_mark()), (148, Some(Mark(42))));
        let text = format!("10.1.10.9.49153 > 10.1.10.10.4789: VXLAN, flags [I] (0x08), vni 4096: {inside}");
        assert_eq!(seen.packet().unwrap().to_string(), text);
        let bytes = in_udp(8472, &with_header(1));
        let seen = frame(LinkType::RawIp, &bytes, bytes.len(), None);
        let text =
            format!("10.1.10.9.49153 > 10.1.10.10.8472: OTV, flags [I] (0x08), overlay 0, instance 4097: {inside}");
        assert_eq!(seen.packet().unwrap().to_string(), text);
        assert_eq!(seen.packet().unwrap().headers().count(), 2);
    }

    #[test]
    fn a_bare_packet_in_udp_prints_behind_its_datagram() {
        let bytes = in_udp(8285, &ip(&echo(84)).unwrap());
        let seen = frame(LinkType::RawIp, &bytes, bytes.len(), None);
        assert_eq!(
            seen.packet().unwrap().to_string(),
            "10.1.10.9.49153 > 10.1.10.10.8285: UDP, length 84: \
             10.100.84.129 > 10.100.247.1: ICMP echo request, id 1, seq 1, length 64"
        );
        assert_eq!(seen.packet().unwrap().any_mark(), Some(Mark(42)));
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        let sum = |bytes: &[u8]| {
            let total: u32 =
                bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)]))).sum();
            (total & 0xffff) + (total >> 16)
        };
        let packet = ip(&echo(84)).unwrap();
        assert_eq!(sum(&packet[..20]), 0xffff);
        let folded = sum(&packet[20..]);
        assert_eq!((folded & 0xffff) + (folded >> 16), 0xffff);
        for message in [Message::Udp { src: 5, dst: 6 }, Message::Syn { src: 5, dst: 6, seq: 7 }] {
            let packet = ip(&Probe { message, ..echo(61) }).unwrap();
            let mut pseudo = packet[12..20].to_vec();
            pseudo.extend([0, message.protocol(), 0, 41]);
            pseudo.extend(&packet[20..]);
            let folded = sum(&pseudo);
            assert_eq!((folded & 0xffff) + (folded >> 16), 0xffff, "{message:?}");
        }
    }

    #[test]
    fn every_fragment_carries_the_mark_and_the_id() {
        let pieces = fragments(&ip(&echo(1481)).unwrap(), 1480);
        let frames: Vec<_> = pieces.iter().map(|p| frame(LinkType::RawIp, p, p.len(), None)).collect();
        let headers: Vec<_> = frames.iter().map(|f| *f.packet().unwrap().outer().unwrap()).collect();
        assert_eq!(
            headers.iter().map(|ip| (ip.offset, ip.length, ip.more_fragments)).collect::<Vec<_>>(),
            [(0, 1476, true), (1456, 25, false)]
        );
        assert!(headers.iter().all(|ip| ip.id == Some(7)));
        assert_eq!(frames[0].packet().unwrap().mark, Some(Mark(42)));
        let small = fragments(&ip(&echo(1496)).unwrap(), 1480);
        assert_eq!(frame(LinkType::RawIp, &small[1], 40, None).packet().unwrap().mark, Some(Mark(42)));
    }

    #[test]
    fn the_error_about_a_packet_is_known_by_its_mark() {
        let quoted = ip(&echo(84)).unwrap();
        let mut message = vec![3, 4, 0, 0, 0, 0, 0x05, 0xc8];
        message.extend(&quoted);
        let mut bytes = in_tunnel(&message);
        bytes[9] = 1;
        let seen = frame(LinkType::RawIp, &bytes, bytes.len(), None);
        let packet = seen.packet().unwrap();
        assert!(matches!(&packet.transport, Transport::Icmp(Icmp::Unreachable { code: 4, mtu: 1480, about: Some(_) })));
        assert_eq!(packet.any_mark(), Some(Mark(42)));
    }

    #[test]
    fn arp_is_padded_and_marked() {
        let bytes =
            arp_request(Mac([2, 0, 0, 0, 0, 1]), [10, 0, 0, 1].into(), [169, 254, 1, 1].into(), Mark(3)).unwrap();
        assert_eq!(bytes.len(), 60);
        let Body::Arp(arp) = frame(LinkType::Ethernet, &bytes, 60, None).body else { panic!("not ARP") };
        assert_eq!(arp.to_string(), "Request who-has 169.254.1.1 tell 10.0.0.1");
        assert_eq!(arp.mark, Some(Mark(3)));
    }

    #[test]
    fn a_packet_too_short_for_its_headers_is_refused() {
        assert!(ip(&echo(27)).is_err());
        assert!(ip(&Probe { message: Message::Syn { src: 1, dst: 2, seq: 3 }, ..echo(39) }).is_err());
        assert!(ip(&Probe { message: Message::Syn { src: 1, dst: 2, seq: 3 }, ..echo(40) }).is_ok());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), raw in any::<bool>()) {
            let link = if raw { LinkType::RawIp } else { LinkType::Ethernet };
            let _ = frame(link, &bytes, bytes.len(), None).to_string();
        }

        #[test]
        fn a_damaged_packet_never_panics(at in 0usize..104, value in any::<u8>(), cut in 0usize..105) {
            let mut bytes = in_tunnel(&ip(&echo(84)).unwrap());
            bytes[at] = value;
            bytes.truncate(cut);
            let _ = frame(LinkType::RawIp, &bytes, bytes.len(), None).to_string();
        }

        #[test]
        fn a_damaged_tunnel_never_panics(at in 0usize..78, value in any::<u8>(), cut in 0usize..120, bare in any::<bool>()) {
            let inner = ip(&echo(84)).unwrap();
            let payload = if bare { inner } else { [&[8, 0, 0, 0, 0, 0, 1, 0, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 8, 0], &inner[..]].concat() };
            let mut bytes = in_udp(if bare { 8285 } else { 8472 }, &payload);
            bytes[at] = value;
            bytes.truncate(cut);
            let _ = frame(LinkType::RawIp, &bytes, bytes.len(), None).to_string();
        }

        #[test]
        fn what_was_built_is_what_is_decoded(length in 28u16..1500, ttl in 1u8.., id in any::<u16>(), df in any::<bool>(), mark in any::<u32>()) {
            let probe = Probe { ttl, id, dont_fragment: df, mark: Mark(mark), ..echo(length) };
            let bytes = ip(&probe).unwrap();
            let seen = frame(LinkType::RawIp, &bytes, bytes.len(), None);
            let packet = seen.packet().unwrap();
            let header = packet.outer().unwrap();
            prop_assert_eq!((header.ttl, header.id, header.dont_fragment, header.length), (ttl, Some(id), df, length));
            prop_assert_eq!(packet.mark, (length >= 36).then_some(Mark(mark)));
        }
    }
}
