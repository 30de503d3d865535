//! What came of a run: for people a table, for machines JSON (the design's shape) and JUnit. PURE.

use std::fmt::Write as _;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use super::checks::Check;
use super::compare::Seen;
use crate::error::{Error, Kind, Result};
use crate::packet::{Direction, Transport};
use crate::plan::{Datapath, Plan};
use crate::predict::{End, Journey, Leg, Purpose};

/// The outcome of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The CNI mode.
    pub mode: String,
    /// Who carries the tunnels' packets.
    pub datapath: Datapath,
    /// Every check in order.
    pub checks: Vec<CheckReport>,
    /// How many came out how.
    pub summary: Summary,
}

/// How many checks came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// As predicted.
    pub passed: usize,
    /// Not as predicted.
    pub failed: usize,
    /// Not carried out.
    pub skipped: usize,
}

/// The outcome of a check.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// The check's name.
    pub name: String,
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// `arp`, `icmp`, `udp`, `tcp` or `sctp`; in IPv6 `nd`, `icmp6`, `udp6`, `tcp6` or `sctp6`.
    pub protocol: String,
    /// What the plan predicts.
    pub expected: Observation,
    /// What was seen.
    pub observed: Observation,
    /// How it came out.
    pub result: &'static str,
    /// The first divergence, with its likely cause and cure; none if it passed.
    pub reason: Option<String>,
}

/// A packet's way, predicted or seen.
#[derive(Debug, Clone, Serialize)]
pub struct Observation {
    /// Whether the packet reached its destination, and the answer its sender.
    pub reachable: bool,
    /// Every frame in order.
    pub path: Vec<Step>,
    /// Where and why the packet is not sent on, where a prediction says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
    /// What its sender hears in its stead, where a prediction says so: an ICMP error, or that nobody listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

/// One frame at one interface.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// `request`, `answer` or `error`.
    pub leg: Purpose,
    /// The namespace's name inside the cluster.
    pub namespace: String,
    /// The interface.
    pub interface: String,
    /// `in` or `out`.
    pub direction: Direction,
    /// Bytes on the wire.
    pub length: usize,
    /// The frame as `tcpdump -ne` prints it.
    pub frame: String,
    /// The kernel's time in nanoseconds since 1970; none in a prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
}

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As predicted.
    Pass,
    /// Not as predicted: why.
    Fail(String),
}

impl CheckReport {
    /// The report of `check`, of which `seen` was seen.
    pub fn new(check: &Check, seen: &[Seen], verdict: Verdict) -> CheckReport {
        CheckReport::of([&check.name, &check.from, &check.to, check.protocol], &check.expected, seen, verdict)
    }

    /// The report of a check of this name, sender, receiver and protocol.
    pub(super) fn of(words: [&str; 4], expected: &Journey, seen: &[Seen], verdict: Verdict) -> CheckReport {
        let (result, reason) = match verdict {
            Verdict::Pass => ("pass", None),
            Verdict::Fail(reason) => ("fail", Some(reason)),
        };
        let [name, from, to, protocol] = words.map(str::to_owned);
        CheckReport {
            name,
            from,
            to,
            protocol,
            expected: Observation {
                reachable: expected.answered(),
                path: predicted(expected),
                dropped: dropped(expected),
                told: told(expected),
            },
            observed: Observation {
                reachable: reached(expected, seen),
                path: seen.iter().map(step).collect(),
                dropped: None,
                told: None,
            },
            result,
            reason,
        }
    }

    /// The report of a question that was `answered` or not, and whose packets nobody looked at.
    pub(super) fn of_question(words: [&str; 4], answered: bool, verdict: Verdict) -> CheckReport {
        let report = CheckReport::of(words, &Journey { legs: Vec::new() }, &[], verdict);
        let observation = |reachable| Observation { reachable, path: Vec::new(), dropped: None, told: None };
        CheckReport { expected: observation(true), observed: observation(answered), ..report }
    }

    /// The report of a question without an answer, as it must be where chance led it to a way that ends at `place`.
    pub(super) fn of_lost_question(words: [&str; 4], place: &str) -> CheckReport {
        let report = CheckReport::of_question(words, false, Verdict::Pass);
        let dropped = Some(format!("where chance led, {place}"));
        CheckReport { expected: Observation { reachable: false, path: Vec::new(), dropped, told: None }, ..report }
    }

    /// The report of a check that was not carried out, and why.
    pub(super) fn skipped(words: [String; 4], reason: String) -> CheckReport {
        let nothing = || Observation { reachable: false, path: Vec::new(), dropped: None, told: None };
        let [name, from, to, protocol] = words;
        let (expected, observed, reason) = (nothing(), nothing(), Some(reason));
        CheckReport { name, from, to, protocol, expected, observed, result: "skip", reason }
    }

    /// Whether it was not carried out.
    pub(super) fn is_skipped(&self) -> bool {
        self.result == "skip"
    }
}

/// Where and why the request, or the answer to it, is not sent on.
pub(super) fn dropped(journey: &Journey) -> Option<String> {
    journey.legs.iter().find_map(|leg| match &leg.end {
        End::Dropped { namespace, reason } => Some(format!("{namespace}: {reason}")),
        End::Delivered { .. } => None,
    })
}

/// What the sender hears of that; none if it hears nothing.
fn told(journey: &Journey) -> Option<String> {
    let heard = |leg: &&Leg| leg.purpose == Purpose::Error && matches!(leg.end, End::Delivered { .. });
    let packet = journey.legs.iter().find(heard)?.hops.last()?.frame.packet()?;
    let Transport::Icmp(icmp) = &packet.innermost().transport else { return None };
    let at_once = |leg: &Leg| matches!(&leg.end, End::Dropped { reason, .. } if reason.is_refusal());
    let when = if journey.legs.iter().any(at_once) { " at once" } else { "" };
    Some(format!("{}{when}", icmp.words(packet.is_v6())))
}

/// Whether the answer was seen to come back to where the request began.
fn reached(journey: &Journey, seen: &[Seen]) -> bool {
    let Some(start) = journey.hops().next() else { return false };
    let back = |seen: &Seen| {
        seen.purpose == Purpose::Answer
            && seen.direction == Direction::In
            && (&seen.namespace, &seen.interface) == (&start.namespace, &start.interface)
    };
    seen.iter().any(back)
}

fn predicted(journey: &Journey) -> Vec<Step> {
    let of_leg = |leg: &Leg| -> Vec<Step> {
        let step = |hop: &crate::predict::Hop| Step {
            leg: leg.purpose,
            namespace: hop.namespace.clone(),
            interface: hop.interface.clone(),
            direction: hop.direction,
            length: hop.frame.length,
            frame: hop.frame.to_string(),
            time: None,
        };
        leg.hops.iter().map(step).collect()
    };
    journey.legs.iter().flat_map(of_leg).collect()
}

fn step(seen: &Seen) -> Step {
    Step {
        leg: seen.purpose,
        namespace: seen.namespace.clone(),
        interface: seen.interface.clone(),
        direction: seen.direction,
        length: seen.frame.length,
        frame: seen.frame.to_string(),
        time: Some(seen.time),
    }
}

impl Report {
    /// The report of all `checks` of a plan.
    pub fn new(plan: &Plan, checks: Vec<CheckReport>) -> Report {
        let count = |result: &str| checks.iter().filter(|check| check.result == result).count();
        let summary = Summary { passed: count("pass"), failed: count("fail"), skipped: count("skip") };
        Report { mode: plan.mode.clone(), datapath: plan.datapath, checks, summary }
    }

    /// The report with more checks at its end.
    pub fn and(mut self, more: Vec<CheckReport>) -> Report {
        let count = |result: &str| more.iter().filter(|check| check.result == result).count();
        self.summary.passed += count("pass");
        self.summary.failed += count("fail");
        self.summary.skipped += count("skip");
        self.checks.extend(more);
        self
    }

    /// Whether everything that was carried out is as predicted.
    pub fn passed(&self) -> bool {
        self.summary.failed == 0
    }

    /// A table for people, and under it the reason of every check that did not pass.
    pub fn text(&self) -> String {
        let width = |of: fn(&CheckReport) -> &str, head: &str| {
            self.checks.iter().map(|check| of(check).len()).max().unwrap_or(0).max(head.len())
        };
        let (name, from, to) = (width(|c| &c.name, "CHECK"), width(|c| &c.from, "FROM"), width(|c| &c.to, "TO"));
        let mut text = format!("{:<name$}   {:<from$}   {:<to$}   RESULT\n", "CHECK", "FROM", "TO");
        for check in &self.checks {
            // Writing to a string cannot fail.
            let _ =
                write!(text, "{:<name$}   {:<from$}   {:<to$}   {}", check.name, check.from, check.to, check.result);
            let Observation { dropped, told, .. } = &check.expected;
            let _ = match (dropped, told) {
                _ if check.result != "pass" => writeln!(text),
                (Some(place), told) => {
                    let told = told.as_deref().unwrap_or("no answer");
                    writeln!(text, " ({told}, as it must be: {place})")
                }
                (None, Some(told)) => writeln!(text, " ({told})"),
                (None, None) => writeln!(text),
            };
            if let Some(reason) = &check.reason {
                let _ = writeln!(text, "  {}", reason.replace('\n', "\n  "));
            }
        }
        let Summary { passed, failed, skipped } = self.summary;
        let _ = writeln!(
            text,
            "{}, tunnels by {}: {passed} passed, {failed} failed, {skipped} skipped",
            self.mode, self.datapath
        );
        text
    }

    /// The report of a mode that was not verified at all, because this machine cannot run it.
    pub fn skipped(mode: &str, datapath: Datapath, reason: String) -> Report {
        let check = CheckReport::skipped(["up", "-", "-", "-"].map(str::to_owned), reason);
        Report {
            mode: mode.to_owned(),
            datapath,
            checks: vec![check],
            summary: Summary { skipped: 1, ..Summary::default() },
        }
    }

    fn suite(&self) -> TestSuite {
        let mut suite = TestSuite::new(format!("minik verify {}", self.mode));
        for check in &self.checks {
            let mut status = match check.result {
                "pass" => TestCaseStatus::success(),
                "skip" => TestCaseStatus::skipped(),
                _ => TestCaseStatus::non_success(NonSuccessKind::Failure),
            };
            if let Some(reason) = &check.reason {
                status.set_message(reason.clone());
            }
            let mut case = TestCase::new(format!("{} from {} to {}", check.name, check.from, check.to), status);
            case.set_classname(self.mode.clone());
            suite.add_test_case(case);
        }
        suite
    }
}

/// Reports as JUnit XML, as test services read it: one suite each.
///
/// # Errors
/// If it cannot be serialised.
pub fn junit(reports: &[Report]) -> Result<String> {
    let mut all = quick_junit::Report::new("minik verify");
    all.add_test_suites(reports.iter().map(Report::suite));
    all.to_string().map_err(|e| Error::new(Kind::Io, "cannot write JUnit").because(e))
}
