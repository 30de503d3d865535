//! From one plan of a live cluster to another, touching only what differs: a pod more or less, another mode, another
//! rule.
//!
//! Namespaces that are the same in both plans are not looked at. Of the others, links that are of another sort are
//! removed and made anew; routes are replaced without a gap; what the new plan does not have goes last. What the kernel
//! takes away in passing (routes through an address that goes) is put back. What was missing before and belongs to
//! both plans stays missing: that is somebody's experiment, and [`heal`](super::heal)'s affair.

mod rules;
pub(super) mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use nix::sys::signal::Signal;

use super::maker::{Maker, Site};
use super::netlink::{Batch, Rtnetlink};
use super::netns::{self, Fresh};
use super::read::{self, Live};
use super::{etc, files, process, remove, restore};
use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::{Link, LinkKind, Namespace, Plan, difference};

/// The group into which links are put to be removed together: each removal by itself waits for an RCU barrier.
const DOOMED: u32 = 0x6d69_6e69;

/// Most namespaces in which links are removed at a time; each waits most of its time.
const REMOVERS_MAX: usize = 16;

/// How long a killed restore tool may take to end: the kernel finishes what it is at.
const TOOL_DEADLINE: Duration = Duration::from_secs(30);

/// How much of the goal has to be made sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// What differs between the plans: the cluster is as the first one says, but for experiments.
    Difference,
    /// All of every namespace that differs: who knows how far a change had come.
    All,
}

/// Takes the live cluster of plan `from` to plan `to`, of the same name. When this returns, all of it is there. If
/// something fails, the cluster is taken back to `from`.
///
/// # Errors
/// What failed, with what became of the way back as its hint.
pub fn change(from: &Plan, to: &Plan) -> Result<()> {
    if from.cluster != to.cluster {
        let what = format!("cluster {} cannot become cluster {}", from.cluster, to.cluster);
        return Err(Error::new(Kind::Usage, what).hint("remove the one and make the other"));
    }
    let Err(error) = reach(from, to, Care::Difference) else { return Ok(()) };
    Err(match reach(to, from, Care::All) {
        Ok(()) => error.hint("nothing has changed: what had been done by then was taken back"),
        Err(second) => error.hint(format!(
            "taking back what had been done failed as well: {second}; see `minik status`, or build it anew with \
             `minik up --replace`"
        )),
    })
}

/// Takes a cluster to plan `to`, on which somebody was at work to make it `attempted` and did not come to an end.
///
/// # Errors
/// What failed. It can be tried again.
pub fn recover(attempted: &Plan, to: &Plan) -> Result<()> {
    end_tools(attempted)?;
    reach(attempted, to, Care::All)
}

/// Ends the restore tools of a minik that was killed, which would load their input over what comes now.
fn end_tools(plan: &Plan) -> Result<()> {
    let names: Vec<String> = plan.namespaces.iter().map(|ns| ns.netns.clone()).collect();
    for one in process::inhabitants(&names)? {
        if !restore::is_tool(&one.arguments()) {
            continue;
        }
        one.signal(Signal::SIGKILL)?;
        if !one.wait(TOOL_DEADLINE)? {
            let what = format!("process {}, a restore tool that was left, has not ended", one.pid());
            return Err(Error::new(Kind::Tool, what));
        }
    }
    Ok(())
}

/// A namespace that differs between the plans.
#[derive(Clone, Copy)]
struct Touched<'p> {
    before: Option<&'p Namespace>,
    after: Option<&'p Namespace>,
}

/// A namespace that is there and stays: what it held when it was adopted.
struct Kept<'p> {
    before: &'p Namespace,
    after: &'p Namespace,
    fresh: Fresh,
    live: Live,
    /// Its links that are removed at first.
    doomed: BTreeSet<String>,
}

fn reach(from: &Plan, to: &Plan, care: Care) -> Result<()> {
    let touched = touched(from, to);
    refuse(&touched)?;
    // A thread of its own, since it moves from namespace to namespace.
    std::thread::scope(|scope| {
        let work = scope.spawn(|| steps(to, &touched, care));
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The namespaces that differ, and those in which others' links have their lower devices, in the order of `to`; those
/// that only `from` has come last.
fn touched<'p>(from: &'p Plan, to: &'p Plan) -> Vec<Touched<'p>> {
    let mut before: BTreeMap<&str, &Namespace> = from.namespaces.iter().map(|ns| (ns.name.as_str(), ns)).collect();
    let differs = |ns: &Namespace| before.get(ns.name.as_str()).is_none_or(|old| **old != *ns);
    let differing: Vec<bool> = to.namespaces.iter().map(differs).collect();
    let all = || to.namespaces.iter().zip(&differing);
    let links = all().filter(|(_, differs)| **differs).flat_map(|(ns, _)| &ns.links);
    let lower = links.filter_map(|link| match &link.kind {
        LinkKind::Macvlan { parent_namespace, .. } => Some(parent_namespace.as_str()),
        _ => None,
    });
    let lower: BTreeSet<&str> = lower.collect();
    let mut touched = Vec::new();
    for (after, differs) in all() {
        let before = before.remove(after.name.as_str());
        if *differs || lower.contains(after.name.as_str()) {
            touched.push(Touched { before, after: Some(after) });
        }
    }
    let gone = from.namespaces.iter().filter(|ns| before.contains_key(ns.name.as_str()));
    touched.extend(gone.map(|ns| Touched { before: Some(ns), after: None }));
    touched
}

fn refuse(touched: &[Touched<'_>]) -> Result<()> {
    for one in touched {
        let (Some(before), Some(after)) = (one.before, one.after) else { continue };
        if let Some(set) = difference::changed_sorts(&before.sets, &after.sets).first() {
            let what = format!("set {set} of {} cannot become one of another type", after.name);
            return Err(Error::new(Kind::Unsupported, what).hint("build the cluster anew with `minik up --replace`"));
        }
    }
    Ok(())
}

fn steps(to: &Plan, touched: &[Touched<'_>], care: Care) -> Result<()> {
    let exists = |ns: &Namespace| Path::new(names::NETNS_DIR).join(&ns.netns).exists();
    let mut kept = Vec::new();
    for one in touched {
        let Some(after) = one.after.filter(|ns| exists(ns)) else { continue };
        kept.push(keep(one.before.unwrap_or(after), after).map_err(|e| e.within(&after.name))?);
    }
    doom_dependents(&mut kept);
    remove_links(&mut kept)?;
    let gone: Vec<&Namespace> = touched.iter().filter(|one| one.after.is_none()).filter_map(|one| one.before).collect();
    remove_namespaces(&to.cluster, &gone)?;
    let new: Vec<&Namespace> = touched.iter().filter_map(|one| one.after).filter(|ns| !exists(ns)).collect();
    write_files(to, touched, care)?;
    let mut maker = Maker::new(to);
    let mut lives = BTreeMap::new();
    for one in kept {
        let mut there = staying(&one);
        settle::settings(&one.fresh, (one.before, one.after), &there, care == Care::All)?;
        if care == Care::Difference {
            there.extend(lost(&one, &new));
        }
        let free = one.live.links.iter().map(|link| link.index).max().unwrap_or(0) + 1;
        maker.adopt(one.after, one.fresh, &there, free);
        lives.insert(one.after.name.as_str(), (one.before, one.live));
    }
    for one in touched.iter().filter_map(|one| one.after) {
        let made = if new.iter().any(|ns| ns.name == one.name) {
            maker.make(one).map(drop)
        } else {
            maker.complete(&one.name)
        };
        made.map_err(|e| e.within(&one.name))?;
    }
    maker.finish()?;
    for site in &mut maker.sites {
        if let Some((before, live)) = lives.get(site.namespace.name.as_str()) {
            settle::reach(site, before, live, care == Care::All).map_err(|e| e.within(&site.namespace.name))?;
        }
    }
    let before = lives.iter().map(|(name, (before, _))| (*name, *before)).collect();
    rules::load(&maker.sites, &before, care == Care::All)?;
    rules::forget(&maker.sites, &before)?;
    let check = |site: &mut Site<'_>| match lives.get(site.namespace.name.as_str()) {
        Some((before, live)) => settle::again(site, before, live, care == Care::All),
        None => Ok(()),
    };
    maker.sites.iter_mut().try_for_each(|site| check(site).map_err(|e| e.within(&site.namespace.name)))
}

/// The links that a namespace has and keeps, with their indexes.
fn staying(one: &Kept<'_>) -> BTreeMap<String, u32> {
    let stays = one.live.links.iter().filter(|link| !one.doomed.contains(&link.name));
    stays.map(|link| (link.name.clone(), link.index)).collect()
}

/// The links that belong to both plans and are not there: they stay away, and have no index. Those whose other end is
/// made anew come with it.
fn lost(one: &Kept<'_>, new: &[&Namespace]) -> Vec<(String, u32)> {
    let is_new = |name: &str| new.iter().any(|ns| ns.name == name);
    let with_other =
        |link: &Link| matches!(&link.kind, LinkKind::Veth { peer_namespace, .. } if is_new(peer_namespace));
    let lost = |link: &&Link| {
        let same = one.before.link(&link.name).is_some_and(|before| before.kind == link.kind);
        same && !with_other(link) && !one.live.links.iter().any(|live| live.name == link.name)
    };
    one.after.links.iter().filter(lost).map(|link| (link.name.clone(), 0)).collect()
}

/// Opens a namespace that stays, and moves the calling thread there.
fn keep<'p>(before: &'p Namespace, after: &'p Namespace) -> Result<Kept<'p>> {
    let (fresh, live) = open(&after.netns)?;
    let planned = |name: &str| (before.link(name), after.link(name));
    let other_sort = |name: &str| match planned(name) {
        (Some(before), Some(after)) => before.kind != after.kind,
        (Some(_), None) => true,
        (None, _) => false,
    };
    let doomed = live.links.iter().filter(|link| other_sort(&link.name)).map(|link| link.name.clone()).collect();
    Ok(Kept { before, after, fresh, live, doomed })
}

/// A namespace that is there, and what it holds; the calling thread is in it then.
///
/// # Errors
/// If it is not there or cannot be read.
pub(super) fn open(name: &str) -> Result<(Fresh, Live)> {
    let handle = netns::open(name)?;
    let fd = handle.file().try_clone().map_err(|e| Error::io("cannot keep a namespace open", e))?;
    netns::enter(&fd)?;
    let mut rtnetlink = Rtnetlink::open()?;
    let live = read::with(&mut rtnetlink)?;
    Ok((Fresh { fd: fd.into(), rtnetlink }, live))
}

/// With a link go the VXLAN and macvlan devices above it.
fn doom_dependents(kept: &mut [Kept<'_>]) {
    let all: BTreeSet<(String, String)> =
        kept.iter().flat_map(|one| one.doomed.iter().map(|link| (one.after.name.clone(), link.clone()))).collect();
    for one in kept {
        for link in one.before.links.iter().chain(&one.after.links) {
            let lower = match &link.kind {
                LinkKind::Vxlan(vxlan) => (one.after.name.clone(), vxlan.dev.clone()),
                LinkKind::Macvlan { parent_namespace, parent } => (parent_namespace.clone(), parent.clone()),
                _ => continue,
            };
            if all.contains(&lower) && one.live.links.iter().any(|live| live.name == link.name) {
                one.doomed.insert(link.name.clone());
            }
        }
    }
}

fn remove_links(kept: &mut [Kept<'_>]) -> Result<()> {
    let mut concerned: Vec<&mut Kept<'_>> = kept.iter_mut().filter(|one| !one.doomed.is_empty()).collect();
    let share = concerned.len().div_ceil(REMOVERS_MAX).max(1);
    std::thread::scope(|scope| {
        let remove = |some: &mut [&mut Kept<'_>]| -> Result<()> {
            some.iter_mut().try_for_each(|one| remove_doomed(one).map_err(|e| e.within(&one.after.name)))
        };
        let workers: Vec<_> = concerned.chunks_mut(share).map(|some| scope.spawn(move || remove(some))).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).fold(Ok(()), Result::and)
    })
}

/// Removes all links of a namespace that go, in one call. One may have gone with its other end. The ipip module's own
/// device cannot be removed, and the kernel does not say so: it is left as the module makes it, down and in no group.
fn remove_doomed(one: &mut Kept<'_>) -> Result<()> {
    const GONE: &[i32] = &[libc::ENODEV];
    let mut batch = Batch::default();
    let mut unhurt = Batch::default();
    for link in one.live.links.iter().filter(|link| one.doomed.contains(&link.name)) {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.attributes.push(LinkAttribute::Group(DOOMED));
        batch.push_tolerant(Message::SetLink(message), 0, format!("remove link {}", link.name), GONE);
        if one.before.link(&link.name).is_some_and(|before| before.kind == LinkKind::Ipip) {
            let mut message = LinkMessage::default();
            message.header.index = link.index;
            message.header.change_mask = LinkFlags::Up;
            message.attributes.push(LinkAttribute::Group(0));
            unhurt.push_tolerant(Message::SetLink(message), 0, format!("set link {} down", link.name), GONE);
        }
    }
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(DOOMED));
    batch.push_tolerant(Message::DelLink(message), 0, "remove links", GONE);
    one.fresh.rtnetlink.send(batch)?;
    one.fresh.rtnetlink.send(unhurt)
}

fn remove_namespaces(cluster: &str, gone: &[&Namespace]) -> Result<()> {
    let names: Vec<String> = gone.iter().map(|ns| ns.netns.clone()).collect();
    remove::some(cluster, &names)?;
    gone.iter().try_for_each(|ns| files::remove_all(cluster, &ns.netns))
}

/// The files of what is new, and those that differ.
fn write_files(to: &Plan, touched: &[Touched<'_>], care: Care) -> Result<()> {
    for one in touched {
        let Some(after) = one.after else { continue };
        let before = one.before.filter(|_| care == Care::Difference);
        etc::write_one(&to.cluster, after)?;
        let root = files::directory(&to.cluster, &after.netns);
        let known = |file: &&crate::plan::File| before.is_some_and(|before| before.files.contains(file));
        after.files.iter().filter(|file| !known(file)).try_for_each(|file| files::write_one(&root, file))?;
        let gone = one.before.iter().flat_map(|before| &before.files);
        let gone = gone.filter(|file| !after.files.iter().any(|other| other.path == file.path));
        gone.into_iter().try_for_each(|file| files::remove_one(&root, file))?;
    }
    Ok(())
}
