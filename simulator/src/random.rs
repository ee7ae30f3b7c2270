//! Seeded chance: the same seed draws the same numbers, for ever.
//!
//! Small and frozen on purpose: the general crates do not promise the same numbers across their
//! versions, and a seeded run that is written down in a test has to stay what it was.

/// Scrambles 64 bits (the finalizer of splitmix64): neighbours in, strangers out.
pub(crate) const fn mix(value: u64) -> u64 {
    let z = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A sequence of random numbers that depends on nothing but its seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// An own sequence for each (`seed`, `stream`): the shards must not draw the same numbers.
    pub(crate) const fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed ^ mix(stream.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 to `end`, without `end` itself. `end` must not be 0.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        // The high half of a product: no division, and a bias below 1 in 2^32 for our ranges.
        ((self.next() as u128 * end as u128) >> 64) as u64
    }

    /// [`Self::below`], for indices.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// True in `percent` of 100 draws.
    pub(crate) const fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which must not be empty.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// From 0 to 1, without 1 itself.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exactly what an f64 holds")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Draws an index with given weights.
#[derive(Clone, Debug)]
pub(crate) struct Weighted {
    /// Running sum of the weights.
    sums: Vec<u64>,
}

impl Weighted {
    /// Weights in the order of the indices; an all-zero or empty list never gets drawn from.
    pub(crate) fn new(weights: impl IntoIterator<Item = u64>) -> Self {
        let mut sum = 0;
        let sums = weights
            .into_iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        Self { sums }
    }

    /// Zipf's law over `len` ranks: rank k is drawn in proportion to 1/k.
    pub(crate) fn zipf(len: usize) -> Self {
        /// Large enough that the last of a few hundred ranks keeps three digits.
        const FIRST: u64 = 1_000_000;
        Self::new((1..=len as u64).map(|rank| FIRST / rank))
    }

    /// An index. There must be a weight above 0.
    pub(crate) fn draw(&self, dice: &mut Dice) -> usize {
        let point = dice.below(*self.sums.last().expect("a weight to draw from"));
        self.sums.partition_point(|sum| *sum <= point)
    }
}

#[cfg(test)]
mod tests {
    use super::{Dice, Weighted};

    /// Otherwise recorded seeded runs would no longer be what they were.
    #[test]
    fn the_numbers_are_frozen() {
        let three = |mut dice: Dice| [dice.next(), dice.next(), dice.next()];
        // The published numbers of splitmix64 with this seed.
        assert_eq!(
            three(Dice(1_234_567)),
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
        assert_eq!(
            three(Dice::new(1, 0)),
            [9_639_420_846_141_804_449, 5_283_499_334_869_912_440, 17_514_250_673_873_061_963]
        );
    }

    #[test]
    fn zipf_draws_the_first_rank_most_and_the_last_at_all() {
        let (mut dice, zipf) = (Dice::new(7, 7), Weighted::zipf(10));
        let mut hits = [0_u32; 10];
        (0..10_000).for_each(|_| hits[zipf.draw(&mut dice)] += 1);
        assert!(hits.windows(2).all(|pair| pair[0] > pair[1]), "{hits:?}");
        assert!(hits[0] > 3_000 && hits[9] > 200, "{hits:?}");
    }
}
