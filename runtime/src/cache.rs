//! Resident programs, remembered failures, and the two counters that make `clear_*` take effect
//! everywhere.
//!
//! - The **generation** grows with each clear. A compilation remembers the generation it began in,
//!   and its result enters the cache only if that is still the current one.
//! - The **epoch** grows with everything that may change the answer to a lookup: a publication, a
//!   clear, switching on or off. An EVM's own cache is valid as long as the epoch is the one it was
//!   filled in.

use crate::{
    compiler_pool::{Tier, lock},
    error::CompileFailure,
    lookup::RuntimeCacheKey,
    program::CompiledProgram,
};
use alloy_primitives::map::{DefaultHashBuilder, HashMap};
use dashmap::DashMap;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

/// A program in the cache.
struct Resident {
    program: Arc<CompiledProgram>,
    /// In which its compilation began.
    generation: u64,
    tier: Tier,
}

/// Failures remembered. Beyond that the oldest is forgotten, and its code may be tried again.
const MAX_FAILURES: usize = 16 * 1024;

/// What a backend knows about contracts.
#[derive(Default)]
pub(crate) struct ProgramCache {
    programs: DashMap<RuntimeCacheKey, Resident, DefaultHashBuilder>,
    failures: Mutex<FailureLog>,
    generation: AtomicU64,
    epoch: AtomicU64,
    clock: AtomicU32,
}

impl ProgramCache {
    /// The resident program, if there is one.
    pub(crate) fn get(&self, key: &RuntimeCacheKey) -> Option<Arc<CompiledProgram>> {
        self.programs.get(key).map(|resident| Arc::clone(&resident.program))
    }

    /// Why compiling `key` failed before, if it did and would again. `releases` is
    /// [`CompilerPool::releases`](crate::compiler_pool::CompilerPool::releases) now: a failure from
    /// a shortage is forgotten as soon as a program was freed since.
    pub(crate) fn failure(
        &self,
        key: &RuntimeCacheKey,
        releases: u64,
    ) -> Option<Arc<CompileFailure>> {
        lock(&self.failures).get(key, releases)
    }

    /// Resident programs.
    pub(crate) fn len(&self) -> usize {
        self.programs.len()
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

    /// Makes every EVM's own cache look again.
    pub(crate) fn bump_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// What programs note as their last use. It goes on with each publication and each turn of
    /// housekeeping: a difference tells what was used later, not how long ago that was.
    #[inline]
    pub(crate) fn clock(&self) -> u32 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Moves the clock on. It wraps round after some years of turns.
    pub(crate) fn tick(&self) -> u32 {
        self.clock.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
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
    ) -> bool {
        let replaced = match self.programs.get_mut(&better.key) {
            Some(mut resident) if is(&resident, program) => {
                better.touch(resident.program.last_use());
                resident.tier = Tier::Full;
                Some(std::mem::replace(&mut resident.program, Arc::clone(better)))
            }
            _ => None,
        };
        // The map's lock was released by the end of the statement above; freeing code comes after.
        if replaced.is_some() {
            self.bump_epoch();
        }
        replaced.is_some()
    }

    /// Makes a program resident, unless the cache was cleared since `generation`; `false` if so.
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
        if self.generation() != generation {
            return false;
        }
        entry.insert(Resident { program: Arc::clone(program), generation, tier });
        // The entry's lock was released by the end of the statement above.
        self.bump_epoch();
        true
    }

    /// Remembers a failure, unless the cache was cleared since `generation`. `releases` is as for
    /// [`failure`](Self::failure), read before the attempt.
    pub(crate) fn remember_failure(
        &self,
        key: RuntimeCacheKey,
        failure: &Arc<CompileFailure>,
        generation: u64,
        releases: u64,
    ) {
        let releases = failure.is_shortage().then_some(releases);
        let mut failures = lock(&self.failures);
        if self.generation() == generation {
            failures.insert(key, Remembered { failure: Arc::clone(failure), releases });
        }
    }

    /// Forgets everything. Waits for nothing but map operations; programs in use live on with their
    /// users.
    pub(crate) fn clear(&self) {
        let cleared = self.generation.fetch_add(1, Ordering::SeqCst);
        // Who saw the new generation may have published already.
        self.programs.retain(|_, resident| resident.generation > cleared);
        lock(&self.failures).clear();
        self.bump_epoch();
    }
}

/// Whether this is the program in the cache.
fn is(resident: &Resident, program: &Weak<CompiledProgram>) -> bool {
    std::ptr::eq(Arc::as_ptr(&resident.program), program.as_ptr())
}

/// A bounded map that forgets the oldest entry first.
#[derive(Default)]
struct FailureLog {
    by_key: HashMap<RuntimeCacheKey, Remembered>,
    /// Keys of `by_key`, oldest first.
    order: VecDeque<RuntimeCacheKey>,
}

struct Remembered {
    failure: Arc<CompileFailure>,
    /// For a shortage: the releases that it holds for.
    releases: Option<u64>,
}

impl FailureLog {
    fn get(&self, key: &RuntimeCacheKey, releases: u64) -> Option<Arc<CompileFailure>> {
        let remembered = self.by_key.get(key)?;
        let holds = remembered.releases.is_none_or(|then| then == releases);
        holds.then(|| Arc::clone(&remembered.failure))
    }

    fn insert(&mut self, key: RuntimeCacheKey, remembered: Remembered) {
        if self.by_key.insert(key, remembered).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_FAILURES
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler_pool::{CompilerPool, reserve_for};
    use alloy_primitives::B256;
    use cranevm_codegen::CompilerOptions;
    use revm::primitives::hardfork::SpecId;

    fn key(n: usize) -> RuntimeCacheKey {
        let code_hash = B256::left_padding_from(&n.to_be_bytes());
        RuntimeCacheKey { code_hash, spec_id: SpecId::CANCUN }
    }

    fn failure() -> Arc<CompileFailure> {
        Arc::new(CompileFailure::Panic { message: "told".into() })
    }

    #[test]
    fn a_late_publication_leaves_the_newer_program() {
        let cache = ProgramCache::default();
        let pool = CompilerPool::new(CompilerOptions::default(), 0, reserve_for(1));
        let compile = || Arc::new(pool.compile(key(1), &[0], || Ok(())).unwrap().0);
        let (late, newer) = (compile(), compile());
        let generation = cache.generation();
        cache.clear();
        cache.publish(&newer, Tier::Full, cache.generation());
        cache.publish(&late, Tier::Full, generation);
        assert!(cache.get(&key(1)).is_some_and(|resident| Arc::ptr_eq(&resident, &newer)));
        cache.clear();
        cache.publish(&late, Tier::Full, generation);
        assert!(cache.get(&key(1)).is_none());
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn failures_are_remembered_until_cleared() {
        let cache = ProgramCache::default();
        cache.remember_failure(key(1), &failure(), cache.generation(), 0);
        assert!(cache.failure(&key(1), 0).is_some());
        assert!(cache.failure(&RuntimeCacheKey { spec_id: SpecId::OSAKA, ..key(1) }, 0).is_none());
        cache.clear();
        assert!(cache.failure(&key(1), 0).is_none());
    }

    #[test]
    fn failures_of_an_old_generation_are_forgotten() {
        let cache = ProgramCache::default();
        let generation = cache.generation();
        cache.clear();
        cache.remember_failure(key(1), &failure(), generation, 0);
        assert!(cache.failure(&key(1), 0).is_none());
    }

    #[test]
    fn failures_are_bounded() {
        let cache = ProgramCache::default();
        for n in 0..MAX_FAILURES + 2 {
            cache.remember_failure(key(n), &failure(), 0, 0);
            cache.remember_failure(key(n), &failure(), 0, 0);
        }
        let log = lock(&cache.failures);
        assert_eq!((log.by_key.len(), log.order.len()), (MAX_FAILURES, MAX_FAILURES));
        assert!(log.get(&key(1), 0).is_none());
        assert!(log.get(&key(2), 0).is_some());
    }

    #[test]
    fn clearing_bumps_the_epoch() {
        let cache = ProgramCache::default();
        let epoch = cache.epoch();
        cache.clear();
        assert_ne!(cache.epoch(), epoch);
    }
}
