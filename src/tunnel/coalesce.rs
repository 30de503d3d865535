//! Joining consecutive TCP segments of a flow, so that the stack behind the tunnel is entered once for many. PURE.
//!
//! The rules are those of Linux' GRO (`tcp_gro_receive`, `inet_gro_receive`): only whole segments in order with a
//! right checksum, equal in all header fields but length, identification, sequence number, checksum and PSH;
//! only the last may be shorter. What cannot be joined goes through as it came, and never overtakes another
//! packet of its flow.

use std::net::Ipv4Addr;

use super::checksum::Sum;
use super::packet::{self, Ipv4, Tcp, flag, protocol};
use super::vnet;

/// Longest joined packet in bytes: what the length field of IPv4 can say.
const JOINED_MAX: usize = 0xffff;

/// One write to the device: a packet, or several joined.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The packet whose headers it has.
    pub first: u16,
    /// How many packets it is made of.
    pub count: u16,
    last: u16,
    flow: Option<Flow>,
    open: Option<Growing>,
}

/// Addresses and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    addresses: (Ipv4Addr, Ipv4Addr),
    ports: (u16, u16),
}

/// A group that may take another segment.
#[derive(Debug, Clone, Copy)]
struct Growing {
    next_sequence: u32,
    next_id: u16,
    size: usize,
    total: usize,
}

/// The packets of one round of receiving, in groups. Holds at most as many packets as it was made for.
#[derive(Debug)]
pub struct Coalescer {
    groups: Vec<Group>,
    /// For each packet, the next of its group.
    next: Vec<u16>,
}

impl Coalescer {
    /// Room for `packets`. Nothing is allocated later.
    pub fn new(packets: usize) -> Coalescer {
        Coalescer { groups: Vec::with_capacity(packets), next: vec![0; packets] }
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    /// The groups, in the order in which they are to be written.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The packets of a group after the first, in order.
    pub fn followers(&self, group: &Group) -> impl Iterator<Item = u16> {
        let mut at = group.first;
        (1..group.count).map(move |_| {
            at = self.next[usize::from(at)];
            at
        })
    }

    /// Adds packet number `index`; `bytes` gives the packet of any number added so far.
    pub fn push<'a>(&mut self, index: u16, bytes: impl Fn(u16) -> &'a [u8]) {
        let packet = bytes(index);
        let parsed = parse(packet);
        let flow = parsed
            .map(|(ip, tcp)| Flow { addresses: (ip.source, ip.destination), ports: (tcp.source, tcp.destination) });
        let segment = parsed.filter(|(ip, tcp)| is_joinable(packet, ip, tcp));
        if let Some(flow) = flow
            && let Some(group) = self.groups.iter_mut().rev().find(|group| group.flow == Some(flow))
        {
            if let (Some(growing), Some((ip, tcp))) = (group.open, segment) {
                let head = bytes(group.first);
                if growing.takes(&ip, &tcp) && same_headers(head, packet, ip.header + tcp.header) {
                    let payload = ip.total - ip.header - tcp.header;
                    group.open = growing.after(payload, &tcp);
                    self.next[usize::from(group.last)] = index;
                    group.last = index;
                    group.count += 1;
                    return;
                }
            }
            // Whatever follows must come after this packet.
            group.open = None;
        }
        let open = segment.and_then(|(ip, tcp)| Growing::begin(&ip, &tcp));
        self.groups.push(Group { first: index, count: 1, last: index, flow, open });
    }
}

impl Growing {
    fn begin(ip: &Ipv4, tcp: &Tcp) -> Option<Growing> {
        let size = ip.total - ip.header - tcp.header;
        let growing = Growing { next_sequence: tcp.sequence, next_id: ip.id, size, total: ip.header + tcp.header };
        growing.after(size, tcp)
    }

    /// The state after a segment with `payload` bytes; none if that was the last.
    fn after(mut self, payload: usize, tcp: &Tcp) -> Option<Growing> {
        self.next_sequence = self.next_sequence.wrapping_add(payload as u32);
        self.next_id = self.next_id.wrapping_add(1);
        self.total += payload;
        (payload == self.size && tcp.flags & flag::PSH == 0).then_some(self)
    }

    fn takes(&self, ip: &Ipv4, tcp: &Tcp) -> bool {
        let payload = ip.total - ip.header - tcp.header;
        tcp.sequence == self.next_sequence
            && ip.id == self.next_id
            && payload <= self.size
            && self.total + payload <= JOINED_MAX
    }
}

/// A packet that belongs to a TCP flow.
fn parse(packet: &[u8]) -> Option<(Ipv4, Tcp)> {
    let ip = Ipv4::parse(packet).filter(|ip| ip.protocol == protocol::TCP && !ip.is_later_fragment())?;
    Tcp::parse(&packet[ip.header..ip.total]).map(|tcp| (ip, tcp))
}

/// Whether a segment may be joined with others at all.
fn is_joinable(packet: &[u8], ip: &Ipv4, tcp: &Tcp) -> bool {
    let payload = ip.total - ip.header - tcp.header;
    ip.header == packet::IPV4_HEADER
        && ip.total == packet.len()
        && !ip.is_fragment()
        && payload > 0
        && tcp.flags & !flag::PSH == flag::ACK
        && Sum::default().bytes(&packet[..ip.header]).partial() == 0xffff
        && Sum::default()
            .pseudo_header(ip.source, ip.destination, protocol::TCP, (ip.total - ip.header) as u16)
            .bytes(&packet[ip.header..])
            .partial()
            == 0xffff
}

/// Whether two packets of a flow are equal in all that joining would lose. `headers` is the second's length of
/// IP and TCP headers.
fn same_headers(one: &[u8], other: &[u8], headers: usize) -> bool {
    // IP: version and length, TOS; fragment, TTL and protocol. TCP: acknowledgement, then data offset, flags but
    // for PSH, window; urgent pointer and options.
    one.len() >= headers
        && one[..2] == other[..2]
        && one[6..10] == other[6..10]
        && one[28..33] == other[28..33]
        && (one[33] ^ other[33]) & !flag::PSH == 0
        && one[34..36] == other[34..36]
        && one[38..headers] == other[38..headers]
}

/// Makes `first` the head of a joined packet of `total` bytes: its lengths, and checksums as the kernel wants
/// them from a device (TCP's left to it). Gives the header for the device, and the length of IP and TCP headers.
/// `push` says whether a later segment had PSH.
pub fn join(first: &mut [u8], total: usize, push: bool) -> ([u8; vnet::LENGTH], usize) {
    let Some((ip, tcp)) = parse(first) else {
        return (vnet::COMPLETE, first.len());
    };
    let headers = ip.header + tcp.header;
    packet::put16(first, 2, total as u16);
    packet::set_ipv4_checksum(first, ip.header);
    if push {
        first[ip.header + 13] |= flag::PSH;
    }
    let length = (total - ip.header) as u16;
    let sum = Sum::default().pseudo_header(ip.source, ip.destination, protocol::TCP, length).partial();
    packet::put16(first, ip.header + 16, sum);
    let size = ip.total - headers;
    (vnet::joined_tcp4(ip.header as u16, tcp.header as u16, size as u16), headers)
}

/// Bytes of IP and TCP headers of a packet that was joined to another: where its payload begins.
pub fn headers(packet: &[u8]) -> usize {
    parse(packet).map_or(packet.len(), |(ip, tcp)| ip.header + tcp.header)
}

/// Whether a TCP packet without IP options has PSH.
pub fn has_push(packet: &[u8]) -> bool {
    packet.get(33).is_some_and(|flags| flags & flag::PSH != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::segment::tests::{tcp, transport_sum};
    use super::super::segment::{Super, complete_checksum};
    use super::*;

    fn groups(packets: &[Vec<u8>]) -> Vec<Vec<u16>> {
        let mut coalescer = Coalescer::new(packets.len());
        for index in 0..packets.len() {
            coalescer.push(index as u16, |i| &packets[usize::from(i)]);
        }
        let groups = coalescer.groups().iter();
        groups.map(|g| std::iter::once(g.first).chain(coalescer.followers(g)).collect()).collect()
    }

    fn joined(packets: &[Vec<u8>], members: &[u16]) -> (Vec<u8>, [u8; vnet::LENGTH]) {
        let mut bytes = packets[usize::from(members[0])].clone();
        let followers: Vec<&Vec<u8>> = members[1..].iter().map(|i| &packets[usize::from(*i)]).collect();
        let payload: usize = followers.iter().map(|p| p.len() - headers(p)).sum();
        let push = followers.iter().any(|p| has_push(p));
        let total = bytes.len() + payload;
        let (vnet, _) = join(&mut bytes, total, push);
        followers.iter().for_each(|p| bytes.extend_from_slice(&p[headers(p)..]));
        (bytes, vnet)
    }

    const A: u8 = flag::ACK;

    #[test]
    fn segments_in_order_become_one() {
        let packets = [
            tcp(1000, 5, A, &[1; 100]),
            tcp(1100, 6, A, &[2; 100]),
            tcp(1200, 7, A | flag::PSH, &[3; 40]),
            tcp(1240, 8, A, &[4; 100]),
        ];
        assert_eq!(groups(&packets), [vec![0, 1, 2], vec![3]]);
        let (bytes, vnet) = joined(&packets, &[0, 1, 2]);
        let ip = Ipv4::parse(&bytes).expect("valid");
        assert_eq!((ip.total, bytes.len()), (292, 292));
        assert_eq!(bytes[33], A | flag::PSH);
        assert_eq!(vnet, vnet::joined_tcp4(20, 32, 100));
        let pseudo = Sum::default().pseudo_header(ip.source, ip.destination, 6, 272).partial();
        assert_eq!(packet::be16(&bytes, 36), pseudo);
    }

    #[test]
    fn what_is_not_joined() {
        let base = || tcp(1000, 5, A, &[1; 100]);
        let apart = |other: Vec<u8>| assert_eq!(groups(&[base(), other]), [vec![0], vec![1]]);
        assert_eq!(groups(&[base(), tcp(1100, 6, A, &[2; 100])]), [vec![0, 1]]);
        apart(tcp(1101, 6, A, &[2; 100]));
        apart(tcp(1100, 7, A, &[2; 100]));
        apart(tcp(1100, 6, A, &[2; 101]));
        apart(tcp(1100, 6, A | flag::FIN, &[2; 100]));
        apart(tcp(1100, 6, A, &[]));
        let mut broken = tcp(1100, 6, A, &[2; 100]);
        broken[60] ^= 1;
        apart(broken);
        let mut other_ttl = tcp(1100, 6, A, &[2; 100]);
        other_ttl[8] = 62;
        packet::set_ipv4_checksum(&mut other_ttl, 20);
        apart(other_ttl);
        let mut other_stamp = tcp(1100, 6, A, &[2; 100]);
        other_stamp[47] = 9;
        packet::put16(&mut other_stamp, 36, 0);
        let sum = transport_sum(&other_stamp);
        packet::put16(&mut other_stamp, 36, !sum);
        apart(other_stamp);
    }

    #[test]
    fn nothing_overtakes_within_a_flow() {
        let packets =
            [tcp(1000, 5, A, &[1; 100]), tcp(1100, 6, A, &[]), tcp(1100, 7, A, &[2; 100]), tcp(1200, 8, A, &[2; 100])];
        assert_eq!(groups(&packets), [vec![0], vec![1], vec![2, 3]]);
    }

    #[test]
    fn two_flows_side_by_side() {
        let other = |sequence, id| {
            let mut packet = tcp(sequence, id, A, &[1; 100]);
            packet::put16(&mut packet, 20, 40001);
            packet::put16(&mut packet, 36, 0);
            let sum = transport_sum(&packet);
            packet::put16(&mut packet, 36, !sum);
            packet
        };
        let packets = [tcp(1000, 5, A, &[1; 100]), other(7, 9), tcp(1100, 6, A, &[1; 100]), other(107, 10)];
        assert_eq!(groups(&packets), [vec![0, 2], vec![1, 3]]);
    }

    proptest! {
        #[test]
        fn random_packets_never_panic(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 20..90), 1..8)) {
            let packets: Vec<Vec<u8>> = packets.into_iter().map(|mut packet| {
                let length = packet.len() as u16;
                packet[0] = 0x45;
                packet[9] = 6;
                packet::put16(&mut packet, 2, length);
                packet
            }).collect();
            let all: usize = groups(&packets).iter().map(Vec::len).sum();
            prop_assert_eq!(all, packets.len());
        }

        /// Cut and joined again is the same packet, whatever the size of the segments.
        #[test]
        fn cut_and_joined(payload in proptest::collection::vec(any::<u8>(), 101..9000), size in 100u16..1428, id: u16) {
            let whole = tcp(3, id, A | flag::PSH, &payload);
            let cut = Super::parse(&whole, size).expect("TCP");
            let segments: Vec<Vec<u8>> = (0..cut.count()).map(|index| {
                let mut headers = vec![0; cut.headers()];
                cut.write_headers(&whole, index, &mut headers);
                headers.extend_from_slice(&whole[cut.payload(index)]);
                headers
            }).collect();
            let groups = groups(&segments);
            prop_assert_eq!(groups.len(), 1);
            let (mut bytes, vnet) = joined(&segments, &groups[0]);
            if segments.len() > 1 {
                prop_assert_eq!(vnet, vnet::joined_tcp4(20, 32, size));
                let completed = complete_checksum(&mut bytes, vnet::Partial { start: 20, offset: 16 });
                prop_assert!(completed);
                prop_assert_eq!(bytes, whole);
            }
        }
    }
}
