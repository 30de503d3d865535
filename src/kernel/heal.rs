//! Puts back what a live namespace has lost of its plan, as the daemons of real networks do.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{open, settle};
use super::maker::Maker;
use super::netlink::Batch;
use super::restore::{self, Input};
use super::{files, ipvs, netns, read};
use crate::error::{Error, Kind, Result};
use crate::plan::{Family, Link, LinkKind, Namespace, Plan, Table, difference, ebtables, facts, nft, restore as text};

/// Makes these facts of a namespace true again: those that [`super::drift`] finds missing. A fact that is not of the
/// plan, or that is true already, is left alone; what is there beside the plan stays.
///
/// # Errors
/// If there is no such namespace, or the kernel or a tool refuses.
pub fn heal(plan: &Plan, namespace: &str, missing: &BTreeSet<String>) -> Result<()> {
    // A thread of its own, since it moves into the namespaces.
    std::thread::scope(|scope| {
        let work = scope.spawn(|| heal_here(plan, namespace, missing).map_err(|e| e.within(namespace)));
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn heal_here(plan: &Plan, namespace: &str, missing: &BTreeSet<String>) -> Result<()> {
    let unknown = || Error::new(Kind::Usage, format!("the plan has no namespace {namespace}"));
    let ns = plan.namespaces.iter().find(|ns| ns.name == namespace).ok_or_else(unknown)?;
    let root = files::directory(&plan.cluster, &ns.netns);
    let lost = ns.files.iter().filter(|file| missing.contains(&facts::file_fact(file)));
    lost.into_iter().try_for_each(|file| files::write_one(&root, file))?;
    let lost_links: BTreeSet<&str> =
        ns.links.iter().filter(|l| missing.contains(&facts::link_fact(l))).map(|l| l.name.as_str()).collect();
    let mut maker = Maker::new(plan);
    // The other ends of links that may have to be made, and the lower devices.
    let mut others: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (other, link) in ns.links.iter().filter(|link| lost_links.contains(link.name.as_str())).filter_map(beside) {
        others.entry(other).or_default().extend(link);
    }
    for other in plan.namespaces.iter().filter(|other| other.name != ns.name) {
        if let Some(links) = others.get(other.name.as_str()) {
            adopt(&mut maker, other, links)?;
        }
    }
    adopt(&mut maker, ns, &lost_links)?;
    maker.complete(namespace)?;
    maker.finish()?;
    let Some(site) = maker.sites.last_mut() else { return Ok(()) };
    let live = read::with(&mut site.fresh.rtnetlink)?;
    let now = super::drift::live_facts(ns, live.clone());
    let missing_now: BTreeSet<String> = missing.difference(&now).cloned().collect();
    let mut batch = Batch::default();
    settle::push_missing(&mut batch, site, &missing_now, &live)?;
    if !batch.is_empty() {
        site.fresh.rtnetlink.send(batch)?;
    }
    let inputs = rules(ns, missing);
    let servers = missing.iter().any(|fact| fact.starts_with("ipvs "));
    let feed = || {
        if servers {
            ipvs::change(None, ns.ipvs.as_ref(), false)?;
        }
        inputs.iter().try_for_each(|(argv, input)| restore::feed(argv, input))
    };
    if inputs.is_empty() && !servers { Ok(()) } else { netns::inside(&site.fresh.fd, feed)? }
}

/// The namespace of a link's other end, with its name, or of its lower device.
fn beside(link: &Link) -> Option<(&str, Option<&str>)> {
    match &link.kind {
        LinkKind::Veth { peer_namespace, peer } => Some((peer_namespace, Some(peer))),
        LinkKind::Macvlan { parent_namespace, .. } => Some((parent_namespace, None)),
        _ => None,
    }
}

/// Adopts a namespace; of the links that it lacks only `wanted` count as missing.
fn adopt<'p>(maker: &mut Maker<'p>, ns: &'p Namespace, wanted: &BTreeSet<&str>) -> Result<()> {
    let (fresh, live) = open(&ns.netns)?;
    let mut there: BTreeMap<String, u32> = live.links.iter().map(|link| (link.name.clone(), link.index)).collect();
    let free = there.values().copied().max().unwrap_or(0) + 1;
    // A link that is gone and shall stay so has no index; zero is none.
    let gone: Vec<String> =
        ns.links.iter().map(|link| link.name.clone()).filter(|name| !there.contains_key(name)).collect();
    there.extend(gone.into_iter().filter(|name| !wanted.contains(name.as_str())).map(|name| (name, 0)));
    maker.adopt(ns, fresh, &there, free);
    Ok(())
}

/// What the restore tools are to be given for the rules and sets among these facts. Daemons that look after chains of
/// iptables do it by [`Rules::repair`](crate::plan::keeper::Rules::repair), which knows whose rule in a chain is whose.
fn rules(ns: &Namespace, missing: &BTreeSet<String>) -> Vec<Input<'static>> {
    let mut inputs: Vec<Input<'_>> = Vec::new();
    if missing.iter().any(|fact| fact.starts_with("set: ")) {
        inputs.push((&["ipset", "restore", "-exist"], text::ipset_restore(&ns.sets).into()));
    }
    for (family, word, tables) in [(Family::Inet, "", &ns.tables), (Family::Inet6, "ip6 ", &ns.tables6)] {
        let input: String = tables.iter().map(|table| chains(table, word, missing)).collect();
        inputs.push((ns.backend.change(family), input.into()));
    }
    for table in &ns.nft {
        let spoiled = nft::facts::objects(table, missing);
        let input = if spoiled.is_empty() { String::new() } else { nft::difference::reload(table, &spoiled) };
        inputs.push((restore::NFT, input.into()));
    }
    if missing.iter().any(|fact| fact.contains(": eb ") || fact.starts_with("policy of eb ")) {
        inputs.push((&["ebtables-restore"], ebtables::ebtables_restore(&ns.ebtables).into()));
    }
    inputs.retain(|(_, input)| !input.is_empty());
    inputs
}

/// The chains of a table that facts are about, written anew, with the chains to which they lead.
fn chains(table: &Table, family: &str, missing: &BTreeSet<String>) -> String {
    let name = table.name.as_str();
    let about = |chain: &str| {
        let rule = format!(": {family}{name}: -A {chain} ");
        let policy = format!("policy of {family}{name} {chain}: ");
        missing.iter().any(|fact| fact.starts_with("rule ") && fact.contains(&rule) || fact.starts_with(&policy))
    };
    let spoiled: BTreeSet<&str> =
        table.chains.iter().map(|chain| chain.name.as_str()).filter(|name| about(name)).collect();
    if spoiled.is_empty() { String::new() } else { difference::reload(table, &spoiled) }
}
