//! The ICMP messages of a tunnel: a packet is too big for it, or it takes no packets. PURE.
//!
//! Which packets are answered, how much of them is quoted and how the message is marked follow Linux'
//! `icmp_send` (net/ipv4/icmp.c) and RFC 1812, 4.3.2.

use std::net::Ipv4Addr;

use super::checksum::Sum;
use super::packet::{self, IPV4_HEADER, Ipv4, protocol};

/// Longest message in bytes, with its IP header (RFC 1812, 4.3.2.3).
pub const MESSAGE_MAX: usize = 576;

/// Bytes of an ICMP header.
const ICMP_HEADER: usize = 8;

/// Precedence "internetwork control", which ICMP errors carry (RFC 1812, 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// The bits of TOS that an error takes over from the packet (Linux `RT_TOS`).
const TOS: u8 = 0x1e;

/// Writes "fragmentation needed and DF set" with the next hop's `mtu`, about the packet at the start of
/// `offending`, and gives its length in bytes. The source address is left 0 and the header's checksum and
/// identification too: the kernel fills them in. None if such a packet is not answered.
pub fn fragmentation_needed(offending: &[u8], mtu: u16, ttl: u8, out: &mut [u8; MESSAGE_MAX]) -> Option<usize> {
    unreachable(offending, Unreachable { code: 4, mtu, ttl, from: Ipv4Addr::UNSPECIFIED }, out)
}

/// Writes "port unreachable" about the packet at the start of `offending`, as its destination: what Linux says where no
/// tunnel takes a packet (net/ipv4/tunnel4.c). Otherwise as [`fragmentation_needed`].
pub fn port_unreachable(offending: &[u8], ttl: u8, out: &mut [u8; MESSAGE_MAX]) -> Option<usize> {
    let from = parse_start(offending)?.destination;
    unreachable(offending, Unreachable { code: 3, mtu: 0, ttl, from }, out)
}

/// A message "destination unreachable".
struct Unreachable {
    code: u8,
    mtu: u16,
    ttl: u8,
    from: Ipv4Addr,
}

fn unreachable(offending: &[u8], what: Unreachable, out: &mut [u8; MESSAGE_MAX]) -> Option<usize> {
    let ip = parse_start(offending).filter(|ip| is_answered(ip, offending))?;
    let quoted = offending.len().min(MESSAGE_MAX - IPV4_HEADER - ICMP_HEADER);
    let total = IPV4_HEADER + ICMP_HEADER + quoted;
    out[..IPV4_HEADER + ICMP_HEADER].fill(0);
    out[0] = 0x45;
    out[1] = (ip.tos & TOS) | INTERNETWORK_CONTROL;
    packet::put16(out, 2, total as u16);
    out[8] = what.ttl;
    out[9] = protocol::ICMP;
    out[12..16].copy_from_slice(&what.from.octets());
    out[16..20].copy_from_slice(&ip.source.octets());
    let message = &mut out[IPV4_HEADER..total];
    message[0] = 3;
    message[1] = what.code;
    packet::put16(message, 6, what.mtu);
    message[ICMP_HEADER..].copy_from_slice(&offending[..quoted]);
    let checksum = Sum::default().bytes(message).checksum();
    packet::put16(message, 2, checksum);
    Some(total)
}

/// The header of a packet of which only the first bytes need be there.
fn parse_start(bytes: &[u8]) -> Option<Ipv4> {
    let mut start = [0u8; IPV4_HEADER];
    start.copy_from_slice(bytes.get(..IPV4_HEADER)?);
    packet::put16(&mut start, 2, IPV4_HEADER as u16);
    start[0] = 0x45;
    Ipv4::parse(&start).filter(|_| bytes[0] >> 4 == 4)
}

/// No error about an error, about a later fragment, or to or about an address that is not one host's.
fn is_answered(ip: &Ipv4, bytes: &[u8]) -> bool {
    let group = ip.destination.is_multicast() || ip.destination.is_broadcast();
    let nobody = ip.source.is_unspecified() || ip.source.is_multicast() || ip.source.is_broadcast();
    let header = usize::from(bytes[0] & 0x0f) * 4;
    let about_error = ip.protocol == protocol::ICMP && bytes.get(header).is_none_or(|kind| is_error(*kind));
    !ip.is_later_fragment() && !group && !nobody && !about_error
}

/// Whether an ICMP type is an error, or unknown.
fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12 | 19..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn udp(length: usize) -> Vec<u8> {
        let mut bytes = vec![7u8; length];
        bytes[..20]
            .copy_from_slice(&[0x45, 0x1c, 0, 0, 0, 1, 0x40, 0, 63, 17, 0, 0, 10, 100, 84, 130, 10, 100, 247, 1]);
        packet::put16(&mut bytes, 2, length as u16);
        bytes
    }

    #[test]
    fn the_message_about_a_datagram() {
        let datagram = udp(1480);
        let mut out = [0xff; MESSAGE_MAX];
        assert_eq!(fragmentation_needed(&datagram, 1380, 64, &mut out), Some(576));
        assert_eq!(out[..20], [0x45, 0xdc, 2, 0x40, 0, 0, 0, 0, 64, 1, 0, 0, 0, 0, 0, 0, 10, 100, 84, 130]);
        assert_eq!((out[20], out[21], &out[24..28]), (3, 4, &[0u8, 0, 5, 100][..]), "type, code, unused, MTU 1380");
        assert_eq!(out[28..], datagram[..548]);
        assert_eq!(Sum::default().bytes(&out[20..]).partial(), 0xffff, "the checksum holds");
    }

    #[test]
    fn the_message_of_a_tunnel_that_is_down() {
        let mut out = [0xff; MESSAGE_MAX];
        assert_eq!(port_unreachable(&udp(104), 64, &mut out), Some(132));
        assert_eq!((&out[12..16], &out[16..20]), (&[10u8, 100, 247, 1][..], &[10u8, 100, 84, 130][..]));
        assert_eq!((out[20], out[21], &out[24..28]), (3, 3, &[0u8; 4][..]), "type, code, unused");
    }

    #[test]
    fn what_is_not_answered() {
        let mut out = [0; MESSAGE_MAX];
        let mut answered = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut datagram = udp(1480);
            change(&mut datagram);
            fragmentation_needed(&datagram, 1380, 64, &mut out).is_some()
        };
        assert!(answered(&|_| ()));
        assert!(!answered(&|d| d[7] = 1), "a later fragment");
        assert!(!answered(&|d| d[16] = 224), "to a group");
        assert!(!answered(&|d| d[12..16].fill(0)), "from nobody");
        assert!(
            !answered(&|d| {
                d[9] = 1;
                d[20] = 3
            }),
            "an error"
        );
        assert!(
            answered(&|d| {
                d[9] = 1;
                d[20] = 8
            }),
            "an echo request"
        );
        assert!(!answered(&|d| d[0] = 0x65), "not IPv4");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700), mtu: u16) {
            let mut out = [0; MESSAGE_MAX];
            if let Some(length) = fragmentation_needed(&bytes, mtu, 64, &mut out) {
                prop_assert!(length <= MESSAGE_MAX);
            }
        }
    }
}
