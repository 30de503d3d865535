//! `minik watch`: how the kernel departs from the plan and comes back, as it happens.
//!
//! The kernel tells of links, addresses, routes and neighbours; of rules, sets and files nobody tells, so those are read
//! once a second.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use super::args::{Globals, Output};
use super::session::{self, Session};
use super::{daemons, print};
use crate::agent::{self, Healed, milliseconds};
use crate::error::{Error, Kind, Result};
use crate::kernel::lookup::Watch;
use crate::kernel::{drift, netns, process, restore, state};
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
/// If there is no such cluster, or it goes away; of [`Kind::Usage`] for `-o name`, as differences have none.
pub(super) fn run(globals: &Globals) -> Result<ExitCode> {
    if globals.output == Output::Name {
        let error = Error::new(Kind::Usage, "a difference has no name, so `watch` has no `-o name`");
        return Err(error.hint("`-o json` prints one object a line"));
    }
    process::raise_file_limit()?;
    let mut viewer = Viewer::open(globals)?;
    if globals.output == Output::Table || globals.output == Output::Wide {
        print::note(&format!(
            "watching {} namespaces of cluster {}; Ctrl-C ends it",
            viewer.session.plan.namespaces.len(),
            viewer.session.record.name
        ))?;
    }
    while viewer.is_read {
        viewer.step()?;
    }
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
    session: Rc<Session>,
    output: Output,
    /// Whether somebody reads what is printed.
    is_read: bool,
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
            session: Rc::new(session),
            output: globals.output,
            is_read: true,
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

    /// Waits for news and prints it.
    fn step(&mut self) -> Result<()> {
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
        let (news, is_read) = wait_for_news(&self.watches, wait)?;
        self.is_read &= is_read;
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
            self.session = Rc::new(session::compute(record)?);
            self.watches = open_watches(&self.session)?;
            let all: Vec<usize> = (0..self.watches.len()).collect();
            self.routing.retain(|name, _| self.session.plan.namespace(name).is_some());
            self.rules.retain(|name, _| self.session.plan.namespace(name).is_some());
            self.read_routing(&all)?;
        }
        Ok(())
    }

    fn read_routing(&mut self, places: &[usize]) -> Result<()> {
        let session = Rc::clone(&self.session);
        for ns in places.iter().filter_map(|place| session.plan.namespaces.get(*place)) {
            let found = drift::of_routing(ns)?;
            let before = self.routing.remove(&ns.name).unwrap_or_default();
            let after = self.compare(before, found)?;
            self.routing.insert(ns.name.clone(), after);
        }
        Ok(())
    }

    fn read_rules(&mut self) -> Result<()> {
        let plan = &Rc::clone(&self.session).plan;
        for ns in plan.namespaces.iter().filter(|ns| restore::has_any(ns) || !ns.files.is_empty()) {
            let found = drift::of_rules(&plan.cluster, ns)?;
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

    /// Prints what is gone, with whoever put it back.
    fn tell_gone(&mut self) -> Result<()> {
        if self.gone.is_empty() {
            return Ok(());
        }
        // Without an agent nobody heals, and the difference went some other way.
        let healed = agent::status(&self.session.record.name)?.map(|status| status.healed);
        for one in std::mem::take(&mut self.gone) {
            let by = healed.as_ref().and_then(|all| all.iter().rev().find(|healed| is_work(healed, &one)));
            if by.is_none() && healed.is_some() && Instant::now() < one.until {
                self.gone.push(one);
                continue;
            }
            // A clock that was set back in between makes no time of less than nothing.
            let after = one.at.saturating_sub(one.since);
            self.tell(&one.drift, one.at, "gone", Some(after), by.map(|h| h.daemon.as_str()))?;
        }
        Ok(())
    }

    fn tell(&mut self, drift: &Drift, at: u64, event: &str, after: Option<u64>, by: Option<&str>) -> Result<()> {
        self.is_read &= print::offer(&self.worded(drift, at, event, after, by)?)?;
        Ok(())
    }

    fn worded(&self, drift: &Drift, at: u64, event: &str, after: Option<u64>, by: Option<&str>) -> Result<String> {
        let seconds = agent::utc(at / 1000);
        let time = format!("{}.{:03}Z", seconds.trim_end_matches('Z'), at % 1000);
        let (kind, namespace, fact) = parts(drift);
        let object = || {
            json!({ "time": time, "event": event, "drift": kind, "namespace": namespace, "fact": fact,
                "milliseconds": after, "healedBy": by })
        };
        match self.output {
            Output::Json => return Ok(format!("{}\n", object())),
            Output::Yaml => return Ok(format!("---\n{}", print::to_yaml(&object())?)),
            Output::Table | Output::Wide | Output::Name => {}
        }
        let Some(after) = after else { return Ok(format!("{time} {drift}\n")) };
        let word = if kind == "missing" { "is back" } else { "is gone" };
        let by = by.map_or_else(|| "by other hands".to_owned(), |daemon| format!("{daemon} put it back"));
        let took = after as f64 / 1000.0;
        Ok(format!("{time} {namespace}: {word}: {fact} ({by}, after {took:.1} s)\n"))
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
    let same_chain = chain(fact).is_some_and(|of_fact| chain(&healed.what) == Some(of_fact));
    healed.namespace == namespace && in_time && (healed.what == fact || same_chain)
}

/// Table and chain that a text is about: `rule 1: nat: -A FORWARD …`, or as [`Rules::repair`] words what it puts back:
/// `nat: -A FORWARD …`, `chain FORWARD of nat`, `the order in chain FORWARD of nat`.
///
/// [`Rules::repair`]: crate::plan::keeper::Rules::repair
fn chain(text: &str) -> Option<(&str, &str)> {
    if let Some((before, rule)) = text.split_once(": -A ") {
        return Some((before.rsplit(' ').next()?, rule.split(' ').next()?));
    }
    let about = text.strip_prefix("chain ").or_else(|| text.split_once(" in chain ").map(|(_, rest)| rest))?;
    about.split_once(" of ").map(|(chain, table)| (table, chain))
}

fn parts(drift: &Drift) -> (&'static str, &str, &str) {
    match drift {
        Drift::Missing { namespace, fact } => ("missing", namespace, fact),
        Drift::Extra { namespace, fact } => ("extra", namespace, fact),
    }
}

/// Which of them have news, after at most `wait`; and whether somebody still reads what this prints.
fn wait_for_news(watches: &[Watch], wait: Duration) -> Result<(Vec<usize>, bool)> {
    let stdout = io::stdout();
    // Of a pipe's writing end the kernel says unasked that nobody reads.
    let output = PollFd::new(stdout.as_fd(), PollFlags::empty());
    let news = watches.iter().map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN));
    let mut fds: Vec<PollFd> = std::iter::once(output).chain(news).collect();
    // Rounded up, so that it does not spin through the last millisecond.
    let timeout = PollTimeout::try_from(wait.as_millis() + 1).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Err(nix::Error::EINTR) => return Ok((Vec::new(), true)),
        polled => polled.map_err(|e| Error::io("cannot wait for the kernel's news", e))?,
    };
    let (output, news) = fds.split_first().unzip();
    let is_read = !output.is_some_and(|fd| fd.any().unwrap_or(true));
    let ready = news.into_iter().flatten().enumerate().filter(|(_, fd)| fd.any().unwrap_or(true));
    Ok((ready.map(|(place, _)| place).filter(|place| watches[*place].drain()).collect(), is_read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_made_a_chain_anew_brought_its_rules_back() {
        let gone = |fact: &str| {
            let drift = Drift::Missing { namespace: "node-1".to_owned(), fact: fact.to_owned() };
            Gone { drift, since: 0, at: 1000, until: Instant::now() }
        };
        let healed = |what: &str| Healed {
            number: 1,
            at: 900,
            daemon: "felix".to_owned(),
            namespace: "node-1".to_owned(),
            what: what.to_owned(),
            lost: None,
        };
        let rule = "rule 2: filter: -A cali-F -m mark --mark 0x1 -j ACCEPT";
        let words = [
            "filter: -A cali-F -j cali-G",
            "chain cali-F of filter",
            "the order in chain cali-F of filter",
            "the first place in chain cali-F of filter",
        ];
        for what in words {
            assert!(is_work(&healed(what), &gone(rule)), "{what}");
        }
        for what in ["chain cali-F of nat", "chain cali-FORWARD of filter", "nat: -A cali-F -j cali-G", "set: add a b"]
        {
            assert!(!is_work(&healed(what), &gone(rule)), "{what}");
        }
        assert!(is_work(&healed("set: add a b"), &gone("set: add a b")));
        assert!(!is_work(&healed("set: add a c"), &gone("set: add a b")));
        assert!(is_work(&healed("chain cali-F of filter"), &gone("rule 1: ip6 filter: -A cali-F -j cali-G")));
    }
}
