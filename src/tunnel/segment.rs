//! Cutting a TCP packet of many segments, as the kernel hands it to a device that offers TSO, into segments. PURE.
//!
//! What differs from segment to segment follows Linux' `tcp_gso_segment` and `inet_gso_segment`: sequence number,
//! identification, lengths and checksums; FIN and PSH only on the last, CWR only on the first.

use std::ops::Range;

use super::checksum::Sum;
use super::packet::{self, HEADER_MAX, Ipv4, Tcp, flag, protocol};
use super::vnet::Partial;

/// Longest headers of a segment, in bytes.
pub const HEADERS_MAX: usize = 2 * HEADER_MAX;

/// A packet to be cut.
#[derive(Debug, Clone, Copy)]
pub struct Super {
    ip: Ipv4,
    tcp: Tcp,
    size: usize,
}

impl Super {
    /// Looks at a packet with `size` bytes of payload per segment; none if it is not whole TCP over IPv4, or
    /// has nothing to be cut.
    pub fn parse(bytes: &[u8], size: u16) -> Option<Super> {
        let ip = Ipv4::parse(bytes).filter(|ip| ip.protocol == protocol::TCP && !ip.is_fragment())?;
        let tcp = Tcp::parse(&bytes[ip.header..ip.total])?;
        let cut = Super { ip, tcp, size: usize::from(size) };
        (size > 0 && cut.headers() < ip.total).then_some(cut)
    }

    /// The IPv4 header that all segments share, but for lengths and identification.
    pub fn ip(&self) -> &Ipv4 {
        &self.ip
    }

    /// Bytes of IP and TCP headers.
    pub fn headers(&self) -> usize {
        self.ip.header + self.tcp.header
    }

    /// Length in bytes of the longest segment, with its headers.
    pub fn longest(&self) -> usize {
        self.headers() + self.size.min(self.ip.total - self.headers())
    }

    /// How many segments there are.
    pub fn count(&self) -> usize {
        (self.ip.total - self.headers()).div_ceil(self.size)
    }

    /// Where the payload of a segment is in the packet.
    pub fn payload(&self, index: usize) -> Range<usize> {
        let start = self.headers() + index * self.size;
        start..(start + self.size).min(self.ip.total)
    }

    /// Writes the IP and TCP headers of a segment of the packet `bytes` to the start of `out`.
    pub fn write_headers(&self, bytes: &[u8], index: usize, out: &mut [u8]) {
        let headers = self.headers();
        let payload = self.payload(index);
        let out = &mut out[..headers];
        out.copy_from_slice(&bytes[..headers]);
        packet::put16(out, 2, (headers + payload.len()) as u16);
        packet::put16(out, 4, self.ip.id.wrapping_add(index as u16));
        packet::set_ipv4_checksum(out, self.ip.header);
        let tcp = &mut out[self.ip.header..];
        let sequence = self.tcp.sequence.wrapping_add((index * self.size) as u32);
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        if index > 0 {
            tcp[13] &= !flag::CWR;
        }
        if payload.end < self.ip.total {
            tcp[13] &= !(flag::FIN | flag::PSH);
        }
        packet::put16(tcp, 16, 0);
        let length = (self.tcp.header + payload.len()) as u16;
        let sum = Sum::default().pseudo_header(self.ip.source, self.ip.destination, protocol::TCP, length);
        let checksum = sum.bytes(tcp).bytes(&bytes[payload]).checksum();
        packet::put16(tcp, 16, checksum);
    }
}

/// Completes a checksum that was left to the device. False if its place is not in the packet.
#[must_use]
pub fn complete_checksum(bytes: &mut [u8], partial: Partial) -> bool {
    let start = usize::from(partial.start);
    let field = start + usize::from(partial.offset);
    if field + 2 > bytes.len() || field < start {
        return false;
    }
    // The field holds the pseudo header's sum, so the sum over all bytes from the start is the whole one.
    let checksum = Sum::default().bytes(&bytes[start..]).checksum();
    // Zero would mean "no checksum" to UDP, and is the same number as 0xffff to all.
    packet::put16(bytes, field, if checksum == 0 { 0xffff } else { checksum });
    true
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A TCP packet with correct checksums: 12 bytes of options, sequence number `sequence`.
    pub(crate) fn tcp(sequence: u32, id: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0u8; 52];
        bytes[0] = 0x45;
        packet::put16(&mut bytes, 2, (52 + payload.len()) as u16);
        packet::put16(&mut bytes, 4, id);
        packet::put16(&mut bytes, 6, packet::DF);
        bytes[8] = 63;
        bytes[9] = 6;
        bytes[12..16].copy_from_slice(&[10, 100, 84, 130]);
        bytes[16..20].copy_from_slice(&[10, 100, 247, 1]);
        packet::set_ipv4_checksum(&mut bytes, 20);
        packet::put16(&mut bytes, 20, 40000);
        packet::put16(&mut bytes, 22, 80);
        bytes[24..28].copy_from_slice(&sequence.to_be_bytes());
        bytes[28..32].copy_from_slice(&77u32.to_be_bytes());
        bytes[32] = 8 << 4;
        bytes[33] = flags;
        packet::put16(&mut bytes, 34, 501);
        bytes[40..52].copy_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        bytes.extend_from_slice(payload);
        let sum = transport_sum(&bytes);
        packet::put16(&mut bytes, 36, !sum);
        bytes
    }

    /// The sum over pseudo header and segment: 0xffff if the checksum in it is right.
    pub(crate) fn transport_sum(bytes: &[u8]) -> u16 {
        let ip = Ipv4::parse(bytes).expect("valid");
        let length = (ip.total - ip.header) as u16;
        Sum::default()
            .pseudo_header(ip.source, ip.destination, ip.protocol, length)
            .bytes(&bytes[ip.header..])
            .partial()
    }

    fn cut(bytes: &[u8], size: u16) -> Vec<Vec<u8>> {
        let cut = Super::parse(bytes, size).expect("TCP");
        (0..cut.count())
            .map(|index| {
                let mut headers = [0u8; HEADERS_MAX];
                cut.write_headers(bytes, index, &mut headers);
                [&headers[..cut.headers()], &bytes[cut.payload(index)]].concat()
            })
            .collect()
    }

    #[test]
    fn three_segments() {
        let payload: Vec<u8> = (0..250u8).collect();
        let flags = flag::ACK | flag::PSH | flag::FIN | flag::CWR;
        let segments = cut(&tcp(u32::MAX - 49, 0xffff, flags, &payload), 100);
        let expected = [
            tcp(u32::MAX - 49, 0xffff, flag::ACK | flag::CWR, &payload[..100]),
            tcp(50, 0, flag::ACK, &payload[100..200]),
            tcp(150, 1, flag::ACK | flag::PSH | flag::FIN, &payload[200..]),
        ];
        assert_eq!(segments, expected, "sequence numbers and identification wrap");
    }

    #[test]
    fn what_cannot_be_cut() {
        let packet = tcp(1, 1, flag::ACK, &[0; 300]);
        assert!(Super::parse(&packet, 0).is_none(), "no size");
        assert!(Super::parse(&packet[..200], 100).is_none(), "cut off");
        assert!(Super::parse(&tcp(1, 1, flag::ACK, &[]), 100).is_none(), "no payload");
        let mut udp = packet.clone();
        udp[9] = 17;
        assert!(Super::parse(&udp, 100).is_none(), "not TCP");
    }

    #[test]
    fn a_partial_checksum_is_completed() {
        let whole = tcp(9, 9, flag::ACK, b"hello");
        let mut partial = whole.clone();
        let pseudo = Sum::default().pseudo_header([10, 100, 84, 130].into(), [10, 100, 247, 1].into(), 6, 37).partial();
        packet::put16(&mut partial, 36, pseudo);
        assert!(complete_checksum(&mut partial, Partial { start: 20, offset: 16 }));
        assert_eq!(partial, whole);
        assert!(!complete_checksum(&mut partial, Partial { start: 50, offset: 6 }), "behind the end");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..400), size: u16, start: u16, offset: u16, valid: bool,
        ) {
            if valid && bytes.len() > 33 {
                let length = bytes.len() as u16;
                bytes[0] = 0x45 + (bytes[0] & 1);
                bytes[9] = 6;
                packet::put16(&mut bytes, 2, length);
                packet::put16(&mut bytes, 6, 0);
            }
            let _ = complete_checksum(&mut bytes, Partial { start, offset });
            if let Some(cut) = Super::parse(&bytes, size) {
                let mut headers = [0u8; HEADERS_MAX];
                for index in 0..cut.count() {
                    cut.write_headers(&bytes, index, &mut headers);
                }
            }
        }

        #[test]
        fn segments_hold_the_payload(payload in proptest::collection::vec(any::<u8>(), 1..5000), size in 1u16..2000) {
            let segments = cut(&tcp(5, 5, flag::ACK, &payload), size);
            let joined: Vec<u8> = segments.iter().flat_map(|segment| segment[52..].to_vec()).collect();
            prop_assert_eq!(joined, payload);
            for segment in &segments {
                prop_assert_eq!(transport_sum(segment), 0xffff);
                prop_assert_eq!(Sum::default().bytes(&segment[..20]).partial(), 0xffff);
            }
        }
    }
}
