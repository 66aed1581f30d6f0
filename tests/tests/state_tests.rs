//! Ethereum's state tests, natively: every case of the archive passes.
//!
//! The archive isn't part of the project: see [`cranevm_tests::fixtures`] for where it is looked
//! for.

use cranevm::OptimizationLevel;
use cranevm_cli::{
    Engine, EngineRunner,
    statetest::{Options, Report, run_suite},
};
use cranevm_tests::{engines::emulated_machine, fixtures, parallel};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::{collections::BTreeMap, fs, path::PathBuf};

/// Failures to print.
const SHOWN: usize = 20;

/// A test of a file, as far as counting its cases needs.
#[derive(Deserialize)]
struct Test {
    post: BTreeMap<String, Vec<IgnoredAny>>,
}

/// Forks that revm has no specification of.
const UNKNOWN_FORKS: [&str; 2] = ["Constantinople", "ByzantiumToConstantinopleAt5"];

/// Counts the cases of files without the runner under test: one for each fork and expectation.
/// The second number is of those whose fork revm doesn't know.
fn count_cases(files: &[PathBuf]) -> (usize, usize) {
    let counts = parallel::for_each(
        files.len(),
        || (0, 0),
        |(cases, unknown), index| {
            let text = fs::read(&files[index]).expect("an unpacked file");
            let tests: BTreeMap<String, Test> = serde_json::from_slice(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", files[index].display()));
            for (fork, expectations) in tests.values().flat_map(|test| &test.post) {
                *cases += expectations.len();
                if UNKNOWN_FORKS.contains(&fork.as_str()) {
                    *unknown += expectations.len();
                }
            }
        },
    );
    counts.into_iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
}

fn describe(report: &Report) -> String {
    let shown = report.failures.iter().take(SHOWN);
    let failures: Vec<String> = shown.map(|failure| format!("{failure:?}")).collect();
    format!("{:?}\nmalformed: {:?}\n{}", report.counts, report.malformed, failures.join("\n"))
}

fn run(name: &str, engine: Engine, opt: OptimizationLevel) {
    // All of them would take the emulator an hour: those of `emulated.rs` are for it.
    assert!(emulated_machine().is_none(), "state tests on the emulator are in the test `emulated`");
    let Some(archive) = fixtures::find(name, "state-tests.tar.xz") else { return };
    let folder = fixtures::unpack(&archive).expect("the archive unpacks");
    let files = fixtures::files(&folder, "json").expect("the unpacked folder");
    let runners = [EngineRunner::new(engine, opt).expect("the engine starts")];
    let report = run_suite(&[folder], &runners, Options::default(), &|_| {});
    let report = report.expect("the unpacked folder is readable");
    let text = describe(&report);
    assert!(report.is_success(), "{text}");
    assert_eq!(report.counts.files, files.len(), "{text}");
    assert_eq!((report.counts.cases, report.counts.skipped), count_cases(&files), "{text}");
    assert_eq!(report.counts.passed + report.counts.skipped, report.counts.cases, "{text}");
    assert!(report.counts.passed > 0, "{text}");
    let compilations = runners[0].compilations();
    assert!(compilations.succeeded > 0 && compilations.failed == 0, "{compilations:?}");
    println!("{name}: {:?}, {compilations:?}", report.counts);
}

#[test]
fn all_cases_pass_on_optimised_code() {
    run("state tests, default", Engine::Native, OptimizationLevel::Default);
}

#[test]
fn all_cases_pass_on_baseline_code() {
    run("state tests, baseline", Engine::Native, OptimizationLevel::None);
}

#[test]
fn all_cases_pass_on_artifacts() {
    run("state tests, artifacts", Engine::Artifact, OptimizationLevel::Default);
}

#[test]
fn all_cases_pass_with_hand_overs() {
    run("state tests, hand-over", Engine::HandOver(1), OptimizationLevel::Default);
}
