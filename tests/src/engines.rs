//! The engines: revm's interpreter, and native code at several settings.
//!
//! A native engine compiles every contract before its first instruction runs (`blocking`). Because
//! a backend that compiles nothing would agree with the interpreter on everything,
//! [`Engine::assert_compiled`] fails unless native code of every contract called is resident.

use crate::{
    case::Case,
    database::{ReadLog, RecordingDatabase},
    observation::{Observation, observe},
};
use alloy_primitives::keccak256;
use cranevm::{
    OptimizationLevel, PassSet,
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use revm::{
    Context, MainBuilder, MainnetEvm,
    context::{BlockEnv, CfgEnv, Journal, TxEnv},
    context_interface::{JournalTr, LocalContextTr},
    handler::MainnetContext,
};

/// The context that all engines run in.
pub type TestContext = MainnetContext<RecordingDatabase>;

/// revm's own EVM, which the native engines wrap.
pub type TestEvm = MainnetEvm<TestContext>;

/// Settings of a native engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeSettings {
    /// How much work goes into the code.
    pub opt_level: OptimizationLevel,
    /// Each basic block is a chunk of its own.
    pub one_block_per_chunk: bool,
    /// Most basic blocks that run natively at a time.
    pub force_hand_over: Option<u32>,
    /// Compile what is unlikely to run too.
    pub compile_all: bool,
    /// Passes that are left out.
    pub skip_passes: PassSet,
    /// Compiled code checks what it relies on.
    pub debug_assertions: bool,
}

impl NativeSettings {
    /// The baseline.
    pub const BASELINE: Self = Self {
        opt_level: OptimizationLevel::None,
        one_block_per_chunk: false,
        force_hand_over: None,
        compile_all: true,
        skip_passes: PassSet::NONE,
        debug_assertions: false,
    };

    /// The default optimisation level.
    pub const OPTIMISED: Self = Self { opt_level: OptimizationLevel::Default, ..Self::BASELINE };

    /// The highest optimisation level.
    pub const AGGRESSIVE: Self =
        Self { opt_level: OptimizationLevel::Aggressive, ..Self::BASELINE };

    /// Every edge of the control-flow graph is a jump between chunks; baseline.
    pub const ONE_BLOCK: Self = Self { one_block_per_chunk: true, ..Self::BASELINE };

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

    /// All settings that are tested. The first two are the most used.
    pub fn all() -> Vec<Self> {
        let baseline = (0..=3).map(Self::hand_over);
        let optimised = [0, 1, 2, 3, 5, 8].map(|blocks| Self::hand_over(blocks).optimised());
        [Self::BASELINE, Self::OPTIMISED, Self::AGGRESSIVE]
            .into_iter()
            .chain([Self::ONE_BLOCK, Self::ONE_BLOCK.optimised()])
            .chain([Self::BASELINE.likely(), Self::OPTIMISED.likely()])
            .chain([Self::BASELINE.asserting(), Self::OPTIMISED.asserting()])
            .chain(baseline)
            .chain(optimised)
            .chain(PassSet::ALL.iter().map(Self::without))
            .collect()
    }

    fn name(self) -> String {
        let mut name = format!("native-{:?}", self.opt_level).to_lowercase();
        if self.one_block_per_chunk {
            name.push_str("-one-block-per-chunk");
        }
        if !self.compile_all {
            name.push_str("-likely");
        }
        if self.debug_assertions {
            name.push_str("-asserting");
        }
        if let Some(blocks) = self.force_hand_over {
            name.push_str(&format!("-hand-over-{blocks}"));
        }
        if self.skip_passes != PassSet::NONE {
            name.push_str(&format!("-without-{}", self.skip_passes));
        }
        name
    }
}

/// A way to run a [`Case`].
#[derive(Debug)]
pub struct Engine {
    name: String,
    /// Whether it enters and leaves native code all the time.
    forces_hand_overs: bool,
    /// `None` is the interpreter.
    backend: Option<JitBackend>,
}

impl Engine {
    /// revm's interpreter: the oracle.
    pub fn interpreter() -> Self {
        Self { name: "interpreter".into(), forces_hand_overs: false, backend: None }
    }

    /// Native code.
    ///
    /// # Panics
    /// If the backend can't be made.
    pub fn native(settings: NativeSettings) -> Self {
        let config = RuntimeConfig {
            enabled: true,
            blocking: true,
            single_error: false,
            debug_assertions: settings.debug_assertions,
            tuning: RuntimeTuning {
                jit_opt_level: settings.opt_level,
                jit_max_bytecode_len: 0,
                jit_worker_count: 1,
                ..Default::default()
            },
            ..Default::default()
        };
        let backend = JitBackend::with_compiler_options(config, |options| {
            options.one_block_per_chunk = settings.one_block_per_chunk;
            options.force_hand_over = settings.force_hand_over;
            options.compile_all = settings.compile_all;
            options.skip_passes = settings.skip_passes;
            options.verify = true;
        });
        match backend {
            Ok(backend) => Self {
                name: settings.name(),
                forces_hand_overs: settings.force_hand_over.is_some(),
                backend: Some(backend),
            },
            Err(error) => panic!("{}: no backend: {error}", settings.name()),
        }
    }

    /// The interpreter's name or the settings, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it enters and leaves native code every few blocks, which is slow.
    pub fn forces_hand_overs(&self) -> bool {
        self.forces_hand_overs
    }

    /// The backend of a native engine.
    pub fn backend(&self) -> Option<&JitBackend> {
        self.backend.as_ref()
    }

    /// Runs all transactions of a case and returns everything observable. Panics inside the EVM
    /// are part of the observation.
    pub fn run(&self, case: &Case) -> Observation {
        let reads = ReadLog::default();
        let evm = test_evm(case, reads.clone());
        match &self.backend {
            None => observe(evm, case, &reads, recover),
            Some(backend) => {
                let evm = JitEvm::new(evm, backend.clone());
                observe(evm, case, &reads, |evm| recover(evm.inner_mut()))
            }
        }
    }

    /// Fails unless this engine has native code of the contract that a case's first transaction
    /// calls, and no compilation failed. The case must have run without being refused as invalid.
    ///
    /// # Panics
    /// As above, with the engine's statistics.
    pub fn assert_compiled(&self, case: &Case) {
        let Some(backend) = &self.backend else { return };
        let stats = backend.stats();
        assert_eq!(stats.compilations_failed, 0, "{}: {stats:?}\n{case}", self.name);
        let target = case.transactions.first().and_then(|tx| tx.to.to().copied());
        let Some(account) = target.and_then(|target| case.accounts.get(&target)) else { return };
        let delegated = account.code.starts_with(&[0xef, 0x01]);
        if !account.code.is_empty() && !delegated {
            let resident = backend.get_compiled(keccak256(&account.code), case.spec).is_some();
            assert!(resident, "{}: the contract ran interpreted: {stats:?}\n{case}", self.name);
        }
    }

    /// Forgets all native code, so that a long run holds a bounded amount of it.
    pub fn clear(&self) {
        if let Some(backend) = &self.backend {
            backend.clear_resident();
        }
    }
}

/// Ends the transaction that a panic interrupted, as revm's `Handler::catch_error` does for errors.
pub fn recover(evm: &mut TestEvm) {
    evm.ctx.local.clear();
    evm.ctx.journaled_state.discard_tx();
    evm.frame_stack.clear();
}

/// revm's EVM for a case, over a database that records into `reads`.
pub fn test_evm(case: &Case, reads: ReadLog) -> TestEvm {
    test_context(case, reads).build_mainnet()
}

/// revm's context for a case, over a database that records into `reads`.
pub fn test_context(case: &Case, reads: ReadLog) -> TestContext {
    let database = RecordingDatabase::new(&case.accounts, case.fault, reads);
    let mut context: Context<BlockEnv, TxEnv, CfgEnv, _, Journal<_>, ()> =
        Context::new(database, case.spec);
    context.cfg.tx_gas_limit_cap = Some(case.gas_cap);
    context.block = case.block();
    context
}

/// The same EVM with an inspector.
pub fn inspected_evm<I>(case: &Case, inspector: I) -> InspectedEvm<I> {
    test_context(case, ReadLog::default()).build_mainnet_with_inspector(inspector)
}

/// An EVM with an inspector.
pub type InspectedEvm<I> = MainnetEvm<TestContext, I>;
