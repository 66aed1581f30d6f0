//! Native engines really run native code: the interpreter's instructions are counted.
//!
//! The instruction table of the EVM is given counting versions of a few instructions that compiled
//! code never delegates. A suite that agrees with the interpreter because it interprets would
//! count the same on every engine. What compiled code can do without is, when replaced, called as
//! often as the interpreter calls it.

use alloy_primitives::U256;
use cranevm::revm_evm::JitEvm;
use cranevm_codegen::delegated_instructions;
use cranevm_tests::{
    assembly::Assembly,
    case::Case,
    database::ReadLog,
    engines::{Engine, NativeSettings, TestContext, TestEvm, test_evm},
    observation::observe,
    parallel::on_deep_stack,
};
use revm::{
    bytecode::opcode::*,
    interpreter::{
        InstructionContext, InstructionExecResult, instructions::Instruction,
        instructions::instruction_table, interpreter::EthInterpreter,
    },
    primitives::hardfork::SpecId,
};
use std::cell::Cell;

thread_local! {
    static INTERPRETED: Cell<u64> = const { Cell::new(0) };
}

/// Turns of the loop.
const TURNS: u64 = 500;

fn counted<const OPCODE: u8>(
    context: InstructionContext<'_, TestContext, EthInterpreter>,
) -> InstructionExecResult {
    INTERPRETED.set(INTERPRETED.get() + 1);
    instruction_table::<EthInterpreter, TestContext>()[OPCODE as usize].execute(context)
}

fn count<const OPCODE: u8>(evm: &mut TestEvm) {
    let gas = evm.instruction.gas_table()[OPCODE as usize];
    evm.instruction.insert_instruction(OPCODE, Instruction::new(counted::<OPCODE>), gas);
}

/// Gives the EVM counting versions of opcodes.
macro_rules! count_all {
    ($evm:ident: $($opcode:ident)+) => {{ $(count::<$opcode>($evm);)+ }};
}

/// Runs the loop on an engine and returns how many instructions were interpreted.
fn interpreted(engine: &Engine, case: &Case) -> u64 {
    counted_in(engine, case, true, |evm| count_all!(evm: ADD SUB JUMPDEST DUP1))
}

/// Runs a case on an engine with counting instructions, taken for revm's or not, and returns how
/// many of them ran.
fn counted_in(
    engine: &Engine,
    case: &Case,
    trusts: bool,
    replace: impl FnOnce(&mut TestEvm),
) -> u64 {
    let reads = ReadLog::default();
    let mut evm = test_evm(case, reads.clone());
    replace(&mut evm);
    INTERPRETED.set(0);
    let seen = match engine.backend() {
        None => observe(evm, case, &reads, |_| ()),
        Some(backend) => {
            let mut jit = JitEvm::new(evm, backend.clone());
            jit.trust_instructions(trusts);
            observe(jit, case, &reads, |_| ())
        }
    };
    assert!(seen.result().is_success(), "{}: {:?}", engine.name(), seen.result());
    INTERPRETED.get()
}

/// `i = TURNS; do { x += 7; i -= 1 } while (i)`, then returns x.
fn counting_loop() -> Case {
    let mut asm = Assembly::new();
    let top = asm.new_label();
    let asm = asm.push(0).push(TURNS).label(top).op(SWAP1).push(7).op(ADD).op(SWAP1);
    let asm = asm.push(1).op(SWAP1).op(SUB).op(DUP1).push_label(top).op(JUMPI);
    Case::new(SpecId::OSAKA, asm.op(POP).return_top().code())
}

#[test]
fn the_interpreter_is_counted() {
    on_deep_stack(|| {
        assert_eq!(interpreted(&Engine::interpreter(), &counting_loop()), 4 * TURNS);
    });
}

#[test]
fn native_code_leaves_nothing_to_the_interpreter() {
    on_deep_stack(|| {
        let unforced = NativeSettings::all().into_iter().filter(|s| s.force_hand_over.is_none());
        for settings in unforced {
            let engine = Engine::native(settings);
            assert_eq!(interpreted(&engine, &counting_loop()), 0, "{}", engine.name());
            engine.assert_compiled(&counting_loop());
            let stats = engine.backend().map(|backend| backend.stats()).unwrap_or_default();
            assert!(stats.compilations_succeeded > 0 && stats.resident_entries > 0, "{stats:?}");
        }
    });
}

#[test]
fn a_forced_hand_over_interprets() {
    on_deep_stack(|| {
        for at_level in [|settings| settings, NativeSettings::optimised] {
            let counted = |blocks| {
                let engine = Engine::native(at_level(NativeSettings::hand_over(blocks)));
                interpreted(&engine, &counting_loop())
            };
            // No block runs natively.
            assert_eq!(counted(0), 4 * TURNS);
            let some = counted(2);
            assert!(some > 0 && some <= 4 * TURNS, "{some}");
        }
    });
}

/// Opcodes with a builtin in place of revm's own instruction.
const REPLACEABLE: [u8; 14] = [
    KECCAK256,
    SLOAD,
    SSTORE,
    TLOAD,
    TSTORE,
    LOG0,
    LOG1,
    LOG2,
    LOG3,
    LOG4,
    CALLDATACOPY,
    CODECOPY,
    RETURNDATACOPY,
    MCOPY,
];

/// Executes an opcode twice, on zeros.
fn twice(opcode: u8) -> Case {
    let zeros = |asm: Assembly| (0..6).fold(asm, |asm, _| asm.push(0));
    let code = (0..2).fold(Assembly::new(), |asm, _| zeros(asm).op(opcode));
    Case::new(SpecId::OSAKA, code.op(STOP).code())
}

/// Runs a case on an engine and returns how many instructions compiled code delegated.
fn delegated(engine: &Engine, case: &Case) -> u64 {
    let before = delegated_instructions();
    assert!(engine.run(case).result().is_success());
    engine.assert_compiled(case);
    delegated_instructions() - before
}

/// An opcode's builtin runs, and not revm's instruction: that the results are the same doesn't
/// tell.
#[test]
fn builtins_delegate_nothing_that_is_revms() {
    on_deep_stack(|| {
        let unforced = NativeSettings::all().into_iter().filter(|s| s.force_hand_over.is_none());
        for settings in unforced {
            let engine = Engine::native(settings);
            for opcode in REPLACEABLE {
                let count = delegated(&engine, &twice(opcode));
                assert_eq!(count, 0, "{opcode:#x} on {}", engine.name());
            }
            // Those without a builtin are counted.
            for opcode in [BALANCE, EXTCODESIZE, ORIGIN, SELFBALANCE] {
                assert_eq!(delegated(&engine, &twice(opcode)), 2, "{opcode:#x}");
            }
        }
    });
}

#[test]
fn replaced_instructions_are_called() {
    on_deep_stack(|| {
        for opcode in &REPLACEABLE {
            let case = twice(*opcode);
            let run = |engine: &Engine| {
                counted_in(engine, &case, false, |evm| {
                    count_all!(evm: KECCAK256 SLOAD SSTORE TLOAD TSTORE LOG0 LOG1 LOG2 LOG3 LOG4);
                    count_all!(evm: CALLDATACOPY CODECOPY RETURNDATACOPY MCOPY);
                })
            };
            assert_eq!(run(&Engine::interpreter()), 2, "{opcode:#x}");
            for settings in NativeSettings::all() {
                let engine = Engine::native(settings);
                assert_eq!(run(&engine), 2, "{opcode:#x} on {}", engine.name());
            }
        }
    });
}

/// What a chain's own instruction returns.
fn answer(context: InstructionContext<'_, TestContext, EthInterpreter>) -> InstructionExecResult {
    let word = context.interpreter.stack.data_mut().last_mut();
    *word.expect("the program pushes a word") = U256::from(42);
    Ok(())
}

#[test]
fn results_of_replaced_instructions_are_used() {
    on_deep_stack(|| {
        let code = Assembly::new().push(7).op(SLOAD).return_top().code();
        let case = Case::new(SpecId::OSAKA, code);
        for settings in NativeSettings::all() {
            let engine = Engine::native(settings);
            let reads = ReadLog::default();
            let mut evm = test_evm(&case, reads.clone());
            evm.instruction.insert_instruction(SLOAD, Instruction::new(answer), 100);
            let backend = engine.backend().expect("a native engine").clone();
            let seen = observe(JitEvm::new(evm, backend), &case, &reads, |_| ());
            let output = seen.result().output().expect("the program returns");
            assert_eq!(U256::from_be_slice(output), U256::from(42), "{}", engine.name());
            engine.assert_compiled(&case);
        }
    });
}
