//! Translations that are disturbed at random are as right as others: see [`cranevm_tests::chaos`],
//! also for `CRANEVM_CHAOS`.
//!
//! Stretches from any state (`cranevm_tests::validator`), and transactions.

use alloy_primitives::U256;
use cranevm_codegen::{Chaos, CompilerOptions, OptimizationLevel, Perturbation};
use cranevm_tests::{
    case::Case,
    chaos,
    check::{Checker, report},
    engines::NativeSettings,
    parallel,
    programs::Program,
    rng::{Rng, mix},
    validator::{Plan, codes, settings::Setting, state::Code},
};

/// Differences that are printed.
const REPORTED: usize = 3;

/// Generated programs that run as transactions.
const PROGRAMS: usize = 600;

/// Of how many deployed contracts one is tried.
const SHARE: usize = 12;

/// Times that each golden program and past fault is disturbed, each time in another way.
const ROUNDS: u64 = 3;

fn plan(states: usize) -> Plan {
    Plan { states, amounts: 6, codes: 120, seed: chaos::seed() }
}

/// Runs stretches of codes, and blames a decision for each difference.
fn validate(what: &str, plan: &Plan, codes: &[Code]) {
    let summary = plan.run_with(codes, Setting::chaotic);
    println!("{what}: {summary}");
    let mut text = summary.report(REPORTED);
    for finding in summary.findings.iter().take(REPORTED) {
        text += &format!("{}: {}\n", finding.code.name, chaos::blame_stretch(finding));
    }
    assert!(summary.differing == 0, "{summary}\n{text}");
    let tally = summary.machine;
    let stretches = tally.ended + tally.handed_over;
    assert!(tally.refused + tally.not_entered < 2 * stretches, "{summary}");
}

#[test]
fn golden_programs_and_past_faults() {
    let codes = [codes::golden(), codes::past()].concat();
    for round in 0..ROUNDS {
        let plan = plan(12);
        validate("golden and past", &Plan { seed: mix(plan.seed ^ mix(round)), ..plan }, &codes);
    }
}

#[test]
fn generated_stretches() {
    let plan = plan(15);
    validate("charges", &plan, &codes::charges(plan.codes, plan.seed));
    validate("generated", &plan, &codes::generated(plan.codes, plan.seed));
    validate("twins", &plan, &codes::twins(plan.codes, plan.seed));
}

#[test]
fn deployed_stretches() {
    let plan = Plan { codes: 40, ..plan(10) };
    let codes = codes::deployed(plan.codes, plan.seed);
    if !codes.is_empty() {
        validate("deployed", &plan, &codes);
    }
}

/// The engines that transactions run on.
fn settings() -> Vec<NativeSettings> {
    let seed = chaos::seed();
    let disturbed = |settings: NativeSettings| settings.chaotic(seed);
    [
        NativeSettings::OPTIMISED,
        NativeSettings::AGGRESSIVE,
        NativeSettings::OPTIMISED.asserting(),
        NativeSettings::OPTIMISED.likely(),
        NativeSettings::ONE_BLOCK,
    ]
    .map(disturbed)
    .to_vec()
}

/// Runs a case on the first engine, and on one of the others by turns.
fn run(checker: &Checker, case: &Case, turn: u64) {
    let (_, mismatch) = checker.compare_some(case, 1, turn);
    let Some(mismatch) = mismatch else { return };
    let settings = settings().into_iter().find(|known| known.to_string() == mismatch.engine);
    let blame = settings.map(|settings| chaos::blame_case(case, settings).to_string());
    panic!("{}\nblamed: {}", report(case, &mismatch), blame.unwrap_or_default());
}

#[test]
fn generated_transactions() {
    let seed = mix(chaos::seed());
    parallel::for_each(
        PROGRAMS,
        || Checker::of(settings()),
        |checker, index| {
            let program = Program::generate(mix(seed ^ mix(index as u64)));
            run(checker, &program.to_case(), index as u64);
            if index % 100 == 0 {
                checker.clear();
            }
        },
    );
}

#[test]
fn deployed_transactions() {
    let rng = &mut Rng::new(chaos::seed());
    let mut codes = codes::deployed(usize::MAX, rng.next());
    codes.retain(|_| rng.below(SHARE) == 0);
    parallel::for_each(
        codes.len(),
        || Checker::of(settings()),
        |checker, index| {
            let rng = &mut Rng::new(index as u64);
            let Code { bytes, spec, .. } = &codes[index];
            let selector = rng.pick(&selectors(bytes));
            for words in [0, 3] {
                let words = (0..words).map(|_| U256::from(rng.below(300)).to_be_bytes::<32>());
                let data = [&selector[..], &words.collect::<Vec<_>>().concat()].concat();
                let case = Case::new(*spec, bytes.clone()).data(data).gas(3_000_000);
                run(checker, &case, index as u64);
            }
            if index % 20 == 0 {
                checker.clear();
            }
        },
    );
}

/// What may be the selectors of a contract's functions: what follows a PUSH4, or nothing.
fn selectors(code: &[u8]) -> Vec<[u8; 4]> {
    let pushed = code.windows(5).filter(|bytes| bytes[0] == 0x63);
    let selectors = pushed.map(|bytes| [bytes[1], bytes[2], bytes[3], bytes[4]]);
    selectors.chain([[0; 4]]).collect()
}

/// That results stay equal proves nothing of what isn't done.
#[test]
fn each_kind_of_perturbation_is_done() {
    let codes = codes::generated(200, chaos::seed());
    let level = OptimizationLevel::Default;
    let counts = parallel::for_each(codes.len(), Vec::new, |done, index| {
        let chaos = Some(Chaos::new(mix(index as u64)));
        let options = CompilerOptions { opt_level: level, chaos, ..Default::default() };
        let Code { bytes, spec, .. } = &codes[index];
        done.extend(chaos::decisions(options, bytes, *spec).expect("it compiles"));
    });
    let done = counts.concat();
    let kinds = [&Perturbation::BETWEEN[..], &Perturbation::ELSEWHERE].concat();
    for what in kinds {
        let count = done.iter().filter(|decision| decision.what == what).count();
        println!("{what:?}: {count}");
        assert!(count > 10, "{what:?}: {count}");
    }
}
