//! The fields of IPv4 and TCP headers that the tunnel reads and writes, checked against the bytes there are. PURE.

use std::net::Ipv4Addr;

use super::checksum::{self, Sum};

/// Length in bytes of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;

/// Longest IPv4 header, and longest TCP header, in bytes.
pub const HEADER_MAX: usize = 60;

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IP in IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
}

/// Don't Fragment, in the flags and fragment offset word.
pub const DF: u16 = 0x4000;

/// More fragments, and the fragment offset.
const FRAGMENT: u16 = 0x3fff;

/// An IPv4 header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4 {
    /// Length of the header with its options, in bytes.
    pub header: usize,
    /// Length of the whole packet as the header has it, in bytes.
    pub total: usize,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Source.
    pub source: Ipv4Addr,
    /// Destination.
    pub destination: Ipv4Addr,
}

impl Ipv4 {
    /// Decodes the header of a packet; none if it is not IPv4 or the bytes end before the packet does.
    /// The checksum is not looked at.
    pub fn parse(bytes: &[u8]) -> Option<Ipv4> {
        let fixed = bytes.first_chunk::<IPV4_HEADER>()?;
        let header = usize::from(fixed[0] & 0x0f) * 4;
        let total = usize::from(be16(fixed, 2));
        if fixed[0] >> 4 != 4 || header < IPV4_HEADER || total < header || total > bytes.len() {
            return None;
        }
        Some(Ipv4 {
            header,
            total,
            tos: fixed[1],
            id: be16(fixed, 4),
            fragment: be16(fixed, 6),
            ttl: fixed[8],
            protocol: fixed[9],
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
        })
    }

    /// Whether Don't Fragment is set.
    pub fn df(&self) -> bool {
        self.fragment & DF != 0
    }

    /// Whether this is a fragment, first or later, of a larger packet.
    pub fn is_fragment(&self) -> bool {
        self.fragment & FRAGMENT != 0
    }

    /// Whether this is a fragment other than the first.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment & 0x1fff != 0
    }
}

/// TCP flags, as they stand in the header's 14th byte.
pub mod flag {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// CWR.
    pub const CWR: u8 = 0x80;
}

/// A TCP header, decoded. Offsets are from the TCP header's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Length of the header with its options, in bytes.
    pub header: usize,
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub window: u16,
}

impl Tcp {
    /// Decodes the header of a segment; none if it does not fit into the bytes.
    pub fn parse(bytes: &[u8]) -> Option<Tcp> {
        let fixed = bytes.first_chunk::<20>()?;
        let header = usize::from(fixed[12] >> 4) * 4;
        if header < 20 || header > bytes.len() {
            return None;
        }
        Some(Tcp {
            header,
            source: be16(fixed, 0),
            destination: be16(fixed, 2),
            sequence: be32(fixed, 4),
            acknowledgement: be32(fixed, 8),
            flags: fixed[13],
            window: be16(fixed, 14),
        })
    }
}

/// Writes a number at `at`, in network byte order.
pub fn put16(bytes: &mut [u8], at: usize, number: u16) {
    bytes[at..at + 2].copy_from_slice(&number.to_be_bytes());
}

/// Computes the checksum of an IPv4 header of `length` bytes at the start of `bytes` and writes it.
pub fn set_ipv4_checksum(bytes: &mut [u8], length: usize) {
    put16(bytes, 10, 0);
    let checksum = Sum::default().bytes(&bytes[..length]).checksum();
    put16(bytes, 10, checksum);
}

/// Changes DSCP and ECN of the packet at the start of `bytes`, and its checksum by the difference alone, so that
/// a broken header stays broken.
pub fn set_tos(bytes: &mut [u8], tos: u8) {
    let old = be16(bytes, 0);
    let new = (old & 0xff00) | u16::from(tos);
    let checksum = checksum::replaced(be16(bytes, 10), old, new);
    bytes[1] = tos;
    put16(bytes, 10, checksum);
}

/// The 16-bit number at `at`.
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_that_does_not_fit_is_refused() {
        let mut packet = [0u8; 28];
        packet[0] = 0x45;
        put16(&mut packet, 2, 28);
        assert_eq!(Ipv4::parse(&packet).map(|ip| (ip.header, ip.total)), Some((20, 28)));
        assert_eq!(Ipv4::parse(&packet[..27]), None, "cut off");
        put16(&mut packet, 2, 19);
        assert_eq!(Ipv4::parse(&packet), None, "total shorter than the header");
        put16(&mut packet, 2, 28);
        packet[0] = 0x65;
        assert_eq!(Ipv4::parse(&packet), None, "version 6");
        packet[0] = 0x44;
        assert_eq!(Ipv4::parse(&packet), None, "header of 16 bytes");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some(ip) = Ipv4::parse(&bytes) {
                prop_assert!(ip.header <= ip.total && ip.total <= bytes.len());
                set_tos(&mut bytes, 3);
            }
            if let Some(tcp) = Tcp::parse(&bytes) {
                prop_assert!(tcp.header <= bytes.len());
            }
        }
    }
}
