//! Packets on their way out of a tunnel: one buffer into which the device is read, and the messages that point
//! into it. PURE.
//!
//! A packet that goes out as it is gets its outer header into the bytes before it, where the offload header has
//! been. A segment of a large packet gets outer, IP and TCP header in a slot of its own, and its payload stays
//! where it is.

use std::net::SocketAddrV4;
use std::ops::Range;

use super::ipip::{self, Outer, Path};
use super::packet::IPV4_HEADER;
use super::segment::{HEADERS_MAX, Super};
use super::vnet::{self, Offload};

/// Messages that are sent together at most.
pub const MESSAGES: usize = 128;

/// Bytes of a header slot.
const SLOT: usize = IPV4_HEADER + HEADERS_MAX + 4;

/// Where the part of the buffer begins into which packets are read.
const ROOM: usize = MESSAGES * SLOT;

/// Bytes before a packet: the outer header, or padding and the offload header.
const BEFORE: usize = 32;

/// Longest packet with what is before it, rounded up.
const LONGEST: usize = BEFORE + 65_536;

/// Bytes of the buffer: room for one longest packet behind many short ones.
const BYTES: usize = ROOM + 2 * LONGEST;

/// Where a packet is in the buffer.
pub type Place = Range<usize>;

/// One packet to be sent: its headers, and its payload where that is apart from them.
#[derive(Debug, Clone)]
struct Message {
    head: Place,
    body: Place,
    destination: SocketAddrV4,
}

/// The buffer and the messages. Allocated once for each worker.
pub struct Outbox {
    bytes: Vec<u8>,
    free: usize,
    messages: Vec<Message>,
}

impl Outbox {
    /// Allocates it.
    pub fn new() -> Outbox {
        Outbox { bytes: vec![0; BYTES], free: ROOM, messages: Vec::with_capacity(MESSAGES) }
    }

    /// Room for a packet behind its offload header, if enough is left for the longest.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        let end = self.free + LONGEST;
        (end <= BYTES).then(|| &mut self.bytes[self.free + BEFORE - vnet::LENGTH..end])
    }

    /// Takes what has been read into the room, `length` bytes with the offload header: what is left to do to
    /// the packet, and its place. None if that was too short for a packet.
    pub fn take(&mut self, length: usize) -> Option<(Offload, Place)> {
        let start = self.free + BEFORE;
        let header = self.bytes[start - vnet::LENGTH..].first_chunk::<{ vnet::LENGTH }>()?;
        let offload = Offload::decode(header);
        let end = start + length.checked_sub(vnet::LENGTH)?;
        self.free = end.next_multiple_of(16);
        (end > start).then_some((offload, start..end))
    }

    /// The bytes of a packet.
    pub fn packet(&self, place: &Place) -> &[u8] {
        &self.bytes[place.clone()]
    }

    /// The same, to be changed.
    pub fn packet_mut(&mut self, place: &Place) -> &mut [u8] {
        &mut self.bytes[place.clone()]
    }

    /// Whether no further message fits in before the others are sent.
    pub fn is_full(&self) -> bool {
        self.messages.len() >= MESSAGES
    }

    /// Adds a packet as it is. The outbox must not be full.
    pub fn push_whole(&mut self, place: &Place, outer: Outer, path: &Path, id: u16) {
        let start = place.start - IPV4_HEADER;
        if let Some(header) = self.bytes[start..].first_chunk_mut() {
            ipip::write_outer(header, outer, path, id, place.len());
        }
        let destination = SocketAddrV4::new(path.destination, 0);
        self.messages.push(Message { head: start..place.end, body: 0..0, destination });
    }

    /// Adds a segment of the packet at `place`. The outbox must not be full.
    pub fn push_segment(&mut self, place: &Place, cut: &Super, index: usize, outer: Outer, path: &Path, id: u16) {
        let (slots, room) = self.bytes.split_at_mut(ROOM);
        let packet = &room[place.start - ROOM..place.end - ROOM];
        let start = self.messages.len() * SLOT;
        let slot = &mut slots[start..start + SLOT];
        let payload = cut.payload(index);
        cut.write_headers(packet, index, &mut slot[IPV4_HEADER..]);
        if let Some(header) = slot.first_chunk_mut() {
            ipip::write_outer(header, outer, path, id, cut.headers() + payload.len());
        }
        let head = start..start + IPV4_HEADER + cut.headers();
        let body = place.start + payload.start..place.start + payload.end;
        self.messages.push(Message { head, body, destination: SocketAddrV4::new(path.destination, 0) });
    }

    /// Adds a packet without any outer header: the kernel gives it those of the socket that it leaves through. The
    /// outbox must not be full.
    pub fn push_bare(&mut self, place: &Place, destination: SocketAddrV4) {
        self.messages.push(Message { head: place.clone(), body: 0..0, destination });
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The outer destination of a message; the port is 0 where its protocol has none.
    pub fn destination(&self, index: usize) -> SocketAddrV4 {
        self.messages[index].destination
    }

    /// A message's bytes, with the outer header if it has one, in two pieces.
    pub fn outer(&self, index: usize) -> [&[u8]; 2] {
        let message = &self.messages[index];
        [&self.bytes[message.head.clone()], &self.bytes[message.body.clone()]]
    }

    /// A message's bytes behind the outer header.
    pub fn inner(&self, index: usize) -> [&[u8]; 2] {
        let [head, body] = self.outer(index);
        [&head[IPV4_HEADER..], body]
    }

    /// Length in bytes of a message behind the outer header.
    pub fn inner_length(&self, index: usize) -> usize {
        let message = &self.messages[index];
        message.head.len() + message.body.len() - IPV4_HEADER
    }

    /// Forgets the messages, keeps the packets.
    pub fn clear_messages(&mut self) {
        self.messages.clear();
    }

    /// Forgets messages and packets: the whole room is free.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.free = ROOM;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::packet::{Ipv4, flag};
    use super::super::segment::tests::tcp;
    use super::*;

    const PATH: Path = Path {
        source: Ipv4Addr::new(10, 1, 10, 9),
        destination: Ipv4Addr::new(10, 1, 10, 10),
        mtu: 1500,
        device_mtu: 1500,
        pmtudisc: false,
    };
    const OUTER: Outer = Outer { tos: 0, ttl: 63, df: true };

    fn read(outbox: &mut Outbox, packet: &[u8]) -> Place {
        let room = outbox.room().expect("room");
        room[..vnet::LENGTH].fill(0);
        room[vnet::LENGTH..vnet::LENGTH + packet.len()].copy_from_slice(packet);
        outbox.take(vnet::LENGTH + packet.len()).expect("a packet").1
    }

    #[test]
    fn packets_and_segments_side_by_side() {
        let mut outbox = Outbox::new();
        let small = tcp(1, 1, flag::ACK, b"abc");
        let large = tcp(2, 2, flag::ACK, &[7; 250]);
        let first = read(&mut outbox, &small);
        let second = read(&mut outbox, &large);
        outbox.push_whole(&first, OUTER, &PATH, 11);
        let cut = Super::parse(outbox.packet(&second), 100).expect("TCP");
        (0..cut.count()).for_each(|index| outbox.push_segment(&second, &cut, index, OUTER, &PATH, 12));
        assert_eq!(outbox.len(), 4);
        assert_eq!(outbox.inner(0).concat(), small);
        let lengths: Vec<usize> = (0..4).map(|index| outbox.inner_length(index)).collect();
        assert_eq!(lengths, [55, 152, 152, 102]);
        for index in 0..4 {
            let bytes = outbox.outer(index).concat();
            let outer = Ipv4::parse(&bytes).expect("an outer header");
            assert_eq!((outer.total, outer.protocol), (bytes.len(), 4));
            assert!(Ipv4::parse(&bytes[20..]).is_some(), "an inner header");
        }
        assert_eq!(outbox.inner(3).concat(), tcp(202, 4, flag::ACK, &[7; 50]));
    }

    #[test]
    fn the_room_ends() {
        let mut outbox = Outbox::new();
        let mut packets = 0;
        while outbox.room().is_some() {
            assert!(outbox.take(vnet::LENGTH + 65_535).is_some());
            packets += 1;
        }
        assert_eq!(packets, 2);
        outbox.clear();
        assert!(outbox.room().is_some());
        assert!(outbox.take(3).is_none(), "shorter than an offload header");
    }
}
