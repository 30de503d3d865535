//! The daemons' timers: each runs off in its real period, counted from the agent's start, and puts back what that daemon
//! would.
//!
//! The agent keeps no plan, which takes much room: it knows who looks after what how often, and what the kernel said when
//! all was well. Only where that is another thing now it has the plan computed from the cluster's record, and looks. While a
//! command changes the cluster, nobody heals.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::account::Account;
use super::log;
use crate::error::{Error, Result};
use crate::kernel::glance::Glance;
use crate::kernel::keep::{self, Saved};
use crate::kernel::lookup::Watch;
use crate::kernel::{netns, process, state};
use crate::plan::{Keeper, Namespace, Plan};

/// What an agent that heals goes by.
#[derive(Debug)]
pub struct Charge {
    /// What the kernel is to hold.
    pub plan: Plan,
    /// How many times faster than the real daemons; at least 1.
    pub speed: u32,
}

/// Computes a cluster's charge from its record; none if nobody heals it, for it is being built or removed perhaps.
pub type Recall = fn(&str) -> Result<Option<Charge>>;

/// How long until the first look, and between looks while no timer is due: `up` has the machine for itself.
const IDLE: Duration = Duration::from_secs(1);

/// How long to wait for the end of a command that changes the cluster.
const BUSY: Duration = Duration::from_millis(100);

/// Shortest period, whatever the speed.
const SHORTEST: Duration = Duration::from_millis(20);

/// The timers; they stop when this is dropped.
pub(super) struct Healer {
    _stop: UnixStream,
}

impl Healer {
    /// Starts the timers on a thread of their own; what they put back is written into `account`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(super) fn start(cluster: &str, recall: Recall, account: Account) -> Result<Healer> {
        let (stop, stopped) = UnixStream::pair().map_err(|e| Error::io("cannot make a pair of sockets", e))?;
        let mut timers = Timers {
            cluster: cluster.to_owned(),
            recall,
            started: Instant::now(),
            followed: None,
            rounds: None,
            due: BTreeMap::new(),
            heard: BTreeSet::new(),
            complaints: BTreeMap::new(),
            account,
        };
        let thread = std::thread::Builder::new().name("heal".to_owned());
        let spawned = thread.spawn(move || timers.run(&stopped));
        spawned.map_err(|e| Error::io("cannot start the daemons' timers", e))?;
        Ok(Healer { _stop: stop })
    }
}

/// What there is to do, as long as the record is the same.
struct Rounds {
    speed: u32,
    wards: Vec<Ward>,
}

/// A namespace that daemons look after.
struct Ward {
    name: String,
    glance: Option<Glance>,
    /// News of its links, if a daemon listens to them.
    links: Option<Watch>,
    /// The daemons' timers, each with what the kernel said when all was well.
    keepers: Vec<(Keeper, Option<u64>)>,
}

struct Timers {
    cluster: String,
    recall: Recall,
    started: Instant,
    /// The record that was read last.
    followed: Option<state::Stamp>,
    /// None if nobody heals.
    rounds: Option<Rounds>,
    /// When each period ends next, by its length in milliseconds.
    due: BTreeMap<u32, Instant>,
    /// The namespaces, by their place among the wards, of which a link went up.
    heard: BTreeSet<usize>,
    /// The last complaint about each namespace, so that it is not repeated with every turn; under no name, that about the
    /// last turn itself.
    complaints: BTreeMap<String, String>,
    account: Account,
}

impl Timers {
    fn run(&mut self, stopped: &UnixStream) {
        let mut wait = IDLE;
        loop {
            let turned = match self.listen(stopped, wait) {
                Ok(true) => self.turn(),
                Ok(false) => return,
                Err(e) => Err(e),
            };
            wait = match turned {
                Ok(wait) => {
                    self.complaints.remove("");
                    wait
                }
                Err(e) => {
                    self.complain("", vec![e]);
                    IDLE
                }
            };
        }
    }

    /// Waits for news of links, and no longer than this; false if the timers are to stop. What was heard and not yet
    /// looked at has to wait for whoever changes the cluster, so nobody listens meanwhile.
    fn listen(&mut self, stopped: &UnixStream, wait: Duration) -> Result<bool> {
        let wards = self.rounds.iter().filter(|_| self.heard.is_empty()).flat_map(|rounds| &rounds.wards);
        let links = wards.enumerate().filter_map(|(at, ward)| Some((at, ward.links.as_ref()?)));
        let (places, links): (Vec<usize>, Vec<&Watch>) = links.unzip();
        let fds: Vec<BorrowedFd> =
            std::iter::once(stopped.as_fd()).chain(links.iter().map(|one| one.as_fd())).collect();
        let mut fds: Vec<PollFd> = fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Rounded up: a timer that is about to run off must not be asked again and again.
        let wait = PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, wait) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(true),
            Err(e) => return Err(Error::io("cannot wait for news of links", e)),
        }
        let is_ready = |fd: &PollFd| fd.any().unwrap_or(true);
        let ready = fds[1..].iter().zip(&links).zip(places).filter(|((fd, _), _)| is_ready(fd));
        let up: Vec<usize> = ready.filter(|((_, watch), _)| watch.drain_to_up()).map(|(_, at)| at).collect();
        let stops = is_ready(&fds[0]);
        self.heard.extend(up);
        Ok(!stops)
    }

    /// Lets all timers run off that are due; says how long the next one takes.
    fn turn(&mut self) -> Result<Duration> {
        self.follow_record()?;
        let Some(rounds) = &mut self.rounds else { return Ok(IDLE) };
        let (now, started, speed) = (Instant::now(), self.started, rounds.speed);
        let periods = rounds.periods();
        self.due.retain(|period, _| periods.contains(period));
        for period in periods {
            self.due.entry(period).or_insert_with(|| after(started, real(period, speed), now));
        }
        let over: Vec<u32> = self.due.iter().filter(|(_, due)| **due <= now).map(|(period, _)| *period).collect();
        let doubts = rounds.doubts(&over, &self.heard);
        if !doubts.is_empty() && !self.look(&doubts)? {
            return Ok(BUSY);
        }
        self.heard.clear();
        for period in over {
            self.due.insert(period, after(started, real(period, speed), now));
        }
        let next = self.due.values().min().map(|due| due.saturating_duration_since(Instant::now()));
        Ok(next.unwrap_or(IDLE).min(IDLE))
    }

    /// Begins anew if the record has changed.
    fn follow_record(&mut self) -> Result<()> {
        let stamp = state::stamp(&self.cluster)?;
        if self.followed != stamp {
            self.rounds = None;
            self.heard.clear();
            let charge = (self.recall)(&self.cluster)?;
            self.rounds = charge.map(|charge| Rounds { speed: charge.speed, wards: wards(&charge.plan) });
            self.followed = stamp;
            process::give_back_memory();
        }
        Ok(())
    }

    /// Looks at these places, given by ward and keeper, and puts back what is lost; false if it had to leave that for
    /// later. A large plan and large tables take their time, for which no command has to wait: only who puts something back
    /// has the right to heal, and looks again first.
    fn look(&mut self, doubts: &[Doubt]) -> Result<bool> {
        let (Some(rounds), Some(charge)) = (&mut self.rounds, (self.recall)(&self.cluster)?) else { return Ok(true) };
        let mut complaints: BTreeMap<String, Vec<Error>> = BTreeMap::new();
        let (mut right, mut saved) = (None, Saved::default());
        for doubt in doubts {
            let ward = &mut rounds.wards[doubt.ward];
            let (keeper, well) = &mut ward.keepers[doubt.keeper];
            let Some(ns) = charge.plan.namespace(&ward.name) else { continue };
            let complained = complaints.entry(ns.name.clone()).or_default();
            // Who cannot look is told of below.
            if right.is_none() && keep::is_well(&charge.plan, ns, keeper, &mut saved).unwrap_or(false) {
                *well = doubt.mark;
                continue;
            }
            if right.is_none() {
                right = state::try_lock_healing(&self.cluster)?;
                if right.is_none() || state::stamp(&self.cluster)? != self.followed {
                    return Ok(false);
                }
            }
            let (back, errors) = keep::keep(&charge.plan, ns, keeper);
            // What changed while we looked has another mark than the one from before.
            *well = if back.is_empty() && errors.is_empty() { doubt.mark } else { None };
            back.into_iter().for_each(|what| self.account.write(&keeper.daemon, &ns.name, what, None));
            complained.extend(errors);
        }
        drop(charge);
        process::give_back_memory();
        for (namespace, errors) in complaints {
            self.complain(&namespace, errors);
        }
        Ok(true)
    }

    fn complain(&mut self, namespace: &str, errors: Vec<Error>) {
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let before = self.complaints.insert(namespace.to_owned(), text.clone());
        if !text.is_empty() && before.as_ref() != Some(&text) {
            log::line(format_args!("healing: {text}"));
        }
    }
}

/// A timer that has run off where something may have changed.
struct Doubt {
    ward: usize,
    keeper: usize,
    /// What the kernel says now.
    mark: Option<u64>,
}

impl Rounds {
    /// The lengths of all periods in milliseconds.
    fn periods(&self) -> Vec<u32> {
        let mut all: Vec<u32> =
            self.wards.iter().flat_map(|ward| &ward.keepers).map(|(keeper, _)| keeper.every).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The timers of these periods, and of these wards those that listen to links, that find the kernel other than when
    /// all was well.
    fn doubts(&mut self, periods: &[u32], heard: &BTreeSet<usize>) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for (at, ward) in self.wards.iter_mut().enumerate() {
            for (number, (keeper, well)) in ward.keepers.iter().enumerate() {
                let called = keeper.on_link_up && heard.contains(&at);
                if !called && !periods.contains(&keeper.every) {
                    continue;
                }
                let mark = ward.glance.as_mut().and_then(|glance| glance.mark(&keeper.keeps));
                if mark.is_none() || mark != *well {
                    doubts.push(Doubt { ward: at, keeper: number, mark });
                }
            }
        }
        doubts
    }
}

/// The namespaces of a plan that daemons look after; about none of them anything is known yet.
fn wards(plan: &Plan) -> Vec<Ward> {
    let ward = |ns: &Namespace| Ward {
        name: ns.name.clone(),
        // One that is not there is in doubt all the time, and whoever looks says why.
        glance: Glance::into(&ns.netns).ok(),
        links: ns.keepers.iter().any(|keeper| keeper.on_link_up).then(|| news_of_links(ns)).flatten(),
        keepers: ns.keepers.iter().map(|keeper| (keeper.clone(), None)).collect(),
    };
    plan.namespaces.iter().filter(|ns| !ns.keepers.is_empty()).map(ward).collect()
}

/// What the kernel tells of a namespace's links; none if it is not there, about which whoever looks complains.
fn news_of_links(ns: &Namespace) -> Option<Watch> {
    netns::inside(netns::open(&ns.netns).ok()?.file(), Watch::links).ok()?.ok()
}

fn real(period: u32, speed: u32) -> Duration {
    (Duration::from_millis(period.into()) / speed.max(1)).max(SHORTEST)
}

/// The first end of a period after `now`, counted from `started`.
fn after(started: Instant, period: Duration, now: Instant) -> Instant {
    let gone = now.saturating_duration_since(started).as_nanos() / period.as_nanos().max(1);
    started + period * u32::try_from(gone + 1).unwrap_or(u32::MAX)
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
