//! Which programs go when there are too many, or when nobody uses them.
//!
//! **Budget.** It bounds the bytes of code and tables of the *resident* programs, exactly, at each
//! publication: least recently used go first, and no more of them than is needed. What callers
//! still hold of programs that left the cache stays in the statistics until they let go, and isn't
//! asked of other programs a second time: else one program that is held would cost all the rest.
//! What resident and held programs can take together is bounded by the reservation of code memory;
//! where that is exhausted, programs make room even below the budget. A program isn't evicted for
//! a part of itself: that stays absent, and is tried once more when programs were freed.
//!
//! **Idle time.** Each sweep looks which programs' last use has moved since the sweep before. One
//! that hasn't for the idle time goes.
//!
//! Cost: one pass over the resident programs, where something must go, and at each sweep. A lock
//! keeps two threads from evicting for the same reason.

use crate::{
    cache::Candidate, error::CompileFailure, locks::lock, program::CompiledProgram,
    service::CompileService,
};
use cranevm_codegen::{CompileError, code_memory::CodeMemoryError};
use std::{sync::Weak, time::Duration};

/// Programs that make room together.
const EVICTED_AT_ONCE: usize = 8;

/// Most bytes of programs that are evicted to make room, as a multiple of the room.
const GIVEN_FOR_ROOM: u64 = 4;

impl CompileService {
    /// Evicts what the budget has no room for. To be called after a program came or grew.
    pub(crate) fn keep_within_budget(&self) {
        let budget = self.budget();
        // What all programs hold is no less than what the resident ones do, and known without a
        // look at each.
        if budget == 0 || self.held_bytes() <= budget {
            return;
        }
        let mut evicted = Evicted::default();
        {
            let _alone = lock(&self.evicting);
            let candidates = self.cache.oldest_first();
            let resident: u64 = candidates.iter().map(|candidate| candidate.bytes).sum();
            // The newest stays: if it alone is beyond the budget, it would be compiled again and
            // again.
            if let Some((_newest, older)) = candidates.split_last() {
                self.evict(older, resident.saturating_sub(budget), &mut evicted);
            }
        }
        evicted.tell("budget");
    }

    /// Bytes that resident programs may take; 0: as many as there are. Where the system reserved
    /// less than was asked for, half of that, for the reason of
    /// [`reserve_for`](crate::code_space::reserve_for).
    fn budget(&self) -> u64 {
        let configured = self.tuning().resident_code_cache_bytes as u64;
        match self.compilers.space.cut_reserve() {
            None => configured,
            Some(reserved) if configured == 0 => reserved / 2,
            Some(reserved) => configured.min(reserved / 2),
        }
    }

    /// Does what needs code memory; once more if it was short and something could be evicted.
    pub(crate) fn with_room<T>(
        &self,
        work: impl Fn() -> Result<T, CompileFailure>,
    ) -> Result<T, CompileFailure> {
        self.with_room_beside(&Weak::new(), work)
    }

    /// [`with_room`](Self::with_room) for a part of `kept`, or what is to take its place: so that
    /// isn't evicted for it.
    pub(crate) fn with_room_beside<T>(
        &self,
        kept: &Weak<CompiledProgram>,
        work: impl Fn() -> Result<T, CompileFailure>,
    ) -> Result<T, CompileFailure> {
        match work() {
            Err(failure) if self.make_room(&failure, kept) => work(),
            result => result,
        }
    }

    /// Evicts what frees the memory that was short in `failure`; whether that may have helped.
    fn make_room(&self, failure: &CompileFailure, kept: &Weak<CompiledProgram>) -> bool {
        let CompileFailure::Compiler(CompileError::CodeMemory(CodeMemoryError::Exhausted {
            requested,
            ..
        })) = failure
        else {
            return false;
        };
        let mut evicted = Evicted::default();
        let helps = self.evict_for(*requested as u64, kept, &mut evicted);
        evicted.tell("room");
        helps
    }

    /// Evicts programs until so many bytes of code are free, within limits; whether any are.
    fn evict_for(&self, wanted: u64, kept: &Weak<CompiledProgram>, evicted: &mut Evicted) -> bool {
        let _alone = lock(&self.evicting);
        let before = self.compilers.space.used_bytes();
        // The thread that this is left to may be at a callback.
        self.compilers.space.reclaim();
        // Programs that others hold free nothing until these let go, and memory may lie scattered:
        // a few rounds, but not all that is there.
        let mut candidates = self.cache.oldest_first();
        candidates.retain(|candidate| !candidate.is(kept));
        let mut given = 0;
        for round in candidates.chunks(EVICTED_AT_ONCE) {
            let freed = before.saturating_sub(self.compilers.space.used_bytes());
            if freed >= wanted || given >= wanted.saturating_mul(GIVEN_FOR_ROOM) {
                break;
            }
            self.evict(round, u64::MAX, evicted);
            given += round.iter().map(|candidate| candidate.bytes).sum::<u64>();
        }
        self.compilers.space.used_bytes() < before
    }

    /// Evicts what hasn't been used for `idle`, as of a sweep at `now` since the backend began.
    pub(crate) fn evict_idle(&self, idle: Duration, now: Duration) {
        let mut evicted = Evicted::default();
        {
            let _alone = lock(&self.evicting);
            // What is used from now on notes another time than what was used before.
            self.cache.tick();
            let idle = self.cache.unused_for(idle, now);
            self.evict(&idle, u64::MAX, &mut evicted);
        }
        evicted.tell("idle");
    }

    /// Evicts the first of `candidates` until they amount to `bytes`, and adds them up.
    fn evict(&self, candidates: &[Candidate], bytes: u64, evicted: &mut Evicted) {
        let (mut programs, mut freed) = (0, 0);
        for candidate in candidates {
            if freed >= bytes {
                break;
            }
            if self.cache.evict(candidate) {
                freed += candidate.bytes;
                programs += 1;
            }
        }
        if programs > 0 {
            self.ledger.counters.evictions.add(programs);
        }
        evicted.programs += programs;
        evicted.bytes += freed;
    }

    /// Bytes held by all programs of this backend, wherever they are.
    fn held_bytes(&self) -> u64 {
        self.compilers.space.used_bytes() + self.compilers.space.data_bytes()
    }
}

/// What was evicted, to be told of when no lock is held: what is logged may call the backend.
#[derive(Default)]
struct Evicted {
    programs: u64,
    bytes: u64,
}

impl Evicted {
    fn tell(&self, why: &'static str) {
        let Self { programs, bytes } = *self;
        if programs > 0 {
            tracing::debug!(evicted = programs, bytes, why, "evicted programs");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aot::Goal,
        compiler_pool::{CompilerPool, Tier},
        config::RuntimeConfig,
        lookup::{LookupRequest, RuntimeCacheKey},
        source::Source,
        submission::Origin,
        tuning::RuntimeTuning,
    };
    use alloy_primitives::Bytes;
    use cranevm_codegen::CompilerOptions;
    use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::Instant,
    };

    /// Bytes of code memory that a least program takes, one of PUSH1 n, STOP.
    fn page() -> usize {
        CompilerPool::bytes_of(&[PUSH1, 0, STOP])
    }

    fn service(compilers: CompilerPool, resident_code_cache_bytes: usize) -> Arc<CompileService> {
        let tuning = RuntimeTuning {
            resident_code_cache_bytes,
            jit_worker_count: 1,
            ..RuntimeTuning::default()
        };
        let config = RuntimeConfig { tuning, ..RuntimeConfig::default() };
        let mut service = CompileService::new(config, CompilerOptions::default());
        service.compilers = compilers;
        Arc::new(service)
    }

    fn source(code: &[u8]) -> Source {
        Source::hashed(Bytes::copy_from_slice(code), SpecId::CANCUN)
    }

    fn key(code: &[u8]) -> RuntimeCacheKey {
        source(code).key()
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Code of several chunks.
    fn long_code() -> Bytes {
        let mut code = vec![PUSH0, PUSH0];
        while code.len() < 6000 {
            let next = (code.len() + 8) as u16;
            code.extend([PUSH1, 7, ADD, CALLDATASIZE, PUSH2]);
            code.extend(next.to_be_bytes());
            code.extend([JUMPI, JUMPDEST]);
        }
        code.into()
    }

    #[test]
    fn a_reservation_that_was_cut_lowers_the_budget_to_half_of_it() {
        let page = page();
        for configured in [0, 1 << 30, 4 * page] {
            let cut =
                CompilerPool::with_cut_reserve(CompilerOptions::default(), 16 * page, 1 << 30);
            let service = service(cut, configured);
            for n in 0..16 {
                let code = [PUSH1, n, STOP];
                service.program(Goal::Program, &source(&code), later()).unwrap();
            }
            let limit = if configured == 4 * page { 4 * page } else { 8 * page } as u64;
            let held = service.held_bytes();
            assert!(held <= limit && held > limit - 2 * page as u64, "{held} of {limit}");
            assert_eq!(service.ledger.counters.compilations.failed.get(), 0);
        }
    }

    #[test]
    fn chunks_without_room_are_tried_again_when_there_is_some() {
        let (code, options) = (long_code(), CompilerOptions::default());
        let start_bytes = {
            let large = CompilerPool::new(options, 0, 1 << 20);
            let _started = large.started(&code, SpecId::CANCUN);
            large.space.used_bytes() as usize
        };
        // Room for the start beside what somebody holds.
        let held_bytes = CompilerPool::bytes_of(&[PUSH2, 0, 0, STOP]);
        let service = service(CompilerPool::new(options, 0, start_bytes + 800 * held_bytes), 0);
        let hold = |n: u16| {
            let [high, low] = n.to_be_bytes();
            let code = [PUSH2, high, low, STOP];
            service.compilers.program(key(&code), &code).unwrap()
        };
        let mut held: Vec<_> = (0..800).map(hold).collect();
        assert!(service.submit(key(&code), code.clone(), Origin::Explicit, None));
        assert!(service.ledger.pending.wait_none(later()));
        assert_eq!(service.cache.tier(&key(&code)), Some(Tier::Baseline), "it runs all the same");
        service.find_lacking();
        let request = LookupRequest { key: key(&code), code: code.clone() };
        let dispatched = || service.ledger.counters.upgrades.dispatched.get();
        let (look, before) = (|| service.use_requested(&request).map(drop), dispatched());
        look().unwrap();
        assert!(service.ledger.pending.wait_none(later()));
        assert_eq!(dispatched(), before, "there is no more memory than before");
        // Not enough by far, and that may happen again.
        for _ in 0..2 {
            let failed = service.ledger.counters.upgrades.failed.get();
            held.truncate(held.len() - 2);
            service.find_lacking();
            look().unwrap();
            assert!(service.ledger.pending.wait_none(later()));
            assert_eq!(service.ledger.counters.upgrades.failed.get(), failed + 1);
            service.find_lacking();
            let before = dispatched();
            look().unwrap();
            assert!(service.ledger.pending.wait_none(later()));
            assert_eq!(dispatched(), before);
        }
        drop(held);
        service.find_lacking();
        look().unwrap();
        assert!(service.ledger.pending.wait_none(later()));
        assert_eq!(service.cache.tier(&key(&code)), Some(Tier::Full));
        service.shut_down();
    }

    /// What is dropped is left to the housekeeping thread, which may be at a callback.
    #[test]
    fn what_a_clear_left_to_be_freed_makes_room() {
        const ROOM: usize = 65;
        let (running, release) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let config = RuntimeConfig {
            on_compilation: Some(Arc::new({
                let (running, release) = (Arc::clone(&running), Arc::clone(&release));
                move |_| {
                    running.store(true, Ordering::SeqCst);
                    while !release.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            })),
            ..RuntimeConfig::default()
        };
        let mut service = CompileService::new(config, CompilerOptions::default());
        service.compilers = CompilerPool::new(CompilerOptions::default(), 0, ROOM * page());
        let service = Arc::new(service);
        let fill = |first: usize| {
            for n in first..first + ROOM {
                let code = [PUSH1, n as u8, STOP];
                service.program(Goal::Program, &source(&code), later()).unwrap();
            }
        };
        fill(0);
        while !running.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        service.clear();
        fill(ROOM);
        assert_eq!((service.cache.len(), service.ledger.counters.evictions.get()), (ROOM, 0));
        release.store(true, Ordering::SeqCst);
        service.shut_down();
    }
}
