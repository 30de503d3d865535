//! Services by real connections: where each of them goes is seen on the wire, and held against the ways that the plan
//! leaves open.
//!
//! A packet to a Service is known by what address translation leaves alone: a SYN by its sequence number, a datagram by
//! the mark in it. The first of the connections that reached an endpoint is compared frame by frame (new destination, new
//! source, lengths, tunnels); all of them are counted, and how often each endpoint was chosen is tested against equal
//! chances ([`chance`]).

mod chance;
mod connect;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::Options;
use super::compare::{Seen, compare};
use super::report::{CheckReport, Verdict};
use crate::error::{Error, Kind, Result};
use crate::kernel::{features, netns};
use crate::packet::{Direction, Frame, Mark, PROTOCOL_TCP, Packet, TcpFlags, Transport};
use crate::plan::Plan;
use crate::predict::{self, End, Flow, Journey, Origin, Port, Purpose};
use crate::probe::capture::Capture;
use connect::{Answer, Try};

/// Connections between two looks at the capture, so that no ring overflows.
const BATCH: usize = 16;
/// Connections per endpoint where it is tested how they are spread, and at most.
const PER_ENDPOINT: usize = 32;
const CONNECTIONS_MAX: usize = 256;
/// Connections of one client that keeps its endpoint.
const KEPT: usize = 8;

/// A way to a Service that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePath {
    /// What it is about: `service-cluster-ip`.
    pub name: String,
    /// The sender's name inside the cluster: a pod or a client, which its packets leave as it sends them.
    pub from: String,
    /// The Service and its port, for the report.
    pub to: String,
    /// The address that is asked.
    pub address: Ipv4Addr,
    /// The port that is asked.
    pub port: u16,
    /// By which protocol.
    pub protocol: Protocol,
    /// Whether to test how connections are spread over the endpoints.
    pub spread: bool,
    /// Whether a client keeps its endpoint (`sessionAffinity: ClientIP`).
    pub keeps: bool,
}

/// What is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A connection.
    Tcp,
    /// A datagram.
    Udp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// Tries every path.
///
/// # Errors
/// If a namespace cannot be entered, the capture lost frames, or the plan makes a packet do what [`predict`] has no model
/// of.
pub fn run(plan: &Plan, paths: &[ServicePath], options: &Options) -> Result<Vec<CheckReport>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let made = predict::as_made(plan, features::kernel());
    let mut lab = Lab { plan: made.as_ref(), capture: Capture::open(&plan.namespaces)?, patience: options.patience };
    let reports = paths.iter().map(|path| lab.check(path)).collect::<Result<_>>()?;
    lab.capture.complete()?;
    Ok(reports)
}

/// Where a request can end: a namespace, and the address and port that it has there.
type Target = (String, IpAddr, Option<u16>);

struct Lab<'a> {
    plan: &'a Plan,
    capture: Capture,
    patience: Duration,
}

/// What was seen of one connection, and what the plan lets it be.
struct Trace {
    seen: Vec<Seen>,
    /// All ways that are open to it; none if its first packet was not seen.
    ways: Vec<Journey>,
}

impl Lab<'_> {
    fn check(&mut self, path: &ServicePath) -> Result<CheckReport> {
        self.take(&mut Vec::new());
        let mut pool = Vec::new();
        let mut tries = self.ask(path, 1, &mut pool)?;
        let first = self.settled(path, &tries[0], &mut pool)?;
        let targets: Vec<Target> = first.ways.iter().filter_map(target).collect();
        let count = match targets.len() {
            2.. if path.keeps => KEPT,
            endpoints @ 2.. if path.spread => (endpoints * PER_ENDPOINT).min(CONNECTIONS_MAX),
            _ => 1,
        };
        let mut reached = BTreeMap::new();
        let mut fault = self.fault(path, &tries[0], &first);
        tries.extend(self.ask(path, count - 1, &mut pool)?);
        for one in &tries {
            let trace = if fault.is_none() { self.settled(path, one, &mut pool)? } else { break };
            let Some(hit) = targets.iter().position(|target| trace.seen.iter().any(|seen| is_at(seen, target))) else {
                continue;
            };
            let times = reached.entry(hit).or_insert(0usize);
            *times += 1;
            if *times == 1 {
                fault = self.fault(path, one, &trace);
            }
        }
        let fault = fault.or_else(|| shares(path, &targets, &reached, count));
        let nothing = || Journey { legs: Vec::new() };
        let expected = best(&first).cloned().unwrap_or_else(nothing);
        let (name, protocol) = (format!("{}/{}", path.name, path.protocol.name()), path.protocol.name());
        let verdict = fault.map_or(Verdict::Pass, Verdict::Fail);
        Ok(CheckReport::of([&name, &path.from, &path.to, protocol], &expected, &first.seen, verdict))
    }

    fn ask(&mut self, path: &ServicePath, count: usize, pool: &mut Vec<Seen>) -> Result<Vec<Try>> {
        let ns = self.plan.namespace(&path.from);
        let ns = ns.ok_or_else(|| Error::new(Kind::Check, format!("the plan has no namespace {}", path.from)))?;
        let netns = netns::open(&ns.netns)?;
        let mut tries = Vec::with_capacity(count);
        while tries.len() < count {
            let batch = BATCH.min(count - tries.len());
            let ask = || (0..batch).map(|_| connect::ask(path, self.patience)).collect::<Result<Vec<Try>>>();
            tries.extend(netns::inside(netns.file(), ask)??);
            self.take(pool);
        }
        Ok(tries)
    }

    /// Takes what was captured, without waiting.
    fn take(&mut self, pool: &mut Vec<Seen>) {
        let mut fresh = Vec::new();
        self.capture.drain(|sighting| fresh.push(sighting));
        for sighting in fresh {
            let Some(namespace) = self.plan.namespaces.get(sighting.namespace) else { continue };
            let name = self.capture.interface(sighting.namespace, sighting.interface);
            let interface = name.map_or_else(|| format!("if{}", sighting.interface), str::to_owned);
            let (namespace, purpose) = (namespace.name.clone(), Purpose::Request);
            let (direction, time, frame) = (sighting.direction, sighting.time, sighting.frame);
            pool.push(Seen { namespace, interface, direction, time, purpose, frame });
        }
    }

    /// What is seen of a connection, once all that must come has come, or the patience is at its end.
    fn settled(&mut self, path: &ServicePath, one: &Try, pool: &mut Vec<Seen>) -> Result<Trace> {
        let deadline = Instant::now() + self.patience;
        loop {
            self.take(pool);
            let trace = self.trace(path, one, pool)?;
            let whole = trace.ways.iter().any(|way| compare(way, &trace.seen).is_none());
            if whole || !self.capture.wait(deadline)? {
                return Ok(trace);
            }
        }
    }

    fn trace(&self, path: &ServicePath, one: &Try, pool: &[Seen]) -> Result<Trace> {
        let sent = |seen: &&Seen| {
            let packet = seen.frame.packet();
            seen.namespace == path.from
                && seen.direction == Direction::Out
                && packet.is_some_and(|packet| packet.layers.len() == 1 && one.is_first(path, packet))
        };
        let Some(first) = pool.iter().find(sent).and_then(|seen| seen.frame.packet()) else {
            return Ok(Trace { seen: Vec::new(), ways: Vec::new() });
        };
        let purposes = pool.iter().filter_map(|seen| Some((purpose(first, &seen.frame)?, seen)));
        let mut seen: Vec<Seen> = purposes.map(|(purpose, seen)| Seen { purpose, ..seen.clone() }).collect();
        seen.sort_by_key(|seen| seen.time);
        let port = if one.answer == Answer::Refused { Port::Closed } else { Port::Echo };
        let flow =
            Flow { from: path.from.clone(), origin: Origin::Stack, packet: first.clone(), fragments: None, port };
        let mut ways = predict::outcomes(self.plan, &flow)?;
        if path.protocol == Protocol::Udp {
            // The app's answer has words of its own: only the datagram's way is foretold.
            ways.iter_mut().for_each(|way| way.legs.retain(|leg| leg.purpose != Purpose::Answer));
        }
        Ok(Trace { seen, ways })
    }

    /// Why a connection is not as the plan has it.
    fn fault(&self, path: &ServicePath, one: &Try, trace: &Trace) -> Option<String> {
        let asked = format!("{}:{}", path.address, path.port);
        if trace.ways.is_empty() {
            return Some(format!("{}: no packet to {asked} left it ({})", path.from, one.words()));
        }
        let way = best(trace)?;
        if let Some(divergence) = compare(way, &trace.seen) {
            return Some(format!("{divergence}\nlook at: `minik status`, for rules that differ from the plan"));
        }
        let refused = way.legs.iter().any(|leg| leg.purpose == Purpose::Error);
        match one.answer {
            Answer::Silent if refused => Some(format!("{asked}: no refusal, although the plan has one")),
            Answer::Silent if way.answered() => Some(format!("{asked}: no answer, although all its frames were seen")),
            _ => None,
        }
    }
}

/// The way that fits best: what was seen is on it, or on it for longest.
fn best(trace: &Trace) -> Option<&Journey> {
    let fits = |way: &&Journey| compare(way, &trace.seen).is_none();
    let ends = |way: &&Journey| target(way).is_some_and(|target| trace.seen.iter().any(|seen| is_at(seen, &target)));
    let ways = || trace.ways.iter();
    ways().find(fits).or_else(|| ways().find(ends)).or_else(|| ways().next())
}

/// Where a journey's request ends; none if it is not delivered.
fn target(way: &Journey) -> Option<Target> {
    let leg = way.legs.first()?;
    let End::Delivered { namespace } = &leg.end else { return None };
    let packet = leg.hops.last()?.frame.packet()?.innermost();
    Some((namespace.clone(), packet.inner()?.dst, destination_port(packet)))
}

fn destination_port(packet: &Packet) -> Option<u16> {
    match packet.transport {
        Transport::Udp { dst, .. } | Transport::Tcp { dst, .. } => dst,
        _ => None,
    }
}

fn is_at(seen: &Seen, (namespace, address, port): &Target) -> bool {
    let there = seen.purpose == Purpose::Request && seen.direction == Direction::In && seen.namespace == *namespace;
    let packet = seen.frame.packet().filter(|_| there).map(Packet::innermost);
    packet
        .is_some_and(|packet| packet.inner().is_some_and(|ip| ip.dst == *address) && destination_port(packet) == *port)
}

/// Which leg of the journey of `first` a frame is on; none if it is not of it.
fn purpose(first: &Packet, frame: &Frame) -> Option<Purpose> {
    let packet = frame.packet()?.innermost();
    match (&first.transport, &packet.transport) {
        (Transport::Tcp { .. } | Transport::Udp { .. }, Transport::Icmp(icmp)) => {
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
        _ => same_request(first, packet).then_some(Purpose::Request),
    }
}

const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
const RST_ACK: u8 = TcpFlags::RST | TcpFlags::ACK;

/// Whether a packet is this one, whatever became of its addresses and ports.
fn same_request(first: &Packet, packet: &Packet) -> bool {
    match (&first.transport, &packet.transport) {
        (Transport::Tcp { seq: own, .. }, Transport::Tcp { seq, flags, .. }) => {
            own.is_some() && own == seq && flags.0 & SYN_ACK == TcpFlags::SYN
        }
        (Transport::Udp { .. }, Transport::Udp { .. }) => first.mark.is_some() && first.mark == packet.mark,
        _ => false,
    }
}

/// Whether connections are spread, or kept, as they should be; why not.
fn shares(path: &ServicePath, targets: &[Target], reached: &BTreeMap<usize, usize>, count: usize) -> Option<String> {
    let name = |at: usize| targets.get(at).map(|(ns, address, _)| format!("{ns} ({address})")).unwrap_or_default();
    let total: usize = reached.values().sum();
    if !targets.is_empty() && total < count {
        return Some(format!("{} of {count} connections reached an endpoint", total));
    }
    if path.keeps && reached.len() > 1 {
        let names: Vec<String> = reached.keys().map(|at| name(*at)).collect();
        return Some(format!("one client came to {} although it keeps its endpoint", names.join(" and ")));
    }
    if count < 2 || path.keeps {
        return None;
    }
    (0..targets.len()).find_map(|at| {
        let times = reached.get(&at).copied().unwrap_or(0);
        let why = chance::unlikely(times, count, targets.len())?;
        Some(format!("{} got {times} of {count} connections: {why}", name(at)))
    })
}

/// The mark of a datagram: of this process and its `number`-th.
fn mark(number: u32) -> Mark {
    Mark(std::process::id() << 16 ^ number)
}
