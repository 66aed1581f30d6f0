//! Very many small programs, natively and interpreted: see [`cranevm_tests::small`], also for
//! `CRANEVM_SMALL`.

use cranevm_tests::small::{
    Plan, Summary,
    exhaustive::{Alphabet, DEBTS, JUMPS, MEMORY},
    rare::Shape,
};
use std::time::Instant;

/// Differences that are printed.
const REPORTED: usize = 8;

/// Symbols of the longest programs of which all run.
const LEN: u32 = 4;

/// Programs of each rare shape.
const RARE: usize = 1500;

fn check(name: &str, run: impl FnOnce(Plan) -> Summary) {
    let (plan, start) = (Plan::from_env(), Instant::now());
    let summary = run(plan);
    println!("{name}, {plan:?}: {summary}, {:.1?}", start.elapsed());
    assert!(summary.differing == 0, "{name}: {summary}\n{}", summary.report(REPORTED));
    assert!(summary.natively * 6 > summary.compared, "{name}: {summary}");
    assert!(summary.compared > 30 * summary.programs, "{name}: {summary}");
}

fn all_of(name: &str, alphabet: Alphabet) {
    check(name, |plan| alphabet.run(plan, LEN));
}

#[test]
fn all_small_programs_of_jumps() {
    all_of("jumps", JUMPS);
}

#[test]
fn all_small_programs_of_memory() {
    all_of("memory", MEMORY);
}

#[test]
fn all_small_programs_of_debts() {
    all_of("debts", DEBTS);
}

#[test]
fn programs_of_rare_shapes() {
    for shape in Shape::ALL {
        check(&format!("{shape:?}"), |plan| shape.run(plan, RARE));
    }
}
