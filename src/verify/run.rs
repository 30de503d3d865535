//! One run: everything is opened, all checks are sent at once, frames are gathered until all that is expected has
//! come, and then until nothing can be under way any more.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags};

use super::checks::{Act, Check, SENTINEL, checks};
use super::compare::{Divergence, Seen, compare, is_seen_as};
use super::endpoints::{Endpoints, Refusal, too_long};
use super::identify::Identify;
use super::order::in_order_of_time;
use super::others::{is_again, without_others_answers};
use super::report::{CheckReport, Report, Verdict};
use super::{Options, cause};
use crate::error::{Error, Kind, Result};
use crate::kernel::features;
use crate::packet::Mark;
use crate::packet::build::{self, Message, Probe};
use crate::plan::{LinkKind, Namespace, Plan};
use crate::predict::{self, End, Hop, Journey, Purpose, Turn};
use crate::probe::capture::{self, Capture, Sighting};

/// Checks that are under way at a time: few enough that no queue of the kernel (1,000 frames) overflows.
const WINDOW: usize = 48;
/// How long a sentinel may take.
const SETTLE: Duration = Duration::from_millis(500);

/// See [`super::run`].
pub fn run(plan: &Plan, options: &Options) -> Result<Report> {
    let seed = options.seed.unwrap_or_else(seed_from_clock);
    let made = predict::as_made(plan, features::kernel());
    let plan = made.as_ref();
    let list = checks(plan, seed)?;
    let mut run = Run::open(plan, &list, seed)?;
    run.introduce()?;
    let mut outcomes = Vec::with_capacity(list.len());
    for window in list.chunks(WINDOW) {
        outcomes.extend(run.window(window, options.patience)?);
    }
    run.capture.complete()?;
    let mut live = cause::Live::default();
    let reports = list.iter().zip(outcomes).map(|(check, outcome)| report(plan, check, outcome, &run, &mut live));
    Ok(Report::new(plan, reports.collect()))
}

/// A number that differs from one run to the next.
fn seed_from_clock() -> u16 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mixed = u64::from(now.subsec_nanos()) ^ now.as_secs().wrapping_mul(0x9e37_79b9) ^ u64::from(std::process::id());
    (mixed ^ (mixed >> 16)) as u16
}

struct Run<'a> {
    plan: &'a Plan,
    capture: Capture,
    endpoints: Endpoints,
    identify: Identify,
    seed: u16,
    seen: BTreeMap<Mark, Vec<Seen>>,
    /// Frames that may yet be known: a later fragment can be read before its first one.
    unknown: Vec<Sighting>,
}

/// What came of a check beside what was seen.
struct Outcome {
    /// The kernel refused to send.
    refused: Option<Error>,
    /// What it said to what was too long.
    refusal: Option<Refusal>,
}

impl<'a> Run<'a> {
    fn open(plan: &'a Plan, checks: &[Check], seed: u16) -> Result<Run<'a>> {
        let capture = Capture::open(&plan.namespaces)?;
        let endpoints = Endpoints::open(plan, &capture, checks)?;
        let identify = Identify::new(checks);
        Ok(Run { plan, capture, endpoints, identify, seed, seen: BTreeMap::new(), unknown: Vec::new() })
    }

    /// Lets every switch learn where every NIC is: what a switch has forgotten, it would flood.
    fn introduce(&mut self) -> Result<()> {
        let mark = Mark(u32::from(self.seed) << 16 | 0xffff);
        for (ns, link) in ways_to_switches(self.plan) {
            if let (Some(mac), true) = (link.mac, self.exists(ns, &link.name)) {
                // A NIC that is down cannot be introduced, and the checks that need it will say so.
                let _ = self.endpoints.wire(self.plan, &self.capture, ns, &link.name)?.send(&build::marker(mac, mark));
            }
        }
        Ok(())
    }

    fn exists(&self, ns: &Namespace, interface: &str) -> bool {
        let position = self.plan.namespaces.iter().position(|known| known.name == ns.name);
        position.is_some_and(|position| self.capture.index_of(position, interface).is_some())
    }

    /// Sends a few checks and gathers what is seen of them.
    fn window(&mut self, checks: &[Check], patience: Duration) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(checks.len());
        for check in checks {
            let refused = self.endpoints.send(check).err();
            let refusal = match &check.act {
                Act::Refused { dst, length, .. } => {
                    Some(too_long(self.namespace(&check.from)?, *dst, *length, check.mark)?)
                }
                _ => None,
            };
            outcomes.push(Outcome { refused, refusal });
            self.gather()?;
        }
        let wanted: Vec<Wanted> = checks.iter().map(|check| Wanted::of(check.mark, &check.expected)).collect();
        self.gather_until(Instant::now() + patience, &wanted)?;
        let sentinels = self.send_sentinels(checks)?;
        self.gather_until(Instant::now() + SETTLE.min(patience), &sentinels)?;
        Ok(outcomes)
    }

    fn namespace(&self, name: &str) -> Result<&'a Namespace> {
        let found = self.plan.namespace(name);
        found.ok_or_else(|| Error::new(Kind::Check, format!("the plan has no namespace {name}")))
    }

    /// Sends a ping after each check that went through, on the same way. Queues keep their order, so when its answer
    /// has passed everywhere, whatever the check itself caused has passed, too. Gives what to wait for.
    fn send_sentinels<'c>(&mut self, checks: &'c [Check]) -> Result<Vec<Wanted<'c>>> {
        let mut wanted = Vec::new();
        for check in checks {
            let complete = self.has(&Wanted::of(check.mark, &check.expected));
            let Some(act) = complete.then(|| sentinel(check)).transpose()?.flatten() else { continue };
            let mark = Mark(check.mark.0 | SENTINEL);
            let follower = Check { mark, act, ..check.clone() };
            if self.endpoints.send(&follower).is_ok() {
                wanted.push(Wanted::of(mark, &check.expected));
            }
            self.gather()?;
        }
        Ok(wanted)
    }

    fn gather_until(&mut self, deadline: Instant, wanted: &[Wanted]) -> Result<()> {
        loop {
            self.gather()?;
            if wanted.iter().all(|wanted| self.has(wanted)) {
                return Ok(());
            }
            let sockets = self.capture.sockets().map(AsFd::as_fd).chain(self.endpoints.polled());
            let mut polled: Vec<PollFd> = sockets.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            if !capture::wait_for(&mut polled, deadline)? {
                return Ok(());
            }
        }
    }

    /// Answers what wants an answer and takes in what was captured, without waiting.
    fn gather(&mut self) -> Result<()> {
        self.endpoints.echo()?;
        let mut fresh = Vec::new();
        self.capture.drain(|sighting| fresh.push(sighting));
        let mut waiting = std::mem::take(&mut self.unknown);
        for sighting in fresh {
            match self.identify.of(&sighting.frame) {
                Some((mark, purpose)) => self.note(mark, purpose, sighting),
                None if is_fragment(&sighting) => waiting.push(sighting),
                None => {}
            }
        }
        for sighting in waiting {
            match self.identify.of(&sighting.frame) {
                Some((mark, purpose)) => self.note(mark, purpose, sighting),
                None => self.unknown.push(sighting),
            }
        }
        Ok(())
    }

    fn note(&mut self, mark: Mark, purpose: Purpose, sighting: Sighting) {
        let Some(namespace) = self.plan.namespaces.get(sighting.namespace) else { return };
        let name = self.capture.interface(sighting.namespace, sighting.interface);
        let interface = name.map_or_else(|| format!("if{}", sighting.interface), str::to_owned);
        let Sighting { direction, time, frame, .. } = sighting;
        let seen = Seen { namespace: namespace.name.clone(), interface, direction, time, purpose, frame };
        self.seen.entry(mark).or_default().push(seen);
    }

    /// Whether all that is certain to come has come.
    fn has(&self, wanted: &Wanted) -> bool {
        let seen = self.seen.get(&wanted.mark).map_or(&[][..], Vec::as_slice);
        let came = |hop: &&&Hop| seen.iter().any(|seen| is_seen_as(hop, seen));
        self.sightings(wanted.mark) >= wanted.certain + wanted.perhaps.iter().filter(came).count()
    }

    /// How many sightings there are of a check's packets, neighbours' answers at one place counted once.
    fn sightings(&self, mark: Mark) -> usize {
        let seen = self.seen.get(&mark).map_or(&[][..], Vec::as_slice);
        (0..seen.len()).filter(|&at| !seen[..at].iter().any(|before| is_again(before, &seen[at]))).count()
    }
}

/// How much is to come of a check's packets.
struct Wanted<'c> {
    mark: Mark,
    certain: usize,
    perhaps: Vec<&'c Hop>,
}

impl<'c> Wanted<'c> {
    fn of(mark: Mark, expected: &'c Journey) -> Wanted<'c> {
        let (perhaps, certain): (Vec<&Hop>, Vec<&Hop>) = expected.hops().partition(|hop| hop.turn == Turn::Perhaps);
        Wanted { mark, certain: certain.len(), perhaps }
    }
}

fn is_fragment(sighting: &Sighting) -> bool {
    sighting.frame.packet().is_some_and(|packet| packet.headers().any(|ip| ip.offset > 0))
}

/// The links into switches, with their namespaces: those whose other end is a port of a bridge, and macvlan devices,
/// which speak through such a link.
fn ways_to_switches(plan: &Plan) -> Vec<(&Namespace, &crate::plan::Link)> {
    let into_switch = |link: &crate::plan::Link| match &link.kind {
        LinkKind::Veth { peer_namespace, peer } => {
            let other = plan.namespace(peer_namespace).and_then(|ns| ns.link(peer));
            link.master.is_none() && link.up && other.is_some_and(|other| other.master.is_some())
        }
        LinkKind::Macvlan { .. } => link.up,
        _ => false,
    };
    let all = plan.namespaces.iter().flat_map(|ns| ns.links.iter().map(move |link| (ns, link)));
    all.filter(|(_, link)| into_switch(link)).collect()
}

/// A default ping on the way of a check that is answered.
fn sentinel(check: &Check) -> Result<Option<Act>> {
    let delivered = |journey: &Journey| {
        journey.legs.len() == 2 && journey.legs.iter().all(|leg| matches!(leg.end, End::Delivered { .. }))
    };
    let (Act::Wire { probe: Some(probe), .. } | Act::Stack { probe, .. }) = &check.act else { return Ok(None) };
    let Message::Echo { id, .. } = probe.message else { return Ok(None) };
    if !delivered(&check.expected) || probe.length > 1000 {
        return Ok(None);
    }
    let follower = Probe { message: Message::Echo { id, seq: 2 }, mark: Mark(check.mark.0 | SENTINEL), ..*probe };
    let packet = build::ip(&follower)?;
    Ok(match &check.act {
        Act::Wire { interface, frames, .. } => {
            let header = frames.first().and_then(|frame| frame.get(..crate::packet::ETHERNET_HEADER)).unwrap_or(&[]);
            let frames = vec![[header, &packet].concat()];
            Some(Act::Wire { interface: interface.clone(), frames, probe: Some(follower) })
        }
        _ => Some(Act::Stack { packet, probe: follower }),
    })
}

fn report(plan: &Plan, check: &Check, outcome: Outcome, run: &Run, live: &mut cause::Live) -> CheckReport {
    if let Act::Unasked { reason } = &check.act {
        let words = [check.name.as_str(), &check.from, &check.to, check.protocol].map(str::to_owned);
        return CheckReport::skipped(words, (*reason).to_owned());
    }
    let seen = in_order_of_time(&check.expected, run.seen.get(&check.mark).cloned().unwrap_or_default());
    let seen = without_others_answers(&check.expected, seen);
    let refused = outcome.refused.map(|error| error.to_string());
    let reason = match (&check.act, outcome.refusal) {
        (Act::Refused { mtu, .. }, Some(refusal)) => match seen.first() {
            Some(seen) => Some(cause::explain(plan, check, &Divergence::Extra { seen: Box::new(seen.clone()) }, live)),
            None => refusal_reason(check, *mtu, &refusal),
        },
        _ => compare(&check.expected, &seen).map(|divergence| {
            let why = cause::explain(plan, check, &divergence, live);
            refused.map_or_else(|| why.clone(), |error| format!("{error}; {why}"))
        }),
    };
    CheckReport::new(check, &seen, reason.map_or(Verdict::Pass, Verdict::Fail))
}

fn refusal_reason(check: &Check, mtu: u32, refusal: &Refusal) -> Option<String> {
    let place = &check.from;
    match refusal {
        Refusal::TooLong(told) if *told == mtu => None,
        Refusal::TooLong(told) => {
            Some(format!("{place}: the kernel refuses the packet with MTU {told}, {mtu} expected"))
        }
        Refusal::Sent => Some(format!("{place}: the kernel sent a packet that is longer than the MTU {mtu}")),
        Refusal::Otherwise(error) => Some(format!("{place}: cannot send: {error}; message too long expected")),
    }
}
