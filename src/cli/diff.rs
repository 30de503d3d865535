//! `minik diff`: one flow in two modes, side by side, from the plans alone.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::args::Globals;
use super::check_args::port;
use super::{input, print, target};
use crate::compose;
use crate::error::{Error, Kind, Result};
use crate::packet::Init;
use crate::packet::build::Message;
use crate::plan::{Datapath, Family, Namespace, Plan, Role};
use crate::predict::account::{self, Account, Question};
use crate::predict::align::aligned;
use crate::topology::{self, Cluster, Mode, Overrides, Source, nearest};

/// The arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A CNI mode; `minik topologies` lists them.
    #[arg(value_name = "MODE")]
    pub left: String,
    /// The mode to hold beside it.
    #[arg(value_name = "OTHER MODE")]
    pub right: String,
    /// Who sends: a node, client or router; a pod as NAME or NAMESPACE/NAME; deploy/NAME; without it the first pod.
    #[arg(value_name = "FROM", requires = "to")]
    pub from: Option<String>,
    /// Who receives: the same, or any IP address; without it the first pod of another node.
    #[arg(value_name = "TO")]
    pub to: Option<String>,
    /// Send over IPv4 alone; without it, and without -6, the packet is sent over each family that both clusters have.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Send over IPv6 alone.
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// The cluster, a file or a built-in topology, in place of the first mode's own.
    #[arg(long, value_name = "TOPOLOGY", env = "MINIK_TOPOLOGY")]
    pub topology: Option<String>,
    /// The first packet of a TCP connection to this port, instead of an ICMP echo request.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["udp", "sctp"], env = "MINIK_TCP", value_parser = port())]
    pub tcp: Option<u16>,
    /// A UDP datagram to this port, instead of an ICMP echo request.
    #[arg(long, value_name = "PORT", conflicts_with = "sctp", env = "MINIK_UDP", value_parser = port())]
    pub udp: Option<u16>,
    /// The first packet of an SCTP association with this port, instead of an ICMP echo request.
    #[arg(long, value_name = "PORT", env = "MINIK_SCTP", value_parser = port())]
    pub sctp: Option<u16>,
}

/// Source port of the packet in question.
const SOURCE_PORT: u16 = 40_000;
/// Width of one side in characters; both and what is between them make 119.
const SIDE: usize = 58;

/// A mode's name, and its cluster and plan.
struct Side {
    mode: &'static str,
    cluster: Cluster,
    plan: Plan,
}

/// Prints what is the same and what is not.
///
/// # Errors
/// If a mode is not known, the topology is wrong or not one for both modes, or nothing has a target's name.
pub fn run(args: &DiffArgs, globals: &Globals) -> Result<ExitCode> {
    let (left, right) = (mode(&args.left)?, mode(&args.right)?);
    let source = input::read(args.topology.as_deref().unwrap_or(left.name()))?;
    let sides = [side(&source, left, globals)?, side(&source, right, globals)?];
    let (from, to) = ends(args, globals, &sides[0])?;
    let (message, words) = message(args);
    let mut flows = Vec::new();
    for addresses in destinations(args, globals, &sides, &to)? {
        let account = |side: &Side, to| account::account(&side.plan, Question { from: &from, to, message });
        let [left, right] = [account(&sides[0], addresses[0])?, account(&sides[1], addresses[1])?];
        flows.push(Compared { addresses, left, right });
    }
    let asked = Asked { modes: [sides[0].mode, sides[1].mode], from, to, words };
    let text = match print::as_data(&asked.object(&flows), globals.output)? {
        Some(text) => text,
        None => asked.text(&flows),
    };
    print::text(&text).map(|()| ExitCode::SUCCESS)
}

fn mode(name: &str) -> Result<Mode> {
    let names = || Mode::ALL.iter().map(|mode| mode.name());
    let found = Mode::ALL.iter().find(|mode| mode.name() == name).copied();
    found.ok_or_else(|| {
        let error = Error::new(Kind::Usage, format!("there is no mode `{name}`"));
        match nearest(name, names()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("there are: {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

fn side(source: &Source, mode: Mode, globals: &Globals) -> Result<Side> {
    let cni = Some(mode.name().to_owned());
    let overrides = Overrides { cluster_name: globals.cluster.clone(), cni, ..Overrides::default() };
    let cluster = topology::parse(std::slice::from_ref(source), &overrides)?;
    let plan = compose::plan(&cluster, Datapath::Kernel)?;
    Ok(Side { mode: mode.name(), cluster, plan })
}

/// The sender's name inside the cluster, and the words for the receiver.
fn ends(args: &DiffArgs, globals: &Globals, side: &Side) -> Result<(String, String)> {
    if let (Some(from), Some(to)) = (&args.from, &args.to) {
        let from = target::resolve(&side.cluster, &side.plan, &globals.namespace, from)?;
        return Ok((from.name.clone(), to.clone()));
    }
    let with_address = |ns: &&Namespace| ns.address().is_some();
    let node = |ns: &Namespace| if let Role::Pod { node, .. } = &ns.role { Some(node.clone()) } else { None };
    let mut pods = side.plan.pods().filter(with_address);
    let first = pods.next();
    let other = first.and_then(|first| {
        let others: Vec<&Namespace> = pods.collect();
        others.iter().find(|ns| node(ns) != node(first)).or(others.first()).copied()
    });
    match (first, other) {
        (Some(first), Some(other)) => Ok((first.name.clone(), other.name.clone())),
        _ => Err(Error::new(Kind::Usage, "the topology has no two pods with addresses")
            .hint("name who sends and who receives: `minik diff MODE MODE FROM TO`")),
    }
}

/// Where the packet goes on both sides, of each family that is asked for and that both sides have: IPv4's first.
fn destinations(args: &DiffArgs, globals: &Globals, sides: &[Side; 2], to: &str) -> Result<Vec<[IpAddr; 2]>> {
    let families: &[Family] = match (args.ipv4, args.ipv6) {
        (true, _) => &[Family::Inet],
        (_, true) => &[Family::Inet6],
        _ => &Family::BOTH,
    };
    let words = families.iter().map(|family| family.name()).collect::<Vec<_>>().join(" or ");
    if let Ok(address) = to.parse::<IpAddr>() {
        return match families.contains(&Family::of(&address)) {
            true => Ok(vec![[address; 2]]),
            false => Err(Error::new(Kind::Usage, format!("{address} is not an {words} address"))),
        };
    }
    let mut found = [None; 2];
    for (place, side) in found.iter_mut().zip(sides) {
        let ns = target::resolve(&side.cluster, &side.plan, &globals.namespace, to)?;
        if families.iter().all(|family| ns.address_in(*family).is_none()) {
            return Err(Error::new(Kind::Usage, format!("{} has no {words} address in {}", ns.name, side.mode)));
        }
        *place = Some(ns);
    }
    let [Some(left), Some(right)] = found else { return Ok(Vec::new()) };
    let both = |family: &Family| Some([left.address_in(*family)?, right.address_in(*family)?]);
    let pairs: Vec<[IpAddr; 2]> = families.iter().filter_map(both).collect();
    match pairs.is_empty() {
        false => Ok(pairs),
        true => Err(Error::new(Kind::Usage, format!("{to} has no address of the same family in both modes"))),
    }
}

fn message(args: &DiffArgs) -> (Message, String) {
    let src = SOURCE_PORT;
    match (args.tcp, args.udp, args.sctp) {
        (Some(dst), ..) => (Message::Syn { src, dst, seq: 0 }, format!("TCP SYN to port {dst}")),
        (None, Some(dst), _) => (Message::Udp { src, dst }, format!("UDP to port {dst}")),
        (None, None, Some(dst)) => {
            let init = Init { tag: Some(1), outbound: Some(1), inbound: Some(1), ..Init::default() };
            (Message::Init { src, dst, init }, format!("SCTP INIT to port {dst}"))
        }
        (None, None, None) => (Message::Echo { id: 1, seq: 1 }, "ICMP echo request".to_owned()),
    }
}

/// Whose flow is compared.
struct Asked {
    modes: [&'static str; 2],
    from: String,
    to: String,
    words: String,
}

/// Two accounts of one flow in one family.
struct Compared {
    addresses: [IpAddr; 2],
    left: Account,
    right: Account,
}

/// One row: what stands left and right.
type Row = (Option<String>, Option<String>);

impl Asked {
    fn object(&self, flows: &[Compared]) -> Value {
        json!({
            "modes": self.modes,
            "from": self.from,
            "to": self.to,
            "question": self.words,
            "flows": flows.iter().map(Compared::object).collect::<Vec<_>>(),
        })
    }

    fn text(&self, flows: &[Compared]) -> String {
        let mut text = format!("{} -> {}, {}\n", self.from, self.to, self.words);
        for flow in flows {
            if flows.len() > 1 {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "\n{:=^width$}", format!(" over {} ", flow.family()), width = 2 * SIDE + 3);
            }
            text.push('\n');
            put(&mut text, (Some(self.modes[0].to_owned()), Some(self.modes[1].to_owned())), ' ');
            text.push_str(&flow.text());
        }
        text
    }
}

impl Compared {
    fn family(&self) -> &'static str {
        Family::of(&self.addresses[0]).name()
    }

    fn object(&self) -> Value {
        let (left, right) = (&self.left, &self.right);
        json!({
            "family": self.family(),
            "addresses": self.addresses,
            "left": left,
            "right": right,
            "aligned": {
                "interfaces": pairs(&left.interfaces, &right.interfaces, |a, b| a.likeness(b)),
                "headers": pairs(&left.headers, &right.headers, |a, b| a.likeness(b)),
                "routes": pairs(&left.routes, &right.routes, |a, b| a.likeness(b)),
                "rules": pairs(&left.rules, &right.rules, |a, b| a.likeness(b)),
            },
        })
    }

    fn text(&self) -> String {
        let (left, right) = (&self.left, &self.right);
        let passed =
            |it: &account::Passed| format!("{:>6}  {}/{} {}", it.length, it.namespace, it.interface, it.direction);
        let header = |it: &account::Header| match it.protocol {
            "data" => format!("{:>6}  {}", it.length, it.text),
            protocol => format!("{:>6}  {protocol} {}", it.length, it.text),
        };
        let said = |it: &account::Said| format!("{}: {}", it.namespace, it.text);
        let mut text = String::new();
        section(&mut text, "interfaces passed, with the frame's length in bytes");
        put_all(&mut text, rows(&left.interfaces, &right.interfaces, |a, b| a.likeness(b), passed));
        section(&mut text, "headers on the wire, with their lengths");
        put_all(&mut text, [(left.wire_at.clone(), right.wire_at.clone())]);
        put_all(&mut text, rows(&left.headers, &right.headers, |a, b| a.likeness(b), header));
        section(&mut text, "what comes of it");
        put_all(&mut text, facts(left).into_iter().zip(facts(right)).map(|(a, b)| (Some(a), Some(b))));
        section(&mut text, "routes used");
        put_all(&mut text, rows(&left.routes, &right.routes, |a, b| a.likeness(b), said));
        section(&mut text, "netfilter rules that decide or change something");
        put_all(&mut text, rows(&left.rules, &right.rules, |a, b| a.likeness(b), said));
        text
    }
}

/// What can be said in one line each, in the same order for every account.
fn facts(of: &Account) -> [String; 7] {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let ways = if of.ways > 1 { format!(" (one of {} ways, by chance)", of.ways) } else { String::new() };
    [
        format!("{}{ways}", of.end),
        format!("answered: {}", if of.answered { "yes" } else { "no" }),
        format!("source seen: {}", or_none(of.source_seen.map(|address| address.to_string()))),
        format!("destination seen: {}", or_none(of.destination_seen.map(|address| address.to_string()))),
        format!("TTL on arrival: {}", or_none(of.ttl_on_arrival.map(|ttl| ttl.to_string()))),
        format!("MTU of the sender: {}", or_none(of.mtu.map(|mtu| mtu.to_string()))),
        format!("largest packet with DF that arrives: {}", or_none(of.largest.map(|length| length.to_string()))),
    ]
}

fn pairs<T: Serialize + PartialEq>(left: &[T], right: &[T], likeness: impl Fn(&T, &T) -> u32) -> Vec<Value> {
    let rows = aligned(left, right, likeness).into_iter();
    rows.map(|(a, b)| json!({ "left": a, "right": b, "same": a == b })).collect()
}

fn rows<T>(left: &[T], right: &[T], likeness: impl Fn(&T, &T) -> u32, words: impl Fn(&T) -> String) -> Vec<Row> {
    let rows = aligned(left, right, likeness).into_iter();
    rows.map(|(a, b)| (a.map(&words), b.map(&words))).collect()
}

fn section(text: &mut String, title: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{}:", title.to_uppercase());
}

fn put_all(text: &mut String, rows: impl IntoIterator<Item = Row>) {
    let mut some = false;
    for row in rows {
        // As `diff -y` marks its lines.
        let mark = match &row {
            (Some(a), Some(b)) if a == b => ' ',
            (Some(_), Some(_)) => '|',
            (Some(_), None) => '<',
            (None, _) => '>',
        };
        put(text, row, mark);
        some = true;
    }
    if !some {
        text.push_str("none\n");
    }
}

/// One row, in as many lines as its longer side needs.
fn put(text: &mut String, (left, right): Row, mark: char) {
    let (left, right) = (wrapped(&left.unwrap_or_default()), wrapped(&right.unwrap_or_default()));
    for line in 0..left.len().max(right.len()) {
        let cell = |side: &[String]| side.get(line).cloned().unwrap_or_default();
        let row = format!("{:<SIDE$} {mark} {}", cell(&left), cell(&right));
        text.push_str(row.trim_end());
        text.push('\n');
    }
}

/// A text in lines of a side's width, broken between words where it can be, those behind the first indented.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > SIDE {
        let space = rest[..=SIDE].iter().rposition(|c| *c == ' ').filter(|at| rest[..*at].iter().any(|c| *c != ' '));
        let (end, next) = space.map_or((SIDE, SIDE), |at| (at, at + 1));
        lines.push(rest[..end].iter().collect());
        rest = "    ".chars().chain(rest[next..].iter().copied()).collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_goes_on_below() {
        let long = format!("{} {}", "a".repeat(40), "b".repeat(100));
        let lines = wrapped(&long);
        assert!(lines.iter().all(|line| line.chars().count() <= SIDE), "{lines:?}");
        let all: String = lines.concat().replace(' ', "");
        assert_eq!(all, long.replace(' ', ""));
        assert_eq!(wrapped("short"), ["short"]);
    }
}
