//! Code that was compiled in a helper process runs as on the interpreter.
//!
//! This program is the helper too, so it has a `main` of its own. Arguments are substrings of the
//! names of the tests to run. Each compilation crosses two processes, so the cases are fewer than
//! in process; `CRANEVM_HELPER_PROGRAMS` says how many generated programs there are.

use alloy_primitives::U256;
use cranevm::runtime::maybe_run_jit_helper;
use cranevm_tests::{
    assembly::Assembly,
    case::Case,
    check::{Checker, report},
    engines::NativeSettings,
    fixtures,
    programs::Program,
    rng::mix,
};
use revm::primitives::hardfork::SpecId;
use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

/// Generated programs without `CRANEVM_HELPER_PROGRAMS`.
const PROGRAMS: usize = 1500;

/// Programs after which the engines forget their code.
const CLEAR_INTERVAL: usize = 250;

/// Of the deployed contracts, every so many is taken.
const CONTRACT_STEP: usize = 20;

const TESTS: [(&str, fn()); 3] = [
    ("generated_programs_agree", generated_programs_agree),
    ("every_opcode_agrees", every_opcode_agrees),
    ("deployed_contracts_agree", deployed_contracts_agree),
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if maybe_run_jit_helper()?.is_break() {
        return Ok(ExitCode::SUCCESS);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<_> = arguments.iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(*filter));
    let mut failed = 0;
    for (name, test) in TESTS.into_iter().filter(|(name, _)| is_chosen(name)) {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
            continue;
        }
        // A test that failed leaves nothing behind that the next one uses.
        let ended = catch_unwind(AssertUnwindSafe(test));
        println!("test {name} ... {}", if ended.is_ok() { "ok" } else { "FAILED" });
        failed += u8::from(ended.is_err());
    }
    println!("\ntest result: {failed} failed");
    Ok(ExitCode::from(failed))
}

/// The settings that tell most about what travels between processes: both tiers, and options that
/// compile the same bytecode to something else.
fn checker() -> Checker {
    Checker::of([
        NativeSettings::BASELINE.in_helpers(),
        NativeSettings::OPTIMISED.in_helpers(),
        NativeSettings::AGGRESSIVE.in_helpers(),
        NativeSettings::ONE_BLOCK.in_helpers(),
        NativeSettings::OPTIMISED.likely().in_helpers(),
        NativeSettings::OPTIMISED.asserting().in_helpers(),
        NativeSettings::OPTIMISED.starting().in_helpers(),
        NativeSettings::hand_over(2).optimised().in_helpers(),
    ])
}

fn generated_programs_agree() {
    let checker = checker();
    let programs = std::env::var("CRANEVM_HELPER_PROGRAMS");
    let programs = programs.map_or(PROGRAMS, |n| n.parse().expect("a number of programs"));
    for index in 0..programs {
        let case = Program::generate(mix(index as u64)).to_case();
        let (_, mismatch) = checker.compare_some(&case, 1, index as u64);
        if let Some(mismatch) = mismatch {
            panic!("{}", report(&case, &mismatch));
        }
        if index % CLEAR_INTERVAL == 0 {
            checker.clear();
        }
    }
    let tally = checker.tally();
    println!("{tally}");
    assert!(tally.compared as usize >= 2 * programs);
}

/// Each byte, where it finds operands.
fn every_opcode_agrees() {
    let settings = [NativeSettings::BASELINE, NativeSettings::OPTIMISED];
    let checker = Checker::of(settings.map(NativeSettings::in_helpers));
    for spec in [SpecId::BERLIN, SpecId::OSAKA] {
        for opcode in 0..=u8::MAX {
            let operands = (1..=7_u64).fold(Assembly::new(), |code, n| code.push(U256::from(n)));
            let code = operands.op(opcode).return_top().code();
            checker.check(&Case::new(spec, code).gas(200_000));
        }
    }
    assert_eq!(checker.tally().compared, 2 * 2 * 256);
}

fn deployed_contracts_agree() {
    let Some(path) = fixtures::find("deployed contracts", "contracts.jsonl.xz") else { return };
    let contracts = fixtures::contracts(&path).expect("a list of contracts");
    let checker = Checker::of([NativeSettings::OPTIMISED.likely().in_helpers()]);
    for contract in contracts.iter().step_by(CONTRACT_STEP) {
        for data in [&[][..], &[0xff; 68]] {
            let case = Case::new(SpecId::OSAKA, contract.bytecode.clone()).data(data.to_vec());
            checker.check(&case.gas(3_000_000));
        }
    }
    println!("{} contracts: {}", contracts.len().div_ceil(CONTRACT_STEP), checker.tally());
}
