//! What flannel's `udp` backend does to a packet: the subnet table, the TTL, and the one error that it sends. PURE.
//!
//! Packets travel bare as the payload of datagrams, without a header of flannel's own. Source: flannel v0.28.9,
//! pkg/backend/udp/proxy_amd64.c.

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use super::checksum::{self, Sum};
use super::packet::{self, HEADER_MAX, IPV4_HEADER, Ipv4, protocol};

/// Bytes of an ICMP header.
const ICMP_HEADER: usize = 8;

/// Bytes behind the IP header that an error quotes (RFC 792).
const QUOTED: usize = 8;

/// TTL of the proxy's own messages.
const TTL: u8 = 8;

/// Longest message of the proxy's own, in bytes.
pub const MESSAGE_MAX: usize = IPV4_HEADER + ICMP_HEADER + HEADER_MAX + QUOTED;

/// Which node's socket the packets to each subnet go to.
#[derive(Debug, Clone)]
pub struct Subnets(Vec<(Ipv4Net, SocketAddrV4)>);

impl Subnets {
    /// The table with these lines.
    pub fn new(subnets: Vec<(Ipv4Net, SocketAddrV4)>) -> Subnets {
        Subnets(subnets)
    }

    /// The socket for a destination. What was found comes first from then on, since packets to one subnet come in rows;
    /// subnets do not overlap, so the order says nothing.
    pub fn find(&mut self, destination: Ipv4Addr) -> Option<SocketAddrV4> {
        let at = self.0.iter().position(|(subnet, _)| subnet.contains(&destination))?;
        self.0.swap(0, at);
        self.0.first().map(|(_, socket)| *socket)
    }
}

/// Takes one from the TTL of the packet at the start of `bytes`, and brings its checksum in line by the difference
/// alone, so that a broken header stays broken. False, and nothing changed, if that would leave none.
#[must_use]
pub fn lower_ttl(bytes: &mut [u8]) -> bool {
    // The word of TTL and protocol.
    let old = packet::be16(bytes, 8);
    if bytes[8] <= 1 {
        return false;
    }
    let new = old - 0x100;
    let checksum = checksum::replaced(packet::be16(bytes, 10), old, new);
    packet::put16(bytes, 8, new);
    packet::put16(bytes, 10, checksum);
    true
}

/// Writes "net unreachable" from the address `from` about the packet at the start of `offending`, and gives its length
/// in bytes. None about ICMP of any kind and about later fragments, which are not answered.
pub fn net_unreachable(offending: &[u8], from: Ipv4Addr, out: &mut [u8; MESSAGE_MAX]) -> Option<usize> {
    let ip = Ipv4::parse(offending).filter(|ip| ip.protocol != protocol::ICMP && !ip.is_later_fragment())?;
    let quoted = (ip.header + QUOTED).min(offending.len());
    let total = IPV4_HEADER + ICMP_HEADER + quoted;
    out.fill(0);
    out[0] = 0x45;
    packet::put16(out, 2, total as u16);
    out[8] = TTL;
    out[9] = protocol::ICMP;
    out[12..16].copy_from_slice(&from.octets());
    out[16..20].copy_from_slice(&ip.source.octets());
    packet::set_ipv4_checksum(out, IPV4_HEADER);
    let message = &mut out[IPV4_HEADER..total];
    // Destination unreachable; the code 0 says net.
    message[0] = 3;
    message[ICMP_HEADER..].copy_from_slice(&offending[..quoted]);
    let checksum = Sum::default().bytes(message).checksum();
    packet::put16(message, 2, checksum);
    Some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::flag;
    use super::super::segment::tests::tcp;
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a network")
    }

    fn node(last: u8) -> SocketAddrV4 {
        SocketAddrV4::new([10, 1, 10, last].into(), 8285)
    }

    #[test]
    fn a_subnet_is_found_wherever_it_is() {
        let lines = [("10.244.1.0/24", 10), ("10.244.2.0/24", 11), ("10.244.3.0/24", 12)];
        let mut table = Subnets::new(lines.map(|(subnet, last)| (net(subnet), node(last))).to_vec());
        for _ in 0..2 {
            for (third, last) in [(3, 12), (1, 10), (2, 11)] {
                assert_eq!(table.find([10, 244, third, 7].into()), Some(node(last)));
            }
        }
        assert_eq!(table.find([10, 244, 4, 7].into()), None);
    }

    #[test]
    fn a_ttl_of_one_is_the_last() {
        let mut packet = tcp(1, 1, flag::ACK, b"abc");
        packet[8] = 2;
        packet::set_ipv4_checksum(&mut packet, 20);
        assert!(lower_ttl(&mut packet));
        assert_eq!(packet[8], 1);
        assert_eq!(Sum::default().bytes(&packet[..20]).partial(), 0xffff, "the checksum holds");
        let before = packet.clone();
        assert!(!lower_ttl(&mut packet));
        assert_eq!(packet, before);
    }

    #[test]
    fn the_message_about_a_segment() {
        let segment = tcp(1, 1, flag::ACK, b"abcdef");
        let mut out = [0xff; MESSAGE_MAX];
        assert_eq!(net_unreachable(&segment, [10, 244, 0, 0].into(), &mut out), Some(56));
        assert_eq!(out[..10], [0x45, 0, 0, 56, 0, 0, 0, 0, 8, 1]);
        assert_eq!(out[12..20], [10, 244, 0, 0, 10, 100, 84, 130]);
        assert_eq!((out[20], out[21], &out[24..28]), (3, 0, &[0u8; 4][..]), "type, code, unused");
        assert_eq!(out[28..56], segment[..28]);
        assert_eq!(Sum::default().bytes(&out[..20]).partial(), 0xffff, "the header's checksum holds");
        assert_eq!(Sum::default().bytes(&out[20..56]).partial(), 0xffff, "the message's too");
    }

    #[test]
    fn what_is_not_answered() {
        let mut out = [0; MESSAGE_MAX];
        let mut segment = tcp(1, 1, flag::ACK, b"abcdef");
        segment[6..8].copy_from_slice(&[0x20, 0]);
        assert!(net_unreachable(&segment, [1, 2, 3, 4].into(), &mut out).is_some(), "a first fragment is");
        segment[7] = 9;
        assert!(net_unreachable(&segment, [1, 2, 3, 4].into(), &mut out).is_none(), "a later fragment");
        segment[6..8].fill(0);
        segment[9] = protocol::ICMP;
        assert!(net_unreachable(&segment, [1, 2, 3, 4].into(), &mut out).is_none(), "ICMP, be it a question");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 20..200)) {
            let mut out = [0; MESSAGE_MAX];
            if let Some(length) = net_unreachable(&bytes, Ipv4Addr::LOCALHOST, &mut out) {
                prop_assert!(length <= MESSAGE_MAX);
            }
            let _ = lower_ttl(&mut bytes);
        }

        #[test]
        fn the_checksum_follows_the_ttl(ttl in 2u8.., id: u16) {
            let mut packet = tcp(1, id, flag::ACK, b"abc");
            packet[8] = ttl;
            packet::set_ipv4_checksum(&mut packet, 20);
            prop_assert!(lower_ttl(&mut packet));
            prop_assert_eq!(packet[8], ttl - 1);
            prop_assert_eq!(Sum::default().bytes(&packet[..20]).partial(), 0xffff);
        }
    }
}
