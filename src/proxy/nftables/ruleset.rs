//! kube-proxy's table under construction.

use crate::plan::nft::{NftChain, NftElement, NftKey, NftMap, NftRule, NftSet, NftTable, Statement, Verdict};

/// A table that grows Service by Service.
pub(super) struct Ruleset {
    /// What it becomes.
    pub table: NftTable,
    /// The first chain that may still get rules: there are tens of thousands, and those of a Service stand together.
    open: usize,
    /// How many of the first sets are of all Services.
    shared: usize,
}

impl Ruleset {
    pub fn new(table: NftTable) -> Ruleset {
        let shared = table.sets.len();
        Ruleset { table, open: 0, shared }
    }

    /// The chain of this name among those that are open, made if it is not there.
    pub fn chain(&mut self, name: &str) -> &mut NftChain {
        let chains = &mut self.table.chains;
        let index = match chains[self.open..].iter().position(|chain| chain.name == name) {
            Some(index) => self.open + index,
            None => {
                chains.push(NftChain { name: name.to_owned(), hook: None, comment: None, rules: Vec::new() });
                chains.len() - 1
            }
        };
        &mut chains[index]
    }

    /// Nothing is added to the chains so far any more.
    pub fn close(&mut self) {
        self.open = self.table.chains.len();
    }

    /// The same sets and maps, empty, and no chains: what is added to it can be joined.
    pub fn part(&self) -> Ruleset {
        let NftTable { family, name, comment, sets, maps, .. } = &self.table;
        let sets = sets.iter().map(|set| NftSet { elements: Vec::new(), ..set.clone() }).collect();
        let maps = maps.iter().map(|map| NftMap { elements: Vec::new(), ..map.clone() }).collect();
        let (name, comment) = (name.clone(), comment.clone());
        Ruleset::new(NftTable { family: *family, name, comment, sets, maps, chains: Vec::new() })
    }

    /// Adds what was added to such a part.
    pub fn join(&mut self, part: Ruleset) {
        let NftTable { sets, maps, chains, .. } = part.table;
        let mut sets = sets.into_iter();
        let shared = self.table.sets[..part.shared].iter_mut();
        shared.zip(sets.by_ref()).for_each(|(own, other)| own.elements.extend(other.elements));
        self.table.sets.extend(sets);
        self.table.maps.iter_mut().zip(maps).for_each(|(own, other)| own.elements.extend(other.elements));
        self.table.chains.extend(chains);
    }

    /// Puts an element into a map. One that is there already stands in it twice: [`table`](super::table) leaves the first.
    pub fn put(&mut self, map: &str, key: NftKey, comment: Option<&str>, verdict: Verdict) {
        let element = NftElement { key, comment: comment.map(str::to_owned), verdict };
        if let Some(map) = self.table.maps.iter_mut().find(|known| known.name == map) {
            map.elements.push(element);
        }
    }
}

/// A rule of these statements.
pub(super) fn rule(statements: Vec<Statement>, comment: Option<&str>) -> NftRule {
    NftRule { statements, comment: comment.map(str::to_owned) }
}

/// `goto CHAIN`.
pub(super) fn to(chain: &str) -> Verdict {
    Verdict::Goto { chain: chain.to_owned() }
}
