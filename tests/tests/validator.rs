//! One stretch of execution from any state: see [`cranevm_tests::validator`], also for
//! `CRANEVM_VALIDATE`.

use cranevm_tests::validator::{Plan, codes, state::Code};

/// Differences that are printed.
const REPORTED: usize = 4;

fn validate(what: &str, codes: &[Code]) {
    let summary = Plan::from_env().run(codes);
    println!("{what}: {summary}");
    assert!(summary.differing == 0, "{summary}\n{}", summary.report(REPORTED));
    let [not_entered, ended, handed_over] = summary.stretches;
    assert!(not_entered < ended + handed_over && handed_over < 4 * ended, "{summary}");
}

#[test]
fn golden_programs() {
    validate("golden programs", &codes::golden());
}

#[test]
fn past_faults() {
    validate("past faults", &codes::past());
}

#[test]
fn charging_programs() {
    let plan = Plan::from_env();
    validate("charges", &codes::charges(plan.codes, plan.seed));
}

#[test]
fn generated_programs() {
    let plan = Plan::from_env();
    validate("generated", &codes::generated(plan.codes, plan.seed));
}

#[test]
fn deployed_contracts() {
    let plan = Plan::from_env();
    let codes = codes::deployed(plan.codes, plan.seed);
    if !codes.is_empty() {
        validate("deployed", &codes);
    }
}
