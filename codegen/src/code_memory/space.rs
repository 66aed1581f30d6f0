//! The space of a region: which granules are free, and which pages hold something.
//!
//! Programs take granules; the system takes back pages. A page is *held* from the first granule of
//! it that is taken until the system has taken it back. That a page is empty isn't noted anywhere:
//! it is if it lies in a run of free granules, after merging.
//!
//! Giving a page back is a system call, so it is made without the lock that this is behind:
//! [`take_empty`](Space::take_empty) takes empty pages out of what is free, and
//! [`settle`](Space::settle) puts them there again, given back or, if the system refused, still
//! held. Refused ones are as free as others, and tried again later.
//!
//! Cost: each operation is some of [`FreeRuns`]'.

use super::{free_runs::FreeRuns, units::Units};
use std::ops::Range;

/// Granules and the pages that they are in.
#[derive(Debug)]
pub(super) struct Space {
    /// In granules.
    free: FreeRuns,
    /// Pages that are empty, but held. Hardly ever any.
    empty: FreeRuns,
    /// Pages that hold something, or may.
    held: usize,
    /// How long units have been full of pages that hold something.
    units: Units,
    /// Granules taken.
    used: usize,
    granules: usize,
    granules_per_page: usize,
}

impl Space {
    /// Space of so many granules, all free, with so many pages in a unit.
    pub(super) fn new(granules: usize, granules_per_page: usize, pages_per_unit: usize) -> Self {
        let mut free = FreeRuns::default();
        free.put(0..granules);
        let units = Units::new(granules / granules_per_page, pages_per_unit);
        let empty = FreeRuns::default();
        Self { free, empty, held: 0, units, used: 0, granules, granules_per_page }
    }

    /// Takes so many granules; also the pages of them that nothing was in. `None` if no free run is
    /// as long.
    pub(super) fn take(&mut self, granules: usize) -> Option<(Range<usize>, Range<usize>)> {
        let run = self.free.find(granules)?;
        let taken = run.start..run.start + granules;
        let fresh = self.pages_within(&run, &taken);
        self.free.cut(&taken);
        self.held += fresh.len() - self.empty.cut(&fresh);
        self.units.fill(fresh.clone());
        self.used += granules;
        Some((taken, fresh))
    }

    /// Takes back what [`take`](Self::take) gave.
    pub(super) fn put(&mut self, taken: Range<usize>) {
        self.used -= taken.len();
        let run = self.free.put(taken.clone());
        let emptied = self.pages_within(&run, &taken);
        self.units.empty(emptied.clone());
        self.empty.put(emptied);
    }

    /// Takes out pages that are empty, but held. To be given back to the system.
    pub(super) fn take_empty(&mut self) -> Option<Range<usize>> {
        let pages = self.empty.first()?;
        self.empty.cut(&pages);
        self.free.cut(&self.granules_of(&pages));
        Some(pages)
    }

    /// Takes back what [`take_empty`](Self::take_empty) gave: given back to the system, or held all
    /// the same.
    pub(super) fn settle(&mut self, pages: Range<usize>, is_gone: bool) {
        self.free.put(self.granules_of(&pages));
        match is_gone {
            true => self.held -= pages.len(),
            false => {
                self.empty.put(pages);
            }
        }
    }

    /// Units of pages, and what was done about them.
    pub(super) const fn units(&mut self) -> &mut Units {
        &mut self.units
    }

    /// Pages held.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Granules taken.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Granules free.
    pub(super) const fn free(&self) -> usize {
        self.free.free()
    }

    /// Granules of the longest free run.
    pub(super) fn longest(&self) -> usize {
        self.free.longest()
    }

    /// The pages that `part`, of a free run, touches, and that lie in the run as a whole.
    fn pages_within(&self, run: &Range<usize>, part: &Range<usize>) -> Range<usize> {
        let per_page = self.granules_per_page;
        let touched = part.start / per_page..part.end.div_ceil(per_page);
        // The last page may not be all there.
        let last = if run.end == self.granules { touched.end } else { run.end / per_page };
        let start = touched.start.max(run.start.div_ceil(per_page));
        start..touched.end.min(last).max(start)
    }

    fn granules_of(&self, pages: &Range<usize>) -> Range<usize> {
        let per_page = self.granules_per_page;
        pages.start * per_page..(pages.end * per_page).min(self.granules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives back what is empty.
    fn give_back(space: &mut Space) -> usize {
        let mut given = 0;
        while let Some(pages) = space.take_empty() {
            given += pages.len();
            space.settle(pages, true);
        }
        given
    }

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }

        /// From `least` to `least << doublings`, each doubling as likely as another.
        fn log_uniform(&mut self, least: u64, doublings: u64) -> u64 {
            let base = least << self.below(doublings);
            base + self.below(base)
        }
    }

    #[test]
    fn neighbours_share_a_page() {
        let mut space = Space::new(640, 64, 4);
        let (a, b) = (space.take(10).unwrap(), space.take(54).unwrap());
        assert_eq!((space.held(), space.used()), (1, 64));
        let c = space.take(65).unwrap();
        assert_eq!((&a, &b), (&(0..10, 0..1), &(10..64, 1..1)));
        assert_eq!((&c, space.held()), (&(64..129, 1..3), 3));
        let [a, b, c] = [a, b, c].map(|(taken, _)| taken);
        space.put(a);
        assert_eq!(give_back(&mut space), 0, "its neighbour is there");
        space.put(c);
        assert_eq!((give_back(&mut space), space.held()), (2, 1));
        space.put(b);
        assert_eq!((give_back(&mut space), space.held(), space.used()), (1, 0, 0));
        assert_eq!((space.free(), space.longest()), (640, 640));
    }

    #[test]
    fn the_last_page_may_be_short() {
        let mut space = Space::new(70, 64, 4);
        let (all, _) = space.take(70).unwrap();
        assert_eq!((space.held(), space.take(1)), (2, None));
        space.put(all);
        assert_eq!((give_back(&mut space), space.held()), (2, 0));
    }

    #[test]
    fn what_the_system_refuses_stays_held_and_is_used_again() {
        let mut space = Space::new(256, 64, 4);
        let (all, _) = space.take(256).unwrap();
        space.put(all);
        let pages = space.take_empty().unwrap();
        assert_eq!((pages.clone(), space.free()), (0..4, 0), "nobody else gets them meanwhile");
        space.settle(pages, false);
        assert_eq!((space.held(), space.free(), space.longest()), (4, 256, 256));
        let (part, _) = space.take(100).unwrap();
        assert_eq!((part.clone(), space.held()), (0..100, 4), "they aren't counted twice");
        assert_eq!(give_back(&mut space), 2, "the others are tried again");
        space.put(part);
        assert_eq!((give_back(&mut space), space.held()), (2, 0));
    }

    /// Against a table of the granules, with a system that refuses at times.
    #[test]
    fn any_order_of_operations_is_right() {
        const PAGES: usize = 40;
        let (mut space, mut random) = (Space::new(PAGES * 8, 8, 4), Random(7));
        let (mut taken, mut is_used) = (Vec::new(), [false; PAGES * 8]);
        let mut is_backed = [false; PAGES];
        for _ in 0..50_000 {
            if random.below(2) == 0 {
                if let Some((range, fresh)) = space.take(1 + random.below(30) as usize) {
                    assert!(is_used[fresh.start * 8..fresh.end * 8].iter().all(|&used| !used));
                    assert!(is_used[range.clone()].iter().all(|&used| !used), "given twice");
                    is_used[range.clone()].fill(true);
                    is_backed[range.start / 8..range.end.div_ceil(8)].fill(true);
                    taken.push(range);
                }
            } else if !taken.is_empty() {
                let range: Range<usize> =
                    taken.swap_remove(random.below(taken.len() as u64) as usize);
                is_used[range.clone()].fill(false);
                space.put(range);
                if let Some(pages) = space.take_empty() {
                    assert!(is_used[pages.start * 8..pages.end * 8].iter().all(|&used| !used));
                    let is_gone = random.below(4) != 0;
                    if is_gone {
                        is_backed[pages.clone()].fill(false);
                    }
                    space.settle(pages, is_gone);
                }
            }
            let used = is_used.iter().filter(|&&used| used).count();
            assert_eq!((space.used(), space.free()), (used, PAGES * 8 - used));
            assert_eq!(space.held(), is_backed.iter().filter(|&&backed| backed).count());
        }
        taken.into_iter().for_each(|range| space.put(range));
        give_back(&mut space);
        assert_eq!((space.held(), space.longest()), (0, PAGES * 8));
    }

    /// A cache at its budget, for long: what is held is at most a tenth more than what is used.
    #[test]
    fn churn_fragments_little() {
        // Programs of 300 bytes to 300 KB; and small ones alone, of 300 bytes to 5 KB.
        for (doublings, budget, operations) in [(10, 64 << 20, 700_000), (4, 8 << 20, 300_000)] {
            let (mut space, mut random) = (Space::new(1 << 22, 64, 512), Random(99));
            let mut taken: Vec<Range<usize>> = Vec::new();
            let (mut worst, mut sum, mut looks) = (0.0_f64, 0.0, 0.0);
            for operation in 0..operations {
                let bytes = random.log_uniform(300, doublings) as usize;
                taken.push(space.take(bytes.div_ceil(64)).unwrap().0);
                while space.used() * 64 > budget {
                    let victim = random.below(taken.len() as u64) as usize;
                    space.put(taken.swap_remove(victim));
                    give_back(&mut space);
                }
                // From the steady state on.
                if operation > operations / 4 && operation % 100 == 0 {
                    let ratio = (space.held() * 64) as f64 / space.used() as f64;
                    (worst, sum, looks) = (worst.max(ratio), sum + ratio, looks + 1.0);
                }
            }
            let mean = sum / looks;
            println!(
                "{doublings} doublings: {mean:.4} of what is used is held, at worst {worst:.4}"
            );
            assert!(worst <= 1.10, "{worst}");
        }
    }
}
