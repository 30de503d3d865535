//! A whole journey: the packet's own way, then those of what it causes.

use ipnet::IpNet;

use super::neighbour::{Place, Wiring};
use super::netfilter::Chances;
use super::route;
use super::told::Told;
use super::walk::{Carried, Outcome, Split, Walker};
use super::{End, Event, Flow, Journey, Leg, Origin, Port, Purpose, Reason, settings};
use crate::error::{Error, Kind, Result};
use crate::packet::{
    CHUNK_HEADER, Chunk, Ethernet, ICMP_HEADER, INIT_CHUNK, IP_HEADER, IPV6_HEADER, IPV6_MTU_MIN, Icmp, Init, Ip,
    PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, Packet, SCTP_HEADER, Sctp, TCP_HEADER,
    TcpFlags, Transport,
};
use crate::plan::{Family, Link, Namespace, Plan};

/// The longest quotation in an ICMP error: all of it fits into the 576 bytes of RFC 1812, or IPv6's smallest MTU.
const QUOTE_MAX: u16 = 576 - IP_HEADER - ICMP_HEADER;
const QUOTE_MAX_V6: u16 = IPV6_MTU_MIN - IPV6_HEADER - ICMP_HEADER;
/// Time to live of what flannel's daemon says itself.
const FLANNEL_TTL: u8 = 8;
/// The TCP header of an answer to a SYN without options: its own option (MSS) and nothing else, in bytes.
const SYN_ACK: u16 = 24;

/// See [`super::outcomes`]: one of them, as `chances` has it, and what was asked of chance.
pub fn journey(wiring: &Wiring, flow: &Flow, chances: Chances) -> Result<(Journey, Chances)> {
    let mut walker = Walker::new(wiring, chances);
    let (journey, _) = walk(&mut walker, flow)?;
    Ok((journey, walker.chances))
}

/// See [`super::explained`]: the first of all ways, and what decides about the packet itself.
pub fn explained(plan: &Plan, flow: &Flow) -> Result<(Journey, Vec<Event>)> {
    let wiring = Wiring::new(plan);
    let mut walker = Walker::new(&wiring, Chances::default());
    walker.events = Some(Vec::new());
    walk(&mut walker, flow)
}

fn walk(walker: &mut Walker, flow: &Flow) -> Result<(Journey, Vec<Event>)> {
    let wiring = walker.wiring;
    let from = namespace(wiring, &flow.from)?;
    let outcome = begin(walker, from, flow)?;
    // Nothing is told of what the packet causes.
    let events = walker.events.take().unwrap_or_default();
    let mut legs = Vec::new();
    let mut next = close(walker, &mut legs, Purpose::Request, outcome, flow)?;
    // An answer may cause an error of its own, and that is the end: there is no error about an error.
    while let Some(Next { namespace: ns, purpose, packet, through }) = next {
        let ns = namespace(wiring, &ns)?;
        let carried = Carried::new(packet);
        let outcome = match through.and_then(|name| ns.link(&name)) {
            Some(link) => walker.put_by_program(Place { ns, link }, carried)?,
            None => walker.originate(ns, carried)?,
        };
        next = close(walker, &mut legs, purpose, outcome, flow)?;
    }
    Ok((Journey { legs }, events))
}

fn namespace<'a>(wiring: &Wiring<'a>, name: &str) -> Result<&'a Namespace> {
    wiring.namespace(name).ok_or_else(|| Error::new(Kind::Usage, format!("the plan has no namespace {name}")))
}

fn begin<'a>(walker: &mut Walker<'a>, ns: &'a Namespace, flow: &Flow) -> Result<Outcome> {
    let mut carried = Carried::new(flow.packet.clone());
    let level = carried.packet.layers.len().saturating_sub(1);
    carried.splits = flow.fragments.map(|limit| Split { level, limit }).into_iter().collect();
    match &flow.origin {
        Origin::Stack => walker.originate(ns, carried),
        Origin::Wire { interface, dst } => {
            let missing = || Error::new(Kind::Usage, format!("{} has no interface {interface}", ns.name));
            let link = ns.link(interface).ok_or_else(missing)?;
            let ethernet = Ethernet { src: settings::mac(ns, link)?, dst: *dst, vlan: None };
            walker.put(Place { ns, link }, ethernet, carried)
        }
    }
}

/// The packet of the next leg.
struct Next {
    /// Where it begins.
    namespace: String,
    purpose: Purpose,
    packet: Packet,
    /// The TUN device that a program puts it into.
    through: Option<String>,
}

/// Ends a leg, and says what comes next.
fn close(
    walker: &mut Walker,
    legs: &mut Vec<Leg>,
    purpose: Purpose,
    outcome: Outcome,
    flow: &Flow,
) -> Result<Option<Next>> {
    let hops = std::mem::take(&mut walker.hops);
    let (end, next) = match outcome {
        Outcome::Delivered { namespace: name, carried }
            if purpose == Purpose::Answer && is_a_strangers(&carried, flow) =>
        {
            let from = carried.outer()?.src;
            (End::Dropped { namespace: name, reason: Reason::NotAsked(from) }, None)
        }
        Outcome::Delivered { namespace: name, carried } => {
            let ttl = settings::default_ttl(namespace(walker.wiring, &name)?, carried.packet.is_v6());
            let answer = (purpose == Purpose::Request).then(|| answer(&carried.packet, flow.port, ttl)).flatten();
            let next = answer.map(|packet| {
                let is_error = matches!(&packet.transport, Transport::Icmp(icmp) if icmp.about().is_some());
                let purpose = if is_error { Purpose::Error } else { Purpose::Answer };
                Next { namespace: name.clone(), purpose, packet, through: None }
            });
            (End::Delivered { namespace: name }, next)
        }
        Outcome::Dropped { namespace: name, reason, error, through } => {
            let ns = namespace(walker.wiring, &name)?;
            // No error about an error (RFC 1812, 4.3.2.7).
            let error = error.filter(|_| purpose != Purpose::Error);
            let packet = error.and_then(|icmp| match through.as_deref().and_then(|link| ns.link(link)) {
                Some(link) => from_flannel(icmp, link),
                None => {
                    let ttl = settings::default_ttl(ns, icmp.about().is_some_and(Packet::is_v6));
                    let asked = icmp.about().and_then(Packet::outer).copied();
                    // What was for the host itself is answered from where it was asked (`icmp_send`).
                    let local = asked.filter(|asked| route::is_local(ns, asked.dst));
                    error_packet(icmp, ttl).map(|packet| match &local {
                        Some(asked) => from_asked(packet, asked),
                        None => packet,
                    })
                }
            });
            let next = packet.map(|packet| Next { namespace: name.clone(), purpose: Purpose::Error, packet, through });
            (End::Dropped { namespace: name, reason }, next)
        }
    };
    legs.push(Leg { purpose, hops, end });
    Ok(next)
}

/// Whether an answer comes from another address or port than was asked: it is for no socket of the asker's. So ends what
/// nobody translates back.
fn is_a_strangers(answer: &Carried, flow: &Flow) -> bool {
    let (Some((from, _)), Some((_, asked))) = (answer.packet.transport.ports(), flow.packet.transport.ports()) else {
        return false;
    };
    let other_port = from.zip(asked).is_some_and(|(from, asked)| from != asked);
    other_port || answer.packet.outer().map(|ip| ip.src) != flow.packet.outer().map(|ip| ip.dst)
}

/// What a Linux host says to a packet that reached it.
fn answer(packet: &Packet, port: Port, ttl: u8) -> Option<Packet> {
    let asked = packet.outer()?;
    let icmp_number = if asked.is_v6() { PROTOCOL_ICMPV6 } else { PROTOCOL_ICMP };
    let (transport, protocol, length, dont_fragment) = match (&packet.transport, port) {
        (Transport::Icmp(Icmp::EchoRequest { id, seq }), _) => {
            (Transport::Icmp(Icmp::EchoReply { id: *id, seq: *seq }), icmp_number, asked.length, false)
        }
        (transport, Port::Unspoken) if transport.ports().is_some() => {
            return error_packet(Told::Protocol.about(packet.clone()), ttl).map(|packet| from_asked(packet, asked));
        }
        (Transport::Udp { src, dst }, Port::Echo) => {
            (Transport::Udp { src: *dst, dst: *src }, PROTOCOL_UDP, asked.length, !asked.is_v6())
        }
        (Transport::Udp { .. }, _) => {
            return error_packet(Told::Port.about(packet.clone()), ttl).map(|packet| from_asked(packet, asked));
        }
        (Transport::Tcp { src, dst, seq, .. }, port) => {
            let (flags, own, length) = match port {
                Port::Closed | Port::Unspoken => (TcpFlags::RST | TcpFlags::ACK, Some(0), asked.header() + TCP_HEADER),
                // A SYN of an ordinary program carries options, and Linux takes up what it offers; ours carries a mark.
                Port::Echo if packet.mark.is_none() => (TcpFlags::SYN | TcpFlags::ACK, None, asked.length),
                Port::Echo => (TcpFlags::SYN | TcpFlags::ACK, None, asked.header() + SYN_ACK),
            };
            let carried = packet.mark.map_or(0, |_| asked.payload().saturating_sub(TCP_HEADER));
            // An open port takes the SYN alone; a reset acknowledges what came with it, too.
            let taken = if port == Port::Closed { u32::from(carried) } else { 0 };
            let ack = seq.map_or(0, |seq| seq.wrapping_add(1).wrapping_add(taken));
            let transport = Transport::Tcp { src: *dst, dst: *src, flags: TcpFlags(flags), seq: own, ack };
            (transport, PROTOCOL_TCP, length, !asked.is_v6())
        }
        (Transport::Sctp(asking), port) => {
            let (answer, length) = association(asking, port)?;
            (Transport::Sctp(answer), PROTOCOL_SCTP, asked.header() + length, !asked.is_v6())
        }
        _ => return None,
    };
    let header = Ip { dont_fragment, ..Ip::new(asked.dst, asked.src, protocol, ttl, length) };
    let mark = if protocol == PROTOCOL_TCP { None } else { packet.mark };
    Some(Packet { layers: vec![header], transport, mark })
}

/// What is said to the first packet of an association, and its length in bytes: all of an ABORT; of an INIT ACK as much as
/// every kernel sends. The cookie that follows is as long as the kernel's own notes on an association.
fn association(asking: &Sctp, port: Port) -> Option<(Sctp, u16)> {
    let Some(Chunk::Init(init)) = asking.chunk else { return None };
    let (chunk, length) = match port {
        Port::Echo => (Chunk::InitAck(Init::default()), INIT_CHUNK),
        Port::Closed | Port::Unspoken => (Chunk::Abort, CHUNK_HEADER),
    };
    let answer = Sctp { src: asking.dst, dst: asking.src, tag: init.tag, chunk: Some(chunk), sound: None };
    Some((answer, SCTP_HEADER + length))
}

fn from_asked(mut packet: Packet, asked: &Ip) -> Packet {
    if let Some(ip) = packet.layers.first_mut() {
        ip.src = asked.dst;
    }
    packet
}

/// An ICMP error to the source of the packet that it is about; its own source is left to routing.
fn error_packet(icmp: Icmp, ttl: u8) -> Option<Packet> {
    let asked = *icmp.about()?.outer()?;
    let (protocol, quote) = match asked.is_v6() {
        false => (PROTOCOL_ICMP, QUOTE_MAX),
        true => (PROTOCOL_ICMPV6, QUOTE_MAX_V6),
    };
    let src = Family::of(&asked.src).unspecified();
    let length = asked.header() + ICMP_HEADER + asked.length.min(quote);
    let header = Ip::new(src, asked.src, protocol, ttl, length);
    Some(Packet { layers: vec![header], transport: Transport::Icmp(icmp), mark: None })
}

/// An ICMP error as flannel's daemon writes it into its TUN device: from the device's address, with a TTL of its own,
/// and the quoted packet's header and eight bytes (`send_net_unreachable`).
fn from_flannel(icmp: Icmp, tun: &Link) -> Option<Packet> {
    let own = tun.addresses.iter().find_map(|address| match address.net {
        IpNet::V4(net) => Some(net.addr()),
        IpNet::V6(_) => None,
    });
    let mut packet = error_packet(icmp, FLANNEL_TTL)?;
    if let (Some(ip), Some(own)) = (packet.layers.first_mut(), own) {
        ip.src = own.into();
        ip.length = 2 * (IP_HEADER + ICMP_HEADER);
    }
    Some(packet)
}
