//! `cranevm replay`: shipped blocks on all engines and in all modes, blocks from files, and what is
//! wrong with either.

use alloy_primitives::{B256, Bytes, U64, U256, keccak256};
use cranevm_cli::replay::{AccountJson, BlockFile, CodeJson, synthetic_blocks};
use liblzma::write::XzEncoder;
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

fn replay(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cranevm"));
    command.arg("replay").args(arguments).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

/// The shipped block of this name.
fn block(name: &str) -> BlockFile {
    let blocks = synthetic_blocks().unwrap();
    blocks.into_iter().find(|(known, _)| *known == name).unwrap().1
}

fn write(directory: &Path, name: &str, content: &Value) -> String {
    let path = directory.join(name);
    fs::write(&path, content.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Quick settings.
const ONCE: [&str; 6] = ["--rounds", "1", "--mode", "rotating", "--opt", "none"];

/// Replays a file once, and gives exit code, standard error and standard output.
fn replay_once(file: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let output = replay(&[&[file][..], &ONCE, more].concat());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stderr), text(&output.stdout))
}

#[test]
fn shipped_blocks_are_equal_on_all_engines_in_all_modes() {
    let output = replay(&["--rounds", "1", "--opt", "none", "--opt", "default", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report = report(&output);
    assert_eq!(report["differences"], json!([]));
    let blocks = report["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        assert_eq!(block["header_matches"], true, "{block}");
        assert!(block["gas_used"].as_u64().unwrap() > 1_000_000, "{block}");
    }
    let engines = ["native-none", "native", "defaults-none", "defaults"];
    assert_eq!(report["engines"], json!(engines));
    let rows = report["rows"].as_array().unwrap();
    for mode in ["hot", "rotating", "cold", "live", "fresh", "found"] {
        let compiles = ["live", "fresh"].contains(&mode);
        for engine in engines {
            let of: Vec<&Value> =
                rows.iter().filter(|row| row["mode"] == mode && row["engine"] == engine).collect();
            let has_meaning = !compiles || engine.starts_with("defaults");
            assert_eq!(of.len(), if has_meaning { 4 } else { 0 }, "{mode}, {engine}");
            for row in of {
                assert!(row["native"]["median_ns"].as_u64().unwrap() > 0, "{row}");
                assert!(row["ratio"]["value"].as_f64().unwrap() > 0.0, "{row}");
                assert_eq!(row["compile_cpu_ns"].is_u64(), compiles, "{row}");
            }
        }
    }
    // Two modes have two engines each, four have four.
    assert_eq!(report["aggregates"].as_array().unwrap().len(), 2 * 2 + 4 * 4);
    for sum in report["aggregates"].as_array().unwrap() {
        assert!(sum["compiling"]["cpu_ns"].as_u64().unwrap() > 0, "{sum}");
        assert!(sum["compiling"]["programs"].as_u64().unwrap() > 0, "{sum}");
        assert_eq!(sum["compiling"]["failed"], 0, "{sum}");
    }
    for field in ["version", "cpu", "cpus", "node_crypto", "rounds", "seed", "once_cpu_ns"] {
        assert!(!report[field].is_null(), "{field}");
    }
}

#[test]
fn a_table_has_each_mode_and_the_sums() {
    let output = replay(&["--rounds", "1", "--opt", "none", "--mode", "cold", "--mode", "fresh"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["\ncold\n", "\nfresh\n", " swaps", "native-none", "compiling", "once per process"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("\nhot\n"), "{text}");
}

#[test]
fn a_wrong_header_fails() {
    let directory = TempDir::new().unwrap();
    for (field, what) in [("gasUsed", "gas used"), ("receiptsRoot", "receipts root")] {
        let mut file = json!(block("transfers"));
        let header = &mut file["header"];
        header[field] = match field {
            "gasUsed" => json!(block("transfers").header.gas_used + U64::from(1)),
            _ => json!(B256::repeat_byte(1)),
        };
        let file = write(directory.path(), "wrong.json", &file);
        let (code, error, text) = replay_once(&file, &[]);
        assert_eq!(code, Some(1), "{error}");
        assert_eq!(error, "error: 1 block(s) differ: wrong\n");
        assert!(text.contains(what) && text.contains("DIFFERS"), "{text}");
        let (code, _, json) = replay_once(&file, &["--json"]);
        assert_eq!(code, Some(1));
        let report: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(report["differences"][0]["block"], "wrong");
        assert_eq!(report["differences"].as_array().unwrap().len(), 1, "{report}");
    }
}

/// Code in the same file, in another one, and both compressed.
#[test]
fn codes_are_found() {
    let mut file = block("swaps");
    let directory = TempDir::new().unwrap();
    let place = directory.path();
    write(place, "whole.json", &json!(file));
    let codes = std::mem::take(&mut file.codes);
    let apart = write(place, "apart.json", &json!(file));
    let (code, _, text) = replay_once(&apart, &[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("the code of hash 0x") && text.contains(" is missing"), "{text}");

    write(place, "codes.json", &json!(codes));
    let xz = fs::File::create(place.join("packed.json.xz")).unwrap();
    let mut xz = XzEncoder::new(xz, 1);
    xz.write_all(json!(file).to_string().as_bytes()).unwrap();
    xz.finish().unwrap();
    let (code, error, json) = replay_once(place.to_str().unwrap(), &["--json"]);
    assert_eq!(code, Some(0), "{error}");
    let report: Value = serde_json::from_str(&json).unwrap();
    let names: Vec<&str> = (report["blocks"].as_array().unwrap().iter())
        .map(|block| block["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["apart", "packed", "whole"]);

    let (first, _) = codes.first_key_value().unwrap();
    let mut wrong = codes.clone();
    wrong.insert(*first, CodeJson(Bytes::from_static(&[0])));
    write(place, "codes.json", &json!(wrong));
    let (code, error, _) = replay_once(&apart, &[]);
    assert_eq!(code, Some(2));
    assert!(error.contains(&format!("the code of hash {first} has the hash 0x")), "{error}");
}

#[test]
fn bad_files_are_refused() {
    let directory = TempDir::new().unwrap();
    let refuses = |change: &dyn Fn(&mut Value), parts: &[&str]| {
        let mut file = json!(block("transfers"));
        change(&mut file);
        let file = write(directory.path(), "bad.json", &file);
        let (code, error, _) = replay_once(&file, &[]);
        assert_eq!(code, Some(2), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        for part in parts.iter().chain(&["bad.json"]) {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    };
    refuses(&|file| *file = json!([]), &["bad.json:1"]);
    refuses(&|file| file["chain"] = json!(10), &["chain: 10 isn't known"]);
    refuses(
        &|file| drop(file["header"].as_object_mut().unwrap().remove("gasUsed")),
        &["header", "missing field `gasUsed`"],
    );
    refuses(&|file| file["header"]["gasLimit"] = json!("many"), &["header.gasLimit"]);
    for field in ["baseFeePerGas", "excessBlobGas", "parentBeaconBlockRoot"] {
        refuses(
            &|file| file["header"][field] = Value::Null,
            &[&format!("header.{field}: missing")],
        );
    }
    refuses(
        &|file| file["header"]["excessBlobGas"] = json!("0xffffffffffffffff"),
        &["header.excessBlobGas: 18446744073709551615"],
    );
    refuses(&|file| file["txs"][2]["type"] = json!("0x5"), &["txs[2]: type 5 isn't known"]);
    refuses(
        &|file| file["txs"][3]["maxFeePerBlobGas"] = Value::Null,
        &["txs[3]: type 3 without maxFeePerBlobGas"],
    );
    refuses(&|file| file["accounts"]["0x12"] = json!({}), &["accounts"]);
    let code = json!({ keccak256([0]).to_string(): "0x0" });
    refuses(&|file| file["codes"] = code.clone(), &["codes.0x", "odd number of digits"]);

    let path = directory.path().join("bad.json.xz");
    fs::write(&path, "no xz").unwrap();
    let (code, error, _) = replay_once(path.to_str().unwrap(), &[]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("bad.json.xz: can't be read"), "{error}");
    let empty = TempDir::new().unwrap();
    let (code, error, _) = replay_once(empty.path().to_str().unwrap(), &[]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("has no .json or .json.xz file"), "{error}");
    let (code, error, _) = replay_once("nothing_like_that.json", &[]);
    assert_eq!(code, Some(2), "{error}");
    let file = write(directory.path(), "twice.json", &json!(block("transfers")));
    let (code, error, _) = replay_once(&file, &[&file]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("twice: there are two blocks of this name"), "{error}");
}

/// What is asked for twice is measured once; nothing isn't a number of rounds.
#[test]
fn odd_options_are_taken_as_meant_or_refused() {
    let twice = ["--engine", "native", "--engine", "native", "--mode", "hot", "--mode", "hot"];
    let output = replay(&[&twice[..], &["--rounds", "1", "--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["modes"], json!(["hot"]));
    assert_eq!(report["engines"], json!(["native"]));
    for rounds in ["0", "1000000000000"] {
        let output = replay(&["--rounds", rounds]);
        assert_eq!(output.status.code(), Some(2), "{rounds}");
    }
}

#[test]
fn modes_that_compile_want_an_engine_that_does() {
    let output = replay(&["--mode", "live", "--engine", "native"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: --mode: live: only for --engine defaults"), "{error}");
}

/// A block that reads what its file doesn't have is named, with what is missing; the others are
/// measured.
#[test]
fn missing_state_is_named() {
    let mut file = block("transfers");
    let number: u64 = file.header.number.to();
    // PUSH8 number BLOCKHASH STOP
    let mut code = vec![0x67];
    code.extend((number - 2).to_be_bytes());
    code.extend([0x40, 0x00]);
    let code = Bytes::from(code);
    let hash = keccak256(&code);
    let to = file.txs[0].to.unwrap();
    file.codes.insert(hash, CodeJson(code));
    file.accounts.insert(to, AccountJson { code_hash: Some(hash), ..Default::default() });
    assert_eq!(file.txs[0].value, U256::ONE);
    let directory = TempDir::new().unwrap();
    let place = directory.path();
    write(place, "reads.json", &json!(file));
    write(place, "well.json", &json!(block("swaps")));
    let (code, error, text) = replay_once(place.to_str().unwrap(), &[]);
    assert_eq!(code, Some(1), "{error}");
    assert_eq!(error, "error: 1 block(s) differ: reads\n");
    let missing =
        format!("transaction 0: database error: the hash of block {} is missing", number - 2);
    assert!(text.to_lowercase().contains(&missing), "{missing:?} is not in {text}");
    assert!(text.contains("no: failed"), "{text}");
}
