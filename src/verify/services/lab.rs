//! Connections under way, and what is seen of them.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use super::connect::{self, Answer, Pending, Try};
use super::sight::{Target, first, of, quoted, reached_by};
use super::{Protocol, ServicePath};
use crate::error::{Error, Kind, Result};
use crate::kernel::netns;
use crate::packet::{Direction, Packet};
use crate::plan::Plan;
use crate::predict::{self, Flow, Journey, Origin, Port, Purpose};
use crate::probe::capture::{self, Capture};
use crate::verify::compare::{Seen, compare};

/// Connections under way at a time, so that no ring overflows.
pub(super) const BATCH: usize = 16;
/// How long nothing must come for "no answer": shorter than until TCP asks again (`TCP_TIMEOUT_INIT`, one second).
const SILENCE: Duration = Duration::from_millis(900);
/// The same for TCP over IPv6. An error that comes back while `connect` still sends, as it does where one machine has
/// both ends, finds the socket busy and is only noted (`tcp_v6_err`): the program hears of the next one, a second later.
const SILENCE_V6: Duration = Duration::from_millis(1900);

/// A cluster in which connections are tried.
pub(super) struct Lab<'a> {
    pub(super) plan: &'a Plan,
    capture: Capture,
    patience: Duration,
    /// Whether this kernel speaks SCTP.
    speaks_sctp: bool,
}

/// What was seen of one connection, and what the plan lets it be.
pub(super) struct Trace {
    pub(super) seen: Vec<Seen>,
    /// All ways that are open to it; none if its first packet was not seen.
    pub(super) ways: Vec<Journey>,
}

impl Trace {
    pub(super) const NOTHING: Trace = Trace { seen: Vec::new(), ways: Vec::new() };
}

impl Lab<'_> {
    pub(super) fn open(plan: &Plan, patience: Duration, speaks_sctp: bool) -> Result<Lab<'_>> {
        Ok(Lab { plan, capture: Capture::open(&plan.namespaces)?, patience, speaks_sctp })
    }

    /// Fails if the capture lost frames.
    pub(super) fn complete(&self) -> Result<()> {
        self.capture.complete()
    }

    /// Asks once on each of these paths, all at once, and waits until all are answered or must be silent.
    pub(super) fn ask_each(&mut self, paths: &[&ServicePath], pool: &mut Vec<Seen>) -> Result<Vec<Try>> {
        let mut pending = self.begin(paths)?;
        self.wait(paths, &mut pending, pool)?;
        pending.into_iter().zip(paths).map(|(one, path)| one.end(path, Answer::Silent)).collect()
    }

    /// Asks `count` times more on a path whose first try went `like` this. Datagrams are not waited for: what is behind
    /// a port need not understand ours. Nor is what only begins an association.
    pub(super) fn ask_more(
        &mut self,
        path: &ServicePath,
        count: usize,
        like: Answer,
        pool: &mut Vec<Seen>,
    ) -> Result<Vec<Try>> {
        let mut tries = Vec::with_capacity(count);
        let waits = match path.protocol {
            Protocol::Tcp => true,
            Protocol::Udp => false,
            Protocol::Sctp => self.speaks_sctp,
        };
        let otherwise = if waits { Answer::Silent } else { Answer::Unknown { closed: like.is_closed() } };
        while tries.len() < count {
            let paths = vec![path; BATCH.min(count - tries.len())];
            let mut pending = self.begin(&paths)?;
            if waits {
                self.wait(&paths, &mut pending, pool)?;
            }
            let ended = pending.into_iter().map(|one| one.end(path, otherwise));
            tries.extend(ended.collect::<Result<Vec<Try>>>()?);
            self.take(pool);
        }
        Ok(tries)
    }

    fn begin(&self, paths: &[&ServicePath]) -> Result<Vec<Pending>> {
        let missing = |path: &ServicePath| Error::new(Kind::Check, format!("the plan has no namespace {}", path.from));
        let stop = |path: &&ServicePath| {
            let ns = self.plan.namespace(&path.from).ok_or_else(|| missing(path))?;
            Ok(ns.netns.clone())
        };
        let names = paths.iter().map(stop).collect::<Result<Vec<String>>>()?;
        let stops: Vec<(&str, &ServicePath)> = names.iter().map(String::as_str).zip(paths.iter().copied()).collect();
        let mut begun = Vec::with_capacity(stops.len());
        // One visit for all that begin at the same place one after the other.
        for same in stops.chunk_by(|a, b| a.0 == b.0) {
            let ns = netns::open(same[0].0)?;
            let speaks = self.speaks_sctp;
            let work = || same.iter().map(|(_, path)| connect::begin(path, speaks)).collect::<Result<Vec<Pending>>>();
            begun.extend(netns::inside(ns.file(), work)??);
        }
        Ok(begun)
    }

    /// Waits until all have their answer or must be silent.
    fn wait(&mut self, paths: &[&ServicePath], pending: &mut [Pending], pool: &mut Vec<Seen>) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.take(pool);
            for (one, path) in pending.iter_mut().zip(paths).filter(|(_, path)| path.protocol == Protocol::Sctp) {
                let back = |seen: &&Seen| seen.namespace == path.from && seen.direction == Direction::In;
                pool.iter().filter(back).filter_map(|seen| seen.frame.packet()).for_each(|packet| one.hear(packet));
            }
            let open = pending.iter().zip(paths).filter(|(one, _)| one.is_open());
            let Some(longest) = open.map(|(_, path)| silence(path)).max() else { return Ok(()) };
            let waiting: Vec<usize> = (0..pending.len()).filter(|&at| pending[at].polled().is_some()).collect();
            let deadline = begun + longest.min(2 * self.patience);
            let mut polled: Vec<PollFd> = waiting.iter().filter_map(|&at| pending[at].polled()).collect();
            polled.extend(self.capture.sockets().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
            let came = capture::wait_for(&mut polled, deadline)?;
            let ready: Vec<usize> =
                waiting.iter().zip(&polled).filter(|(_, fd)| fd.any().unwrap_or(true)).map(|(at, _)| *at).collect();
            for at in ready {
                pending[at].look(paths[at])?;
            }
            if !came {
                return Ok(());
            }
        }
    }

    /// Takes what was captured, without waiting.
    pub(super) fn take(&mut self, pool: &mut Vec<Seen>) {
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

    /// Begins anew: what was captured before is nobody's any more.
    pub(super) fn forget(&mut self, pool: &mut Vec<Seen>) {
        self.take(pool);
        pool.clear();
    }

    /// The end of the time in which what is expected must come.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// What is seen of a connection, once all that must come has come, or the time is over.
    pub(super) fn settled(
        &mut self,
        path: &ServicePath,
        one: &Try,
        deadline: Instant,
        pool: &mut Vec<Seen>,
    ) -> Result<Trace> {
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
                return Ok(known.map_or(Trace::NOTHING, |(_, trace)| trace));
            }
        }
    }

    /// The endpoint at which a connection arrives; none if it is none of these within the patience.
    pub(super) fn arrived(
        &mut self,
        path: &ServicePath,
        one: &Try,
        targets: &[Target],
        pool: &mut Vec<Seen>,
    ) -> Result<Option<usize>> {
        let deadline = self.deadline();
        loop {
            self.take(pool);
            let hit = first(path, one, pool).and_then(|first| reached_by(&of(&first, pool), targets));
            if hit.is_some() || !self.capture.wait(deadline)? {
                return Ok(hit);
            }
        }
    }

    /// A connection's first packet as its program sent it. What a node refuses to itself, or drops, is seen nowhere.
    fn sent(&self, path: &ServicePath, one: &Try, pool: &[Seen]) -> Option<Packet> {
        let in_vain = matches!(one.answer, Answer::Refused | Answer::Silent);
        let inside = in_vain && self.plan.nodes().any(|node| node.name == path.from);
        let unseen = || match path.protocol {
            // How long its INIT is, the kernel alone knows.
            Protocol::Sctp => quoted(path, one, pool).unwrap_or_else(|| one.unseen(path)),
            _ => one.unseen(path),
        };
        first(path, one, pool).or_else(|| inside.then(unseen))
    }

    /// The ways that the plan leaves open to a connection with this first packet.
    fn ways(&self, path: &ServicePath, one: &Try, first: Packet) -> Result<(Packet, Trace)> {
        let port = match one.answer.is_closed() {
            _ if path.protocol == Protocol::Sctp && !self.speaks_sctp => Port::Unspoken,
            true => Port::Closed,
            false => Port::Echo,
        };
        let (from, origin) = (path.from.clone(), Origin::Stack);
        let flow = Flow { from, origin, packet: first.clone(), fragments: None, port };
        let mut ways = predict::outcomes(self.plan, &flow)?;
        if path.protocol == Protocol::Udp || path.protocol == Protocol::Sctp && port == Port::Echo {
            // The app's answer has words of its own, and a kernel's INIT ACK a cookie of its own: only where it ends is
            // foretold, not how it looks on the way.
            let answers = ways.iter_mut().flat_map(|way| &mut way.legs).filter(|leg| leg.purpose == Purpose::Answer);
            answers.for_each(|leg| leg.hops.clear());
        }
        Ok((first, Trace { seen: Vec::new(), ways }))
    }
}

/// How long a path must be without an answer to have none.
fn silence(path: &ServicePath) -> Duration {
    if path.address.is_ipv6() && path.protocol == Protocol::Tcp { SILENCE_V6 } else { SILENCE }
}
