//! Under- and overflow of the stack at every instruction, and deep stacks across jumps.

use cranevm_tests::{
    assembly::Assembly,
    case::Case,
    check::Checker,
    parallel,
    programs::opcodes::{CALLS, NULLARY, PURE},
};
use revm::{
    bytecode::opcode::{self, *},
    context::result::{ExecutionResult, HaltReason},
    primitives::hardfork::SpecId,
};

/// Words that a stack holds.
const LIMIT: usize = 1024;

/// `words` distinct words on the stack.
fn filled(words: usize) -> Assembly {
    (0..words).fold(Assembly::new(), |asm, _| asm.op(PC))
}

/// Every opcode with the words it takes and leaves, as revm's opcode table says.
fn opcodes() -> Vec<(u8, usize)> {
    let known = (0..=255u8).filter_map(|byte| OpCode::new(byte).map(|op| (byte, op.info())));
    known.map(|(byte, info)| (byte, usize::from(info.inputs()))).collect()
}

#[test]
fn every_opcode_near_empty() {
    let opcodes = opcodes();
    parallel::for_each(opcodes.len(), Checker::new, |checker, job| {
        let (byte, inputs) = opcodes[job];
        for present in inputs.saturating_sub(2)..=inputs + 1 {
            // In a block of its own, and in the middle of one.
            let code = filled(present).op(byte).raw([JUMPDEST; 33]).op(PC).code();
            checker.check(&Case::new(SpecId::AMSTERDAM, code));
            let code = filled(present).op(JUMPDEST).op(byte).raw([JUMPDEST; 33]).code();
            checker.check(&Case::new(SpecId::AMSTERDAM, code));
        }
    });
}

#[test]
fn every_opcode_near_full() {
    let opcodes = opcodes();
    parallel::for_each(opcodes.len(), Checker::new, |checker, job| {
        let (byte, _) = opcodes[job];
        for present in LIMIT - 2..=LIMIT {
            let code = filled(present).op(byte).raw([JUMPDEST; 33]).op(STOP).code();
            checker.check(&Case::new(SpecId::AMSTERDAM, code));
        }
        checker.clear();
    });
}

#[test]
fn the_limit_is_exact() {
    let checker = Checker::new();
    for words in [LIMIT - 1, LIMIT] {
        let seen = checker.check(&Case::new(SpecId::OSAKA, filled(words).op(STOP).code()));
        assert!(seen.result().is_success());
    }
    let seen = checker.check(&Case::new(SpecId::OSAKA, filled(LIMIT + 1).code()));
    let overflow =
        matches!(seen.result(), ExecutionResult::Halt { reason: HaltReason::StackOverflow, .. });
    assert!(overflow, "{:?}", seen.result());
}

/// Blocks that reach the limit only in the middle, and come back.
#[test]
fn growth_inside_a_block() {
    let checker = Checker::new();
    for present in LIMIT - 6..=LIMIT {
        let asm = filled(present).op(JUMPDEST).op(PC).op(PC).op(PC).op(ADD).op(ADD).op(POP);
        checker.check(&Case::new(SpecId::OSAKA, asm.return_top().code()));
    }
}

/// Deep words are needed by a block that itself pushes nothing.
#[test]
fn underflow_across_blocks() {
    let checker = Checker::new();
    for present in 0..40 {
        for reach in [DUP16, SWAP16, DUP1, SWAP1, ADDMOD, POP] {
            let mut asm = filled(present);
            let next = asm.new_label();
            let asm = asm.push_label(next).op(JUMP).label(next).op(reach).op(PC).op(SWAP2);
            checker.check(&Case::new(SpecId::OSAKA, asm.return_top().code()));
        }
    }
}

/// A loop pushes a word a turn until the stack is `words` deep, then another pops them all.
#[test]
fn deep_stacks_with_jumps() {
    let checker = Checker::new();
    for words in [10, 1000, 1015, 1020, 1022, 1023, 1024, 1100] {
        let mut asm = Assembly::new();
        let (up, down) = (asm.new_label(), asm.new_label());
        let asm = asm.push(words).label(up).op(DUP1).push(1).op(SWAP1).op(SUB);
        let asm = asm.op(DUP1).push_label(up).op(JUMPI);
        // The sum of all, down to the last two.
        let asm = asm.label(down).op(ADD).op(DUP2).push_label(down).op(JUMPI);
        checker.check(&Case::new(SpecId::OSAKA, asm.return_top().code()).gas(3_000_000));
    }
}

/// Internal calls nested as deep as the stack lets them: the return addresses are on it.
#[test]
fn deep_internal_recursion() {
    let checker = Checker::new();
    for depth in [1, 100, 500, 509, 510, 511, 512, 600] {
        let mut asm = Assembly::new();
        let (function, back, end, leaf) =
            (asm.new_label(), asm.new_label(), asm.new_label(), asm.new_label());
        let asm = asm.push_label(end).push(depth).push_label(function).op(JUMP);
        // function(return, n): if n == 0 return 0; return function(n - 1) + 1
        let asm = asm.label(function).op(DUP1).op(ISZERO).push_label(leaf).op(JUMPI);
        let asm = asm.push_label(back).push(1).op(DUP3).op(SUB).push_label(function).op(JUMP);
        let asm = asm.label(back).op(ADD).op(SWAP1).op(JUMP);
        let asm = asm.label(leaf).op(SWAP1).op(JUMP).label(end);
        checker.check(&Case::new(SpecId::OSAKA, asm.return_top().code()).gas(3_000_000));
    }
}

#[test]
fn the_lists_agree_with_the_opcode_table() {
    for (byte, operands, _) in PURE {
        assert_eq!(
            opcode::OPCODE_INFO[byte as usize].map(|info| info.inputs() as usize),
            Some(operands)
        );
    }
    for (byte, _) in NULLARY {
        assert_eq!(opcode::OPCODE_INFO[byte as usize].map(|info| info.inputs()), Some(0));
    }
    for (byte, has_value, _) in CALLS {
        let inputs = opcode::OPCODE_INFO[byte as usize].map(|info| info.inputs());
        assert_eq!(inputs, Some(6 + u8::from(has_value)));
    }
}
