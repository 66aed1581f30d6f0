//! Compilers for whoever has something to compile.
//!
//! A compiler keeps its buffers between contracts, so a thread borrows one and gives it back. At
//! most [`MAX_IDLE`] a tier are kept.

use crate::{
    CompileTimings,
    code_space::CodeSpace,
    error::CompileFailure,
    foreign::ForeignOpcodes,
    frame_counts::RunClass,
    locks::lock,
    lookup::RuntimeCacheKey,
    panics::contain_panic,
    program::{CompiledProgram, ProgramKind},
    source::Source,
    teamwork::Teamwork,
};
#[cfg(test)]
use alloy_primitives::Bytes;
use cranevm_codegen::{
    Analysed, Assembler, Chunk, CompileError, CompiledChunk, CompiledCode, Compiler,
    CompilerOptions, OptimizationLevel, Reached, artifact::Identity,
};
#[cfg(test)]
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

/// Idle compilers kept. Each holds a few MiB of buffers; more threads than this rarely compile at
/// once.
const MAX_IDLE: usize = 8;

/// What a program was compiled for: to be there soon, or to be fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Of stencils, on the thread that runs it: no lookup finds it.
    First,
    /// Of stencils, by a worker.
    Baseline,
    /// At the configured level.
    Full,
    /// At the configured level, and without guesses as to what is unlikely to run.
    Complete,
    /// For an artifact: at the level for these, and without guesses.
    Artifact,
}

/// Lends the compilers of a backend.
pub(crate) struct CompilerPool {
    /// By tier.
    levels: [Level; 5],
    /// Puts contracts together for [`Tier::First`]; `None` where it can't be made.
    assembler: OnceLock<Option<Assembler>>,
    /// Compilations after which a compiler isn't kept; 0: never.
    recycle_threshold: usize,
    /// Where their code goes.
    pub(crate) space: CodeSpace,
    /// What isn't compiled.
    foreign: Arc<ForeignOpcodes>,
}

/// The compilers of one tier.
struct Level {
    options: CompilerOptions,
    idle: Mutex<Vec<PooledCompiler>>,
}

struct PooledCompiler {
    compiler: Compiler,
    compilations: usize,
}

impl CompilerPool {
    /// A pool whose code memory is at most `reserve_bytes`.
    pub(crate) fn new(
        options: CompilerOptions,
        recycle_threshold: usize,
        reserve_bytes: usize,
    ) -> Self {
        let baseline = CompilerOptions { opt_level: OptimizationLevel::None, ..options };
        let complete = CompilerOptions { compile_all: true, ..options };
        let level = |options| Level { options, idle: Mutex::default() };
        Self {
            levels: [baseline, baseline, options, complete, complete].map(level),
            assembler: OnceLock::new(),
            recycle_threshold,
            space: CodeSpace::new(reserve_bytes),
            foreign: Arc::default(),
        }
    }

    /// The same pool, which leaves these opcodes out.
    pub(crate) fn with_foreign(self, foreign: Arc<ForeignOpcodes>) -> Self {
        Self { foreign, ..self }
    }

    /// The same pool, which compiles artifacts with these options.
    pub(crate) fn with_artifact_options(mut self, options: CompilerOptions) -> Self {
        self.levels[Tier::Artifact as usize].options = options;
        self
    }

    /// How a tier compiles.
    pub(crate) fn options(&self, tier: Tier) -> CompilerOptions {
        CompilerOptions { foreign: self.foreign.get(), ..self.levels[tier as usize].options }
    }

    /// The tier at which a contract is compiled first: [`Tier::Full`] if that is the baseline.
    pub(crate) fn first_tier(&self) -> Tier {
        match self.optimises(Tier::Full) {
            true => Tier::Baseline,
            false => Tier::Full,
        }
    }

    /// Places in memory what `source` was compiled to at a tier.
    pub(crate) fn load(
        &self,
        source: &Source,
        (kind, tier): (ProgramKind, Tier),
        compiled: &CompiledCode,
    ) -> Result<CompiledProgram, CompileFailure> {
        self.space.load(source, (kind, self.class(tier)), compiled)
    }

    /// Places in memory what an artifact of `key` holds, whose bytecode isn't at hand.
    pub(crate) fn load_artifact(
        &self,
        key: RuntimeCacheKey,
        compiled: &CompiledCode,
    ) -> Result<CompiledProgram, CompileFailure> {
        self.space.load_artifact(key, self.class(Tier::Artifact), compiled)
    }

    /// What runs of a tier's code are put down to.
    fn class(&self, tier: Tier) -> RunClass {
        if tier == Tier::First {
            return RunClass::First;
        }
        match self.optimises(tier) {
            true => RunClass::Optimised,
            false => RunClass::Baseline,
        }
    }

    /// Whether code of a tier is translated, and not of stencils.
    pub(crate) fn optimises(&self, tier: Tier) -> bool {
        self.levels[tier as usize].options.opt_level.optimises()
    }

    /// Whether the full tier leaves out what is unlikely to run.
    pub(crate) fn guesses(&self) -> bool {
        !self.levels[Tier::Full as usize].options.compile_all
    }

    /// Compiles a whole contract, on this thread and those that `call_for_help` finds. Ends by
    /// `deadline`, but for the chunk at hand then. A panic of the compiler becomes a failure.
    pub(crate) fn compile(
        &self,
        tier: Tier,
        source: &Source,
        deadline: Instant,
        call_for_help: impl FnOnce(&Arc<Teamwork>),
    ) -> Result<CompiledCode, CompileFailure> {
        let (analysed, mut compiled) = self.begin(tier, source)?;
        let work = Arc::new(Teamwork::new(tier, analysed));
        call_for_help(&work);
        work.finish(self, deadline, &mut compiled)?;
        Ok(compiled)
    }

    /// What an artifact of `key` tells of its code.
    pub(crate) fn identity(&self, key: RuntimeCacheKey) -> Result<Identity, CompileFailure> {
        self.lend(Tier::Artifact, false, |compiler| Ok(compiler.identity(key.code_hash)))
    }

    /// Analyses a contract, and compiles the chunk that it starts in.
    pub(crate) fn begin(
        &self,
        tier: Tier,
        source: &Source,
    ) -> Result<(Analysed, CompiledCode), CompileFailure> {
        // First, so that without memory for code no time goes into making it.
        self.space.reserve()?;
        let spec_id = source.key().spec_id;
        self.lend(tier, true, |compiler| compiler.compile_start(source.code(), spec_id))
    }

    /// Compiles another chunk.
    pub(crate) fn chunk(
        &self,
        tier: Tier,
        analysed: &Analysed,
        chunk: Chunk,
        timings: &mut CompileTimings,
    ) -> Result<CompiledChunk, CompileFailure> {
        self.lend(tier, false, |compiler| compiler.compile_chunk(analysed, chunk, timings))
    }

    /// Makes what puts contracts together for [`Tier::First`], which takes some 30 milliseconds the
    /// first time in a process.
    pub(crate) fn make_assembler(&self) {
        self.assembler.get_or_init(|| {
            let options = self.levels[Tier::First as usize].options;
            contain_panic(|| Ok(Assembler::new(options)?))
                .inspect_err(|failure| {
                    tracing::warn!(%failure, "no first tier: contracts are interpreted for longer");
                })
                .ok()
        });
    }

    /// Whether contracts may be put together now, or it is known that they can't.
    pub(crate) fn may_assemble(&self) -> bool {
        self.assembler.get().is_some()
    }

    /// Puts a contract together, or these blocks of it, for [`Tier::First`]. A panic becomes a
    /// failure.
    ///
    /// # Errors
    /// Also if the assembler isn't there.
    pub(crate) fn assemble(
        &self,
        source: &Source,
        reached: Option<&Reached>,
    ) -> Result<CompiledCode, CompileFailure> {
        self.space.reserve()?;
        let assembler = self.assembler.get().and_then(Option::as_ref);
        let assembler = assembler.ok_or(CompileError::NoCompiler)?;
        // Unwind safety: an assembler keeps nothing of a contract.
        contain_panic(|| {
            let (code, spec_id, foreign) =
                (source.code(), source.key().spec_id, self.foreign.get());
            Ok(match reached {
                Some(reached) => assembler.compile_reached(code, spec_id, foreign, reached)?,
                None => assembler.compile(code, spec_id, foreign)?,
            })
        })
    }

    /// Builds a compiler for the first tier, so that the first contract doesn't wait for it.
    pub(crate) fn warm_up(&self) -> Result<(), CompileFailure> {
        self.space.reserve()?;
        if self.first_tier() == Tier::Baseline {
            // Once for all threads.
            self.make_assembler();
        }
        self.lend(self.first_tier(), false, |_| Ok(()))
    }

    /// Lends a compiler, and makes its panic a failure. `counts` towards its recycling.
    fn lend<T>(
        &self,
        tier: Tier,
        counts: bool,
        work: impl FnOnce(&mut Compiler) -> Result<T, CompileError>,
    ) -> Result<T, CompileFailure> {
        // Unwind safety: a compiler that panicked is dropped by the unwinding and never used again;
        // the pool's own state is only touched between compilations.
        contain_panic(|| {
            let mut pooled = self.borrow(tier)?;
            pooled.compiler.set_foreign(self.foreign.get());
            let result = work(&mut pooled.compiler);
            pooled.compilations += usize::from(counts);
            self.give_back(tier, pooled);
            Ok(result?)
        })
    }

    /// A pool to which the system gives `reserve_bytes` of the `wanted_bytes`.
    #[cfg(test)]
    pub(crate) fn with_cut_reserve(
        options: CompilerOptions,
        reserve_bytes: usize,
        wanted_bytes: usize,
    ) -> Self {
        let space = CodeSpace::new(reserve_bytes).cut_from(wanted_bytes);
        Self { space, ..Self::new(options, 0, reserve_bytes) }
    }

    /// A program that can start, with the analysis that its other chunks are compiled from.
    #[cfg(test)]
    pub(crate) fn started(&self, code: &[u8], spec_id: SpecId) -> (CompiledProgram, Analysed) {
        let code = Bytecode::new_legacy(Bytes::copy_from_slice(code));
        let source = Source::of(&code, spec_id);
        let (analysed, compiled) = self.begin(self.first_tier(), &source).unwrap();
        (self.load(&source, (ProgramKind::Jit, self.first_tier()), &compiled).unwrap(), analysed)
    }

    /// A program of `key`, compiled at the full tier.
    #[cfg(test)]
    pub(crate) fn program(
        &self,
        key: RuntimeCacheKey,
        code: &[u8],
    ) -> Result<CompiledProgram, CompileFailure> {
        let source = Source::proven(key, Bytes::copy_from_slice(code))?;
        let deadline = Instant::now() + std::time::Duration::from_secs(60);
        let compiled = self.compile(Tier::Full, &source, deadline, |_| {})?;
        self.load(&source, (ProgramKind::Jit, Tier::Full), &compiled)
    }

    /// Bytes of code memory that the program of `code` takes, at the full tier.
    #[cfg(test)]
    pub(crate) fn bytes_of(code: &[u8]) -> usize {
        let pool = Self::new(CompilerOptions::default(), 0, 1 << 20);
        let source = Source::hashed(Bytes::copy_from_slice(code), SpecId::CANCUN);
        let _program = pool.program(source.key(), code).unwrap();
        pool.space.used_bytes() as usize
    }

    fn borrow(&self, tier: Tier) -> Result<PooledCompiler, CompileError> {
        let level = &self.levels[tier as usize];
        let idle = lock(&level.idle).pop();
        match idle {
            Some(pooled) => Ok(pooled),
            None => Ok(PooledCompiler { compiler: Compiler::new(level.options)?, compilations: 0 }),
        }
    }

    fn give_back(&self, tier: Tier, pooled: PooledCompiler) {
        let worn = self.recycle_threshold > 0 && pooled.compilations >= self.recycle_threshold;
        if worn {
            return;
        }
        let mut idle = lock(&self.levels[tier as usize].idle);
        if idle.len() < MAX_IDLE {
            idle.push(pooled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code_space::MIN_RESERVE;

    fn pool(recycle_threshold: usize) -> CompilerPool {
        CompilerPool::new(CompilerOptions::default(), recycle_threshold, MIN_RESERVE)
    }

    #[test]
    fn worn_compilers_are_dropped() {
        let pool = pool(2);
        pool.give_back(
            Tier::Full,
            PooledCompiler { compilations: 2, ..pool.borrow(Tier::Full).unwrap() },
        );
        assert_eq!(lock(&pool.levels[Tier::Full as usize].idle).len(), 0);
        pool.give_back(
            Tier::Full,
            PooledCompiler { compilations: 1, ..pool.borrow(Tier::Full).unwrap() },
        );
        assert_eq!(lock(&pool.levels[Tier::Full as usize].idle).len(), 1);
        assert_eq!(pool.borrow(Tier::Full).unwrap().compilations, 1);
    }

    #[test]
    fn never_recycles_at_zero_and_keeps_few() {
        let pool = pool(0);
        let borrowed: Vec<_> =
            (0..MAX_IDLE + 3).map(|_| pool.borrow(Tier::Full).unwrap()).collect();
        for compiler in borrowed {
            pool.give_back(Tier::Full, PooledCompiler { compilations: usize::MAX, ..compiler });
        }
        assert_eq!(lock(&pool.levels[Tier::Full as usize].idle).len(), MAX_IDLE);
    }

    /// What can't be executed isn't made: no compiler is even built.
    #[test]
    fn r11_without_executable_memory_nothing_is_compiled() {
        let pool = pool(0);
        pool.space.refuse();
        for n in 0..3 {
            let source = Source::hashed(Bytes::from(vec![n]), SpecId::CANCUN);
            let failure = pool.begin(Tier::Full, &source).err().unwrap();
            assert!(failure.is_refusal() && !failure.is_shortage(), "{failure}");
            assert!(!failure.is_circumstantial() && !failure.is_explained_by_a_dump());
        }
        assert!(pool.warm_up().is_err());
        assert!(pool.levels.iter().all(|level| lock(&level.idle).is_empty()));
    }

    #[test]
    fn a_panic_is_a_failure_and_costs_the_compiler() {
        let pool = pool(0);
        pool.give_back(Tier::Full, pool.borrow(Tier::Full).unwrap());
        let failed: Result<(), _> = contain_panic(|| {
            let _compiler = pool.borrow(Tier::Full)?;
            panic!("chunk {} broke", 7);
        });
        let failure = failed.unwrap_err();
        assert!(
            matches!(&failure, CompileFailure::Panic { message } if message == "chunk 7 broke")
        );
        assert!(!failure.is_shortage(), "the same code would panic again");
        assert_eq!(lock(&pool.levels[Tier::Full as usize].idle).len(), 0);
    }
}
