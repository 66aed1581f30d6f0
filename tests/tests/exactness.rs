//! Programs on which native code once was anything but exact (unlimited gas, memory out of bounds,
//! other loads), each at every gas limit of a range: their kinds hide at few of them.

use alloy_primitives::U256;
use cranevm_tests::{
    assembly::Assembly,
    case::{Case, TARGET},
    check::Checker,
    engines::{Engine, NativeSettings},
    parallel,
    past_faults::{self, SLOT_FIRST, SLOT_LAST, to_the_second, too_high},
};
use revm::{
    bytecode::opcode::*,
    context::result::{ExecutionResult, HaltReason, OutOfGasError},
    primitives::hardfork::SpecId,
};
use std::ops::RangeInclusive;

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
        NativeSettings::ONE_BLOCK,
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

#[test]
fn a_debt_at_a_branch() {
    for padding in [0, 100] {
        check_everywhere(&past_faults::debt_at_branch(padding), &[]);
    }
}

#[test]
fn a_debt_before_an_endless_loop() {
    check_everywhere(&past_faults::debt_before_loop(), &[]);
}

#[test]
fn a_debt_before_a_computed_jump_to_a_store() {
    check_everywhere(&past_faults::debt_before_store(), &[43_000, 45_400, 46_000]);
}

#[test]
fn a_store_far_beyond_memory() {
    for is_dear in [false, true] {
        check_everywhere(&past_faults::far_store(is_dear), &[]);
    }
}

#[test]
fn a_load_beyond_memory_that_becomes_a_slot() {
    check_everywhere(&past_faults::load_that_becomes_slot(), &[]);
}

#[test]
fn growth_of_memory_that_a_slot_comes_after() {
    check_everywhere(&past_faults::growth_before_slot(), &[]);
}

#[test]
fn blocks_that_find_the_stack_too_low_at_different_places() {
    let blocks = [[SLOT_FIRST, SLOT_LAST], [SLOT_LAST, SLOT_FIRST]];
    for blocks in blocks {
        check_everywhere(&to_the_second(blocks, &[CALLDATASIZE, ADD], &[]), &[100_000]);
    }
    let cheap =
        [&[POP, CALLER, POP, CALLVALUE, POP, STOP], &[CALLER, POP, POP, CALLVALUE, POP, STOP]];
    check_everywhere(&to_the_second(cheap.map(|code| &code[..]), &[CALLDATASIZE, ADD], &[]), &[]);
}

#[test]
fn blocks_that_find_the_stack_too_high_at_different_places() {
    let [one, two] = too_high();
    let code = to_the_second([&one, &two], &[CALLDATASIZE, ADD], &[CALLDATASIZE; 1020]);
    check_everywhere(&code, &[100_000]);
}

/// A frame that fails loads no slot, or does, in a transaction that succeeds either way.
#[test]
fn blocks_that_fail_at_different_places_in_a_frame_of_their_own() {
    for (blocks, gas) in [([SLOT_FIRST, SLOT_LAST], 0x1_0000), ([SLOT_LAST, SLOT_FIRST], 2_300)] {
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
