//! The runner on hand-made files: what passes, what fails and how it is told.

use super::*;
use crate::Engine;
use cranevm::OptimizationLevel;
use std::fs;

/// A test whose contract stores 1 to slot 0 and logs nothing, with the expectations given.
fn suite(post: &str) -> String {
    format!(
        r#"{{ "store": {{
        "env": {{ "currentCoinbase": "0x2adc25665018aa1fe0e6bc666dac8fc2697ff9ba",
            "currentGasLimit": "0x1000000", "currentNumber": "0x1", "currentTimestamp": "0x3e8",
            "currentDifficulty": "0x0", "currentBaseFee": "0x7" }},
        "pre": {{ "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b":
                {{ "balance": "0xffffffffffff", "code": "0x", "nonce": "0x0", "storage": {{}} }},
            "0xcccccccccccccccccccccccccccccccccccccccc":
                {{ "balance": "0x0", "code": "0x600160005500", "nonce": "0x1", "storage": {{}} }} }},
        "transaction": {{ "data": ["0x"], "gasLimit": ["0x20000"], "gasPrice": "0xa", "nonce": "0x0",
            "secretKey": "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8",
            "sender": "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b",
            "to": "0xcccccccccccccccccccccccccccccccccccccccc", "value": ["0x0"] }},
        "post": {{ {post} }} }} }}"#
    )
}

fn expectation(hash: &str, exception: &str) -> String {
    format!(
        r#"{{ "hash": "{hash}", {exception}
        "logs": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
        "indexes": {{ "data": 0, "gas": 0, "value": 0 }} }}"#
    )
}

const WRONG: &str = "0x0000000000000000000000000000000000000000000000000000000000000001";

fn run(text: &str, runners: &[EngineRunner]) -> Report {
    let file = TestFile::InMemory { name: "made.json".into(), text: text.into() };
    run_test_file(file, runners)
}

/// The state root that the interpreter reaches, taken from its failure.
fn right_hash() -> String {
    let text = suite(&format!(r#""Cancun": [{}]"#, expectation(WRONG, "")));
    let report = run(&text, &[EngineRunner::interpreter()]);
    report.failures[0].got.clone()
}

#[test]
fn a_wrong_state_root_fails_and_the_right_one_passes() {
    let hash = right_hash();
    let post = format!(r#""Cancun": [{}, {}]"#, expectation(&hash, ""), expectation(WRONG, ""));
    let report = run(&suite(&post), &[EngineRunner::interpreter()]);
    assert_eq!(report.counts, Counts { files: 1, cases: 2, passed: 1, failed: 1, skipped: 0 });
    let failure = &report.failures[0];
    assert_eq!((failure.what, failure.index), ("state root", 1));
    assert_eq!((failure.expected.as_str(), &failure.got), (WRONG, &hash));
    assert!(!report.is_success());
}

#[test]
fn native_engines_reach_the_same_state() {
    let hash = right_hash();
    let post = format!(r#""Cancun": [{}]"#, expectation(&hash, ""));
    let others = [Engine::Native, Engine::OneBlockPerChunk, Engine::Chaos(1), Engine::Chaos(2)];
    for engine in others.into_iter().chain(Engine::HAND_OVERS) {
        let runner = EngineRunner::new(engine, OptimizationLevel::Default).unwrap();
        let report = run(&suite(&post), std::slice::from_ref(&runner));
        assert!(report.is_success(), "{engine}: {:?}", report.failures);
        assert_eq!((runner.compilations().succeeded, runner.compilations().failed), (1, 0));
    }
}

#[test]
fn exceptions_are_expected_or_not() {
    let expected = r#""expectException": "TransactionException.ANY","#;
    let post = format!(r#""Cancun": [{}]"#, expectation(WRONG, expected));
    let report = run(&suite(&post), &[EngineRunner::interpreter()]);
    assert_eq!(report.failures[0].what, "exception");
    // Without enough gas the transaction is invalid, as expected.
    let report = run(&suite(&post).replace("0x20000", "0x20"), &[EngineRunner::interpreter()]);
    assert!(report.is_success(), "{:?}", report.failures);
    let post = format!(r#""Cancun": [{}]"#, expectation(WRONG, ""));
    let report = run(&suite(&post).replace("0x20000", "0x20"), &[EngineRunner::interpreter()]);
    assert_eq!(
        (report.failures[0].what, report.failures[0].expected.as_str()),
        ("exception", "none")
    );
}

#[test]
fn forks_that_revm_does_not_have_are_skipped() {
    let one = expectation(WRONG, "");
    let post = format!(r#""Constantinople": [{one}], "Tomorrow": [{one}, {one}]"#);
    let report = run(&suite(&post), &[EngineRunner::interpreter()]);
    assert_eq!(report.counts, Counts { files: 1, cases: 3, skipped: 3, ..Counts::default() });
}

#[test]
fn a_panic_is_a_failure_of_its_case() {
    // An index beyond the list panics in the parser's crate.
    let one = expectation(WRONG, "").replace(r#""gas": 0"#, r#""gas": 9"#);
    let report = run(&suite(&format!(r#""Cancun": [{one}]"#)), &[EngineRunner::interpreter()]);
    assert_eq!((report.counts.failed, report.failures[0].what), (1, "panic"));
    assert!(report.failures[0].got.contains("index"), "{}", report.failures[0].got);
}

#[test]
fn directories_are_searched_and_malformed_files_reported() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    fs::create_dir_all(&inner).unwrap();
    let post = format!(r#""Cancun": [{}]"#, expectation(&right_hash(), ""));
    fs::write(inner.join("good.json"), suite(&post)).unwrap();
    fs::write(inner.join("bad.json"), "{ \"x\": 1 }").unwrap();
    fs::write(inner.join("ignored.txt"), "x").unwrap();
    let paths = [folder.path().to_path_buf()];
    assert_eq!(count_files(&paths), Some(2));
    let runners = [EngineRunner::interpreter()];
    let report = run_suite(&paths, &runners, Options::default(), &|_| {}).unwrap();
    assert_eq!(report.counts, Counts { files: 2, cases: 1, passed: 1, failed: 0, skipped: 0 });
    assert_eq!(report.malformed.len(), 1);
    assert!(report.malformed[0].place.contains("bad.json:1:"));
    let missing = [folder.path().join("missing")];
    assert!(run_suite(&missing, &runners, Options::default(), &|_| {}).is_err());
}
