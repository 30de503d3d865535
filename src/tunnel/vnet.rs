//! The header that the kernel puts before each packet on a TUN with IFF_VNET_HDR: what is left to be done to
//! the packet (linux/virtio_net.h). PURE.

/// Length in bytes of the header (`struct virtio_net_hdr`).
pub const LENGTH: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds a partial sum.
const NEEDS_CHECKSUM: u8 = 1;

/// `VIRTIO_NET_HDR_GSO_NONE`: an ordinary packet.
const GSO_NONE: u8 = 0;

/// `VIRTIO_NET_HDR_GSO_TCPV4`: TCP over IPv4, to be cut into segments.
const GSO_TCPV4: u8 = 1;

/// `VIRTIO_NET_HDR_GSO_ECN`: the TCP header has CWR, which belongs to the first segment only.
const GSO_ECN: u8 = 0x80;

/// Where a checksum has to be completed: from `start` to the packet's end, into the 16 bits at `start + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// First byte of the sum, from the packet's start.
    pub start: u16,
    /// Place of the field, in bytes after `start`.
    pub offset: u16,
}

/// What is left to do to a packet that was read, or may be left to the kernel for one that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// Nothing but perhaps the checksum.
    Packet(Option<Partial>),
    /// A TCP/IPv4 packet of many segments with `size` bytes of payload each.
    Tcp4 {
        /// Payload bytes per segment (the MSS less the options).
        size: u16,
    },
    /// A kind of packet that was never asked for.
    Unknown(u8),
}

impl Offload {
    /// Reads the header. Its numbers are in the machine's byte order, which is the TUN's default.
    pub fn decode(bytes: &[u8; LENGTH]) -> Offload {
        let number = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        match bytes[1] & !GSO_ECN {
            GSO_NONE if bytes[0] & NEEDS_CHECKSUM != 0 => {
                Offload::Packet(Some(Partial { start: number(6), offset: number(8) }))
            }
            GSO_NONE => Offload::Packet(None),
            GSO_TCPV4 => Offload::Tcp4 { size: number(4) },
            other => Offload::Unknown(other),
        }
    }
}

/// The header of a packet that is complete.
pub const COMPLETE: [u8; LENGTH] = [0; LENGTH];

/// The header of a joined TCP/IPv4 packet: IP and TCP header lengths and payload bytes per segment.
pub fn joined_tcp4(ip_header: u16, tcp_header: u16, size: u16) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = NEEDS_CHECKSUM;
    bytes[1] = GSO_TCPV4;
    bytes[2..4].copy_from_slice(&(ip_header + tcp_header).to_ne_bytes());
    bytes[4..6].copy_from_slice(&size.to_ne_bytes());
    bytes[6..8].copy_from_slice(&ip_header.to_ne_bytes());
    // The checksum stands 16 bytes after the start of the TCP header.
    bytes[8..10].copy_from_slice(&16u16.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(Offload::decode(&COMPLETE), Offload::Packet(None));
        assert_eq!(Offload::decode(&joined_tcp4(20, 32, 1428)), Offload::Tcp4 { size: 1428 });
        let mut partial = COMPLETE;
        partial[0] = 1;
        partial[6..8].copy_from_slice(&20u16.to_ne_bytes());
        partial[8..10].copy_from_slice(&6u16.to_ne_bytes());
        assert_eq!(Offload::decode(&partial), Offload::Packet(Some(Partial { start: 20, offset: 6 })));
        let mut udp = COMPLETE;
        udp[1] = 5;
        assert_eq!(Offload::decode(&udp), Offload::Unknown(5));
        let mut ecn = joined_tcp4(20, 20, 1);
        ecn[1] |= GSO_ECN;
        assert_eq!(Offload::decode(&ecn), Offload::Tcp4 { size: 1 });
    }
}
