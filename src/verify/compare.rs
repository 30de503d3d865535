//! What was seen against what was predicted: the first place where they part. PURE.

mod transport;

use std::collections::BTreeMap;
use std::fmt;

use crate::packet::{Body, Direction, Frame, Icmp, Inside, Ip, Packet, Transport};
use crate::predict::{Hop, Journey, Leg, Purpose, Turn};

/// ICMP code of "destination unreachable": longer than the MTU, and not to be fragmented.
pub(super) const FRAGMENTATION_NEEDED: u8 = 4;

/// A frame of a check, seen somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The namespace's name inside the cluster.
    pub namespace: String,
    /// The interface.
    pub interface: String,
    /// Which way it passed.
    pub direction: Direction,
    /// The kernel's time in nanoseconds since 1970.
    pub time: i64,
    /// Which leg of the journey it is on.
    pub purpose: Purpose,
    /// The frame.
    pub frame: Frame,
}

/// `node-1/tunl0 out`.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.namespace, self.interface, self.direction)
    }
}

/// Where observation and prediction part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Divergence {
    /// A predicted frame did not come.
    Missing {
        /// The leg.
        purpose: Purpose,
        /// What was predicted and not seen.
        hop: Box<Hop>,
        /// The last predicted frame that was seen.
        after: Option<Box<Hop>>,
        /// What was seen in its stead.
        instead: Option<Box<Seen>>,
    },
    /// A frame came where it should, but it is not the one predicted.
    Field {
        /// What was predicted.
        hop: Box<Hop>,
        /// The field: `TTL`, `length`, `source MAC`.
        field: String,
        /// Its predicted value.
        expected: String,
        /// Its value on the wire.
        seen: String,
    },
    /// A frame was seen where nothing should be.
    Extra {
        /// The frame.
        seen: Box<Seen>,
    },
}

impl Divergence {
    fn extra(seen: &Seen) -> Divergence {
        Divergence::Extra { seen: Box::new(seen.clone()) }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Divergence::Missing { purpose, hop, after, instead } => {
                write!(f, "{hop}: {} not seen", purpose.noun())?;
                match after {
                    Some(after) => write!(f, "; last seen {after}")?,
                    None => f.write_str("; never sent")?,
                }
                instead.as_ref().map_or(Ok(()), |seen| write!(f, "; seen instead {seen}: {}", seen.frame))
            }
            Divergence::Field { hop, field, expected, seen } => {
                write!(f, "{hop}: {field} {seen} seen, {expected} expected")
            }
            Divergence::Extra { seen } => write!(f, "{seen}: seen where nothing should be: {}", seen.frame),
        }
    }
}

impl Purpose {
    fn noun(self) -> &'static str {
        match self {
            Purpose::Request => "the request",
            Purpose::Answer => "the answer",
            Purpose::Error => "the ICMP error",
        }
    }
}

/// The first divergence, if there is one. `seen` is in order of time.
pub fn compare(expected: &Journey, seen: &[Seen]) -> Option<Divergence> {
    let known: Vec<Purpose> = expected.legs.iter().map(|leg| leg.purpose).collect();
    let stray = seen.iter().find(|seen| !known.contains(&seen.purpose));
    let absent = |leg: &&Leg| is_limited(leg) && !seen.iter().any(|seen| seen.purpose == leg.purpose);
    match expected.legs.iter().filter(|leg| !absent(leg)).find_map(|leg| compare_leg(leg, seen)) {
        // An ICMP error says more about what is missing than anything else.
        Some(Divergence::Missing { purpose, hop, after, instead }) => {
            let instead = stray.cloned().map(Box::new).or(instead);
            Some(Divergence::Missing { purpose, hop, after, instead })
        }
        Some(other) => Some(other),
        None => stray.map(Divergence::extra),
    }
}

/// Whether the kernel may hold this leg's packet back: of most ICMP errors it sends only a few a second to one
/// destination (`net.ipv4.icmp_ratelimit`); "fragmentation needed" is exempt (`icmpv4_xrlim_allow`), as is IPv6's "packet too big" (`net.ipv6.icmp.ratemask`).
fn is_limited(leg: &Leg) -> bool {
    let is_exempt = |hop: &Hop| {
        let transport = hop.frame.packet().map(|packet| &packet.transport);
        match transport {
            Some(Transport::Icmp(Icmp::Unreachable { code: FRAGMENTATION_NEEDED, about, .. })) => {
                about.as_ref().is_none_or(|about| !about.is_v6())
            }
            Some(Transport::Icmp(Icmp::TooBig { .. })) => true,
            _ => false,
        }
    };
    leg.purpose == Purpose::Error && !leg.hops.iter().any(is_exempt)
}

/// Fragments of one packet go the same way one after the other, so each is followed by itself.
fn compare_leg(leg: &Leg, seen: &[Seen]) -> Option<Divergence> {
    let mut expected: BTreeMap<u16, Vec<&Hop>> = BTreeMap::new();
    for hop in &leg.hops {
        expected.entry(offset(&hop.frame)).or_default().push(hop);
    }
    let mut observed: BTreeMap<u16, Vec<&Seen>> = BTreeMap::new();
    for seen in seen.iter().filter(|seen| seen.purpose == leg.purpose) {
        observed.entry(offset(&seen.frame)).or_default().push(seen);
    }
    let nothing = Vec::new();
    let each = expected
        .iter()
        .find_map(|(offset, hops)| compare_way(leg.purpose, hops, observed.get(offset).unwrap_or(&nothing)));
    each.or_else(|| {
        let stray = observed.iter().find(|(offset, _)| !expected.contains_key(offset));
        stray.and_then(|(_, seen)| seen.first()).map(|seen| Divergence::extra(seen))
    })
}

/// Where in its datagram the fragment begins that a frame carries; 0 for a whole packet.
fn offset(frame: &Frame) -> u16 {
    frame.packet().and_then(|packet| packet.headers().map(|ip| ip.offset).max()).unwrap_or(0)
}

fn compare_way(purpose: Purpose, hops: &[&Hop], seen: &[&Seen]) -> Option<Divergence> {
    let (aside, way): (Vec<&Hop>, Vec<&Hop>) = hops.iter().partition(|hop| hop.turn != Turn::InOrder);
    // Copies are taken out first, as they come in no order; what differs in one is named after what differs on the way.
    let mut seen = seen.to_vec();
    let mut beside = None;
    for hop in aside {
        let same = seen.iter().position(|seen| is_seen_as(hop, seen));
        let near = || seen.iter().position(|seen| is_at(hop, seen)).filter(|_| hop.turn == Turn::Aside);
        let difference = match same.or_else(near) {
            Some(at) => field_difference(hop, seen.remove(at)),
            None if hop.turn == Turn::Perhaps => None,
            None => Some(Divergence::Missing { purpose, hop: Box::new(hop.clone()), after: None, instead: None }),
        };
        beside = beside.or(difference);
    }
    compare_in_order(purpose, &way, &seen).or(beside)
}

/// Whether a frame is just what was predicted.
pub(super) fn is_seen_as(hop: &Hop, seen: &Seen) -> bool {
    is_at(hop, seen) && first_difference(&hop.frame, &seen.frame).is_none()
}

fn field_difference(hop: &Hop, seen: &Seen) -> Option<Divergence> {
    let (field, expected, seen) = first_difference(&hop.frame, &seen.frame)?;
    Some(Divergence::Field { hop: Box::new(hop.clone()), field, expected, seen })
}

fn compare_in_order(purpose: Purpose, hops: &[&Hop], seen: &[&Seen]) -> Option<Divergence> {
    let mut after: Option<&Hop> = None;
    let mut rest = seen.iter();
    for hop in hops {
        let next = rest.clone().next();
        match next {
            Some(found) if is_at(hop, found) => {
                rest.next();
                let difference = field_difference(hop, found);
                if difference.is_some() {
                    return difference;
                }
                after = Some(hop);
            }
            // The predicted frame does come, but another one came before it.
            Some(found) if rest.clone().any(|later| is_at(hop, later)) => {
                return Some(Divergence::extra(found));
            }
            other => {
                return Some(Divergence::Missing {
                    purpose,
                    hop: Box::new((*hop).clone()),
                    after: after.cloned().map(Box::new),
                    instead: other.map(|seen| Box::new((**seen).clone())),
                });
            }
        }
    }
    rest.next().map(|seen| Divergence::extra(seen))
}

pub(super) fn is_at(hop: &Hop, seen: &Seen) -> bool {
    hop.namespace == seen.namespace && hop.interface == seen.interface && hop.direction == seen.direction
}

/// A field's name, its predicted value and its value on the wire.
type Difference = (String, String, String);

fn differ<T: PartialEq + fmt::Display>(field: &str, expected: T, seen: T) -> Option<Difference> {
    (expected != seen).then(|| (field.to_owned(), expected.to_string(), seen.to_string()))
}

/// Holds where the prediction leaves the field open, too.
fn differ_known<T: PartialEq + fmt::Display + Default>(
    field: &str,
    expected: Option<T>,
    seen: Option<T>,
) -> Option<Difference> {
    expected.and_then(|expected| differ(field, expected, seen.unwrap_or_default()))
}

/// The first field in which a frame is not as predicted.
fn first_difference(expected: &Frame, seen: &Frame) -> Option<Difference> {
    ethernet("", expected, seen)
        .or_else(|| body(&expected.body, &seen.body))
        .or_else(|| differ("length", expected.length, seen.length))
}

fn ethernet(name: &str, expected: &Frame, seen: &Frame) -> Option<Difference> {
    let field = |field: &str| format!("{name}{field}");
    match (&expected.ethernet, &seen.ethernet) {
        (Some(expected), Some(seen)) => differ(&field("destination MAC"), expected.dst, seen.dst)
            .or_else(|| differ(&field("source MAC"), expected.src, seen.src))
            .or_else(|| differ(&field("VLAN"), expected.vlan.unwrap_or(0), seen.vlan.unwrap_or(0))),
        (expected, seen) => {
            let word = |present| if present { "an Ethernet header" } else { "bare IP" };
            differ(&field("frame"), word(expected.is_some()), word(seen.is_some()))
        }
    }
}

fn body(expected: &Body, seen: &Body) -> Option<Difference> {
    match (expected, seen) {
        (Body::Ip(expected), Body::Ip(seen)) => packet(expected, seen),
        (Body::Arp(expected), Body::Arp(seen)) => differ("ARP", expected.to_string(), seen.to_string()),
        (Body::Other(expected, _), Body::Other(seen, _)) => differ("EtherType", *expected, *seen),
        (Body::Malformed, Body::Malformed) => None,
        (expected, seen) => differ("content", kind(expected), kind(seen)),
    }
}

fn kind(body: &Body) -> &'static str {
    match body {
        Body::Arp(_) => "ARP",
        Body::Ip(packet) if packet.is_v6() => "IPv6",
        Body::Ip(_) => "IPv4",
        Body::Other(..) => "another protocol",
        Body::Malformed => "malformed",
    }
}

fn packet(expected: &Packet, seen: &Packet) -> Option<Difference> {
    let depth = |packet: &Packet| packet.headers().count();
    differ("number of IP headers", depth(expected), depth(seen)).or_else(|| {
        let name = if depth(expected) > 1 { "outer " } else { "" };
        below(name, expected, seen)
    })
}

/// The headers of a packet and what they carry; `name` tells the first header from those inside of it.
fn below(name: &str, expected: &Packet, seen: &Packet) -> Option<Difference> {
    let layers = expected.layers.iter().zip(&seen.layers).enumerate();
    let mut layers = layers.map(|(index, two)| (if index == 0 { name } else { "inner " }, two));
    let headers = layers.find_map(|(name, (expected, seen))| header(name, expected, seen));
    headers.or_else(|| transport::transport(&expected.transport, &seen.transport, seen.is_v6()))
}

fn header(name: &str, expected: &Ip, seen: &Ip) -> Option<Difference> {
    let field = |field: &str| format!("{name}{field}");
    differ(&field("source"), expected.src, seen.src)
        .or_else(|| differ(&field("destination"), expected.dst, seen.dst))
        .or_else(|| differ(&field("protocol"), expected.protocol, seen.protocol))
        .or_else(|| differ(&field(if seen.is_v6() { "hop limit" } else { "TTL" }), expected.ttl, seen.ttl))
        .or_else(|| differ_known(&field("flow label"), expected.label, seen.label))
        .or_else(|| differ(&field("DF"), expected.dont_fragment, seen.dont_fragment))
        .or_else(|| differ(&field("MF"), expected.more_fragments, seen.more_fragments))
        .or_else(|| differ(&field("fragment offset"), expected.offset, seen.offset))
        .or_else(|| differ(&field("IP length"), expected.length, seen.length))
        .or_else(|| differ_known(&field("IP id"), expected.id, seen.id))
}

/// What tunnels over UDP carry.
fn within(expected: &Inside, seen: &Inside) -> Option<Difference> {
    match (expected, seen) {
        (Inside::Vxlan { vni: a, frame: b }, Inside::Vxlan { vni, frame }) => {
            differ("VNI", *a, *vni).or_else(|| ethernet("inner ", b, frame)).or_else(|| match (&b.body, &frame.body) {
                (Body::Ip(expected), Body::Ip(seen)) => below("inner ", expected, seen),
                (expected, seen) => body(expected, seen),
            })
        }
        (Inside::Bare(expected), Inside::Bare(seen)) => below("inner ", expected, seen),
        (expected, seen) => {
            let word = |inside: &Inside| if matches!(inside, Inside::Bare(_)) { "bare IP" } else { "VXLAN" };
            differ("tunnel", word(expected), word(seen))
        }
    }
}

#[cfg(test)]
mod tests;
