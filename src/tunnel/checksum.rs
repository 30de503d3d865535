//! The Internet checksum (RFC 1071, updates by RFC 1624). PURE.

use std::net::Ipv4Addr;

/// A running one's complement sum, kept in memory order, so that no byte has to be swapped until the end.
///
/// Every piece but the last must have an even number of bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Sum {
        // Four independent sums of 32-bit words: the compiler turns them into vector additions, and 64 bits
        // cannot overflow within the 64 KiB that a packet has at most.
        let mut lanes = [0u64; 4];
        let mut blocks = bytes.chunks_exact(16);
        for block in &mut blocks {
            for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
                *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
            }
        }
        let mut sum = self.0 + fold32(lanes.iter().sum());
        let mut pairs = blocks.remainder().chunks_exact(2);
        for pair in &mut pairs {
            sum += u64::from(u16::from_ne_bytes([pair[0], pair[1]]));
        }
        if let [last] = pairs.remainder() {
            sum += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Sum(sum)
    }

    /// Adds a number that stands in the packet as 16 bits.
    #[must_use]
    pub fn number(self, number: u16) -> Sum {
        Sum(self.0 + u64::from(u16::from_ne_bytes(number.to_be_bytes())))
    }

    /// Adds the pseudo header of TCP and UDP; `length` is that of the segment with its header, in bytes.
    #[must_use]
    pub fn pseudo_header(self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Sum {
        self.bytes(&source.octets()).bytes(&destination.octets()).number(u16::from(protocol)).number(length)
    }

    /// The sum itself, not complemented: what stands in a checksum field whose completion is left to the
    /// device (Linux's CHECKSUM_PARTIAL).
    pub fn partial(self) -> u16 {
        let mut sum = fold32(self.0);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::from_be_bytes((sum as u16).to_ne_bytes())
    }

    /// The checksum: the complement of the sum.
    pub fn checksum(self) -> u16 {
        !self.partial()
    }
}

/// Folds a sum into 33 bits, so that further additions cannot overflow.
fn fold32(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

/// The checksum of a header or packet when one 16-bit word of it changes from `old` to `new` (RFC 1624, 3).
pub fn replaced(checksum: u16, old: u16, new: u16) -> u16 {
    let mut sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 as it is written there, word by word.
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn a_known_header() {
        // The IPv4 header of a ping from 10.1.10.9 to 10.1.10.10, checksum field zero.
        let header = [
            0x45, 0x00, 0x00, 0x54, 0x12, 0x34, 0x40, 0x00, 0x40, 0x01, 0x00, 0x00, 0x0a, 0x01, 0x0a, 0x09, 0x0a, 0x01,
            0x0a, 0x0a,
        ];
        assert_eq!(Sum::default().bytes(&header).checksum(), by_the_book(&header));
        assert_eq!(by_the_book(&header), 0x0061);
    }

    proptest! {
        #[test]
        fn equals_the_book(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            prop_assert_eq!(Sum::default().bytes(&bytes).checksum(), by_the_book(&bytes));
        }

        #[test]
        fn pieces_add_up(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..150) {
            let at = (at * 2).min(bytes.len() & !1);
            let (head, tail) = bytes.split_at(at);
            prop_assert_eq!(Sum::default().bytes(head).bytes(tail).checksum(), by_the_book(&bytes));
        }

        #[test]
        fn a_replaced_word(mut bytes in proptest::collection::vec(any::<u8>(), 20..60), new in any::<u16>()) {
            bytes.truncate(bytes.len() & !1);
            // A header of zeros alone has two valid checksums; no IPv4 header is one.
            bytes[0] = 0x45;
            let before = by_the_book(&bytes);
            let old = u16::from_be_bytes([bytes[2], bytes[3]]);
            bytes[2..4].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(replaced(before, old, new), by_the_book(&bytes));
        }
    }
}
