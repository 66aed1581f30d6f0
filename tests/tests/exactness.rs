//! Programs on which native code once was anything but exact (unlimited gas, memory out of bounds,
//! other loads), each at every gas limit of a range: their kinds hide at few of them.

use alloy_primitives::U256;
use cranevm_tests::{
    assembly::Assembly,
    case::{Case, TARGET},
    check::Checker,
    engines::{Engine, NativeSettings},
    parallel,
};
use revm::{
    bytecode::opcode::*,
    context::result::{ExecutionResult, HaltReason, OutOfGasError},
    primitives::hardfork::SpecId,
};
use std::{iter, ops::RangeInclusive};

/// Every limit from what a transaction costs beforehand on. All programs end below, or never.
const LIMITS: RangeInclusive<u64> = 21_000..=30_000;

/// Limits of one job.
const STEP: usize = 500;

fn checker() -> Checker {
    Checker::of([
        NativeSettings::BASELINE,
        NativeSettings::OPTIMISED,
        NativeSettings::OPTIMISED.likely(),
        NativeSettings::OPTIMISED.as_artifacts(),
        NativeSettings::ONE_BLOCK.optimised(),
        NativeSettings::hand_over(0),
        NativeSettings::hand_over(1).optimised(),
    ])
}

/// Runs a program at all [`LIMITS`], and at others.
fn check_everywhere(code: &[u8], others: &[u64]) {
    let limits: Vec<u64> = LIMITS.chain(others.iter().copied()).collect();
    let chunks: Vec<_> = limits.chunks(STEP).collect();
    parallel::for_each(chunks.len(), checker, |checker, job| {
        for &gas in chunks[job] {
            checker.check(&Case::new(SpecId::OSAKA, code.to_vec()).gas(gas));
        }
    });
}

/// A cold slot, and a byte of what is there: after the first the gas may not suffice for what comes
/// in the block, and the second, by a constant, looks at no gas.
fn owing(padding: usize) -> Assembly {
    let asm = Assembly::new().push(7).op(SLOAD).push(5).op(BYTE);
    (0..padding).fold(asm, |asm, _| asm.ops(&[PUSH0, POP]))
}

#[test]
fn a_debt_at_a_branch() {
    for padding in [0, 100] {
        let mut asm = owing(padding);
        let end = asm.new_label();
        let code = asm.push_label(end).op(JUMPI).op(STOP).label(end).op(STOP).code();
        check_everywhere(&code, &[]);
    }
}

#[test]
fn a_debt_before_an_endless_loop() {
    let mut asm = owing(100);
    let top = asm.new_label();
    let code = asm.push_label(top).op(JUMPI).label(top).push_label(top).op(JUMP).code();
    check_everywhere(&code, &[]);
}

#[test]
fn a_debt_before_a_computed_jump_to_a_store() {
    let mut asm = owing(130);
    let (store, end) = (asm.new_label(), asm.new_label());
    let asm = asm.push_label(store).op(ADD).op(JUMP).label(store).op(PUSH0).push_label(end);
    let asm = asm.op(JUMPI).push(1).push(1).op(SSTORE).op(STOP).label(end).op(STOP);
    check_everywhere(&asm.code(), &[43_000, 45_400, 46_000]);
}

/// The contract's first block, which reads and writes memory where the word at its end is jumped
/// to, and is run a second time, from a path that `path` starts.
fn first_block_twice(between: &[u8], path: impl FnOnce(Assembly) -> Assembly) -> Vec<u8> {
    let mut asm = Assembly::new();
    let (start, again) = (asm.new_label(), asm.new_label());
    let asm = asm.label(start).push_label(again).op(PUSH0).op(DUP2).push(1).op(PUSH0).op(MLOAD);
    let asm = asm.op(MSTORE).ops(between).op(JUMP);
    let filled = asm.code().len();
    path(asm.raw(vec![STOP; 0x100 - filled]).label(again)).code()
}

/// Instructions that take gas, so that the head of a path can't be paid where its end can.
fn dear() -> Vec<u8> {
    iter::once(PUSH0).chain([TLOAD; 30]).chain([POP]).collect()
}

#[test]
fn a_store_far_beyond_memory() {
    for between in [vec![], dear()] {
        let code = first_block_twice(&between, |asm| {
            let asm = asm.push(7).push(0x3f00_0000).op(MSTORE);
            asm.push(0x4000_0000).op(PUSH0).op(MSTORE).op(JUMP)
        });
        check_everywhere(&code, &[]);
    }
}

#[test]
fn a_load_beyond_memory_that_becomes_a_slot() {
    let code = first_block_twice(&dear(), |asm| {
        let asm = asm.push(0x1000).op(MLOAD).op(SLOAD).op(POP);
        asm.push(0x1_0000).op(PUSH0).op(MSTORE).op(JUMP)
    });
    check_everywhere(&code, &[]);
}

#[test]
fn growth_of_memory_that_a_slot_comes_after() {
    let code = first_block_twice(&dear(), |asm| {
        let asm = asm.push(7).push(0x8000).op(MSTORE).op(PUSH0).op(SLOAD).op(POP);
        asm.push(0x2_0000).op(PUSH0).op(MSTORE).op(JUMP)
    });
    check_everywhere(&code, &[]);
}

/// Code that may jump to both of two blocks, and goes to the second: `target` is what makes a
/// computed word of zero.
fn to_the_second([first, second]: [&[u8]; 2], zero: &[u8], prefix: &[u8]) -> Vec<u8> {
    let mut asm = Assembly::new().raw(prefix);
    let (one, two) = (asm.new_label(), asm.new_label());
    let asm = asm.push_label(one).op(ISZERO).op(POP).push_label(two).ops(zero).op(JUMP);
    let asm = asm.raw(vec![STOP; 244]).label(one).raw(first).label(two);
    asm.raw(second).code()
}

#[test]
fn blocks_that_find_the_stack_too_low_at_different_places() {
    let slot_first: &[u8] = &[POP, CALLER, PUSH0, SLOAD, POP, POP, STOP];
    let slot_last: &[u8] = &[CALLER, POP, PUSH0, SLOAD, POP, POP, STOP];
    let blocks = [[slot_first, slot_last], [slot_last, slot_first]];
    for blocks in blocks {
        check_everywhere(&to_the_second(blocks, &[CALLDATASIZE, ADD], &[]), &[100_000]);
    }
    let cheap =
        [&[POP, CALLER, POP, CALLVALUE, POP, STOP], &[CALLER, POP, POP, CALLVALUE, POP, STOP]];
    check_everywhere(&to_the_second(cheap.map(|code| &code[..]), &[CALLDATASIZE, ADD], &[]), &[]);
}

#[test]
fn blocks_that_find_the_stack_too_high_at_different_places() {
    let slot = [PUSH0, SLOAD, POP];
    let low = [PUSH0, POP].repeat(6);
    let high = [[PUSH0; 6], [POP; 6]].concat();
    let one = [&low[..], &slot, &high, &[STOP]].concat();
    let two = [&high[..], &slot, &low, &[STOP]].concat();
    let code = to_the_second([&one, &two], &[CALLDATASIZE, ADD], &[CALLDATASIZE; 1020]);
    check_everywhere(&code, &[100_000]);
}

/// A frame that fails loads no slot, or does, in a transaction that succeeds either way.
#[test]
fn blocks_that_fail_at_different_places_in_a_frame_of_their_own() {
    let slot_first: &[u8] = &[POP, CALLER, PUSH0, SLOAD, POP, POP, STOP];
    let slot_last: &[u8] = &[CALLER, POP, PUSH0, SLOAD, POP, POP, STOP];
    for (blocks, gas) in [([slot_first, slot_last], 0x1_0000), ([slot_last, slot_first], 2_300)] {
        let mut asm = Assembly::new();
        let inner = asm.new_label();
        // Calls itself with a byte of calldata.
        let asm = asm.op(CALLDATASIZE).push_label(inner).op(JUMPI).op(PUSH0).op(PUSH0).push(1);
        let asm = asm.op(PUSH0).op(PUSH0).op(ADDRESS).push(gas).op(CALL).push(9).op(SSTORE);
        let asm = asm.op(STOP).label(inner);
        // A byte of calldata makes one, and one more that is taken off again.
        let zero = [CALLDATASIZE, PUSH1, 1, XOR, XOR];
        let code = to_the_second(blocks, &zero, &asm.code());
        check_everywhere(&code, &[60_000, 100_000, 400_000]);
    }
}

/// Code that runs an instruction with operands.
fn one(opcode: u8, operands: &[U256]) -> Vec<u8> {
    let asm = operands.iter().rev().fold(Assembly::new(), |asm, &word| asm.push(word));
    asm.op(opcode).op(STOP).code()
}

/// Memory up to the end of the address space, with more gas than its price, which saturates. The
/// interpreter's lengths wrap there, so that it isn't asked.
#[test]
fn memory_that_no_gas_buys_is_out_of_gas() {
    let (end, word) = (U256::from(u64::MAX - 31), U256::from(32));
    let zero = U256::ZERO;
    let programs = [
        one(MLOAD, &[end]),
        one(MSTORE, &[end, word]),
        one(MSTORE8, &[end + U256::from(31), word]),
        one(KECCAK256, &[end, U256::from(31)]),
        one(CALLDATACOPY, &[end, zero, U256::from(31)]),
        one(CODECOPY, &[end, zero, U256::from(31)]),
        one(MCOPY, &[end, zero, U256::from(31)]),
        one(MCOPY, &[zero, end, U256::from(31)]),
        one(LOG1, &[end, U256::from(31), word]),
    ];
    let of_an_operand = Assembly::new().op(PUSH0).op(CALLDATALOAD).op(MLOAD).op(STOP).code();
    let programs = programs.into_iter().chain([of_an_operand]);
    let settings = [NativeSettings::BASELINE, NativeSettings::OPTIMISED];
    let engines = settings.map(Engine::native);
    for code in programs {
        let mut case = Case::new(SpecId::OSAKA, code).data(end.to_be_bytes::<32>());
        case.accounts.entry(TARGET).or_default().balance = zero;
        let case = case.gas(i64::MAX as u64);
        for engine in &engines {
            let seen = engine.run(&case);
            let ExecutionResult::Halt { reason, gas, .. } = seen.result() else {
                panic!("{}: {:?}\n{case}", engine.name(), seen.result())
            };
            assert_eq!(*reason, HaltReason::OutOfGas(OutOfGasError::Memory), "{case}");
            assert_eq!(gas.total_gas_spent(), i64::MAX as u64);
            engine.assert_compiled(&case);
        }
    }
}
