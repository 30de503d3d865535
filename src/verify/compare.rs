//! What was seen against what was predicted: the first place where they part. PURE.

use std::collections::BTreeMap;
use std::fmt;

use crate::packet::{Body, Direction, Frame, Icmp, Inside, Ip, Packet, Transport};
use crate::predict::{Hop, Journey, Leg, Purpose, Turn};

/// ICMP code of "destination unreachable": longer than the MTU, and not to be fragmented.
const FRAGMENTATION_NEEDED: u8 = 4;

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
/// destination (`net.ipv4.icmp_ratelimit`); "fragmentation needed" is exempt (`icmpv4_xrlim_allow`).
fn is_limited(leg: &Leg) -> bool {
    let is_exempt = |hop: &Hop| {
        let transport = hop.frame.packet().map(|packet| &packet.transport);
        matches!(transport, Some(Transport::Icmp(Icmp::Unreachable { code: FRAGMENTATION_NEEDED, .. })))
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
    headers.or_else(|| transport(&expected.transport, &seen.transport))
}

fn header(name: &str, expected: &Ip, seen: &Ip) -> Option<Difference> {
    let field = |field: &str| format!("{name}{field}");
    differ(&field("source"), expected.src, seen.src)
        .or_else(|| differ(&field("destination"), expected.dst, seen.dst))
        .or_else(|| differ(&field("protocol"), expected.protocol, seen.protocol))
        .or_else(|| differ(&field("TTL"), expected.ttl, seen.ttl))
        .or_else(|| differ(&field("DF"), expected.dont_fragment, seen.dont_fragment))
        .or_else(|| differ(&field("MF"), expected.more_fragments, seen.more_fragments))
        .or_else(|| differ(&field("fragment offset"), expected.offset, seen.offset))
        .or_else(|| differ(&field("IP length"), expected.length, seen.length))
        .or_else(|| differ_known(&field("IP id"), expected.id, seen.id))
}

fn transport(expected: &Transport, seen: &Transport) -> Option<Difference> {
    match (expected, seen) {
        (Transport::Icmp(expected), Transport::Icmp(seen)) => icmp(expected, seen),
        (Transport::Udp { src: a, dst: b }, Transport::Udp { src, dst }) => {
            differ_known("source port", *a, *src).or_else(|| differ_known("destination port", *b, *dst))
        }
        (Transport::Tcp { src: a, dst: b, flags: c, seq: d, ack: e }, Transport::Tcp { src, dst, flags, seq, ack }) => {
            differ_known("source port", *a, *src)
                .or_else(|| differ_known("destination port", *b, *dst))
                .or_else(|| differ("TCP flags", *c, *flags))
                .or_else(|| differ_known("TCP sequence number", *d, *seq))
                .or_else(|| differ("TCP acknowledgement", *e, *ack))
        }
        (Transport::Tunnel { src: a, dst: b, inside: c }, Transport::Tunnel { src, dst, inside }) => {
            differ_known("outer source port", *a, *src)
                .or_else(|| differ_known("outer destination port", *b, *dst))
                .or_else(|| within(c, inside))
        }
        (expected, seen) => {
            let same = std::mem::discriminant(expected) == std::mem::discriminant(seen);
            (!same).then(|| ("transport".to_owned(), word(expected).to_owned(), word(seen).to_owned()))
        }
    }
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

fn word(transport: &Transport) -> &'static str {
    match transport {
        Transport::Icmp(_) => "ICMP",
        Transport::Udp { .. } => "UDP",
        Transport::Tunnel { .. } => "a tunnel over UDP",
        Transport::Tcp { .. } => "TCP",
        Transport::Fragment => "a later fragment",
        Transport::Other => "another protocol",
        Transport::Truncated => "a cut header",
    }
}

fn icmp(expected: &Icmp, seen: &Icmp) -> Option<Difference> {
    use Icmp::{EchoReply, EchoRequest, Unreachable};
    match (expected, seen) {
        (EchoRequest { id: a, seq: b }, EchoRequest { id, seq })
        | (EchoReply { id: a, seq: b }, EchoReply { id, seq }) => {
            differ_known("ICMP id", *a, *id).or_else(|| differ("ICMP seq", *b, *seq))
        }
        (Unreachable { code: a, mtu: b, about: c }, Unreachable { code, mtu, about }) => {
            differ("ICMP code", *a, *code).or_else(|| differ("next-hop MTU", *b, *mtu)).or_else(|| {
                let outer = |about: &Option<Box<Packet>>| about.as_ref().and_then(|packet| packet.outer().copied());
                outer(c).zip(outer(about)).and_then(|(expected, seen)| header("quoted ", &expected, &seen))
            })
        }
        (expected, seen) => differ("ICMP message", expected.to_string(), seen.to_string())
            .filter(|_| std::mem::discriminant(expected) != std::mem::discriminant(seen)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::End;

    fn frame(ttl: u8, offset: u16) -> Frame {
        let ip = Ip {
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 2].into(),
            protocol: 1,
            ttl,
            id: Some(1),
            dont_fragment: false,
            more_fragments: false,
            offset,
            length: 84,
        };
        let icmp = Transport::Icmp(Icmp::EchoRequest { id: Some(1), seq: 1 });
        let body = Body::Ip(Packet { layers: vec![ip], transport: icmp, mark: None });
        Frame { ethernet: None, body, length: 84 }
    }

    fn journey(names: &[&str]) -> Journey {
        let hop = |name: &&str| Hop {
            namespace: "n".into(),
            interface: name.to_string(),
            direction: Direction::In,
            frame: frame(64, 0),
            turn: if name.starts_with('+') { Turn::Aside } else { Turn::InOrder },
        };
        let end = End::Delivered { namespace: "n".into() };
        Journey { legs: vec![Leg { purpose: Purpose::Request, hops: names.iter().map(hop).collect(), end }] }
    }

    fn seen(names: &[&str]) -> Vec<Seen> {
        let one = |(time, name): (usize, &&str)| Seen {
            namespace: "n".into(),
            interface: name.to_string(),
            direction: Direction::In,
            time: time as i64,
            purpose: Purpose::Request,
            frame: frame(64, 0),
        };
        names.iter().enumerate().map(one).collect()
    }

    fn text(expected: &[&str], found: &[&str]) -> String {
        compare(&journey(expected), &seen(found)).map(|d| d.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_first_divergence_is_named() {
        assert_eq!(text(&["a", "b"], &["a", "b"]), "");
        assert_eq!(text(&["a", "b"], &["a"]), "n/b in: the request not seen; last seen n/a in");
        assert_eq!(text(&["a", "b"], &[]), "n/a in: the request not seen; never sent");
        assert!(
            text(&["a", "b"], &["a", "x"])
                .starts_with("n/b in: the request not seen; last seen n/a in; seen instead n/x in")
        );
        assert!(text(&["a", "b"], &["a", "x", "b"]).starts_with("n/x in: seen where nothing should be"));
        assert!(text(&["a", "b"], &["a", "b", "x"]).starts_with("n/x in: seen where nothing should be"));
        assert!(text(&["a", "b"], &["a", "b", "b"]).starts_with("n/b in: seen where nothing should be"));
        assert!(text(&["a", "b"], &["b", "a"]).starts_with("n/b in: seen where nothing should be"));
        assert!(text(&[], &["a"]).starts_with("n/a in: seen where nothing should be"));
    }

    #[test]
    fn a_copy_may_be_seen_at_any_time_but_must_be_seen() {
        for order in [["a", "+", "b"], ["+", "a", "b"], ["a", "b", "+"]] {
            assert_eq!(text(&["a", "+", "b"], &order), "");
        }
        assert_eq!(text(&["a", "+", "b"], &["a", "b"]), "n/+ in: the request not seen; never sent");
        assert!(text(&["a", "+", "b"], &["a", "b", "+", "+"]).starts_with("n/+ in: seen where nothing should be"));
        assert!(text(&["a", "+", "b"], &["a", "+"]).starts_with("n/b in: the request not seen; last seen n/a in"));
    }

    #[test]
    fn a_field_is_named_with_both_values() {
        let mut found = seen(&["a", "b"]);
        found[1].frame = frame(61, 0);
        let divergence = compare(&journey(&["a", "b"]), &found).unwrap();
        assert_eq!(divergence.to_string(), "n/b in: TTL 61 seen, 64 expected");
        found[1].frame = Frame { length: 85, ..frame(64, 0) };
        assert_eq!(compare(&journey(&["a", "b"]), &found).unwrap().to_string(), "n/b in: length 85 seen, 84 expected");
    }

    #[test]
    fn an_error_that_the_kernel_limits_may_be_absent_but_not_wrong() {
        let error = |code| {
            let mut expected = journey(&["a", "b"]);
            let mut leg = expected.legs[0].clone();
            leg.purpose = Purpose::Error;
            for hop in &mut leg.hops {
                if let Body::Ip(packet) = &mut hop.frame.body {
                    packet.transport = Transport::Icmp(Icmp::Unreachable { code, mtu: 0, about: None });
                }
            }
            expected.legs.push(leg);
            expected
        };
        assert_eq!(compare(&error(0), &seen(&["a", "b"])), None);
        assert!(compare(&error(FRAGMENTATION_NEEDED), &seen(&["a", "b"])).is_some());
        let mut found = seen(&["a", "b", "a"]);
        found[2].purpose = Purpose::Error;
        assert!(compare(&error(0), &found).is_some());
    }

    #[test]
    fn an_answer_or_a_fragment_that_nobody_predicted_is_extra() {
        let mut found = seen(&["a", "b", "b"]);
        found[2].purpose = Purpose::Error;
        assert!(matches!(compare(&journey(&["a", "b"]), &found), Some(Divergence::Extra { .. })));
        let mut found = seen(&["a", "b", "b"]);
        found[2].frame = frame(64, 1456);
        assert!(matches!(compare(&journey(&["a", "b"]), &found), Some(Divergence::Extra { .. })));
    }
}
