//! The first tier: native code for contracts that run, made by the thread that runs them.
//!
//! Putting a contract together from stencils takes a thousandth of what the optimising tier takes,
//! so nobody has to queue for it: when a contract's frames have burnt as much gas as its length is
//! worth ([`Cold::is_due`](crate::hotness::Cold::is_due)), the next frame compiles it, within the
//! [allowance](crate::allowance) of its transaction and block; beyond that, a worker does. Its heat
//! is counted on, so that the optimising tier takes over what is worth it.
//!
//! Such programs are the EVMs' own affair: lookups don't find them, and they aren't counted among
//! compilations. They are resident as others are, within the budget, and give way to a program of
//! another tier. Where the budget is taken up, only a contract that is used more than what would go
//! for it is compiled.
//!
//! Init code runs once: it is compiled in the midst of its frame, if that burns much, up to the
//! frame's end or its next call.
//!
//! There is none in blocking mode, nor where code is compiled out of process, as a node that asks
//! for that wants no compiler among its own threads.
//!
//! Needs: the assembler, which the housekeeping thread makes; until it is there, frames are
//! interpreted.

use crate::{
    allowance::Allowance,
    compiler_pool::Tier,
    config::{JitMode, RuntimeConfig},
    error::CompileFailure,
    hotness::Cold,
    jobs::{FirstJob, Job},
    lookup::RuntimeCacheKey,
    pool::Band,
    program::{CompiledProgram, ProgramKind, Verified},
    service::CompileService,
    source::Source,
};
use cranevm_codegen::HAS_COMPILER;
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use std::{sync::Arc, time::Instant};

/// Whether a backend of this configuration has a first tier, if its options don't say no.
pub(crate) fn is_configured(config: &RuntimeConfig) -> bool {
    HAS_COMPILER && !config.blocking && config.jit_mode == JitMode::InProcess
}

impl CompileService {
    /// The first tier's program of `code`, if it is due, and made now. `source` is computed only
    /// then.
    pub(crate) fn first_program(
        &self,
        code: &Bytecode,
        source: impl FnOnce() -> Source,
        cold: &Arc<Cold>,
        allowance: &mut Allowance,
    ) -> Option<Verified> {
        if !cold.is_due() {
            return None;
        }
        if !self.compilers.may_assemble() {
            cold.put_first_off();
            return None;
        }
        let source = source();
        if !cold.is_for(&source.key()) {
            cold.put_first_off();
            if cold.note_wrong_claim() {
                // From now on who claims that is asked for the hash.
                self.cache.bump_epoch();
            }
            return None;
        }
        if !cold.begin_first() {
            return None;
        }
        let generation = self.cache.generation();
        if !allowance.is_open() {
            self.leave_first_to_worker(FirstJob::new(source, generation, cold));
            return None;
        }
        let program = self.make_first(&source, generation, cold);
        allowance.take(program.as_deref().map_or_else(|| likely_bytes(&source), made_bytes));
        Verified::new(&program?, code)
    }

    /// Makes the first tier's program of a contract, as was begun in this generation, if what would
    /// go for it is used less.
    pub(crate) fn make_first(
        &self,
        source: &Source,
        generation: u64,
        cold: &Cold,
    ) -> Option<Arc<CompiledProgram>> {
        if !self.admits(cold) {
            cold.put_first_off();
            return None;
        }
        let made = self.assemble(source).and_then(|program| {
            let program = Arc::new(program);
            Ok((self.publish(&program, Tier::First, generation)?, program))
        });
        match made {
            Ok((true, program)) => {
                cold.note_first();
                Some(program)
            }
            Ok((false, program)) => {
                // Better code came, or a clear, or an opcode isn't revm's any more.
                cold.put_first_off();
                self.compilers.space.drop_later(vec![program]);
                None
            }
            Err(failure) => {
                if failure.is_shortage() {
                    cold.put_first_off();
                }
                told(source, &failure);
                None
            }
        }
    }

    /// A program of init code, for the frame alone that runs it. The EVM's rules are the fork's.
    pub(crate) fn init_program(
        &self,
        code: &Bytecode,
        spec_id: SpecId,
        allowance: &mut Allowance,
    ) -> Option<Verified> {
        if !allowance.is_open() || !self.compilers.may_assemble() {
            return None;
        }
        let source = Source::of(code, spec_id);
        let key = source.key();
        if !self.is_eligible(&key, source.code()) || self.cache.denial(&key).is_some() {
            return None;
        }
        let made = self.assemble(&source).inspect_err(|failure| told(&source, failure));
        allowance.take(made.as_ref().map_or_else(|_| likely_bytes(&source), made_bytes));
        Verified::new(&Arc::new(made.ok()?), code)
    }

    /// Puts a contract together and loads that, on the counters.
    fn assemble(&self, source: &Source) -> Result<CompiledProgram, CompileFailure> {
        let counters = &self.ledger.counters.first_tier;
        counters.outcomes.dispatched.bump();
        let start = Instant::now();
        let load = |code| self.compilers.load(source, (ProgramKind::Jit, Tier::First), &code);
        let made = self.compilers.assemble(source).and_then(load);
        counters.nanoseconds.add(start.elapsed().as_nanos() as u64);
        let outcome =
            if made.is_ok() { &counters.outcomes.succeeded } else { &counters.outcomes.failed };
        outcome.bump();
        made
    }

    /// Has a worker make what was begun, and the allowance has no room for.
    fn leave_first_to_worker(&self, job: FirstJob) {
        self.ledger.counters.first_tier.put_off.bump();
        if self.crew.has_workers() {
            // One that isn't taken is put off as it is dropped.
            let _queued = self.pool.push(Band::Hot, Job::First(Box::new(job)));
        }
    }
}

/// What an allowance is charged for a program.
fn made_bytes(program: &CompiledProgram) -> usize {
    program.bytes() as usize
}

/// And for code that none came of: the time was spent.
fn likely_bytes(source: &Source) -> usize {
    16 * source.code().len()
}

/// For whoever reads the log: the code is interpreted until the optimising tier has it.
fn told(source: &Source, failure: &CompileFailure) {
    let RuntimeCacheKey { code_hash, spec_id } = source.key();
    tracing::debug!(%code_hash, ?spec_id, %failure, "no code of the first tier");
}
