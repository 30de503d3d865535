//! What leads from one namespace's sets and rules to another's: only the chains that differ, only the members that differ.
//! PURE.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ipnet::IpNet;

use super::netfilter::{Chain, IpSet, Table};
use super::{prefix, restore};

/// Input of `iptables-restore --noflush` that makes the tables `after` of `before`; empty if they are the same. Chains
/// that are the same in both keep their rules and counters; each table changes in one step.
pub fn tables(before: &[Table], after: &[Table]) -> String {
    let find = |tables: &'_ [Table], table: &Table| tables.iter().position(|one| one.name == table.name);
    let mut text = String::new();
    for table in after {
        let known: &[Chain] = find(before, table).map_or(&[], |at| &before[at].chains);
        text.push_str(&chains(table.name.as_str(), known, &table.chains));
    }
    for table in before.iter().filter(|table| find(after, table).is_none()) {
        // As a table is that nobody uses.
        let empty =
            |chain: &Chain| Chain { policy: Some(super::netfilter::Policy::Accept), rules: vec![], ..chain.clone() };
        let built_in: Vec<Chain> = table.chains.iter().filter(|chain| chain.policy.is_some()).map(empty).collect();
        text.push_str(&chains(table.name.as_str(), &table.chains, &built_in));
    }
    text
}

/// The same for these chains alone, whatever is in them: for chains that somebody else changed.
pub fn reload(table: &Table, names: &BTreeSet<&str>) -> String {
    let others: Vec<Chain> =
        table.chains.iter().filter(|chain| !names.contains(chain.name.as_str())).cloned().collect();
    chains(table.name.as_str(), &others, &table.chains)
}

fn chains(table: &str, before: &[Chain], after: &[Chain]) -> String {
    // Five thousand Services make twenty thousand chains.
    let by_name: BTreeMap<&str, &Chain> = before.iter().map(|chain| (chain.name.as_str(), chain)).collect();
    let stay: BTreeSet<&str> = after.iter().map(|chain| chain.name.as_str()).collect();
    let known = |chain: &Chain| by_name.get(chain.name.as_str()).is_some_and(|one| *one == chain);
    let changed: Vec<&Chain> = after.iter().filter(|chain| !known(chain)).collect();
    let gone: Vec<&Chain> = before.iter().filter(|chain| !stay.contains(chain.name.as_str())).collect();
    if changed.is_empty() && gone.is_empty() {
        return String::new();
    }
    let mut text = format!("*{table}\n");
    for chain in &changed {
        // A chain of a user that is named so is emptied, one of the kernel's is not.
        let policy = chain.policy.map_or("-".to_owned(), |policy| policy.to_string());
        let _ = writeln!(text, ":{} {policy} [0:0]", chain.name);
    }
    let built_in = changed.iter().filter(|chain| chain.policy.is_some());
    built_in.chain(&gone).for_each(|chain| text.push_str(&format!("-F {}\n", chain.name)));
    for chain in &changed {
        for rule in &chain.rules {
            let _ = writeln!(text, "{}", restore::append(&chain.name, rule));
        }
    }
    gone.iter().for_each(|chain| text.push_str(&format!("-X {}\n", chain.name)));
    text.push_str("COMMIT\n");
    text
}

/// Input of `ipset restore -exist` before the rules change: new sets, new members, and members that are none any more.
pub fn sets(before: &[IpSet], after: &[IpSet]) -> String {
    let mut text = String::new();
    for set in after {
        let known = before.iter().find(|one| same_sort(one, set));
        if known.is_none() {
            let _ = writeln!(text, "{}", restore::create_set(set));
        }
        let old: BTreeSet<&IpNet> = known.iter().flat_map(|one| &one.members).collect();
        let new: BTreeSet<&IpNet> = set.members.iter().collect();
        new.difference(&old).for_each(|member| text.push_str(&format!("add {} {}\n", set.name, prefix(member))));
        old.difference(&new).for_each(|member| text.push_str(&format!("del {} {}\n", set.name, prefix(member))));
    }
    text
}

/// Names of the sets that are to be destroyed when no rule names them any more.
pub fn vanished_sets<'p>(before: &'p [IpSet], after: &[IpSet]) -> Vec<&'p str> {
    let gone = |set: &&IpSet| !after.iter().any(|one| one.name == set.name);
    before.iter().filter(gone).map(|set| set.name.as_str()).collect()
}

/// Names of the sets that are of another sort afterwards, which no set can become: no mode has one.
pub fn changed_sorts<'p>(before: &[IpSet], after: &'p [IpSet]) -> Vec<&'p str> {
    let other = |set: &&IpSet| before.iter().any(|one| one.name == set.name && !same_sort(one, set));
    after.iter().filter(other).map(|set| set.name.as_str()).collect()
}

fn same_sort(one: &IpSet, other: &IpSet) -> bool {
    one.name == other.name && one.kind == other.kind && one.family == other.family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::netfilter::{Family, Policy, Rule, TableName, Target};

    fn chain(name: &str, targets: &[&str]) -> Chain {
        let policy = name.chars().all(char::is_uppercase).then_some(Policy::Accept);
        let jump = |target: &&str| Rule { target: Some(Target::Jump { chain: (*target).into() }), ..Rule::default() };
        Chain { name: name.into(), policy, rules: targets.iter().map(jump).collect() }
    }

    fn table(chains: Vec<Chain>) -> Vec<Table> {
        vec![Table { name: TableName::Filter, chains }]
    }

    #[test]
    fn only_chains_that_differ_are_written() {
        let before = table(vec![chain("INPUT", &["a"]), chain("FORWARD", &["b"]), chain("a", &[]), chain("b", &[])]);
        let after = table(vec![chain("INPUT", &["a"]), chain("FORWARD", &["c"]), chain("a", &[]), chain("c", &["a"])]);
        assert_eq!(
            tables(&before, &after),
            "*filter\n:FORWARD ACCEPT [0:0]\n:c - [0:0]\n-F FORWARD\n-F b\n-A FORWARD -j c\n-A c -j a\n-X b\nCOMMIT\n"
        );
        assert_eq!(tables(&after, &after), "");
    }

    #[test]
    fn a_table_that_nobody_uses_any_more_is_emptied() {
        let before = table(vec![chain("INPUT", &["a"]), chain("OUTPUT", &[]), chain("a", &[])]);
        assert_eq!(tables(&before, &[]), "*filter\n:INPUT ACCEPT [0:0]\n-F INPUT\n-F a\n-X a\nCOMMIT\n");
        assert_eq!(tables(&[], &before).matches(" [0:0]").count(), 3);
    }

    #[test]
    fn chains_that_were_spoiled_are_written_anew() {
        let all = table(vec![chain("INPUT", &["a"]), chain("a", &["b"]), chain("b", &[])]);
        assert_eq!(reload(&all[0], &BTreeSet::from(["a"])), "*filter\n:a - [0:0]\n-A a -j b\nCOMMIT\n");
    }

    #[test]
    fn sets_change_by_their_members() {
        let set = |name: &str, members: &[&str]| IpSet {
            name: name.into(),
            kind: "hash:net".into(),
            family: Family::Inet,
            members: members.iter().map(|member| member.parse().unwrap()).collect(),
        };
        let before = [set("a", &["10.0.0.0/8", "10.1.0.1/32"]), set("b", &[])];
        let after = [set("a", &["10.0.0.0/8", "10.2.0.1/32"]), set("c", &["10.0.0.0/8"])];
        assert_eq!(
            sets(&before, &after),
            "add a 10.2.0.1\ndel a 10.1.0.1\ncreate c hash:net family inet hashsize 1024 maxelem 1048576\nadd c 10.0.0.0/8\n"
        );
        assert_eq!(vanished_sets(&before, &after), ["b"]);
        assert_eq!(changed_sorts(&before, &[IpSet { family: Family::Inet6, ..set("a", &[]) }]), ["a"]);
    }
}
