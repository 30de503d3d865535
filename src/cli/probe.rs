//! `minik probe`: one question and its answer, or who reaches whom.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::{Globals, Output};
use super::check_args::ProbeArgs;
use super::print;
use super::session::{self, Session};
use super::target;
use crate::error::{Error, Kind, Result};
use crate::kernel::{features, process};
use crate::plan::netfilter::Family;
use crate::plan::{Namespace, Plan};
use crate::probe::matrix::{self, End, Matrix};
use crate::probe::pair::{self, Answer, Question};
use crate::{predict, verify};

/// Asks; the exit code is 1 if something that was asked did not answer.
///
/// # Errors
/// If there is no such cluster or target.
pub fn run(args: &ProbeArgs, globals: &Globals) -> Result<ExitCode> {
    let session = session::open(globals.cluster_name())?;
    process::raise_file_limit()?;
    let patience = Duration::from_millis(args.timeout);
    let good = match (&args.from, &args.to) {
        (Some(from), Some(to)) => one(&session, globals, args, (from, to), patience)?,
        _ => all(&session, globals, args, patience)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The address families that are asked about, in the order in which they are preferred.
fn families(args: &ProbeArgs) -> &'static [Family] {
    match (args.ipv4, args.ipv6) {
        (true, _) => &[Family::Inet],
        (_, true) => &[Family::Inet6],
        _ => &Family::BOTH,
    }
}

/// The address by which a target is reached; an IP address need not belong to anything.
fn destination(session: &Session, globals: &Globals, args: &ProbeArgs, to: &str) -> Result<IpAddr> {
    let families = families(args);
    let words = || families.iter().map(|family| family.name()).collect::<Vec<_>>().join(" or ");
    if let Ok(address) = to.parse::<IpAddr>() {
        return match families.contains(&Family::of(&address)) {
            true => Ok(address),
            false => Err(Error::new(Kind::Usage, format!("{address} is not an {} address", words()))),
        };
    }
    let ns = target::resolve(&session.cluster, &session.plan, &globals.namespace, to)?;
    let address = families.iter().find_map(|family| ns.address_in(*family));
    address.ok_or_else(|| Error::new(Kind::Usage, format!("{} has no {} address", ns.name, words())))
}

fn one(
    session: &Session,
    globals: &Globals,
    args: &ProbeArgs,
    (from, to): (&str, &str),
    patience: Duration,
) -> Result<bool> {
    let source = target::resolve(&session.cluster, &session.plan, &globals.namespace, from)?;
    let to_address = destination(session, globals, args, to)?;
    let (question, words) = match (args.tcp, args.udp, args.sctp) {
        (Some(port), ..) => (Question::Tcp(port), format!("TCP port {port}")),
        (None, Some(port), _) => (Question::Udp(port), format!("UDP port {port}")),
        (None, None, Some(port)) => (Question::Sctp(port), format!("SCTP port {port}")),
        (None, None, None) => (Question::Icmp, "ICMP echo".to_owned()),
    };
    if args.sctp.is_some() && !features::has_sctp()? {
        let cure = "load the module sctp, or use a kernel that has it";
        return Err(Error::new(Kind::Unsupported, "this kernel has no SCTP to ask by").hint(cure));
    }
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

/// What the matrix of one family shows: who was asked, what came, and what should have come.
struct Asked<'a> {
    family: Family,
    names: Vec<&'a str>,
    matrix: Matrix,
    /// For each pair, whether the plan has it answered.
    expected: Vec<bool>,
    took: Duration,
}

/// Every pod asks every other pod, in each family that pods have; true if all that came is what the plan predicts.
fn all(session: &Session, globals: &Globals, args: &ProbeArgs, patience: Duration) -> Result<bool> {
    let made = predict::as_made(&session.plan, features::kernel());
    let mut asked = Vec::new();
    for family in families(args) {
        asked.extend(in_family(&made, *family, patience)?);
    }
    // Of very many pods that is a million objects.
    let data = match globals.output {
        Output::Table | Output::Wide | Output::Name => None,
        Output::Json | Output::Yaml => print::as_data(&object(&asked), globals.output)?,
    };
    let text = match data {
        Some(text) => text,
        None => asked.iter().map(|one| one.render(globals.output == Output::Wide)).collect::<Vec<_>>().join("\n"),
    };
    print::text(&text)?;
    Ok(asked.iter().all(|one| one.differing() == 0))
}

/// None where IPv6 is meant and nobody has it.
fn in_family(plan: &Plan, family: Family, patience: Duration) -> Result<Option<Asked<'_>>> {
    let pods: Vec<(&Namespace, IpAddr)> = plan.pods().filter_map(|ns| Some((ns, ns.address_in(family)?))).collect();
    if pods.is_empty() && family == Family::Inet6 {
        return Ok(None);
    }
    let ends: Vec<End> = pods.iter().map(|(namespace, address)| End { namespace, address: *address }).collect();
    let started = Instant::now();
    // Packets mostly wait for the kernel: what they should do is computed meanwhile.
    let (matrix, expected) = std::thread::scope(|scope| {
        let prediction = scope.spawn(|| verify::reach::all_pairs(plan, &pods));
        let matrix = matrix::matrix(plan, &ends, patience);
        (matrix, prediction.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let names = pods.iter().map(|(ns, _)| ns.name.as_str()).collect();
    Ok(Some(Asked { family, names, matrix: matrix?, expected: expected?, took: started.elapsed() }))
}

fn object(asked: &[Asked]) -> serde_json::Value {
    let sum = |of: fn(&Asked) -> usize| asked.iter().map(of).sum::<usize>();
    json!({
        "pairs": asked.iter().flat_map(Asked::objects).collect::<Vec<_>>(),
        "asked": sum(|one| one.matrix.asked()),
        "answered": sum(|one| one.matrix.answered()),
        "differing": sum(|one| one.differing()),
        "tookMilliseconds": asked.iter().map(|one| one.took.as_secs_f64() * 1000.0).sum::<f64>(),
    })
}

impl Asked<'_> {
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.names.len();
        (0..count).flat_map(move |from| (0..count).filter(move |to| *to != from).map(move |to| (from, to)))
    }

    fn expected(&self, from: usize, to: usize) -> bool {
        self.expected.get(from * self.names.len() + to).copied().unwrap_or(false)
    }

    fn differs(&self, from: usize, to: usize) -> bool {
        self.matrix.rtt(from, to).is_some() != self.expected(from, to)
    }

    fn differing(&self) -> usize {
        self.pairs().filter(|(from, to)| self.differs(*from, *to)).count()
    }

    fn objects(&self) -> Vec<serde_json::Value> {
        let pair = |(from, to): (usize, usize)| {
            let rtt = self.matrix.rtt(from, to).map(|rtt| rtt.as_secs_f64() * 1000.0);
            json!({
                "family": self.family.name(),
                "from": self.names[from],
                "to": self.names[to],
                "expected": self.expected(from, to),
                "reachable": rtt.is_some(),
                "rttMilliseconds": rtt,
            })
        };
        self.pairs().map(pair).collect()
    }

    /// `.` answered, `x` not, and `!` behind it if the plan says otherwise; round trip times in ms with `-o wide`.
    fn cell(&self, from: usize, to: usize, times: bool) -> String {
        if from == to {
            return "-".to_owned();
        }
        let seen = match self.matrix.rtt(from, to) {
            Some(rtt) if times => format!("{:.3}", rtt.as_secs_f64() * 1000.0),
            Some(_) => ".".to_owned(),
            None => "x".to_owned(),
        };
        if self.differs(from, to) { seen + "!" } else { seen }
    }

    /// A line for each sender, a column for each receiver.
    fn render(&self, times: bool) -> String {
        let count = self.names.len();
        let numbers: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
        let cells: Vec<Vec<String>> =
            (0..count).map(|from| (0..count).map(|to| self.cell(from, to, times)).collect()).collect();
        let mut lines = vec![["#", "FROM"].into_iter().chain(numbers.iter().map(String::as_str)).collect::<Vec<_>>()];
        for ((number, name), row) in numbers.iter().zip(&self.names).zip(&cells) {
            lines.push([number.as_str(), name].into_iter().chain(row.iter().map(String::as_str)).collect());
        }
        let (asked, answered) = (self.matrix.asked(), self.matrix.answered());
        let judgement = match self.differing() {
            0 => "as the plan predicts".to_owned(),
            differing => format!("{differing} not as the plan predicts, marked `!`"),
        };
        let over = if self.family == Family::Inet6 { " over IPv6" } else { "" };
        print::columns(&lines, false)
            + &format!("{answered}/{asked} answered{over} in {}, {judgement}\n", milliseconds(self.took))
    }
}
