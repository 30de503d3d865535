//! Finding which of many requests fail with few attempts: all at once, and only where that fails, halves.

/// The outcome of each of `rows`, where `attempt` tries some of them together and fails if one of them fails.
pub(super) fn bisect<T>(rows: &[T], attempt: &mut dyn FnMut(&[T]) -> Result<(), String>) -> Vec<Result<(), String>> {
    if rows.is_empty() {
        return Vec::new();
    }
    match attempt(rows) {
        Ok(()) => rows.iter().map(|_| Ok(())).collect(),
        Err(why) if rows.len() == 1 => vec![Err(why)],
        Err(_) => {
            let (first, second) = rows.split_at(rows.len() / 2);
            let mut outcomes = bisect(first, attempt);
            outcomes.extend(bisect(second, attempt));
            outcomes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_row_is_found_and_no_good_one() {
        let rows: Vec<u32> = (0..40).collect();
        for bad in [&[][..], &[0], &[39], &[7, 8], &[3, 17, 31]] {
            let mut attempts = 0;
            let outcomes = bisect(&rows, &mut |some| {
                attempts += 1;
                match some.iter().find(|row| bad.contains(row)) {
                    Some(row) => Err(format!("{row} is bad")),
                    None => Ok(()),
                }
            });
            let found: Vec<u32> = rows.iter().zip(&outcomes).filter(|(_, o)| o.is_err()).map(|(row, _)| *row).collect();
            assert_eq!(found, bad);
            assert!(found.iter().all(|row| outcomes[*row as usize] == Err(format!("{row} is bad"))));
            assert!(attempts <= 1 + bad.len() * 12, "{attempts} attempts for {bad:?}");
        }
    }
}
