//! Daemons of nodes that minik runs as they are: BIRD. They live and die with the agent; the routes that they made stay
//! in the kernel, as those of a BIRD that crashed do.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::runtime::Handle;

use super::log;
use super::orders::Daemon;
use super::program::{self, Nursery, Program};
use crate::error::{Error, Result};
use crate::kernel::process::Process;
use crate::kernel::state;

/// The daemons that run.
pub(super) struct Daemons {
    cluster: String,
    runtime: Handle,
    nursery: Option<Nursery>,
    running: Vec<(Daemon, Process)>,
}

impl Daemons {
    /// None yet.
    pub(super) fn new(cluster: &str, runtime: Handle) -> Daemons {
        Daemons { cluster: cluster.to_owned(), runtime, nursery: None, running: Vec::new() }
    }

    /// Runs these from now on. One whose configuration alone changed is told to read it again. Must be called inside of
    /// the runtime.
    ///
    /// # Errors
    /// If a daemon cannot be started, or its configuration not be written.
    pub(super) fn follow(&mut self, orders: &[Daemon]) -> Result<()> {
        let mut before = std::mem::take(&mut self.running);
        let mut new = Vec::new();
        for order in orders {
            let same = |(known, _): &(Daemon, Process)| known.netns == order.netns && known.argv == order.argv;
            let Some(index) = before.iter().position(same) else {
                new.push(order);
                continue;
            };
            let (known, process) = before.swap_remove(index);
            if known.config != order.config {
                write_config(order)?;
                process.signal(Signal::SIGHUP)?;
            }
            self.running.push((order.clone(), process));
        }
        for (_, process) in before {
            process.kill()?;
        }
        self.start(&new)
    }

    /// Kills all of them.
    pub(super) fn kill(&self) -> Result<()> {
        self.running.iter().try_for_each(|(_, process)| process.kill())
    }

    fn start(&mut self, orders: &[&Daemon]) -> Result<()> {
        if orders.is_empty() {
            return Ok(());
        }
        orders.iter().try_for_each(|order| write_config(order))?;
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
        for (order, child) in orders.iter().zip(started) {
            let child = child.map_err(|e| e.within(&order.hostname))?;
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
            // Not waited for yet, so its pid is still its own even if it has ended.
            if let Some(process) = pid.map(Process::open).transpose()?.flatten() {
                self.running.push(((*order).clone(), process));
            }
            tokio::spawn(watch(order.argv[0].clone(), order.hostname.clone(), child));
        }
        Ok(())
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

/// Says in the agent's log that a daemon has ended.
async fn watch(name: String, place: String, child: Child) {
    match program::end_of(child).await {
        Ok(code) => log::line(format_args!("{name} on {place} ended with {code}")),
        Err(e) => log::line(format_args!("{name} on {place}: cannot wait for its end: {e}")),
    }
}
