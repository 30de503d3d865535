//! IP headers of both families in one shape.

use std::net::{IpAddr, Ipv6Addr};

use super::{FRAGMENT_HEADER, IP_HEADER, IPV6_HEADER};
use crate::plan::Mac;

/// An IPv4 header without options, or an IPv6 header with the extension headers behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Protocol number; in IPv6 the next header behind all extension headers.
    pub protocol: u8,
    /// Time to live; in IPv6 the hop limit.
    pub ttl: u8,
    /// Identification: IPv4 packets have one of 16 bits, of IPv6 packets only fragments, of 32 bits. None in a prediction
    /// if the kernel chooses it.
    pub id: Option<u32>,
    /// IPv6's flow label, 20 bits; none in IPv4, and in a prediction if the kernel chooses it.
    pub label: Option<u32>,
    /// Don't fragment. IPv6 has no such bit, as nobody but the sender may: in what is to be sent it says that the sender
    /// must not either, on the wire it is never set.
    pub dont_fragment: bool,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Where in the datagram this fragment's payload begins, in bytes.
    pub offset: u16,
    /// Total length in bytes, this header included.
    pub length: u16,
}

impl Ip {
    /// A header that is no fragment's, with the fields that a kernel chooses left open.
    pub fn new(src: IpAddr, dst: IpAddr, protocol: u8, ttl: u8, length: u16) -> Ip {
        let (id, label) = (None, None);
        let (dont_fragment, more_fragments, offset) = (false, false, 0);
        Ip { src, dst, protocol, ttl, id, label, dont_fragment, more_fragments, offset, length }
    }

    /// Whether this is a part of a datagram.
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.offset > 0
    }

    /// Whether it is IPv6.
    pub fn is_v6(&self) -> bool {
        self.dst.is_ipv6()
    }

    /// Length of a header of this family, in bytes: without options, extension headers and what fragments need.
    pub fn header(&self) -> u16 {
        Ip::header_of(&self.dst)
    }

    /// Length of a header of an address's family, in bytes.
    pub fn header_of(address: &IpAddr) -> u16 {
        if address.is_ipv6() { IPV6_HEADER } else { IP_HEADER }
    }

    /// Length of what it carries, in bytes.
    pub fn payload(&self) -> u16 {
        let of_fragment = if self.is_v6() && self.is_fragment() { FRAGMENT_HEADER } else { 0 };
        self.length.saturating_sub(self.header() + of_fragment)
    }
}

/// Where a neighbour is asked for who has `target`: the solicited-node multicast group (RFC 4291, 2.7.1) and its Ethernet
/// address (RFC 2464, 7).
pub fn solicited_node(target: Ipv6Addr) -> (Ipv6Addr, Mac) {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    (group, Mac([0x33, 0x33, 0xff, a, b, c]))
}
