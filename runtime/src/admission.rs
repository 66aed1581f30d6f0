//! Which contracts get a program where that costs others theirs.
//!
//! With room in the budget, all do. Without, one that asks because it is used is compared with what
//! would be evicted for it: the least used of the [next few residents](crate::residents). It is
//! compiled, or loaded from the store, only if it was used more often of late, by the same measure
//! (`usage.rs`); at a tie those that are there stay. So work on somewhat more than there is room
//! for doesn't evict everything in turn, and no flood of contracts that come once displaces what is
//! used. Uses get old, so work that moves on to other contracts gets their place.
//!
//! That is the admission policy of TinyLFU (Einziger, Friedman, Manes: *TinyLFU: A Highly Efficient
//! Cache Admission Policy*, 2017), and its way to forget, but for the sketch that estimates uses:
//! contracts without a program are counted one by one anyhow, in a table that is bounded
//! (`hotness.rs`), so there is nothing to estimate.
//!
//! It is asked before any work is done. Those who don't ask it: explicit requests, blocking
//! lookups, and better code for a program that is there.
//!
//! Cost: a look at some residents, a microsecond or two; each contract asks more and more seldom.

use crate::{hotness::Cold, service::CompileService};
use std::ptr;

/// The part of the budget that is left for programs that displaced others, and for those that turn
/// out larger than expected: one in so many. What is filled up at random doesn't reach it, so it
/// isn't evicted for the next of its kind.
const SPARE_PART: u64 = 32;

impl CompileService {
    /// Whether the program of a contract is worth the place that it takes.
    pub(crate) fn admits(&self, cold: &Cold) -> bool {
        let on_their_way = self.ledger.pending.admitted();
        if self.has_room_for(on_their_way + 1) {
            return true;
        }
        // Nothing to compare with: what there is no room beside will be told when it is compiled.
        let Some(rival) = self.cache.least_used(ptr::null()) else { return true };
        let is_worth_it = cold.uses(self.cache.clock()) > needed(rival.uses);
        if !is_worth_it {
            // The hand stays where it found somebody, so that that one is evicted.
            self.cache.look_elsewhere();
        }
        is_worth_it
    }

    /// Whether there is room for so many more programs, if they are as large as those that are
    /// there.
    fn has_room_for(&self, programs: u64) -> bool {
        let Some(limit) = self.free_limit() else { return true };
        let residents = &self.cache.residents;
        let (bytes, count) = (residents.bytes(), residents.len() as u64);
        bytes + programs * bytes / count.max(1) <= limit
    }

    /// Whether the budget is taken up, so that it matters who is used.
    pub(crate) fn is_crowded(&self) -> bool {
        !self.has_room_for(1)
    }

    /// Bytes up to which programs are resident without displacing others; `None`: without limit.
    pub(crate) fn free_limit(&self) -> Option<u64> {
        let budget = self.budget();
        (budget > 0).then(|| budget - budget / SPARE_PART)
    }

    /// Notes some frames of a contract without a program: where there is no room for it, the clock
    /// moves, so that uses can be told apart.
    pub(crate) fn note_demand(&self) {
        if self.is_crowded() {
            self.cache.tick();
        }
    }
}

/// Uses that a program must exceed to displace one with so many: by a half, and two more. Counts of
/// contracts that are used alike differ by chance, and replacing one by another takes compiling.
/// And what got hot just now has two, so it must come again.
const fn needed(uses: u32) -> u32 {
    uses.saturating_add(uses / 2).saturating_add(2)
}
