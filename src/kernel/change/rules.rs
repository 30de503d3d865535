//! Sets and rules of the namespaces that differ, several namespaces at a time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::error::{Kind, Result};
use crate::kernel::maker::Site;
use crate::kernel::netns;
use crate::kernel::restore::{self, Input};
use crate::kernel::{conntrack, ipvs};
use crate::plan::{Family, Namespace, Table, difference, ebtables, forwarding, line, nft};

/// Most restores at a time, as in [`crate::kernel::apply`].
const LOADERS_MAX: usize = 16;

/// Something for a tool to do.
struct Step<'p> {
    input: Input<'p>,
    /// The tables between which it leads, if it goes by single rules. Where the kernel does not hold what the former say
    /// the tool refuses it, and the chains that differ are written whole instead, as kube-proxy always does.
    between: Option<[&'p [Table]; 2]>,
}

impl Step<'_> {
    /// Runs the tool in the calling thread's namespace.
    fn take(&self) -> Result<()> {
        let (argv, text) = &self.input;
        let Err(error) = restore::feed(argv, text) else { return Ok(()) };
        match self.between.filter(|_| error.kind() == Kind::Tool) {
            Some([before, after]) => restore::feed(argv, &difference::tables_whole(before, after).into())
                .map_err(|second| error.hint(format!("writing the chains whole failed as well: {second}"))),
            None => Err(error),
        }
    }
}

impl<'p> From<Input<'p>> for Step<'p> {
    fn from(input: Input<'p>) -> Self {
        Step { input, between: None }
    }
}

/// Loads what is new, and changes what differs: `before` has the earlier plans of the namespaces that there were. With
/// `all`, everything of theirs is loaded again.
pub(super) fn load<'p>(sites: &[Site<'p>], before: &BTreeMap<&str, &'p Namespace>, all: bool) -> Result<()> {
    let servers = |site: &Site<'_>| before.get(site.namespace.name.as_str()).and_then(|before| before.ipvs.as_ref());
    let balances = |site: &Site<'_>| servers(site).is_some() || site.namespace.ipvs.is_some();
    let mut work: Vec<(&Site<'p>, Vec<Step<'p>>)> = Vec::new();
    for site in sites {
        let steps: Vec<Step<'p>> = match before.get(site.namespace.name.as_str()) {
            None => restore::inputs(site.namespace).into_iter().map(Step::from).collect(),
            Some(before) => changes(before, site.namespace, all),
        };
        if !steps.is_empty() || balances(site) {
            work.push((site, steps));
        }
    }
    let workers = work.len().min(LOADERS_MAX);
    let queue = Mutex::new(work.into_iter());
    let take = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || -> Result<()> {
        while let Some((site, steps)) = take() {
            // IPVS comes first, as kube-proxy has it: its rules let in who has a server.
            let feed = || {
                ipvs::change(servers(site), site.namespace.ipvs.as_ref(), all)?;
                steps.iter().try_for_each(Step::take)
            };
            netns::inside(&site.fresh.fd, feed)?.map_err(|e| e.within(&site.namespace.name))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(run)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).fold(Ok(()), Result::and)
    })
}

/// Ends what connection tracking would send on to where nobody is any more, once the rules are changed.
pub(super) fn forget(sites: &[Site<'_>], before: &BTreeMap<&str, &Namespace>) -> Result<()> {
    for site in sites {
        let Some(before) = before.get(site.namespace.name.as_str()) else { continue };
        let stale = forwarding::stale(&before.forwards, &site.namespace.forwards);
        if !stale.is_empty() {
            let forgotten = netns::inside(&site.fresh.fd, || conntrack::forget(&stale))?;
            forgotten.map_err(|e| e.within(&site.namespace.name))?;
        }
    }
    Ok(())
}

/// What leads from one plan of a namespace to another.
fn changes<'p>(before: &'p Namespace, after: &'p Namespace, all: bool) -> Vec<Step<'p>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let nothing = Vec::new();
    let sets = match all {
        true => flushed(&difference::sets(&nothing, &after.sets), after),
        false => difference::sets(&before.sets, &after.sets),
    };
    let mut push = |tool, text: String, between| steps.push(Step { input: (tool, text.into()), between });
    push(&["ipset", "restore", "-exist"], sets, None);
    let families = [(Family::Inet, &before.tables, &after.tables), (Family::Inet6, &before.tables6, &after.tables6)];
    let backend = after.backend;
    for (family, before, after) in families {
        if all {
            // What only the earlier plan has is emptied, and the rest is loaded over whatever is there.
            let gone: Vec<_> = before.iter().filter(|one| !after.iter().any(|t| t.name == one.name)).cloned().collect();
            let emptied: Vec<_> = gone.iter().map(|table| Table::new(table.name)).collect();
            let text = crate::plan::restore::iptables_restore(&[emptied, after.clone()].concat());
            push(backend.restore(family), text, None);
        } else {
            push(backend.change(family), difference::tables(before, after), Some([&before[..], &after[..]]));
        }
    }
    let tables = match all {
        true => nft::difference::Steps { change: nft::difference::anew(&before.nft, &after.nft), ..Default::default() },
        false => nft::difference::tables(&before.nft, &after.nft),
    };
    push(restore::NFT, tables.change, None);
    push(restore::NFT, tables.removal, None);
    if before.ebtables != after.ebtables || (all && !after.ebtables.is_empty()) {
        push(&["ebtables-restore"], ebtables::ebtables_restore(&after.ebtables), None);
    }
    if line::nft(before) != line::nft(after) || (all && line::loses(after)) {
        push(restore::NFT, line::nft(after), None);
    }
    let vanished = difference::vanished_sets(&before.sets, &after.sets);
    // A set that is not there is no error to `create -exist`, but one to `destroy`.
    let destroy: String = vanished
        .iter()
        .filter_map(|name| before.sets.iter().find(|set| set.name == **name))
        .map(|set| format!("{}\ndestroy {}\n", crate::plan::restore::create_set(set), set.name))
        .collect();
    push(&["ipset", "restore", "-exist"], destroy, None);
    steps.retain(|step| !step.input.1.is_empty());
    steps
}

/// The sets emptied after they are made, so that they hold what the plan says and no more.
fn flushed(sets: &str, after: &Namespace) -> String {
    let mut text = String::new();
    for line in sets.lines() {
        text.push_str(&format!("{line}\n"));
        let made = line.strip_prefix("create ").and_then(|rest| rest.split(' ').next());
        if let Some(name) = made.filter(|name| after.sets.iter().any(|set| set.name == *name)) {
            text.push_str(&format!("flush {name}\n"));
        }
    }
    text
}
