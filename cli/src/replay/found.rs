//! An EVM that looks up the program of each frame as native execution does, and then interprets the
//! frame: what looking up costs, alone.

use super::execute::{BlockContext, BlockEvm};
use cranevm::revm_evm::JitEvm;
use revm::{
    context::FrameStack,
    handler::{
        EthFrame, EvmTr, FrameInitOrResult, FrameTr,
        evm::{ContextDbError, FrameInitResult},
    },
    interpreter::interpreter::EthInterpreter,
};

/// The EVM. Its backend is one that has the block's programs.
pub(super) struct Finding(pub(super) JitEvm<BlockEvm>);

type Inner = JitEvm<BlockEvm>;
type Frame = EthFrame<EthInterpreter>;

/// All is as in a `JitEvm`, but for `frame_run`.
impl EvmTr for Finding {
    type Context = BlockContext;
    type Instructions = <Inner as EvmTr>::Instructions;
    type Precompiles = <Inner as EvmTr>::Precompiles;
    type Frame = Frame;

    fn all(&self) -> (&BlockContext, &Self::Instructions, &Self::Precompiles, &FrameStack<Frame>) {
        self.0.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut BlockContext, &mut Self::Instructions, &mut Self::Precompiles, &mut FrameStack<Frame>)
    {
        self.0.all_mut()
    }

    fn ctx(&mut self) -> &mut BlockContext {
        self.0.ctx()
    }

    fn ctx_mut(&mut self) -> &mut BlockContext {
        self.0.ctx_mut()
    }

    fn ctx_ref(&self) -> &BlockContext {
        self.0.ctx_ref()
    }

    fn ctx_precompiles(&mut self) -> (&mut BlockContext, &mut Self::Precompiles) {
        self.0.ctx_precompiles()
    }

    fn frame_stack(&mut self) -> &mut FrameStack<Frame> {
        self.0.frame_stack()
    }

    #[inline(always)]
    fn frame_init(
        &mut self,
        frame_input: <Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Frame>, ContextDbError<BlockContext>> {
        self.0.frame_init(frame_input)
    }

    #[inline]
    fn frame_run(&mut self) -> Result<FrameInitOrResult<Frame>, ContextDbError<BlockContext>> {
        self.0.find_and_interpret()
    }

    #[inline(always)]
    fn frame_return_result(
        &mut self,
        result: <Frame as FrameTr>::FrameResult,
    ) -> Result<Option<<Frame as FrameTr>::FrameResult>, ContextDbError<BlockContext>> {
        self.0.frame_return_result(result)
    }
}
