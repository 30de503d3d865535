//! `minik probe`: one question and its answer, or who reaches whom.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::{Globals, Output, ProbeArgs};
use super::orders::address;
use super::print;
use super::session::{self, Session};
use super::target;
use crate::error::{Error, Kind, Result};
use crate::kernel::{features, process};
use crate::plan::Namespace;
use crate::probe::matrix::{self, End, Matrix};
use crate::probe::pair::{self, Answer, Question};

/// Asks; the exit code is 1 if something that was asked did not answer.
///
/// # Errors
/// If there is no such cluster or target.
pub fn run(args: &ProbeArgs, globals: &Globals) -> Result<ExitCode> {
    let session = session::open(globals.cluster_name())?;
    features::require_root()?;
    process::raise_file_limit()?;
    let patience = Duration::from_millis(args.timeout);
    let good = match (&args.from, &args.to) {
        (Some(from), Some(to)) => one(&session, globals, args, (from, to), patience)?,
        _ => all(&session, globals, patience)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The address by which a target is reached; an IP address need not belong to anything.
fn destination(session: &Session, globals: &Globals, to: &str) -> Result<Ipv4Addr> {
    if let Ok(address) = to.parse() {
        return Ok(address);
    }
    let ns = target::resolve(&session.cluster, &session.plan, &globals.namespace, to)?;
    address(ns).ok_or_else(|| Error::new(Kind::Usage, format!("{} has no IPv4 address", ns.name)))
}

fn one(
    session: &Session,
    globals: &Globals,
    args: &ProbeArgs,
    (from, to): (&str, &str),
    patience: Duration,
) -> Result<bool> {
    let source = target::resolve(&session.cluster, &session.plan, &globals.namespace, from)?;
    let to_address = destination(session, globals, to)?;
    let (question, words) = match (args.tcp, args.udp) {
        (Some(port), _) => (Question::Tcp(port), format!("TCP port {port}")),
        (None, Some(port)) => (Question::Udp(port), format!("UDP port {port}")),
        (None, None) => (Question::Icmp, "ICMP echo".to_owned()),
    };
    let answer = pair::pair(source, to_address, question, patience)?;
    let object = json!({ "from": source.name, "to": to, "address": to_address, "question": words, "outcome": answer });
    let text = match print::as_data(&object, globals.output)? {
        Some(text) => text,
        None => format!("{} -> {to} ({to_address}), {words}: {}\n", source.name, describe(&answer, patience)),
    };
    print::text(&text)?;
    Ok(matches!(answer, Answer::Yes { .. }))
}

fn describe(answer: &Answer, patience: Duration) -> String {
    match answer {
        Answer::Yes { rtt } => format!("answered in {}", milliseconds(*rtt)),
        Answer::Closed { rtt } => format!("the host is there, and nobody listens ({})", milliseconds(*rtt)),
        Answer::Refused { error } => format!("refused: {error}"),
        Answer::Silence => format!("no answer in {patience:?}"),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}

/// Every pod asks every other pod.
fn all(session: &Session, globals: &Globals, patience: Duration) -> Result<bool> {
    let pods: Vec<(&Namespace, Ipv4Addr)> = session.plan.pods().filter_map(|ns| Some((ns, address(ns)?))).collect();
    let ends: Vec<End> = pods.iter().map(|(namespace, address)| End { namespace, address: *address }).collect();
    let started = Instant::now();
    let matrix = matrix::matrix(&ends, patience)?;
    let took = started.elapsed();
    let names: Vec<&str> = pods.iter().map(|(ns, _)| ns.name.as_str()).collect();
    let text = match globals.output {
        Output::Json | Output::Yaml => {
            print::as_data(&object(&names, &matrix, took), globals.output)?.unwrap_or_default()
        }
        Output::Table | Output::Wide | Output::Name => render(&names, &matrix, took, globals.output == Output::Wide),
    };
    print::text(&text)?;
    Ok(matrix.answered() == matrix.asked())
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |from| (0..count).filter(move |to| *to != from).map(move |to| (from, to)))
}

fn object(names: &[&str], matrix: &Matrix, took: Duration) -> serde_json::Value {
    let pairs: Vec<_> = pairs(names.len())
        .map(|(from, to)| {
            let rtt = matrix.rtt(from, to).map(|rtt| rtt.as_secs_f64() * 1000.0);
            json!({ "from": names[from], "to": names[to], "reachable": rtt.is_some(), "rttMilliseconds": rtt })
        })
        .collect();
    json!({
        "pairs": pairs,
        "asked": matrix.asked(),
        "answered": matrix.answered(),
        "tookMilliseconds": took.as_secs_f64() * 1000.0,
    })
}

/// A line for each sender, a column for each receiver: `.` answered, `x` not; round trip times in ms with `-o wide`.
fn render(names: &[&str], matrix: &Matrix, took: Duration, times: bool) -> String {
    let numbers: Vec<String> = (1..=names.len()).map(|number| number.to_string()).collect();
    let cell = |from: usize, to: usize| match matrix.rtt(from, to) {
        _ if from == to => "-".to_owned(),
        Some(rtt) if times => format!("{:.3}", rtt.as_secs_f64() * 1000.0),
        Some(_) => ".".to_owned(),
        None => "x".to_owned(),
    };
    let cells: Vec<Vec<String>> =
        (0..names.len()).map(|from| (0..names.len()).map(|to| cell(from, to)).collect()).collect();
    let mut lines = vec![["#", "FROM"].into_iter().chain(numbers.iter().map(String::as_str)).collect::<Vec<_>>()];
    for (from, row) in cells.iter().enumerate() {
        lines.push([numbers[from].as_str(), names[from]].into_iter().chain(row.iter().map(String::as_str)).collect());
    }
    let (asked, answered) = (matrix.asked(), matrix.answered());
    let lost = if asked == 0 { 0.0 } else { (asked - answered) as f64 * 100.0 / asked as f64 };
    print::columns(&lines, false)
        + &format!("{answered}/{asked} received, {lost:.0} % lost, in {}\n", milliseconds(took))
}
