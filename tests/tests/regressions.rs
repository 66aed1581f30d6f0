//! Programs that once differed from the interpreter, each with the name of what was wrong.
//!
//! A report of the differential test has all that an entry needs: fork, code, calldata and gas.

use alloy_primitives::hex;
use cranevm_tests::{case::Case, check::Checker, parallel};
use revm::primitives::hardfork::SpecId;

/// A program that must stay equal to the interpreter.
struct Regression {
    /// What was wrong.
    name: &'static str,
    spec: SpecId,
    code: &'static [u8],
    data: &'static [u8],
    gas: u64,
}

const REGRESSIONS: &[Regression] = &[
    // A jump over nothing, to code whose last instruction lacks a byte.
    Regression {
        name: "a block that ends in a truncated PUSH pushes zeros on the right",
        spec: SpecId::OSAKA,
        code: &hex!("600035565b61ff"),
        data: &hex!("0000000000000000000000000000000000000000000000000000000000000004"),
        gas: 100_000,
    },
];

#[test]
fn all_stay_equal() {
    parallel::for_each(REGRESSIONS.len(), Checker::new, |checker, index| {
        let Regression { name, spec, code, data, gas } = REGRESSIONS[index];
        println!("{name}");
        checker.check(&Case::new(spec, code).data(data).gas(gas));
    });
}
