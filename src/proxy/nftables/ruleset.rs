//! kube-proxy's table under construction.

use crate::plan::nft::{NftChain, NftElement, NftKey, NftRule, NftTable, Statement, Verdict};

/// A table that grows Service by Service.
pub(super) struct Ruleset {
    /// What it becomes.
    pub table: NftTable,
    /// The first chain that may still get rules: there are tens of thousands, and those of a Service stand together.
    open: usize,
}

impl Ruleset {
    pub fn new(table: NftTable) -> Ruleset {
        Ruleset { table, open: 0 }
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
