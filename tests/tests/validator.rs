//! One stretch of execution from any state: see [`cranevm_tests::validator`], also for
//! `CRANEVM_VALIDATE`.

use cranevm_tests::validator::{Plan, codes, state::Code};

/// Differences that are printed.
const REPORTED: usize = 4;

fn validate(what: &str, codes: &[Code]) {
    let summary = Plan::from_env().run(codes);
    println!("{what}: {summary}");
    assert!(summary.differing == 0, "{summary}\n{}", summary.report(REPORTED));
    for tally in [summary.machine, summary.analysed] {
        let stretches = tally.ended + tally.handed_over;
        assert!(tally.refused + tally.not_entered < 2 * stretches, "{summary}");
        assert!(tally.instructions > 8 * stretches, "{summary}");
    }
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
fn twin_blocks() {
    let plan = Plan::from_env();
    validate("twins", &codes::twins(plan.codes, plan.seed));
}

#[test]
fn deployed_contracts() {
    let plan = Plan::from_env();
    let codes = codes::deployed(plan.codes, plan.seed);
    if !codes.is_empty() {
        validate("deployed", &codes);
    }
}
