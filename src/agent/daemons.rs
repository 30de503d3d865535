//! Daemons of nodes that minik runs as they are: BIRD. They live and die with the agent; the routes that they made stay
//! in the kernel, as those of a BIRD that crashed do.
//!
//! The agent stands for the runit of calico/node too: a daemon that ended is started again, if the cluster heals.

use std::fs::DirBuilder;
use std::future::pending;
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep_until;

use super::account::{Account, milliseconds};
use super::control::DaemonStatus;
use super::log;
use super::orders::Daemon;
use super::program::{self, End, Nursery, Program};
use crate::error::{Error, Result};
use crate::kernel::process::Process;
use crate::kernel::state;
use crate::plan::facts;

/// Who starts a daemon of calico/node again.
const SUPERVISOR: &str = "runsv";

/// A daemon that ran for less than this is started again when as much has passed since its end; every other one at once
/// (runit 2.1.2, runsv; measured beside it).
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// The daemons, and what becomes of them.
pub(super) struct Daemons {
    cluster: String,
    runtime: Handle,
    nursery: Option<Nursery>,
    account: Account,
    posts: Vec<Post>,
    /// The number of the last life that began.
    lives: u64,
    ends: (UnboundedSender<Ended>, UnboundedReceiver<Ended>),
}

/// A daemon that is to run.
struct Post {
    order: Daemon,
    run: Run,
    /// How it ended last.
    end: Option<String>,
    starts: u32,
}

/// How a daemon is.
enum Run {
    /// It runs.
    Lives { life: u64, process: Process, since: Instant },
    /// It does not, since `at`, in milliseconds since 1970; from `again` on it may be started.
    Dead { at: u64, again: Instant },
}

/// The end of a life.
struct Ended {
    life: u64,
    how: String,
}

impl Daemons {
    /// None yet; those that are started again are written into `account`.
    pub(super) fn new(cluster: &str, runtime: Handle, account: Account) -> Daemons {
        let (posts, ends) = (Vec::new(), unbounded_channel());
        Daemons { cluster: cluster.to_owned(), runtime, nursery: None, account, posts, lives: 0, ends }
    }

    /// Runs these from now on. One whose configuration alone changed is told to read it again; one that has ended is
    /// started again if the cluster heals. Must be called inside of the runtime.
    ///
    /// # Errors
    /// If a daemon cannot be started, or its configuration not be written.
    pub(super) fn follow(&mut self, orders: &[Daemon]) -> Result<()> {
        let mut before = std::mem::take(&mut self.posts);
        let mut new = Vec::new();
        for order in orders {
            let same = |known: &Post| known.order.netns == order.netns && known.order.argv == order.argv;
            let Some(index) = before.iter().position(same) else {
                new.push(order.clone());
                continue;
            };
            let mut post = before.swap_remove(index);
            if post.order.config != order.config {
                write_config(order)?;
                if let Run::Lives { process, .. } = &post.run {
                    process.signal(Signal::SIGHUP)?;
                }
            }
            post.order = order.clone();
            self.posts.push(post);
        }
        before.iter().try_for_each(Post::kill)?;
        new.iter().try_for_each(write_config)?;
        for (order, started) in new.iter().zip(self.start(&new)?) {
            let run = started.map_err(|e| e.within(&order.hostname))?;
            self.posts.push(Post { order: order.clone(), run, end: None, starts: 1 });
        }
        self.revive()
    }

    /// How they are.
    pub(super) fn status(&self) -> Vec<DaemonStatus> {
        let status = |post: &Post| DaemonStatus {
            name: post.name().to_owned(),
            node: post.order.hostname.clone(),
            pid: if let Run::Lives { process, .. } = &post.run { Some(process.pid()) } else { None },
            end: post.end.clone(),
            starts: post.starts,
        };
        self.posts.iter().map(status).collect()
    }

    /// Kills all of them.
    pub(super) fn kill(&self) -> Result<()> {
        self.posts.iter().try_for_each(Post::kill)
    }

    /// Waits until one ends or is to be started again, and sees to it. Nothing is lost if this is given up while it waits.
    pub(super) async fn turn(&mut self) {
        let now = Instant::now();
        let next = self.posts.iter().filter_map(Post::again).filter(|again| *again > now).min();
        let next = async {
            match next {
                Some(again) => sleep_until(again.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(end) = self.ends.1.recv() => self.note(end),
            () = next => {}
        }
        if let Err(e) = self.revive() {
            log::line(format_args!("{SUPERVISOR}: {e}"));
        }
    }

    /// Writes down the end of a life; one that was ended by new orders has no post any more.
    fn note(&mut self, end: Ended) {
        let lived = |post: &&mut Post| matches!(post.run, Run::Lives { life, .. } if life == end.life);
        let Some(post) = self.posts.iter_mut().find(lived) else { return };
        let Run::Lives { since, .. } = post.run else { return };
        let now = Instant::now();
        let again = if now - since < SHORT_LIFE { now + SHORT_LIFE } else { now };
        log::line(format_args!("{} on {} ended: {}", post.name(), post.order.hostname, end.how));
        post.run = Run::Dead { at: milliseconds(), again };
        post.end = Some(end.how);
    }

    /// Starts those again whose time has come, if the cluster heals. One that cannot be started is tried again later.
    fn revive(&mut self) -> Result<()> {
        let now = Instant::now();
        let due: Vec<usize> =
            self.posts.iter().enumerate().filter(|(_, post)| post.is_due(now)).map(|(i, _)| i).collect();
        if due.is_empty() {
            return Ok(());
        }
        let tried = self.start_again(now, &due);
        if tried.is_err() {
            // None of them could be tried, and nobody would wake us for a time that is past.
            due.iter().for_each(|index| self.posts[*index].put_off(now));
        }
        tried
    }

    /// Starts these posts again if the cluster heals.
    fn start_again(&mut self, now: Instant, due: &[usize]) -> Result<()> {
        if !state::load(&self.cluster)?.is_some_and(|record| record.heal) {
            return Ok(());
        }
        let orders: Vec<Daemon> = due.iter().map(|index| self.posts[*index].order.clone()).collect();
        for (index, started) in due.iter().zip(self.start(&orders)?) {
            let post = &mut self.posts[*index];
            let Run::Dead { at, .. } = post.run else { continue };
            match started {
                Ok(run) => {
                    let what = facts::process_fact(&post.order.name);
                    self.account.write(SUPERVISOR, &post.order.hostname, what, Some(at));
                    post.run = run;
                    post.starts += 1;
                }
                Err(e) => {
                    post.put_off(now);
                    log::line(format_args!("{SUPERVISOR} on {}: {e}", post.order.hostname));
                }
            }
        }
        Ok(())
    }

    /// Starts daemons; for each how it runs, or why it could not be started.
    fn start(&mut self, orders: &[Daemon]) -> Result<Vec<Result<Run>>> {
        if orders.is_empty() {
            return Ok(Vec::new());
        }
        let nursery = match self.nursery.take() {
            Some(nursery) => nursery,
            None => Nursery::open(self.runtime.clone())?,
        };
        let programs = orders.iter().map(|order| Program {
            cluster: self.cluster.clone(),
            netns: order.netns.clone(),
            hostname: order.hostname.clone(),
            argv: order.argv.clone(),
            env: Vec::new(),
            log: order.log.clone(),
        });
        let started = self.nursery.insert(nursery).start(programs.collect())?;
        Ok(started.into_iter().map(|child| self.began(child?)).collect())
    }

    fn began(&mut self, child: Child) -> Result<Run> {
        self.lives += 1;
        let (life, pid) = (self.lives, child.id().and_then(|pid| i32::try_from(pid).ok()));
        // Not waited for yet, so its pid is still its own even if it has ended.
        let process = pid.map(Process::open).transpose()?.flatten();
        let process = process.ok_or_else(|| Error::new(crate::error::Kind::Io, "a daemon has no process"))?;
        tokio::spawn(watch(life, child, self.ends.0.clone()));
        Ok(Run::Lives { life, process, since: Instant::now() })
    }
}

impl Post {
    fn name(&self) -> &str {
        &self.order.name
    }

    /// From when on it may be started again, if it has ended.
    fn again(&self) -> Option<Instant> {
        if let Run::Dead { again, .. } = self.run { Some(again) } else { None }
    }

    /// If it has ended, it is tried again later.
    fn put_off(&mut self, now: Instant) {
        if let Run::Dead { again, .. } = &mut self.run {
            *again = now + SHORT_LIFE;
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.again().is_some_and(|again| again <= now)
    }

    fn kill(&self) -> Result<()> {
        if let Run::Lives { process, .. } = &self.run { process.kill() } else { Ok(()) }
    }
}

fn write_config(order: &Daemon) -> Result<()> {
    let (path, text) = &order.config;
    if let Some(directory) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|e| Error::io(format!("cannot make {}", directory.display()), e))?;
    }
    state::write_whole(path, text.as_bytes())
}

/// Waits for the end of a life, and tells of it.
async fn watch(life: u64, child: Child, ends: UnboundedSender<Ended>) {
    let how = match program::end_of(child).await {
        Ok(End::Code(code)) => format!("exit code {code}"),
        Ok(End::Signal(number)) => format!("signal {number}"),
        Err(e) => format!("cannot wait for its end: {e}"),
    };
    // With the agent nobody asks any more.
    let _ = ends.send(Ended { life, how });
}
