//! Two lists side by side: what is alike stands in one row, in the order of both.

/// The rows of `left` and `right`. `likeness` says how well two things go together; 0 is not at all. Of all rows that
/// keep both orders, these have the greatest sum of it; of equals those whose pairs come late, so that of several
/// headers around one the outer ones stand alone.
pub fn aligned<'a, T>(
    left: &'a [T],
    right: &'a [T],
    likeness: impl Fn(&T, &T) -> u32,
) -> Vec<(Option<&'a T>, Option<&'a T>)> {
    // best[i][j] is what can be had of left[i..] and right[j..].
    let mut best = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (i, a) in left.iter().enumerate().rev() {
        for (j, b) in right.iter().enumerate().rev() {
            let alike = likeness(a, b);
            let together = if alike > 0 { alike + best[i + 1][j + 1] } else { 0 };
            best[i][j] = together.max(best[i + 1][j]).max(best[i][j + 1]);
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut rows = Vec::new();
    loop {
        match (left.get(i), right.get(j)) {
            (None, None) => return rows,
            (Some(a), Some(b)) => {
                if best[i][j] == best[i + 1][j] {
                    rows.push((Some(a), None));
                    i += 1;
                } else if best[i][j] == best[i][j + 1] {
                    rows.push((None, Some(b)));
                    j += 1;
                } else {
                    rows.push((Some(a), Some(b)));
                    (i, j) = (i + 1, j + 1);
                }
            }
            (a, b) => {
                rows.push((a, b));
                (i, j) = (i + usize::from(a.is_some()), j + usize::from(b.is_some()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(left: &str, right: &str) -> String {
        let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
        let likeness = |a: &char, b: &char| match (a == b, a.eq_ignore_ascii_case(b)) {
            (true, _) => 3,
            (false, true) => 2,
            (false, false) => 0,
        };
        let word = |side: Option<&char>| side.copied().unwrap_or('-');
        let rows = aligned(&left, &right, likeness).into_iter();
        rows.map(|(a, b)| format!("{}{}", word(a), word(b))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_same_stands_beside_the_same_and_the_like_beside_the_like() {
        assert_eq!(rows("", ""), "");
        assert_eq!(rows("ab", ""), "a- b-");
        assert_eq!(rows("", "ab"), "-a -b");
        assert_eq!(rows("abc", "ac"), "aa b- cc");
        assert_eq!(rows("axc", "ayc"), "aa x- -y cc");
        assert_eq!(rows("aBc", "abc"), "aa Bb cc");
        // Two headers of one kind against one: the equal one is taken.
        assert_eq!(rows("eIix", "eix"), "ee I- ii xx");
        assert_eq!((rows("eIIx", "eix"), rows("eix", "eIIx")), ("ee I- Ii xx".into(), "ee -I iI xx".into()));
    }
}
