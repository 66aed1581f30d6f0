//! The configurations of the runtime that tests and measurements compare with the interpreter.
//!
//! In all of them a contract is compiled at its first call, by the thread that calls it; halt
//! reasons are exact (`single_error` is off), and code of any length is compiled.

use crate::emulate::EmulatedMachine;
use cranevm::{
    OptimizationLevel, PassSet, WorkLimit,
    runtime::{
        ArtifactStore, JitBackend, JitMode, RuntimeArtifactStore, RuntimeConfig, RuntimeTuning,
    },
};
use cranevm_codegen::{Chaos, CompilerOptions, Stencils};
use std::{fmt, sync::Arc, time::Duration};

/// Settings of a native engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeSettings {
    /// How much work goes into the code.
    pub opt_level: OptimizationLevel,
    /// How stencils are put together, at the baseline.
    pub stencils: Stencils,
    /// Each basic block is a chunk of its own.
    pub one_block_per_chunk: bool,
    /// Most basic blocks that run natively at a time.
    pub force_hand_over: Option<u32>,
    /// Compile what is unlikely to run too.
    pub compile_all: bool,
    /// What is done to the translation at random.
    pub chaos: Option<Chaos>,
    /// Passes that are left out.
    pub skip_passes: PassSet,
    /// Compiled code checks what it relies on.
    pub debug_assertions: bool,
    /// Compile only the start of each contract.
    pub starts_only: bool,
    /// Where contracts are compiled. A program that uses helper processes is one: it calls
    /// [`maybe_run_jit_helper`](cranevm::runtime::maybe_run_jit_helper) first in its `main`.
    pub jit_mode: JitMode,
    /// Contracts are compiled to artifacts, and loaded from these.
    pub artifacts: bool,
    /// Compile for this machine, and run the code in an emulator.
    pub emulated: Option<EmulatedMachine>,
}

/// More than any contract takes, also with the verifiers and on a busy machine.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// Most bytes of artifacts that an engine keeps. Of what is beyond, it makes artifacts again.
const MAX_ARTIFACT_BYTES: u64 = 256 << 20;

/// Code that often leaves out what comes next.
const SOME_BLOCKS: Stencils = Stencils::Sampled(7);

/// Blocks to run natively before a forced hand-over, so many that there is none: it has code go on
/// wherever that can be entered.
const MANY_BLOCKS: u32 = 1 << 20;

/// The seed of chaotic engines that are given no other.
pub const CHAOS_SEED: u64 = 1;

/// A few blocks of a contract that is small, and a tenth of one that is large.
const SMALL_LIMIT: WorkLimit = WorkLimit { contract: 80, per_byte: 1 };

impl NativeSettings {
    /// The baseline, of stencils.
    pub const BASELINE: Self = Self {
        opt_level: OptimizationLevel::None,
        stencils: Stencils::ByLength,
        one_block_per_chunk: false,
        force_hand_over: None,
        compile_all: true,
        chaos: None,
        skip_passes: PassSet::NONE,
        debug_assertions: false,
        starts_only: false,
        jit_mode: JitMode::InProcess,
        artifacts: false,
        emulated: None,
    };

    /// The default optimisation level.
    pub const OPTIMISED: Self = Self { opt_level: OptimizationLevel::Default, ..Self::BASELINE };

    /// The highest optimisation level.
    pub const AGGRESSIVE: Self =
        Self { opt_level: OptimizationLevel::Aggressive, ..Self::BASELINE };

    /// Every edge of the control-flow graph is a jump between chunks; default level.
    pub const ONE_BLOCK: Self = Self { one_block_per_chunk: true, ..Self::OPTIMISED };

    /// At most `blocks` basic blocks run natively before the interpreter takes over; baseline.
    pub const fn hand_over(blocks: u32) -> Self {
        Self { force_hand_over: Some(blocks), ..Self::BASELINE }
    }

    /// Some passes are left out; default level.
    pub const fn without(passes: PassSet) -> Self {
        Self { skip_passes: passes, ..Self::OPTIMISED }
    }

    /// These settings at the default optimisation level, where loops keep words in registers: what
    /// leaves such a loop in the middle must write them back.
    pub const fn optimised(self) -> Self {
        Self { opt_level: OptimizationLevel::Default, ..self }
    }

    /// These settings, with what is unlikely to run left to the interpreter.
    pub const fn likely(self) -> Self {
        Self { compile_all: false, ..self }
    }

    /// These settings, with compiled code checking what it relies on.
    pub const fn asserting(self) -> Self {
        Self { debug_assertions: true, ..self }
    }

    /// These settings, with a translation that is disturbed at random from a seed.
    pub const fn chaotic(self, seed: u64) -> Self {
        Self { chaos: Some(Chaos::new(seed)), ..self }
    }

    /// These settings, with only the start of each contract compiled.
    pub const fn starting(self) -> Self {
        Self { starts_only: true, ..self }
    }

    /// These settings, with contracts compiled in helper processes.
    pub const fn in_helpers(self) -> Self {
        Self { jit_mode: JitMode::OutOfProcess, ..self }
    }

    /// These settings, with contracts compiled to artifacts: whole, therefore.
    pub const fn as_artifacts(self) -> Self {
        Self { artifacts: true, compile_all: true, ..self }
    }

    /// These settings, on an emulated machine.
    pub const fn on(self, machine: EmulatedMachine) -> Self {
        Self { emulated: Some(machine), ..self }
    }

    /// Put together from stencils in this way.
    fn of_stencils(stencils: Stencils) -> Self {
        Self { stencils, ..Self::BASELINE }
    }

    /// All settings that are tested in one process. The first two are the most used.
    pub fn all() -> Vec<Self> {
        let baseline = (0..=3).map(Self::hand_over);
        let optimised = [0, 1, 2, 3, 8].map(|blocks| Self::hand_over(blocks).optimised());
        [Self::BASELINE, Self::OPTIMISED, Self::AGGRESSIVE]
            .into_iter()
            .chain([Self::ONE_BLOCK, Self::OPTIMISED.likely(), Self::OPTIMISED.starting()])
            .chain([Self::BASELINE.asserting(), Self::OPTIMISED.asserting()])
            .chain([Self::OPTIMISED.chaotic(CHAOS_SEED)])
            .chain([Self::BASELINE.as_artifacts(), Self::OPTIMISED.as_artifacts()])
            .chain(baseline)
            .chain(optimised)
            .chain([Stencils::Copied, Stencils::Called, SOME_BLOCKS].map(Self::of_stencils))
            .chain([Self { stencils: SOME_BLOCKS, ..Self::hand_over(MANY_BLOCKS) }])
            .chain(PassSet::ALL.iter().map(Self::without))
            .collect()
    }

    /// A backend with these settings. `verify` runs the verifiers of the passes and of Cranelift,
    /// which takes as long as the rest of a compilation. Artifacts are kept in a temporary
    /// directory.
    ///
    /// # Errors
    /// Those of [`JitBackend::new`], and if there is no temporary directory.
    pub fn backend(self, verify: bool) -> cranevm::Result<JitBackend> {
        let store: Option<Arc<dyn ArtifactStore>> = match self.artifacts {
            true => Some(Arc::new(RuntimeArtifactStore::with_limit(MAX_ARTIFACT_BYTES)?)),
            false => None,
        };
        self.backend_with(verify, store)
    }

    /// [`backend`](Self::backend), with a store: then contracts are compiled to artifacts.
    ///
    /// # Errors
    /// Those of [`JitBackend::new`], and if this build has no emulator but is to use it.
    pub fn backend_with(
        self,
        verify: bool,
        store: Option<Arc<dyn ArtifactStore>>,
    ) -> cranevm::Result<JitBackend> {
        let emulator = self.emulated.map(EmulatedMachine::emulator).transpose()?;
        let config = RuntimeConfig {
            enabled: true,
            blocking: true,
            single_error: false,
            debug_assertions: self.debug_assertions,
            jit_mode: self.jit_mode,
            aot: store.is_some(),
            store,
            tuning: RuntimeTuning {
                jit_opt_level: self.opt_level,
                aot_opt_level: self.opt_level,
                jit_max_bytecode_len: 0,
                // Users drop what they no longer need, with all else.
                resident_code_cache_bytes: 0,
                idle_evict_duration: None,
                jit_timeout: HELPER_TIMEOUT,
                ..RuntimeTuning::default()
            },
            ..RuntimeConfig::default()
        };
        JitBackend::with_compiler_options(config, |options| {
            self.adjust(options);
            options.verify = verify;
            options.emulator = emulator;
        })
    }

    /// The options of the compiler, for whoever asks it what a backend with these settings makes.
    pub fn compiler_options(self) -> CompilerOptions {
        let mut options = CompilerOptions {
            opt_level: self.opt_level,
            debug_assertions: self.debug_assertions,
            ..CompilerOptions::default()
        };
        self.adjust(&mut options);
        options
    }

    /// Sets what isn't part of a backend's configuration.
    const fn adjust(self, options: &mut CompilerOptions) {
        options.stencils = self.stencils;
        options.one_block_per_chunk = self.one_block_per_chunk;
        options.force_hand_over = self.force_hand_over;
        options.compile_all = self.compile_all;
        options.chaos = self.chaos;
        options.skip_passes = self.skip_passes;
        if self.starts_only {
            options.work_limit = SMALL_LIMIT;
        }
    }
}

/// A short name, such as `native-default-hand-over-2`.
impl fmt::Display for NativeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.emulated {
            Some(machine) => write!(f, "{machine}")?,
            None => f.write_str("native")?,
        }
        write!(f, "-{}", format!("{:?}", self.opt_level).to_lowercase())?;
        for (is_set, name) in [
            (self.stencils == Stencils::Copied, "stencils-copied"),
            (self.stencils == Stencils::Called, "stencils-called"),
            (self.stencils == SOME_BLOCKS, "some-blocks"),
            (self.one_block_per_chunk, "one-block-per-chunk"),
            (!self.compile_all, "likely"),
            (self.debug_assertions, "asserting"),
            (self.starts_only, "starting"),
            (self.jit_mode == JitMode::OutOfProcess, "helper"),
            (self.artifacts, "artifact"),
        ] {
            if is_set {
                write!(f, "-{name}")?;
            }
        }
        if let Some(Chaos { seed, .. }) = self.chaos {
            write!(f, "-chaos-{seed}")?;
        }
        if let Some(blocks) = self.force_hand_over {
            write!(f, "-hand-over-{blocks}")?;
        }
        if self.skip_passes != PassSet::NONE {
            write!(f, "-without-{}", self.skip_passes)?;
        }
        Ok(())
    }
}
