//! Sets and rules of the namespaces that differ, several namespaces at a time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::error::Result;
use crate::kernel::conntrack;
use crate::kernel::maker::Site;
use crate::kernel::netns;
use crate::kernel::restore::{self, Input};
use crate::plan::{Family, Namespace, difference, ebtables, forwarding, line, nft};

/// Most restores at a time, as in [`crate::kernel::apply`].
const LOADERS_MAX: usize = 16;

/// Loads what is new, and changes what differs: `before` has the earlier plans of the namespaces that there were. With
/// `all`, everything of theirs is loaded again.
pub(super) fn load(sites: &[Site<'_>], before: &BTreeMap<&str, &Namespace>, all: bool) -> Result<()> {
    let input = |site: &'_ Site<'_>| match before.get(site.namespace.name.as_str()) {
        None => restore::inputs(site.namespace),
        Some(before) => changes(before, site.namespace, all),
    };
    let work: Vec<(&Site<'_>, Vec<Input>)> =
        sites.iter().map(|site| (site, input(site))).filter(|(_, inputs)| !inputs.is_empty()).collect();
    let workers = work.len().min(LOADERS_MAX);
    let queue = Mutex::new(work.into_iter());
    let take = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || -> Result<()> {
        while let Some((site, inputs)) = take() {
            let feed = || inputs.iter().try_for_each(|(argv, input)| restore::feed(argv, input));
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
fn changes(before: &Namespace, after: &Namespace, all: bool) -> Vec<Input> {
    let mut inputs: Vec<Input> = Vec::new();
    let nothing = Vec::new();
    let sets = match all {
        true => flushed(&difference::sets(&nothing, &after.sets), after),
        false => difference::sets(&before.sets, &after.sets),
    };
    inputs.push((&["ipset", "restore", "-exist"], sets));
    let families = [(Family::Inet, &before.tables, &after.tables), (Family::Inet6, &before.tables6, &after.tables6)];
    let backend = after.backend;
    for (family, before, after) in families {
        if all {
            // What only the earlier plan has is emptied, and the rest is loaded over whatever is there.
            let gone: Vec<_> = before.iter().filter(|one| !after.iter().any(|t| t.name == one.name)).cloned().collect();
            let emptied: Vec<_> = gone.iter().map(|table| crate::plan::Table::new(table.name)).collect();
            inputs.push((
                backend.restore(family),
                crate::plan::restore::iptables_restore(&[emptied, after.clone()].concat()),
            ));
        } else {
            inputs.push((backend.change(family), difference::tables(before, after)));
        }
    }
    let steps = match all {
        true => nft::difference::Steps { change: nft::difference::anew(&before.nft, &after.nft), ..Default::default() },
        false => nft::difference::tables(&before.nft, &after.nft),
    };
    inputs.extend([(restore::NFT, steps.change), (restore::NFT, steps.removal)]);
    if before.ebtables != after.ebtables || (all && !after.ebtables.is_empty()) {
        inputs.push((&["ebtables-restore"], ebtables::ebtables_restore(&after.ebtables)));
    }
    if line::nft(before) != line::nft(after) || (all && line::loses(after)) {
        inputs.push((restore::NFT, line::nft(after)));
    }
    let vanished = difference::vanished_sets(&before.sets, &after.sets);
    // A set that is not there is no error to `create -exist`, but one to `destroy`.
    let destroy: String = vanished
        .iter()
        .filter_map(|name| before.sets.iter().find(|set| set.name == **name))
        .map(|set| format!("{}\ndestroy {}\n", crate::plan::restore::create_set(set), set.name))
        .collect();
    inputs.push((&["ipset", "restore", "-exist"], destroy));
    inputs.retain(|(_, input)| !input.is_empty());
    inputs
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
