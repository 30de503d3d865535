//! Go's `math/rand`, as far as Calico's choice of a block needs it.
//!
//! An additive lagged Fibonacci generator: output n is output n-607 plus output n-273, modulo 2^64. The first 607
//! values come from a Lehmer generator mixed with a table of constants, which are themselves values of the same
//! recurrence 7.8e12 steps on (golang/go, math/rand/rng.go and gen_cooked.go). A test computes the table anew.

use super::cooked::COOKED;

/// Length of the recurrence.
pub(super) const LENGTH: usize = 607;
/// Its second lag.
pub(super) const TAP: usize = 273;
/// The modulus of the seeding generator, a Mersenne prime.
const LEHMER_MODULUS: u64 = (1 << 31) - 1;

/// `rand.NewSource(seed)`.
pub(super) struct GoRand {
    state: Vec<u64>,
    tap: usize,
    feed: usize,
}

impl GoRand {
    /// The source that this seed gives.
    pub(super) fn new(seed: u32) -> Self {
        let reduced = u64::from(seed) % LEHMER_MODULUS;
        let start = if reduced == 0 { 89_482_311 } else { reduced };
        let mut state = lehmer_table(start, [40, 20, 0]);
        for (value, cooked) in state.iter_mut().zip(COOKED) {
            *value ^= cooked;
        }
        GoRand { state, tap: 0, feed: LENGTH - TAP }
    }

    /// `Uint64`.
    fn next_u64(&mut self) -> u64 {
        self.tap = (self.tap + LENGTH - 1) % LENGTH;
        self.feed = (self.feed + LENGTH - 1) % LENGTH;
        self.state[self.feed] = self.state[self.feed].wrapping_add(self.state[self.tap]);
        self.state[self.feed]
    }

    /// `Uint32`: the upper 32 of the lower 63 bits.
    fn next_u32(&mut self) -> u32 {
        ((self.next_u64() & (u64::MAX >> 1)) >> 31) as u32
    }

    /// `big.Int.Rand`: a number below `limit` (which is not 0), on a machine with words of 64 bits.
    pub(super) fn below(&mut self, limit: u128) -> u128 {
        let mask = u128::MAX >> limit.leading_zeros();
        // Of words there are as many as the limit has, the lowest first.
        let halves = if limit >> 64 == 0 { 2 } else { 4 };
        loop {
            let parts = (0..halves).map(|half| u128::from(self.next_u32()) << (32 * half));
            let candidate = parts.fold(0, |sum, part| sum | part) & mask;
            if candidate < limit {
                return candidate;
            }
        }
    }
}

/// 607 values, each of three consecutive outputs of the Lehmer generator shifted as told, after twenty are dropped.
pub(super) fn lehmer_table(seed: u64, shifts: [u32; 3]) -> Vec<u64> {
    let mut x = seed;
    let mut next = || {
        x = x * 48_271 % LEHMER_MODULUS;
        x
    };
    for _ in 0..20 {
        next();
    }
    (0..LENGTH).map(|_| shifts.iter().fold(0, |value, &shift| value ^ (next() << shift))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A polynomial of degree below 607 over the integers modulo 2^64.
    type Polynomial = Vec<u64>;

    /// Replaces `t^607` by `t^334 + 1`, from the highest power down.
    fn reduce(mut product: Vec<u64>) -> Polynomial {
        for degree in (LENGTH..product.len()).rev() {
            let c = product[degree];
            for power in [degree - LENGTH, degree - TAP] {
                product[power] = product[power].wrapping_add(c);
            }
        }
        product.truncate(LENGTH);
        product
    }

    fn square(p: &[u64]) -> Polynomial {
        let mut product = vec![0u64; 2 * LENGTH - 1];
        for (i, a) in p.iter().enumerate() {
            for (j, b) in p.iter().enumerate() {
                product[i + j] = product[i + j].wrapping_add(a.wrapping_mul(*b));
            }
        }
        reduce(product)
    }

    fn times_t(p: &[u64]) -> Polynomial {
        let mut product = vec![0];
        product.extend(p);
        reduce(product)
    }

    /// The table after `steps` steps: `t^steps` modulo the characteristic polynomial says how later values are made
    /// of the first ones.
    fn table_after(steps: u64) -> Vec<u64> {
        let first = lehmer_table(1, [20, 10, 0]);
        // Value number i of the sequence was, or will be, output i - 606; outputs fill the table downwards.
        let slot = |output: i64| (334 - output).rem_euclid(LENGTH as i64) as usize;
        let mut sequence: Vec<u64> = (0..LENGTH as i64).map(|i| first[slot(i - 606)]).collect();
        for i in LENGTH..2 * LENGTH {
            sequence.push(sequence[i - LENGTH].wrapping_add(sequence[i - TAP]));
        }
        let mut power = vec![0; LENGTH];
        power[0] = 1;
        for bit in (0..u64::BITS - steps.leading_zeros()).rev() {
            power = square(&power);
            if steps >> bit & 1 == 1 {
                power = times_t(&power);
            }
        }
        let mut table = vec![0; LENGTH];
        for j in 0..LENGTH {
            let sum = power.iter().zip(&sequence[j..]).fold(0u64, |s, (c, v)| s.wrapping_add(c.wrapping_mul(*v)));
            table[slot(steps as i64 - 606 + j as i64)] = sum;
        }
        table
    }

    #[test]
    fn the_table_is_the_recurrence_after_7_8e12_steps() {
        assert_eq!(table_after(7_800_000_000_000), COOKED);
    }

    #[test]
    fn few_steps_by_polynomial_are_few_steps_one_by_one() {
        let mut source = GoRand { state: lehmer_table(1, [20, 10, 0]), tap: 0, feed: LENGTH - TAP };
        for _ in 0..1000 {
            source.next_u64();
        }
        assert_eq!(table_after(1000), source.state);
    }

    #[test]
    fn seed_one_gives_go_s_first_numbers() {
        let mut source = GoRand::new(1);
        let int63 = |value: u64| value & (u64::MAX >> 1);
        assert_eq!(int63(source.next_u64()), 5_577_006_791_947_779_410);
        assert_eq!(int63(source.next_u64()), 8_674_665_223_082_153_551);
    }
}
