//! Whether what came of a connection is what the plan has. PURE.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::connect::{Answer, Try};
use super::lab::Trace;
use super::sight::{Target, is_at, target};
use super::{Protocol, ServicePath, chance};
use crate::packet::{Chunk, Sctp, TcpFlags, Transport};
use crate::predict::{End, Journey, Leg, Purpose};
use crate::verify::compare::{Divergence, Seen, compare};
use crate::verify::report::{CheckReport, Verdict};

/// Why a connection is not as the plan has it.
pub(super) fn fault(path: &ServicePath, one: &Try, trace: &Trace) -> Option<String> {
    let asked = SocketAddr::new(path.address, path.port);
    if trace.ways.is_empty() {
        return Some(format!("{}: no packet to {asked} left it ({})", path.from, one.words()));
    }
    let way = best(trace)?;
    if let Some(divergence) = compare(way, &trace.seen) {
        return Some(format!("{divergence}\nlook at: `minik status`, for rules that differ from the plan"));
    }
    let told = way.legs.iter().any(|leg| leg.purpose == Purpose::Error);
    match one.answer {
        Answer::Silent if must_be_refused(trace) => Some(format!("{asked}: no refusal, although the plan has one")),
        Answer::Silent if answers_are_seen(way) => {
            Some(format!("{asked}: no answer, although all its frames were seen"))
        }
        // A kernel that speaks SCTP says yes or no.
        Answer::Silent if path.protocol == Protocol::Sctp && way.answered() => {
            Some(format!("{asked}: no answer, although its first packet arrived"))
        }
        // What a program sees is the last word, whatever was seen of frames.
        Answer::Yes if !way.answered() => Some(format!("{asked}: it was answered, although by the plan it cannot be")),
        Answer::Refused if told && !trace.seen.iter().any(is_error) => {
            Some(format!("{asked}: it was refused, but no ICMP error was seen"))
        }
        Answer::Refused if !told && !way.answered() => {
            Some(format!("{asked}: it was refused, although by the plan nobody says so"))
        }
        _ => None,
    }
}

fn is_error(seen: &Seen) -> bool {
    seen.purpose == Purpose::Error
}

/// Whether by the plan a rule tells the sender at once that nobody is there, and it hears that.
pub(super) fn must_be_refused(trace: &Trace) -> bool {
    let Some(way) = best(trace) else { return false };
    let rejects = |leg: &Leg| matches!(&leg.end, End::Dropped { reason, .. } if reason.is_refusal());
    let heard = |leg: &Leg| leg.purpose == Purpose::Error && matches!(leg.end, End::Delivered { .. });
    way.legs.iter().any(rejects) && way.legs.iter().any(heard)
}

/// Whether a connection got another source port than it was sent with, and nothing else differs up to there: the kernel
/// gives it one if an earlier connection, through another Service to the same endpoint, has that already
/// (`nf_nat_used_tuple`). It says nothing about the rules; a connection from another port does.
pub(super) fn is_port_taken(trace: &Trace) -> bool {
    let difference = best(trace).and_then(|way| compare(way, &trace.seen));
    matches!(difference, Some(Divergence::Field { field, .. }) if field == "source port")
}

/// Whether the frames of an answer were foretold, up to where it was asked.
fn answers_are_seen(way: &Journey) -> bool {
    way.answered() && way.legs.iter().any(|leg| leg.purpose == Purpose::Answer && !leg.hops.is_empty())
}

/// What a path's report says.
pub(super) fn report(path: &ServicePath, trace: &Trace, fault: Option<String>) -> CheckReport {
    let expected = best(trace).cloned().unwrap_or_else(|| Journey { legs: Vec::new() });
    let verdict = fault.map_or(Verdict::Pass, Verdict::Fail);
    let words = path.words();
    let mut report = CheckReport::of(words.each_ref().map(String::as_str), &expected, &trace.seen, verdict);
    report.expected.told = report.expected.told.take().or_else(|| reset(&expected));
    report
}

/// Who answers with a reset or an abort, because nobody listens there: a packet's way is whole then, and yet it serves
/// nobody.
fn reset(way: &Journey) -> Option<String> {
    let answer = way.legs.iter().find(|leg| leg.purpose == Purpose::Answer)?;
    let (Some(End::Delivered { namespace }), Some((_, _, Some(port)))) =
        (way.legs.first().map(|leg| &leg.end), target(way))
    else {
        return None;
    };
    let words = match &answer.hops.last()?.frame.packet()?.innermost().transport {
        Transport::Tcp { flags, .. } if flags.0 & TcpFlags::RST != 0 => "TCP reset",
        Transport::Sctp(Sctp { chunk: Some(Chunk::Abort), .. }) => "SCTP abort",
        _ => return None,
    };
    Some(format!("{words}: nobody listens on port {port} of {namespace}"))
}

/// The way that fits best: what was seen is on it, or on it for longest.
fn best(trace: &Trace) -> Option<&Journey> {
    let fits = |way: &&Journey| compare(way, &trace.seen).is_none();
    let ends = |way: &&Journey| target(way).is_some_and(|target| trace.seen.iter().any(|seen| is_at(seen, &target)));
    let ways = || trace.ways.iter();
    ways().find(fits).or_else(|| ways().find(ends)).or_else(|| ways().next())
}

/// Whether connections are spread, or kept, as they should be; why not.
pub(super) fn shares(
    path: &ServicePath,
    targets: &[Target],
    reached: &BTreeMap<usize, usize>,
    count: usize,
) -> Option<String> {
    let total: usize = reached.values().sum();
    if !targets.is_empty() && total < count {
        return Some(format!("{total} of {count} connections reached an endpoint"));
    }
    if path.keeps.is_some() && reached.len() > 1 {
        let names: Vec<String> = reached.keys().map(|at| name(targets, *at)).collect();
        return Some(format!("one client came to {} although it keeps its endpoint", names.join(" and ")));
    }
    if count < 2 || path.keeps.is_some() {
        return None;
    }
    (0..targets.len()).find_map(|at| {
        let times = reached.get(&at).copied().unwrap_or(0);
        let why = chance::unlikely(times, count, targets.len())?;
        Some(format!("{} got {times} of {count} connections: {why}", name(targets, at)))
    })
}

/// An endpoint as reports call it.
pub(super) fn name(targets: &[Target], at: usize) -> String {
    targets.get(at).map(|(ns, address, _)| format!("{ns} ({address})")).unwrap_or_default()
}
