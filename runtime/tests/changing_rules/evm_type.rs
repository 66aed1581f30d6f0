//! EVM types of the chain's own, which may change the rules in any method.

use crate::{
    CHANGES, Change, MemoryContext, MemoryInstructions,
    common::{
        PROBE, SPEC, TARGET, call,
        chain::{ChainEvm, MemoryEvm, is_native, transact},
        database, evm,
    },
    exact, memory_evm, usual,
};
use cranevm::{
    handler::{
        EthFrame, EthPrecompiles, EvmTr, FrameInitOrResult, FrameResult,
        evm::{ContextDbError, FrameInitResult},
    },
    interpreter::{
        instructions::{gas_table_spec, instruction_table},
        interpreter_action::FrameInit,
    },
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig},
};
use revm::context::FrameStack;

/// A method of an EVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Ctx,
    CtxMut,
    CtxPrecompiles,
    FrameStack,
    FrameInit,
    FrameReturnResult,
}

/// A chain's EVM that changes its rules, in place, when one of its methods is called for the n-th
/// time, and changes them back at the next call.
struct Fickle {
    revm: MemoryEvm,
    method: Method,
    change: Change,
    /// Calls of the method until the change, and how many there were.
    countdown: usize,
    calls: usize,
}

impl Fickle {
    fn new(method: Method, change: Change) -> Self {
        Self { revm: memory_evm(), method, change, countdown: usize::MAX, calls: 0 }
    }

    fn called(&mut self, method: Method) {
        if method != self.method {
            return;
        }
        self.calls += 1;
        let own = &mut self.revm.instruction;
        if self.calls == self.countdown {
            (self.change)(own);
        } else {
            *own.instruction_table_mut() = instruction_table();
            *own.gas_table_mut() = gas_table_spec(SPEC);
        }
    }
}

impl EvmTr for Fickle {
    type Context = MemoryContext;
    type Instructions = MemoryInstructions;
    type Precompiles = EthPrecompiles;
    type Frame = EthFrame;

    fn all(&self) -> (&MemoryContext, &MemoryInstructions, &EthPrecompiles, &FrameStack<EthFrame>) {
        self.revm.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut MemoryContext, &mut MemoryInstructions, &mut EthPrecompiles, &mut FrameStack<EthFrame>)
    {
        self.revm.all_mut()
    }

    fn ctx(&mut self) -> &mut MemoryContext {
        self.called(Method::Ctx);
        self.revm.ctx()
    }

    fn ctx_mut(&mut self) -> &mut MemoryContext {
        self.called(Method::CtxMut);
        self.revm.ctx_mut()
    }

    fn ctx_precompiles(&mut self) -> (&mut MemoryContext, &mut EthPrecompiles) {
        self.called(Method::CtxPrecompiles);
        self.revm.ctx_precompiles()
    }

    fn frame_stack(&mut self) -> &mut FrameStack<EthFrame> {
        self.called(Method::FrameStack);
        self.revm.frame_stack()
    }

    fn frame_init(
        &mut self,
        init: FrameInit,
    ) -> Result<FrameInitResult<'_, EthFrame>, ContextDbError<MemoryContext>> {
        self.called(Method::FrameInit);
        self.revm.frame_init(init)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<EthFrame>, ContextDbError<MemoryContext>> {
        self.revm.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<MemoryContext>> {
        self.called(Method::FrameReturnResult);
        self.revm.frame_return_result(result)
    }
}

#[test]
fn an_evm_type_of_its_own_changes_the_rules_in_any_method() {
    use Method::*;
    for method in [Ctx, CtxMut, CtxPrecompiles, FrameStack, FrameInit, FrameReturnResult] {
        for change in CHANGES {
            let (mut plain, backend) = (Fickle::new(method, change), exact());
            let mut jit = JitEvm::new(Fickle::new(method, change), backend.clone());
            assert_eq!(transact(&mut jit, call()), transact(&mut plain, call()));
            assert_eq!(backend.stats().resident_entries, 2);
            let (calls, mut that_show) = (plain.calls, 0);
            assert!(calls > 0, "{method:?} is never called");
            for countdown in 1..=calls {
                for evm in [&mut plain, &mut *jit] {
                    (evm.countdown, evm.calls) = (countdown, 0);
                }
                let expected = transact(&mut plain, call());
                let found = transact(&mut jit, call());
                assert_eq!(found, expected, "{method:?}, call {countdown} of {calls}");
                assert_eq!((jit.calls, plain.calls), (calls, calls));
                that_show += usize::from(expected.result != usual().result);
            }
            let is_between_frames = matches!(method, FrameInit | FrameReturnResult);
            assert!(that_show > 0 || !is_between_frames, "{method:?}: no change shows");
        }
    }
}

#[test]
fn frames_of_evm_types_of_their_own_are_native() {
    let config = RuntimeConfig { blocking: true, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let probe = || evm(database(&[(TARGET, PROBE)]), SPEC);
    let mut jit = JitEvm::new(ChainEvm { revm: probe(), frames: 0, runs: 0 }, backend);
    for _ in 0..2 {
        assert!(is_native(&transact(&mut jit, call()).result));
    }
}
