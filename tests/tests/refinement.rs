//! How wide words are said to be. What branches tell of them: on both ways out of each comparison,
//! and where the ways meet again, words on both sides of the bound are computed with as the
//! interpreter does. What shifts tell of them: the same with the widest results.

use alloy_primitives::U256;
use cranevm_tests::{assembly::Assembly, case::Case, check::Checker, parallel};
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};

/// Conditions on the word on top of the stack, which they leave there; `bound` is the other side.
fn conditions(bound: U256) -> Vec<(&'static str, Assembly)> {
    let word = || Assembly::new().op(DUP1);
    let mask = |asm: Assembly| asm.push(bound).op(AND);
    let exceeds = || word().push(bound).op(SWAP1).op(GT);
    // A second fact, of the word in memory's first word.
    let other = |asm: Assembly| asm.push(0).op(MLOAD).push(bound).op(LT);
    vec![
        ("word > bound", exceeds()),
        ("bound > word", word().push(bound).op(GT)),
        ("word < bound", word().push(bound).op(SWAP1).op(LT)),
        ("bound < word", word().push(bound).op(LT)),
        ("!(word > bound)", exceeds().op(ISZERO)),
        ("!!(word > bound)", exceeds().op(ISZERO).op(ISZERO)),
        ("word == word & bound", mask(word()).op(DUP2).op(EQ)),
        ("word ^ (word & bound)", mask(word()).op(DUP2).op(XOR)),
        ("word - (word & bound)", mask(word()).op(DUP2).op(SUB)),
        ("word >> 64", word().push(64).op(SHR)),
        ("word >> 160", word().push(160).op(SHR)),
        ("word > bound || other > bound", other(exceeds()).op(OR)),
        ("word > bound && other > bound", other(exceeds()).op(AND)),
        ("signed word > bound", word().push(bound).op(SWAP1).op(SGT)),
        ("word", word()),
    ]
}

/// Operations that depend on how wide a word is.
const OPERATIONS: [u8; 11] = [ADD, MUL, SUB, AND, OR, LT, GT, EQ, DIV, SHL, SLT];

/// What each way does with the word on top of the stack. Short, so that both ways are in the chunk
/// of the branch.
fn uses(operation: u8, other: U256) -> Assembly {
    let asm = Assembly::new().op(DUP1).push(other).op(operation).push(32).op(MSTORE);
    let mut asm = asm.push(other).op(DUP2).op(operation).push(64).op(MSTORE);
    // Past a branch more, where ways meet, and as an offset.
    let skip = asm.new_label();
    let asm = asm.op(DUP1).push(1).op(AND).push_label(skip).op(JUMPI).push(1).op(ADD).label(skip);
    let asm = asm.op(DUP1).push(7).op(ADD).push(96).op(MSTORE).op(DUP1).op(CALLDATALOAD);
    asm.push(128).op(MSTORE).op(DUP1).op(NOT).push(160).op(MSTORE)
}

fn program(condition: &Assembly, uses: &Assembly) -> Vec<u8> {
    let mut asm = Assembly::new();
    let taken = asm.new_label();
    let asm = asm.push(32).op(CALLDATALOAD).push(0).op(MSTORE).push(0).op(CALLDATALOAD);
    let asm = asm.then(condition).push_label(taken).op(JUMPI);
    let asm = asm.then(uses).push(192).push(0).op(RETURN);
    asm.label(taken).then(uses).push(1).op(ADD).push(192).push(0).op(RETURN).code()
}

#[test]
fn words_are_as_wide_as_branches_say() {
    let one = U256::ONE;
    let bounds = [0, 1, 8, 63, 64, 65, 128, 160, 192, 255].map(|bits| (one << bits) - one);
    let bounds: Vec<U256> = bounds.into_iter().chain([one << 64, U256::MAX]).collect();
    parallel::for_each(bounds.len(), Checker::new, |checker, job| {
        let bound = bounds[job];
        let words = [bound, bound.wrapping_add(one), bound.wrapping_sub(one), !bound, U256::ZERO];
        for (index, (name, condition)) in conditions(bound).into_iter().enumerate() {
            let operation = OPERATIONS[(index + job) % OPERATIONS.len()];
            let other = [U256::from(3), U256::from(u64::MAX), U256::MAX][(index + job) % 3];
            let code = program(&condition, &uses(operation, other));
            for word in words.into_iter().chain([one << 255, U256::from(20)]) {
                let others = [bound, U256::ZERO, U256::MAX];
                let others = if name.contains("other") { &others[..] } else { &others[..1] };
                for other in others {
                    let data = [word.to_be_bytes::<32>(), other.to_be_bytes()].concat();
                    let case = Case::new(SpecId::OSAKA, code.clone()).data(data);
                    if let Some(mismatch) = checker.find_mismatch(&case) {
                        panic!(
                            "{name}, {word:#x}: {}",
                            cranevm_tests::check::report(&case, &mismatch)
                        );
                    }
                }
            }
        }
        checker.clear();
    });
}

/// Runs a code with words as its first word of input.
fn check(checker: &Checker, code: &[u8], words: &[U256], what: impl Fn() -> String) {
    for word in words {
        let case = Case::new(SpecId::OSAKA, code.to_vec()).data(word.to_be_bytes::<32>());
        if let Some(mismatch) = checker.find_mismatch(&case) {
            let report = cranevm_tests::check::report(&case, &mismatch);
            panic!("{}, {word:#x}: {report}", what());
        }
    }
}

/// One way to where they meet is short, and learns that the word is a bit narrower; but as many
/// limbs.
#[test]
fn where_ways_meet_words_are_as_wide_as_on_the_wider_one() {
    let widths = [64, 128, 192, 256];
    parallel::for_each(widths.len(), Checker::new, |checker, job| {
        let width = widths[job];
        let bound = (U256::ONE << (width - 1)) - U256::ONE;
        let top = U256::ONE << 255;
        let words = [U256::MAX, top, top - U256::ONE, U256::ZERO];
        for (index, (name, condition)) in conditions(bound).into_iter().enumerate() {
            let operation = OPERATIONS[(index + job) % OPERATIONS.len()];
            let mut asm = Assembly::new();
            let meet = asm.new_label();
            let asm = asm.push(0).op(CALLDATALOAD).push(256 - width).op(SHR);
            let asm = asm.then(&condition).push_label(meet).op(JUMPI);
            let asm = asm.push(1).push(0).op(MSTORE).label(meet);
            let asm = asm.then(&uses(operation, U256::MAX)).push(192).push(0).op(RETURN);
            check(checker, &asm.code(), &words, || format!("{name}, {width} bits"));
        }
        checker.clear();
    });
}

#[test]
fn words_are_as_wide_as_shifts_leave_them() {
    let widths = [64, 128, 160, 256];
    parallel::for_each(widths.len(), Checker::new, |checker, job| {
        let width: usize = widths[job];
        // Results that fill their limbs, or a bit more or less.
        let is_edge = |amount: &usize| matches!((width - amount) % 64, 0..=2 | 63);
        for amount in (0..=width).filter(is_edge) {
            let operation = OPERATIONS[(amount + job) % OPERATIONS.len()];
            let asm = Assembly::new().push(0).op(CALLDATALOAD).push(256 - width).op(SHR);
            let asm = asm.push(amount).op(SHR).then(&uses(operation, U256::from(3)));
            let code = asm.push(192).push(0).op(RETURN).code();
            let top = U256::ONE << 255;
            check(checker, &code, &[U256::MAX, top, top - U256::ONE], || {
                format!("{width} bits shifted by {amount}")
            });
        }
        checker.clear();
    });
}
