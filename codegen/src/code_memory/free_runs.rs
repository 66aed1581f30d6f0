//! Free units in runs, found by size, merged with their neighbours on return.
//!
//! Two ordered views of the same runs: by start, to merge; by length, to find the shortest run that
//! is long enough (the lowest such address on a tie). Each operation costs O(log runs), but for
//! [`cut`](FreeRuns::cut), which costs that for each run that it meets. Best fit keeps long runs
//! whole, which matters as programs range from hundreds of bytes to hundreds of thousands.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Which units are free.
#[derive(Debug, Default)]
pub(super) struct FreeRuns {
    /// Start of each run -> its length. Runs never touch.
    by_start: BTreeMap<usize, usize>,
    /// The same runs as (length, start).
    by_length: BTreeSet<(usize, usize)>,
    /// Sum of the lengths.
    free: usize,
}

impl FreeRuns {
    /// The shortest run of at least so many units.
    pub(super) fn find(&self, units: usize) -> Option<Range<usize>> {
        let &(length, start) = self.by_length.range((units, 0)..).next()?;
        Some(start..start + length)
    }

    /// The run with the lowest units.
    pub(super) fn first(&self) -> Option<Range<usize>> {
        self.by_start.first_key_value().map(|(&start, &length)| start..start + length)
    }

    /// Takes away what is free of `range`; how many units that was.
    pub(super) fn cut(&mut self, range: &Range<usize>) -> usize {
        let free = self.free;
        while let Some((&start, &length)) = self.by_start.range(..range.end).next_back() {
            let end = start + length;
            if end <= range.start {
                break;
            }
            self.remove_run(start, length);
            // Inserted after the search: it may be the next that is found.
            if end > range.end {
                self.insert_run(range.end, end - range.end);
            }
            if start < range.start {
                self.insert_run(start, range.start - start);
                break;
            }
        }
        free - self.free
    }

    /// Adds units that aren't free; the run that they are in then.
    pub(super) fn put(&mut self, run: Range<usize>) -> Range<usize> {
        if run.is_empty() {
            return run;
        }
        let (mut start, mut length) = (run.start, run.len());
        let before = self.by_start.range(..run.start).next_back().map(|(&s, &l)| (s, l));
        if let Some((s, l)) = before
            && s + l == run.start
        {
            self.remove_run(s, l);
            start = s;
            length += l;
        }
        if let Some(&l) = self.by_start.get(&run.end) {
            self.remove_run(run.end, l);
            length += l;
        }
        self.insert_run(start, length);
        start..start + length
    }

    /// Free units in all.
    pub(super) const fn free(&self) -> usize {
        self.free
    }

    /// Units of the longest run.
    pub(super) fn longest(&self) -> usize {
        self.by_length.last().map_or(0, |&(length, _)| length)
    }

    fn insert_run(&mut self, start: usize, length: usize) {
        self.by_start.insert(start, length);
        self.by_length.insert((length, start));
        self.free += length;
    }

    fn remove_run(&mut self, start: usize, length: usize) {
        self.by_start.remove(&start);
        self.by_length.remove(&(length, start));
        self.free -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(units: usize) -> FreeRuns {
        let mut runs = FreeRuns::default();
        runs.put(0..units);
        runs
    }

    fn take(runs: &mut FreeRuns, units: usize) -> Option<Range<usize>> {
        let found = runs.find(units)?;
        let taken = found.start..found.start + units;
        assert_eq!(runs.cut(&taken), units);
        Some(taken)
    }

    #[test]
    fn finds_the_shortest_run_that_fits() {
        let mut runs = whole(20);
        let a = take(&mut runs, 4).unwrap();
        let _separator = take(&mut runs, 1).unwrap();
        let b = take(&mut runs, 2).unwrap();
        let _separator = take(&mut runs, 1).unwrap();
        runs.put(a);
        runs.put(b.clone());
        assert_eq!(runs.first(), Some(0..4));
        assert_eq!(take(&mut runs, 2), Some(b));
        assert_eq!(take(&mut runs, 3), Some(0..3));
    }

    #[test]
    fn merges_with_both_neighbours() {
        let mut runs = whole(9);
        let taken: Vec<_> = (0..3).map(|_| take(&mut runs, 3).unwrap()).collect();
        assert_eq!((runs.free(), runs.longest()), (0, 0));
        assert_eq!(take(&mut runs, 1), None);
        assert_eq!(runs.put(taken[0].clone()), 0..3);
        assert_eq!(runs.put(taken[2].clone()), 6..9);
        assert_eq!((runs.free(), runs.longest()), (6, 3));
        assert_eq!(runs.put(taken[1].clone()), 0..9);
        assert_eq!((runs.free(), runs.longest()), (9, 9));
        assert_eq!((runs.by_start.len(), runs.by_length.len()), (1, 1));
    }

    /// Against a table of the units.
    #[test]
    fn any_order_of_operations_is_right() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % bound as u64) as usize
        };
        let mut runs = whole(500);
        let mut is_free = [true; 500];
        for _ in 0..20_000 {
            let start = next(500);
            let range = start..(start + 1 + next(16)).min(500);
            if next(2) == 0 {
                let count = is_free[range.clone()].iter().filter(|&&free| free).count();
                assert_eq!(runs.cut(&range), count);
                is_free[range].fill(false);
            } else if is_free[range.clone()].iter().all(|&free| !free) {
                is_free[range.clone()].fill(true);
                let merged = runs.put(range.clone());
                assert!(merged.start <= range.start && merged.end >= range.end);
                assert!(is_free[merged.clone()].iter().all(|&free| free));
                assert!(merged.start == 0 || !is_free[merged.start - 1]);
                assert!(merged.end == 500 || !is_free[merged.end]);
            }
            assert_eq!(runs.free(), is_free.iter().filter(|&&free| free).count());
            let longest = is_free.split(|&free| !free).map(<[_]>::len).max().unwrap_or(0);
            assert_eq!(runs.longest(), longest);
            assert_eq!(runs.find(longest + 1), None);
        }
    }
}
