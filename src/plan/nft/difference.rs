//! What leads from one namespace's tables of nftables to another's: only the chains and elements that differ. PURE.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};

use super::text::{self, place};
use super::{NftChain, NftMap, NftSet, NftTable};
use crate::plan::pairs::Pairs;

/// Inputs of `nft -f`, one transaction each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps {
    /// What makes the difference.
    pub change: String,
    /// What takes away chains, sets and maps that nothing leads to any more. As kube-proxy, in a transaction of its own:
    /// some kernels do not let a chain go in that which takes away the last element that leads to it.
    pub removal: String,
}

/// What makes the tables `after` of `before`; empty where they are the same.
pub fn tables(before: &[NftTable], after: &[NftTable]) -> Steps {
    let same = |one: &NftTable, other: &NftTable| one.family == other.family && one.name == other.name;
    let mut steps = Steps::default();
    for table in before.iter().filter(|one| !after.iter().any(|other| same(one, other))) {
        let _ = writeln!(steps.change, "delete table {}", place(table));
    }
    for table in after {
        let known = before.iter().find(|one| same(one, table)).filter(|known| known.comment == table.comment);
        match known.map(|known| Objects::of(known, table)).filter(Objects::stay) {
            Some(objects) => objects.change(table, &mut steps),
            None => steps.change.push_str(&text::script(std::slice::from_ref(table))),
        }
    }
    steps
}

/// Input of `nft -f` that makes the tables `after`, whatever there is of these and of `before`.
pub fn anew(before: &[NftTable], after: &[NftTable]) -> String {
    let places: BTreeSet<String> = after.iter().map(place).collect();
    let gone = before.iter().map(place).filter(|place| !places.contains(place));
    let gone: String = gone.map(|place| format!("add table {place}\ndelete table {place}\n")).collect();
    gone + &text::script(after)
}

/// The commands that make a table, one for each object, element and rule: what is in it, line by line.
pub fn commands(table: &NftTable) -> String {
    let mut all = Change::new(table);
    table.sets.iter().for_each(|set| all.add_set(set));
    table.maps.iter().for_each(|map| all.add_map(map));
    table.chains.iter().for_each(|chain| all.add_chain(chain));
    for set in &table.sets {
        set.elements.chunks(1).for_each(|one| all.elements("add", &set.name, one));
    }
    for map in &table.maps {
        map.elements.chunks(1).for_each(|one| all.elements("add", &map.name, one));
    }
    table.chains.iter().for_each(|chain| all.rules(chain));
    all.text
}

/// Input of `nft -f` that makes these chains, sets and maps of a table what they are to be, whatever is in them, and others
/// if they are not there.
pub fn reload(table: &NftTable, objects: &BTreeSet<&str>) -> String {
    let mut change = Change::new(table);
    change.line(format_args!("add table {} {{ comment \"{}\" ; }}", place(table), table.comment));
    table.sets.iter().for_each(|set| change.add_set(set));
    table.maps.iter().for_each(|map| change.add_map(map));
    table.chains.iter().for_each(|chain| change.add_chain(chain));
    for set in table.sets.iter().filter(|set| objects.contains(set.name.as_str())) {
        change.verb("flush set", &set.name);
        change.elements("add", &set.name, &set.elements);
    }
    for map in table.maps.iter().filter(|map| objects.contains(map.name.as_str())) {
        change.verb("flush map", &map.name);
        change.elements("add", &map.name, &map.elements);
    }
    for chain in table.chains.iter().filter(|chain| objects.contains(chain.name.as_str())) {
        change.verb("flush chain", &chain.name);
        change.rules(chain);
    }
    change.text
}

/// What two tables of one name hold.
struct Objects<'t> {
    sets: Pairs<'t, NftSet>,
    maps: Pairs<'t, NftMap>,
    chains: Pairs<'t, NftChain>,
}

impl<'t> Objects<'t> {
    fn of(before: &'t NftTable, after: &'t NftTable) -> Objects<'t> {
        Objects {
            sets: Pairs::by_name(&before.sets, &after.sets, |set| &set.name),
            maps: Pairs::by_name(&before.maps, &after.maps, |map| &map.name),
            chains: Pairs::by_name(&before.chains, &after.chains, |chain| &chain.name),
        }
    }

    /// Whether all that is in both has the same type, hook and comment, which stay as they were made.
    fn stay(&self) -> bool {
        let (sets, maps, chains) = (&self.sets.now, &self.maps.now, &self.chains.now);
        sets.iter().all(|(one, set)| one.is_none_or(|one| (one.timeout, &one.comment) == (set.timeout, &set.comment)))
            && maps.iter().all(|(one, map)| {
                one.is_none_or(|one| (one.by_address, &one.comment) == (map.by_address, &map.comment))
            })
            && chains
                .iter()
                .all(|(one, chain)| one.is_none_or(|one| (one.hook, &one.comment) == (chain.hook, &chain.comment)))
    }

    /// The steps to the later table.
    fn change(&self, after: &NftTable, steps: &mut Steps) {
        let Objects { sets, maps, chains } = self;
        let mut change = Change::new(after);
        new(sets).for_each(|set| change.add_set(set));
        new(maps).for_each(|map| change.add_map(map));
        new(chains).for_each(|chain| change.add_chain(chain));
        let other: Vec<(bool, &NftChain)> = (chains.now.iter())
            .filter(|(one, chain)| one.is_none_or(|one| one.rules != chain.rules))
            .map(|(one, chain)| (one.is_some(), *chain))
            .collect();
        let flushed = other.iter().filter(|(was_there, _)| *was_there).map(|(_, chain)| *chain);
        flushed.chain(chains.gone.iter().copied()).for_each(|chain| change.verb("flush chain", &chain.name));
        for (known, set) in &sets.now {
            change.exchange(&set.name, known.map_or(&[], |one| &one.elements), &set.elements, |element| *element);
        }
        for (known, map) in &maps.now {
            change.exchange(&map.name, known.map_or(&[], |one| &one.elements), &map.elements, |element| element.key);
        }
        other.iter().for_each(|(_, chain)| change.rules(chain));
        steps.change.push_str(&change.text);
        let mut removal = Change::new(after);
        chains.gone.iter().for_each(|chain| removal.verb("delete chain", &chain.name));
        sets.gone.iter().for_each(|set| removal.verb("delete set", &set.name));
        maps.gone.iter().for_each(|map| removal.verb("delete map", &map.name));
        steps.removal.push_str(&removal.text);
    }
}

fn new<'p, T>(pairs: &'p Pairs<'_, T>) -> impl Iterator<Item = &'p T> {
    pairs.now.iter().filter(|(known, _)| known.is_none()).map(|(_, one)| *one)
}

/// Commands about one table.
struct Change {
    place: String,
    family: super::Family,
    text: String,
}

impl Change {
    fn new(table: &NftTable) -> Change {
        Change { place: place(table), family: table.family, text: String::new() }
    }

    fn line(&mut self, words: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{words}");
    }

    /// `delete chain ip kube-proxy x`.
    fn verb(&mut self, verb: &str, name: &str) {
        let line = format!("{verb} {} {name}", self.place);
        self.line(line);
    }

    fn add_set(&mut self, set: &NftSet) {
        let body = text::set_body(set, self.family).join(" ; ");
        let line = format!("add set {} {} {{ {body} ; }}", self.place, set.name);
        self.line(line);
    }

    fn add_map(&mut self, map: &NftMap) {
        let line = format!("add map {} {} {{ {} ; }}", self.place, map.name, text::map_body(map).join(" ; "));
        self.line(line);
    }

    fn add_chain(&mut self, chain: &NftChain) {
        let body: Vec<String> =
            text::chain_body(chain).iter().map(|line| line.trim_end_matches(';').to_owned()).collect();
        let body = if body.is_empty() { String::new() } else { format!(" {{ {} ; }}", body.join(" ; ")) };
        let line = format!("add chain {} {}{body}", self.place, chain.name);
        self.line(line);
    }

    fn rules(&mut self, chain: &NftChain) {
        for rule in &chain.rules {
            let line = format!("add rule {} {} {rule}", self.place, chain.name);
            self.line(line);
        }
    }

    fn elements(&mut self, verb: &str, name: &str, elements: &[impl Display]) {
        if !elements.is_empty() {
            let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
            let line = format!("{verb} element {} {name} {{ {} }}", self.place, elements.join(", "));
            self.line(line);
        }
    }

    /// Deletes the elements that only `before` has, by what they are known by, and adds those that only `after` has.
    fn exchange<T: Ord + Display, K: Display>(&mut self, name: &str, before: &[T], after: &[T], key: impl Fn(&T) -> K) {
        // There may be tens of thousands, most of which are the same in the same place.
        let same = before.iter().zip(after).take_while(|(old, new)| old == new).count();
        let (before, after) = (&before[same..], &after[same..]);
        let same = before.iter().rev().zip(after.iter().rev()).take_while(|(old, new)| old == new).count();
        let (before, after) = (&before[..before.len() - same], &after[..after.len() - same]);
        let (old, new): (BTreeSet<&T>, BTreeSet<&T>) = (before.iter().collect(), after.iter().collect());
        let gone: Vec<K> = old.difference(&new).map(|element| key(element)).collect();
        self.elements("delete", name, &gone);
        let fresh: Vec<&T> = new.difference(&old).copied().collect();
        self.elements("add", name, &fresh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Family;
    use crate::plan::nft::{NftElement, NftKey, NftRule, Statement, Verdict};

    fn chain(name: &str, to: &str) -> NftChain {
        let verdict = Statement::Verdict(Verdict::Goto { chain: to.into() });
        let rules = vec![NftRule { statements: vec![verdict], comment: None }];
        NftChain { name: name.into(), hook: None, comment: None, rules }
    }

    fn table(endpoints: &[&str]) -> NftTable {
        let element = |(port, to): (u16, &&str)| NftElement {
            key: NftKey { address: None, protocol: 6, port },
            comment: None,
            verdict: Verdict::Goto { chain: (*to).into() },
        };
        let elements = (80..).zip(endpoints).map(element).collect();
        NftTable {
            family: Family::Inet,
            name: "t".into(),
            comment: "c".into(),
            sets: Vec::new(),
            maps: vec![NftMap { name: "m".into(), comment: "c".into(), by_address: None, elements }],
            chains: endpoints
                .iter()
                .map(|name| chain(name, "end"))
                .chain([chain("end", "x"), chain("x", "x")])
                .collect(),
        }
    }

    #[test]
    fn only_what_differs_is_touched_and_what_is_gone_goes_last() {
        let (before, after) = ([table(&["a", "b"])], [table(&["a", "c", "d"])]);
        let steps = tables(&before, &after);
        assert_eq!(
            steps.change,
            "add chain ip t c\nadd chain ip t d\nflush chain ip t b\ndelete element ip t m { tcp . 81 }\n\
             add element ip t m { tcp . 81 : goto c, tcp . 82 : goto d }\nadd rule ip t c goto end\nadd rule ip t d goto end\n"
        );
        assert_eq!(steps.removal, "delete chain ip t b\n");
        assert_eq!(tables(&after, &after), Steps::default());
    }

    #[test]
    fn tables_come_and_go_and_what_cannot_change_is_made_anew() {
        let (none, some) = (Vec::new(), vec![table(&["a"])]);
        assert_eq!(tables(&some, &none).change, "delete table ip t\n");
        assert_eq!(tables(&none, &some).change, text::script(&some));
        let mut other = some.clone();
        other[0].maps[0].by_address = Some(Family::Inet);
        assert_eq!(tables(&other, &some).change, text::script(&some));
    }

    #[test]
    fn what_was_spoiled_is_filled_again() {
        let all = table(&["a"]);
        let text = reload(&all, &BTreeSet::from(["m", "a"]));
        assert!(text.ends_with(
            "flush map ip t m\nadd element ip t m { tcp . 80 : goto a }\nflush chain ip t a\nadd rule ip t a goto end\n"
        ));
        assert!(text.contains("add chain ip t x\n") && !text.contains("flush chain ip t x"), "{text}");
    }
}
