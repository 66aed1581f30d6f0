//! Jumps good and bad, constant and computed.

use alloy_primitives::{U256, hex};
use cranevm_tests::{assembly::Assembly, case::Case, check::Checker};
use revm::{
    bytecode::opcode::*,
    context::result::{ExecutionResult, HaltReason},
    primitives::hardfork::SpecId,
};
use std::sync::LazyLock;

static CHECKER: LazyLock<Checker> = LazyLock::new(Checker::new);

/// Runs code and says whether the jump in it was refused.
#[track_caller]
fn is_refused(code: Vec<u8>, data: &[u8]) -> bool {
    let seen = CHECKER.check(&Case::new(SpecId::OSAKA, code).data(data.to_vec()));
    matches!(seen.result(), ExecutionResult::Halt { reason: HaltReason::InvalidJump, .. })
}

/// `PUSH target JUMP` followed by 12 bytes: targets 0x20 and up are in the tail.
fn constant_jump(target: U256, tail: &[u8]) -> Vec<u8> {
    let pad = Assembly::new().push(target).op(JUMP).code();
    let mut code = pad;
    code.resize(0x40, STOP);
    code.extend_from_slice(tail);
    code
}

/// The same target from calldata.
fn computed_jump(tail: &[u8]) -> Vec<u8> {
    let mut code = Assembly::new().push(0).op(CALLDATALOAD).op(JUMP).code();
    code.resize(0x40, STOP);
    code.extend_from_slice(tail);
    code
}

#[track_caller]
fn both_ways(target: U256, tail: &[u8], refused: bool) {
    assert_eq!(is_refused(constant_jump(target, tail), &[]), refused, "constant {target:#x}");
    let data = target.to_be_bytes::<32>();
    assert_eq!(is_refused(computed_jump(tail), &data), refused, "computed {target:#x}");
}

#[test]
fn to_a_jumpdest() {
    both_ways(U256::from(0x40), &hex!("5b 60 01 60 02 55"), false);
}

#[test]
fn to_the_last_byte() {
    both_ways(U256::from(0x43), &hex!("00 00 00 5b"), false);
}

#[test]
fn into_push_data() {
    for width in 1..=32u8 {
        let mut tail = vec![PUSH0 + width];
        tail.extend(vec![JUMPDEST; usize::from(width) + 1]);
        for offset in 1..=u64::from(width) {
            both_ways(U256::from(0x40 + offset), &tail, true);
        }
        both_ways(U256::from(0x41 + u64::from(width)), &tail, false);
    }
}

#[test]
fn into_the_immediate_of_dupn() {
    // EIP-8024: a 0x5b after DUPN isn't an immediate, so the jump is good.
    for opcode in [DUPN, SWAPN, EXCHANGE] {
        let tail = [STOP, opcode, JUMPDEST, JUMPDEST];
        for offset in 0..4 {
            for spec in [SpecId::OSAKA, SpecId::AMSTERDAM] {
                let case = Case::new(spec, constant_jump(U256::from(0x40 + offset), &tail));
                CHECKER.check(&case);
            }
        }
    }
}

#[test]
fn into_truncated_push_data() {
    both_ways(U256::from(0x41), &[PUSH32, JUMPDEST, JUMPDEST], true);
    both_ways(U256::from(0x42), &[PUSH32, JUMPDEST, JUMPDEST], true);
}

#[test]
fn beyond_the_code() {
    for target in [0x42, 0x43, 0xffff, 0x1_0000, u64::from(u32::MAX), u64::MAX] {
        both_ways(U256::from(target), &[JUMPDEST, STOP], true);
    }
}

/// Only the low bits of these are a good target.
#[test]
fn to_huge_values() {
    for bit in [16, 31, 32, 33, 63, 64, 127, 128, 192, 255] {
        both_ways((U256::ONE << bit) + U256::from(0x40), &[JUMPDEST, STOP], true);
    }
    both_ways(U256::MAX, &[JUMPDEST, STOP], true);
}

#[test]
fn to_itself_runs_out_of_gas() {
    let mut asm = Assembly::new();
    let top = asm.new_label();
    let code = asm.label(top).push_label(top).op(JUMP).code();
    let seen = CHECKER.check(&Case::new(SpecId::OSAKA, code));
    assert!(seen.result().is_halt());
}

#[test]
fn untaken_branch_with_a_bad_target() {
    for target in [U256::from(1), U256::from(0xffff), U256::MAX] {
        for condition in [0u64, 1] {
            let asm = Assembly::new().push(condition).push(target).op(JUMPI).push(9);
            let refused = is_refused(asm.return_top().code(), &[]);
            assert_eq!(refused, condition != 0, "{target:#x}");
            let asm = Assembly::new().push(32).op(CALLDATALOAD).push(0).op(CALLDATALOAD);
            let data = [target.to_be_bytes::<32>(), U256::from(condition).to_be_bytes()].concat();
            assert_eq!(is_refused(asm.op(JUMPI).code(), &data), condition != 0, "{target:#x}");
        }
    }
}

/// Every limb of the condition counts.
#[test]
fn conditions_with_one_bit() {
    let mut asm = Assembly::new();
    let taken = asm.new_label();
    let asm = asm.push(0).op(CALLDATALOAD).push_label(taken).op(JUMPI).push(1).return_top();
    let code = asm.label(taken).push(2).return_top().code();
    for bit in (0..256usize).step_by(13).chain([63, 64, 127, 128, 191, 192, 255]) {
        let data = (U256::ONE << bit).to_be_bytes::<32>();
        let seen = CHECKER.check(&Case::new(SpecId::OSAKA, code.clone()).data(data));
        assert_eq!(seen.result().output().map(|output| output[31]), Some(2), "bit {bit}");
    }
}

#[test]
fn a_bad_target_leaves_no_gas_and_no_state() {
    let asm = Assembly::new().push(1).push(1).op(SSTORE).push(3).op(JUMP);
    let seen = CHECKER.check(&Case::new(SpecId::OSAKA, asm.code()));
    assert_eq!(seen.result().gas().total_gas_spent(), 1_000_000);
}

/// A jump table over all bytes of calldata: targets hit in any order.
#[test]
fn tables() {
    let mut asm = Assembly::new();
    let targets: Vec<_> = (0..16).map(|_| asm.new_label()).collect();
    let end = asm.new_label();
    for (index, target) in targets.iter().enumerate() {
        asm = asm.push_label(*target).push(32 * index).op(MSTORE);
    }
    asm = asm.push(0).op(CALLDATALOAD).push(5).op(SHL).op(MLOAD).op(JUMP);
    for (index, target) in targets.into_iter().enumerate() {
        asm = asm.label(target).push(100 + index).push_label(end).op(JUMP);
    }
    let code = asm.label(end).return_top().code();
    for index in 0..17u64 {
        let data = U256::from(index).to_be_bytes::<32>();
        CHECKER.check(&Case::new(SpecId::OSAKA, code.clone()).data(data));
    }
}

/// Identical functions are one: each is called by its own pc, constant and computed, with its
/// neighbour falling into one of them.
#[test]
fn identical_functions() {
    let mut asm = Assembly::new();
    let functions: Vec<_> = (0..4).map(|_| asm.new_label()).collect();
    let returns: Vec<_> = (0..2 * functions.len()).map(|_| asm.new_label()).collect();
    let above = asm.new_label();
    let goals = functions.iter().chain(&functions[1..]).chain([&above]);
    asm = asm.push(0);
    for (index, (&goal, &back)) in goals.zip(&returns).enumerate() {
        asm = asm.push_label(back).op(SWAP1).push_label(goal);
        if index >= functions.len() {
            // Computed: the calldata is empty.
            asm = asm.op(CALLDATASIZE).op(ADD);
        }
        asm = asm.op(JUMP).label(back);
    }
    asm = asm.push(0).op(SSTORE).op(GAS).push(1).op(SSTORE).op(STOP);
    for (index, &function) in functions.iter().enumerate() {
        if index == 2 {
            asm = asm.label(above).push(100).op(ADD);
        }
        asm = asm.label(function).push(7).op(ADD).op(SWAP1).op(JUMP);
    }
    let code = asm.code();
    let seen = CHECKER.check(&Case::new(SpecId::OSAKA, code.clone()));
    assert!(seen.result().is_success(), "{seen:?}");
    for gas in 21_000..21_300 {
        CHECKER.check(&Case::new(SpecId::OSAKA, code.clone()).gas(gas));
    }
}
