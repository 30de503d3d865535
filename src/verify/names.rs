//! The cluster's DNS, asked from pods by messages on port 53 as a resolver of theirs asks it: the server through its
//! Service, short names by the search list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};

use super::Options;
use super::flows::flow;
use super::report::{CheckReport, Verdict, dropped};
use crate::error::{Error, Kind, Result};
use crate::kernel::{features, netns};
use crate::packet::Mark;
use crate::packet::build::{Message, Probe};
use crate::plan::{Family, Namespace, Plan, Resolver};
use crate::predict::{self, Journey, Origin};

/// How often a question is sent: a datagram may be lost.
const ATTEMPTS: usize = 2;

/// A question as its way is predicted: what a program's socket sends, of an ordinary length.
const TTL: u8 = 64;
const QUESTION: u16 = 80;
const PORT: u16 = 40_000;

/// Names that are looked up at a time.
const AT_A_TIME: usize = 16;

/// What came of a question: what is found, or why that cannot be known.
type Asked = std::result::Result<Found, Failure>;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// The server says so; another name may do better.
    Said(String),
    /// There is none, for any name.
    Silent(String),
}

/// A name that is to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameCheck {
    /// The asking pod's name inside the cluster.
    pub from: String,
    /// The name as its program has it. One with a dot at its end is taken as it is.
    pub name: String,
    /// What is to be answered.
    pub expected: Found,
}

/// What a look-up finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// IPv4 addresses (A). None at all is a name that is there without any.
    Addresses(BTreeSet<Ipv4Addr>),
    /// IPv6 addresses (AAAA); none as with [`Found::Addresses`].
    Addresses6(BTreeSet<Ipv6Addr>),
    /// Ports with the names that have them (SRV).
    Ports(BTreeSet<(u16, String)>),
    /// Names (PTR).
    Names(BTreeSet<String>),
    /// No such name (NXDOMAIN).
    Nothing,
}

impl Found {
    fn kind(&self) -> (TYPE, &'static str) {
        match self {
            Found::Addresses(_) => (TYPE::A, "dns-a"),
            Found::Addresses6(_) => (TYPE::AAAA, "dns-aaaa"),
            Found::Ports(_) => (TYPE::SRV, "dns-srv"),
            Found::Names(_) => (TYPE::PTR, "dns-ptr"),
            Found::Nothing => (TYPE::A, "dns-no-such-name"),
        }
    }

    /// Nothing of this sort.
    fn none(&self) -> Found {
        match self {
            Found::Addresses(_) | Found::Nothing => Found::Addresses(BTreeSet::new()),
            Found::Addresses6(_) => Found::Addresses6(BTreeSet::new()),
            Found::Ports(_) => Found::Ports(BTreeSet::new()),
            Found::Names(_) => Found::Names(BTreeSet::new()),
        }
    }

    fn take(&mut self, data: &RData) {
        let text = |name: &Name| name.to_string().trim_end_matches('.').to_lowercase();
        match (self, data) {
            (Found::Addresses(all), RData::A(a)) => drop(all.insert(a.address.into())),
            (Found::Addresses6(all), RData::AAAA(aaaa)) => drop(all.insert(aaaa.address.into())),
            (Found::Ports(all), RData::SRV(srv)) => drop(all.insert((srv.port, text(&srv.target)))),
            (Found::Names(all), RData::PTR(ptr)) => drop(all.insert(text(&ptr.0))),
            _ => {}
        }
    }
}

/// As a person would say it.
impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = match self {
            Found::Addresses(all) => all.iter().map(Ipv4Addr::to_string).collect(),
            Found::Addresses6(all) => all.iter().map(Ipv6Addr::to_string).collect(),
            Found::Ports(all) => all.iter().map(|(port, name)| format!("{name}:{port}")).collect(),
            Found::Names(all) => all.iter().cloned().collect(),
            Found::Nothing => return f.write_str("no such name"),
        };
        f.write_str(if words.is_empty() { "a name without any" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

/// Looks every name up.
///
/// # Errors
/// If a namespace cannot be entered, or no socket be made. Another answer, or none, is no error but a failed check.
pub fn run(plan: &Plan, checks: &[NameCheck], options: &Options) -> Result<Vec<CheckReport>> {
    let made = predict::as_made(plan, features::kernel());
    let mut lost: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for check in checks {
        if !lost.contains_key(check.from.as_str()) {
            lost.insert(&check.from, way_that_is_lost(plan, made.as_ref(), check)?);
        }
    }
    let mut reports = Vec::with_capacity(checks.len());
    // A server that is away is waited for by many at a time.
    for some in checks.chunks(AT_A_TIME) {
        let asked: Result<Vec<CheckReport>> = std::thread::scope(|scope| {
            let lost = &lost;
            let under_way: Vec<_> = some
                .iter()
                .map(|check| {
                    let lost = lost.get(check.from.as_str()).and_then(Option::as_deref);
                    scope.spawn(move || look_up(plan, check, lost, options.patience))
                })
                .collect();
            let end = |one: std::thread::ScopedJoinHandle<Result<CheckReport>>| {
                one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            under_way.into_iter().map(end).collect()
        });
        reports.extend(asked?);
    }
    Ok(reports)
}

/// Who asks, and whom.
fn ends<'a>(plan: &'a Plan, check: &NameCheck) -> Result<(&'a Namespace, &'a Resolver, SocketAddr)> {
    let missing = || Error::new(Kind::Check, format!("{} has no namespace, or asks nobody for names", check.from));
    let ns = plan.namespace(&check.from).ok_or_else(missing)?;
    let resolver = ns.resolver.as_ref().ok_or_else(missing)?;
    Ok((ns, resolver, SocketAddr::new(*resolver.nameservers.first().ok_or_else(missing)?, 53)))
}

/// Where a question of this check's pod gets lost for what this machine's kernel lacks: without br_netfilter, on the way
/// back from an endpoint behind the pod's own bridge. None if on real nodes it would get lost as well.
fn way_that_is_lost(plan: &Plan, made: &Plan, check: &NameCheck) -> Result<Option<String>> {
    let (ns, _, server) = ends(plan, check)?;
    let probe = Probe {
        src: Family::of(&server.ip()).unspecified(),
        dst: server.ip(),
        ttl: TTL,
        id: 1,
        dont_fragment: true,
        length: QUESTION,
        message: Message::Udp { src: PORT, dst: server.port() },
        mark: Mark(0),
    };
    let flow = flow(ns, Origin::Stack, probe, None)?;
    let here = predict::outcomes(made, &flow)?;
    let Some(lost) = here.iter().find(|way| !way.answered()) else { return Ok(None) };
    let on_real_nodes = predict::outcomes(plan, &flow)?;
    Ok(dropped(lost).filter(|_| on_real_nodes.iter().all(Journey::answered)))
}

fn look_up(plan: &Plan, check: &NameCheck, lost: Option<&str>, patience: Duration) -> Result<CheckReport> {
    let (ns, resolver, server) = ends(plan, check)?;
    let handle = netns::open(&ns.netns)?;
    let asked = netns::inside(handle.file(), || resolve(resolver, server, check, patience))?;
    let asked = asked.map_err(|e| Error::io(format!("{}: cannot ask {server}", check.from), e))?;
    let (_, name) = check.expected.kind();
    let to = format!("{} ({server})", check.name);
    let words = [name, &check.from, &to, "udp"];
    if let (Err(Failure::Silent(_)), Some(place)) = (&asked, lost) {
        return Ok(CheckReport::of_lost_question(words, place));
    }
    let verdict = match &asked {
        Ok(found) if *found == check.expected => Verdict::Pass,
        Ok(found) => Verdict::Fail(format!("{}: {server} answers {found}, {} expected", check.name, check.expected)),
        Err(Failure::Said(why) | Failure::Silent(why)) => Verdict::Fail(format!("{}: {why}", check.name)),
    };
    Ok(CheckReport::of_question(words, asked.is_ok(), verdict))
}

/// What the resolver of a program finds, or why it finds no answer at all: the name with each domain of the search list if
/// it has few dots, then as it is. A name that is there without what is asked for is remembered, and found if nothing
/// better is (`__res_context_search`, glibc 2.36).
fn resolve(resolver: &Resolver, server: SocketAddr, check: &NameCheck, patience: Duration) -> std::io::Result<Asked> {
    let ndots = resolver.options.iter().find_map(|option| option.strip_prefix("ndots:")?.parse().ok()).unwrap_or(1);
    let few = check.name.matches('.').count() < ndots && !check.name.ends_with('.');
    let searched = resolver.searches.iter().filter(|_| few).map(|domain| format!("{}.{domain}", check.name));
    let names: Vec<String> = searched.chain([check.name.trim_end_matches('.').to_owned()]).collect();
    let mut last = Ok(Found::Nothing);
    let mut without = None;
    for name in names {
        last = ask(server, &name, &check.expected, patience)?;
        match &last {
            Ok(Found::Nothing) => {}
            Ok(found) if *found == found.none() => without = Some(found.clone()),
            // The outside has no server here: its names cannot be known.
            Err(Failure::Said(_)) if few => {}
            _ => return Ok(last),
        }
    }
    Ok(without.map_or(last, Ok))
}

fn ask(server: SocketAddr, name: &str, expected: &Found, patience: Duration) -> std::io::Result<Asked> {
    static IDS: AtomicU16 = AtomicU16::new(1);
    let id = IDS.fetch_add(1, Ordering::Relaxed) ^ std::process::id() as u16;
    let Ok(question) = question(id, name, expected.kind().0) else {
        return Ok(Err(Failure::Said(format!("{name} is no name"))));
    };
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
    socket.connect(server)?;
    let mut bytes = [0; 4096];
    for _ in 0..ATTEMPTS {
        match socket.send(&question).and_then(|_| socket.recv(&mut bytes)) {
            Ok(length) => return Ok(answer(&bytes[..length], id, expected)),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(e) => return Ok(Err(Failure::Silent(format!("{server}: {e}")))),
        }
    }
    Ok(Err(Failure::Silent(format!("{server} does not answer"))))
}

fn question(id: u16, name: &str, kind: TYPE) -> std::result::Result<Vec<u8>, simple_dns::SimpleDnsError> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(name)?, kind.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec()
}

fn answer(bytes: &[u8], id: u16, expected: &Found) -> Asked {
    let packet = Packet::parse(bytes).map_err(|e| Failure::Said(format!("an answer that cannot be read: {e}")))?;
    match packet.rcode() {
        _ if packet.id() != id => Err(Failure::Said("the answer to another question".to_owned())),
        RCODE::NoError => {
            let mut found = expected.none();
            packet.answers.iter().for_each(|record| found.take(&record.rdata));
            Ok(found)
        }
        RCODE::NameError => Ok(Found::Nothing),
        other => Err(Failure::Said(format!("the server says {other:?}"))),
    }
}
