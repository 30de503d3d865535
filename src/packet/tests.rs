//! Frames built, decoded and printed.

use std::net::Ipv4Addr;

use super::Mark;
use super::build::*;
use super::decode::{self, LinkType, Tunnels};
use super::{Body, Icmp, Transport};
use crate::plan::Mac;
use proptest::prelude::*;

fn frame(link: LinkType, bytes: &[u8], length: usize, vlan: Option<u16>) -> crate::packet::Frame {
    let tunnels = Tunnels { bare: vec![8285], ..Tunnels::default() };
    decode::frame(link, bytes, length, vlan, &tunnels)
}

fn echo(length: u16) -> Probe {
    Probe {
        src: Ipv4Addr::new(10, 100, 84, 129).into(),
        dst: Ipv4Addr::new(10, 100, 247, 1).into(),
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
    let text = format!("10.1.10.9.49153 > 10.1.10.10.8472: OTV, flags [I] (0x08), overlay 0, instance 4097: {inside}");
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
        let total: u32 = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)]))).sum();
        (total & 0xffff) + (total >> 16)
    };
    let packet = ip(&echo(84)).unwrap();
    assert_eq!(sum(&packet[..20]), 0xffff);
    let folded = sum(&packet[20..]);
    assert_eq!((folded & 0xffff) + (folded >> 16), 0xffff);
    for message in [Message::Udp { src: 5, dst: 6 }, Message::Syn { src: 5, dst: 6, seq: 7 }] {
        let probe = Probe { message, ..echo(61) };
        let packet = ip(&probe).unwrap();
        let mut pseudo = packet[12..20].to_vec();
        pseudo.extend([0, probe.protocol(), 0, 41]);
        pseudo.extend(&packet[20..]);
        let folded = sum(&pseudo);
        assert_eq!((folded & 0xffff) + (folded >> 16), 0xffff, "{message:?}");
    }
}

#[test]
fn every_fragment_carries_the_mark_and_the_id() {
    let pieces = fragments(&ip(&echo(1481)).unwrap(), 1480, 7);
    let frames: Vec<_> = pieces.iter().map(|p| frame(LinkType::RawIp, p, p.len(), None)).collect();
    let headers: Vec<_> = frames.iter().map(|f| *f.packet().unwrap().outer().unwrap()).collect();
    assert_eq!(
        headers.iter().map(|ip| (ip.offset, ip.length, ip.more_fragments)).collect::<Vec<_>>(),
        [(0, 1476, true), (1456, 25, false)]
    );
    assert!(headers.iter().all(|ip| ip.id == Some(7)));
    assert_eq!(frames[0].packet().unwrap().mark, Some(Mark(42)));
    let small = fragments(&ip(&echo(1496)).unwrap(), 1480, 7);
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
    let bytes = arp_request(Mac([2, 0, 0, 0, 0, 1]), [10, 0, 0, 1].into(), [169, 254, 1, 1].into(), Mark(3)).unwrap();
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
        prop_assert_eq!((header.ttl, header.id, header.dont_fragment, header.length), (ttl, Some(u32::from(id)), df, length));
        prop_assert_eq!(packet.mark, (length >= 36).then_some(Mark(mark)));
    }
}
