//! One path after the other is put to the test; what must be waited for is waited for together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::connect::{Answer, Try};
use super::judge::{fault, is_port_taken, must_be_refused, name, report, shares};
use super::lab::{BATCH, Lab, Trace};
use super::sight::{Target, reached_by, target};
use super::{ServicePath, chance};
use crate::error::Result;
use crate::verify::report::CheckReport;

/// Paths whose first packets are under way together.
const WAVE: usize = 48;
/// Connections per endpoint where it is tested how they are spread, and at most.
const PER_ENDPOINT: usize = 32;
const CONNECTIONS_MAX: usize = 256;
/// Connections of one client that keeps its endpoint.
const KEPT: usize = 8;
/// Longest affinity in seconds whose end is waited for, and how much longer than that.
const EXPIRY_MAX: u32 = 5;
const EXPIRY_MARGIN: Duration = Duration::from_millis(50);
/// How often one client's connections are made anew when they came too late to tell whether it keeps its endpoint.
const TOO_LATE_MAX: usize = 8;
/// How often one is asked again whose answer says nothing about the rules, and how long before that if a refusal did not
/// come.
const ASKED_AGAIN_MAX: usize = 2;
const ICMP_RATE: Duration = Duration::from_secs(1);

/// The end of an affinity that is still to be waited for.
struct Expiry<'a> {
    path: &'a ServicePath,
    /// Where its report is.
    at: usize,
    /// What was seen before.
    trace: Trace,
    targets: Vec<Target>,
    /// The endpoint that it had.
    kept: usize,
}

/// The reports of all paths, in their order.
pub(super) fn all(lab: &mut Lab, paths: &[ServicePath]) -> Result<Vec<CheckReport>> {
    let mut reports: Vec<Option<CheckReport>> = paths.iter().map(|_| None).collect();
    let mut ends = Vec::new();
    let of_sort = |wanted: fn(&ServicePath) -> bool| -> Vec<usize> {
        paths.iter().enumerate().filter(|(_, path)| wanted(path)).map(|(at, _)| at).collect()
    };
    // Who keeps its endpoint for a time must be asked in one go, and first: so the time passes with other work.
    for at in of_sort(|path| path.keeps.is_some() && !path.hairpin) {
        reports[at] = keep(lab, (at, &paths[at]), &mut ends)?;
    }
    let last = Instant::now();
    for wave in of_sort(|path| path.keeps.is_none() && !path.hairpin).chunks(WAVE) {
        let mut pool = Vec::new();
        lab.forget(&mut pool);
        let asked: Vec<&ServicePath> = wave.iter().map(|at| &paths[*at]).collect();
        let tries = lab.ask_each(&asked, &mut pool)?;
        let deadline = lab.deadline();
        let mut traces = Vec::with_capacity(tries.len());
        for (path, one) in asked.iter().zip(&tries) {
            traces.push(lab.settled(path, one, deadline, &mut pool)?);
        }
        for ((at, one), trace) in wave.iter().zip(tries).zip(traces) {
            reports[*at] = finish(lab, (*at, &paths[*at]), one, trace, &mut ends)?;
        }
    }
    for at in of_sort(|path| path.hairpin) {
        reports[at] = Some(returns(lab, &paths[at])?);
    }
    expire(lab, ends, last, &mut reports)?;
    Ok(reports.into_iter().flatten().collect())
}

/// Whether a client keeps its endpoint. On a busy machine an affinity of a second may be over before all connections were
/// made, which says nothing about it: then they are made anew.
fn keep<'a>(
    lab: &mut Lab,
    (at, path): (usize, &'a ServicePath),
    ends: &mut Vec<Expiry<'a>>,
) -> Result<Option<CheckReport>> {
    let mut left = TOO_LATE_MAX;
    loop {
        let mut pool = Vec::new();
        lab.forget(&mut pool);
        let deadline = lab.deadline();
        let one = lab.ask_each(&[path], &mut pool)?.swap_remove(0);
        let trace = lab.settled(path, &one, deadline, &mut pool)?;
        let report = finish(lab, (at, path), one, trace, ends)?;
        if left == 0 || !report.as_ref().is_some_and(CheckReport::is_skipped) {
            return Ok(report);
        }
        left -= 1;
    }
}

/// Why it is not told whether an affinity was kept.
const BUSY: &str = "this machine was so busy that the affinity was over before its connections were";

/// What comes after a path's first connection: more of them, if their endpoints are to be counted. No report yet if its
/// end is among `ends` now.
fn finish<'a>(
    lab: &mut Lab,
    (at, path): (usize, &'a ServicePath),
    one: Try,
    trace: Trace,
    ends: &mut Vec<Expiry<'a>>,
) -> Result<Option<CheckReport>> {
    let (one, trace) = asked_again(lab, path, one, trace)?;
    let targets: Vec<Target> = trace.ways.iter().filter_map(target).collect();
    // Where a way ends nowhere (an endpoint that cannot come back to itself), shares cannot be told.
    let open = targets.len() == trace.ways.len();
    let count = match targets.len() {
        _ if !open => 1,
        2.. if path.keeps.is_some() => KEPT,
        endpoints @ 2.. if path.spread => (endpoints * PER_ENDPOINT).min(CONNECTIONS_MAX),
        _ => 1,
    };
    let mut wrong = fault(path, &one, &trace);
    if wrong.is_some() {
        return Ok(Some(report(path, &trace, wrong)));
    }
    let mut reached: BTreeMap<usize, usize> =
        reached_by(&trace.seen, &targets).map(|hit| (hit, 1)).into_iter().collect();
    let mut looked_at: BTreeSet<usize> = reached.keys().copied().collect();
    let mut pool = Vec::new();
    for more in lab.ask_more(path, count - 1, one.answer, &mut pool)? {
        let Some(hit) = lab.arrived(path, &more, &targets, &mut pool)? else { continue };
        *reached.entry(hit).or_default() += 1;
        if !looked_at.contains(&hit) {
            let deadline = lab.deadline();
            let trace = lab.settled(path, &more, deadline, &mut pool)?;
            if !is_port_taken(&trace) {
                looked_at.insert(hit);
                wrong = fault(path, &more, &trace);
            }
        }
        if wrong.is_some() {
            break;
        }
    }
    let in_time = path.keeps.is_none_or(|seconds| one.begun.elapsed() < Duration::from_secs(seconds.into()));
    let is_lost = !targets.is_empty() && reached.values().sum::<usize>() < count;
    let uneven = shares(path, &targets, &reached, count).filter(|_| open);
    if wrong.is_none() && uneven.is_some() && !in_time && !is_lost {
        return Ok(Some(CheckReport::skipped(path.words(), BUSY.to_owned())));
    }
    let wrong = wrong.or(uneven);
    // IPVS keeps a client's endpoint for another minute as long as it remembers a connection of it (`ip_vs_conn_expire`,
    // `n_control`): those that were just made outlive every affinity whose end is waited for.
    let outlived = lab.plan.namespaces.iter().any(|ns| ns.ipvs.is_some());
    let short = path.keeps.is_some_and(|seconds| seconds <= EXPIRY_MAX) && !outlived;
    let ending = short && path.spread && open && targets.len() > 1;
    match (wrong, reached.keys().next()) {
        (None, Some(&kept)) if ending => {
            ends.push(Expiry { path, at, trace, targets, kept });
            Ok(None)
        }
        (wrong, _) => Ok(Some(report(path, &trace, wrong))),
    }
}

/// A connection that must be refused and is not may have met the limit of ICMP errors to one receiver: one a second, after
/// six at once (`net.ipv4.icmp_ratelimit`), and none within a second of a packet of it that left the node where it came
/// in (`ip_rt_send_redirect` keeps the same account). So it is tried again when there is room for one. One whose port was
/// taken is tried again at once.
fn asked_again(lab: &mut Lab, path: &ServicePath, one: Try, trace: Trace) -> Result<(Try, Trace)> {
    let (mut one, mut trace) = (one, trace);
    for _ in 0..ASKED_AGAIN_MAX {
        if one.answer == Answer::Silent && must_be_refused(&trace) {
            std::thread::sleep(ICMP_RATE);
        } else if !is_port_taken(&trace) {
            break;
        }
        let mut pool = Vec::new();
        lab.forget(&mut pool);
        one = lab.ask_each(&[path], &mut pool)?.swap_remove(0);
        let deadline = lab.deadline();
        trace = lab.settled(path, &one, deadline, &mut pool)?;
    }
    Ok((one, trace))
}

/// Asks until the sender is sent back to itself: all other endpoints are passed by.
fn returns(lab: &mut Lab, path: &ServicePath) -> Result<CheckReport> {
    let ns = lab.plan.namespace(&path.from);
    let own: Option<IpAddr> = match path.address {
        IpAddr::V4(_) => ns.and_then(|ns| ns.address()).map(IpAddr::from),
        IpAddr::V6(_) => ns.and_then(|ns| ns.address6()).map(IpAddr::from),
    };
    let mut pool = Vec::new();
    lab.forget(&mut pool);
    let one = lab.ask_each(&[path], &mut pool)?.swap_remove(0);
    let deadline = lab.deadline();
    let first = lab.settled(path, &one, deadline, &mut pool)?;
    let (one, mut last) = asked_again(lab, path, one, first)?;
    let targets: Vec<Target> = last.ways.iter().filter_map(target).collect();
    let others: Vec<Target> = targets.into_iter().filter(|(_, address, _)| Some(*address) != own).collect();
    let enough = chance::tries_until_certain(others.len() + 1);
    let like = one.answer;
    let (mut tries, mut left, mut known) = (vec![one], enough, false);
    while left > 0 {
        for one in tries {
            left = left.saturating_sub(1);
            let deadline = lab.deadline();
            last = lab.settled(path, &one, deadline, &mut pool)?;
            if reached_by(&last.seen, &others).is_some() || is_port_taken(&last) {
                continue;
            }
            let wrong = fault(path, &one, &last);
            if wrong.is_none() || known {
                return Ok(report(path, &last, wrong));
            }
            // Until it knows the endpoint's MAC, a bridge that translates addresses sends such a frame by way of its own
            // device (`br_nf_pre_routing_finish_bridge`): once, and what is under way with it.
            (known, left) = (true, enough);
            break;
        }
        tries = lab.ask_more(path, BATCH.min(left), like, &mut pool)?;
    }
    let never = "never came to itself, although it is an endpoint with the same chance as the others".to_owned();
    Ok(report(path, &last, Some(never)))
}

/// Waits until those who keep an endpoint for some seconds keep it no longer, and asks again until they come to another
/// one. `last` is when they asked last.
fn expire(lab: &mut Lab, ends: Vec<Expiry>, last: Instant, reports: &mut [Option<CheckReport>]) -> Result<()> {
    let (mut ends, mut last, mut rounds) = (ends, last, 0);
    while let Some(seconds) = ends.iter().filter_map(|end| end.path.keeps).max() {
        // It is time itself that is waited for: an entry lives for so long after the last connection.
        let over = last + Duration::from_secs(seconds.into()) + EXPIRY_MARGIN;
        std::thread::sleep(over.saturating_duration_since(Instant::now()));
        let paths: Vec<&ServicePath> = ends.iter().map(|end| end.path).collect();
        let mut pool = Vec::new();
        lab.forget(&mut pool);
        let tries = lab.ask_each(&paths, &mut pool)?;
        (last, rounds) = (Instant::now(), rounds + 1);
        let mut left = Vec::new();
        for (end, one) in ends.into_iter().zip(tries) {
            let hit = lab.arrived(end.path, &one, &end.targets, &mut pool)?;
            let Expiry { path, at, trace, targets, kept } = &end;
            let wrong = match hit {
                None => Some(format!("{seconds} s later a connection reached no endpoint")),
                Some(hit) if hit != *kept => None,
                Some(_) if rounds < chance::tries_until_another(targets.len()) => {
                    left.push(end);
                    continue;
                }
                Some(_) => Some(format!(
                    "one client came to {} {rounds} times more, each {seconds} s later, when its time was over",
                    name(targets, *kept)
                )),
            };
            reports[*at] = Some(report(path, trace, wrong));
        }
        ends = left;
    }
    Ok(())
}
