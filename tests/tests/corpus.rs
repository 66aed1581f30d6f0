//! Deployed contracts: each compiles, and runs as on the interpreter.
//!
//! The contracts aren't part of the project: see [`cranevm_tests::fixtures`] for where they are
//! looked for.

use alloy_primitives::U256;
use cranevm_tests::{
    case::Case,
    check::Checker,
    engines::NativeSettings,
    fixtures::{self, Contract},
    parallel,
    programs::values,
    rng::Rng,
};
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};

/// Calldatas that each contract is called with.
const CALLS: usize = 3;

/// Contracts between which the engines forget their code.
const CLEAR_INTERVAL: usize = 50;

/// The immediates of all PUSH4: the selectors of a contract's functions are among them.
fn selectors(code: &[u8]) -> Vec<[u8; 4]> {
    let mut found = vec![];
    let mut pc = 0;
    while pc < code.len() {
        let width = usize::from(code[pc]).checked_sub(PUSH0.into()).filter(|width| *width <= 32);
        if width == Some(4)
            && let Some(selector) = code.get(pc + 1..pc + 5)
        {
            found.push([selector[0], selector[1], selector[2], selector[3]]);
        }
        pc += 1 + width.unwrap_or(0);
    }
    found
}

/// Calldata: random bytes, or a selector with a few words that may pass a decoder.
fn calldata(rng: &mut Rng, selectors: &[[u8; 4]]) -> Vec<u8> {
    if selectors.is_empty() {
        let len = rng.below(200);
        return rng.bytes(len);
    }
    let mut data = rng.pick(selectors).to_vec();
    for _ in 0..rng.range(0, 6) {
        let word = match rng.below(3) {
            0 => U256::from(rng.below(200)),
            1 => values::address_word(rng),
            _ => values::word(rng),
        };
        data.extend(word.to_be_bytes::<32>());
    }
    data
}

fn check_contract(checker: &Checker, contract: &Contract, seed: u64) {
    let rng = &mut Rng::new(seed);
    let selectors = selectors(&contract.bytecode);
    for call in 0..CALLS {
        // One of the calls is noise, the others are functions.
        let known = if call == 0 { &[][..] } else { &selectors };
        let data = calldata(rng, known);
        let mut case = Case::new(SpecId::OSAKA, contract.bytecode.clone()).data(data);
        case = case.gas(3_000_000);
        if rng.percent(20) {
            case.transactions[0].value = U256::from(7);
        }
        checker.check(&case);
    }
}

#[test]
fn every_contract_runs_as_interpreted() {
    let file = "contracts.jsonl.xz";
    let Some(path) = fixtures::find("deployed contracts", file) else { return };
    let contracts = fixtures::contracts(&path).expect("a list of contracts");
    assert!(!contracts.is_empty(), "{file} has no contract");
    let settings = [NativeSettings::BASELINE, NativeSettings::OPTIMISED];
    let checkers = parallel::for_each(
        contracts.len(),
        || Checker::of(settings),
        |checker, index| {
            let contract = &contracts[index];
            println!("{}", contract.name);
            check_contract(checker, contract, index as u64);
            if index.is_multiple_of(CLEAR_INTERVAL) {
                checker.clear();
            }
        },
    );
    let mut tally = checkers[0].tally();
    checkers[1..].iter().for_each(|checker| tally.add(&checker.tally()));
    assert_eq!(tally.compared as usize, contracts.len() * CALLS * settings.len(), "{tally}");
    println!("{} contracts: {tally}", contracts.len());
}
