//! `minik rules`: what nodes have loaded, and what the last change of the cluster did to it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::args::Globals;
use super::live_args::{RulesArgs, RulesCommand};
use super::{print, session};
use crate::error::{Error, Kind, Result};
use crate::kernel::{drift, state};
use crate::plan::{Namespace, Plan, nft, restore};
use crate::topology::nearest;

/// Runs `minik rules`.
///
/// # Errors
/// If there is no such cluster or node; if a tool fails; of [`Kind::Usage`] for `diff` if nothing was changed yet.
pub fn run(args: &RulesArgs, globals: &Globals) -> Result<ExitCode> {
    match &args.command {
        RulesCommand::Save { node } => save(node.as_deref(), globals),
        RulesCommand::Diff { node } => diff(node.as_deref(), globals),
    }
}

/// The nodes, or the one of this name.
fn nodes<'p>(plan: &'p Plan, name: Option<&str>) -> Result<Vec<&'p Namespace>> {
    let chosen: Vec<&Namespace> = plan.nodes().filter(|node| name.is_none_or(|name| node.name == name)).collect();
    match (name, chosen.is_empty()) {
        (Some(name), true) => Err(no_node(name, plan)),
        _ => Ok(chosen),
    }
}

fn no_node(name: &str, plan: &Plan) -> Error {
    let error = Error::new(Kind::Usage, format!("there is no node `{name}`"));
    match nearest(name, plan.nodes().map(|node| node.name.as_str())) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`minik get nodes` lists them"),
    }
}

fn save(node: Option<&str>, globals: &Globals) -> Result<ExitCode> {
    let session = session::open(globals.cluster_name())?;
    let mut text = String::new();
    let mut all = Vec::new();
    for node in nodes(&session.plan, node)? {
        for (tool, dump) in drift::saved(node)? {
            // Writing to a string cannot fail.
            let _ = write!(text, "# {}: {tool}\n{dump}", node.name);
            all.push(serde_json::json!({ "node": node.name, "command": tool, "output": dump }));
        }
    }
    print::text(&print::as_data(&all, globals.output)?.unwrap_or(text)).map(|()| ExitCode::SUCCESS)
}

/// What a change did to one table, or to the sets, of a node.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Changed {
    node: String,
    /// `nat`, `ip6 nat`, or `ipset`.
    table: String,
    /// In the order of the old table.
    removed: Vec<String>,
    /// In the order of the new one.
    added: Vec<String>,
}

fn diff(node: Option<&str>, globals: &Globals) -> Result<ExitCode> {
    let session = session::open(globals.cluster_name())?;
    let Some(before) = state::before(&session.record.name)? else {
        let error = Error::new(Kind::Usage, format!("cluster `{}` was not changed since `up`", session.record.name));
        return Err(error.hint("change it with `minik apply`, `delete`, `scale`, `label`, `ready` or `switch`"));
    };
    let before = session::compute(before)?;
    let changed = differences(&before.plan, &session.plan, node)?;
    let text = match changed.as_slice() {
        [] => "the last change touched no rule and no set\n".to_owned(),
        changed => changed.iter().map(Changed::text).collect(),
    };
    print::text(&print::as_data(&changed, globals.output)?.unwrap_or(text)).map(|()| ExitCode::SUCCESS)
}

/// What leads from one plan's rules to another's, for the nodes of both.
fn differences(before: &Plan, after: &Plan, only: Option<&str>) -> Result<Vec<Changed>> {
    let mut names: Vec<&str> = after.nodes().map(|node| node.name.as_str()).collect();
    names.extend(before.nodes().map(|node| node.name.as_str()).filter(|name| after.namespace(name).is_none()));
    if let Some(name) = only.filter(|name| !names.contains(name)) {
        return Err(no_node(name, after));
    }
    let mut changed = Vec::new();
    for name in names.into_iter().filter(|name| only.is_none_or(|only| only == *name)) {
        let (old, new) = (listed(before.namespace(name)), listed(after.namespace(name)));
        let tables: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let lines = |all: &BTreeMap<String, String>, table: &str| -> Vec<String> {
            all.get(table).map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
        };
        for table in tables {
            let (old, new) = (lines(&old, table), lines(&new, table));
            let (removed, added) = lines_changed(&old, &new);
            if !removed.is_empty() || !added.is_empty() {
                changed.push(Changed { node: name.to_owned(), table: table.clone(), removed, added });
            }
        }
    }
    Ok(changed)
}

/// A node's tables as iptables-save prints them, and its sets.
fn listed(node: Option<&Namespace>) -> BTreeMap<String, String> {
    let Some(node) = node else { return BTreeMap::new() };
    let v4 = node.tables.iter().map(|table| (table.name.as_str().to_owned(), restore::table(table)));
    let v6 = node.tables6.iter().map(|table| (format!("ip6 {}", table.name.as_str()), restore::table(table)));
    let sets = (!node.sets.is_empty()).then(|| ("ipset".to_owned(), restore::ipset_restore(&node.sets)));
    let nft =
        node.nft.iter().map(|table| (format!("nft {}", nft::text::place(table)), nft::difference::commands(table)));
    let ipvs = node.ipvs.iter().map(|ipvs| ("ipvs".to_owned(), ipvs.restore()));
    v4.chain(v6).chain(nft).chain(sets).chain(ipvs).collect()
}

/// What a change took away, in the old order, and what it brought, in the new one. A rule that only stands elsewhere in
/// its chain is in both: of a chain's rules that stay, as few as can be count as moved.
fn lines_changed(old: &[String], new: &[String]) -> (Vec<String>, Vec<String>) {
    let mut places: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    old.iter().enumerate().for_each(|(at, line)| places.entry(line).or_default().push_back(at));
    let (mut kept_old, mut kept_new) = (vec![false; old.len()], vec![false; new.len()]);
    let mut chains: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (at, line) in new.iter().enumerate() {
        let Some(before) = places.get_mut(line.as_str()).and_then(VecDeque::pop_front) else { continue };
        match chain_of(line) {
            Some(chain) => chains.entry(chain).or_default().push((before, at)),
            None => (kept_old[before], kept_new[at]) = (true, true),
        }
    }
    for rules in chains.into_values() {
        for (before, at) in in_order(&rules) {
            (kept_old[before], kept_new[at]) = (true, true);
        }
    }
    let others = |all: &[String], kept: &[bool]| -> Vec<String> {
        all.iter().zip(kept).filter(|(_, kept)| !**kept).map(|(line, _)| line.clone()).collect()
    };
    (others(old, &kept_old), others(new, &kept_new))
}

/// The chain in which a line is a rule; none for a chain itself, for a set and for what is in one, which have no order.
fn chain_of(line: &str) -> Option<&str> {
    match line.strip_prefix("-A ") {
        Some(rule) => rule.split(' ').next(),
        // add rule ip kube-proxy CHAIN …
        None => line.strip_prefix("add rule ")?.split(' ').nth(2),
    }
}

/// The most of these pairs whose first numbers rise as their second ones do: a longest increasing subsequence.
fn in_order(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // The last pair of the best sequence of each length so far, and what stands before each pair in its own.
    let (mut last, mut before): (Vec<usize>, Vec<Option<usize>>) = (Vec::new(), Vec::with_capacity(pairs.len()));
    for (index, (first, _)) in pairs.iter().enumerate() {
        let length = last.partition_point(|known| pairs[*known].0 < *first);
        before.push(length.checked_sub(1).map(|shorter| last[shorter]));
        match last.get_mut(length) {
            Some(known) => *known = index,
            None => last.push(index),
        }
    }
    let steps = std::iter::successors(last.last().copied(), |index| before[*index]);
    steps.map(|index| pairs[index]).collect()
}

impl Changed {
    fn text(&self) -> String {
        let (removed, added) = (self.removed.len(), self.added.len());
        let mut text = format!("{} {} (-{removed} +{added})\n", self.node, self.table);
        self.removed.iter().for_each(|line| text.push_str(&format!("-{line}\n")));
        self.added.iter().for_each(|line| text.push_str(&format!("+{line}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        lines_changed(&lines(old), &lines(new))
    }

    #[test]
    fn lines_count_as_often_as_they_stand() {
        let (removed, added) = changed(":a\n:b\n:a\n:c", ":c\n:a\n:d");
        assert_eq!((removed, added), (vec![":b".to_owned(), ":a".to_owned()], vec![":d".to_owned()]));
        assert_eq!(changed(":c\n:a", ":a\n:c"), (Vec::new(), Vec::new()), "chains have no order");
    }

    #[test]
    fn a_rule_that_moves_is_taken_away_and_brought() {
        let rules = |chain: &str, all: &str| -> String {
            all.chars().map(|rule| format!("-A {chain} -s 10.0.0.{} -j ACCEPT\n", rule as u32)).collect()
        };
        let one = |chain: &str, rule: &str| vec![rules(chain, rule).trim().to_owned()];
        assert_eq!(changed(&rules("x", "abcd"), &rules("x", "dabc")), (one("x", "d"), one("x", "d")));
        assert_eq!(changed(&rules("x", "abcd"), &rules("x", "abcd")), (Vec::new(), Vec::new()));
        // What was deleted before it and added behind it moves no rule.
        assert_eq!(changed(&rules("x", "abcd"), &rules("x", "bcde")), (one("x", "a"), one("x", "e")));
        // The same rule twice, and chains beside each other.
        assert_eq!(changed(&rules("x", "aab"), &rules("x", "aba")), (one("x", "b"), one("x", "b")));
        let two = |x: &str, y: &str| rules("x", x) + &rules("y", y);
        assert_eq!(changed(&two("ab", "ab"), &two("ab", "ba")), (one("y", "b"), one("y", "b")));
        let nft = |all: &str| -> String { all.chars().map(|rule| format!("add rule ip t c jump {rule}\n")).collect() };
        assert_eq!(changed(&nft("ab"), &nft("ba")).0.len(), 1);
        let elements =
            |all: &str| -> String { all.chars().map(|e| format!("add element ip t s {{ {e} }}\n")).collect() };
        assert_eq!(changed(&elements("ab"), &elements("ba")), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_hundred_thousand_rules_take_no_time_to_speak_of() {
        let rules = |from: u32| -> Vec<String> {
            (0..100_000).map(|n| format!("-A x -m mark {}", (n + from) % 100_000)).collect()
        };
        let begin = std::time::Instant::now();
        let (removed, added) = lines_changed(&rules(0), &rules(7));
        assert_eq!((removed.len(), added.len()), (7, 7));
        assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
    }
}
