//! `minik rules`: what nodes have loaded, and what the last change of the cluster did to it.

use std::collections::BTreeMap;
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
            let (removed, added) = (missing(&old, &new), missing(&new, &old));
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
    v4.chain(v6).chain(nft).chain(sets).collect()
}

/// The lines of `all` that `others` has not, or not so often.
fn missing(all: &[String], others: &[String]) -> Vec<String> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    others.iter().for_each(|line| *left.entry(line).or_default() += 1);
    let is_missing = |line: &&String| match left.get_mut(line.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    all.iter().filter(is_missing).cloned().collect()
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

    #[test]
    fn lines_count_as_often_as_they_stand() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(missing(&lines("a b a c"), &lines("c a")), ["b", "a"]);
        assert!(missing(&lines("c a"), &lines("a b a c")).is_empty());
    }
}
