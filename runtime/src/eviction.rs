//! Which programs go when there are too many, or when nobody uses them.
//!
//! **Budget.** It bounds the bytes of code and tables of the *resident* programs, exactly, at each
//! publication, from one byte on. Of the few residents that the hand comes to next, the one goes
//! that was used least of late, and of several such the one that wasn't for longest; until there is
//! room, and a little more, so that not each publication evicts. What callers still hold of
//! programs that left the cache stays in the statistics until they let go, and isn't asked of other
//! programs a second time: else one program that is held would cost all the rest. What resident
//! and held programs can take together is bounded by the reservation of code memory; where that is
//! exhausted, programs make room even below the budget. A program isn't evicted for
//! what is to take its place: that is tried once more when programs were freed.
//!
//! A program that alone is beyond the budget isn't kept: it serves who asked for it. In the
//! background nobody has, so the contract isn't tried again before a clear. Who gets in at all
//! where there is no room is decided by `admission.rs`.
//!
//! **Idle time.** Each sweep looks which programs' last use has moved since the sweep before. One
//! that hasn't for the idle time goes.
//!
//! Cost: for each program that goes, a look at some others, whatever their number; a sweep, a pass
//! over all. A lock keeps two threads from evicting for the same reason; frames take it only where
//! the first tier has compiled something for them, and nothing is freed under it.

use crate::{
    aot::Goal, cache::Candidate, compiler_pool::Tier, error::CompileFailure, locks::lock,
    lookup::RuntimeCacheKey, program::CompiledProgram, service::CompileService, source::Source,
};
use cranevm_codegen::{CompileError, code_memory::CodeMemoryError};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// Programs that make room together.
const EVICTED_AT_ONCE: usize = 8;

/// Most bytes of programs that are evicted to make room, as a multiple of the room.
const GIVEN_FOR_ROOM: u64 = 4;

/// Looks at some residents, to find one to evict. More than admission takes, for to be wrong here
/// costs a compilation; and where others were refused meanwhile, the hand has moved on from what
/// was found then.
const LOOKS: usize = 4;

/// Most programs that are evicted for one publication beyond what it needs.
const EVICTED_AHEAD: usize = 16;

impl CompileService {
    /// Makes a program resident, within the budget; `false` if a clear came, or an opcode that it
    /// executes became foreign.
    ///
    /// # Errors
    /// If it alone is beyond the budget.
    pub(crate) fn publish(
        &self,
        program: &Arc<CompiledProgram>,
        tier: Tier,
        generation: u64,
    ) -> Result<bool, CompileFailure> {
        self.check_size(program)?;
        let now = self.cache.clock();
        program.usage().add(self.cold.uses(&program.key, generation, now), now);
        let is_resident = self.cache.publish(program, tier, generation);
        if is_resident && tier == Tier::First {
            self.make_room_for_first(program);
        } else if is_resident {
            self.keep_within_budget(program);
        }
        Ok(is_resident)
    }

    /// Puts a new version in place of the resident program `old`; `false` if that isn't resident any
    /// more.
    ///
    /// # Errors
    /// If it alone is beyond the budget.
    pub(crate) fn publish_version(
        &self,
        old: &Weak<CompiledProgram>,
        new: &Arc<CompiledProgram>,
    ) -> Result<bool, CompileFailure> {
        self.check_size(new)?;
        let Some(tier) = self.cache.tier(&new.key) else { return Ok(false) };
        let is_resident = self.cache.replace(old, new, tier);
        if is_resident {
            self.make_room_for_first(new);
        }
        Ok(is_resident)
    }

    /// Evicts what the budget has no room for. This thread is to execute a frame: what has to go is
    /// freed by another.
    fn make_room_for_first(&self, newest: &Arc<CompiledProgram>) {
        let evicted = self.evict_beyond_budget(newest);
        self.note_evicted(&evicted, "budget");
        self.compilers.space.drop_later(evicted.programs);
    }

    /// Makes a program resident, if it may be. Who asked for it has it in any case.
    pub(crate) fn offer(&self, program: &Arc<CompiledProgram>, tier: Tier, generation: u64) {
        if let Err(failure) = self.publish(program, tier, generation) {
            let RuntimeCacheKey { code_hash, spec_id } = program.key;
            tracing::debug!(%code_hash, ?spec_id, %failure, "a program isn't kept");
        }
    }

    /// Has a contract not tried again in the background, if its program is beyond the budget.
    pub(crate) fn give_up_beyond_budget(
        &self,
        source: &Source,
        program: &CompiledProgram,
        generation: u64,
    ) {
        if let Err(failure) = self.check_size(program) {
            let releases = self.compilers.space.releases();
            self.fail((source, self.kind_for(Goal::Program)), failure, generation, releases);
        }
    }

    /// Whether the budget has room for a program.
    ///
    /// # Errors
    /// If not, even without any other.
    pub(crate) fn check_size(&self, program: &CompiledProgram) -> Result<(), CompileFailure> {
        let (bytes, budget) = (program.bytes(), self.budget());
        match budget == 0 || bytes <= budget {
            true => Ok(()),
            false => Err(CompileFailure::BeyondBudget { bytes, budget }),
        }
    }

    /// Evicts what the budget has no room for, after a program came, which stays.
    pub(crate) fn keep_within_budget(&self, newest: &Arc<CompiledProgram>) {
        let evicted = self.evict_beyond_budget(newest);
        self.tell(evicted, "budget");
    }

    /// Evicts what the budget has no room for, but not `newest`.
    fn evict_beyond_budget(&self, newest: &Arc<CompiledProgram>) -> Evicted {
        let mut evicted = Evicted::default();
        let Some(enough) = self.free_limit() else { return evicted };
        let (budget, residents) = (self.budget(), &self.cache.residents);
        if residents.bytes() <= budget {
            return evicted;
        }
        let _alone = lock(&self.evicting);
        let mut ahead = 0;
        while residents.bytes() > budget || (ahead < EVICTED_AHEAD && residents.bytes() > enough) {
            ahead += usize::from(residents.bytes() <= budget);
            if !self.evict_least(Arc::as_ptr(newest), &mut evicted) {
                break;
            }
        }
        evicted
    }

    /// Bytes that resident programs may take; 0: as many as there are. Where the system reserved
    /// less than was asked for, half of that, for the reason of
    /// [`reserve_for`](crate::code_space::reserve_for).
    pub(crate) fn budget(&self) -> u64 {
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

    /// [`with_room`](Self::with_room) for what is to take the place of `kept`: so that isn't evicted
    /// for it.
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
        self.evict_for(*requested as u64, kept)
    }

    /// Evicts programs until so many bytes of code are free, within limits; whether any are.
    fn evict_for(&self, wanted: u64, kept: &Weak<CompiledProgram>) -> bool {
        let before = self.compilers.space.used_bytes();
        // The thread that this is left to may be at a callback.
        self.compilers.space.reclaim();
        // Programs that others hold free nothing until these let go, and free memory may lie
        // scattered: a few rounds, but not all that is there.
        let mut given = 0;
        loop {
            let freed = before.saturating_sub(self.compilers.space.used_bytes());
            if freed >= wanted || given >= wanted.saturating_mul(GIVEN_FOR_ROOM) {
                break;
            }
            let mut evicted = Evicted::default();
            {
                let _alone = lock(&self.evicting);
                let mut evict = || self.evict_least(kept.as_ptr(), &mut evicted);
                let _evicted = (0..EVICTED_AT_ONCE).take_while(|_| evict()).count();
            }
            if evicted.programs.is_empty() {
                break;
            }
            given += evicted.bytes;
            self.tell(evicted, "room");
        }
        given > 0 || self.compilers.space.used_bytes() < before
    }

    /// Evicts what hasn't been used for `idle`, as of a sweep at `now` since the backend began.
    pub(crate) fn evict_idle(&self, idle: Duration, now: Duration) {
        // What is used from now on notes another time than what was used before.
        self.cache.tick();
        let mut evicted = Evicted::default();
        for candidate in self.cache.unused_for(idle, now) {
            self.evict(&candidate, &mut evicted);
        }
        self.tell(evicted, "idle");
    }

    /// Evicts the least used of some residents, but not `spared`; `false` if there is no other.
    fn evict_least(&self, spared: *const CompiledProgram, evicted: &mut Evicted) -> bool {
        let mut least: Option<Candidate> = None;
        for _ in 0..LOOKS {
            let Some(found) = self.cache.least_used(spared) else { break };
            self.cache.look_elsewhere();
            if least.as_ref().is_none_or(|least| found.uses < least.uses) {
                least = Some(found);
            }
            if least.as_ref().is_some_and(|least| least.uses == 0) {
                break;
            }
        }
        let Some(least) = least else { return false };
        self.evict(&least, evicted);
        true
    }

    fn evict(&self, candidate: &Candidate, evicted: &mut Evicted) {
        if let Some(program) = self.cache.evict(candidate) {
            evicted.bytes += program.bytes();
            evicted.programs.push(program);
        }
    }

    /// Counts and logs what was evicted, and lets go of it. To be called without a lock: what is
    /// logged may call the backend, and freeing takes time.
    fn tell(&self, evicted: Evicted, why: &'static str) {
        self.note_evicted(&evicted, why);
        drop(evicted);
    }

    fn note_evicted(&self, evicted: &Evicted, why: &'static str) {
        let Evicted { programs, bytes } = evicted;
        if !programs.is_empty() {
            self.ledger.counters.evictions.add(programs.len() as u64);
            tracing::debug!(evicted = programs.len(), bytes, why, "evicted programs");
        }
    }
}

/// What was evicted.
#[derive(Default)]
struct Evicted {
    programs: Vec<Arc<CompiledProgram>>,
    bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compiler_pool::CompilerPool, config::RuntimeConfig, lookup::LookupRequest,
        submission::Origin, tuning::RuntimeTuning,
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

    /// Bytes that all programs take, wherever they are.
    fn held_bytes(service: &CompileService) -> u64 {
        service.compilers.space.used_bytes() + service.compilers.space.data_bytes()
    }

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
            let held = held_bytes(&service);
            assert!(held <= limit && held > limit - 2 * page as u64, "{held} of {limit}");
            assert_eq!(service.ledger.counters.compilations.failed.get(), 0);
        }
    }

    /// What a publication looks at where the budget is full doesn't depend on how much there is.
    #[test]
    fn r1_a_publication_looks_at_as_many_of_1000_as_of_20000() {
        let publish = |service: &CompileService, n: usize| {
            let [.., a, b, c] = n.to_be_bytes();
            let code = [PUSH3, a, b, c, STOP];
            let program = Arc::new(service.compilers.program(key(&code), &code).unwrap());
            assert!(service.publish(&program, Tier::Full, 0).unwrap());
        };
        for programs in [1000, 20_000] {
            let mut service =
                CompileService::new(RuntimeConfig::default(), CompilerOptions::default());
            service.config.tuning.resident_code_cache_bytes = 0;
            (0..programs).for_each(|n| publish(&service, n));
            let bytes = service.cache.residents.bytes();
            service.config.tuning.resident_code_cache_bytes = bytes as usize;
            let residents = &service.cache.residents;
            assert_eq!(residents.looked_at.load(Ordering::Relaxed), 0, "there was room");
            for n in programs..programs + 200 {
                let before = residents.looked_at.load(Ordering::Relaxed);
                publish(&service, n);
                let looked_at = residents.looked_at.load(Ordering::Relaxed) - before;
                // For the one that must go, and those that go ahead of the next publications.
                assert!(looked_at <= 17 * 4 * 16, "{looked_at} of {programs}");
            }
            // On average for each publication those for one.
            assert!(residents.looked_at.load(Ordering::Relaxed) <= 260 * 4 * 16);
            assert!(residents.len() >= programs - 60, "{} of {programs}", residents.len());
        }
    }

    /// Whether the table of residents says what the map holds.
    fn check_sums(service: &CompileService, keys: &[RuntimeCacheKey]) {
        let resident: Vec<_> = keys.iter().filter_map(|key| service.cache.get(key)).collect();
        let residents = &service.cache.residents;
        assert_eq!((residents.len(), service.cache.len()), (resident.len(), resident.len()));
        let bytes: u64 = resident.iter().map(|program| program.bytes()).sum();
        assert_eq!(residents.bytes(), bytes);
    }

    #[test]
    fn the_sum_of_bytes_holds_whatever_happens_at_once() {
        const PROGRAMS: usize = 40;
        let pool = CompilerPool::new(CompilerOptions::default(), 0, 1 << 24);
        let service = service(pool, 30 * page());
        let programs: Vec<_> = (0..PROGRAMS as u8)
            .map(|n| {
                let code = [PUSH1, n, STOP];
                Arc::new(service.compilers.program(key(&code), &code).unwrap())
            })
            .collect();
        let work = |thread: usize| {
            let mut random = 0x2545_f491_4f6c_dd1d_u64.wrapping_mul(2 * thread as u64 + 1);
            for step in 0..2000 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let program = &programs[(random >> 20) as usize % PROGRAMS];
                let generation = service.cache.generation();
                match random % 16 {
                    0 => drop(service.cache.remove(&program.key)),
                    2 => drop(service.cache.replace(
                        &Arc::downgrade(program),
                        program,
                        Tier::Complete,
                    )),
                    3 if step % 100 < 16 => service.clear(),
                    4 if step % 100 < 50 => {
                        service.evict_idle(Duration::ZERO, Duration::from_secs(step as u64))
                    }
                    _ => service.offer(program, Tier::Full, generation),
                }
            }
        };
        thread::scope(|scope| {
            for n in 0..3 {
                scope.spawn(move || work(n));
            }
        });
        check_sums(&service, &programs.iter().map(|program| program.key).collect::<Vec<_>>());
        assert!(service.cache.residents.bytes() <= 30 * page() as u64);
    }

    #[test]
    fn better_code_without_room_is_tried_again_when_there_is_some() {
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
