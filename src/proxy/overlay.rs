//! Chains of one program, and the jumps to them from chains that others use too.

use std::collections::{BTreeMap, HashMap};

use crate::plan::netfilter::{Chain, Rule, Table, TableName, Target};
use crate::plan::{Family, Namespace};

/// The chains that a program makes in a node, and how packets get there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Its chains with their rules.
    pub chains: Vec<(TableName, Chain)>,
    /// Its rules in others' chains, in the order in which it puts them there.
    pub jumps: Vec<Jump>,
}

/// A rule in a chain that others use too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// The table.
    pub table: TableName,
    /// The chain that it is put into.
    pub from: String,
    /// The rule.
    pub rule: Rule,
    /// Where in the chain.
    pub place: Place,
}

/// Where a rule is put into a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before all others (`iptables -I`), but behind Felix's, which puts its own to the head again.
    Head,
    /// Behind all others (`iptables -A`).
    Tail,
}

impl Overlay {
    /// Puts the overlay into a node's tables of one family. A jump that is there already stays where it is.
    pub fn onto(self, namespace: &mut Namespace, family: Family) {
        let tables = match family {
            Family::Inet => &mut namespace.tables,
            Family::Inet6 => &mut namespace.tables6,
        };
        self.into_tables(tables);
    }

    /// As [`Overlay::onto`], for a list of tables.
    pub fn into_tables(self, tables: &mut Vec<Table>) {
        // There may be tens of thousands of chains: those that are there already are looked up, not searched for.
        let place = |table: &Table| {
            let named = table.chains.iter().enumerate().map(|(index, chain)| (chain.name.clone(), index));
            (table.name, named.collect::<HashMap<String, usize>>())
        };
        let present: BTreeMap<TableName, HashMap<String, usize>> = tables.iter().map(place).collect();
        for (name, chain) in self.chains {
            let table = table(tables, name);
            let index = present.get(&name).and_then(|chains| chains.get(&chain.name));
            match index.and_then(|index| table.chains.get_mut(*index)) {
                // A chain that two programs write has the rules of both, those of the later one first.
                Some(known) => {
                    let earlier = std::mem::replace(&mut known.rules, chain.rules);
                    let others: Vec<Rule> = earlier.into_iter().filter(|rule| !known.rules.contains(rule)).collect();
                    known.rules.extend(others);
                }
                None => table.chains.push(chain),
            }
        }
        for jump in self.jumps {
            let table = table(tables, jump.table);
            let Some(chain) = table.chains.iter_mut().find(|chain| chain.name == jump.from) else { continue };
            if chain.rules.contains(&jump.rule) {
                continue;
            }
            match jump.place {
                Place::Head => {
                    let first = chain.rules.iter().take_while(|rule| is_felixs(rule)).count();
                    chain.rules.insert(first, jump.rule);
                }
                Place::Tail => chain.rules.push(jump.rule),
            }
        }
    }
}

/// Felix looks after its rules in built-in chains: whatever is inserted before them gets behind them again.
fn is_felixs(rule: &Rule) -> bool {
    matches!(&rule.target, Some(Target::Jump { chain } | Target::Goto { chain }) if chain.starts_with("cali-"))
}

/// The table of this name, made with its built-in chains if it is not there.
fn table(tables: &mut Vec<Table>, name: TableName) -> &mut Table {
    let index = match tables.iter().position(|table| table.name == name) {
        Some(index) => index,
        None => {
            let index = tables.iter().position(|table| table.name > name).unwrap_or(tables.len());
            tables.insert(index, Table::new(name));
            index
        }
    };
    &mut tables[index]
}
