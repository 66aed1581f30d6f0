//! `debug_assertions`: a broken invariant of compiled code is caught at the next block.
//!
//! An instruction of a chain's own breaks one: it gives the frame more gas than its limit. (What else
//! it changes, compiled code reads anew behind it.) That results stay equal with the checks on is tested by all other tests, as
//! engines with checks are among [`NativeSettings::all`].

use cranevm::revm_evm::JitEvm;
use cranevm_tests::{
    assembly::Assembly,
    case::Case,
    database::ReadLog,
    engines::{Engine, NativeSettings, TestContext, recover, test_evm},
    observation::{Outcome, observe},
    parallel::on_deep_stack,
};
use revm::{
    bytecode::opcode::*,
    interpreter::{
        CallInput, InstructionContext, InstructionExecResult, instructions::Instruction,
        interpreter::EthInterpreter,
    },
    primitives::hardfork::SpecId,
};

type Vandal = fn(InstructionContext<'_, TestContext, EthInterpreter>) -> InstructionExecResult;

/// Grows memory, and neither charges for it nor tells.
fn grow_memory(
    context: InstructionContext<'_, TestContext, EthInterpreter>,
) -> InstructionExecResult {
    let memory = &mut context.interpreter.memory;
    memory.resize(memory.len() + 32);
    Ok(())
}

/// Finds more gas than the frame was given.
fn find_gas(context: InstructionContext<'_, TestContext, EthInterpreter>) -> InstructionExecResult {
    context.interpreter.gas.set_remaining(1 << 50);
    Ok(())
}

/// Gives the frame other calldata.
fn replace_calldata(
    context: InstructionContext<'_, TestContext, EthInterpreter>,
) -> InstructionExecResult {
    context.interpreter.input.input = CallInput::Bytes(vec![1; 100].into());
    Ok(())
}

/// Does nothing.
fn behave(_: InstructionContext<'_, TestContext, EthInterpreter>) -> InstructionExecResult {
    Ok(())
}

/// Executes BALANCE, which the test replaces, and another block.
fn case() -> Case {
    let mut asm = Assembly::new();
    let next = asm.new_label();
    let asm = asm.push(0).op(BALANCE).push_label(next).op(JUMPI).label(next).op(STOP);
    Case::new(SpecId::OSAKA, asm.code()).data([7; 40])
}

/// How the case ends on an engine with `vandal` in place of BALANCE.
fn run(settings: NativeSettings, vandal: Vandal) -> Outcome {
    let (case, engine, reads) = (case(), Engine::native(settings), ReadLog::default());
    let mut evm = test_evm(&case, reads.clone());
    evm.instruction.insert_instruction(BALANCE, Instruction::new(vandal), 100);
    let backend = engine.backend().expect("a native engine").clone();
    let seen = observe(JitEvm::new(evm, backend), &case, &reads, |evm| recover(evm.inner_mut()));
    engine.assert_compiled(&case);
    seen.outcomes[0].clone()
}

#[test]
fn broken_invariants_are_caught() {
    on_deep_stack(|| {
        for settings in [NativeSettings::BASELINE, NativeSettings::OPTIMISED] {
            let outcome = run(settings.asserting(), find_gas);
            let Outcome::Panic(message) = &outcome else { panic!("not caught: {outcome:?}") };
            let is_told = message.contains("an invariant of compiled code is broken at pc 0x");
            assert!(is_told && message.contains("gas are left of"), "{message}");
            // Without the checks nobody notices, and an instruction that behaves passes them.
            assert!(matches!(run(settings, find_gas), Outcome::Executed(_)));
            // What the entry behind a chain's instruction reads anew, or refuses, breaks nothing.
            for vandal in [behave, grow_memory, replace_calldata] {
                assert!(matches!(run(settings.asserting(), vandal), Outcome::Executed(_)));
            }
        }
    });
}
