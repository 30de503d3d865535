//! `minik watch`: how the kernel departs from the plan and comes back, as it happens.
//!
//! The kernel tells of links, addresses, routes and neighbours; of rules, sets and files nobody tells, so those are read
//! once a second.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use super::args::{Globals, Output};
use super::session::{self, Session};
use super::{daemons, print};
use crate::agent::{self, Healed};
use crate::error::{Error, Kind, Result};
use crate::kernel::lookup::Watch;
use crate::kernel::{drift, netns, process, state};
use crate::plan::Namespace;
use crate::plan::facts::Drift;

/// How often rules are read.
const PERIOD: Duration = Duration::from_secs(1);

/// How long a difference that is gone waits for the agent to say that it was its work.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often the agent is asked in the meantime.
const ASKING: Duration = Duration::from_millis(50);

/// Runs `minik watch`, until it is interrupted or nobody reads any more.
///
/// # Errors
/// If there is no such cluster, or it goes away.
pub(super) fn run(globals: &Globals) -> Result<ExitCode> {
    process::raise_file_limit()?;
    let mut viewer = Viewer::open(globals)?;
    if globals.output == Output::Table || globals.output == Output::Wide {
        print::note(&format!(
            "watching {} namespaces of cluster {}; Ctrl-C ends it",
            viewer.session.plan.namespaces.len(),
            viewer.session.record.name
        ))?;
    }
    while viewer.step()? {}
    Ok(ExitCode::SUCCESS)
}

/// A difference that was seen, and since when, in milliseconds since 1970.
type Seen = BTreeMap<Drift, u64>;

/// A difference that is gone.
struct Gone {
    drift: Drift,
    since: u64,
    at: u64,
    until: Instant,
}

struct Viewer {
    session: Session,
    output: Output,
    watches: Vec<Watch>,
    routing: BTreeMap<String, Seen>,
    rules: BTreeMap<String, Seen>,
    processes: Seen,
    /// The agent's process, and the last of its entries that was looked at.
    read: (u32, u64),
    gone: Vec<Gone>,
    next: Instant,
}

impl Viewer {
    fn open(globals: &Globals) -> Result<Viewer> {
        let session = session::open(globals.cluster_name())?;
        let watches = open_watches(&session)?;
        let status = agent::status(&session.record.name)?;
        let read = status.map_or((0, 0), |status| (status.pid, status.healed.last().map_or(0, |last| last.number)));
        let mut viewer = Viewer {
            session,
            output: globals.output,
            watches,
            routing: BTreeMap::new(),
            rules: BTreeMap::new(),
            processes: Seen::new(),
            read,
            gone: Vec::new(),
            next: Instant::now(),
        };
        let all: Vec<usize> = (0..viewer.watches.len()).collect();
        viewer.read_routing(&all)?;
        Ok(viewer)
    }

    /// Waits for news and prints it; false if nobody reads it.
    fn step(&mut self) -> Result<bool> {
        if Instant::now() >= self.next {
            self.follow_record()?;
            self.read_rules()?;
            self.read_processes()?;
            self.next = Instant::now() + PERIOD;
        }
        let mut wait = self.next.saturating_duration_since(Instant::now());
        if !self.gone.is_empty() {
            wait = wait.min(ASKING);
        }
        let news = wait_for_news(&self.watches, wait)?;
        self.read_routing(&news)?;
        self.tell_gone()
    }

    /// After a command that changed the cluster there is another plan to compare with.
    fn follow_record(&mut self) -> Result<()> {
        let name = self.session.record.name.clone();
        let record = state::load(&name)?.ok_or_else(|| {
            Error::new(Kind::Usage, format!("cluster `{name}` is gone")).hint("make it again with `minik up`")
        })?;
        if record != self.session.record {
            self.session = session::compute(record)?;
            self.watches = open_watches(&self.session)?;
            let all: Vec<usize> = (0..self.watches.len()).collect();
            self.routing.retain(|name, _| self.session.plan.namespace(name).is_some());
            self.rules.retain(|name, _| self.session.plan.namespace(name).is_some());
            self.read_routing(&all)?;
        }
        Ok(())
    }

    fn read_routing(&mut self, places: &[usize]) -> Result<()> {
        for &place in places {
            let Some(ns) = self.session.plan.namespaces.get(place) else { continue };
            let found = drift::of_routing(ns)?;
            let before = self.routing.remove(&ns.name).unwrap_or_default();
            let name = ns.name.clone();
            let after = self.compare(before, found)?;
            self.routing.insert(name, after);
        }
        Ok(())
    }

    fn read_rules(&mut self) -> Result<()> {
        let with_rules = |ns: &&Namespace| crate::kernel::restore::has_any(ns) || !ns.files.is_empty();
        let namespaces: Vec<Namespace> = self.session.plan.namespaces.iter().filter(with_rules).cloned().collect();
        for ns in namespaces {
            let found = drift::of_rules(&self.session.plan.cluster, &ns)?;
            let before = self.rules.remove(&ns.name).unwrap_or_default();
            let after = self.compare(before, found)?;
            self.rules.insert(ns.name.clone(), after);
        }
        Ok(())
    }

    /// Which daemons lack; and those that were lost and back again before anybody looked.
    fn read_processes(&mut self) -> Result<()> {
        let status = agent::status(&self.session.record.name)?;
        let found = daemons::lost(&self.session.plan, status.as_ref());
        let pid = status.as_ref().map_or(0, |status| status.pid);
        let read = if self.read.0 == pid { self.read.1 } else { 0 };
        let entries = status.into_iter().flat_map(|status| status.healed);
        for entry in entries.filter(|entry| entry.number > read) {
            self.read = (pid, entry.number);
            let Some(lost) = entry.lost else { continue };
            let drift = Drift::Missing { namespace: entry.namespace, fact: entry.what };
            if !self.processes.contains_key(&drift) {
                self.tell(&drift, lost, "appeared", None, None)?;
                self.tell(&drift, entry.at, "gone", Some(entry.at.saturating_sub(lost)), Some(&entry.daemon))?;
            }
        }
        let before = std::mem::take(&mut self.processes);
        self.processes = self.compare(before, found)?;
        Ok(())
    }

    /// Prints what is new, and remembers what is gone.
    fn compare(&mut self, mut before: Seen, found: Vec<Drift>) -> Result<Seen> {
        let now = milliseconds();
        let mut after = Seen::new();
        for one in found {
            let since = before.remove(&one);
            if since.is_none() {
                self.tell(&one, now, "appeared", None, None)?;
            }
            after.insert(one, since.unwrap_or(now));
        }
        let until = Instant::now() + PATIENCE;
        self.gone.extend(before.into_iter().map(|(drift, since)| Gone { drift, since, at: now, until }));
        Ok(after)
    }

    /// Prints what is gone, with whoever put it back; false if nobody reads it.
    fn tell_gone(&mut self) -> Result<bool> {
        if self.gone.is_empty() {
            return Ok(true);
        }
        // Without an agent nobody heals, and the difference went some other way.
        let healed = agent::status(&self.session.record.name)?.map(|status| status.healed);
        let mut going = true;
        for one in std::mem::take(&mut self.gone) {
            let by = healed.as_ref().and_then(|all| all.iter().rev().find(|healed| is_work(healed, &one)));
            if by.is_none() && healed.is_some() && Instant::now() < one.until {
                self.gone.push(one);
                continue;
            }
            going &= self.tell(&one.drift, one.at, "gone", Some(one.at - one.since), by.map(|h| h.daemon.as_str()))?;
        }
        Ok(going)
    }

    fn tell(&self, drift: &Drift, at: u64, event: &str, after: Option<u64>, by: Option<&str>) -> Result<bool> {
        let seconds = agent::utc(at / 1000);
        let time = format!("{}.{:03}Z", seconds.trim_end_matches('Z'), at % 1000);
        if self.output == Output::Json {
            let (kind, namespace, fact) = parts(drift);
            let object = json!({ "time": time, "event": event, "drift": kind, "namespace": namespace, "fact": fact,
                "milliseconds": after, "healedBy": by });
            return print::offer(&format!("{object}\n"));
        }
        let Some(after) = after else { return print::offer(&format!("{time} {drift}\n")) };
        let (kind, namespace, fact) = parts(drift);
        let word = if kind == "missing" { "is back" } else { "is gone" };
        let by = by.map_or_else(|| "by other hands".to_owned(), |daemon| format!("{daemon} put it back"));
        let took = after as f64 / 1000.0;
        print::offer(&format!("{time} {namespace}: {word}: {fact} ({by}, after {took:.1} s)\n"))
    }
}

fn open_watches(session: &Session) -> Result<Vec<Watch>> {
    let namespaces = &session.plan.namespaces;
    netns::tour(namespaces, |ns| &ns.netns, |_| Watch::open_wide())?.into_iter().collect()
}

/// Whether a daemon's work is why a difference is gone. Rules are numbered here, and a chain is made anew as a whole.
fn is_work(healed: &Healed, gone: &Gone) -> bool {
    let (_, namespace, fact) = parts(&gone.drift);
    // A daemon repairs within one look of ours.
    let in_time = healed.at + 2 * PERIOD.as_millis() as u64 >= gone.at;
    let chain = |text: &str| text.split(" -A ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    let same_chain = chain(fact).is_some() && chain(fact) == chain(&healed.what);
    healed.namespace == namespace && in_time && (healed.what == fact || same_chain)
}

fn parts(drift: &Drift) -> (&'static str, &str, &str) {
    match drift {
        Drift::Missing { namespace, fact } => ("missing", namespace, fact),
        Drift::Extra { namespace, fact } => ("extra", namespace, fact),
    }
}

/// Which of them have news, after at most `wait`.
fn wait_for_news(watches: &[Watch], wait: Duration) -> Result<Vec<usize>> {
    let mut fds: Vec<PollFd> = watches.iter().map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)).collect();
    // Rounded up, so that it does not spin through the last millisecond.
    let timeout = PollTimeout::try_from(wait.as_millis() + 1).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Err(nix::Error::EINTR) => return Ok(Vec::new()),
        polled => polled.map_err(|e| Error::io("cannot wait for the kernel's news", e))?,
    };
    let ready: BTreeSet<usize> =
        fds.iter().enumerate().filter(|(_, fd)| fd.any().unwrap_or(true)).map(|(place, _)| place).collect();
    Ok(ready.into_iter().filter(|place| watches[*place].drain()).collect())
}

fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
