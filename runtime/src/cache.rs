//! Resident programs, remembered failures, and the two counters that make `clear_*` take effect
//! everywhere.
//!
//! - The **generation** grows with each clear. A compilation remembers the generation it began in,
//!   and its result stays in the cache only if that is still the current one.
//! - The **epoch** grows with everything that may change the answer to a lookup: a publication, a
//!   clear, switching on or off. An EVM's own cache is valid as long as the epoch is the one it was
//!   filled in.

use crate::{
    compiler_pool::lock, error::CompileFailure, lookup::RuntimeCacheKey, program::CompiledProgram,
};
use alloy_primitives::map::{DefaultHashBuilder, HashMap};
use dashmap::DashMap;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// Failures remembered. Beyond that the oldest is forgotten, and its code may be tried again.
const MAX_FAILURES: usize = 16 * 1024;

/// What a backend knows about contracts.
#[derive(Default)]
pub(crate) struct ProgramCache {
    programs: DashMap<RuntimeCacheKey, Arc<CompiledProgram>, DefaultHashBuilder>,
    failures: Mutex<FailureLog>,
    generation: AtomicU64,
    epoch: AtomicU64,
}

impl ProgramCache {
    /// The resident program, if there is one.
    pub(crate) fn get(&self, key: &RuntimeCacheKey) -> Option<Arc<CompiledProgram>> {
        self.programs.get(key).map(|program| Arc::clone(&program))
    }

    /// Why compiling `key` failed before, if it did and would again.
    pub(crate) fn failure(&self, key: &RuntimeCacheKey) -> Option<Arc<CompileFailure>> {
        lock(&self.failures).get(key)
    }

    /// Resident programs.
    pub(crate) fn len(&self) -> usize {
        self.programs.len()
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

    /// Makes a program resident, unless the cache was cleared since `generation`.
    pub(crate) fn publish(&self, program: &Arc<CompiledProgram>, generation: u64) {
        self.programs.insert(program.key, Arc::clone(program));
        // A clear bumps the generation before it empties the map. So if it isn't seen here, the map
        // is emptied after the insertion, and if it is, the insertion is taken back.
        if self.generation() != generation {
            self.programs.remove_if(&program.key, |_, resident| Arc::ptr_eq(resident, program));
        }
        self.bump_epoch();
    }

    /// Remembers a failure, unless trying again may help or the cache was cleared since
    /// `generation`.
    pub(crate) fn remember_failure(
        &self,
        key: RuntimeCacheKey,
        failure: &Arc<CompileFailure>,
        generation: u64,
    ) {
        if failure.is_transient() {
            return;
        }
        let mut failures = lock(&self.failures);
        if self.generation() == generation {
            failures.insert(key, Arc::clone(failure));
        }
    }

    /// Forgets everything. Waits for nothing but map operations; programs in use live on with their
    /// users.
    pub(crate) fn clear(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.programs.clear();
        lock(&self.failures).clear();
        self.bump_epoch();
    }
}

/// A bounded map that forgets the oldest entry first.
#[derive(Default)]
struct FailureLog {
    by_key: HashMap<RuntimeCacheKey, Arc<CompileFailure>>,
    /// Keys of `by_key`, oldest first.
    order: VecDeque<RuntimeCacheKey>,
}

impl FailureLog {
    fn get(&self, key: &RuntimeCacheKey) -> Option<Arc<CompileFailure>> {
        self.by_key.get(key).cloned()
    }

    fn insert(&mut self, key: RuntimeCacheKey, failure: Arc<CompileFailure>) {
        if self.by_key.insert(key, failure).is_some() {
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
    use alloy_primitives::B256;
    use revm::primitives::hardfork::SpecId;

    fn key(n: usize) -> RuntimeCacheKey {
        let code_hash = B256::left_padding_from(&n.to_be_bytes());
        RuntimeCacheKey { code_hash, spec_id: SpecId::CANCUN }
    }

    fn failure() -> Arc<CompileFailure> {
        Arc::new(CompileFailure::Panic { message: "told".into() })
    }

    #[test]
    fn failures_are_remembered_until_cleared() {
        let cache = ProgramCache::default();
        cache.remember_failure(key(1), &failure(), cache.generation());
        assert!(cache.failure(&key(1)).is_some());
        assert!(cache.failure(&RuntimeCacheKey { spec_id: SpecId::OSAKA, ..key(1) }).is_none());
        cache.clear();
        assert!(cache.failure(&key(1)).is_none());
    }

    #[test]
    fn failures_of_an_old_generation_are_forgotten() {
        let cache = ProgramCache::default();
        let generation = cache.generation();
        cache.clear();
        cache.remember_failure(key(1), &failure(), generation);
        assert!(cache.failure(&key(1)).is_none());
    }

    #[test]
    fn failures_are_bounded() {
        let cache = ProgramCache::default();
        for n in 0..MAX_FAILURES + 2 {
            cache.remember_failure(key(n), &failure(), 0);
            cache.remember_failure(key(n), &failure(), 0);
        }
        let log = lock(&cache.failures);
        assert_eq!((log.by_key.len(), log.order.len()), (MAX_FAILURES, MAX_FAILURES));
        assert!(log.get(&key(1)).is_none());
        assert!(log.get(&key(2)).is_some());
    }

    #[test]
    fn clearing_bumps_the_epoch() {
        let cache = ProgramCache::default();
        let epoch = cache.epoch();
        cache.clear();
        assert_ne!(cache.epoch(), epoch);
    }
}
