//! The engines: revm's interpreter, and native code at several settings.
//!
//! A native engine compiles every contract before its first instruction runs (`blocking`). Because
//! a backend that compiles nothing would agree with the interpreter on everything,
//! [`Engine::assert_compiled`] fails unless native code of every contract called is resident.

use crate::{
    case::Case,
    chaos,
    database::{ReadLog, RecordingDatabase},
    observation::{Observation, observe},
};
use alloy_primitives::keccak256;
use cranevm::{
    revm_evm::JitEvm,
    runtime::{ArtifactStore, JitBackend},
};
use cranevm_cli::emulate::EmulatedMachine;
pub use cranevm_cli::engine::NativeSettings;
use revm::{
    Context, MainBuilder, MainnetEvm,
    context::{BlockEnv, CfgEnv, Journal, TxEnv},
    context_interface::{JournalTr, LocalContextTr},
    handler::MainnetContext,
};
use std::sync::Arc;

/// The context that all engines run in.
pub type TestContext = MainnetContext<RecordingDatabase>;

/// revm's own EVM, which the native engines wrap.
pub type TestEvm = MainnetEvm<TestContext>;

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

    /// Native code, or an emulated machine's: then all tests that compare engines are tests of its
    /// code.
    ///
    /// # Panics
    /// If the backend can't be made.
    pub fn native(mut settings: NativeSettings) -> Self {
        settings.chaos = settings.chaos.map(chaos::reseeded);
        let settings = emulated_machine().map_or(settings, |machine| settings.on(machine));
        Self::with_backend(settings, settings.backend(true))
    }

    /// Native code from the artifacts of a store, which gets those that aren't there.
    ///
    /// # Panics
    /// If the backend can't be made.
    pub fn with_store(settings: NativeSettings, store: Arc<dyn ArtifactStore>) -> Self {
        Self::with_backend(settings, settings.backend_with(false, Some(store)))
    }

    fn with_backend(settings: NativeSettings, backend: cranevm::Result<JitBackend>) -> Self {
        match backend {
            Ok(backend) => Self {
                name: settings.to_string(),
                forces_hand_overs: settings.force_hand_over.is_some(),
                backend: Some(backend),
            },
            Err(error) => panic!("{settings}: no backend: {error}"),
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
        let database = RecordingDatabase::new(&case.accounts, case.fault, reads.clone());
        self.run_over(case, database, &reads)
    }

    /// [`run`](Self::run), over a copy of a database that has the case's accounts: quicker where
    /// that runs many times.
    pub fn run_on(&self, case: &Case, database: &RecordingDatabase) -> Observation {
        let reads = ReadLog::default();
        self.run_over(case, database.with_log(reads.clone()), &reads)
    }

    fn run_over(&self, case: &Case, database: RecordingDatabase, reads: &ReadLog) -> Observation {
        let evm = context_over(case, database).build_mainnet();
        match &self.backend {
            None => observe(evm, case, reads, recover),
            Some(backend) => {
                let evm = JitEvm::new(evm, backend.clone());
                observe(evm, case, reads, |evm| recover(evm.inner_mut()))
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

/// The machine that compiled code is for, if it is emulated: `CRANEVM_ENGINE`, which is `aarch64`,
/// `aarch64-macos` or `native`.
///
/// # Panics
/// If the variable has another value.
pub fn emulated_machine() -> Option<EmulatedMachine> {
    let name = std::env::var("CRANEVM_ENGINE").unwrap_or_else(|_| "native".into());
    let machines = [EmulatedMachine::Linux, EmulatedMachine::MacOs];
    match machines.into_iter().find(|machine| machine.to_string() == name) {
        None if name != "native" => panic!("CRANEVM_ENGINE={name}: aarch64, aarch64-macos, native"),
        machine => machine,
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
    context_over(case, RecordingDatabase::new(&case.accounts, case.fault, reads))
}

fn context_over(case: &Case, database: RecordingDatabase) -> TestContext {
    let mut context: Context<BlockEnv, TxEnv, CfgEnv, _, Journal<_>, ()> =
        Context::new(database, case.spec);
    context.cfg.tx_gas_limit_cap = Some(case.gas_cap);
    context.cfg.memory_limit = case.memory_limit;
    context.block = case.block();
    context
}

/// The same EVM with an inspector.
pub fn inspected_evm<I>(case: &Case, inspector: I) -> InspectedEvm<I> {
    test_context(case, ReadLog::default()).build_mainnet_with_inspector(inspector)
}

/// An EVM with an inspector.
pub type InspectedEvm<I> = MainnetEvm<TestContext, I>;
