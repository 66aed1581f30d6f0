//! One block on one EVM: the system's calls, then all transactions, each committed to the state.
//!
//! What is timed is this alone, in processor time of the thread. The state is copied before, and
//! what is left is dropped after, by whoever asked.

use super::{
    block::ReplayBlock,
    clock,
    found::Finding,
    state::{BlockDb, MissingState},
};
use cranevm::{revm_evm::JitEvm, runtime::JitBackend};
use revm::{
    Context, DatabaseCommit, MainBuilder, MainContext, MainnetEvm,
    context::{ContextSetters, ContextTr, JournalTr, TxEnv},
    context_interface::result::{EVMError, ExecutionResult},
    handler::{
        EthFrame, EvmTr, Handler, MainnetContext, MainnetHandler, SYSTEM_ADDRESS, SystemCallTx,
    },
    interpreter::interpreter::EthInterpreter,
};
use std::time::Duration;

/// The context of a block's EVM.
pub(super) type BlockContext = MainnetContext<BlockDb>;
/// An EVM of revm's own.
pub(super) type BlockEvm = MainnetEvm<BlockContext>;

type Error = EVMError<MissingState>;

/// A function of the mainnet's handler that runs the EVM's transaction.
type Function<EVM> = fn(
    &mut MainnetHandler<EVM, Error, EthFrame<EthInterpreter>>,
    &mut EVM,
) -> Result<ExecutionResult, Error>;

/// What a block did.
#[derive(Debug)]
pub struct Executed {
    /// Results of the transactions.
    pub results: Vec<ExecutionResult>,
    /// The state after them.
    pub state: BlockDb,
    /// Processor time that it took.
    pub time: Duration,
}

impl Executed {
    /// Gas used by all transactions.
    pub fn gas_used(&self) -> u64 {
        self.results.iter().map(ExecutionResult::tx_gas_used).sum()
    }
}

/// A block that couldn't be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// A call by the system failed.
    #[error("system call {index}: {reason}")]
    SystemCall {
        /// Which.
        index: usize,
        /// What the EVM said.
        reason: String,
    },
    /// A transaction isn't valid, or reads what isn't there.
    #[error("transaction {index}: {reason}")]
    Transaction {
        /// Which.
        index: usize,
        /// What the EVM said.
        reason: String,
    },
}

/// An EVM at the start of a block.
pub(super) fn evm(block: &ReplayBlock) -> BlockEvm {
    Context::mainnet()
        .with_cfg(block.cfg.clone())
        .with_block(block.env.clone())
        .with_db(block.state.clone())
        .build_mainnet()
}

/// How a block is executed.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// In revm's interpreter.
    Interpreter,
    /// With what a backend compiles.
    Native(&'a JitBackend),
    /// In the interpreter, after each frame has looked up its program.
    Found(&'a JitBackend),
}

impl Subject<'_> {
    /// Executes a block. `before` is called between the preparations and what is timed.
    ///
    /// # Errors
    /// If it can't be executed.
    pub fn run(
        self,
        block: &ReplayBlock,
        before: &mut dyn FnMut(),
    ) -> Result<Executed, ExecuteError> {
        let evm = evm(block);
        match self {
            Self::Interpreter => execute(evm, block, before),
            Self::Native(backend) => execute(JitEvm::new(evm, backend.clone()), block, before),
            Self::Found(backend) => {
                execute(Finding(JitEvm::new(evm, backend.clone())), block, before)
            }
        }
    }
}

/// Executes a block on an EVM that was made for it.
pub(super) fn execute<EVM>(
    mut evm: EVM,
    block: &ReplayBlock,
    before: &mut dyn FnMut(),
) -> Result<Executed, ExecuteError>
where
    EVM: EvmTr<Context = BlockContext, Frame = EthFrame<EthInterpreter>>,
{
    let mut results = Vec::with_capacity(block.transactions.len());
    let transactions = block.transactions.clone();
    let system_calls = block.system_calls.clone();
    before();
    let start = clock::thread();
    for (index, (target, data)) in system_calls.into_iter().enumerate() {
        let tx = TxEnv::new_system_tx_with_caller(SYSTEM_ADDRESS, target, data);
        run(&mut evm, tx, MainnetHandler::run_system_call)
            .map_err(|error| ExecuteError::SystemCall { index, reason: error.to_string() })?;
    }
    for (index, tx) in transactions.into_iter().enumerate() {
        let result = run(&mut evm, tx, MainnetHandler::run)
            .map_err(|error| ExecuteError::Transaction { index, reason: error.to_string() })?;
        results.push(result);
    }
    let time = clock::thread().saturating_sub(start);
    let state = std::mem::take(evm.ctx_mut().db_mut());
    Ok(Executed { results, state, time })
}

/// Runs one transaction, and commits what it did.
#[inline]
fn run<EVM>(evm: &mut EVM, tx: TxEnv, by: Function<EVM>) -> Result<ExecutionResult, Error>
where
    EVM: EvmTr<Context = BlockContext, Frame = EthFrame<EthInterpreter>>,
{
    evm.ctx_mut().set_tx(tx);
    let result = by(&mut MainnetHandler::default(), evm)?;
    let state = evm.ctx_mut().journal_mut().finalize();
    evm.ctx_mut().db_mut().commit(state);
    Ok(result)
}
