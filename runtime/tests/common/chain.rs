//! A chain of its own: a handler that uses nothing but revm's `EvmTr` and `InspectorEvmTr`, an EVM
//! type around revm's, and instructions that Ethereum doesn't have.

use super::{TARGET, TestContext, TestEvm, database, evm};
use cranevm::{
    SpecId,
    context_interface::ContextTr,
    handler::{
        EthFrame, EvmTr, EvmTrError, FrameInitOrResult, FrameResult, FrameTr, Handler,
        evm::{ContextDbError, FrameInitResult},
    },
    inspector::{InspectorEvmTr, InspectorHandler},
    interpreter::{
        Instruction, InstructionContext, InstructionExecResult, InstructionResult,
        interpreter::EthInterpreter,
    },
    primitives::{Address, U256},
};
use revm::{
    Database, Inspector,
    context::{
        ContextSetters, FrameStack, JournalTr, TxEnv,
        result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction, ResultAndState},
    },
    database::{CacheDB, EmptyDB},
    handler::instructions::EthInstructions,
    state::EvmState,
};
use std::{convert::Infallible, marker::PhantomData};

/// Who gets the fees on this chain.
pub(crate) const TREASURY: Address = Address::repeat_byte(0x77);

/// Runs transactions without `ExecuteEvm`, and gives the treasury a wei for each.
pub(crate) struct ChainHandler<EVM>(PhantomData<EVM>);

impl<EVM> ChainHandler<EVM> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<EVM> Handler for ChainHandler<EVM>
where
    EVM: EvmTr<
            Context: ContextTr<
                Journal: JournalTr<State = EvmState>,
                Db: Database<Error = Infallible>,
            >,
            Frame = EthFrame<EthInterpreter>,
        >,
    EVMError<Infallible, InvalidTransaction>: EvmTrError<EVM>,
{
    type Evm = EVM;
    type Error = EVMError<Infallible, InvalidTransaction>;
    type HaltReason = HaltReason;

    fn reward_beneficiary(
        &self,
        evm: &mut EVM,
        _result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        Ok(evm.ctx().journal_mut().balance_incr(TREASURY, U256::ONE)?)
    }
}

impl<EVM> InspectorHandler for ChainHandler<EVM>
where
    EVM: InspectorEvmTr<
            Context: ContextTr<
                Journal: JournalTr<State = EvmState>,
                Db: Database<Error = Infallible>,
            >,
            Frame = EthFrame<EthInterpreter>,
            Inspector: Inspector<EVM::Context, EthInterpreter>,
        >,
    EVMError<Infallible, InvalidTransaction>: EvmTrError<EVM>,
{
    type IT = EthInterpreter;
}

/// A transaction on the chain.
pub(crate) fn transact<EVM>(evm: &mut EVM, tx: TxEnv) -> ResultAndState
where
    EVM: EvmTr<
            Context: ContextTr<
                Journal: JournalTr<State = EvmState>,
                Db: Database<Error = Infallible>,
            > + ContextSetters<Tx = TxEnv>,
            Frame = EthFrame<EthInterpreter>,
        >,
    EVMError<Infallible, InvalidTransaction>: EvmTrError<EVM>,
{
    evm.ctx().set_tx(tx);
    let result = ChainHandler::new().run(evm).expect("the transaction is valid");
    ResultAndState::new(result, evm.ctx().journal_mut().finalize())
}

/// A chain's EVM: revm's inside, and all frames pass through it.
pub(crate) struct ChainEvm<EVM> {
    pub(crate) revm: EVM,
    /// Frames that it has begun.
    pub(crate) frames: usize,
    /// Times that it has run a frame by itself.
    pub(crate) runs: usize,
}

impl<EVM: EvmTr<Frame = EthFrame<EthInterpreter>>> EvmTr for ChainEvm<EVM> {
    type Context = EVM::Context;
    type Instructions = EVM::Instructions;
    type Precompiles = EVM::Precompiles;
    type Frame = EVM::Frame;

    fn all(&self) -> (&EVM::Context, &EVM::Instructions, &EVM::Precompiles, &FrameStack<EthFrame>) {
        self.revm.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut EVM::Context, &mut EVM::Instructions, &mut EVM::Precompiles, &mut FrameStack<EthFrame>)
    {
        self.revm.all_mut()
    }

    fn frame_init(
        &mut self,
        frame_init: <EthFrame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, EthFrame>, ContextDbError<EVM::Context>> {
        self.frames += 1;
        self.revm.frame_init(frame_init)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<EthFrame>, ContextDbError<EVM::Context>> {
        self.runs += 1;
        self.revm.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<EVM::Context>> {
        self.revm.frame_return_result(result)
    }
}

/// The EVM of the tests' database.
pub(crate) type MemoryEvm = TestEvm<CacheDB<EmptyDB>>;
/// An instruction of [`MemoryEvm`].
pub(crate) type ChainInstruction = Instruction<EthInterpreter, TestContext<CacheDB<EmptyDB>>>;
/// What an instruction of [`MemoryEvm`] works on.
pub(crate) type ChainFrame<'a> =
    InstructionContext<'a, TestContext<CacheDB<EmptyDB>>, EthInterpreter>;

/// An EVM with `code` at [`TARGET`], on a fork.
pub(crate) fn chain_evm(code: &[u8], spec_id: SpecId) -> MemoryEvm {
    evm(database(&[(TARGET, code)]), spec_id)
}

/// Goes on to another fork, as a chain does at the block where it begins.
pub(crate) fn set_spec(evm: &mut MemoryEvm, spec_id: SpecId) {
    evm.ctx.cfg.set_spec_and_mainnet_gas_params(spec_id);
    evm.instruction = EthInstructions::new_mainnet_with_spec(spec_id);
}

/// Pushes 42.
pub(crate) fn push_42(frame: ChainFrame<'_>) -> InstructionExecResult {
    match frame.interpreter.stack.push(U256::from(42)) {
        true => Ok(()),
        false => Err(InstructionResult::StackOverflow),
    }
}

/// Takes two words, and leaves their product.
pub(crate) fn multiply(frame: ChainFrame<'_>) -> InstructionExecResult {
    let Some([x, y]) = frame.interpreter.stack.popn() else {
        return Err(InstructionResult::StackUnderflow);
    };
    let _has_room = frame.interpreter.stack.push(x.wrapping_mul(y));
    Ok(())
}

/// Ends the frame in a way of its own.
pub(crate) fn collide(_: ChainFrame<'_>) -> InstructionExecResult {
    Err(InstructionResult::CreateCollision)
}

/// Whether a run of [`PROBE`](super::PROBE) was native, with `single_error` set.
pub(crate) fn is_native(result: &ExecutionResult) -> bool {
    match result {
        ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => true,
        ExecutionResult::Halt { reason: HaltReason::InvalidFEOpcode, .. } => false,
        other => panic!("unexpected: {other:?}"),
    }
}
