//! What others see of a frame that ran natively: its logs, and its stack.

use crate::common::{
    CALLEE, SPEC, TARGET, call, calling, chain::MemoryEvm, context, database, evm, summing,
};
use cranevm::{
    context_interface::ContextTr,
    handler::{EthFrame, EvmTr, FrameResult, Handler, ItemOrResult},
    interpreter::{
        Interpreter, interpreter::EthInterpreter, interpreter_action::FrameInit,
        interpreter_types::Jumps,
    },
    primitives::{Bytes, Log, U256},
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig},
};
use revm::{
    ExecuteEvm, InspectEvm, Inspector, MainBuilder,
    bytecode::opcode::*,
    context::{
        ContextSetters, JournalTr,
        result::{EVMError, HaltReason, InvalidTransaction},
    },
};
use std::{convert::Infallible, marker::PhantomData};

fn blocking() -> JitBackend {
    JitBackend::new(RuntimeConfig { blocking: true, ..Default::default() }).unwrap()
}

/// Logs before, between and after two calls of [`CALLEE`], which logs as well.
fn logging() -> Vec<u8> {
    let log = |topic: u8| [PUSH1, topic, PUSH1, topic, PUSH0, MSTORE8, PUSH1, 1, PUSH0, LOG1];
    let mut code = Vec::new();
    for topic in [1, 2] {
        code.extend(log(topic));
        code.extend([PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, PUSH20]);
        code.extend(CALLEE);
        code.extend([PUSH2, 0xff, 0xff, CALL, POP]);
    }
    code.extend(log(3));
    code.push(STOP);
    code
}

/// What an inspector hears of logs and ends of frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heard {
    events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Log(Log),
    CallEnd,
}

impl<CTX> Inspector<CTX, EthInterpreter> for Heard {
    fn log(&mut self, _: &mut CTX, log: Log) {
        self.events.push(Event::Log(log));
    }

    fn call_end(
        &mut self,
        _: &mut CTX,
        _: &revm::interpreter::CallInputs,
        _: &mut revm::interpreter::CallOutcome,
    ) {
        self.events.push(Event::CallEnd);
    }
}

/// Logs come in the order in which they were emitted, in the result of native frames, and to an
/// inspector of an EVM whose backend has compiled them.
#[test]
fn w19_logs_come_once_and_in_order() {
    let (target, callee) = (logging(), [PUSH1, 9, PUSH0, PUSH0, LOG1, STOP]);
    let contracts = [(TARGET, &target[..]), (CALLEE, &callee[..])];
    let build =
        || context(database(&contracts), SPEC).build_mainnet_with_inspector(Heard::default());
    let mut plain = build();
    let expected = plain.inspect_tx(call()).unwrap();
    let topics = expected.result.logs().iter().map(|log| log.topics()[0]);
    let topics: Vec<_> = topics.map(|topic| U256::from_be_bytes(topic.0)).collect();
    assert_eq!(topics, [1, 9, 2, 9, 3].map(U256::from));
    assert_eq!(plain.inspector.events.len(), 5 + 3);

    let backend = blocking();
    let mut jit = JitEvm::new(build(), backend.clone());
    let native = jit.transact(call()).unwrap();
    assert_eq!((native.result, native.state), (expected.result.clone(), expected.state.clone()));
    assert_eq!(jit.inspector, Heard::default(), "natively, and without the inspector");
    assert_eq!(backend.stats().resident_entries, 2);
    let inspected = jit.inspect_tx(call()).unwrap();
    assert_eq!((inspected.result, inspected.state), (expected.result, expected.state));
    assert_eq!(jit.inspector, plain.inspector);
}

/// A frame between two of its runs, as whoever holds the EVM sees it.
#[derive(Debug, PartialEq, Eq)]
struct Suspended {
    pc: usize,
    gas: u64,
    stack: Vec<U256>,
    memory: Vec<u8>,
    return_data: Bytes,
}

impl Suspended {
    fn of(interpreter: &Interpreter<EthInterpreter>) -> Self {
        Self {
            pc: interpreter.bytecode.pc(),
            gas: interpreter.gas.remaining(),
            stack: interpreter.stack.data().clone(),
            memory: interpreter.memory.context_memory().to_vec(),
            return_data: interpreter.return_data.0.clone(),
        }
    }
}

/// Looks at the frame on top of the stack after each of its runs.
struct Watching<EVM> {
    seen: Vec<Suspended>,
    evm: PhantomData<EVM>,
}

type Error = EVMError<Infallible, InvalidTransaction>;

impl<EVM> Handler for Watching<EVM>
where
    EVM: EvmTr<Context = <MemoryEvm as EvmTr>::Context, Frame = EthFrame<EthInterpreter>>,
{
    type Evm = EVM;
    type Error = Error;
    type HaltReason = HaltReason;

    fn run_exec_loop(&mut self, evm: &mut EVM, first: FrameInit) -> Result<FrameResult, Error> {
        if let ItemOrResult::Result(result) = evm.frame_init(first)? {
            return Ok(result);
        }
        loop {
            let next = evm.frame_run()?;
            self.seen.push(Suspended::of(&evm.frame_stack().get().interpreter));
            let result = match next {
                ItemOrResult::Item(init) => match evm.frame_init(init)? {
                    ItemOrResult::Item(_) => continue,
                    ItemOrResult::Result(result) => result,
                },
                ItemOrResult::Result(result) => result,
            };
            if let Some(result) = evm.frame_return_result(result)? {
                return Ok(result);
            }
        }
    }
}

/// The frames of a transaction whenever they stop running, all but those that have ended: of these
/// nobody looks at the pc and the stack.
fn suspended<EVM>(mut evm: EVM) -> Vec<Suspended>
where
    EVM: EvmTr<Context = <MemoryEvm as EvmTr>::Context, Frame = EthFrame<EthInterpreter>>,
{
    evm.ctx().set_tx(call());
    let mut handler = Watching { seen: Vec::new(), evm: PhantomData };
    let result = handler.run(&mut evm).unwrap();
    assert!(result.is_success(), "{result:?}");
    evm.ctx().journal_mut().finalize();
    handler.seen.retain(|frame| frame.pc > 0);
    handler.seen
}

/// Between two runs a frame is as revm's interpreter leaves it: its pc, its gas, each word of its
/// stack and no more, its memory. Whoever looks at it there, or goes on with it, needn't know.
#[test]
fn w19_a_suspended_frame_is_as_revm_leaves_it() {
    // Words below the arguments of the call, some moved and some computed.
    let mut code = vec![PUSH1, 1, PUSH1, 2, PUSH1, 3, DUP2, ADD, SWAP2];
    code.extend(calling());
    let callee = summing();
    for callee in [&callee[..], &[PUSH0, PUSH0, REVERT], &[ADD]] {
        let contracts = [(TARGET, &code[..]), (CALLEE, callee)];
        let jit = JitEvm::new(evm(database(&contracts), SPEC), blocking());
        let seen = suspended(jit);
        let first = &seen[0];
        assert_eq!(first.stack[..3], [5, 2, 1].map(U256::from), "{first:?}");
        let plain = suspended(evm(database(&contracts), SPEC));
        assert_eq!(seen[0], plain[0]);
    }
}
