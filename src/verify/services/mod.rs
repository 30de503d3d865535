//! Services by real connections: where each of them goes is seen on the wire, and held against the ways that the plan
//! leaves open.
//!
//! A packet to a Service is known by what address translation leaves alone: a SYN by its sequence number, a datagram by
//! the mark in it. What a node asks itself is translated before it is seen; there the packet is put back to what its
//! program sent. The first of the connections that reached an endpoint is compared frame by frame (new destination, new
//! source, lengths, tunnels); all of them are counted, and how often each endpoint was chosen is tested against equal
//! chances ([`chance`]).

mod chance;
mod connect;
mod sight;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::Options;
use super::compare::{Seen, compare};
use super::report::{CheckReport, Verdict};
use crate::error::{Error, Kind, Result};
use crate::kernel::{features, netns};
use crate::packet::{Mark, Packet};
use crate::plan::Plan;
use crate::predict::{self, Flow, Journey, Origin, Port, Purpose};
use crate::probe::capture::Capture;
use connect::{Answer, Try};
use sight::{Target, first, is_at, of, reached_by, target};

/// Connections between two looks at the capture, so that no ring overflows.
const BATCH: usize = 16;
/// Connections per endpoint where it is tested how they are spread, and at most.
const PER_ENDPOINT: usize = 32;
const CONNECTIONS_MAX: usize = 256;
/// Connections of one client that keeps its endpoint.
const KEPT: usize = 8;
/// Longest affinity in seconds whose end is waited for, and how much longer than that.
const EXPIRY_MAX: u32 = 5;
const EXPIRY_MARGIN: Duration = Duration::from_millis(50);

/// A way to a Service that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePath {
    /// What it is about: `service-cluster-ip`.
    pub name: String,
    /// The sender's name inside the cluster.
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
    /// Whether to ask until the sender, an endpoint itself, is sent back to itself.
    pub hairpin: bool,
    /// Seconds for which a client keeps its endpoint (`sessionAffinity: ClientIP`).
    pub keeps: Option<u32>,
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
        if path.hairpin {
            return self.returns(path);
        }
        let mut pool = Vec::new();
        let mut tries = self.ask(path, 1, &mut pool)?;
        let first = self.settled(path, &tries[0], &mut pool)?;
        let targets: Vec<Target> = first.ways.iter().filter_map(target).collect();
        // Where a way ends nowhere (an endpoint that cannot come back to itself), shares cannot be told.
        let open = targets.len() == first.ways.len();
        let count = match targets.len() {
            _ if !open => 1,
            2.. if path.keeps.is_some() => KEPT,
            endpoints @ 2.. if path.spread => (endpoints * PER_ENDPOINT).min(CONNECTIONS_MAX),
            _ => 1,
        };
        let mut reached = BTreeMap::new();
        let mut fault = self.fault(path, &tries[0], &first);
        tries.extend(self.ask(path, count - 1, &mut pool)?);
        for one in &tries {
            if fault.is_some() {
                break;
            }
            let Some(hit) = self.arrived(path, one, &targets, &mut pool)? else { continue };
            let times = reached.entry(hit).or_insert(0usize);
            *times += 1;
            if *times == 1 {
                fault = self.settled(path, one, &mut pool).map(|trace| self.fault(path, one, &trace))?;
            }
        }
        let mut fault = fault.or_else(|| shares(path, &targets, &reached, count).filter(|_| open));
        if let (None, true, Some(seconds @ ..=EXPIRY_MAX)) =
            (&fault, path.spread && open && targets.len() > 1, path.keeps)
        {
            let kept = reached.keys().next().copied();
            fault = self.stays(path, seconds, (&targets, kept), &mut pool)?;
        }
        Ok(report(path, &first, fault))
    }

    /// Asks until the sender is sent back to itself: all other endpoints are passed by.
    fn returns(&mut self, path: &ServicePath) -> Result<CheckReport> {
        let own = self.plan.namespace(&path.from).and_then(|ns| ns.address()).map(IpAddr::from);
        let mut pool = Vec::new();
        let (mut last, mut rounds, mut first) = (None, 1, true);
        while rounds > 0 {
            let one = self.ask(path, 1, &mut pool)?.swap_remove(0);
            let trace = self.settled(path, &one, &mut pool)?;
            let targets: Vec<Target> = trace.ways.iter().filter_map(target).collect();
            let others: Vec<Target> = targets.into_iter().filter(|(_, address, _)| Some(*address) != own).collect();
            if last.is_none() {
                rounds = chance::tries_until_certain(others.len() + 1);
            }
            rounds -= 1;
            let elsewhere = reached_by(&trace.seen, &others).is_some();
            let fault = if elsewhere { None } else { self.fault(path, &one, &trace) };
            // Until it knows the endpoint's MAC, a bridge that translates addresses sends such a frame by way of its own
            // device (`br_nf_pre_routing_finish_bridge`): once.
            let unknown = first && fault.is_some();
            first = first && elsewhere;
            if unknown {
                rounds = chance::tries_until_certain(others.len() + 1);
            } else if !elsewhere {
                return Ok(report(path, &trace, fault));
            }
            last = Some(trace);
        }
        let never = "never came to itself, although it is an endpoint with the same chance as the others".to_owned();
        let trace = last.unwrap_or(Trace { seen: Vec::new(), ways: Vec::new() });
        Ok(report(path, &trace, Some(never)))
    }

    /// Why a client is still sent to the endpoint `kept` when its time is over; none if it comes to another one.
    fn stays(
        &mut self,
        path: &ServicePath,
        seconds: u32,
        (targets, kept): (&[Target], Option<usize>),
        pool: &mut Vec<Seen>,
    ) -> Result<Option<String>> {
        let rounds = chance::tries_until_another(targets.len());
        for _ in 0..rounds {
            // It is time itself that is waited for: an entry lives for so long after the last connection.
            std::thread::sleep(Duration::from_secs(seconds.into()) + EXPIRY_MARGIN);
            let tries = self.ask(path, 1, pool)?;
            let hit = self.arrived(path, &tries[0], targets, pool)?;
            if hit.is_none() {
                return Ok(Some(format!("{seconds} s later a connection reached no endpoint")));
            }
            if hit != kept {
                return Ok(None);
            }
        }
        let name = kept.and_then(|at| targets.get(at)).map(|(ns, address, _)| format!("{ns} ({address})"));
        let name = name.unwrap_or_default();
        Ok(Some(format!(
            "one client came to {name} {rounds} times more, each {seconds} s later, when its time was over"
        )))
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
        let mut known: Option<(Packet, Trace)> = None;
        loop {
            self.take(pool);
            if known.is_none() {
                known = self.sent(path, one, pool).map(|first| self.ways(path, one, first)).transpose()?;
            }
            let whole = known.as_mut().is_some_and(|(first, trace)| {
                trace.seen = of(first, pool);
                trace.ways.iter().any(|way| compare(way, &trace.seen).is_none())
            });
            if whole || !self.capture.wait(deadline)? {
                let nothing = || Trace { seen: Vec::new(), ways: Vec::new() };
                return Ok(known.map_or_else(nothing, |(_, trace)| trace));
            }
        }
    }

    /// The endpoint at which a connection arrives; none if it is none of these within the patience.
    fn arrived(
        &mut self,
        path: &ServicePath,
        one: &Try,
        targets: &[Target],
        pool: &mut Vec<Seen>,
    ) -> Result<Option<usize>> {
        let deadline = Instant::now() + self.patience;
        loop {
            self.take(pool);
            let hit = first(path, one, pool).and_then(|first| reached_by(&of(&first, pool), targets));
            if hit.is_some() || !self.capture.wait(deadline)? {
                return Ok(hit);
            }
        }
    }

    /// A connection's first packet as its program sent it. What a node refuses to itself is seen nowhere.
    fn sent(&self, path: &ServicePath, one: &Try, pool: &[Seen]) -> Option<Packet> {
        let refused = one.answer == Answer::Refused && self.plan.nodes().any(|node| node.name == path.from);
        first(path, one, pool).or_else(|| refused.then(|| one.unseen(path)))
    }

    /// The ways that the plan leaves open to a connection with this first packet.
    fn ways(&self, path: &ServicePath, one: &Try, first: Packet) -> Result<(Packet, Trace)> {
        let port = if one.answer == Answer::Refused { Port::Closed } else { Port::Echo };
        let (from, origin) = (path.from.clone(), Origin::Stack);
        let flow = Flow { from, origin, packet: first.clone(), fragments: None, port };
        let mut ways = predict::outcomes(self.plan, &flow)?;
        if path.protocol == Protocol::Udp {
            // The app's answer has words of its own: only the datagram's way is foretold.
            ways.iter_mut().for_each(|way| way.legs.retain(|leg| leg.purpose != Purpose::Answer));
        }
        Ok((first, Trace { seen: Vec::new(), ways }))
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

/// What a path's report says.
fn report(path: &ServicePath, trace: &Trace, fault: Option<String>) -> CheckReport {
    let expected = best(trace).cloned().unwrap_or_else(|| Journey { legs: Vec::new() });
    let (name, protocol) = (format!("{}/{}", path.name, path.protocol.name()), path.protocol.name());
    let verdict = fault.map_or(Verdict::Pass, Verdict::Fail);
    CheckReport::of([&name, &path.from, &path.to, protocol], &expected, &trace.seen, verdict)
}

/// The way that fits best: what was seen is on it, or on it for longest.
fn best(trace: &Trace) -> Option<&Journey> {
    let fits = |way: &&Journey| compare(way, &trace.seen).is_none();
    let ends = |way: &&Journey| target(way).is_some_and(|target| trace.seen.iter().any(|seen| is_at(seen, &target)));
    let ways = || trace.ways.iter();
    ways().find(fits).or_else(|| ways().find(ends)).or_else(|| ways().next())
}

/// Whether connections are spread, or kept, as they should be; why not.
fn shares(path: &ServicePath, targets: &[Target], reached: &BTreeMap<usize, usize>, count: usize) -> Option<String> {
    let name = |at: usize| targets.get(at).map(|(ns, address, _)| format!("{ns} ({address})")).unwrap_or_default();
    let total: usize = reached.values().sum();
    if !targets.is_empty() && total < count {
        return Some(format!("{} of {count} connections reached an endpoint", total));
    }
    if path.keeps.is_some() && reached.len() > 1 {
        let names: Vec<String> = reached.keys().map(|at| name(*at)).collect();
        return Some(format!("one client came to {} although it keeps its endpoint", names.join(" and ")));
    }
    if count < 2 || path.keeps.is_some() {
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
