//! IPv6 built, decoded and printed.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::build::{self, Message, Probe};
use super::decode::{self, LinkType, Tunnels};
use super::{Frame, Icmp, Init, Mark, Packet, Sctp, Transport, solicited_node};
use crate::plan::Mac;

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn probe(length: u16, message: Message) -> Probe {
    let (src, dst) = ("fd00:100:84::129".parse().unwrap(), "fd00:100:247::1".parse().unwrap());
    Probe { src, dst, ttl: 64, id: 7, dont_fragment: false, length, message, mark: Mark(42) }
}

fn echo(length: u16) -> Vec<u8> {
    build::ip(&probe(length, Message::Echo { id: 1, seq: 1 })).unwrap()
}

fn frame(bytes: &[u8]) -> Frame {
    decode::frame(LinkType::Ethernet, bytes, bytes.len(), None, &Tunnels::default())
}

fn packet(bytes: &[u8]) -> Packet {
    decode::ip(bytes, &Tunnels::default()).expect("a packet")
}

/// An IPv6 packet of `protocol` between nodes.
fn around(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 63];
    bytes.extend("fd00:10::9".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend("fd00:10::10".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend(payload);
    bytes
}

fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)])));
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total
}

#[test]
fn a_ping_prints_as_tcpdump_does() {
    let bytes = build::ethernet(OURS, THEIRS, &echo(104));
    let seen = frame(&bytes);
    assert_eq!(
        seen.to_string(),
        "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype IPv6 (0x86dd), length 118: \
         fd00:100:84::129 > fd00:100:247::1: ICMP6, echo request, id 1, seq 1, length 64"
    );
    let packet = seen.packet().unwrap();
    assert_eq!(
        (packet.mark, packet.outer().unwrap().label, packet.outer().unwrap().id),
        (Some(Mark(42)), Some(0), None)
    );
    let datagram = packet_of(Message::Udp { src: 5, dst: 6 }, 104);
    assert_eq!(datagram.to_string(), "fd00:100:84::129.5 > fd00:100:247::1.6: UDP, length 56");
    let init = Init { tag: Some(9), ..Init::default() };
    let association = packet_of(Message::Init { src: 5, dst: 6, init }, 72);
    let text = "sctp (1) [INIT] [init tag: 9] [rwnd: 0] [OS: 0] [MIS: 0] [init TSN: 0]";
    assert_eq!(association.to_string(), format!("fd00:100:84::129.5 > fd00:100:247::1.6: {text}"));
    assert!(matches!(association.transport, Transport::Sctp(Sctp { sound: Some(true), .. })));
}

fn packet_of(message: Message, length: u16) -> Packet {
    packet(&build::ip(&probe(length, message)).unwrap())
}

#[test]
fn errors_print_what_they_are_about() {
    let about = |kind: u8, code: u8, word: u32, quoted: &[u8]| {
        let mut message = vec![kind, code, 0, 0];
        message.extend(word.to_be_bytes());
        message.extend(quoted);
        let packet = packet(&around(58, &message));
        assert_eq!(packet.any_mark(), Some(Mark(42)));
        packet.to_string().split_once("ICMP6, ").unwrap().1.to_owned()
    };
    let ping = echo(104);
    assert_eq!(about(2, 0, 1430, &ping), "packet too big, mtu 1430, length 112");
    assert_eq!(about(3, 0, 0, &ping), "time exceeded in-transit for fd00:100:247::1, length 112");
    assert_eq!(about(1, 0, 0, &ping), "destination unreachable, unreachable route fd00:100:247::1, length 112");
    assert_eq!(about(1, 3, 0, &ping), "destination unreachable, unreachable address fd00:100:247::1, length 112");
    assert_eq!(about(4, 1, 6, &ping), "parameter problem, next header - octet 6, length 112");
    assert_eq!(about(4, 2, 40, &ping), "parameter problem, option - octet 40, length 112");
    let datagram = build::ip(&probe(104, Message::Udp { src: 5, dst: 6 })).unwrap();
    let text = "destination unreachable, unreachable port, fd00:100:247::1 udp port 6, length 112";
    assert_eq!(about(1, 4, 0, &datagram), text);
}

#[test]
fn checksums_are_over_the_pseudo_header() {
    for message in
        [Message::Echo { id: 1, seq: 2 }, Message::Udp { src: 5, dst: 6 }, Message::Syn { src: 5, dst: 6, seq: 7 }]
    {
        let probe = probe(85, message);
        let bytes = build::ip(&probe).unwrap();
        let mut whole = bytes[8..40].to_vec();
        whole.extend([0, 0, 0, 45, 0, 0, 0, probe.protocol()]);
        whole.extend(&bytes[40..]);
        assert_eq!(sum(&whole), 0xffff, "{message:?}");
    }
    let asked = build::neighbour_solicitation(OURS, "fd00::2".parse().unwrap(), "fd00::1".parse().unwrap(), Mark(3));
    let mut whole = asked[22..54].to_vec();
    whole.extend([0, 0, 0, 48, 0, 0, 0, 58]);
    whole.extend(&asked[54..]);
    assert_eq!(sum(&whole), 0xffff);
}

#[test]
fn a_neighbour_is_asked_for_in_its_own_group() {
    let target: Ipv6Addr = "fe80::ecee:eeff:feee:eeee".parse().unwrap();
    let (group, mac) = solicited_node(target);
    assert_eq!((group.to_string().as_str(), mac.to_string().as_str()), ("ff02::1:ffee:eeee", "33:33:ff:ee:ee:ee"));
    let seen = frame(&build::neighbour_solicitation(OURS, "fd00::2".parse().unwrap(), target, Mark(3)));
    assert_eq!(
        seen.to_string(),
        "02:00:00:00:00:01 > 33:33:ff:ee:ee:ee, ethertype IPv6 (0x86dd), length 102: fd00::2 > ff02::1:ffee:eeee: \
         ICMP6, neighbor solicitation, who has fe80::ecee:eeff:feee:eeee, length 48"
    );
    let packet = seen.packet().unwrap();
    assert_eq!((packet.mark, packet.outer().unwrap().ttl), (Some(Mark(3)), 255));
    let asked = Icmp::Solicitation { target, source_mac: Some(OURS) };
    assert_eq!(packet.transport, Transport::Icmp(asked));
    assert!(seen.is_of_neighbours());
}

#[test]
fn listeners_reports_come_behind_hop_by_hop_options() {
    // Next header ICMPv6, router alert, padding; then a report of MLDv2.
    let options = [58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 1];
    let packet = packet(&around(0, &options));
    assert!(packet.to_string().ends_with("ICMP6, multicast listener report v2, length 16"), "{packet}");
    assert_eq!(packet.outer().unwrap().protocol, 58);
}

#[test]
fn fragments_have_a_header_of_their_own_and_carry_the_mark() {
    let pieces = build::fragments(&echo(1481), 1480, 7);
    let packets: Vec<Packet> = pieces.iter().map(|piece| packet(piece)).collect();
    let outer: Vec<_> = packets.iter().map(|packet| *packet.outer().unwrap()).collect();
    assert_eq!(
        outer.iter().map(|ip| (ip.offset, ip.length, ip.more_fragments, ip.id)).collect::<Vec<_>>(),
        [(0, 1480, true, Some(7)), (1432, 57, false, Some(7))]
    );
    let ends = "fd00:100:84::129 > fd00:100:247::1: ";
    assert_eq!(packets[0].to_string(), format!("{ends}frag (0|1432) ICMP6, echo request, id 1, seq 1, length 1432"));
    assert_eq!(packets[1].to_string(), format!("{ends}frag (1432|9)"));
    assert_eq!((packets[0].mark, packets[1].mark), (Some(Mark(42)), Some(Mark(42))));
}

#[test]
fn either_family_goes_in_vxlan_over_either() {
    let datagram = |inside: &[u8]| {
        let mut bytes = vec![0xc0, 0x01, 0x12, 0xb5];
        bytes.extend((inside.len() as u16 + 16).to_be_bytes());
        bytes.extend([0, 0, 8, 0, 0, 0, 0, 0x10, 0, 0]);
        bytes.extend(inside);
        bytes
    };
    let inner = build::ethernet(OURS, THEIRS, &echo(104));
    let bytes = build::ethernet(THEIRS, OURS, &around(17, &datagram(&inner)));
    let seen = frame(&bytes);
    assert_eq!((seen.length, seen.packet().unwrap().headers().count()), (188, 2));
    assert_eq!(
        seen.packet().unwrap().to_string(),
        "fd00:10::9.49153 > fd00:10::10.4789: VXLAN, flags [I] (0x08), vni 4096: 02:00:00:00:00:01 > 02:00:00:00:00:02, \
         ethertype IPv6 (0x86dd), length 118: fd00:100:84::129 > fd00:100:247::1: ICMP6, echo request, id 1, seq 1, length 64"
    );
    let old =
        Probe { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), ..probe(84, Message::Echo { id: 1, seq: 1 }) };
    let inner = build::ethernet(OURS, THEIRS, &build::ip(&old).unwrap());
    let seen = frame(&build::ethernet(THEIRS, OURS, &around(17, &datagram(&inner))));
    let families: Vec<bool> = seen.packet().unwrap().headers().map(|ip| ip.is_v6()).collect();
    assert_eq!((families, seen.packet().unwrap().any_mark()), (vec![true, false], Some(Mark(42))));
}

#[test]
fn what_no_packet_can_be_is_refused() {
    let wrong = Probe { src: [10, 0, 0, 1].into(), ..probe(104, Message::Echo { id: 1, seq: 1 }) };
    assert_eq!(build::ip(&wrong).unwrap_err().to_string(), "no packet goes from 10.0.0.1 to fd00:100:247::1");
    assert!(build::ip(&probe(47, Message::Echo { id: 1, seq: 1 })).is_err());
    assert!(build::ip(&probe(48, Message::Echo { id: 1, seq: 1 })).is_ok());
}

proptest! {
    #[test]
    fn what_was_built_is_what_is_decoded(length in 48u16..1500, ttl in 1u8.., mark in any::<u32>(), udp in any::<bool>()) {
        let message = if udp { Message::Udp { src: 5, dst: 6 } } else { Message::Echo { id: 5, seq: 6 } };
        let asked = Probe { ttl, mark: Mark(mark), ..probe(length, message) };
        let packet = packet(&build::ip(&asked).unwrap());
        let header = *packet.outer().unwrap();
        prop_assert_eq!((header.src, header.dst, header.ttl, header.length), (asked.src, asked.dst, ttl, length));
        prop_assert_eq!((header.protocol, header.is_fragment()), (asked.protocol(), false));
        prop_assert_eq!(packet.mark, (length >= 56).then_some(Mark(mark)));
    }

    #[test]
    fn fragments_together_are_the_whole(length in 1300u16..4000, mtu in 1280u16..1500) {
        let whole = echo(length);
        let pieces = build::fragments(&whole, mtu, 9);
        prop_assert!(pieces.iter().all(|piece| piece.len() <= usize::from(mtu)));
        if pieces.len() > 1 {
            let mut joined: Vec<u8> = Vec::new();
            for piece in &pieces {
                let header = *packet(piece).outer().unwrap();
                prop_assert_eq!(usize::from(header.offset), joined.len());
                prop_assert_eq!(usize::from(header.payload()) + 48, piece.len());
                joined.extend(&piece[48..]);
            }
            prop_assert_eq!(&joined[..], &whole[40..]);
        }
    }

    #[test]
    fn hostile_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), next in any::<u8>()) {
        if let Some(first) = bytes.first_mut() {
            *first = 0x60;
        }
        // Mostly headers that are looked into.
        if let Some(at) = bytes.get_mut(6) {
            *at = [0, 4, 41, 43, 44, 58, 60, 17, 6][usize::from(next) % 9];
        }
        let _ = decode::frame(LinkType::RawIp, &bytes, bytes.len(), None, &Tunnels::default()).to_string();
    }

    #[test]
    fn a_damaged_packet_never_panics(at in 0usize..104, value in any::<u8>(), cut in 0usize..105, fragment in any::<bool>()) {
        let mut bytes = if fragment { build::fragments(&echo(1481), 1480, 7).remove(1) } else { echo(104) };
        let at = at.min(bytes.len() - 1);
        bytes[at] = value;
        bytes.truncate(cut);
        let _ = decode::frame(LinkType::RawIp, &bytes, bytes.len(), None, &Tunnels::default()).to_string();
    }

    #[test]
    fn a_damaged_question_never_panics(at in 0usize..102, value in any::<u8>(), cut in 0usize..103) {
        let mut bytes = build::neighbour_solicitation(OURS, Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, Mark(1));
        bytes[at] = value;
        bytes.truncate(cut);
        let _ = frame(&bytes).to_string();
    }
}
