//! What is there before and after a change, in pairs. PURE.

use std::cell::OnceCell;
use std::collections::HashMap;

/// Two lists of things with names, of which no two in a list are called the same.
pub(super) struct Pairs<'c, T> {
    /// All of the later list in its order, each with what is called so in the earlier one.
    pub(super) now: Vec<(Option<&'c T>, &'c T)>,
    /// What only the earlier list has.
    pub(super) gone: Vec<&'c T>,
}

impl<'c, T> Pairs<'c, T> {
    /// Five thousand Services make twenty thousand chains, most of which are there before and after a change, and in the
    /// same order: so each is the next one, or else it is looked up.
    pub(super) fn by_name(before: &'c [T], after: &'c [T], name: impl Fn(&T) -> &str) -> Self {
        let mut taken = vec![false; before.len()];
        let places: OnceCell<HashMap<&str, usize>> = OnceCell::new();
        let mut next = 0;
        let mut find = |wanted: &str| {
            let at = match before.get(next) {
                Some(known) if name(known) == wanted => next,
                _ => {
                    let named = || before.iter().enumerate().map(|(at, known)| (name(known), at)).collect();
                    *places.get_or_init(named).get(wanted)?
                }
            };
            taken[at] = true;
            next = at + 1;
            Some(&before[at])
        };
        let now = after.iter().map(|one| (find(name(one)), one)).collect();
        let gone = before.iter().zip(&taken).filter(|(_, taken)| !**taken).map(|(one, _)| one).collect();
        Pairs { now, gone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finds_what_was_called_so_wherever_it_stood() {
        let (before, after) = ([("a", 1), ("b", 2), ("c", 3), ("d", 4)], [("x", 0), ("a", 1), ("d", 5), ("c", 3)]);
        let pairs = Pairs::by_name(&before, &after, |one| one.0);
        let found: Vec<(Option<i32>, i32)> = pairs.now.iter().map(|(old, new)| (old.map(|one| one.1), new.1)).collect();
        assert_eq!(found, [(None, 0), (Some(1), 1), (Some(4), 5), (Some(3), 3)]);
        assert_eq!(pairs.gone, [&("b", 2)]);
    }
}
