//! Running frames, and the transaction-level traits of revm with the mainnet handler.

use super::{
    JitEvm,
    rules::Tables,
    running::{Running, gas_passed_on, tell_of_gas},
};
use crate::{
    consult::Consultation,
    faults::{Broken, unexplained},
    hotness::Cold,
};
use cranevm_codegen::{NativeRun, collapse_halt_reason};
use revm::{
    Database, DatabaseCommit,
    context::{
        ContextSetters, ContextTr, FrameStack, JournalTr,
        result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction, ResultAndState},
    },
    context_interface::context::ContextError,
    handler::{
        EthFrame, EvmTr, ExecuteCommitEvm, ExecuteEvm, FrameInitOrResult, FrameTr, Handler,
        ItemOrResult, MainnetHandler, PrecompileProvider, SystemCallCommitEvm, SystemCallEvm,
        SystemCallTx,
        evm::{ContextDbError, FrameInitResult},
        instructions::InstructionProvider,
    },
    interpreter::{
        InstructionResult, Interpreter, InterpreterAction, InterpreterResult,
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LoopControl},
    },
    primitives::{Address, Bytes},
    state::EvmState,
};
use std::sync::Arc;

impl<EVM> JitEvm<EVM>
where
    EVM: EvmTr<
            Frame = EthFrame<EthInterpreter>,
            Instructions: InstructionProvider<
                Context = EVM::Context,
                InterpreterTypes = EthInterpreter,
            >,
        >,
{
    /// Whether the backend has a program for the top frame: what each frame asks first, alone. For
    /// measurements.
    #[doc(hidden)]
    pub fn finds_program(&mut self) -> bool {
        let Self { inner, backend, finder } = self;
        let (context, instructions, _, frames) = inner.all_mut();
        let tables = Tables {
            instructions: instructions.instruction_table(),
            static_gas: instructions.gas_table(),
            host: context,
        };
        let (answer, _) = finder.find(backend, &frames.get().interpreter, tables);
        matches!(answer, Consultation::Run(_))
    }

    /// Looks for the program of the top frame as running it natively does, and has the wrapped EVM
    /// run it all the same: what looking up costs. For measurements.
    ///
    /// # Errors
    /// Those of the wrapped EVM.
    #[doc(hidden)]
    #[inline]
    pub fn find_and_interpret(
        &mut self,
    ) -> Result<FrameInitOrResult<EVM::Frame>, ContextDbError<EVM::Context>> {
        self.finder.rules.doubt_unless_kept::<EVM>();
        self.finds_program();
        self.inner.frame_run()
    }

    /// Runs the top frame until it ends or suspends, and leaves the action in its interpreter, if
    /// that is the backend's business.
    ///
    /// # Errors
    /// If native code broke a rule. The frame has ended all the same, by a fatal error.
    fn run_top_frame(&mut self) -> Result<Ran, Box<Broken>> {
        let Self { inner, backend, finder } = self;
        let (context, instructions, _, frames) = inner.all_mut();
        let frame = frames.get();
        finder.rules.doubt_unless_kept::<EVM>();
        let is_revms = finder.rules.is_revms::<EVM>();
        if frame.data.is_create() && !backend.is_blocking() {
            return Ok(Ran::Nothing);
        }
        let interpreter = &mut frame.interpreter;
        let gas_table = instructions.gas_table();
        let instructions = instructions.instruction_table();
        let host = context;
        let tables = Tables { instructions, static_gas: gas_table, host: &mut *host };
        let (answer, rules) = finder.find(backend, interpreter, tables);
        match answer {
            Consultation::Run(program) => {
                match program.go_on(interpreter, host, instructions, gas_table) {
                    NativeRun::Ended if program.has_single_error() => {
                        collapse_halt_reason(interpreter.bytecode.action());
                    }
                    NativeRun::Ended => {}
                    NativeRun::Faulted(fault) => return Err(Broken::new(program, fault)),
                    NativeRun::NotEntered if !is_revms => return Ok(Ran::Nothing),
                    NativeRun::NotEntered | NativeRun::HandedOver => {
                        let running = Running { interpreter, host, instructions, gas_table, rules };
                        running.run_on(program)?;
                    }
                }
            }
            Consultation::Watch(cold) if is_revms => {
                let running = Running { interpreter, host, instructions, gas_table, rules };
                running.watch(backend, cold)?;
            }
            Consultation::Watch(cold) => return Ok(Ran::Watched(Arc::clone(cold))),
            Consultation::Interpret => return Ok(Ran::Nothing),
        }
        Ok(Ran::Frame)
    }

    /// Has the wrapped EVM run the top frame, and tells its contract's `cold` of the gas that it
    /// burns.
    fn run_watched(
        &mut self,
        cold: &Arc<Cold>,
    ) -> Result<FrameInitOrResult<EVM::Frame>, ContextDbError<EVM::Context>> {
        let interpreter = &self.inner.frame_stack().get().interpreter;
        let (before, begins) = (interpreter.gas.remaining(), interpreter.bytecode.pc() == 0);
        let next = self.inner.frame_run()?;
        let passed_on = match &next {
            ItemOrResult::Item(frame) => gas_passed_on(&frame.frame_input),
            ItemOrResult::Result(result) if result.interpreter_result().is_halt() => {
                return Ok(next);
            }
            ItemOrResult::Result(_) => 0,
        };
        let interpreter = &self.inner.frame_stack().get().interpreter;
        let left = interpreter.gas.remaining().saturating_add(passed_on);
        let code = || interpreter.bytecode.original_bytes();
        tell_of_gas(&self.backend, cold, code, before.saturating_sub(left), begins);
        Ok(next)
    }
}

/// Whether a frame ended by an error of the transaction.
#[inline(always)]
fn is_fatal(action: &InterpreterAction) -> bool {
    matches!(action, InterpreterAction::Return(result)
        if result.result == InstructionResult::FatalExternalError)
}

/// What became of a frame.
enum Ran {
    /// It ran until it ended or suspended.
    Frame,
    /// Nothing: the wrapped EVM is to run it.
    Nothing,
    /// The same, and the gas that it burns is to be told.
    Watched(Arc<Cold>),
}

impl<EVM> EvmTr for JitEvm<EVM>
where
    EVM: EvmTr<
            Frame = EthFrame<EthInterpreter>,
            Instructions: InstructionProvider<
                Context = EVM::Context,
                InterpreterTypes = EthInterpreter,
            >,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    type Context = EVM::Context;
    type Instructions = EVM::Instructions;
    type Precompiles = EVM::Precompiles;
    type Frame = EVM::Frame;

    #[inline]
    fn all(
        &self,
    ) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Self::Frame>) {
        self.inner.all()
    }

    #[inline]
    fn all_mut(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<Self::Frame>,
    ) {
        self.inner_mut().all_mut()
    }

    // What handlers use all the time gives no access to the instructions.

    #[inline]
    fn ctx(&mut self) -> &mut Self::Context {
        self.inner.ctx()
    }

    #[inline]
    fn ctx_mut(&mut self) -> &mut Self::Context {
        self.inner.ctx_mut()
    }

    #[inline]
    fn ctx_ref(&self) -> &Self::Context {
        self.inner.ctx_ref()
    }

    #[inline]
    fn ctx_precompiles(&mut self) -> (&mut Self::Context, &mut Self::Precompiles) {
        self.inner.ctx_precompiles()
    }

    #[inline]
    fn frame_stack(&mut self) -> &mut FrameStack<Self::Frame> {
        self.inner.frame_stack()
    }

    // Always inlined: a frame's input and result are hundreds of bytes, copied at each call.
    #[inline(always)]
    fn frame_init(
        &mut self,
        frame_input: <Self::Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Self::Frame>, ContextDbError<Self::Context>> {
        self.inner.frame_init(frame_input)
    }

    /// Runs the top frame natively if there is a program for it, else as the wrapped EVM does.
    #[inline]
    fn frame_run(
        &mut self,
    ) -> Result<FrameInitOrResult<Self::Frame>, ContextDbError<Self::Context>> {
        // A disabled backend costs this look, and no call.
        if !self.backend.enabled() {
            self.finder.forget();
            return self.inner.frame_run();
        }
        match self.run_top_frame() {
            Ok(Ran::Frame) => {}
            Ok(Ran::Nothing) => return self.inner.frame_run(),
            Ok(Ran::Watched(cold)) => return self.run_watched(&cold),
            Err(broken) => {
                let message = self.backend.deny(&broken);
                // An error of the database's goes first, or the next transaction would have it.
                if self.inner.ctx().error().is_ok() {
                    return Err(ContextError::Custom(message));
                }
            }
        }
        let (context, _, _, frames) = self.inner.all_mut();
        let frame = frames.get();
        let action = frame.interpreter.take_next_action();
        if is_fatal(&action) && context.error().is_ok() {
            // Nobody has said what went wrong, so the parent frame would panic.
            let Interpreter { bytecode, runtime_flag, .. } = &frame.interpreter;
            return Err(ContextError::Custom(unexplained(bytecode, runtime_flag.spec_id)));
        }
        let next = frame.process_next_action(context, action);
        if let Ok(ItemOrResult::Result(_)) = next {
            frame.set_finished(true);
        }
        next
    }

    #[inline(always)]
    fn frame_return_result(
        &mut self,
        result: <Self::Frame as FrameTr>::FrameResult,
    ) -> Result<Option<<Self::Frame as FrameTr>::FrameResult>, ContextDbError<Self::Context>> {
        self.inner.frame_return_result(result)
    }
}

impl<EVM> ExecuteEvm for JitEvm<EVM>
where
    EVM: EvmTr<
            Context: ContextTr<Journal: JournalTr<State = EvmState>> + ContextSetters,
            Frame = EthFrame<EthInterpreter>,
            Instructions: InstructionProvider<
                Context = EVM::Context,
                InterpreterTypes = EthInterpreter,
            >,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    type ExecutionResult = ExecutionResult<HaltReason>;
    type State = EvmState;
    type Error = EVMError<<<EVM::Context as ContextTr>::Db as Database>::Error, InvalidTransaction>;
    type Tx = <EVM::Context as ContextTr>::Tx;
    type Block = <EVM::Context as ContextTr>::Block;

    fn set_block(&mut self, block: Self::Block) {
        self.inner.ctx_mut().set_block(block);
    }

    fn transact_one(&mut self, tx: Self::Tx) -> Result<Self::ExecutionResult, Self::Error> {
        self.inner.ctx_mut().set_tx(tx);
        MainnetHandler::default().run(self)
    }

    fn finalize(&mut self) -> Self::State {
        self.inner.ctx_mut().journal_mut().finalize()
    }

    fn replay(&mut self) -> Result<ResultAndState<HaltReason>, Self::Error> {
        let result: Result<_, Self::Error> = MainnetHandler::default().run(self);
        // Also after an error, so that nothing of this transaction is left for the next.
        let state = self.finalize();
        Ok(ResultAndState::new(result?, state))
    }
}

impl<EVM> ExecuteCommitEvm for JitEvm<EVM>
where
    EVM: EvmTr<
            Context: ContextTr<Journal: JournalTr<State = EvmState>, Db: DatabaseCommit>
                         + ContextSetters,
            Frame = EthFrame<EthInterpreter>,
            Instructions: InstructionProvider<
                Context = EVM::Context,
                InterpreterTypes = EthInterpreter,
            >,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    fn commit(&mut self, state: Self::State) {
        self.inner.ctx_mut().db_mut().commit(state);
    }
}

impl<EVM> SystemCallEvm for JitEvm<EVM>
where
    EVM: EvmTr<
            Context: ContextTr<Journal: JournalTr<State = EvmState>, Tx: SystemCallTx>
                         + ContextSetters,
            Frame = EthFrame<EthInterpreter>,
            Instructions: InstructionProvider<
                Context = EVM::Context,
                InterpreterTypes = EthInterpreter,
            >,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    fn system_call_one_with_caller(
        &mut self,
        caller: Address,
        system_contract_address: Address,
        data: Bytes,
    ) -> Result<Self::ExecutionResult, Self::Error> {
        let tx = SystemCallTx::new_system_tx_with_caller(caller, system_contract_address, data);
        self.inner.ctx_mut().set_tx(tx);
        MainnetHandler::default().run_system_call(self)
    }
}

impl<EVM> SystemCallCommitEvm for JitEvm<EVM>
where
    EVM: EvmTr<
            Context: ContextTr<
                Journal: JournalTr<State = EvmState>,
                Db: DatabaseCommit,
                Tx: SystemCallTx,
            > + ContextSetters,
            Frame = EthFrame<EthInterpreter>,
            Instructions: InstructionProvider<
                Context = EVM::Context,
                InterpreterTypes = EthInterpreter,
            >,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    fn system_call_with_caller_commit(
        &mut self,
        caller: Address,
        system_contract_address: Address,
        data: Bytes,
    ) -> Result<Self::ExecutionResult, Self::Error> {
        let output = self.system_call_with_caller(caller, system_contract_address, data)?;
        self.commit(output.state);
        Ok(output.result)
    }
}
