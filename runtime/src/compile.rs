//! The way from a request to a resident program, on the calling thread.
//!
//! Order of an attempt: compile and load, publish (or remember the failure), wake who waits for it,
//! tell `on_compilation`. So whoever hears of a program can look it up, and a slow callback delays
//! only the thread that compiled.

use crate::{
    CompileTimings,
    cache::ProgramCache,
    compiler_pool::{CompilerPool, panic_message},
    config::{CompilationEvent, CompilationKind, RuntimeConfig},
    flights::{Attempt, Boarding, Flights},
    lookup::RuntimeCacheKey,
    stats::Counters,
};
use cranevm_codegen::CompilerOptions;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
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
}

impl CompileService {
    pub(crate) fn new(config: &RuntimeConfig, options: CompilerOptions) -> Self {
        let tuning = &config.tuning;
        Self {
            cache: ProgramCache::default(),
            pool: CompilerPool::new(
                options,
                tuning.compiler_recycle_threshold,
                tuning.resident_code_cache_bytes,
            ),
            counters: Counters::default(),
            flights: Flights::default(),
            on_compilation: config.on_compilation.clone(),
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
        self.cache.get(key).map(Ok).or_else(|| self.cache.failure(key).map(Err))
    }

    /// Compiles and publishes.
    fn attempt(
        &self,
        key: RuntimeCacheKey,
        code: &[u8],
        generation: u64,
    ) -> (Attempt, CompilationEvent) {
        self.counters.compilations_dispatched.bump();
        let start = Instant::now();
        let (attempt, timings) = match self.pool.compile(key, code) {
            Ok((program, timings)) => {
                let program = Arc::new(program);
                self.cache.publish(&program, generation);
                self.counters.compilations_succeeded.bump();
                (Ok(program), timings)
            }
            Err(failure) => {
                let (code_hash, spec_id, code_len) = (key.code_hash, key.spec_id, code.len());
                tracing::warn!(%code_hash, ?spec_id, code_len, %failure,
                    "compilation failed; the code is interpreted");
                let failure = Arc::new(failure);
                self.cache.remember_failure(key, &failure, generation);
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

    /// Calls the client's callback, and contains its panics.
    fn tell(&self, event: CompilationEvent) {
        let Some(callback) = &self.on_compilation else { return };
        // Unwind safety: nothing of this crate is lent to the callback.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| callback(event))) {
            tracing::error!(message = panic_message(&*panic), "on_compilation panicked");
        }
    }
}
