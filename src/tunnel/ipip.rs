//! IP in IP as Linux' `tunl0` does it (remote any, local any, ttl inherit, tos 0, nopmtudisc). PURE.
//!
//! Sources of the behaviour: Linux 6.x net/ipv4/ip_tunnel.c (`ip_tunnel_xmit`, `tnl_update_pmtu`,
//! `ip_tunnel_rcv`), net/ipv4/ip_tunnel_core.c (`iptunnel_xmit`), include/net/inet_ecn.h.

use std::net::Ipv4Addr;
use std::ops::Range;

use super::packet::{self, DF, IPV4_HEADER, Ipv4, protocol};

/// The bits of ECN in the TOS byte, and their values (RFC 3168).
const ECN: u8 = 0x03;
const ECT_1: u8 = 0x01;
const ECT_0: u8 = 0x02;
const CE: u8 = 0x03;

/// The way to the other end of the tunnel, as the namespace's routing has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Outer source: the kernel's choice toward the destination.
    pub source: Ipv4Addr,
    /// Outer destination: the next hop of the inner packet's route.
    pub destination: Ipv4Addr,
    /// Largest outer packet, in bytes: the route's MTU, lower than the device's when path MTU discovery said so.
    pub mtu: u32,
    /// MTU of the device, in bytes.
    pub device_mtu: u32,
    /// Whether outer packets may never be fragmented (`pmtudisc`).
    pub pmtudisc: bool,
}

/// What becomes of an inner packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes out whole, behind this header.
    Whole(Outer),
    /// It goes out, but the kernel must cut it into fragments.
    InFragments(Outer),
    /// It may not be fragmented: its source is told the largest size that fits, in bytes.
    TooBig {
        /// What the ICMP message says.
        mtu: u16,
    },
    /// No outer header could say its length, or it is too long for the way and the outer packet may not be fragmented.
    Oversize,
}

/// The fields of an outer header that are not the same for every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// DSCP 0, ECN of the inner header.
    pub tos: u8,
    /// TTL of the inner header.
    pub ttl: u8,
    /// Whether Don't Fragment is set: it is if the inner header has it, and always with `pmtudisc`.
    pub df: bool,
}

/// Decides about an inner packet of `length` bytes.
pub fn encapsulate(inner: &Ipv4, length: usize, path: &Path) -> Fate {
    let outer = Outer { tos: ecn_encapsulate(0, inner.tos), ttl: inner.ttl, df: inner.df() || path.pmtudisc };
    let total = length + IPV4_HEADER;
    if inner.df() && total > path.mtu as usize {
        return Fate::TooBig { mtu: (path.mtu as usize).saturating_sub(IPV4_HEADER).min(0xffff) as u16 };
    }
    if total > 0xffff || (path.pmtudisc && total > path.device_mtu as usize) {
        Fate::Oversize
    } else if total > path.device_mtu as usize {
        Fate::InFragments(outer)
    } else {
        Fate::Whole(outer)
    }
}

/// Writes the outer header before `payload` bytes. The header's checksum is left to the kernel, which fills it
/// in for every packet of a raw socket.
pub fn write_outer(header: &mut [u8; IPV4_HEADER], outer: Outer, path: &Path, id: u16, payload: usize) {
    *header = [0; IPV4_HEADER];
    header[0] = 0x45;
    header[1] = outer.tos;
    packet::put16(header, 2, (payload + IPV4_HEADER) as u16);
    packet::put16(header, 4, id);
    packet::put16(header, 6, if outer.df { DF } else { 0 });
    header[8] = outer.ttl;
    header[9] = protocol::IPIP;
    header[12..16].copy_from_slice(&path.source.octets());
    header[16..20].copy_from_slice(&path.destination.octets());
}

/// Why a packet that came in is not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The outer or the inner packet is not IPv4, or shorter than it says.
    Malformed,
    /// Congestion was marked on a packet whose sender does not understand it (RFC 6040, 4.2).
    Congestion,
}

/// Takes the outer header off: the place of the inner packet in `bytes`, whose ECN field is set to what the
/// outer header tells.
///
/// # Errors
/// If the packet is not handed on, and why.
pub fn decapsulate(bytes: &mut [u8]) -> Result<Range<usize>, Refused> {
    let outer = Ipv4::parse(bytes).filter(|ip| ip.protocol == protocol::IPIP && !ip.is_fragment());
    let outer = outer.ok_or(Refused::Malformed)?;
    let inner = outer.header..outer.total;
    // The stack behind the TUN judges the inner header; only what it could mistake for IPv6 is kept from it.
    if inner.len() < IPV4_HEADER || bytes[inner.start] >> 4 != 4 {
        return Err(Refused::Malformed);
    }
    let tos = bytes[inner.start + 1];
    let told = ecn_decapsulate(outer.tos, tos).ok_or(Refused::Congestion)?;
    if told != tos {
        packet::set_tos(&mut bytes[inner.clone()], told);
    }
    Ok(inner)
}

/// The outer TOS: the outer DSCP, the inner ECN, but CE becomes ECT(0) (Linux `INET_ECN_encapsulate`).
fn ecn_encapsulate(outer: u8, inner: u8) -> u8 {
    let ecn = if inner & ECN == CE { ECT_0 } else { inner & ECN };
    (outer & !ECN) | ecn
}

/// The inner TOS after the tunnel; none if the packet must be dropped (Linux `INET_ECN_decapsulate`).
fn ecn_decapsulate(outer: u8, inner: u8) -> Option<u8> {
    match (outer & ECN, inner & ECN) {
        (CE, 0) => None,
        (_, 0) => Some(inner),
        (CE, _) => Some(inner | CE),
        (ECT_1, ECT_0) => Some((inner & !ECN) | ECT_1),
        _ => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATH: Path = Path {
        source: Ipv4Addr::new(10, 1, 10, 9),
        destination: Ipv4Addr::new(10, 1, 10, 10),
        mtu: 1500,
        device_mtu: 1500,
        pmtudisc: false,
    };

    /// A default ping from pod to pod after the first node's forwarding: TTL 63, DF.
    fn ping(length: usize, df: bool, tos: u8) -> Vec<u8> {
        let mut bytes = vec![0u8; length];
        bytes[0] = 0x45;
        bytes[1] = tos;
        packet::put16(&mut bytes, 2, length as u16);
        packet::put16(&mut bytes, 6, if df { DF } else { 0 });
        bytes[8] = 63;
        bytes[9] = protocol::ICMP;
        bytes[12..16].copy_from_slice(&[10, 100, 84, 130]);
        bytes[16..20].copy_from_slice(&[10, 100, 247, 1]);
        packet::set_ipv4_checksum(&mut bytes, 20);
        bytes
    }

    fn fate(length: usize, df: bool, path: &Path) -> Fate {
        let bytes = ping(length, df, 0);
        encapsulate(&Ipv4::parse(&bytes).expect("valid"), bytes.len(), path)
    }

    #[test]
    fn the_outer_header_of_a_ping() {
        let Fate::Whole(outer) = fate(84, true, &PATH) else { panic!("a ping fits") };
        let mut header = [0u8; 20];
        write_outer(&mut header, outer, &PATH, 0x1234, 84);
        let expected = [0x45, 0, 0, 104, 0x12, 0x34, 0x40, 0, 63, 4, 0, 0, 10, 1, 10, 9, 10, 1, 10, 10];
        assert_eq!(header, expected);
    }

    #[test]
    fn size_decides() {
        let lower = Path { mtu: 1400, device_mtu: 1400, ..PATH };
        assert!(matches!(fate(1480, true, &PATH), Fate::Whole(_)));
        assert_eq!(fate(1481, true, &PATH), Fate::TooBig { mtu: 1480 });
        assert!(matches!(fate(1481, false, &PATH), Fate::InFragments(Outer { df: false, .. })));
        assert_eq!(fate(1480, true, &lower), Fate::TooBig { mtu: 1380 });
        assert!(matches!(fate(1480, false, &lower), Fate::InFragments(_)));
        // A path MTU below the device's: a packet without DF is the kernel's to cut, one with DF is refused.
        let discovered = Path { mtu: 1400, ..PATH };
        assert!(matches!(fate(1480, false, &discovered), Fate::Whole(_)));
        assert_eq!(fate(1380 + 1, true, &discovered), Fate::TooBig { mtu: 1380 });
        assert_eq!(fate(65516, false, &Path { device_mtu: 65535, mtu: 65535, ..PATH }), Fate::Oversize);
    }

    #[test]
    fn ecn_as_linux_has_it() {
        let encapsulated: Vec<u8> = (0..4).map(|inner| ecn_encapsulate(0, 0xb8 | inner)).collect();
        assert_eq!(encapsulated, [0, ECT_1, ECT_0, ECT_0], "DSCP is not inherited");
        let table: Vec<Option<u8>> =
            (0..4).flat_map(|outer| (0..4).map(move |inner| ecn_decapsulate(outer, inner))).collect();
        let expected = [
            [Some(0), Some(1), Some(2), Some(3)],
            [Some(0), Some(1), Some(1), Some(3)],
            [Some(0), Some(1), Some(2), Some(3)],
            [None, Some(3), Some(3), Some(3)],
        ];
        assert_eq!(table, expected.concat());
    }

    fn wrapped(inner: &[u8], outer_tos: u8) -> Vec<u8> {
        let mut bytes = vec![0u8; 20];
        let outer = Outer { tos: outer_tos, ttl: 63, df: true };
        write_outer(bytes.first_chunk_mut().expect("20 bytes"), outer, &PATH, 1, inner.len());
        bytes.extend_from_slice(inner);
        bytes
    }

    #[test]
    fn congestion_is_told_to_the_inner_packet() {
        let mut bytes = wrapped(&ping(84, true, ECT_0), CE);
        assert_eq!(decapsulate(&mut bytes), Ok(20..104));
        assert_eq!(&bytes[20..], ping(84, true, CE), "with its checksum");
        let mut bytes = wrapped(&ping(84, true, 0), CE);
        assert_eq!(decapsulate(&mut bytes), Err(Refused::Congestion));
    }

    #[test]
    fn what_is_not_ipv4_is_refused() {
        assert_eq!(decapsulate(&mut wrapped(&[0x60; 40], 0)), Err(Refused::Malformed));
        assert_eq!(decapsulate(&mut wrapped(&[0x45; 19], 0)), Err(Refused::Malformed));
        let mut other = wrapped(&ping(84, true, 0), 0);
        other[9] = 47;
        assert_eq!(decapsulate(&mut other), Err(Refused::Malformed));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), valid: bool) {
            if valid && bytes.len() > 20 {
                let length = bytes.len() as u16;
                bytes[0] = 0x45;
                packet::put16(&mut bytes, 2, length);
                packet::put16(&mut bytes, 6, 0);
                bytes[9] = protocol::IPIP;
            }
            let length = bytes.len();
            if let Ok(inner) = decapsulate(&mut bytes) {
                prop_assert!(inner.end <= length && inner.len() >= 20);
            }
        }

        #[test]
        fn out_and_in_again(payload in proptest::collection::vec(any::<u8>(), 20..1480), df: bool) {
            let mut inner = ping(payload.len(), df, 0);
            inner[20..].copy_from_slice(&payload[20..]);
            let Fate::Whole(outer) = encapsulate(&Ipv4::parse(&inner).expect("valid"), inner.len(), &PATH) else {
                return Err(TestCaseError::fail("fits"));
            };
            let mut bytes = wrapped(&inner, outer.tos);
            let place = decapsulate(&mut bytes).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
            prop_assert_eq!(&bytes[place], &inner[..]);
        }
    }
}
