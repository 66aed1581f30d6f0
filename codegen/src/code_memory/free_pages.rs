//! The free pages of a region: runs, found by size, merged with their neighbours on return.
//!
//! Two ordered views of the same runs: by start, to merge; by length, to find the shortest run that
//! is long enough (the lowest such address on a tie). Taking and returning cost O(log runs). Best
//! fit keeps long runs whole, which matters as blocks range from one page to hundreds.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Which pages of a region are free. Pages are counted from the region's start.
#[derive(Debug)]
pub(super) struct FreePages {
    /// Start of each run -> its length. Runs never touch.
    by_start: BTreeMap<usize, usize>,
    /// The same runs as (length, start).
    by_length: BTreeSet<(usize, usize)>,
    /// Sum of the lengths.
    free: usize,
}

impl FreePages {
    /// All of `pages` pages are free.
    pub(super) fn new(pages: usize) -> Self {
        let mut all = Self { by_start: BTreeMap::new(), by_length: BTreeSet::new(), free: 0 };
        all.put(0..pages);
        all
    }

    /// Takes a run of `pages` pages; `None` if no free run is as long.
    pub(super) fn take(&mut self, pages: usize) -> Option<Range<usize>> {
        let &(length, start) = self.by_length.range((pages, 0)..).next()?;
        self.remove_run(start, length);
        if length > pages {
            self.insert_run(start + pages, length - pages);
        }
        Some(start..start + pages)
    }

    /// Returns a run that [`take`](Self::take) gave.
    pub(super) fn put(&mut self, run: Range<usize>) {
        if run.is_empty() {
            return;
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
    }

    /// Free pages in all.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Pages of the longest free run.
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

    #[test]
    fn takes_the_shortest_run_that_fits() {
        let mut pages = FreePages::new(20);
        let a = pages.take(4).unwrap();
        let _separator = pages.take(1).unwrap();
        let b = pages.take(2).unwrap();
        let _separator = pages.take(1).unwrap();
        pages.put(a);
        pages.put(b.clone());
        assert_eq!(pages.take(2), Some(b));
        assert_eq!(pages.take(3), Some(0..3));
    }

    #[test]
    fn merges_with_both_neighbours() {
        let mut pages = FreePages::new(9);
        let runs: Vec<_> = (0..3).map(|_| pages.take(3).unwrap()).collect();
        assert_eq!((pages.free(), pages.longest()), (0, 0));
        assert_eq!(pages.take(1), None);
        pages.put(runs[0].clone());
        pages.put(runs[2].clone());
        assert_eq!((pages.free(), pages.longest()), (6, 3));
        pages.put(runs[1].clone());
        assert_eq!((pages.free(), pages.longest()), (9, 9));
        assert_eq!(pages.by_start.len(), 1);
        assert_eq!(pages.by_length.len(), 1);
    }

    #[test]
    fn any_order_of_returns_ends_whole() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % bound as u64) as usize
        };
        let mut pages = FreePages::new(500);
        let mut owner = vec![false; 500];
        let mut held = Vec::new();
        for _ in 0..20_000 {
            if next(2) == 0 {
                if let Some(run) = pages.take(1 + next(16)) {
                    for page in run.clone() {
                        assert!(!std::mem::replace(&mut owner[page], true), "page given twice");
                    }
                    held.push(run);
                }
            } else if !held.is_empty() {
                let run = held.swap_remove(next(held.len()));
                owner[run.clone()].fill(false);
                pages.put(run);
            }
            assert_eq!(pages.free(), owner.iter().filter(|&&taken| !taken).count());
        }
        held.into_iter().for_each(|run| pages.put(run));
        assert_eq!((pages.free(), pages.longest()), (500, 500));
    }
}
