//! What was seen of a connection: its frames are known by what address translation leaves alone. PURE.

use std::net::IpAddr;

use super::ServicePath;
use super::association::is_same;
use super::connect::Try;
use crate::packet::{Chunk, Direction, Frame, PROTOCOL_TCP, Packet, Sctp, TcpFlags, Transport};
use crate::predict::{End, Journey, Purpose};
use crate::verify::compare::Seen;

/// Where a request can end: a namespace, and the address and port that it has there.
pub(super) type Target = (String, IpAddr, Option<u16>);

/// A connection's first packet as its program sent it, if it was seen to leave.
pub(super) fn first(path: &ServicePath, one: &Try, pool: &[Seen]) -> Option<Packet> {
    pool.iter().find_map(|seen| {
        let left = seen.namespace == path.from && seen.direction == Direction::Out;
        one.first(path, seen.frame.packet().filter(|_| left)?)
    })
}

/// The same from what an ICMP error quotes that came back to where it was asked.
pub(super) fn quoted(path: &ServicePath, one: &Try, pool: &[Seen]) -> Option<Packet> {
    pool.iter().filter(|seen| seen.namespace == path.from).find_map(|seen| match &seen.frame.packet()?.transport {
        Transport::Icmp(icmp) => one.first(path, icmp.about()?),
        _ => None,
    })
}

/// What was seen of the connection that begins with this packet, in order.
pub(super) fn of(first: &Packet, pool: &[Seen]) -> Vec<Seen> {
    let purposes = pool.iter().filter_map(|seen| Some((purpose(first, &seen.frame)?, seen)));
    let mut seen: Vec<Seen> = purposes.map(|(purpose, seen)| Seen { purpose, ..seen.clone() }).collect();
    seen.sort_by_key(|seen| seen.time);
    let start = seen.first().map_or(0, |first| first.time);
    let place = |seen: &Seen| (seen.namespace.clone(), seen.interface.clone(), seen.direction, seen.purpose);
    // Who is not answered asks again, and that is none of the first packet's journey.
    let again = |at: usize| {
        let one: &Seen = &seen[at];
        one.time - start >= AGAIN && seen[..at].iter().any(|before| place(before) == place(one))
    };
    let late: Vec<bool> = (0..seen.len()).map(again).collect();
    seen.into_iter().zip(late).filter(|(_, late)| !late).map(|(seen, _)| seen).collect()
}

/// After how many nanoseconds TCP sends its first SYN again (`TCP_TIMEOUT_INIT`, one second), and not much less.
const AGAIN: i64 = 950_000_000;

/// Where a journey's request ends; none if it is not delivered.
pub(super) fn target(way: &Journey) -> Option<Target> {
    let leg = way.legs.first()?;
    let End::Delivered { namespace } = &leg.end else { return None };
    let packet = leg.hops.last()?.frame.packet()?.innermost();
    Some((namespace.clone(), packet.inner()?.dst, destination_port(packet)))
}

fn destination_port(packet: &Packet) -> Option<u16> {
    packet.transport.ports()?.1
}

pub(super) fn is_at(seen: &Seen, (namespace, address, port): &Target) -> bool {
    let there = seen.purpose == Purpose::Request && seen.direction == Direction::In && seen.namespace == *namespace;
    let packet = seen.frame.packet().filter(|_| there).map(Packet::innermost);
    packet
        .is_some_and(|packet| packet.inner().is_some_and(|ip| ip.dst == *address) && destination_port(packet) == *port)
}

/// Which leg of the journey of `first` a frame is on; none if it is not of it.
fn purpose(first: &Packet, frame: &Frame) -> Option<Purpose> {
    let packet = frame.packet()?.innermost();
    match (&first.transport, &packet.transport) {
        (Transport::Tcp { .. } | Transport::Udp { .. } | Transport::Sctp(_), Transport::Icmp(icmp)) => {
            same_request(first, icmp.about()?.innermost()).then_some(Purpose::Error)
        }
        (Transport::Tcp { seq: Some(seq), .. }, Transport::Tcp { flags, ack, .. }) => {
            let takes = *ack == seq.wrapping_add(1)
                && matches!(flags.0 & !TcpFlags::PSH, SYN_ACK | RST_ACK)
                && packet.inner().is_some_and(|ip| ip.protocol == PROTOCOL_TCP);
            match takes {
                true => Some(Purpose::Answer),
                false => same_request(first, packet).then_some(Purpose::Request),
            }
        }
        // Of what else comes back none is foretold: how long it is, the other kernel alone knows.
        (Transport::Sctp(Sctp { chunk: Some(Chunk::Init(init)), .. }), Transport::Sctp(answer))
            if answer.chunk == Some(Chunk::Abort) =>
        {
            (answer.tag.is_some() && answer.tag == init.tag).then_some(Purpose::Answer)
        }
        _ => same_request(first, packet).then_some(Purpose::Request),
    }
}

pub(super) const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
const RST_ACK: u8 = TcpFlags::RST | TcpFlags::ACK;

/// Whether a packet is this one, whatever became of its addresses and ports.
fn same_request(first: &Packet, packet: &Packet) -> bool {
    match (&first.transport, &packet.transport) {
        (Transport::Tcp { seq: own, .. }, Transport::Tcp { seq, flags, .. }) => {
            own.is_some() && own == seq && flags.0 & SYN_ACK == TcpFlags::SYN
        }
        (Transport::Sctp(Sctp { chunk: Some(Chunk::Init(own)), .. }), Transport::Sctp(seen)) => is_same(own, seen),
        (Transport::Udp { .. }, Transport::Udp { .. }) => first.mark.is_some() && first.mark == packet.mark,
        _ => false,
    }
}

/// The endpoint at which a connection arrived.
pub(super) fn reached_by(seen: &[Seen], targets: &[Target]) -> Option<usize> {
    targets.iter().position(|target| seen.iter().any(|seen| is_at(seen, target)))
}
