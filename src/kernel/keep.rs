//! One turn of a daemon's timer: looks at what it looks after, and makes again what is gone.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::drift::{dump, nft_facts, of_routing};
use super::heal::heal;
use super::{ipvs as balancer, netns, restore};
use crate::error::{Error, Result};
use crate::plan::facts::{self, Drift};
use crate::plan::keeper::{Repair, Rules};
use crate::plan::netfilter::TableName;
use crate::plan::{Datapath, Family, Keeper, Keeps, Namespace, Plan, Table, ipvs, restore as text};

/// What the tools printed of tables of iptables in one look, by namespace: several daemons look at the same ones, and those
/// of very many Services take seconds to print.
#[derive(Default)]
pub struct Saved(BTreeMap<(String, Family, TableName), String>);

impl Saved {
    /// A table as it is in the kernel, normalised.
    fn table(&mut self, ns: &Namespace, family: Family, table: TableName) -> Result<&str> {
        match self.0.entry((ns.netns.clone(), family, table)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let saved = inside(ns, ns.backend.save(family), &["-t", table.as_str()])?;
                Ok(unknown.insert(text::normalised(&saved)))
            }
        }
    }
}

/// Whether all is there that one of a namespace's timers looks after. Nothing is changed.
///
/// # Errors
/// If the kernel cannot be asked, or a tool fails.
pub fn is_well(plan: &Plan, ns: &Namespace, keeper: &Keeper, saved: &mut Saved) -> Result<bool> {
    match &keeper.keeps {
        Keeps::Rules(rules) => Ok(repairs(ns, rules, saved)?.is_empty()),
        Keeps::Sets { .. } => Ok(lost_sets(ns, keeper)?.is_empty()),
        Keeps::Nftables { .. } => Ok(lost_nftables(ns, keeper)?.is_empty()),
        // Who looks at these takes away what was to go.
        Keeps::Servers => Ok(false),
        _ => Ok(lost_routing(plan, ns, keeper)?.is_empty()),
    }
}

/// Lets one of a namespace's timers run off: what was lost and is there again, in words, and what could not be put back,
/// while the rest goes on: a route through a device that is down has to wait for another daemon.
pub fn keep(plan: &Plan, ns: &Namespace, keeper: &Keeper) -> (Vec<String>, Vec<Error>) {
    let mut errors = Vec::new();
    let result = match &keeper.keeps {
        Keeps::Rules(rules) => repair(ns, rules),
        Keeps::Sets { .. } => lost_sets(ns, keeper).and_then(|lost| put_back(plan, ns, lost)),
        Keeps::Nftables { .. } => lost_nftables(ns, keeper).and_then(|lost| put_back(plan, ns, lost)),
        Keeps::Servers => lost_servers(ns).and_then(|lost| put_back(plan, ns, lost)),
        _ => lost_routing(plan, ns, keeper).map(|lost| one_by_one(plan, ns, lost, &mut errors)),
    };
    let back = result.unwrap_or_else(|e| {
        errors.push(e);
        Vec::new()
    });
    let place = |e: Error| e.within(format_args!("{} on {}", keeper.daemon, ns.name));
    (back, errors.into_iter().map(place).collect())
}

fn put_back(plan: &Plan, ns: &Namespace, lost: BTreeSet<String>) -> Result<Vec<String>> {
    if !lost.is_empty() {
        heal(plan, &ns.name, &lost)?;
    }
    Ok(lost.into_iter().collect())
}

/// All at once, and if one is refused each by itself.
fn one_by_one(plan: &Plan, ns: &Namespace, lost: BTreeSet<String>, errors: &mut Vec<Error>) -> Vec<String> {
    if let Ok(done) = put_back(plan, ns, lost.clone()) {
        return done;
    }
    let mut done = Vec::new();
    for fact in lost {
        match heal(plan, &ns.name, &BTreeSet::from([fact.clone()])) {
            Ok(()) => done.push(fact),
            Err(e) => errors.push(e),
        }
    }
    done
}

fn lost_routing(plan: &Plan, ns: &Namespace, keeper: &Keeper) -> Result<BTreeSet<String>> {
    let own = keeper.keeps.facts(ns);
    let (mut lost, mut extra) = (BTreeSet::new(), Vec::new());
    for one in of_routing(ns)? {
        match one {
            Drift::Missing { fact, .. } if own.contains(&fact) => drop(lost.insert(fact)),
            Drift::Missing { .. } => {}
            Drift::Extra { fact, .. } => extra.push(fact),
        }
    }
    // A TUN device that was removed would come back without the agent's engine behind it; a real tunl0 cannot be removed.
    // So it stays lost, and `status` says so.
    if let Keeps::Device { name } = &keeper.keeps
        && let Some(link) = ns.link(name)
        && plan.datapath == Datapath::Userspace
        && link.kind.is_ipip()
        && lost.contains(&facts::link_fact(link))
        && !extra.iter().any(|fact| fact.starts_with(&format!("link {name} ")))
    {
        lost.clear();
    }
    Ok(lost)
}

fn lost_sets(ns: &Namespace, keeper: &Keeper) -> Result<BTreeSet<String>> {
    let own = keeper.keeps.facts(ns);
    let live = facts::set_facts(&inside(ns, "ipset", &["save"])?);
    Ok(own.difference(&live).cloned().collect())
}

fn lost_nftables(ns: &Namespace, keeper: &Keeper) -> Result<BTreeSet<String>> {
    let own = keeper.keeps.facts(ns);
    let live = netns::inside(netns::open(&ns.netns)?.file(), || nft_facts(ns))??;
    Ok(own.difference(&live).cloned().collect())
}

/// The virtual and real servers that are lost. Those that were to go and have no connection any more go.
fn lost_servers(ns: &Namespace) -> Result<BTreeSet<String>> {
    let Some(planned) = &ns.ipvs else { return Ok(BTreeSet::new()) };
    let live = netns::inside(netns::open(&ns.netns)?.file(), || balancer::sweep(planned))??;
    let live: BTreeSet<String> = ipvs::live_facts(planned, &live).collect();
    Ok(ipvs::facts(planned).filter(|fact| !live.contains(fact)).collect())
}

fn inside(ns: &Namespace, tool: &str, arguments: &[&str]) -> Result<String> {
    netns::inside(netns::open(&ns.netns)?.file(), || dump(tool, arguments))?
}

/// What there is to repair of a daemon's rules, in both families.
fn repairs(ns: &Namespace, rules: &Rules, saved: &mut Saved) -> Result<Vec<(Family, Repair)>> {
    let families: [(&[Table], Family); 2] = [(&ns.tables, Family::Inet), (&ns.tables6, Family::Inet6)];
    let mut found = Vec::new();
    for (tables, family) in families.into_iter().filter(|(tables, ..)| !tables.is_empty()) {
        let told = match rules.telltale() {
            Some(telltale) => rules.repair(tables, saved.table(ns, family, telltale)?).input.is_empty(),
            None => false,
        };
        if told {
            continue;
        }
        let mut dump = String::new();
        for table in tables {
            dump.push_str(saved.table(ns, family, table.name)?);
        }
        let repair = rules.repair(tables, &dump);
        if !repair.input.is_empty() {
            found.push((family, repair));
        }
    }
    Ok(found)
}

/// Puts back a daemon's rules, in both families.
fn repair(ns: &Namespace, rules: &Rules) -> Result<Vec<String>> {
    let mut lost = Vec::new();
    for (family, repair) in repairs(ns, rules, &mut Saved::default())? {
        let input = restore::Text::Whole(repair.input);
        netns::inside(netns::open(&ns.netns)?.file(), || restore::feed(ns.backend.change(family), &input))??;
        lost.extend(repair.lost);
    }
    Ok(lost)
}
