//! The daemons' timers: each runs off in its real period, counted from the agent's start, and puts back what that daemon
//! would.
//!
//! The agent keeps no plan of its own account: it has one computed from the cluster's record when there is a timer for it,
//! and again when the record has changed. While a command changes the cluster, nobody heals.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::account::Account;
use super::log;
use crate::error::{Error, Result};
use crate::kernel::{keep, state};
use crate::plan::Plan;

/// What an agent that heals goes by.
#[derive(Debug)]
pub struct Charge {
    /// What the kernel is to hold.
    pub plan: Plan,
    /// Whether anything is put back at all.
    pub heal: bool,
    /// How many times faster than the real daemons; at least 1.
    pub speed: u32,
}

/// Computes a cluster's charge from its record; none while it is being built or removed.
pub type Recall = fn(&str) -> Result<Option<Charge>>;

/// How long until the first look, and between looks while no timer is due: `up` has the machine for itself.
const IDLE: Duration = Duration::from_secs(1);

/// How long to wait for the end of a command that changes the cluster.
const BUSY: Duration = Duration::from_millis(100);

/// Shortest period, whatever the speed.
const SHORTEST: Duration = Duration::from_millis(20);

/// The timers; they stop when this is dropped.
pub(super) struct Healer {
    _stop: Sender<()>,
}

impl Healer {
    /// Starts the timers on a thread of their own; what they put back is written into `account`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(super) fn start(cluster: &str, recall: Recall, account: Account) -> Result<Healer> {
        let (stop, stopped) = channel();
        let mut timers = Timers {
            cluster: cluster.to_owned(),
            recall,
            started: Instant::now(),
            known: None,
            due: BTreeMap::new(),
            complaints: BTreeMap::new(),
            account,
        };
        let thread = std::thread::Builder::new().name("heal".to_owned());
        let spawned = thread.spawn(move || timers.run(&stopped));
        spawned.map_err(|e| Error::io("cannot start the daemons' timers", e))?;
        Ok(Healer { _stop: stop })
    }
}

/// A file's identity and age: a record that is written is another file.
type Stamp = (u64, i64, i64);

struct Timers {
    cluster: String,
    recall: Recall,
    started: Instant,
    known: Option<(Stamp, Option<Charge>)>,
    /// When each period ends next, by its length in milliseconds.
    due: BTreeMap<u32, Instant>,
    /// The last complaint about each namespace, so that it is not repeated with every turn.
    complaints: BTreeMap<String, String>,
    account: Account,
}

impl Timers {
    fn run(&mut self, stopped: &Receiver<()>) {
        let mut wait = IDLE;
        while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            wait = match self.turn() {
                Ok(wait) => wait,
                Err(e) => {
                    self.complain("", vec![e]);
                    IDLE
                }
            };
        }
    }

    /// Lets all timers run off that are due; says how long the next one takes.
    fn turn(&mut self) -> Result<Duration> {
        let Some(_right) = state::try_lock_healing(&self.cluster)? else { return Ok(BUSY) };
        self.recall()?;
        let Some((_, Some(charge))) = &self.known else { return Ok(BUSY) };
        let now = Instant::now();
        let (periods, speed) = (periods(&charge.plan), charge.speed);
        let started = self.started;
        self.due.retain(|period, _| periods.contains(period));
        for period in periods {
            self.due.entry(period).or_insert_with(|| after(started, real(period, speed), now));
        }
        let over: Vec<u32> = self.due.iter().filter(|(_, due)| **due <= now).map(|(period, _)| *period).collect();
        let complaints = if charge.heal { heal(&charge.plan, &over, &self.account) } else { Vec::new() };
        for period in over {
            self.due.insert(period, after(started, real(period, speed), now));
        }
        for (namespace, errors) in complaints {
            self.complain(&namespace, errors);
        }
        let next = self.due.values().min().map(|due| due.saturating_duration_since(Instant::now()));
        Ok(next.unwrap_or(IDLE).min(IDLE))
    }

    /// Computes the charge again if the record has changed.
    fn recall(&mut self) -> Result<()> {
        let path = state::dir(&self.cluster).join("state.json");
        let file = path.metadata().map_err(|e| Error::io(format!("cannot look at {}", path.display()), e))?;
        let stamp = (file.ino(), file.mtime(), file.mtime_nsec());
        if self.known.as_ref().is_none_or(|(known, _)| *known != stamp) {
            self.known = None;
            self.known = Some((stamp, (self.recall)(&self.cluster)?));
        }
        Ok(())
    }

    fn complain(&mut self, namespace: &str, errors: Vec<Error>) {
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let before = self.complaints.insert(namespace.to_owned(), text.clone());
        if !text.is_empty() && before.as_ref() != Some(&text) {
            log::line(format_args!("healing: {text}"));
        }
    }
}

/// The lengths of all periods in milliseconds.
fn periods(plan: &Plan) -> Vec<u32> {
    let mut all: Vec<u32> = plan.namespaces.iter().flat_map(|ns| &ns.keepers).map(|keeper| keeper.every).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn real(period: u32, speed: u32) -> Duration {
    (Duration::from_millis(period.into()) / speed.max(1)).max(SHORTEST)
}

/// The first end of a period after `now`, counted from `started`.
fn after(started: Instant, period: Duration, now: Instant) -> Instant {
    let gone = now.saturating_duration_since(started).as_nanos() / period.as_nanos().max(1);
    started + period * u32::try_from(gone + 1).unwrap_or(u32::MAX)
}

/// One turn of all timers of these periods; the errors by namespace.
fn heal(plan: &Plan, periods: &[u32], account: &Account) -> Vec<(String, Vec<Error>)> {
    let mut complaints = Vec::new();
    for ns in &plan.namespaces {
        let keepers: Vec<_> = ns.keepers.iter().filter(|keeper| periods.contains(&keeper.every)).collect();
        if keepers.is_empty() {
            continue;
        }
        let (done, errors) = keep::keep(plan, ns, &keepers);
        done.into_iter().for_each(|one| account.write(&one.daemon, &ns.name, one.what, None));
        complaints.push((ns.name.clone(), errors));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_counted_from_the_start() {
        let start = Instant::now();
        let ten = Duration::from_secs(10);
        assert_eq!(after(start, ten, start), start + ten);
        assert_eq!(after(start, ten, start + Duration::from_secs(25)), start + 3 * ten);
        assert_eq!(real(90_000, 30), Duration::from_secs(3));
        assert_eq!(real(2_000, 1_000_000), SHORTEST);
    }
}
