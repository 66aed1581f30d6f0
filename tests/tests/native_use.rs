//! Native engines really run native code: the interpreter's instructions are counted.
//!
//! The instruction table of the EVM is given counting versions of a few instructions that compiled
//! code never delegates. A suite that agrees with the interpreter because it interprets would
//! count the same on every engine.

use cranevm::revm_evm::JitEvm;
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

/// Runs the loop on an engine and returns how many instructions were interpreted.
fn interpreted(engine: &Engine, case: &Case) -> u64 {
    let reads = ReadLog::default();
    let mut evm = test_evm(case, reads.clone());
    count::<ADD>(&mut evm);
    count::<SUB>(&mut evm);
    count::<JUMPDEST>(&mut evm);
    count::<DUP1>(&mut evm);
    INTERPRETED.set(0);
    let seen = match engine.backend() {
        None => observe(evm, case, &reads, |_| ()),
        Some(backend) => observe(JitEvm::new(evm, backend.clone()), case, &reads, |_| ()),
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
