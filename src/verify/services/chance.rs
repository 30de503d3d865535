//! Whether numbers can be by chance. PURE.

/// The chance with which a run as a whole may find fault with what is in order.
const ERROR: f64 = 1e-6;

/// Why it is unlikely that one of `endpoints` with equal chances got `times` of `count` connections; none if it is not.
/// The test is an exact binomial one with two sides, its error probability of 1e-6 divided by the number of endpoints
/// (Bonferroni), so that no more than one sound Service in a million fails.
pub(super) fn unlikely(times: usize, count: usize, endpoints: usize) -> Option<String> {
    let chance = 1.0 / endpoints as f64;
    let tail: f64 = match (times as f64) < count as f64 * chance {
        true => (0..=times).map(|k| binomial(k, count, chance)).sum(),
        false => (times..=count).map(|k| binomial(k, count, chance)).sum(),
    };
    let limit = ERROR / (2.0 * endpoints as f64);
    (tail < limit).then(|| {
        let expected = count as f64 * chance;
        format!(
            "{expected:.0} expected; the chance of that is {tail:.0e}, by an exact binomial test that allows {ERROR:e}"
        )
    })
}

/// After how many tries it is unlikely that the same one of `endpoints` with equal chances is hit every time.
pub(super) fn tries_until_another(endpoints: usize) -> usize {
    (ERROR.ln() / (1.0 / endpoints.max(2) as f64).ln()).ceil() as usize
}

/// After how many tries it is unlikely that a certain one of `endpoints` with equal chances was never hit.
pub(super) fn tries_until_certain(endpoints: usize) -> usize {
    let missed = 1.0 - 1.0 / endpoints as f64;
    if endpoints > 1 { (ERROR.ln() / missed.ln()).ceil() as usize } else { 1 }
}

/// The chance of `k` hits in `n` tries.
fn binomial(k: usize, n: usize, chance: f64) -> f64 {
    let ways: f64 = (0..k).map(|i| ((n - i) as f64 / (k - i) as f64).ln()).sum();
    let hits = if k == 0 { 0.0 } else { k as f64 * chance.ln() };
    let misses = if n == k { 0.0 } else { (n - k) as f64 * (1.0 - chance).ln() };
    (ways + hits + misses).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_add_up() {
        let all: f64 = (0..=96).map(|k| binomial(k, 96, 1.0 / 3.0)).sum();
        assert!((all - 1.0).abs() < 1e-9, "{all}");
        assert!((binomial(0, 10, 0.5) - 1.0 / 1024.0).abs() < 1e-12);
    }

    #[test]
    fn more_endpoints_are_told_apart_sooner() {
        assert_eq!([2, 4, 10].map(tries_until_another), [20, 10, 6]);
        assert_eq!([1, 2, 3].map(tries_until_certain), [1, 20, 35]);
    }

    #[test]
    fn what_is_even_is_likely_and_what_is_not_is_not() {
        assert_eq!(unlikely(32, 96, 3), None);
        assert_eq!(unlikely(20, 96, 3), None);
        assert_eq!(unlikely(1, 1, 1), None);
        assert!(unlikely(0, 96, 3).is_some(), "an endpoint that gets nothing");
        assert!(unlikely(96, 96, 3).is_some(), "an endpoint that gets all");
        assert!(unlikely(64, 96, 3).is_some(), "the first of three gets the last one's share");
    }
}
