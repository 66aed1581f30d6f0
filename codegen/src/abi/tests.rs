//! Machine code that breaks rules, in the place of a compiled chunk: it isn't believed.

use super::{Fault, NativeProgram, NativeRun, offsets};
use crate::{Compiler, CompilerOptions, code_memory::CodeRegion};
use revm_bytecode::{Bytecode, opcode};
use revm_interpreter::{
    InputsImpl, InstructionResult, Interpreter, InterpreterAction, SharedMemory,
    host::DummyHost,
    instructions::{gas_table_spec, instruction_table},
    interpreter::{EthInterpreter, ExtBytecode},
    interpreter_types::LoopControl,
};
use revm_primitives::hardfork::SpecId;

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

/// Runs a frame whose contract is compiled to `chunk`.
fn run(chunk: Vec<u8>) -> (NativeRun, Interpreter<EthInterpreter>) {
    let code = [opcode::STOP];
    let mut compiler = Compiler::new(CompilerOptions::default()).expect("a compiler for the host");
    let mut compiled = compiler.compile(&code, SPEC).expect("it compiles");
    // SAFETY: what stands for the chunk writes to the context's fields and returns, as compiled
    // code may.
    unsafe { compiled.forge_chunk(0, chunk) };
    let region = CodeRegion::new(1 << 20).expect("address space");
    let native = NativeProgram::load(&compiled, &region).expect("it loads");
    let bytecode = ExtBytecode::new(Bytecode::new_legacy(code.to_vec().into()));
    let (memory, input) = (SharedMemory::new(), InputsImpl::default());
    let mut frame = Interpreter::new(memory, bytecode, input, false, SPEC, GAS);
    let (instructions, gas_table) = (instruction_table(), gas_table_spec(SPEC));
    let mut host = DummyHost::new(SPEC);
    // SAFETY: the program is alive, and of this bytecode and fork.
    let run = unsafe { native.func().go_on(&mut frame, &mut host, &instructions, &gas_table) };
    (run, frame)
}

fn fault(chunk: Vec<u8>) -> Fault {
    let (run, mut frame) = run(chunk);
    let NativeRun::Faulted(fault) = run else { panic!("{run:?}") };
    let Some(InterpreterAction::Return(result)) = frame.bytecode.action() else { panic!("none") };
    assert_eq!(result.result, InstructionResult::FatalExternalError);
    fault
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
