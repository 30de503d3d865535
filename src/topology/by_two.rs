//! Long work on many items by two threads.

use super::complaint::Checked;

/// Fewest items that are worth a thread of their own.
const MANY: usize = 256;

/// What `work` makes of the items, in their order; of many, each half by a thread. What is wrong in the first half is told
/// first.
pub(super) fn by_two<T: Sync, R: Send>(items: &[T], work: impl Fn(&[T]) -> Checked<Vec<R>> + Sync) -> Checked<Vec<R>> {
    if items.len() < MANY {
        return work(items);
    }
    let (first, second) = items.split_at(items.len() / 2);
    let (first, second) = both(|| work(first), || work(second));
    let mut made = first?;
    made.append(&mut second?);
    Ok(made)
}

/// The results of two pieces of work, which are done at the same time.
pub(super) fn both<A, B: Send>(first: impl FnOnce() -> A, second: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let second = scope.spawn(second);
        (first(), second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::complaint::Complaint;
    use super::*;

    #[test]
    fn the_order_stays_and_the_first_error_is_told() {
        let numbers: Vec<usize> = (0..1000).collect();
        let doubled = by_two(&numbers, |part| Ok(part.iter().map(|number| number * 2).collect()));
        assert_eq!(doubled, Ok((0..1000).map(|number| number * 2).collect()));
        let refuse = |wrong: &'static [usize]| {
            by_two(&numbers, |part| {
                let one = |number: &usize| match wrong.contains(number) {
                    true => Err(Complaint::anywhere(number.to_string())),
                    false => Ok(*number),
                };
                part.iter().map(one).collect()
            })
        };
        assert_eq!(refuse(&[700, 300]), Err(Complaint::anywhere("300")));
        assert_eq!(refuse(&[999]), Err(Complaint::anywhere("999")));
    }
}
