//! The shipped contracts are what their folder says: sources, bytecode and fixtures agree, and each
//! workload returns what its description, computed outside any EVM, says.

#![deny(unsafe_code)]

use cranevm::OptimizationLevel;
use cranevm_benches::{Workload, workloads};
use cranevm_cli::{Engine, EngineRunner, assembler, hex, observation::differences};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts")
}

fn text(file: &str) -> String {
    let path = folder().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of the folder's files with an extension, without it.
fn stems(extension: &str) -> BTreeSet<String> {
    fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// What the fixture says the transaction returns.
fn expected_output(name: &str) -> Vec<u8> {
    let json: serde_json::Value = serde_json::from_str(&text(&format!("{name}.json"))).unwrap();
    let output = json[name]["_info"]["output"].as_str().expect("the fixture has an output");
    hex::decode(output).unwrap().to_vec()
}

fn all() -> Vec<Workload> {
    workloads().unwrap()
}

#[test]
fn every_fixture_is_shipped() {
    let shipped: BTreeSet<String> = all().into_iter().map(|workload| workload.name).collect();
    assert_eq!(shipped, stems("json"));
    assert!(shipped.len() >= 8);
}

#[test]
fn every_bytecode_has_a_source_and_is_on_one_line() {
    let sources: BTreeSet<String> = stems("sol").union(&stems("evm")).cloned().collect();
    assert_eq!(stems("hex"), sources);
    for name in sources {
        let hex = text(&format!("{name}.hex"));
        assert_eq!(hex.lines().count(), 1, "{name}");
        assert!(hex.trim_end().bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    }
}

#[test]
fn fixtures_enter_the_bytecode_beside_them() {
    for workload in all() {
        let hex = hex::decode(text(&format!("{}.hex", workload.name)).trim_end()).unwrap();
        assert_eq!(workload.fixture.entry_code(), hex, "{}", workload.name);
    }
}

#[test]
fn assembly_gives_the_bytecode_beside_it() {
    for name in stems("evm") {
        let assembled = assembler::assemble(&text(&format!("{name}.evm"))).unwrap();
        let hex = hex::decode(text(&format!("{name}.hex")).trim_end()).unwrap();
        assert_eq!(assembled, hex, "{name}");
    }
}

#[test]
fn the_large_contract_is_just_under_the_limit() {
    let bytes = text("large_24k.hex").trim_end().len() / 2;
    assert!((23_500..=24_576).contains(&bytes), "{bytes} bytes");
}

#[test]
fn workloads_return_what_their_models_say() {
    let runner = EngineRunner::interpreter();
    for workload in all() {
        let mut session = runner.session(&workload.environment, workload.database());
        let result = session.run().unwrap().result;
        assert!(result.is_success(), "{}: {result:?}", workload.name);
        let output = result.output().map(|bytes| bytes.to_vec());
        assert_eq!(output, Some(expected_output(&workload.name)), "{}", workload.name);
    }
}

#[test]
fn workloads_run_natively_as_in_the_interpreter() {
    let levels =
        [OptimizationLevel::None, OptimizationLevel::Default, OptimizationLevel::Aggressive];
    let interpreter = EngineRunner::interpreter();
    for opt in levels {
        let native = EngineRunner::new(Engine::Native, opt).unwrap();
        for workload in all() {
            let run = |runner: &EngineRunner| {
                runner.session(&workload.environment, workload.database()).run().unwrap()
            };
            let lines = differences(&run(&interpreter), &run(&native));
            assert!(lines.is_empty(), "{}, {opt:?}:\n{}", workload.name, lines.join("\n"));
        }
        // Every contract, the tokens and the implementation included, was compiled.
        let compilations = native.compilations();
        assert_eq!(compilations.failed, 0, "{opt:?}");
        assert!(compilations.succeeded >= stems("hex").len() as u64, "{opt:?}");
    }
}
