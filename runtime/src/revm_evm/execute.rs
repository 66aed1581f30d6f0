//! Running frames, and the transaction-level traits of revm with the mainnet handler.

use super::{
    JitEvm,
    finder::Finder,
    local_cache::Answer,
    metering::{Stretch, gas_passed_on},
    rules::Tables,
    running::{Running, tell_of_gas, tell_of_run},
};
use crate::{
    faults::{Broken, unexplained},
    frame_counts::{FrameCounts, RunClass, Tally},
    hotness::Cold,
    runtime::JitBackend,
};
use cranevm_codegen::{NativeRun, collapse_halt_reason};
use revm::{
    Database, DatabaseCommit,
    context::{
        ContextSetters, ContextTr, FrameStack, JournalTr,
        result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction, ResultAndState},
    },
    context_interface::{Block, context::ContextError},
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
        let Self { inner, backend, finder, .. } = self;
        let (context, instructions, _, frames) = inner.all_mut();
        let tables = Tables {
            instructions: instructions.instruction_table(),
            static_gas: instructions.gas_table(),
            host: context,
        };
        let interpreter = &frames.get().interpreter;
        let begins = interpreter.bytecode.pc() == 0;
        let (answer, _) = finder.find(backend, interpreter, tables, begins, &mut None);
        matches!(answer, Answer::Run(_))
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

    /// Has the wrapped EVM run the top frame, for a reason.
    #[inline(never)]
    fn run_wrapped(
        &mut self,
        class: RunClass,
    ) -> Result<FrameInitOrResult<EVM::Frame>, ContextDbError<EVM::Context>> {
        let Self { inner, backend, tally, .. } = self;
        match tally.counts(backend) {
            Some(counts) => run_counted(inner, counts, class),
            None => inner.frame_run(),
        }
    }

    /// Runs the top frame anew: the backend is asked, and the program that it says is pinned. (No
    /// loop, which would have all that frames need in memory.)
    #[cold]
    #[inline(never)]
    fn run_again(&mut self) -> Result<FrameInitOrResult<EVM::Frame>, ContextDbError<EVM::Context>>
    where
        EVM::Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
    {
        let frame = self.inner.frame_stack().get();
        self.finder.forget_code(&frame.interpreter.bytecode);
        self.frame_run()
    }

    /// Has the wrapped EVM run the top frame, and tells its contract's `cold` of the gas that it
    /// burns.
    fn run_watched(
        &mut self,
        cold: &Arc<Cold>,
    ) -> Result<FrameInitOrResult<EVM::Frame>, ContextDbError<EVM::Context>> {
        let interpreter = &self.inner.frame_stack().get().interpreter;
        let (before, begins) = (interpreter.gas.remaining(), interpreter.bytecode.pc() == 0);
        let next = self.run_wrapped(RunClass::Cold)?;
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

/// Runs the top frame until it ends or suspends, and leaves the action in its interpreter, if that
/// is the backend's business.
///
/// # Errors
/// If native code broke a rule. The frame has ended all the same, by a fatal error.
#[inline]
fn run_top_frame<'a, EVM>(
    inner: &mut EVM,
    backend: &JitBackend,
    finder: &mut Finder,
    tally: &'a mut Tally,
) -> Result<Ran<'a>, Box<Broken>>
where
    EVM: EvmTr<
            Frame = EthFrame<EthInterpreter>,
            Instructions: InstructionProvider<
                Context = EVM::Context,
                InterpreterTypes = EthInterpreter,
            >,
        >,
{
    let (context, instructions, _, frames) = inner.all_mut();
    let is_first = frames.index() == Some(0);
    let frame = frames.get();
    finder.rules.doubt_unless_kept::<EVM>();
    let is_revms = finder.rules.is_revms::<EVM>();
    let is_init_code = frame.data.is_create() && !backend.is_blocking();
    if is_init_code && !(is_revms && backend.has_first_tier()) {
        return Ok(Ran::Nothing(RunClass::Creation));
    }
    // An enabled backend counts.
    let Some(counts) = tally.counts(backend) else { return Ok(Ran::Nothing(RunClass::Other)) };
    let interpreter = &mut frame.interpreter;
    let (gas, begins) = (interpreter.gas.remaining(), interpreter.bytecode.pc() == 0);
    if is_first && begins {
        finder.allowance.begin_transaction(context.block().number());
    }
    let gas_table = instructions.gas_table();
    let instructions = instructions.instruction_table();
    let host = context;
    let running = |interpreter, host, (rules, allowance), stretch| Running {
        interpreter,
        host,
        instructions,
        gas_table,
        rules,
        allowance,
        counts,
        stretch,
    };
    let begin = |class| Stretch::begin(counts, class, begins, gas);
    if is_init_code {
        let Finder { rules, allowance, .. } = finder;
        let running = running(interpreter, host, (rules, allowance), begin(RunClass::Creation));
        return Ok(Ran::Frame(running.create(backend)?));
    }
    let tables = Tables { instructions, static_gas: gas_table, host: &mut *host };
    let mut pinned = None;
    let (answer, limits) = finder.find(backend, interpreter, tables, begins, &mut pinned);
    match answer {
        Answer::Run(known) => {
            let entry = known.entry();
            let stretch = begin(entry.class);
            let executing = (&counts.executing, pinned.as_ref());
            let ran = match known.go_on(executing, interpreter, host, instructions, gas_table) {
                Some(NativeRun::Ended) => {
                    if entry.has_single_error {
                        collapse_halt_reason(interpreter.bytecode.action());
                    }
                    stretch
                }
                Some(NativeRun::HandedOver(why)) => {
                    running(&mut *interpreter, host, limits, stretch).run_on(known, Some(why))?
                }
                Some(NativeRun::NotEntered) => {
                    stretch.not_entered(counts, begins);
                    if !is_revms {
                        return Ok(Ran::Nothing(RunClass::HandedOver));
                    }
                    let stretch = begin(RunClass::HandedOver);
                    running(&mut *interpreter, host, limits, stretch).run_on(known, None)?
                }
                Some(NativeRun::Faulted(fault)) => return Err(Broken::new(entry.key, fault)),
                None => {
                    stretch.take_back(begins);
                    return Ok(Ran::Revoked);
                }
            };
            if let Some(cold) = known.cold() {
                tell_of_run(backend, cold, interpreter, gas, begins);
            }
            Ok(Ran::Frame(ran))
        }
        Answer::Watch(cold) if is_revms => {
            let running = running(interpreter, host, limits, begin(RunClass::Cold));
            Ok(Ran::Frame(running.watch(backend, cold, begins)?))
        }
        Answer::Watch(cold) => Ok(Ran::Watched(Arc::clone(cold))),
        Answer::Interpret(class) => Ok(Ran::Nothing(*class)),
    }
}

/// What became of a frame.
enum Ran<'a> {
    /// It ran until it suspended or ended, this way at last, and its action is in its interpreter.
    Frame(Stretch<'a>),
    /// Nothing: the wrapped EVM is to run it, for this reason.
    Nothing(RunClass),
    /// The same, as it is cold, and the gas that it burns is to be told.
    Watched(Arc<Cold>),
    /// Nothing: its program was revoked, or there is news of it.
    Revoked,
}

/// Has an EVM run its top frame, and counts that.
// One value is returned, and by one way: any other would have it copied, all hundreds of bytes.
#[inline]
fn run_counted<EVM: EvmTr<Frame = EthFrame<EthInterpreter>>>(
    evm: &mut EVM,
    counts: &FrameCounts,
    class: RunClass,
) -> Result<FrameInitOrResult<EVM::Frame>, ContextDbError<EVM::Context>> {
    let stretch = Stretch::begin_with(counts, class, &evm.frame_stack().get().interpreter);
    let next = evm.frame_run();
    if let Ok(next) = &next {
        stretch.end_by(&evm.frame_stack().get().interpreter.gas, next);
    }
    next
}

/// Does what a run of a frame has come to, and counts it by who ran it last.
///
/// Gas wraps round as nothing else would be exact: a stipend may come on top of all that there can
/// be, and state gas may come back.
#[inline(always)]
fn end_run<CTX: ContextTr>(
    context: &mut CTX,
    frame: &mut EthFrame<EthInterpreter>,
    stretch: Stretch<'_>,
) -> Result<FrameInitOrResult<EthFrame<EthInterpreter>>, ContextDbError<CTX>> {
    let left = frame.interpreter.gas.remaining();
    // Looked at where it is: what comes of it is hundreds of bytes, which are written where they
    // are wanted only if nobody looks at them on the way.
    match frame.interpreter.bytecode.action() {
        Some(InterpreterAction::NewFrame(nested)) => {
            stretch.end(left.wrapping_add(gas_passed_on(nested)));
        }
        Some(InterpreterAction::Return(result))
            if result.result.is_halt() || frame.data.is_create() =>
        {
            return end_rarely(context, frame, Some(stretch));
        }
        _ => {
            stretch.end(left);
            // After an error the handler forgets all frames.
            frame.set_finished(true);
        }
    }
    let action = frame.interpreter.take_next_action();
    frame.process_next_action(context, action)
}

/// Whether a frame ended by an error of the transaction.
fn is_fatal(action: &InterpreterAction) -> bool {
    matches!(action, InterpreterAction::Return(result)
        if result.result == InstructionResult::FatalExternalError)
}

/// Does what a run has come to that halted, or ended init code, and counts it: by a halt nothing is
/// left, and a creation also pays for its code.
#[cold]
#[inline(never)]
fn end_rarely<CTX: ContextTr>(
    context: &mut CTX,
    frame: &mut EthFrame<EthInterpreter>,
    stretch: Option<Stretch<'_>>,
) -> Result<FrameInitOrResult<EthFrame<EthInterpreter>>, ContextDbError<CTX>> {
    let action = frame.interpreter.take_next_action();
    if is_fatal(&action) && context.error().is_ok() {
        // Nobody has said what went wrong, so the parent frame would panic.
        let Interpreter { bytecode, runtime_flag, .. } = &frame.interpreter;
        return Err(ContextError::Custom(unexplained(bytecode, runtime_flag.spec_id)));
    }
    let next = frame.process_next_action(context, action);
    if let Ok(next) = &next {
        frame.set_finished(true);
        if let Some(stretch) = stretch {
            stretch.end_by(&frame.interpreter.gas, next);
        }
    }
    next
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
        // A disabled backend costs this look, and what counting costs.
        if !self.backend.enabled() {
            self.finder.forget();
            if self.backend.service().is_none() {
                // Nor is there anybody to count.
                return self.inner.frame_run();
            }
            return self.run_wrapped(RunClass::Disabled);
        }
        let Self { inner, backend, finder, tally } = self;
        match run_top_frame(inner, backend, finder, tally) {
            Ok(Ran::Frame(stretch)) => {
                let (context, _, _, frames) = inner.all_mut();
                end_run(context, frames.get(), stretch)
            }
            Ok(Ran::Nothing(class)) => self.run_wrapped(class),
            Ok(Ran::Watched(cold)) => self.run_watched(&cold),
            Ok(Ran::Revoked) => self.run_again(),
            Err(broken) => {
                let message = backend.deny(&broken);
                // An error of the database's goes first, or the next transaction would have it.
                if inner.ctx().error().is_ok() {
                    return Err(ContextError::Custom(message));
                }
                let (context, _, _, frames) = inner.all_mut();
                end_rarely(context, frames.get(), None)
            }
        }
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
