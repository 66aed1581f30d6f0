//! The first tier: native code for contracts that run, made by the thread that runs them.
//!
//! Putting a contract together from stencils takes a thousandth of what the optimising tier takes,
//! so nobody has to queue for it: when a contract's frames have cost as much as making code of it
//! does ([`Learning`](crate::learning::Learning)), the next frame compiles it, within the
//! [allowance](crate::allowance) of its transaction and block; beyond that, a worker does. Code is
//! made of the blocks that frames were seen in, and again when others have run so much that it is
//! worth it. Its heat is counted on, so that the optimising tier takes over what is worth it.
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
    jobs::{FirstJob, Job, queue_upgrade},
    lookup::RuntimeCacheKey,
    pool::Band,
    program::{CompiledProgram, ProgramKind, Verified},
    service::CompileService,
    source::Source,
};
use cranevm_codegen::{CompiledCode, HAS_COMPILER, Reached};
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use std::{
    sync::{Arc, Weak},
    time::Instant,
};

/// Whether a backend of this configuration has a first tier, if its options don't say no.
pub(crate) fn is_configured(config: &RuntimeConfig) -> bool {
    HAS_COMPILER && !config.blocking && config.jit_mode == JitMode::InProcess
}

impl CompileService {
    /// Whether EVMs learn which blocks of contracts run that have code of this tier.
    pub(crate) fn learns(&self, tier: Tier) -> bool {
        self.has_first_tier && tier != Tier::Artifact && !self.compilers.optimises(tier)
    }

    /// The first tier's program of `code`, if it is due, and made now; or a new version of the one
    /// that there is.
    pub(crate) fn first_program(
        &self,
        code: &Bytecode,
        spec_id: SpecId,
        old: Option<&Verified>,
        cold: &Arc<Cold>,
        allowance: &mut Allowance,
    ) -> Option<Verified> {
        let bytes = code.original_byte_slice();
        let mut blocks = cold.first.begin(bytes)?;
        let put_off = |blocks| {
            drop(blocks);
            cold.first.put_off(bytes);
            None
        };
        if !self.compilers.may_assemble() {
            return put_off(blocks);
        }
        let known = old.and_then(|old| old.source().cloned());
        let source = known.unwrap_or_else(|| Source::of(code, spec_id));
        if !cold.is_for(&source.key()) {
            if cold.note_wrong_claim() {
                // From now on who claims that is asked for the hash.
                self.cache.bump_epoch();
            }
            return put_off(blocks);
        }
        let generation = self.cache.generation();
        let old = old.map(Verified::downgrade);
        if !allowance.is_open() {
            drop(blocks);
            self.leave_first_to_worker(FirstJob::new(source, old, generation, cold));
            return None;
        }
        let blocks = blocks.sorted_out(bytes);
        let program = self.make_first(&source, (old, generation), cold, blocks);
        let likely = || likely_bytes(&source, blocks);
        allowance.take(program.as_deref().map_or_else(likely, made_bytes));
        Verified::new(&program?, code)
    }

    /// Makes the first tier's program of these blocks of a contract, or of all if none are known, as
    /// was begun in this generation, if what would go for it is used less. It takes the place of the
    /// `old` one, if there is one.
    pub(crate) fn make_first(
        &self,
        source: &Source,
        (old, generation): (Option<Weak<CompiledProgram>>, u64),
        cold: &Cold,
        blocks: Option<&Reached>,
    ) -> Option<Arc<CompiledProgram>> {
        let bytes = blocks.map_or(source.code().len(), Reached::bytes);
        if old.is_none() && !self.admits(cold) {
            cold.first.wait(bytes);
            return None;
        }
        let made = self.assemble(source, blocks).and_then(|program| {
            let program = Arc::new(program);
            let is_resident = match old {
                Some(old) => self.publish_version(&old, &program)?,
                None => self.publish(&program, Tier::First, generation)?,
            };
            Ok((is_resident, program))
        });
        match made {
            Ok((true, program)) => {
                cold.first.note_program(bytes);
                Some(program)
            }
            Ok((false, program)) => {
                // Better code came, or a clear, or an opcode isn't revm's any more.
                cold.first.wait(bytes);
                self.compilers.space.drop_later(vec![program]);
                None
            }
            Err(failure) => {
                if failure.is_shortage() {
                    cold.first.wait(bytes);
                }
                told(source, &failure);
                None
            }
        }
    }

    /// A contract that a worker is to compile, of the blocks that are known to run; `None` if none
    /// are.
    pub(crate) fn assemble_known(
        &self,
        source: &Source,
        cold: &Cold,
    ) -> Option<Result<(CompiledCode, usize), CompileFailure>> {
        let mut held = cold.first.hold().filter(|_| self.has_first_tier)?;
        let blocks = held.sorted_out(source.code());
        let blocks = blocks.filter(|_| self.compilers.may_assemble())?;
        let compiled = self.compilers.assemble(source, Some(blocks));
        Some(compiled.map(|compiled| (compiled, blocks.bytes())))
    }

    /// Has a contract compiled at the optimising level, whose runs have come to be worth that.
    pub(crate) fn improve(&self, cold: &Cold) {
        let key = cold.key();
        let (Some(program), generation) = (self.cache.get(key), self.cache.generation()) else {
            return;
        };
        let is_better = self.cache.tier(key).is_none_or(|tier| self.compilers.optimises(tier));
        if let Some(source) = program.source().filter(|_| !is_better && self.crew.has_workers()) {
            cold.first.end_versions();
            queue_upgrade(self, &program, source, generation, Tier::Full);
        }
    }

    /// A program of these blocks of init code, for the frame alone that runs it. The EVM's rules are the fork's.
    pub(crate) fn init_program(
        &self,
        code: &Bytecode,
        spec_id: SpecId,
        blocks: &Reached,
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
        let made = self.assemble(&source, Some(blocks));
        let made = made.inspect_err(|failure| told(&source, failure));
        let likely = |_: &_| likely_bytes(&source, Some(blocks));
        allowance.take(made.as_ref().map_or_else(likely, made_bytes));
        Verified::new(&Arc::new(made.ok()?), code)
    }

    /// Puts a contract together, or these blocks of it, and loads that, on the counters.
    fn assemble(
        &self,
        source: &Source,
        blocks: Option<&Reached>,
    ) -> Result<CompiledProgram, CompileFailure> {
        let counters = &self.ledger.counters.first_tier;
        counters.outcomes.dispatched.bump();
        let start = Instant::now();
        let load = |code| self.compilers.load(source, (ProgramKind::Jit, Tier::First), &code);
        let made = self.compilers.assemble(source, blocks).and_then(load);
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
fn likely_bytes(source: &Source, blocks: Option<&Reached>) -> usize {
    16 * blocks.map_or(source.code().len(), Reached::bytes)
}

/// For whoever reads the log: the code is interpreted until the optimising tier has it.
fn told(source: &Source, failure: &CompileFailure) {
    let RuntimeCacheKey { code_hash, spec_id } = source.key();
    tracing::debug!(%code_hash, ?spec_id, %failure, "no code of the first tier");
}
