//! Much of one sort, done by all processors at once. PURE.

use std::num::NonZero;
use std::panic;
use std::thread::{self, ScopedJoinHandle};

/// Fewest items that are worth a thread.
const ITEMS_MIN: usize = 256;

/// What `work` makes of the items, in parts that are done at the same time; the parts' outcomes are in the items' order.
pub(crate) fn in_parts<T: Sync, R: Send>(items: &[T], work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let worth = items.len() / ITEMS_MIN;
    // How many processors there are is read from files, which takes longer than work on few items.
    let parts = if worth < 2 { 1 } else { thread::available_parallelism().map_or(1, NonZero::get).min(worth) };
    if parts < 2 {
        return vec![work(items)];
    }
    let (first, rest) = items.split_at(items.len().div_ceil(parts));
    thread::scope(|scope| {
        let others: Vec<_> = rest.chunks(first.len()).map(|part| scope.spawn(|| work(part))).collect();
        let own = work(first);
        std::iter::once(own).chain(others.into_iter().map(join)).collect()
    })
}

/// The same of work that may fail: all that was made, or what is wrong first.
///
/// # Errors
/// That of the first part that has one.
pub(crate) fn in_parts_checked<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&[T]) -> Result<Vec<R>, E> + Sync,
) -> Result<Vec<R>, E> {
    let mut parts = in_parts(items, work).into_iter();
    let mut made = parts.next().transpose()?.unwrap_or_default();
    for part in parts {
        made.append(&mut part?);
    }
    Ok(made)
}

/// The results of two pieces of work, which are done at the same time.
pub(crate) fn both<A, B: Send>(first: impl FnOnce() -> A, second: impl FnOnce() -> B + Send) -> (A, B) {
    thread::scope(|scope| {
        let second = scope.spawn(second);
        (first(), join(second))
    })
}

/// What a thread has made; its panic is the caller's.
fn join<R>(other: ScopedJoinHandle<'_, R>) -> R {
    other.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
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
            let checked = in_parts_checked(&items, |part| Ok::<_, usize>(part.to_vec()));
            assert_eq!(checked, Ok(items));
        }
    }

    #[test]
    fn the_first_error_is_told() {
        let numbers: Vec<usize> = (0..4 * ITEMS_MIN).collect();
        let refuse = |wrong: &'static [usize]| {
            let one = |number: &usize| if wrong.contains(number) { Err(*number) } else { Ok(*number) };
            in_parts_checked(&numbers, |part| part.iter().map(one).collect())
        };
        assert_eq!(refuse(&[700, 300]), Err(300));
        assert_eq!(refuse(&[1023]), Err(1023));
        assert_eq!(refuse(&[]), Ok(numbers.clone()));
    }

    #[test]
    fn both_are_done() {
        assert_eq!(both(|| 1, || "two"), (1, "two"));
    }
}
