//! Bad input: code that nobody would write. Never a panic, a hang, or another result.
//!
//! The workers' watchdog ends the process when one program takes minutes; what compilation may take
//! is tested here by [`compilation_is_linear`].

use alloy_primitives::U256;
use cranevm_tests::{
    assembly::Assembly,
    case::{Case, TARGET},
    check::Checker,
    engines::{Engine, NativeSettings},
    parallel,
    rng::Rng,
};
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};
use std::time::{Duration, Instant};

/// EIP-170's limit of deployed code, in bytes.
const CODE_LIMIT: usize = 24 * 1024;

fn quick() -> Checker {
    let hand_over = NativeSettings::hand_over(1).optimised();
    Checker::of([NativeSettings::BASELINE, NativeSettings::OPTIMISED, hand_over])
}

fn check_each(codes: Vec<Vec<u8>>, make: impl Fn() -> Checker + Sync) {
    parallel::for_each(codes.len(), make, |checker, job| {
        checker.check(&Case::new(SpecId::AMSTERDAM, codes[job].clone()).data([0x5b; 70]));
        checker.clear();
    });
}

#[test]
fn empty_code() {
    check_each(vec![vec![]], Checker::new);
}

#[test]
fn truncated_pushes() {
    let mut codes = vec![];
    for width in 1..=32u8 {
        for present in 0..usize::from(width) {
            let push = [vec![PUSH0 + width], vec![0x5b; present]].concat();
            // Straight into it, jumping before it, and jumping into it.
            codes.push(push.clone());
            codes.push([vec![PUSH1, 3, JUMP, JUMPDEST], push.clone()].concat());
            codes.push([vec![PUSH1, 4, JUMP], push].concat());
        }
    }
    codes.extend([vec![DUPN], vec![PUSH1, 1, SWAPN], vec![PC, PC, EXCHANGE]]);
    check_each(codes, quick);
}

#[test]
fn the_largest_contract_of_one_opcode() {
    let bytes =
        [JUMPDEST, PC, PUSH1, PUSH32, ADD, JUMPI, CALL, SLOAD, MSTORE, GAS, EXP, DUP1, 0x0c];
    check_each(bytes.map(|byte| vec![byte; CODE_LIMIT]).to_vec(), quick);
}

#[test]
fn much_of_every_byte() {
    check_each((0..=255).map(|byte| vec![byte; 1500]).collect(), quick);
}

#[test]
fn every_jumpdest_a_chunk() {
    let code = [vec![JUMPDEST; 4096], vec![PUSH0, CALLDATALOAD, JUMP]].concat();
    check_each(vec![code], Checker::new);
}

/// Sound code around the byte: a loop, memory, a call, a dynamic jump.
fn templates() -> Vec<Vec<u8>> {
    let mut asm = Assembly::new();
    let (top, out) = (asm.new_label(), asm.new_label());
    let asm = asm.push(3).label(top).op(DUP1).op(DUP1).op(MSTORE).push(1).op(SWAP1).op(SUB);
    let asm = asm.op(DUP1).push_label(top).op(JUMPI).push_label(out).push(0).op(ADD).op(JUMP);
    let looping = asm.label(out).push(0).op(MLOAD).return_top().code();
    let asm = Assembly::new().push(32).push(0).push(0).push(0).push(0).push(4).push(999);
    let asm = asm.op(CALL).push(0).op(SLOAD).op(ADD).push(1).op(SSTORE).push(0).op(CALLDATALOAD);
    vec![looping, asm.op(KECCAK256).op(STOP).code()]
}

#[test]
fn every_byte_at_every_place() {
    let mut codes = vec![];
    for template in templates() {
        for place in 0..template.len() {
            for byte in 0..=255 {
                let mut code = template.clone();
                code[place] = byte;
                codes.push(code);
            }
        }
    }
    check_each(codes, || Checker::of([NativeSettings::OPTIMISED]));
}

#[test]
fn random_bytes() {
    let mut rng = Rng::new(0x50_0b);
    let codes = (0..1500).map(|_| {
        let len = rng.range(1, 400);
        rng.bytes(len)
    });
    check_each(codes.collect(), quick);
}

#[test]
fn wide_stacks() {
    let deep = |unit: &[u8]| [vec![PC; 1000], unit.repeat(CODE_LIMIT / unit.len() / 2)].concat();
    let units: [&[u8]; 7] = [
        &[SWAP16],
        &[SWAP16, JUMPDEST],
        &[DUP16, POP],
        &[DUP16, SWAP7, POP, JUMPDEST],
        &[POP, PC, SWAP16],
        &[EXCHANGE, 0x12, SWAPN, 0x80],
        // JUMPI with a taken branch to itself would loop; an untaken one goes on.
        &[PUSH1, 0, PUSH2, 3, 232, JUMPI, JUMPDEST],
    ];
    check_each(units.map(deep).to_vec(), quick);
}

/// A web of jumps in which every block may go to every other.
#[test]
fn many_dynamic_jumps() {
    let unit = [JUMPDEST, PUSH0, CALLDATALOAD, PC, ADD, PUSH1, 9, ADD, JUMP, STOP];
    check_each(vec![unit.repeat(2000), [JUMPDEST, DUP1, JUMPI].repeat(5000)], quick);
}

#[test]
fn many_suspensions() {
    let calls = [PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, CALL, POP].repeat(2000);
    let creates = [PUSH0, PUSH0, PUSH0, CREATE, POP].repeat(3000);
    check_each(vec![calls, creates], quick);
}

/// Initcode of EIP-3860's limit, as a creation.
#[test]
fn large_initcode() {
    for byte in [JUMPDEST, PC, PUSH32] {
        let mut case = Case::new(SpecId::OSAKA, vec![STOP]).data(vec![byte; 2 * CODE_LIMIT]);
        case = case.gas(5_000_000);
        case.transactions[0].to = alloy_primitives::TxKind::Create;
        quick().check(&case);
    }
}

/// Beyond every limit of the protocol, hence maybe not compiled, but never wrong.
#[test]
fn code_over_the_limits() {
    let checker = quick();
    for len in [CODE_LIMIT + 1, 2 * CODE_LIMIT, 65_536, 65_537, 300_000] {
        for byte in [JUMPDEST, GAS, PUSH2] {
            let mut code = vec![byte; len];
            // A jump to the last byte.
            let target = U256::from(len - 1);
            let jump = Assembly::new().push(target).op(JUMP).code();
            code[..jump.len()].copy_from_slice(&jump);
            code[len - 1] = JUMPDEST;
            checker.check_even_if_interpreted(&Case::new(SpecId::OSAKA, code));
        }
        checker.clear();
    }
}

/// Time until the first instruction of `code` has run on a fresh engine.
fn first_run(settings: NativeSettings, code: Vec<u8>) -> Duration {
    let engine = Engine::native(settings);
    // All of the code is reachable, but little of it runs.
    let case = Case::new(SpecId::OSAKA, code).gas(30_000);
    let start = Instant::now();
    let seen = engine.run(&case);
    let time = start.elapsed();
    assert!(seen.all_executed());
    engine.assert_compiled(&case);
    assert!(case.accounts.contains_key(&TARGET));
    time
}

/// Eight times the code may take eight times as long, with room for a noisy machine, and never
/// the sixty-four times of a quadratic compiler.
#[test]
fn compilation_is_linear() {
    let units: [&[u8]; 5] = [
        &[JUMPDEST],
        &[PC, SWAP1, POP],
        &[PUSH0, PUSH0, MSTORE, JUMPDEST],
        &[PUSH0, PUSH2, 0x10, 0x00, JUMPI],
        &[DUP1, ADD, DUP1, MUL],
    ];
    parallel::on_deep_stack(|| {
        for settings in [NativeSettings::BASELINE, NativeSettings::OPTIMISED] {
            for unit in units {
                let code = |len: usize| unit.repeat(len / unit.len());
                let small = (0..3).map(|_| first_run(settings, code(CODE_LIMIT / 8))).min();
                let large = (0..3).map(|_| first_run(settings, code(CODE_LIMIT))).min();
                let (small, large) = (small.unwrap_or_default(), large.unwrap_or_default());
                let bound = 24 * small + Duration::from_millis(100);
                println!("{settings:?} {unit:x?}: {small:?} for 3 KiB, {large:?} for 24 KiB");
                assert!(large < bound, "{settings:?} {unit:x?}: {small:?} {large:?}");
            }
        }
    });
}
