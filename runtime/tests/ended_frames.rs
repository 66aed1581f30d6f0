//! What a frame that has ended leaves in its interpreter: a handler with a loop of its own may
//! look.

mod common;

use common::{CALLEE, SPEC, TARGET, TestContext, call, calling, database, evm, summing};
use cranevm::{
    OptimizationLevel,
    handler::{EthFrame, EvmTr, FrameResult, FrameTr, Handler, ItemOrResult},
    interpreter::interpreter_types::Jumps,
    primitives::U256,
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use revm::{
    bytecode::opcode::*,
    context::{
        ContextSetters,
        result::{EVMError, HaltReason, InvalidTransaction},
    },
    database::{CacheDB, EmptyDB},
};
use std::{convert::Infallible, marker::PhantomData};

type Context = TestContext<CacheDB<EmptyDB>>;

/// Where a frame was when it had ended, and its stack.
type Left = (usize, Vec<U256>);

/// The mainnet's rules, and a look at each frame that has ended.
struct Looking<EVM> {
    seen: Vec<Left>,
    evm: PhantomData<EVM>,
}

impl<EVM: EvmTr<Context = Context, Frame = EthFrame>> Handler for Looking<EVM> {
    type Evm = EVM;
    type Error = EVMError<Infallible, InvalidTransaction>;
    type HaltReason = HaltReason;

    fn run_exec_loop(
        &mut self,
        evm: &mut EVM,
        first: <EthFrame as FrameTr>::FrameInit,
    ) -> Result<FrameResult, Self::Error> {
        let mut next = ItemOrResult::Item(first);
        loop {
            let result = match next {
                ItemOrResult::Item(init) => match evm.frame_init(init)? {
                    ItemOrResult::Item(_) => None,
                    ItemOrResult::Result(result) => Some(result),
                },
                ItemOrResult::Result(result) => {
                    let interpreter = &evm.frame_stack().get().interpreter;
                    let stack = interpreter.stack.data().clone();
                    self.seen.push((interpreter.bytecode.pc(), stack));
                    Some(result)
                }
            };
            if let Some(result) = result
                && let Some(result) = evm.frame_return_result(result)?
            {
                return Ok(result);
            }
            next = evm.frame_run()?;
        }
    }
}

fn look<EVM: EvmTr<Context = Context, Frame = EthFrame>>(mut evm: EVM) -> Vec<Left> {
    evm.ctx().set_tx(call());
    let mut handler = Looking { seen: Vec::new(), evm: PhantomData };
    handler.run(&mut evm).unwrap();
    handler.seen
}

/// Words of all kinds on the stack: constants, a result, one from below a jump, copies, unused
/// ones.
fn ending_in(last: &[u8]) -> Vec<u8> {
    let mut code = vec![PUSH1, 7, CALLER, ADDRESS, PUSH1, 10, JUMP, INVALID, INVALID, INVALID];
    code.extend([JUMPDEST, DUP2, ADD, SWAP1, PUSH1, 3, PUSH0, MSTORE, GAS, CALLVALUE]);
    code.extend(last);
    code
}

#[test]
fn a_frame_that_ends_is_left_as_revm_leaves_it() {
    let ends: [&[u8]; 8] = [
        &[STOP],
        // The end of the code, also in the middle of a PUSH.
        &[],
        &[PUSH4, 1],
        &[PUSH1, 32, PUSH0, RETURN],
        &[PUSH1, 2, PUSH1, 1, REVERT],
        &[ADDRESS, SELFDESTRUCT],
        // A loop that carries words in registers.
        &[PUSH1, 5, JUMPDEST, PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 22, JUMPI, STOP],
        &[PUSH1, 5, JUMPDEST, PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 22, JUMPI, PUSH0, PUSH0, RETURN],
    ];
    let codes = ends.into_iter().map(ending_in).chain([summing(), calling()]);
    for jit_opt_level in [OptimizationLevel::None, OptimizationLevel::Default] {
        let tuning = RuntimeTuning { jit_opt_level, ..Default::default() };
        let config = RuntimeConfig { blocking: true, tuning, ..Default::default() };
        let backend = JitBackend::new(config).unwrap();
        for code in codes.clone() {
            let world = || evm(database(&[(TARGET, &code), (CALLEE, &ending_in(&[STOP]))]), SPEC);
            let expected = look(world());
            assert!(!expected.is_empty());
            assert_eq!(look(JitEvm::new(world(), backend.clone())), expected, "{code:02x?}");
        }
        assert!(backend.stats().resident_entries >= 10);
    }
}
