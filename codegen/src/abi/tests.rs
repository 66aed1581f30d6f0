//! The entry to compiled code: machine code that breaks rules, in the place of a compiled chunk,
//! isn't believed, and frames that compiled code isn't made for aren't entered.

use super::{Fault, NativeProgram, NativeRun, offsets};
use crate::{CompiledCode, Compiler, CompilerOptions, code_memory::CodeRegion};
use revm_bytecode::{Bytecode, opcode};
use revm_interpreter::{
    CallInput, InputsImpl, InstructionResult, Interpreter, InterpreterAction, SharedMemory,
    host::DummyHost,
    instructions::{gas_table_spec, instruction_table},
    interpreter::{EthInterpreter, ExtBytecode},
    interpreter_types::LoopControl,
};
use revm_primitives::{U256, hardfork::SpecId};
use std::ops::Range;

const SPEC: SpecId = SpecId::CANCUN;
const GAS: u64 = 1000;

/// `mov eax, status; ret`
fn returns(status: u32) -> Vec<u8> {
    [&[0xb8][..], &status.to_le_bytes(), &[0xc3]].concat()
}

/// `mov rax, value; mov [r15 + offset], rax`: the context is in r15.
fn stores(value: u64, offset: i32) -> Vec<u8> {
    let offset = u8::try_from(offset).expect("a short offset");
    [&[0x48, 0xb8][..], &value.to_le_bytes(), &[0x49, 0x89, 0x47, offset]].concat()
}

/// A contract that stops at once.
const CODE: [u8; 1] = [opcode::STOP];

/// A frame of [`CODE`].
fn frame(memory: SharedMemory, input: InputsImpl) -> Interpreter<EthInterpreter> {
    let bytecode = ExtBytecode::new(Bytecode::new_legacy(CODE.to_vec().into()));
    Interpreter::new(memory, bytecode, input, false, SPEC, GAS)
}

/// Goes on with a frame of [`CODE`], which `change` is made to after it was compiled.
fn go_on(
    frame: &mut Interpreter<EthInterpreter>,
    change: impl FnOnce(&mut CompiledCode),
) -> NativeRun {
    let mut compiler = Compiler::new(CompilerOptions::default()).expect("a compiler for the host");
    let mut compiled = compiler.compile(&CODE, SPEC).expect("it compiles");
    change(&mut compiled);
    let region = CodeRegion::new(1 << 20).expect("address space");
    let native = NativeProgram::load(&compiled, &region).expect("it loads");
    let (instructions, gas_table) = (instruction_table(), gas_table_spec(SPEC));
    let mut host = DummyHost::new(SPEC);
    // SAFETY: the program is alive, and of this bytecode and fork.
    unsafe { native.func().go_on(frame, &mut host, &instructions, &gas_table) }
}

/// Runs a frame whose contract is compiled to `chunk`.
fn run(chunk: Vec<u8>) -> (NativeRun, Interpreter<EthInterpreter>) {
    let mut frame = frame(SharedMemory::new(), InputsImpl::default());
    // SAFETY: what stands for the chunk writes to the context's fields and returns, as compiled
    // code may.
    let run = go_on(&mut frame, |compiled| unsafe { compiled.forge_chunk(0, chunk) });
    (run, frame)
}

fn fault(chunk: Vec<u8>) -> Fault {
    let (run, mut frame) = run(chunk);
    let NativeRun::Faulted(fault) = run else { panic!("{run:?}") };
    let Some(InterpreterAction::Return(result)) = frame.bytecode.action() else { panic!("none") };
    assert_eq!(result.result, InstructionResult::FatalExternalError);
    fault
}

/// revm takes the action out of a frame before it sets another, and makes sure of that where it has
/// debug assertions.
#[test]
fn a_fault_takes_the_place_of_an_action() {
    let mut frame = frame(SharedMemory::new(), InputsImpl::default());
    frame.halt(InstructionResult::Return);
    // SAFETY: it only returns.
    let run = go_on(&mut frame, |compiled| unsafe { compiled.forge_chunk(0, returns(0)) });
    assert_eq!(run, NativeRun::Faulted(Fault::Status(0)));
    let InterpreterAction::Return(result) = frame.take_next_action() else { panic!("none") };
    assert_eq!(result.result, InstructionResult::FatalExternalError);
}

#[test]
fn a_status_without_a_meaning_is_a_fault() {
    for status in [0, 5, 0x7777] {
        assert_eq!(fault(returns(status)), Fault::Status(status.into()));
    }
}

#[test]
fn gas_from_nowhere_is_a_fault() {
    let stop = InstructionResult::Stop as u32;
    let leaves = |gas| [stores(gas, offsets::GAS), returns(stop)].concat();
    for after in [GAS + 1, i64::MAX as u64] {
        assert_eq!(fault(leaves(after)), Fault::Gas { before: GAS, after });
    }
    let (ended, frame) = run(leaves(GAS));
    assert_eq!((ended, frame.gas.remaining()), (NativeRun::Ended, GAS));
}

#[test]
fn gas_that_is_owed_has_run_out_however_the_code_is_left() {
    let owes = stores(u64::MAX, offsets::GAS);
    for status in [InstructionResult::Stop as u64, InstructionResult::InvalidJump as u64, 0x100] {
        let (ended, mut frame) = run([owes.clone(), returns(status as u32)].concat());
        assert_eq!(ended, NativeRun::Ended, "{status:#x}");
        let Some(InterpreterAction::Return(result)) = frame.bytecode.action() else {
            panic!("none")
        };
        assert_eq!(result.result, InstructionResult::OutOfGas);
        assert_eq!(result.gas.remaining(), 0);
    }
}

#[test]
fn a_stack_pointer_elsewhere_is_a_fault() {
    let hands_over = |top: u64| {
        [stores(top, offsets::STACK_TOP), returns(super::STATUS_HAND_OVER as u32)].concat()
    };
    assert!(matches!(fault(hands_over(8)), Fault::StackPointer(_)));
    assert!(matches!(fault(hands_over(u64::MAX / 2)), Fault::StackPointer(_)));
}

/// Compiled code keeps the stack within 1024 words, and looks neither at its capacity nor at whether
/// there were more.
#[test]
fn a_frame_is_entered_with_at_most_1024_words_and_room_for_as_many() {
    let run = |capacity: usize, len: usize| {
        let mut frame = frame(SharedMemory::new(), InputsImpl::default());
        let stack = frame.stack.data_mut();
        *stack = Vec::with_capacity(capacity);
        stack.resize(len, U256::from(7));
        assert_eq!(stack.capacity(), capacity);
        (go_on(&mut frame, |_| ()), frame.stack.len())
    };
    for (capacity, len) in [(1024, 0), (1024, 1024), (3000, 1024)] {
        assert_eq!(run(capacity, len), (NativeRun::Ended, len), "{len} of {capacity}");
    }
    for (capacity, len) in [(0, 0), (1023, 1023), (1025, 1025), (3000, 2000)] {
        assert_eq!(run(capacity, len), (NativeRun::NotEntered, len), "{len} of {capacity}");
    }
}

/// Compiled code reads calldata in place: in the caller's memory, if it is still there.
#[test]
fn a_frame_is_entered_with_its_calldata_in_its_callers_memory() {
    let run = |is_child: bool, range: Range<usize>| {
        let mut parent = SharedMemory::new();
        parent.resize(64);
        let memory = if is_child { parent.new_child_context() } else { SharedMemory::new() };
        let input = InputsImpl { input: CallInput::SharedBuffer(range), ..Default::default() };
        go_on(&mut frame(memory, input), |_| ())
    };
    // revm has an empty range lie anywhere.
    for range in [0..64, 1..33, 64..64, usize::MAX..usize::MAX] {
        assert_eq!(run(true, range), NativeRun::Ended);
    }
    assert_eq!(run(true, 0..65), NativeRun::NotEntered);
    assert_eq!(run(false, 0..1), NativeRun::NotEntered);
    assert_eq!(run(false, 0..0), NativeRun::Ended);
}
