//! The way from a request to a resident program, on the calling thread.
//!
//! Order of an attempt: compile and load, publish (or remember the failure), wake who waits for it,
//! tell `on_compilation`. So whoever hears of a program can look it up, and a slow callback delays
//! only the thread that compiled.

use crate::{
    CompileTimings,
    cache::ProgramCache,
    compiler_pool::{CompilerPool, panic_message, reserve_for},
    config::{CompilationEvent, CompilationKind, RuntimeConfig},
    error::CompileFailure,
    flights::{Attempt, Boarding, Flights},
    lookup::RuntimeCacheKey,
    stats::Counters,
};
use cranevm_codegen::CompilerOptions;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

type Callback = Arc<dyn Fn(CompilationEvent) + Send + Sync>;

/// Compiles what isn't compiled yet, once.
pub(crate) struct CompileService {
    pub(crate) cache: ProgramCache,
    pub(crate) pool: CompilerPool,
    pub(crate) counters: Counters,
    flights: Flights,
    on_compilation: Option<Callback>,
    /// The generation of the cache, plus 1, for which the log tells of a shortage; 0: none yet.
    shortage_logged: AtomicU64,
}

impl CompileService {
    pub(crate) fn new(config: &RuntimeConfig, options: CompilerOptions) -> Self {
        let tuning = &config.tuning;
        Self {
            cache: ProgramCache::default(),
            pool: CompilerPool::new(
                options,
                tuning.compiler_recycle_threshold,
                reserve_for(tuning.resident_code_cache_bytes),
            ),
            counters: Counters::default(),
            flights: Flights::default(),
            on_compilation: config.on_compilation.clone(),
            shortage_logged: AtomicU64::new(0),
        }
    }

    /// The program of `key`: resident, or awaited from the thread that compiles it, or compiled
    /// here from `code`.
    pub(crate) fn program(&self, key: RuntimeCacheKey, code: &[u8]) -> Attempt {
        let generation = self.cache.generation();
        if let Some(known) = self.known(&key) {
            return known;
        }
        let lead = match self.flights.board(key, generation) {
            Boarding::Follow(flight) => return flight.wait(),
            Boarding::Lead(lead) => lead,
        };
        // A flight may have landed between the first look and the boarding.
        if let Some(known) = self.known(&key) {
            lead.land(known.clone());
            return known;
        }
        let (attempt, event) = self.attempt(key, code, generation);
        lead.land(attempt.clone());
        self.tell(event);
        attempt
    }

    /// What is already known about `key`.
    fn known(&self, key: &RuntimeCacheKey) -> Option<Attempt> {
        self.cache.get(key).map(Ok).or_else(|| {
            // Read before the failures: one that is remembered meanwhile is newer, and holds.
            let releases = self.pool.releases();
            self.cache.failure(key, releases).map(Err)
        })
    }

    /// Compiles and publishes.
    fn attempt(
        &self,
        key: RuntimeCacheKey,
        code: &[u8],
        generation: u64,
    ) -> (Attempt, CompilationEvent) {
        self.counters.compilations_dispatched.bump();
        let releases = self.pool.releases();
        let start = Instant::now();
        let (attempt, timings) = match self.pool.compile(key, code) {
            Ok((program, timings)) => {
                let program = Arc::new(program);
                self.cache.publish(&program, generation);
                self.counters.compilations_succeeded.bump();
                (Ok(program), timings)
            }
            Err(failure) => {
                self.log_failure(key, code.len(), &failure, generation);
                let failure = Arc::new(failure);
                self.cache.remember_failure(key, &failure, generation, releases);
                self.counters.compilations_failed.bump();
                (Err(failure), CompileTimings::default())
            }
        };
        let event = CompilationEvent {
            code_hash: key.code_hash,
            spec_id: key.spec_id,
            duration: start.elapsed(),
            kind: CompilationKind::Jit,
            success: attempt.is_ok(),
            timings,
        };
        (attempt, event)
    }

    /// Warns of a failure. A shortage of code memory strikes every contract from then on: the log
    /// tells of the first between two clears.
    fn log_failure(
        &self,
        key: RuntimeCacheKey,
        code_len: usize,
        failure: &CompileFailure,
        generation: u64,
    ) {
        let RuntimeCacheKey { code_hash, spec_id } = key;
        if !failure.is_shortage() {
            tracing::warn!(%code_hash, ?spec_id, code_len, %failure,
                "compilation failed; the code is interpreted");
        } else if self.is_first_shortage(generation) {
            tracing::warn!(%code_hash, ?spec_id, code_len, %failure,
                "no memory for compiled code; this and further code is interpreted until programs \
                 are freed; further failures of this kind are only counted");
        }
    }

    /// Whether a shortage wasn't asked about in this generation before.
    fn is_first_shortage(&self, generation: u64) -> bool {
        self.shortage_logged.swap(generation + 1, Ordering::Relaxed) != generation + 1
    }

    /// Calls the client's callback, and contains its panics.
    fn tell(&self, event: CompilationEvent) {
        let Some(callback) = &self.on_compilation else { return };
        // Unwind safety: nothing of this crate is lent to the callback.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| callback(event))) {
            tracing::error!(message = panic_message(&*panic), "on_compilation panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use revm::primitives::hardfork::SpecId;

    /// A service with one page for code.
    fn service() -> CompileService {
        let options = CompilerOptions::default();
        let service = CompileService::new(&RuntimeConfig::default(), options);
        CompileService { pool: CompilerPool::new(options, 0, 1), ..service }
    }

    fn key(code: &[u8]) -> RuntimeCacheKey {
        RuntimeCacheKey { code_hash: keccak256(code), spec_id: SpecId::CANCUN }
    }

    const FIRST: &[u8] = &[0x00];
    const SECOND: &[u8] = &[0x5b, 0x00];

    #[test]
    fn a_shortage_is_remembered_until_a_program_is_freed() {
        let service = service();
        // Not through the service, whose cache would keep it.
        let (first, _) = service.pool.compile(key(FIRST), FIRST).unwrap();
        let failure = service.program(key(SECOND), SECOND).unwrap_err();
        assert!(failure.is_shortage(), "{failure}");
        for _ in 0..3 {
            let again = service.program(key(SECOND), SECOND).unwrap_err();
            assert!(Arc::ptr_eq(&again, &failure));
        }
        assert_eq!(service.counters.compilations_dispatched.get(), 1);
        drop(first);
        service.program(key(SECOND), SECOND).unwrap();
        assert_eq!(service.counters.compilations_dispatched.get(), 2);
        assert!(service.known(&key(SECOND)).is_some_and(|known| known.is_ok()));
    }

    #[test]
    fn a_shortage_is_forgotten_by_a_clear() {
        let service = service();
        let _first = service.pool.compile(key(FIRST), FIRST).unwrap();
        assert!(service.program(key(SECOND), SECOND).is_err());
        service.cache.clear();
        assert!(service.known(&key(SECOND)).is_none());
        assert!(service.program(key(SECOND), SECOND).is_err());
        assert_eq!(service.counters.compilations_dispatched.get(), 2);
    }

    #[test]
    fn the_log_tells_of_the_first_shortage_of_a_generation() {
        let service = service();
        let _first = service.pool.compile(key(FIRST), FIRST).unwrap();
        let failure = CompileFailure::Panic { message: "no shortage".into() };
        service.log_failure(key(FIRST), 1, &failure, 0);
        assert!(service.is_first_shortage(0));
        assert!(!service.is_first_shortage(0));
        service.cache.clear();
        assert!(service.program(key(SECOND), SECOND).is_err());
        assert!(!service.is_first_shortage(service.cache.generation()), "it was logged");
    }
}
