//! Which programs go when there are too many, or when nobody uses them.
//!
//! **Budget.** It bounds the bytes of code and tables of the *resident* programs, exactly, at each
//! publication: least recently used go first, and no more of them than is needed. What callers
//! still hold of programs that left the cache stays in the statistics until they let go, and isn't
//! asked of other programs a second time: else one program that is held would cost all the rest.
//! What resident and held programs can take together is bounded by the reservation of code memory;
//! where that is exhausted, programs make room even below the budget.
//!
//! **Idle time.** Each sweep looks which programs' last use has moved since the sweep before. One
//! that hasn't for the idle time goes.
//!
//! Cost: one pass over the resident programs, where something must go, and at each sweep. A lock
//! keeps two threads from evicting for the same reason.

use crate::{
    cache::Candidate, compile::CompileService, compiler_pool::lock, error::CompileFailure,
};
use cranevm_codegen::{CompileError, code_memory::CodeMemoryError};
use std::time::Duration;

/// Programs that make room together.
const EVICTED_AT_ONCE: usize = 8;

/// Most bytes of programs that are evicted to make room, as a multiple of the room.
const GIVEN_FOR_ROOM: u64 = 4;

impl CompileService {
    /// Evicts what the budget has no room for. To be called after a program came or grew.
    pub(crate) fn keep_within_budget(&self) {
        let budget = self.tuning().resident_code_cache_bytes as u64;
        // What all programs hold is no less than what the resident ones do, and known without a
        // look at each.
        if budget == 0 || self.held_bytes() <= budget {
            return;
        }
        let _alone = lock(&self.evicting);
        let candidates = self.cache.oldest_first();
        let resident: u64 = candidates.iter().map(|candidate| candidate.bytes).sum();
        // The newest stays: if it alone is beyond the budget, it would be compiled again and again.
        if let Some((_newest, older)) = candidates.split_last() {
            self.evict(older, resident.saturating_sub(budget), "budget");
        }
    }

    /// Does what needs code memory; once more if it was short and something could be evicted.
    pub(crate) fn with_room<T>(
        &self,
        work: impl Fn() -> Result<T, CompileFailure>,
    ) -> Result<T, CompileFailure> {
        match work() {
            Err(failure) if self.make_room(&failure) => work(),
            result => result,
        }
    }

    /// Evicts what frees the memory that was short in `failure`; whether that may have helped.
    fn make_room(&self, failure: &CompileFailure) -> bool {
        let CompileFailure::Compiler(CompileError::CodeMemory(CodeMemoryError::Exhausted {
            requested,
            ..
        })) = failure
        else {
            return false;
        };
        let _alone = lock(&self.evicting);
        let before = self.compilers.code_bytes();
        let wanted = *requested as u64;
        // Programs that others hold free nothing until these let go, and pages may lie scattered: a
        // few rounds, but not all that is there.
        let candidates = self.cache.oldest_first();
        let mut given = 0;
        for round in candidates.chunks(EVICTED_AT_ONCE) {
            let freed = before.saturating_sub(self.compilers.code_bytes());
            if freed >= wanted || given >= wanted.saturating_mul(GIVEN_FOR_ROOM) {
                break;
            }
            self.evict(round, u64::MAX, "room");
            given += round.iter().map(|candidate| candidate.bytes).sum::<u64>();
        }
        self.compilers.code_bytes() < before
    }

    /// Evicts what hasn't been used for `idle`, as of a sweep at `now` since the backend began.
    pub(crate) fn evict_idle(&self, idle: Duration, now: Duration) {
        let _alone = lock(&self.evicting);
        // What is used from now on notes another time than what was used before.
        self.cache.tick();
        let idle = self.cache.unused_for(idle, now);
        self.evict(&idle, u64::MAX, "idle");
    }

    /// Evicts the first of `candidates` until they amount to `bytes`.
    fn evict(&self, candidates: &[Candidate], bytes: u64, why: &'static str) {
        let (mut evicted, mut freed) = (0, 0);
        for candidate in candidates {
            if freed >= bytes {
                break;
            }
            if self.cache.evict(candidate) {
                freed += candidate.bytes;
                evicted += 1;
            }
        }
        if evicted > 0 {
            self.cache.bump_epoch();
            self.ledger.counters.evictions.add(evicted);
            tracing::debug!(evicted, bytes = freed, why, "evicted programs");
        }
    }

    /// Bytes held by all programs of this backend, wherever they are.
    fn held_bytes(&self) -> u64 {
        self.compilers.code_bytes() + self.compilers.data_bytes()
    }
}
