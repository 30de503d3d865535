//! Much of one sort, done by all processors at once.

use std::num::NonZero;
use std::thread;

/// Fewest items that are worth a thread.
const ITEMS_MIN: usize = 256;

/// What `work` makes of the items, in parts that are done at the same time; the parts' outcomes are in the items' order.
pub(super) fn in_parts<T: Sync, R: Send>(items: &[T], work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let parts = processors.min(items.len() / ITEMS_MIN);
    if parts < 2 {
        return vec![work(items)];
    }
    let (first, rest) = items.split_at(items.len().div_ceil(parts));
    thread::scope(|scope| {
        let others: Vec<_> = rest.chunks(first.len()).map(|part| scope.spawn(|| work(part))).collect();
        let own = work(first);
        let join = |other: thread::ScopedJoinHandle<'_, R>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        std::iter::once(own).chain(others.into_iter().map(join)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_all_of_it_in_order() {
        for count in [0, 1, ITEMS_MIN, 3 * ITEMS_MIN + 1] {
            let items: Vec<usize> = (0..count).collect();
            let parts = in_parts(&items, |part| part.to_vec());
            assert_eq!(parts.concat(), items);
        }
    }
}
