//! A table of nftables as a value, and the commands that make it.

use std::fmt::Write;

/// A table of nftables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// `ip` or `ip6`.
    pub family: &'static str,
    /// Its name.
    pub table: &'static str,
    /// Its comment.
    pub comment: &'static str,
    /// Its chains, base chains first.
    pub chains: Vec<NftChain>,
    /// Its sets.
    pub sets: Vec<NftSet>,
    /// Its maps.
    pub maps: Vec<NftMap>,
    /// The first chain that may still get rules: there are tens of thousands, and those of a Service stand together.
    pub(super) open: usize,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftChain {
    /// Its name.
    pub name: String,
    /// Where it hangs; none for a chain that others jump to.
    pub hook: Option<Hook>,
    /// Its comment.
    pub comment: Option<&'static str>,
    /// Its rules in nft's words.
    pub rules: Vec<String>,
}

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// `prerouting` …
    pub hook: &'static str,
    /// Lower comes first.
    pub priority: i32,
}

/// A set of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftSet {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub kind: &'static str,
    /// Its comment.
    pub comment: Option<&'static str>,
    /// Seconds after which an element is forgotten, for a set that rules fill.
    pub timeout: Option<u32>,
    /// Its elements.
    pub elements: Vec<String>,
}

/// A map to verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftMap {
    /// Its name.
    pub name: &'static str,
    /// The type of its keys.
    pub kind: String,
    /// Its comment.
    pub comment: &'static str,
    /// Its elements.
    pub elements: Vec<NftElement>,
}

/// An element of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftElement {
    /// Its key: `10.96.0.10 . udp . 53`.
    pub key: String,
    /// Its comment.
    pub comment: Option<String>,
    /// What happens: `goto …`, `drop`.
    pub verdict: String,
}

impl Ruleset {
    /// The chain of this name among those that are open, made if it is not there.
    pub(super) fn chain(&mut self, name: &str) -> &mut NftChain {
        let index = match self.chains[self.open..].iter().position(|chain| chain.name == name) {
            Some(index) => self.open + index,
            None => {
                self.chains.push(NftChain { name: name.to_owned(), hook: None, comment: None, rules: Vec::new() });
                self.chains.len() - 1
            }
        };
        &mut self.chains[index]
    }

    /// Nothing is added to the chains so far any more.
    pub(super) fn close(&mut self) {
        self.open = self.chains.len();
    }

    /// Input of `nft -f` that makes the table, and replaces one that is there, in one transaction.
    pub fn script(&self) -> String {
        let mut text = String::new();
        let place = format!("{} {}", self.family, self.table);
        let _ = writeln!(text, "add table {place}\ndelete table {place}");
        let _ = writeln!(text, "add table {place} {{ comment \"{}\" ; }}", self.comment);
        for chain in &self.chains {
            let hook =
                chain.hook.map(|Hook { kind, hook, priority }| format!("type {kind} hook {hook} priority {priority}"));
            let parts: Vec<String> =
                hook.into_iter().chain(chain.comment.map(|c| format!("comment \"{c}\""))).collect();
            let body = if parts.is_empty() { String::new() } else { format!(" {{ {} ; }}", parts.join(" ; ")) };
            let _ = writeln!(text, "add chain {place} {}{body}", chain.name);
        }
        for set in &self.sets {
            let timeout = set.timeout.map(|seconds| format!("flags dynamic,timeout ; timeout {seconds}s ; "));
            let comment = set.comment.map(|comment| format!("comment \"{comment}\" ; "));
            let rest: String = timeout.into_iter().chain(comment).collect();
            let _ = writeln!(text, "add set {place} {} {{ type {} ; {rest}}}", set.name, set.kind);
            for element in &set.elements {
                let _ = writeln!(text, "add element {place} {} {{ {element} }}", set.name);
            }
        }
        for map in &self.maps {
            let NftMap { name, kind, comment, .. } = map;
            let _ = writeln!(text, "add map {place} {name} {{ type {kind} : verdict ; comment \"{comment}\" ; }}");
            for NftElement { key, comment, verdict } in &map.elements {
                let comment = comment.as_ref().map(|comment| format!(" comment \"{comment}\"")).unwrap_or_default();
                let _ = writeln!(text, "add element {place} {name} {{ {key}{comment} : {verdict} }}");
            }
        }
        for chain in &self.chains {
            for rule in &chain.rules {
                let _ = writeln!(text, "add rule {place} {} {rule}", chain.name);
            }
        }
        text
    }
}
