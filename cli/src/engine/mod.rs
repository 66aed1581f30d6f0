//! The ways to run a transaction: revm's interpreter, which is the oracle, and native code in
//! several configurations.
//!
//! An [`EngineRunner`] is made once and shared by all threads; it owns the compiled programs. A
//! [`Session`] is one EVM with its database.

mod native;
mod store;

use crate::emulate::EmulatedMachine;
use alloy_primitives::Bytes;
use cranevm::{OptimizationLevel, revm_evm::JitEvm, runtime::JitBackend};
use revm::{
    Context, Database, DatabaseCommit, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext,
    MainnetEvm,
    context::{BlockEnv, CfgEnv, TxEnv},
    context_interface::result::{EVMError, ExecutionResult},
    handler::MainnetContext,
};
use std::{fmt, sync::Arc};

pub use crate::observation::Outcome;
pub use native::{CHAOS_SEED, NativeSettings};
pub use store::EngineStore;

/// A way to run contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// revm's interpreter.
    Interpreter,
    /// Native code, every contract compiled at its first call.
    Native,
    /// Native code, compiled in helper processes.
    Helper,
    /// Native code, compiled to artifacts and loaded from these.
    Artifact,
    /// Native code with each basic block in a chunk of its own, so that every edge crosses chunks.
    OneBlockPerChunk,
    /// Native code that hands over to the interpreter after this many basic blocks.
    HandOver(u32),
    /// Native code whose translation is disturbed at random from this seed.
    Chaos(u64),
    /// Code for aarch64, in an emulator.
    Aarch64,
}

impl Engine {
    /// Hand-overs after various numbers of blocks: the first few, where frames begin, and some
    /// further on, where loops hold words in registers.
    pub const HAND_OVERS: [Self; 7] = [
        Self::HandOver(0),
        Self::HandOver(1),
        Self::HandOver(2),
        Self::HandOver(3),
        Self::HandOver(5),
        Self::HandOver(8),
        Self::HandOver(13),
    ];
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interpreter => f.write_str("interpreter"),
            Self::Native => f.write_str("native"),
            Self::Helper => f.write_str("native, compiled in helpers"),
            Self::Artifact => f.write_str("native, from artifacts"),
            Self::OneBlockPerChunk => f.write_str("native, one block per chunk"),
            Self::Chaos(seed) => write!(f, "native, chaos of seed {seed}"),
            Self::Aarch64 => f.write_str("emulated aarch64"),
            Self::HandOver(blocks) => write!(f, "native, hand-over after {blocks} blocks"),
        }
    }
}

/// An engine that can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine {engine:?} can't be started: {reason}")]
pub struct EngineError {
    /// Which.
    pub engine: Engine,
    /// What the runtime said.
    pub reason: String,
}

/// What a transaction runs in, but for its database.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Fork, limits and prices.
    pub cfg: CfgEnv,
    /// Block.
    pub block: BlockEnv,
    /// Transaction.
    pub tx: TxEnv,
}

/// An engine and what it has compiled. Cheap to share by reference between threads.
#[derive(Debug)]
pub struct EngineRunner {
    engine: Engine,
    /// `None` for the interpreter.
    backend: Option<JitBackend>,
    store: Option<EngineStore>,
}

impl EngineRunner {
    /// Starts an engine. `opt` has no meaning to the interpreter.
    ///
    /// # Errors
    /// If the backend can't be made.
    pub fn new(engine: Engine, opt: OptimizationLevel) -> Result<Self, EngineError> {
        Self::with_store(engine, opt, None)
    }

    /// [`new`](Self::new), with a store: what has an artifact there is loaded from it, and what
    /// hasn't is compiled to one. The interpreter has no use for it.
    ///
    /// # Errors
    /// If the backend can't be made.
    pub fn with_store(
        engine: Engine,
        opt: OptimizationLevel,
        store: Option<&EngineStore>,
    ) -> Result<Self, EngineError> {
        let settings = NativeSettings { opt_level: opt, ..NativeSettings::BASELINE };
        let settings = match engine {
            Engine::Interpreter => return Ok(Self::interpreter()),
            Engine::Native => settings.likely(),
            Engine::Helper => settings.likely().in_helpers(),
            Engine::Artifact => settings.as_artifacts(),
            Engine::Chaos(seed) => settings.chaotic(seed),
            Engine::Aarch64 => settings.likely().on(EmulatedMachine::Linux),
            Engine::OneBlockPerChunk => NativeSettings { one_block_per_chunk: true, ..settings },
            Engine::HandOver(blocks) => {
                NativeSettings { force_hand_over: Some(blocks), ..settings }
            }
        };
        let failed = |error: cranevm::Error| EngineError { engine, reason: format!("{error:#}") };
        let backend = match store {
            None => settings.backend(false),
            Some(store) => settings.backend_with(false, Some(Arc::new(store.clone()))),
        };
        let (backend, store) = (Some(backend.map_err(failed)?), store.cloned());
        Ok(Self { engine, backend, store })
    }

    /// revm's interpreter, which always starts.
    pub const fn interpreter() -> Self {
        Self { engine: Engine::Interpreter, backend: None, store: None }
    }

    /// Which engine it is.
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// An EVM on `db`.
    pub fn session<DB: Database>(&self, environment: &Environment, db: DB) -> Session<DB> {
        let evm = Context::mainnet()
            .with_block(environment.block.clone())
            .with_cfg(environment.cfg.clone())
            .with_db(db)
            .build_mainnet();
        let evm = match &self.backend {
            None => SessionEvm::Interpreter(Box::new(evm)),
            Some(backend) => SessionEvm::Native(Box::new(JitEvm::new(evm, backend.clone()))),
        };
        Session { evm, tx: environment.tx.clone() }
    }

    /// Contracts compiled so far, and those whose compilation failed (they were interpreted).
    pub fn compilations(&self) -> Compilations {
        let Some(backend) = &self.backend else { return Compilations::default() };
        let stats = backend.stats();
        Compilations { succeeded: stats.compilations_succeeded, failed: stats.compilations_failed }
    }

    /// What went wrong beside the results so far, in a sentence; `None` if nothing did.
    pub fn problem(&self) -> Option<String> {
        // What can't be stored is counted as failed, but runs natively.
        if let Some(reason) = self.store.as_ref().and_then(EngineStore::failure) {
            return Some(format!("artifacts couldn't be stored: {reason}"));
        }
        match self.compilations().failed {
            0 => None,
            failed => {
                Some(format!("{failed} contract(s) couldn't be compiled and were interpreted"))
            }
        }
    }

    /// Runs that compiled code handed over to the interpreter so far.
    pub fn hand_overs(&self) -> u64 {
        self.backend.as_ref().map_or(0, JitBackend::hand_overs)
    }

    /// Drops all compiled programs if together they take more than `bytes`. Those in use live on
    /// until their users are done.
    pub fn trim(&self, bytes: u64) {
        if let Some(backend) = &self.backend
            && backend.stats().jit_total_bytes() > bytes
        {
            backend.clear_resident();
        }
    }
}

/// How many contracts an engine has compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compilations {
    /// That run natively.
    pub succeeded: u64,
    /// That had to be interpreted.
    pub failed: u64,
}

/// One EVM with its database and a transaction to run.
pub struct Session<DB: Database> {
    evm: SessionEvm<DB>,
    tx: TxEnv,
}

type Mainnet<DB> = MainnetEvm<MainnetContext<DB>>;

enum SessionEvm<DB: Database> {
    Interpreter(Box<Mainnet<DB>>),
    Native(Box<JitEvm<Mainnet<DB>>>),
}

impl<DB: Database> Session<DB> {
    /// Runs the transaction and leaves the database as it was, so that it can be run again.
    pub fn run(&mut self) -> Result<Outcome, EVMError<DB::Error>> {
        let tx = self.tx.clone();
        match &mut self.evm {
            SessionEvm::Interpreter(evm) => evm.transact(tx),
            SessionEvm::Native(evm) => evm.transact(tx),
        }
    }

    /// Runs the transaction with other calldata.
    pub fn run_with_data(&mut self, data: Bytes) -> Result<Outcome, EVMError<DB::Error>> {
        self.tx.data = data;
        self.run()
    }

    /// Runs the transaction and writes what it did to the database.
    pub fn run_and_commit(&mut self) -> Result<ExecutionResult, EVMError<DB::Error>>
    where
        DB: DatabaseCommit,
    {
        let tx = self.tx.clone();
        match &mut self.evm {
            SessionEvm::Interpreter(evm) => evm.transact_commit(tx),
            SessionEvm::Native(evm) => evm.transact_commit(tx),
        }
    }
}
