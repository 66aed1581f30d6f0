//! Resident programs, remembered failures, and the two counters that make `clear_*` take effect
//! everywhere.
//!
//! - The **generation** grows with each clear. A compilation remembers the generation it began in,
//!   and its result enters the cache only if that is still the current one.
//! - The **epoch** grows with everything that may change the answer to a lookup that found no
//!   program: a publication, a clear, switching on or off. Such an answer, in an EVM's own cache,
//!   is valid as long as the epoch is the one it was given in. One that is a program holds until
//!   its entry says otherwise: what leaves the cache is revoked, and nothing else is asked for
//!   again.

use crate::{
    compiler_pool::Tier,
    config::CompilationKind,
    error::CompileFailure,
    failures::FailureLog,
    foreign::ForeignOpcodes,
    locks::lock,
    lookup::RuntimeCacheKey,
    program::CompiledProgram,
    residents::{Residents, Seat},
    usage::Clock,
};
use alloy_primitives::map::DefaultHashBuilder;
use cranevm_codegen::OpcodeSet;
use dashmap::{DashMap, Entry};
use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Residents that who evicts looks at, to find one that is used little: with so many, what is
/// evicted is mostly among the tenth that is used least.
const LOOKED_AT: usize = 16;

/// A program in the cache.
struct Resident {
    program: Arc<CompiledProgram>,
    /// In which its compilation began.
    generation: u64,
    tier: Tier,
    /// In [`ProgramCache::residents`].
    seat: Seat,
    /// The last use that the last sweep found.
    seen_use: AtomicU32,
    /// When a sweep found that for the first time, in milliseconds since the backend began.
    seen_at: AtomicU64,
    /// A [`Lack`].
    lack: AtomicU8,
}

/// Whether a program leaves out what runs, and what was done about it.
#[repr(u8)]
enum Lack {
    /// Not as far as is known.
    No,
    /// Yes: better code is wanted, as soon as somebody comes by.
    Found,
    /// Somebody came by. It isn't tried twice, unless the mark is taken back.
    Told,
}

/// A program that may be evicted.
pub(crate) struct Candidate {
    key: RuntimeCacheKey,
    /// Tells it from another program of that key.
    identity: *const CompiledProgram,
    /// How often it was used of late.
    pub(crate) uses: u32,
}

impl Candidate {
    /// This very program, whatever it is used.
    pub(crate) fn of(program: &Arc<CompiledProgram>) -> Self {
        Self { key: program.key, identity: Arc::as_ptr(program), uses: 0 }
    }
}

impl Resident {
    fn is_first(&self) -> bool {
        self.tier == Tier::First
    }

    /// `false` if it wasn't `from`.
    fn change_lack(&self, from: Lack, to: Lack) -> bool {
        let (from, relaxed) = (from as u8, Ordering::Relaxed);
        self.lack.load(relaxed) == from
            && self.lack.compare_exchange(from, to as u8, relaxed, relaxed).is_ok()
    }

    fn candidate(&self, now: u32) -> Candidate {
        Candidate { uses: self.program.usage().at(now), ..Candidate::of(&self.program) }
    }
}

/// What a backend knows about contracts.
#[derive(Default)]
pub(crate) struct ProgramCache {
    programs: DashMap<RuntimeCacheKey, Resident, DefaultHashBuilder>,
    /// By what was compiled to.
    failures: [Mutex<FailureLog>; 2],
    generation: AtomicU64,
    epoch: AtomicU64,
    clock: Clock,
    /// How many in `programs` are of the first tier.
    first: AtomicUsize,
    /// Those in `programs`, for who evicts.
    pub(crate) residents: Residents,
    /// No resident program executes any of these.
    pub(crate) foreign: Arc<ForeignOpcodes>,
}

impl ProgramCache {
    /// The resident program, if there is one, but for one of the first tier.
    pub(crate) fn get(&self, key: &RuntimeCacheKey) -> Option<Arc<CompiledProgram>> {
        let resident = self.programs.get(key).filter(|resident| !resident.is_first());
        resident.map(|resident| Arc::clone(&resident.program))
    }

    /// Whether there is a program of this key, of any tier.
    pub(crate) fn has(&self, key: &RuntimeCacheKey) -> bool {
        self.programs.contains_key(key)
    }

    /// Why compiling `key` to this kind failed before, if it did and would again. `releases` is
    /// [`CodeSpace::releases`](crate::code_space::CodeSpace::releases) now: a failure from
    /// a shortage is forgotten as soon as a program was freed since.
    pub(crate) fn failure(
        &self,
        kind: CompilationKind,
        key: &RuntimeCacheKey,
        releases: u64,
    ) -> Option<Arc<CompileFailure>> {
        lock(&self.failures[kind as usize]).get(key, releases)
    }

    /// Resident programs.
    pub(crate) fn len(&self) -> usize {
        self.programs.len()
    }

    /// Those of them of the first tier.
    pub(crate) fn first_len(&self) -> usize {
        self.first.load(Ordering::Relaxed)
    }

    /// Runs of resident programs that were handed over to the interpreter.
    pub(crate) fn hand_overs(&self) -> u64 {
        self.programs.iter().map(|resident| resident.program.hand_overs()).sum()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The epoch; read it *before* the lookup whose answer it is to validate.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Has every EVM look again for what it found no program of.
    pub(crate) fn bump_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// The time that uses of programs, and of contracts without one, are noted with.
    #[inline]
    pub(crate) fn clock(&self) -> u32 {
        self.clock.now()
    }

    /// Moves the clock on; the time then.
    pub(crate) fn tick(&self) -> u32 {
        self.clock.tick(self.residents.len())
    }

    /// Whether this very program is resident.
    pub(crate) fn holds(&self, program: &Weak<CompiledProgram>, key: &RuntimeCacheKey) -> bool {
        self.programs.get(key).is_some_and(|resident| is(&resident, program))
    }

    /// The tier of the resident program, if there is one.
    pub(crate) fn tier(&self, key: &RuntimeCacheKey) -> Option<Tier> {
        self.programs.get(key).map(|resident| resident.tier)
    }

    /// Puts `better` in place of `program`, unless that isn't resident any more.
    pub(crate) fn replace(
        &self,
        program: &Weak<CompiledProgram>,
        better: &Arc<CompiledProgram>,
        tier: Tier,
    ) -> bool {
        let replaced = match self.programs.get_mut(&better.key) {
            Some(mut resident) if is(&resident, program) && self.may_hold(better) => {
                better.usage().inherit(resident.program.usage());
                self.residents.resize(resident.seat, || better.bytes());
                resident.tier = tier;
                // The better one may lack something else.
                resident.lack = AtomicU8::new(Lack::No as u8);
                resident.program.entry().revoke();
                better.entry().restore();
                Some(std::mem::replace(&mut resident.program, Arc::clone(better)))
            }
            _ => None,
        };
        // The map's lock was released by the end of the statement above; freeing code comes after.
        replaced.is_some()
    }

    /// Makes a program resident, unless the cache was cleared since `generation`, or an opcode that
    /// it executes has become foreign; `false` if so.
    pub(crate) fn publish(
        &self,
        program: &Arc<CompiledProgram>,
        tier: Tier,
        generation: u64,
    ) -> bool {
        program.touch(self.tick());
        // Holds the lock of the key's shard.
        let entry = self.programs.entry(program.key);
        // A clear bumps the generation before it takes the locks of the map. So if it isn't seen
        // here, it comes by this entry later; and who published in a newer generation, before this
        // thread had the lock, makes it seen.
        if self.generation() != generation || !self.may_hold(program) {
            return false;
        }
        let is_first = usize::from(tier == Tier::First);
        let resident = |seat| Resident {
            program: Arc::clone(program),
            generation,
            tier,
            seat,
            seen_use: AtomicU32::new(program.usage().last().wrapping_sub(1)),
            seen_at: AtomicU64::new(0),
            lack: AtomicU8::new(Lack::No as u8),
        };
        let _replaced = match entry {
            // Better code came first.
            Entry::Occupied(place) if tier == Tier::First && !place.get().is_first() => {
                return false;
            }
            Entry::Occupied(mut place) => {
                self.first.fetch_add(is_first, Ordering::Relaxed);
                self.first.fetch_sub(usize::from(place.get().is_first()), Ordering::Relaxed);
                let Resident { seat, program: old, .. } = place.get();
                let (seat, now) = (*seat, self.clock());
                old.entry().revoke();
                // The uses of a first tier's program are also counted where its contract's are.
                if !Arc::ptr_eq(old, program) && !place.get().is_first() {
                    program.usage().add(old.usage().at(now), now);
                }
                self.residents.resize(seat, || program.bytes());
                program.entry().restore();
                Some(place.insert(resident(seat)))
            }
            Entry::Vacant(place) => {
                self.first.fetch_add(is_first, Ordering::Relaxed);
                let seat = self.residents.insert(program.key, program.bytes());
                program.entry().restore();
                place.insert(resident(seat));
                None
            }
        };
        // The lock was released by the end of the statement above; freeing code comes after.
        // Of the first tier's, EVMs hear by their counters: there are many.
        if tier != Tier::First {
            self.bump_epoch();
        }
        true
    }

    /// Whether a program executes no foreign opcode, and its contract isn't denied native code. To
    /// be asked under the lock of the key's shard: who makes an opcode foreign, or denies a
    /// contract, comes by the shard afterwards.
    fn may_hold(&self, program: &CompiledProgram) -> bool {
        (program.opcodes() & self.foreign.get()).is_zero() && self.denial(&program.key).is_none()
    }

    /// The rule that native code of a contract was found to break, if it was.
    pub(crate) fn denial(&self, key: &RuntimeCacheKey) -> Option<Arc<CompileFailure>> {
        self.failure(CompilationKind::Jit, key, 0).filter(|failure| failure.is_fault())
    }

    /// Removes the program of a key.
    #[must_use = "dropping programs takes time"]
    pub(crate) fn remove(&self, key: &RuntimeCacheKey) -> Option<Arc<CompiledProgram>> {
        let removed = self.programs.remove_if(key, |_, resident| self.gives_up(resident));
        self.bump_epoch();
        removed.map(|(_, resident)| resident.program)
    }

    /// Removes the programs that execute any of these opcodes, which have become foreign.
    #[must_use = "dropping programs takes time"]
    pub(crate) fn drop_users(&self, opcodes: OpcodeSet) -> Vec<Arc<CompiledProgram>> {
        let mut dropped = Vec::new();
        self.programs.retain(|_, resident| {
            let keep = (resident.program.opcodes() & opcodes).is_zero();
            if !keep {
                self.gives_up(resident);
                dropped.push(Arc::clone(&resident.program));
            }
            keep
        });
        self.bump_epoch();
        dropped
    }

    /// Of the next residents at the hand, the one that was used least of late, but not `spared`.
    pub(crate) fn least_used(&self, spared: *const CompiledProgram) -> Option<Candidate> {
        let now = self.clock();
        let mut least: Option<(Candidate, u32)> = None;
        for (key, seat) in self.residents.next(LOOKED_AT) {
            // Nobody holds two locks of the map; one that has left meanwhile is none.
            let Some(resident) = self.programs.get(&key).filter(|found| found.seat == seat) else {
                continue;
            };
            let (candidate, unused) =
                (resident.candidate(now), resident.program.usage().unused(now));
            let is_less = least.as_ref().is_none_or(|(least, least_unused)| {
                (candidate.uses, *least_unused) < (least.uses, unused)
            });
            if is_less && !std::ptr::eq(candidate.identity, spared) {
                least = Some((candidate, unused));
            }
        }
        least.map(|(candidate, _)| candidate)
    }

    /// Has the hand go on to others.
    pub(crate) fn look_elsewhere(&self) {
        self.residents.pass(LOOKED_AT);
    }

    /// The programs whose last use hasn't moved for `idle`, as of a sweep at `now`.
    pub(crate) fn unused_for(&self, idle: Duration, now: Duration) -> Vec<Candidate> {
        let now_ms = now.as_millis() as u64;
        let is_idle = |resident: &Resident| {
            let last_use = resident.program.usage().last();
            if resident.seen_use.swap(last_use, Ordering::Relaxed) != last_use {
                resident.seen_at.store(now_ms, Ordering::Relaxed);
                return false;
            }
            let unused_ms = now_ms.saturating_sub(resident.seen_at.load(Ordering::Relaxed));
            Duration::from_millis(unused_ms) >= idle
        };
        let idle = self.programs.iter().filter(|resident| is_idle(resident));
        idle.map(|resident| resident.candidate(self.clock())).collect()
    }

    /// Removes a program, if it is still resident.
    #[must_use = "dropping programs takes time"]
    pub(crate) fn evict(&self, candidate: &Candidate) -> Option<Arc<CompiledProgram>> {
        let is_it = |_: &_, resident: &Resident| {
            std::ptr::eq(Arc::as_ptr(&resident.program), candidate.identity)
                && self.gives_up(resident)
        };
        let removed = self.programs.remove_if(&candidate.key, is_it);
        removed.map(|(_, resident)| resident.program)
    }

    /// Notes, under the lock of its shard, that a resident goes. Always `true`.
    fn gives_up(&self, resident: &Resident) -> bool {
        self.residents.remove(resident.seat);
        self.first.fetch_sub(usize::from(resident.is_first()), Ordering::Relaxed);
        resident.program.entry().revoke();
        true
    }

    /// Marks the programs of which `lacks` is true, so that
    /// [`get_and_take_mark`](Self::get_and_take_mark) tells the next who looks, and has EVMs look.
    pub(crate) fn mark_lacking(&self, lacks: impl Fn(Tier, &CompiledProgram) -> bool) {
        for resident in self.programs.iter() {
            if lacks(resident.tier, &resident.program)
                && resident.change_lack(Lack::No, Lack::Found)
            {
                resident.program.entry().recall();
            }
        }
    }

    /// The resident program, its tier, and whether it was marked; the mark is taken off.
    pub(crate) fn get_and_take_mark(
        &self,
        key: &RuntimeCacheKey,
    ) -> Option<(Arc<CompiledProgram>, Tier, bool)> {
        self.programs.get(key).map(|resident| {
            resident.program.entry().confirm();
            let lacks = resident.change_lack(Lack::Found, Lack::Told);
            (Arc::clone(&resident.program), resident.tier, lacks)
        })
    }

    /// Lets a program be marked again, for nothing came of its mark.
    pub(crate) fn take_back_mark(&self, program: &Weak<CompiledProgram>, key: &RuntimeCacheKey) {
        if let Some(resident) = self.programs.get(key).filter(|resident| is(resident, program)) {
            resident.change_lack(Lack::Told, Lack::No);
        }
    }

    /// Remembers a failure, unless the cache was cleared since `generation`. `releases` is as for
    /// [`failure`](Self::failure), read before the attempt.
    pub(crate) fn remember_failure(
        &self,
        (key, kind): (RuntimeCacheKey, CompilationKind),
        failure: &Arc<CompileFailure>,
        generation: u64,
        releases: u64,
    ) {
        let mut failures = lock(&self.failures[kind as usize]);
        if self.generation() == generation {
            failures.insert(key, Arc::clone(failure), releases);
        }
    }

    /// Forgets everything. Waits for nothing but map operations. The programs come back, for
    /// dropping them is what takes time; those in use live on with their users.
    #[must_use = "dropping programs takes time"]
    pub(crate) fn clear(&self) -> Vec<Arc<CompiledProgram>> {
        let cleared = self.generation.fetch_add(1, Ordering::SeqCst);
        let mut forgotten = Vec::new();
        self.programs.retain(|_, resident| {
            // Who saw the new generation may have published already.
            let keep = resident.generation > cleared;
            if !keep {
                self.gives_up(resident);
                forgotten.push(Arc::clone(&resident.program));
            }
            keep
        });
        self.failures.iter().for_each(|failures| lock(failures).clear());
        self.bump_epoch();
        forgotten
    }
}

/// Whether this is the program in the cache.
fn is(resident: &Resident, program: &Weak<CompiledProgram>) -> bool {
    std::ptr::eq(Arc::as_ptr(&resident.program), program.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        code_space::reserve_for, compiler_pool::CompilerPool, program::ProgramKind, source::Source,
    };
    use alloy_primitives::{B256, Bytes, keccak256};
    use cranevm_codegen::CompilerOptions;
    use revm::primitives::hardfork::SpecId;
    use std::sync::atomic::AtomicBool;

    fn key(n: usize) -> RuntimeCacheKey {
        let code_hash = B256::left_padding_from(&n.to_be_bytes());
        RuntimeCacheKey { code_hash, spec_id: SpecId::CANCUN }
    }

    const CODE: [u8; 1] = [0];

    fn own_key() -> RuntimeCacheKey {
        RuntimeCacheKey { code_hash: keccak256(CODE), spec_id: SpecId::CANCUN }
    }

    fn failure() -> Arc<CompileFailure> {
        Arc::new(CompileFailure::Panic { message: "told".into() })
    }

    #[test]
    fn a_late_publication_leaves_the_newer_program() {
        let cache = ProgramCache::default();
        let pool = CompilerPool::new(CompilerOptions::default(), 0, reserve_for(1));
        let compile = || Arc::new(pool.program(own_key(), &CODE).unwrap());
        let (late, newer) = (compile(), compile());
        let generation = cache.generation();
        drop(cache.clear());
        cache.publish(&newer, Tier::Full, cache.generation());
        cache.publish(&late, Tier::Full, generation);
        assert!(cache.get(&own_key()).is_some_and(|resident| Arc::ptr_eq(&resident, &newer)));
        drop(cache.clear());
        cache.publish(&late, Tier::Full, generation);
        assert!(cache.get(&own_key()).is_none());
        assert_eq!(cache.len(), 0);
    }

    /// EVMs go by that.
    #[test]
    fn entries_are_current_as_long_as_their_programs_are_resident() {
        let cache = ProgramCache::default();
        let pool = CompilerPool::new(CompilerOptions::default(), 0, reserve_for(1));
        let programs = [(); 3].map(|()| Arc::new(pool.program(own_key(), &CODE).unwrap()));
        let current = || programs.each_ref().map(|program| program.entry().is_current());
        assert_eq!(current(), [false; 3], "nobody has published them");
        let [first, second, third] = &programs;
        let publish = |program| cache.publish(program, Tier::Full, cache.generation());
        assert!(publish(first));
        assert_eq!(current(), [true, false, false]);
        assert!(publish(first) && publish(second));
        assert_eq!(current(), [false, true, false]);
        assert!(cache.replace(&Arc::downgrade(second), third, Tier::Full));
        assert_eq!(current(), [false, false, true]);
        assert!(cache.replace(&Arc::downgrade(third), third, Tier::Full));
        assert_eq!(current(), [false, false, true]);
        drop(cache.clear());
        assert_eq!(current(), [false; 3]);
        assert!(publish(third));
        drop(cache.remove(&own_key()));
        assert_eq!(current(), [false; 3]);
    }

    /// Nobody but EVMs finds it, and it gives way to all others.
    #[test]
    fn the_first_tier_takes_nobodys_place() {
        let cache = ProgramCache::default();
        let pool = CompilerPool::new(CompilerOptions::default(), 0, reserve_for(1));
        let programs = [(); 3].map(|()| Arc::new(pool.program(own_key(), &CODE).unwrap()));
        let current = || programs.each_ref().map(|program| program.entry().is_current());
        let [first, second, full] = &programs;
        let publish = |program, tier| cache.publish(program, tier, cache.generation());
        let epoch = cache.epoch();
        assert!(publish(first, Tier::First) && publish(second, Tier::First));
        assert_eq!((current(), cache.first_len()), ([false, true, false], 1));
        assert!(cache.get(&own_key()).is_none() && cache.has(&own_key()));
        assert_eq!(cache.epoch(), epoch, "EVMs needn't ask for all that they know");
        assert!(publish(full, Tier::Full));
        assert_eq!((current(), cache.first_len()), ([false, false, true], 0));
        assert!(!publish(first, Tier::First));
        assert_eq!((current(), cache.first_len()), ([false, false, true], 0));
        assert!(cache.get(&own_key()).is_some_and(|resident| Arc::ptr_eq(&resident, full)));
        drop(cache.clear());
        assert!(publish(first, Tier::First));
        drop(cache.clear());
        assert_eq!((cache.first_len(), cache.len()), (0, 0));
    }

    /// Bytecode that notes, when it is freed, whether its key could be looked up.
    struct Telling {
        cache: Weak<ProgramCache>,
        was_unlocked: Arc<AtomicBool>,
    }

    impl AsRef<[u8]> for Telling {
        fn as_ref(&self) -> &[u8] {
            &CODE
        }
    }

    impl Drop for Telling {
        fn drop(&mut self) {
            // Gone where the test has failed.
            let Some(cache) = self.cache.upgrade() else { return };
            let was_unlocked = !cache.programs.try_get(&own_key()).is_locked();
            self.was_unlocked.store(was_unlocked, Ordering::Relaxed);
        }
    }

    /// A program that is freed under the lock of its shard keeps everybody there waiting.
    #[test]
    fn what_is_replaced_is_freed_outside_of_the_maps_lock() {
        let cache = Arc::new(ProgramCache::default());
        let pool = CompilerPool::new(CompilerOptions::default(), 0, reserve_for(1));
        let publish = || {
            let was_unlocked = Arc::new(AtomicBool::new(false));
            let telling =
                Telling { cache: Arc::downgrade(&cache), was_unlocked: Arc::clone(&was_unlocked) };
            let code = Bytes::from(alloy_primitives::bytes::Bytes::from_owner(telling));
            let source = Source::proven(own_key(), code).unwrap();
            let (_, compiled) = pool.begin(Tier::Full, &source).unwrap();
            let program = pool.load(&source, (ProgramKind::Jit, Tier::Full), &compiled).unwrap();
            assert!(cache.publish(&Arc::new(program), Tier::Full, cache.generation()));
            was_unlocked
        };
        let first = publish();
        let second = publish();
        assert!(first.load(Ordering::Relaxed), "freed where one publication replaced another");
        let better = Arc::new(pool.program(own_key(), &CODE).unwrap());
        let resident = Arc::downgrade(&cache.get(&own_key()).unwrap());
        assert!(cache.replace(&resident, &better, Tier::Full));
        assert!(second.load(Ordering::Relaxed), "freed where better code came");
    }

    #[test]
    fn failures_are_remembered_until_cleared() {
        let cache = ProgramCache::default();
        cache.remember_failure((key(1), CompilationKind::Jit), &failure(), cache.generation(), 0);
        assert!(cache.failure(CompilationKind::Jit, &key(1), 0).is_some());
        assert!(cache.failure(CompilationKind::Aot, &key(1), 0).is_none());
        assert!(
            cache
                .failure(
                    CompilationKind::Jit,
                    &RuntimeCacheKey { spec_id: SpecId::OSAKA, ..key(1) },
                    0
                )
                .is_none()
        );
        drop(cache.clear());
        assert!(cache.failure(CompilationKind::Jit, &key(1), 0).is_none());
    }

    #[test]
    fn failures_of_an_old_generation_are_forgotten() {
        let cache = ProgramCache::default();
        let generation = cache.generation();
        drop(cache.clear());
        cache.remember_failure((key(1), CompilationKind::Jit), &failure(), generation, 0);
        assert!(cache.failure(CompilationKind::Jit, &key(1), 0).is_none());
    }

    #[test]
    fn clearing_bumps_the_epoch() {
        let cache = ProgramCache::default();
        let epoch = cache.epoch();
        drop(cache.clear());
        assert_ne!(cache.epoch(), epoch);
    }
}
