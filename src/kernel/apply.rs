//! Builds all namespaces of a plan, in the order that costs the kernel least.
//!
//! What costs is not the number of objects but certain calls: moving a link to another namespace and deleting
//! one each wait for an RCU barrier (15 ms), so neither is ever done. A veth pair is made from the socket of
//! the namespace that comes later in the plan (the pod), with its far end born in the earlier one (the node)
//! under a name and an index chosen here. So a namespace takes one send, and those in which far ends were
//! born take one more at the end. Netfilter is loaded meanwhile, on other threads, one restore per namespace.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::maker::Maker;
use super::{etc, files, restore};
use crate::error::{Error, Result};
use crate::plan::{Namespace, Plan, line};

/// Most restores at a time: each sleeps most of its time, waiting for RCU, so more of them than there are CPUs.
const LOADERS_MAX: usize = 16;

/// Makes everything in `plan`. Nothing of it may exist. `meanwhile` runs as soon as every namespace, link and
/// route is there, while netfilter is still being loaded, which takes longest: iptables-restore waits for an RCU
/// grace period after each table.
///
/// # Errors
/// The first thing that failed, named with its namespace. What had been made by then remains; the caller
/// removes it.
pub fn build(plan: &Plan, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let workers = plan.nodes().count().clamp(1, LOADERS_MAX);
    let (send, receive) = channel();
    let queue = Mutex::new(receive);
    std::thread::scope(|scope| {
        let builder = scope.spawn(move || run(plan, &send));
        let files = scope.spawn(|| etc::write(plan).and_then(|()| files::write(plan)));
        let loaders: Vec<_> = (0..workers).map(|_| scope.spawn(|| load_tables(&queue))).collect();
        let built = joined(builder.join()).and(joined(files.join())).and_then(|()| meanwhile());
        loaders.into_iter().map(|loader| joined(loader.join())).fold(built, Result::and)
    })
}

fn joined(result: std::thread::Result<Result<()>>) -> Result<()> {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A namespace whose sets and tables wait to be loaded.
type Load<'p> = (&'p Namespace, OwnedFd);

fn load_tables(queue: &Mutex<Receiver<Load<'_>>>) -> Result<()> {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((namespace, fd)) = next else { return Ok(()) };
        restore::load(namespace, &fd).map_err(|e| e.within(&namespace.name))?;
    }
}

/// Makes the namespaces one after the other, on a thread of its own that goes from one to the next, and passes them on
/// to the loaders.
fn run<'p>(plan: &'p Plan, tables: &Sender<Load<'p>>) -> Result<()> {
    let mut maker = Maker::new(plan);
    // Rules about a link by its name wait until it is there: far ends are made last.
    let mut later = Vec::new();
    for namespace in &plan.namespaces {
        let mut make = || -> Result<()> {
            let fd = maker.make(namespace)?;
            if restore::has_any(namespace) {
                let fd = fd.try_clone_to_owned().map_err(|e| Error::io("cannot keep a namespace open", e))?;
                if line::loses(namespace) {
                    later.push((namespace, fd));
                } else {
                    // A closed queue means that a loader failed, and that its error is reported.
                    let _ = tables.send((namespace, fd));
                }
            }
            Ok(())
        };
        make().map_err(|e| e.within(&namespace.name))?;
    }
    maker.finish()?;
    for one in later {
        // As above.
        let _ = tables.send(one);
    }
    Ok(())
}
