//! Orders that differ from round to round and come from a seed, so that no engine always runs after
//! the same other one.

/// A stream of random numbers: SplitMix64 (Steele, Lea, Flood, 2014).
#[derive(Clone, Copy, Debug)]
pub(super) struct Order(u64);

impl Order {
    /// From a seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The numbers below `count` in a random order.
    pub(super) fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let other = self.next() % (last as u64 + 1);
            numbers.swap(last, other as usize);
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_order_of_three_comes_and_a_seed_repeats_them() {
        let orders = |seed| -> Vec<Vec<usize>> {
            let mut order = Order::new(seed);
            (0..100).map(|_| order.permutation(3)).collect()
        };
        assert_eq!(orders(1).into_iter().collect::<HashSet<_>>().len(), 6);
        assert_eq!(orders(1), orders(1));
        assert_ne!(orders(1), orders(2));
    }
}
