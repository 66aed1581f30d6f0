//! Gas running out at every instruction: each program runs with every gas limit that ends it at
//! another point.

use alloy_primitives::U256;
use cranevm_tests::{
    assembly::Assembly,
    case::{Case, TARGET, Transaction},
    check::Checker,
    engines::{Engine, NativeSettings},
    parallel,
    programs::{Program, values::PEERS},
};
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};

/// Forks with different schedules.
const FORKS: [SpecId; 6] = [
    SpecId::FRONTIER,
    SpecId::TANGERINE,
    SpecId::ISTANBUL,
    SpecId::BERLIN,
    SpecId::CANCUN,
    SpecId::AMSTERDAM,
];

/// Runs of one program on one fork: the step between gas limits grows beyond.
const MOST_LIMITS: u64 = 2500;

fn checker() -> Checker {
    Checker::of([
        NativeSettings::BASELINE,
        NativeSettings::OPTIMISED,
        NativeSettings::ONE_BLOCK,
        NativeSettings::hand_over(1).optimised(),
        NativeSettings::hand_over(3).optimised(),
    ])
}

/// Runs `case` with every gas limit from `from` to what it needs with plenty, and a bit beyond.
fn check_all_limits(checker: &Checker, case: &Case) {
    let plenty = case.clone().gas(5_000_000);
    let needed = checker.check(&plenty).result().gas().total_gas_spent();
    // The lowest limit that isn't refused as below the intrinsic gas.
    let interpreter = Engine::interpreter();
    let is_valid = |gas| interpreter.run(&case.clone().gas(gas)).all_executed();
    let (mut refused, mut first) = (0, 5_000_000);
    while refused + 1 < first {
        let middle = (refused + first) / 2;
        if is_valid(middle) { first = middle } else { refused = middle }
    }
    // A call may be given all but 1/64 and need more than it spends.
    let last = needed + needed / 32 + 100;
    let step = ((last.saturating_sub(first)) / MOST_LIMITS).max(1);
    for gas in (first..=last).step_by(step as usize) {
        checker.check(&case.clone().gas(gas));
    }
}

fn check_program(name: &str, case_of: impl Fn(SpecId) -> Case + Sync) {
    let tallies = parallel::for_each(FORKS.len(), checker, |checker, job| {
        check_all_limits(checker, &case_of(FORKS[job]));
    });
    let mut total = tallies[0].tally();
    tallies[1..].iter().for_each(|checker| total.add(&checker.tally()));
    println!("{name}: {total}");
}

#[test]
fn arithmetic_loop() {
    let mut asm = Assembly::new();
    let top = asm.new_label();
    let asm = asm.push(5).label(top).op(DUP1).push(3).op(EXP).op(POP).op(GAS).op(POP);
    let asm = asm.push(1).op(SWAP1).op(SUB).op(DUP1).push_label(top).op(JUMPI);
    let code = asm.op(GAS).return_top().code();
    check_program("arithmetic loop", |spec| Case::new(spec, code.clone()));
}

/// Two loops, the second beginning where the first falls through, with the gas left as data in
/// words below the counter. `load` takes a word and leaves one.
fn loops_back_to_back(prologue: Assembly, load: u8) -> Vec<u8> {
    let mut asm = prologue;
    let (first, second) = (asm.new_label(), asm.new_label());
    let asm = asm.label(first).op(SWAP2).op(load).op(SWAP2).op(GAS).op(SWAP2).op(POP);
    let asm = asm.push(1).op(ADD).push(3).op(DUP2).op(LT).push_label(first).op(JUMPI);
    let asm = asm.label(second).op(SWAP1).push(7).op(SDIV).op(SWAP1).op(GAS).op(SWAP3).op(POP);
    let asm = asm.push(1).op(ADD).push(6).op(DUP2).op(LT).push_label(second).op(JUMPI);
    asm.op(ADD).op(ADD).op(GAS).op(ADD).return_top().code()
}

#[test]
fn loops_that_load() {
    for load in [SLOAD, BALANCE, CALLDATALOAD] {
        let code = loops_back_to_back(Assembly::new().push(2).push(1).push(0), load);
        check_program("loops that load", |spec| Case::new(spec, code.clone()));
    }
}

#[test]
fn loops_after_calls() {
    let call = Assembly::new().push(9).push(8).ops(&[PC, PC, PC, PC, PC]);
    let call = call.push(0xc1).push(5_000).op(CALL);
    let code = loops_back_to_back(call, SLOAD);
    check_program("loops after a call", |spec| Case::new(spec, code.clone()));
}

#[test]
fn loops_after_creations() {
    for value in [1, 2_000_000] {
        // The contract has less than the second value.
        let create = Assembly::new().push(9).push(8).push(0).push(0).push(value).op(CREATE);
        let code = loops_back_to_back(create, BALANCE);
        check_program("loops after a creation", |spec| Case::new(spec, code.clone()));
    }
}

#[test]
fn branches_of_different_cost() {
    let mut asm = Assembly::new();
    let (dear, end) = (asm.new_label(), asm.new_label());
    let asm = asm.push(0).op(CALLDATALOAD).push_label(dear).op(JUMPI).push(1).op(POP);
    let asm = asm.push_label(end).op(JUMP).label(dear).push(0x100).push(7).op(EXP).op(POP);
    let code = asm.label(end).op(GAS).return_top().code();
    for data in [vec![], vec![1; 32]] {
        check_program("branches", |spec| Case::new(spec, code.clone()).data(data.clone()));
    }
}

#[test]
fn memory_growth() {
    let asm = Assembly::new().push(1).push(0).op(MSTORE).push(2).push(0x1000).op(MSTORE8);
    let asm = asm.push(0x2345).op(MLOAD).op(POP).op(MSIZE).op(GAS).op(ADD);
    let asm = asm.push(100).push(3).push(0x3000).op(CODECOPY).push(64).push(0x3100).op(KECCAK256);
    let code = asm.op(ADD).return_top().code();
    check_program("memory growth", |spec| Case::new(spec, code.clone()));
}

#[test]
fn storage() {
    let asm = Assembly::new().push(1).push(0).op(SSTORE).push(0).op(SLOAD).op(POP);
    let asm = asm.push(0).push(0).op(SSTORE).push(2).push(1).op(SSTORE).push(9).op(SLOAD);
    let code = asm.op(GAS).op(ADD).return_top().code();
    check_program("storage", |spec| {
        let mut case = Case::new(spec, code.clone());
        if let Some(account) = case.accounts.get_mut(&TARGET) {
            account.storage.insert(U256::from(1), U256::from(5));
        }
        case
    });
}

#[test]
fn transient_storage_and_mcopy() {
    let asm = Assembly::new().push(1).push(0).op(TSTORE).push(0).op(TLOAD).push(0x200).op(MSTORE);
    let asm = asm.push(300).push(0x1f0).push(0x800).op(MCOPY).op(GAS).return_top();
    check_program("transient storage", |spec| Case::new(spec, asm.code()));
}

#[test]
fn logs_and_hashes() {
    let mut asm = Assembly::new();
    for topics in 0..=4u8 {
        for topic in 0..topics {
            asm = asm.push(topic);
        }
        asm = asm.push(40 * usize::from(topics)).push(8).op(LOG0 + topics);
        asm = asm.push(70).push(1).op(KECCAK256).op(POP);
    }
    let code = asm.op(GAS).return_top().code();
    check_program("logs and hashes", |spec| Case::new(spec, code.clone()));
}

/// Code that stores, grows its memory, and returns the gas left.
fn callee() -> Vec<u8> {
    let asm = Assembly::new().op(GAS).push(0x400).op(MSTORE).push(3).push(3).op(SSTORE);
    asm.op(GAS).return_top().code()
}

#[test]
fn calls() {
    // Gas: a constant that may be too much, and all of it (EIP-150's 63/64).
    for gas in [U256::from(25_000), U256::MAX] {
        let asm = Assembly::new().push(32).push(0).push(64).push(0).push(1);
        let peer: U256 = PEERS[0].into_word().into();
        let asm = asm.push(peer).push(gas).op(CALL).op(GAS).op(ADD).push(32).op(MSTORE);
        let code = asm.push(7).push(7).op(SSTORE).push(64).push(0).op(RETURN).code();
        check_program("calls", |spec| Case::new(spec, code.clone()).contract(PEERS[0], callee()));
    }
}

#[test]
fn creation() {
    // Deploys one byte.
    let initcode = Assembly::new().push(1).push(0).op(RETURN).code();
    let length = initcode.len();
    let asm =
        Assembly::new().item(cranevm_tests::assembly::Item::Push(initcode)).push(0).op(MSTORE);
    let asm = asm.push(length).push(32 - length).push(0).op(CREATE).op(GAS).op(XOR);
    let code = asm.push(1).push(1).op(SSTORE).return_top().code();
    check_program("creation", |spec| Case::new(spec, code.clone()));
}

/// State gas that is paid from a reservoir first and then from regular gas (EIP-8037).
#[test]
fn reservoir_of_state_gas() {
    let mut asm = Assembly::new();
    for slot in 1..4 {
        asm = asm.push(slot).push(slot).op(SSTORE).op(GAS).push(32 * slot).op(MSTORE);
    }
    let peer: U256 = PEERS[0].into_word().into();
    let asm = asm.push(32).push(0).push(0).push(0).push(0).push(peer).op(GAS).op(CALL).op(GAS);
    let code = asm.op(ADD).push(32).op(MSTORE).push(160).push(0).op(RETURN).code();
    let tallies = parallel::for_each(4, checker, |checker, job| {
        let cap = [50_000, 80_000, 120_000, 300_000][job];
        let case = Case::new(SpecId::AMSTERDAM, code.clone()).gas_cap(cap);
        check_all_limits(checker, &case.contract(PEERS[0], callee()));
    });
    assert!(tallies.iter().all(|checker| checker.tally().compared > 100));
}

#[test]
fn selfdestruct_and_extcode() {
    let peer: U256 = PEERS[0].into_word().into();
    let asm = Assembly::new().push(peer).op(EXTCODESIZE).push(peer).op(BALANCE).op(ADD).op(POP);
    let asm = asm.push(50).push(0).push(0).push(peer).op(EXTCODECOPY).push(0xdead).op(SELFDESTRUCT);
    let code = asm.code();
    check_program("selfdestruct", |spec| {
        Case::new(spec, code.clone()).contract(PEERS[0], callee())
    });
}

/// Gas limits on both sides of every multiple of 64: what EIP-150 keeps back changes there.
#[test]
fn sixty_four_boundaries() {
    let asm = Assembly::new();
    let this: U256 = TARGET.into_word().into();
    // Calls itself with all gas until that fails.
    let asm = asm.push(0).push(0).push(0).push(0).push(0).push(this).op(GAS).op(CALL);
    let code = asm.op(GAS).op(ADD).return_top().code();
    parallel::for_each(FORKS.len(), checker, |checker, job| {
        for base in (0..6400u64).step_by(64) {
            for gas in [base, base + 1, base + 63] {
                checker.check(&Case::new(FORKS[job], code.clone()).gas(60_000 + gas));
            }
        }
    });
}

#[test]
fn generated_programs() {
    parallel::for_each(24, checker, |checker, job| {
        let mut case = Program::generate(job as u64 + 1).to_case();
        let Transaction { gas_limit, .. } = case.transactions[0];
        case.transactions[0].blob_hashes.clear();
        for gas in (21_000..gas_limit.min(80_000)).step_by(97) {
            let limited = case.clone().gas(gas);
            checker.check(&limited);
        }
    });
}
