//! What leads from one namespace's sets and rules to another's: only the chains that differ, only the members that differ.
//! PURE.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use super::netfilter::{Chain, IpSet, Member, Rule, Table};
use super::pairs::Pairs;
use super::restore;

/// Most rules that are taken out of a chain or put into it one by one. A chain's rules are numbered, and the tool walks
/// along them for each.
const SINGLE_RULES_MAX: usize = 64;

/// How much longer than that a chain must be: writing a short one anew costs nothing.
const SINGLE_RULES_SHARE: usize = 8;

/// How a chain that differs is made what it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the rules that differ, where they are few: it holds what the plan before says.
    ByRules,
    /// All of it, whatever is in it.
    Whole,
}

/// Input of `iptables-restore --noflush` that makes the tables `after` of `before`; empty if they are the same. Chains
/// that are the same in both keep their rules and counters; each table changes in one step. Of a long chain in which few
/// rules differ only these are touched: KUBE-SERVICES has one for every Service, and the tool needs longest for it.
pub fn tables(before: &[Table], after: &[Table]) -> String {
    all(before, after, Way::ByRules)
}

/// The same where live chains may be other than `before` says: those that differ are written whole, and what is to go
/// may be gone.
pub fn tables_whole(before: &[Table], after: &[Table]) -> String {
    all(before, after, Way::Whole)
}

fn all(before: &[Table], after: &[Table], way: Way) -> String {
    let find = |tables: &'_ [Table], table: &Table| tables.iter().position(|one| one.name == table.name);
    let mut text = String::new();
    for table in after {
        let known: &[Chain] = find(before, table).map_or(&[], |at| &before[at].chains);
        chains(table.name.as_str(), known, &table.chains, way, &mut text);
    }
    for table in before.iter().filter(|table| find(after, table).is_none()) {
        // As a table is that nobody uses.
        let empty =
            |chain: &Chain| Chain { policy: Some(super::netfilter::Policy::Accept), rules: vec![], ..chain.clone() };
        let built_in: Vec<Chain> = table.chains.iter().filter(|chain| chain.policy.is_some()).map(empty).collect();
        chains(table.name.as_str(), &table.chains, &built_in, way, &mut text);
    }
    text
}

/// The same for these chains alone, whatever is in them: for chains that somebody else changed.
pub fn reload(table: &Table, names: &BTreeSet<&str>) -> String {
    let others: Vec<Chain> =
        table.chains.iter().filter(|chain| !names.contains(chain.name.as_str())).cloned().collect();
    let mut text = String::new();
    chains(table.name.as_str(), &others, &table.chains, Way::Whole, &mut text);
    text
}

fn chains(table: &str, before: &[Chain], after: &[Chain], way: Way, text: &mut String) {
    let Pairs { now: mut changed, gone } = Pairs::by_name(before, after, |chain| &chain.name);
    changed.retain(|(known, chain)| known.is_none_or(|known| known != *chain));
    if changed.is_empty() && gone.is_empty() {
        return;
    }
    let (mut whole, mut singles) = (Vec::new(), Vec::new());
    for (known, chain) in changed {
        match known.filter(|_| way == Way::ByRules).and_then(|known| Singles::between(known, chain)) {
            Some(few) => singles.push(few),
            None => whole.push(chain),
        }
    }
    // Writing to a string cannot fail.
    let _ = write(table, &whole, &singles, &gone, way, text);
}

fn write(
    table: &str,
    whole: &[&Chain],
    singles: &[Singles<'_>],
    gone: &[&Chain],
    way: Way,
    text: &mut String,
) -> fmt::Result {
    writeln!(text, "*{table}")?;
    // A chain of a user that is named so is emptied, one of the kernel's is not.
    for chain in whole {
        restore::write_chain(chain, text)?;
    }
    for chain in gone.iter().filter(|_| way == Way::Whole) {
        restore::write_chain(chain, text)?;
    }
    for chain in whole.iter().filter(|chain| chain.policy.is_some()).chain(gone) {
        writeln!(text, "-F {}", chain.name)?;
    }
    for chain in whole {
        for rule in &chain.rules {
            restore::write_rule("-A", &chain.name, rule, text)?;
            text.push('\n');
        }
    }
    for few in singles {
        few.write(text)?;
    }
    for chain in gone {
        writeln!(text, "-X {}", chain.name)?;
    }
    text.push_str("COMMIT\n");
    Ok(())
}

/// The rules of one place of a chain that differ.
struct Singles<'c> {
    chain: &'c str,
    /// How many rules stand before it in both.
    prefix: usize,
    gone: &'c [Rule],
    new: &'c [Rule],
}

impl<'c> Singles<'c> {
    /// What differs between two versions of a chain, if it is little and all in one place.
    fn between(before: &'c Chain, after: &'c Chain) -> Option<Singles<'c>> {
        let (old, new) = (&before.rules[..], &after.rules[..]);
        if before.policy != after.policy {
            return None;
        }
        let prefix = old.iter().zip(new).take_while(|(old, new)| old == new).count();
        let (old_rest, new_rest) = (&old[prefix..], &new[prefix..]);
        let suffix = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
        let gone = &old_rest[..old_rest.len() - suffix];
        let new = &new_rest[..new_rest.len() - suffix];
        let few = (gone.len() + new.len()) <= SINGLE_RULES_MAX.min(old.len() / SINGLE_RULES_SHARE);
        // Rules that go are named, not numbered, so that none of somebody else's goes in their stead. The first one that
        // reads so goes.
        let unique = gone.iter().enumerate().all(|(at, rule)| !old[..prefix + at].contains(rule));
        (few && unique).then_some(Singles { chain: &after.name, prefix, gone, new })
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        for rule in self.gone {
            restore::write_rule("-D", self.chain, rule, text)?;
            text.push('\n');
        }
        for (number, rule) in self.new.iter().enumerate() {
            restore::write_rule("-I", &format!("{} {}", self.chain, self.prefix + number + 1), rule, text)?;
            text.push('\n');
        }
        Ok(())
    }
}

/// Input of `ipset restore -exist` before the rules change: new sets, new members, and members that are none any more.
pub fn sets(before: &[IpSet], after: &[IpSet]) -> String {
    let mut text = String::new();
    for set in after {
        let known = before.iter().find(|one| same_sort(one, set));
        if known.is_none() {
            let _ = writeln!(text, "{}", restore::create_set(set));
        }
        let old: BTreeSet<&Member> = known.iter().flat_map(|one| &one.members).collect();
        let new: BTreeSet<&Member> = set.members.iter().collect();
        new.difference(&old).for_each(|member| text.push_str(&format!("add {} {member}\n", set.name)));
        old.difference(&new).for_each(|member| text.push_str(&format!("del {} {member}\n", set.name)));
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
    fn of_a_long_chain_only_the_rules_that_differ_are_touched() {
        let names: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
        let long = |change: fn(&mut Vec<&str>)| {
            let mut names = names.iter().map(String::as_str).collect();
            change(&mut names);
            table(vec![chain("services", &names)])
        };
        let all = long(|_| ());
        let one_other = long(|names| names.splice(20..21, ["x", "y"]).for_each(drop));
        assert_eq!(
            tables(&all, &one_other),
            "*filter\n-D services -j c20\n-I services 21 -j x\n-I services 22 -j y\nCOMMIT\n"
        );
        assert_eq!(
            tables(&one_other, &all),
            "*filter\n-D services -j x\n-D services -j y\n-I services 21 -j c20\nCOMMIT\n"
        );
        let last = long(|names| names.push("x"));
        assert_eq!(tables(&all, &last), "*filter\n-I services 41 -j x\nCOMMIT\n");
        assert!(tables_whole(&all, &one_other).starts_with("*filter\n:services - [0:0]\n-A services -j c0\n"));
        // Too much of it, a rule that also stands before, a short chain: written anew.
        let many = long(|names| names.drain(10..16).for_each(drop));
        let twice = long(|names| names[30] = "c0");
        for (before, after) in [(&all, &many), (&twice, &all)] {
            assert!(tables(before, after).contains(":services - [0:0]"));
        }
    }

    #[test]
    fn what_is_to_go_may_be_gone() {
        let (before, after) = (table(vec![chain("a", &["b"]), chain("b", &[])]), table(vec![chain("a", &[])]));
        assert_eq!(tables_whole(&before, &after), "*filter\n:a - [0:0]\n:b - [0:0]\n-F b\n-X b\nCOMMIT\n");
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
            capacity: IpSet::CAPACITY,
            members: members.iter().map(|member| Member::Net(member.parse().unwrap())).collect(),
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
