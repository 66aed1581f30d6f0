//! What an EVM asks of a backend for each frame, and what lookups are made of.

use crate::{
    aot::Goal,
    backend::JitBackend,
    helper::deadline_in,
    hotness::Cold,
    lookup::{InterpretReason, LookupDecision, LookupRequest, RuntimeCacheKey},
    program::CompiledProgram,
    service::CompileService,
    submission::Origin,
};
use alloy_primitives::Bytes;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Longest time that [`JitBackend::compile_jit_sync`] and blocking lookups take.
pub(crate) const SYNC_LIMIT: Duration = Duration::from_secs(30);

/// How an EVM is to run a contract.
#[derive(Clone)]
pub(crate) enum Consultation {
    /// Natively.
    Run(Arc<CompiledProgram>),
    /// In the interpreter, and to count that.
    Watch(Arc<Cold>),
    /// In the interpreter.
    Interpret,
}

impl JitBackend {
    /// How to run frames of `key`, whose bytecode is `code`. Holds for one [`epoch`](Self::epoch).
    /// Never waits, except in blocking mode. Counts the lookup, but no heat: that is for each
    /// frame, by [`Cold::heat`].
    pub(crate) fn consult(
        &self,
        key: &RuntimeCacheKey,
        code: impl FnOnce() -> Bytes,
    ) -> Consultation {
        let Some(service) = self.service().filter(|service| service.is_enabled()) else {
            return Consultation::Interpret;
        };
        if service.config.blocking {
            return match service.lookup_blocking(&LookupRequest { key: *key, code: code() }) {
                LookupDecision::Compiled(program) => Consultation::Run(program),
                LookupDecision::Interpret(_) => Consultation::Interpret,
            };
        }
        let code = code();
        if !service.is_eligible(key, &code) {
            return Consultation::Interpret;
        }
        match service.count(service.use_resident(key, || code.clone())) {
            Some(program) => return Consultation::Run(program),
            None if service.is_hopeless(key) => return Consultation::Interpret,
            None => {}
        }
        if service.has_stored(key) {
            service.submit(*key, code, Origin::Stored, None);
        }
        Consultation::Watch(service.cold.get(key, service.cache.generation()))
    }

    /// Asks the workers to compile `code`; `cold` begins anew when that is over. Whether it was
    /// accepted.
    pub(crate) fn submit(
        &self,
        key: RuntimeCacheKey,
        code: Bytes,
        origin: Origin,
        cold: Option<Arc<Cold>>,
    ) -> bool {
        self.service().is_some_and(|service| service.submit(key, code, origin, cold))
    }

    /// Validates an EVM's own cache; see
    /// [`ProgramCache::epoch`](crate::cache::ProgramCache::epoch).
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.service().map_or(0, |service| service.cache.epoch())
    }

    /// What an EVM notes in a program that it uses.
    #[inline]
    pub(crate) fn clock(&self) -> u32 {
        self.service().map_or(0, |service| service.cache.clock())
    }

    /// Whether a lookup may compile.
    #[inline]
    pub(crate) fn is_blocking(&self) -> bool {
        self.service().is_some_and(|service| service.config.blocking)
    }
}

impl CompileService {
    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    pub(crate) fn get_tracked(&self, key: &RuntimeCacheKey) -> Option<Arc<CompiledProgram>> {
        let program = self.cache.get(key);
        if let Some(program) = &program {
            program.touch(self.cache.clock());
        }
        self.count(program)
    }

    pub(crate) fn count<T>(&self, found: Option<T>) -> Option<T> {
        let counters = &self.ledger.counters;
        match &found {
            Some(_) => counters.lookup_hits.bump(),
            None => counters.lookup_misses.bump(),
        }
        found
    }

    /// Whether compiling `key` fails until the next clear. A shortage of memory passes earlier.
    pub(crate) fn is_hopeless(&self, key: &RuntimeCacheKey) -> bool {
        let kind = self.kind_for(Goal::Program);
        self.failure(kind, key).is_some_and(|failure| !failure.is_shortage())
    }

    pub(crate) fn lookup_blocking(self: &Arc<Self>, request: &LookupRequest) -> LookupDecision {
        if !self.is_eligible(&request.key, &request.code) {
            return LookupDecision::Interpret(InterpretReason::Ineligible);
        }
        if let Some(program) = self.get_tracked(&request.key) {
            return LookupDecision::Compiled(program);
        }
        match self.program(Goal::Program, request.key, &request.code, deadline_in(SYNC_LIMIT)) {
            Ok(program) => LookupDecision::Compiled(program),
            // Logged where it happened, once.
            Err(_) => LookupDecision::Interpret(InterpretReason::JitFailed),
        }
    }
}
