//! Generated programs: equal to the interpreter in everything.
//!
//! `CRANEVM_PROGRAMS` and `CRANEVM_SEED` choose another number and another sequence;
//! `CRANEVM_PROGRAM` repeats one program of a report, `CRANEVM_TRACE` names each before it runs.

use cranevm_tests::{differential::Plan, observation::Outcome, programs::Program, rng::mix};
use cranevm_tests::{engines::Engine, parallel};

#[test]
fn generated_programs_agree() {
    let plan = Plan::from_env();
    let summary = plan.run();
    let (time, seed) = summary.slowest;
    println!("{plan:?}: {}; {} refused", summary.tally, summary.refused);
    println!("slowest: {time:.1?} for CRANEVM_PROGRAM={seed}");
    if plan.only.is_none() {
        assert!(summary.tally.compared as usize >= 3 * plan.programs, "{}", summary.tally);
        assert!(summary.refused * 10 <= plan.programs, "{} refused", summary.refused);
    }
}

/// The programs are worth running: most end in success or a revert, and use their gas on code.
#[test]
fn programs_mostly_execute() {
    const SAMPLE: usize = 2000;
    let counts = parallel::for_each(
        SAMPLE,
        || [0usize; 4],
        |counts, index| {
            let case = Program::generate(mix(index as u64)).to_case();
            let seen = Engine::interpreter().run(&case);
            let kind = match &seen.outcomes[0] {
                Outcome::Executed(executed) if executed.result.is_success() => 0,
                Outcome::Executed(executed) if !executed.result.is_halt() => 1,
                Outcome::Executed(_) => 2,
                Outcome::Error(_) | Outcome::Panic(_) => 3,
            };
            counts[kind] += 1;
        },
    );
    let sum = |kind: usize| counts.iter().map(|counts| counts[kind]).sum::<usize>();
    let (success, reverted, halted, refused) = (sum(0), sum(1), sum(2), sum(3));
    println!("{success} succeed, {reverted} revert, {halted} halt, {refused} are refused");
    assert!(success > SAMPLE / 3, "{success} of {SAMPLE} succeed");
    assert!(reverted > SAMPLE / 50 && halted > SAMPLE / 20, "{reverted} revert, {halted} halt");
    assert!(refused < SAMPLE / 10, "{refused} refused");
}
