//! `cranevm aot`: artifacts made, listed, checked and pruned.

use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};
use tempfile::TempDir;

/// A folder with a store and a list of contracts.
struct World {
    folder: TempDir,
    store: String,
    contracts: String,
}

/// Adds 1 to 3 in a loop; a call; a contract that only stops.
const CONTRACTS: &str = r#"{"name":"loop","bytecode":"0x60035b6001900380600257"}
{"name":"call","bytecode":"0x5f5f5f5f5f5f5af15000","more":1}

{"name":"stop","bytecode":"0x00"}
"#;

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (store, contracts) = (path("store"), path("contracts.jsonl"));
        fs::write(&contracts, CONTRACTS).unwrap();
        Self { folder, store, contracts }
    }

    fn aot(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cranevm"));
        command.arg("aot").args(arguments).args(["--store", &self.store]).output().unwrap()
    }

    /// The lines of JSON that a command writes, and its exit code.
    fn json(&self, arguments: &[&str]) -> (Vec<Value>, i32) {
        let output = self.aot(&[arguments, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines, output.status.code().unwrap())
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(&self.store).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn column<'a>(lines: &'a [Value], name: &str) -> Vec<&'a str> {
    lines.iter().filter_map(|line| line[name].as_str()).collect()
}

#[test]
fn what_is_built_is_skipped_the_next_time() {
    let world = World::new();
    let (lines, code) = world.json(&["build", &world.contracts]);
    assert_eq!(code, 0);
    assert_eq!(column(&lines, "name"), ["loop", "call", "stop"]);
    assert_eq!(column(&lines, "status"), ["built"; 3]);
    assert!(lines[..3].iter().all(|line| line["artifact_bytes"].as_u64().unwrap() > 500));
    assert!(lines[..3].iter().all(|line| line["compile_ns"].as_u64().unwrap() > 0));
    assert!(lines[..3].iter().all(|line| line["error"].is_null()));
    assert_eq!(lines[3], serde_json::json!({"built": 3, "skipped": 0, "failed": 0}));
    assert_eq!(world.files().len(), 3);

    // Interrupted: one is missing. Another contract comes along, by itself.
    fs::remove_file(&world.files()[1]).unwrap();
    let (lines, code) = world.json(&["build", &world.contracts, "0x5b00"]);
    assert_eq!(code, 0);
    let statuses = column(&lines, "status");
    assert_eq!(statuses.iter().filter(|&&status| status == "skipped").count(), 2);
    assert_eq!(lines[4], serde_json::json!({"built": 2, "skipped": 2, "failed": 0}));

    // Another fork and another level are other artifacts.
    for arguments in [["--spec", "Cancun"], ["--opt", "none"]] {
        let (lines, _) = world.json(&["build", &world.contracts, arguments[0], arguments[1]]);
        assert_eq!(lines[3]["built"], 3);
    }
    assert_eq!(world.files().len(), 10);
    let text = String::from_utf8(world.aot(&["build", &world.contracts]).stdout).unwrap();
    assert!(text.ends_with("0 built, 3 skipped, 0 failed\n"), "{text}");
}

#[test]
fn what_is_bad_is_found_pruned_and_built_again() {
    let world = World::new();
    world.aot(&["build", &world.contracts]);
    let (lines, code) = world.json(&["verify"]);
    assert_eq!((column(&lines, "status"), code), (vec!["ok"; 3], 0));

    let files = world.files();
    let bytes = fs::read(&files[0]).unwrap();
    // Cut off within the artifact; damaged; another's.
    fs::write(&files[0], &bytes[..100]).unwrap();
    let mut damaged = fs::read(&files[1]).unwrap();
    damaged[400] ^= 1;
    fs::write(&files[1], damaged).unwrap();
    fs::write(&files[2], bytes).unwrap();
    fs::write(world.folder.path().join("store/odd.cranevm"), "odd").unwrap();
    fs::write(world.folder.path().join("store/notes.txt"), "not an artifact").unwrap();
    let (lines, code) = world.json(&["verify"]);
    assert_eq!(code, 1);
    assert_eq!(column(&lines, "status"), ["manifest", "content-hash", "bytecode", "name"]);
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap()).collect();
    assert!(column(&lines, "file").iter().zip(names).all(|(file, name)| *file == name));
    let output = world.aot(&["verify"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("4 of 4 artifacts are bad"), "{text}");

    let (lines, code) = world.json(&["prune"]);
    assert_eq!((lines.len(), code), (5, 0));
    assert_eq!(lines[4], serde_json::json!({"deleted": 4, "kept": 0}));
    assert_eq!(world.files().len(), 1, "what isn't an artifact stays");
    let (lines, _) = world.json(&["build", &world.contracts]);
    assert_eq!(lines[3]["built"], 3);
    assert_eq!(world.json(&["verify"]).1, 0);
    assert_eq!(world.json(&["prune"]).0[0], serde_json::json!({"deleted": 0, "kept": 3}));
}

/// One that stays doesn't keep the others.
#[test]
fn what_cant_be_pruned_is_told() {
    let world = World::new();
    world.aot(&["build", &world.contracts]);
    let store = world.folder.path().join("store");
    fs::create_dir_all(store.join("a.cranevm/full")).unwrap();
    fs::write(store.join("b.cranevm"), "odd").unwrap();
    let output = world.aot(&["prune"]);
    let [text, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(text.contains("deleted b.cranevm") && text.contains("1 deleted, 4 kept"), "{text}");
    assert!(errors.contains("a.cranevm") && errors.contains("1 bad files"), "{errors}");
}

/// What can't be stored runs natively all the same, and the reason is told.
#[test]
fn what_cant_be_stored_is_told() {
    let world = World::new();
    world.aot(&["build", &world.contracts]);
    for file in world.files() {
        fs::remove_file(&file).unwrap();
        fs::create_dir_all(file.join("full")).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_cranevm"))
        .args(["run", "0x60035b6001900380600257", "--store", &world.store])
        .output()
        .unwrap();
    let [text, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(text.contains("the engines agree"), "{text}");
    assert!(errors.starts_with("error: artifacts couldn't be stored: "), "{errors}");
    let reason = "(os error";
    assert_eq!(errors.matches(reason).count(), 1, "{errors}");
}

/// Names are anybody's: they don't end the line that they are in.
#[test]
fn names_are_printed_in_one_line() {
    let world = World::new();
    fs::write(&world.contracts, "{\"name\":\"b\\nb\\u001b[31m\",\"bytecode\":\"00\"}").unwrap();
    let output = world.aot(&["build", &world.contracts]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    let (lines, _) = world.json(&["build", &world.contracts]);
    assert_eq!(column(&lines, "name"), ["b\nb\u{1b}[31m"]);
}

/// A damaged artifact isn't skipped, but made again.
#[test]
fn a_bad_artifact_is_built_again_at_once() {
    let world = World::new();
    world.aot(&["build", &world.contracts]);
    fs::write(&world.files()[2], "").unwrap();
    let (lines, _) = world.json(&["build", &world.contracts]);
    assert_eq!(lines[3], serde_json::json!({"built": 1, "skipped": 2, "failed": 0}));
    assert_eq!(world.json(&["verify"]).1, 0);
}

#[test]
fn artifacts_are_listed() {
    let world = World::new();
    world.aot(&["build", &world.contracts, "--spec", "Prague", "--opt", "less"]);
    let (lines, code) = world.json(&["list"]);
    assert_eq!((lines.len(), code), (3, 0));
    assert_eq!(column(&lines, "spec"), ["Prague"; 3]);
    assert_eq!(column(&lines, "opt"), ["less"; 3]);
    let mut lengths: Vec<_> = lines.iter().map(|line| line["bytecode_len"].as_u64()).collect();
    lengths.sort();
    assert_eq!(lengths, [Some(1), Some(10), Some(11)]);
    assert!(column(&lines, "compiler").iter().all(|compiler| compiler.contains("Cranelift")));
    let text = String::from_utf8(world.aot(&["list"]).stdout).unwrap();
    assert!(text.contains("3 artifacts"), "{text}");
    fs::write(&world.files()[0], "x").unwrap();
    let (lines, code) = world.json(&["list"]);
    assert_eq!((lines[0]["error"].is_string(), code), (true, 0));
}

#[test]
fn what_isnt_compiled_fails() {
    let world = World::new();
    // Longer than the analysis can index.
    let long = world.folder.path().join("long.hex");
    fs::write(&long, "00".repeat((1 << 24) + 1)).unwrap();
    let (lines, code) = world.json(&["build", long.to_str().unwrap(), "0x00"]);
    assert_eq!((column(&lines, "status"), code), (vec!["failed", "built"], 1));
    assert!(lines[0]["error"].as_str().unwrap().contains("bytes of bytecode"), "{lines:?}");
    assert_eq!(lines[2], serde_json::json!({"built": 1, "skipped": 0, "failed": 1}));
}

#[test]
fn bad_input_is_told() {
    let world = World::new();
    fs::write(world.folder.path().join("file"), "").unwrap();
    let refuses = |arguments: &[&str], part: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_cranevm")).arg("aot").args(arguments).output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
    };
    let file = world.folder.path().join("file");
    for action in ["verify", "list", "prune"] {
        refuses(&[action, "--store", &world.store], "not a directory");
        refuses(&[action, "--store", file.to_str().unwrap()], "not a directory");
        refuses(&[action], "--store");
    }
    refuses(&["build", "0x00", "--store", file.join("x").to_str().unwrap()], "--store");
    refuses(&["build", "0x0", "--store", &world.store], "odd number");
    assert!(!file.with_file_name("store").exists(), "nothing is made of bad input");
}

/// Artifacts for another machine are made here and refused here.
#[test]
fn artifacts_of_another_machine() {
    let world = World::new();
    for target in ["aarch64-apple-darwin", "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"]
    {
        let (lines, code) = world.json(&["build", &world.contracts, "--target", target]);
        assert_eq!(code, 0);
        assert_eq!(lines[3], serde_json::json!({"built": 3, "skipped": 0, "failed": 0}));
        let is_host = target == format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
            && cfg!(all(target_os = "linux", target_env = "gnu"));
        let (lines, code) = world.json(&["verify"]);
        assert_eq!(code, if is_host { 0 } else { 1 }, "{target}: {lines:?}");
        for file in world.files() {
            let bytes = fs::read(&file).unwrap();
            let header = cranevm_codegen::artifact::Header::read(&bytes).unwrap();
            assert_eq!((header.target.as_str(), header.cpu_features.as_str()), (target, ""));
        }
    }
    let output = world.aot(&["build", &world.contracts, "--target", "sparc-unknown-linux-gnu"]);
    assert_ne!(output.status.code(), Some(0));
}
