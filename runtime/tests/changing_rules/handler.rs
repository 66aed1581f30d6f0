//! A handler of the chain's own, which changes the rules between frames.

use crate::{
    CHANGES, Change, MemoryContext, MemoryInstructions,
    common::{call, chain::ChainHandler},
    hot, memory_evm, usual,
};
use cranevm::handler::{
    EthFrame, EvmTr, FrameInitOrResult, FrameResult, FrameTr, Handler, ItemOrResult,
};
use revm::context::{
    ContextSetters, ContextTr, JournalTr,
    result::{EVMError, HaltReason, InvalidTransaction, ResultAndState},
};
use std::convert::Infallible;

/// A handler that changes the rules after so many steps of its loop.
struct Meddling {
    change: Change,
    after: usize,
    uses_all_mut: bool,
}

impl Meddling {
    fn meddle<EVM: EvmTr<Instructions = MemoryInstructions>>(&self, evm: &mut EVM, step: usize) {
        if step == self.after {
            (self.change)(match self.uses_all_mut {
                true => evm.all_mut().1,
                false => evm.ctx_instructions().1,
            });
        }
    }
}

/// [`ChainHandler`] with its loop.
struct MeddlingHandler<EVM>(ChainHandler<EVM>, Meddling);

impl<EVM> Handler for MeddlingHandler<EVM>
where
    EVM: EvmTr<Context = MemoryContext, Frame = EthFrame, Instructions = MemoryInstructions>,
{
    type Evm = EVM;
    type Error = EVMError<Infallible, InvalidTransaction>;
    type HaltReason = HaltReason;

    fn run_exec_loop(
        &mut self,
        evm: &mut EVM,
        first: <EthFrame as FrameTr>::FrameInit,
    ) -> Result<FrameResult, Self::Error> {
        let mut steps = 0..;
        let mut meddle = |evm: &mut EVM| self.1.meddle(evm, steps.next().unwrap_or(0));
        let mut next: FrameInitOrResult<EthFrame> = ItemOrResult::Item(first);
        loop {
            meddle(evm);
            let result = match next {
                ItemOrResult::Item(init) => match evm.frame_init(init)? {
                    ItemOrResult::Item(_) => None,
                    ItemOrResult::Result(result) => Some(result),
                },
                ItemOrResult::Result(result) => Some(result),
            };
            meddle(evm);
            if let Some(result) = result
                && let Some(result) = evm.frame_return_result(result)?
            {
                return Ok(result);
            }
            meddle(evm);
            next = evm.frame_run()?;
        }
    }

    fn reward_beneficiary(
        &self,
        evm: &mut EVM,
        result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        self.0.reward_beneficiary(evm, result)
    }
}

fn transact_meddling<EVM>(evm: &mut EVM, meddling: Meddling) -> ResultAndState
where
    EVM: EvmTr<Context = MemoryContext, Frame = EthFrame, Instructions = MemoryInstructions>,
{
    evm.ctx().set_tx(call());
    let result = MeddlingHandler(ChainHandler::new(), meddling).run(evm).unwrap();
    ResultAndState::new(result, evm.ctx().journal_mut().finalize())
}

#[test]
fn a_handler_changes_the_rules_between_frames() {
    let mut that_show = 0;
    for change in CHANGES {
        // Two frames that begin, and one that goes on: nine places, and one that isn't reached.
        for after in 0..10 {
            for uses_all_mut in [true, false] {
                let meddling = || Meddling { change, after, uses_all_mut };
                let (mut plain, mut jit) = (memory_evm(), hot());
                for _ in 0..2 {
                    let expected = transact_meddling(&mut plain, meddling());
                    assert_eq!(transact_meddling(&mut jit, meddling()), expected, "{after}");
                    that_show += usize::from(expected.result != usual().result);
                }
            }
        }
    }
    assert!(that_show > 8 * CHANGES.len(), "{that_show}");
}
