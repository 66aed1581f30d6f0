//! Inspection. Inspected frames always run in revm's interpreter, so that an inspector sees every
//! step, whatever it is: revm doesn't tell whether an inspector ignores what it is shown. To run
//! natively, use the calls without an inspector ([`transact`](revm::ExecuteEvm::transact)).

use super::{JitEvm, metering::Stretch};
use crate::frame_counts::RunClass;
use revm::{
    DatabaseCommit,
    context::{ContextSetters, ContextTr, FrameStack, JournalTr},
    handler::{
        EthFrame, FrameInitOrResult, FrameTr, MainnetHandler, PrecompileProvider, SystemCallTx,
        evm::{ContextDbError, FrameInitResult},
    },
    inspector::{
        InspectCommitEvm, InspectEvm, InspectSystemCallEvm, InspectorEvmTr, InspectorHandler,
        JournalExt,
    },
    interpreter::{InterpreterResult, interpreter::EthInterpreter},
    primitives::{Address, Bytes},
    state::EvmState,
};

impl<EVM> InspectorEvmTr for JitEvm<EVM>
where
    EVM: InspectorEvmTr<
            Frame = EthFrame<EthInterpreter>,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    type Inspector = EVM::Inspector;

    fn all_inspector(
        &self,
    ) -> (
        &Self::Context,
        &Self::Instructions,
        &Self::Precompiles,
        &FrameStack<Self::Frame>,
        &Self::Inspector,
    ) {
        self.inner.all_inspector()
    }

    fn all_mut_inspector(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<Self::Frame>,
        &mut Self::Inspector,
    ) {
        self.inner_mut().all_mut_inspector()
    }

    fn inspect_frame_init(
        &mut self,
        frame_init: <Self::Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Self::Frame>, ContextDbError<Self::Context>> {
        self.inner_mut().inspect_frame_init(frame_init)
    }

    fn inspect_frame_run(
        &mut self,
    ) -> Result<FrameInitOrResult<Self::Frame>, ContextDbError<Self::Context>> {
        self.finder.rules.doubt();
        let Self { inner, backend, tally, .. } = self;
        let Some(counts) = tally.counts(backend) else { return inner.inspect_frame_run() };
        let interpreter = &inner.frame_stack().get().interpreter;
        let stretch = Stretch::begin_with(counts, RunClass::Inspected, interpreter);
        let next = inner.inspect_frame_run();
        if let Ok(next) = &next {
            stretch.end_by(&inner.frame_stack().get().interpreter.gas, next);
        }
        next
    }
}

impl<EVM> InspectEvm for JitEvm<EVM>
where
    EVM: InspectorEvmTr<
            Context: ContextTr<Journal: JournalTr<State = EvmState> + JournalExt> + ContextSetters,
            Frame = EthFrame<EthInterpreter>,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    type Inspector = <EVM as InspectorEvmTr>::Inspector;

    fn set_inspector(&mut self, inspector: Self::Inspector) {
        *self.inner.inspector() = inspector;
    }

    fn inspect_one_tx(&mut self, tx: Self::Tx) -> Result<Self::ExecutionResult, Self::Error> {
        self.inner.ctx_mut().set_tx(tx);
        MainnetHandler::default().inspect_run(self)
    }
}

impl<EVM> InspectCommitEvm for JitEvm<EVM> where
    EVM: InspectorEvmTr<
            Context: ContextTr<
                Journal: JournalTr<State = EvmState> + JournalExt,
                Db: DatabaseCommit,
            > + ContextSetters,
            Frame = EthFrame<EthInterpreter>,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >
{
}

impl<EVM> InspectSystemCallEvm for JitEvm<EVM>
where
    EVM: InspectorEvmTr<
            Context: ContextTr<
                Journal: JournalTr<State = EvmState> + JournalExt,
                Tx: SystemCallTx,
            > + ContextSetters,
            Frame = EthFrame<EthInterpreter>,
            Precompiles: PrecompileProvider<EVM::Context, Output = InterpreterResult>,
        >,
{
    fn inspect_one_system_call_with_caller(
        &mut self,
        caller: Address,
        system_contract_address: Address,
        data: Bytes,
    ) -> Result<Self::ExecutionResult, Self::Error> {
        let tx = SystemCallTx::new_system_tx_with_caller(caller, system_contract_address, data);
        self.inner.ctx_mut().set_tx(tx);
        MainnetHandler::default().inspect_run_system_call(self)
    }
}
