//! What an EVM asks of a backend for each frame, and what lookups are made of.
//!
//! Keys in questions are claims: see [`Source`]. What is found by one is compared with the code at
//! hand. An EVM whose code isn't what is claimed gets the code's own program, as soon as it is
//! known that such claims are made: a program is there and is another's, or a worker was asked to
//! compile the code and has hashed it. A lookup whose code isn't what it claims finds nothing.

use crate::{
    allowance::Allowance,
    aot::Goal,
    backend::JitBackend,
    frame_counts::RunClass,
    helper::deadline_in,
    hotness::Cold,
    lookup::{InterpretReason, LookupDecision, LookupRequest, RuntimeCacheKey},
    program::{CompiledProgram, Verified},
    service::CompileService,
    source::Source,
    submission::Origin,
};
use alloy_primitives::Bytes;
use cranevm_codegen::{OpcodeSet, Reached};
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use std::{sync::Arc, time::Duration};

/// Longest time that [`JitBackend::compile_jit_sync`] and blocking lookups take.
pub(crate) const SYNC_LIMIT: Duration = Duration::from_secs(30);

/// How an EVM is to run a contract.
#[derive(Clone)]
pub(crate) enum Consultation {
    /// Natively, by the program of this very bytecode.
    Run(Verified),
    /// The same, by one of the first tier, and to count that.
    First(Verified, Arc<Cold>),
    /// In the interpreter, and to count that.
    Watch(Arc<Cold>),
    /// In the interpreter, for this reason.
    Interpret(RunClass),
}

impl JitBackend {
    /// How to run frames of `code`, whose key is claimed to be `claimed`. Holds for one
    /// [`epoch`](Self::epoch), or until the program is revoked, or [there are
    /// news](Cold::has_news). Never waits, except in blocking mode; but may compile within
    /// `allowance`, by the first tier. Counts nothing: lookups and heat are for each frame, by
    /// [`FrameCounts`](crate::frame_counts) and [`Cold::heat`].
    pub(crate) fn consult(
        &self,
        claimed: &RuntimeCacheKey,
        code: &Bytecode,
        allowance: &mut Allowance,
    ) -> Consultation {
        let Some(service) = self.service().filter(|service| service.is_enabled()) else {
            return Consultation::Interpret(RunClass::Disabled);
        };
        if !service.is_eligible(claimed, code.original_byte_slice()) {
            return Consultation::Interpret(RunClass::Ineligible);
        }
        match service.config.blocking {
            true => service.consult_blocking(claimed, code),
            false => service.consult(claimed, code, allowance),
        }
    }

    /// Whether contracts are compiled on the threads that run them, before they are hot.
    #[inline]
    pub(crate) fn has_first_tier(&self) -> bool {
        self.service().is_some_and(|service| service.has_first_tier)
    }

    /// [`CompileService::init_program`].
    pub(crate) fn init_program(
        &self,
        code: &Bytecode,
        spec_id: SpecId,
        blocks: &Reached,
        allowance: &mut Allowance,
    ) -> Option<Verified> {
        self.owned()?.init_program(code, spec_id, blocks, allowance)
    }

    /// Lets go of a program that a frame alone had; another thread frees it.
    pub(crate) fn drop_later(&self, program: Verified) {
        if let Some(service) = self.owned() {
            service.compilers.space.drop_later(vec![program.into_program()]);
        }
    }

    /// Notes which opcodes are foreign to an EVM; answers of the epoch before don't hold any more
    /// if that is news.
    pub(crate) fn meet_foreign(&self, opcodes: OpcodeSet) {
        if let Some(service) = self.owned() {
            service.meet_foreign(opcodes);
        }
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
        self.owned().is_some_and(|service| service.submit(key, code, origin, cold))
    }

    /// Has a contract compiled at the optimising level, whose runs have come to be worth that.
    #[cold]
    pub(crate) fn improve(&self, cold: &Cold) {
        if let Some(service) = self.owned() {
            service.improve(cold);
        }
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

    /// Notes some frames of a contract without a program.
    #[cold]
    pub(crate) fn note_demand(&self) {
        if let Some(service) = self.owned() {
            service.note_demand();
        }
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
        self.guard.is_on()
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

    /// [`JitBackend::consult`], for eligible code, without waiting.
    fn consult(
        self: &Arc<Self>,
        claimed: &RuntimeCacheKey,
        code: &Bytecode,
        allowance: &mut Allowance,
    ) -> Consultation {
        let verified = |key: &_| self.use_any(key, |program| Verified::new(program, code));
        let (mut key, mut found) = (*claimed, verified(claimed));
        if found.is_none() && self.doubts(claimed) {
            key = Source::of(code, claimed.spec_id).key();
            if key != *claimed {
                found = verified(&key);
            }
        }
        let watch = || self.watch(&key, || code.original_bytes());
        let found = match found {
            Some((tier, program)) if self.learns(tier) => Some(program),
            Some((_, program)) => return Consultation::Run(program),
            None if self.is_hopeless(&key) => return Consultation::Interpret(RunClass::Failed),
            None => None,
        };
        let cold = watch();
        match &found {
            None => cold.first.lose_program(),
            // Somebody asked for it, whole.
            Some(program) if !cold.first.has_program() => {
                cold.first.note_program(program.bytecode_len());
            }
            Some(_) => {}
        }
        match self.first_program(code, claimed.spec_id, found.as_ref(), &cold, allowance).or(found)
        {
            Some(program) => Consultation::First(program, cold),
            None => Consultation::Watch(cold),
        }
    }

    /// What counts the frames of a contract without a program. If the store has that, it is asked
    /// for at once, unless it was refused: then when it got hot.
    pub(crate) fn watch(
        self: &Arc<Self>,
        key: &RuntimeCacheKey,
        code: impl FnOnce() -> Bytes,
    ) -> Arc<Cold> {
        let cold = self.cold.get(key, self.cache.generation(), self.cache.clock());
        if self.has_stored(key) && !cold.is_refused() {
            self.submit(*key, code(), Origin::Stored, Some(Arc::clone(&cold)));
        }
        cold
    }

    /// [`JitBackend::consult`], for eligible code, in blocking mode: the code's own program,
    /// whatever is claimed.
    fn consult_blocking(
        self: &Arc<Self>,
        claimed: &RuntimeCacheKey,
        code: &Bytecode,
    ) -> Consultation {
        let verify = |program: &_| Verified::new(program, code);
        if let Some(program) = self.use_resident(claimed, verify) {
            return Consultation::Run(program);
        }
        let source = Source::of(code, claimed.spec_id);
        if let Some(program) = self.use_resident(&source.key(), verify) {
            return Consultation::Run(program);
        }
        match self.program(Goal::Program, &source, deadline_in(SYNC_LIMIT)) {
            Ok(program) => match verify(&program) {
                Some(program) => {
                    // The run that comes counts as a hit.
                    self.ledger.counters.compiled_for_runs.bump();
                    Consultation::Run(program)
                }
                None => Consultation::Interpret(RunClass::Other),
            },
            // Logged where it happened, once.
            Err(_) => Consultation::Interpret(RunClass::Failed),
        }
    }

    /// Whether code that isn't found under a key it claims may have another: there is a program of
    /// other code, or somebody had such code. Hashing each that isn't found would cost more.
    fn doubts(&self, claimed: &RuntimeCacheKey) -> bool {
        self.cache.has(claimed) || self.cold.doubts(claimed, self.cache.generation())
    }

    /// [`JitBackend::lookup_blocking`].
    pub(crate) fn lookup_blocking(self: &Arc<Self>, request: &LookupRequest) -> LookupDecision {
        let LookupRequest { key, code } = request;
        if !self.is_eligible(key, code) {
            return LookupDecision::Interpret(InterpretReason::Ineligible);
        }
        if let Some(program) = self.use_requested(request) {
            self.count(Some(()));
            return LookupDecision::Compiled(program);
        }
        if self.is_hopeless(key) {
            // Whosever code it is.
            self.count(None::<()>);
            return LookupDecision::Interpret(InterpretReason::JitFailed);
        }
        match Source::proven(*key, code.clone()) {
            Ok(source) => self.lookup_proven(&source),
            Err(failure) => {
                self.log_failure(*key, code.len(), &failure, self.cache.generation());
                LookupDecision::Interpret(InterpretReason::JitFailed)
            }
        }
    }

    /// The resident program of a request, if its key is that of its code.
    pub(crate) fn use_requested(&self, request: &LookupRequest) -> Option<Arc<CompiledProgram>> {
        let LookupRequest { key, code } = request;
        let hashed = || Source::hashed(code.clone(), key.spec_id);
        self.use_resident(key, |program| program.is_of(code, hashed).then(|| Arc::clone(program)))
    }

    /// Finds the program of eligible code, or compiles it.
    fn lookup_proven(self: &Arc<Self>, source: &Source) -> LookupDecision {
        if let Some(program) = self.get_tracked(&source.key()) {
            return LookupDecision::Compiled(program);
        }
        match self.program(Goal::Program, source, deadline_in(SYNC_LIMIT)) {
            Ok(program) => LookupDecision::Compiled(program),
            // Logged where it happened, once.
            Err(_) => LookupDecision::Interpret(InterpretReason::JitFailed),
        }
    }
}
