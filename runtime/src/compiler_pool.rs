//! Compilers for whoever has something to compile, and the memory their code goes to.
//!
//! A compiler keeps its buffers between contracts, so a thread borrows one and gives it back. At
//! most [`MAX_IDLE`] a tier are kept. The region of code memory is reserved at the first
//! compilation: a backend that never compiles costs no address space.

use crate::{
    CompileTimings,
    error::CompileFailure,
    lookup::RuntimeCacheKey,
    program::{CompiledProgram, Holdings, ProgramKind},
    teamwork::Teamwork,
};
use cranevm_codegen::{
    Chunk, CompileError, CompiledCode, Compiler, CompilerOptions, NativeProgram, OptimizationLevel,
    Program,
    artifact::Identity,
    code_memory::{CodeMemoryError, CodeRegion},
};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Idle compilers kept. Each holds a few MiB of buffers; more threads than this rarely compile at
/// once.
const MAX_IDLE: usize = 8;

/// Address space reserved for code if there is no budget, in bytes.
const UNLIMITED_RESERVE: usize = 8 << 30;

/// Least address space reserved for code, in bytes: room for the largest contracts, however small
/// the budget.
const MIN_RESERVE: usize = 64 << 20;

/// What a program was compiled for: to be there soon, or to be fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// At [`OptimizationLevel::None`], in small chunks.
    Baseline,
    /// At the configured level.
    Full,
    /// At the configured level, and without guesses as to what is unlikely to run.
    Complete,
    /// For an artifact: at the level for these, and without guesses.
    Artifact,
}

/// Lends compilers and owns the code memory of a backend.
pub(crate) struct CompilerPool {
    /// By tier.
    levels: [Level; 4],
    /// Compilations after which a compiler isn't kept; 0: never.
    recycle_threshold: usize,
    reserve_bytes: usize,
    region: Mutex<Option<Arc<CodeRegion>>>,
    holdings: Arc<Holdings>,
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

/// A contract that can run: the chunk that it starts in is there.
pub(crate) struct Started {
    pub(crate) program: CompiledProgram,
    /// For its other chunks; `None` if all are there.
    pub(crate) analysed: Option<Program>,
    pub(crate) timings: CompileTimings,
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
            levels: [level(baseline), level(options), level(complete), level(complete)],
            recycle_threshold,
            reserve_bytes,
            region: Mutex::default(),
            holdings: Arc::default(),
        }
    }

    /// The same pool, which compiles artifacts with these options.
    pub(crate) fn with_artifact_options(mut self, options: CompilerOptions) -> Self {
        self.levels[Tier::Artifact as usize].options = options;
        self
    }

    /// How a tier compiles.
    pub(crate) fn options(&self, tier: Tier) -> CompilerOptions {
        self.levels[tier as usize].options
    }

    /// The tier at which a contract is compiled first: [`Tier::Full`] if that is the baseline.
    pub(crate) fn first_tier(&self) -> Tier {
        match self.levels[Tier::Full as usize].options.opt_level.optimises() {
            true => Tier::Baseline,
            false => Tier::Full,
        }
    }

    /// Whether the full tier leaves out what is unlikely to run.
    pub(crate) fn guesses(&self) -> bool {
        !self.levels[Tier::Full as usize].options.compile_all
    }

    /// Compiles a contract at the full tier and loads it, on this thread and those that
    /// `call_for_help` finds. Ends by `deadline`, but for the chunk at hand then. A panic of the
    /// compiler becomes a failure.
    pub(crate) fn compile(
        &self,
        key: RuntimeCacheKey,
        code: &[u8],
        deadline: Instant,
        call_for_help: impl FnOnce(&Arc<Teamwork>),
    ) -> Result<(CompiledProgram, CompileTimings), CompileFailure> {
        let compiled = self.compile_code(Tier::Full, key, code, deadline, call_for_help)?;
        Ok((self.load(key, ProgramKind::Jit, &compiled)?, compiled.timings))
    }

    /// Compiles a contract at a tier as [`compile`](Self::compile) does.
    pub(crate) fn compile_code(
        &self,
        tier: Tier,
        key: RuntimeCacheKey,
        code: &[u8],
        deadline: Instant,
        call_for_help: impl FnOnce(&Arc<Teamwork>),
    ) -> Result<CompiledCode, CompileFailure> {
        let (analysed, mut compiled) = self.begin(tier, key, code)?;
        let work = Arc::new(Teamwork::new(tier, analysed));
        call_for_help(&work);
        work.finish(self, deadline, &mut compiled)?;
        Ok(compiled)
    }

    /// What an artifact of `key` tells of its code.
    pub(crate) fn identity(&self, key: RuntimeCacheKey) -> Result<Identity, CompileFailure> {
        self.lend(Tier::Artifact, false, |compiler| Ok(compiler.identity(key.code_hash)))
    }

    /// Compiles at the first tier what a contract needs to start, and loads that.
    pub(crate) fn start(
        &self,
        key: RuntimeCacheKey,
        code: &[u8],
    ) -> Result<Started, CompileFailure> {
        let (analysed, compiled) = self.begin(self.first_tier(), key, code)?;
        let program = self.load(key, ProgramKind::Jit, &compiled)?;
        Ok(Started { program, analysed: Some(analysed), timings: compiled.timings })
    }

    /// Analyses a contract, and compiles the chunk that it starts in.
    pub(crate) fn begin(
        &self,
        tier: Tier,
        key: RuntimeCacheKey,
        code: &[u8],
    ) -> Result<(Program, CompiledCode), CompileFailure> {
        // First, so that without memory for code no time goes into making it.
        self.region()?;
        self.lend(tier, true, |compiler| compiler.compile_start(code, key.spec_id))
    }

    /// Compiles another chunk.
    pub(crate) fn chunk(
        &self,
        tier: Tier,
        analysed: &Program,
        chunk: Chunk,
        timings: &mut CompileTimings,
    ) -> Result<Vec<u8>, CompileFailure> {
        self.lend(tier, false, |compiler| compiler.compile_chunk(analysed, chunk, timings))
    }

    /// Places compiled code in memory.
    pub(crate) fn load(
        &self,
        key: RuntimeCacheKey,
        kind: ProgramKind,
        compiled: &CompiledCode,
    ) -> Result<CompiledProgram, CompileFailure> {
        let native = NativeProgram::load(compiled, &self.region()?)?;
        let holdings = Arc::clone(&self.holdings);
        Ok(CompiledProgram::new(key, kind, native, holdings))
    }

    /// Places another chunk of a program in memory.
    pub(crate) fn publish(
        &self,
        program: &CompiledProgram,
        chunk: Chunk,
        code: &[u8],
    ) -> Result<(), CompileFailure> {
        Ok(program.publish(chunk, code, &self.region()?)?)
    }

    /// Builds a compiler for the first tier, so that the first contract doesn't wait for it.
    pub(crate) fn warm_up(&self) -> Result<(), CompileFailure> {
        self.region()?;
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
            let result = work(&mut pooled.compiler);
            pooled.compilations += usize::from(counts);
            self.give_back(tier, pooled);
            Ok(result?)
        })
    }

    /// Bytes of executable memory held by programs of this pool, wherever they are.
    pub(crate) fn code_bytes(&self) -> u64 {
        lock(&self.region).as_ref().map_or(0, |region| region.mapped_bytes() as u64)
    }

    /// Bytes of the reservation, if the system gave less than was asked for.
    pub(crate) fn cut_reserve(&self) -> Option<u64> {
        let reserved = lock(&self.region).as_ref()?.reserved_bytes();
        (reserved < self.reserve_bytes).then_some(reserved as u64)
    }

    /// A pool to which the system gives `reserve_bytes` of the `wanted_bytes`.
    #[cfg(test)]
    pub(crate) fn with_cut_reserve(
        options: CompilerOptions,
        reserve_bytes: usize,
        wanted_bytes: usize,
    ) -> Self {
        let pool = Self::new(options, 0, reserve_bytes);
        pool.region().unwrap();
        Self { reserve_bytes: wanted_bytes, ..pool }
    }

    /// Bytes of tables held by programs of this pool, wherever they are.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.holdings.data_bytes.get()
    }

    /// Programs of this pool that were dropped and their memory freed. A failure from a shortage
    /// may be history once this has grown.
    pub(crate) fn releases(&self) -> u64 {
        self.holdings.releases.get()
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

    fn region(&self) -> Result<Arc<CodeRegion>, CompileError> {
        let mut region = lock(&self.region);
        if let Some(region) = &*region {
            return Ok(Arc::clone(region));
        }
        Ok(Arc::clone(region.insert(reserve(self.reserve_bytes)?)))
    }
}

/// Address space to reserve for code on a budget of resident code (0: none).
///
/// Twice the budget, within bounds: cleared programs keep their memory until their last user lets
/// go, and free pages lie scattered.
pub(crate) fn reserve_for(budget_bytes: usize) -> usize {
    match budget_bytes {
        0 => UNLIMITED_RESERVE,
        budget => budget.saturating_mul(2).clamp(MIN_RESERVE, UNLIMITED_RESERVE),
    }
}

/// Runs a compilation, and makes a panic of it a failure.
pub(crate) fn contain_panic<T>(
    compilation: impl FnOnce() -> Result<T, CompileFailure>,
) -> Result<T, CompileFailure> {
    catch_unwind(AssertUnwindSafe(compilation))
        .unwrap_or_else(|panic| Err(CompileFailure::Panic { message: panic_message(&*panic) }))
}

/// Locks; what these mutexes guard is whole at every point where a panic may strike.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The message of a caught panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without a message".to_owned(),
    }
}

/// Reserves code memory; where the process may not have that much address space, half as much, and
/// so on down to [`MIN_RESERVE`].
fn reserve(bytes: usize) -> Result<Arc<CodeRegion>, CompileError> {
    let mut wanted = bytes;
    loop {
        match CodeRegion::new(wanted) {
            Err(CodeMemoryError::Os { .. }) if wanted / 2 >= MIN_RESERVE => wanted /= 2,
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn reserves_within_bounds() {
        assert_eq!(reserve_for(0), UNLIMITED_RESERVE);
        assert_eq!(reserve_for(1), MIN_RESERVE);
        assert_eq!(reserve_for(1 << 30), 2 << 30);
        assert_eq!(reserve_for(usize::MAX), UNLIMITED_RESERVE);
    }

    #[test]
    fn panic_messages() {
        assert_eq!(panic_message(&"text"), "text");
        assert_eq!(panic_message(&String::from("owned")), "owned");
        assert_eq!(panic_message(&1), "a panic without a message");
    }
}
