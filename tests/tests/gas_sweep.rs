//! The exhaustive sweep of gas limits: see [`cranevm_tests::sweep`], also for `CRANEVM_SWEEP`.

use cranevm_tests::sweep::Plan;

/// Differences that are printed.
const REPORTED: usize = 12;

#[test]
fn every_limit_from_a_charge_to_the_end_of_its_block() {
    let plan = Plan::from_env();
    let summary = plan.run();
    println!("{plan:?}: {summary}");
    assert!(summary.differing == 0, "{summary}\n{}", summary.report(REPORTED));
    assert!(summary.compared > 50 * summary.programs, "{summary}");
    assert!(summary.refused * 20 < summary.compared, "{summary}");
}
