//! Malformed input on the command line: exit code 2 and one line that says what and where.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output},
};

fn cranevm(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cranevm")).args(arguments).output().unwrap()
}

/// Runs the program and checks that it refuses its input with one line, which has all of `parts`.
#[track_caller]
fn refuses(arguments: &[&str], parts: &[&str]) {
    let output = cranevm(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    assert!(text.starts_with("error: "), "{text}");
    assert!(text.len() < 500, "{text}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: {part:?} is not in {text}");
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn hex_on_the_command_line() {
    refuses(&["run", "0x600"], &["0x600", "odd number of digits (3)"]);
    refuses(&["run", "0x60zz"], &["character 'z' at position 5"]);
    refuses(&["run", "nothing_like_that"], &["nothing_like_that", "no such file", "big_loop"]);
    refuses(&["explain", "0x1"], &["odd number"]);
    refuses(&["compile", "xyz"], &["xyz", "no such file"]);
    let long = format!("0x{}", "60".repeat(20_000) + "6");
    refuses(&["run", &long], &["odd number of digits (40001)"]);
}

#[test]
fn values_of_options() {
    refuses(&["run", "0x00", "--calldata", "0x123"], &["--calldata", "odd number"]);
    refuses(&["run", "0x00", "--spec", "Atlantis"], &["Atlantis", "Frontier", "Amsterdam"]);
    refuses(&["run", "0x00", "--gas", "many"], &["--gas", "many"]);
    refuses(&["run", "0x00", "--value", "-"], &["--value"]);
    refuses(&["run", "0x00", "--engine", "steam"], &["steam", "interpreter", "native"]);
    refuses(&["run", "0x00", "--opt", "most"], &["most", "aggressive"]);
    refuses(&["explain", "0x00", "--pc", "0xg"], &["--pc"]);
    refuses(&["explain", "0x00", "--pc", "7"], &["--pc", "no basic block"]);
    refuses(&["explain", "0x00", "--emit", "wat"], &["wat", "clif"]);
    refuses(&["statetest", "absent", "--threads", "100000"], &["--threads", "100000", "1024"]);
    refuses(&["run", "0x00", "--store", "/dev/null"], &["--store", "/dev/null"]);
}

#[test]
fn usage_errors_have_the_same_exit_code() {
    for arguments in [&[][..], &["run"], &["bench"], &["statetest"], &["frobnicate"]] {
        assert_eq!(cranevm(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(cranevm(&["--help"]).status.code(), Some(0));
}

#[test]
fn fixtures() {
    let folder = Folder::new();
    let cases = [
        ("{", "EOF"),
        ("{}", "no fixture"),
        ("[1, 2]", "expected a map"),
        (r#"{ "x": {} }"#, "missing field `env`"),
        ("\u{feff}", "1:1"),
        ("", "EOF"),
    ];
    for (index, (text, part)) in cases.into_iter().enumerate() {
        let path = folder.file(&format!("{index}.json"), text);
        refuses(&["run", &path], &[&path, part]);
        refuses(&["bench", &path], &[&path, part]);
    }
    let env = r#""env": { "currentGasLimit": "0x1000000", "currentNumber": "1", "currentTimestamp": "1" }"#;
    let account = |code: &str| {
        format!(r#""0xcccccccccccccccccccccccccccccccccccccccc": {{ "code": "{code}" }}"#)
    };
    let tx = r#""transaction": [{ "gasLimit": "0x10000", "sender": "0x1111111111111111111111111111111111111111",
        "to": "0xcccccccccccccccccccccccccccccccccccccccc" }]"#;
    let odd = format!(r#"{{ "odd": {{ {env}, "pre": {{ {} }}, {tx} }} }}"#, account("0x600"));
    refuses(
        &["run", &folder.file("odd.json", odd)],
        &["odd.json:1:", "odd.pre.0xcccc", "code", "odd number of digits (3)"],
    );
    let absent = format!(r#"{{ "absent": {{ {env}, "pre": {{}}, {tx} }} }}"#);
    refuses(&["run", &folder.file("absent.json", absent)], &["absent", "is not in pre"]);
    refuses(&["bench", "no/such.json"], &["no/such.json", "can't be read"]);
    refuses(&["bench", folder.0.path().to_str().unwrap()], &["can't be read"]);
    refuses(&["run", &folder.file("binary.json", [0xff, 0xfe, 0])], &["binary.json"]);
}

#[test]
fn contract_files() {
    let folder = Folder::new();
    let assembly = folder.file("bad.evm", "PUSH1 1\n  JUMP @here");
    refuses(&["run", &assembly], &["bad.evm:2:8", "unknown mnemonic"]);
    let assembly = folder.file("wide.evm", "PUSH1 1\nPUSH1 0x100");
    refuses(&["explain", &assembly], &["wide.evm:2:7", "256 doesn't fit"]);
    refuses(&["run", &folder.file("odd.hex", "0x6001600")], &["odd.hex", "odd number"]);
    refuses(&["run", &folder.file("binary.hex", [0x60, 0xff])], &["binary.hex", "byte 1"]);
}

#[test]
fn lists_of_contracts() {
    let folder = Folder::new();
    let good = r#"{"name":"a","bytecode":"0x00"}"#;
    let list = folder.file("bad.jsonl", format!("{good}\n\n{{\"name\":\"b\"}}\n"));
    refuses(&["compile", &list], &["bad.jsonl:3:", "missing field `bytecode`"]);
    let list = folder.file("odd.jsonl", r#"{"name":"a","bytecode":"0x0"}"#);
    refuses(&["compile", &list, "--json"], &["odd.jsonl:1", "bytecode", "odd number"]);
    refuses(&["compile", &folder.file("bad.jsonl.xz", "not xz")], &["bad.jsonl.xz"]);
    refuses(&["compile", "absent.jsonl"], &["absent.jsonl", "can't be read"]);
}

/// Compressed files may be several that were put together; what else follows one isn't passed over.
#[test]
fn compressed_lists_are_read_to_their_ends() {
    use liblzma::write::XzEncoder;
    let packed = |name: &str| {
        let mut encoder = XzEncoder::new(Vec::new(), 1);
        writeln!(encoder, r#"{{"name":"{name}","bytecode":"0x00"}}"#).unwrap();
        encoder.finish().unwrap()
    };
    let folder = Folder::new();
    let list = folder.file("two.jsonl.xz", [packed("a"), packed("b")].concat());
    let output = cranevm(&["compile", "--json", &list]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("\"contracts\":2"), "{text}");
    let list = folder.file("more.jsonl.xz", [packed("a"), b"and more".to_vec()].concat());
    refuses(&["compile", &list], &["more.jsonl.xz"]);
}

#[test]
fn targets_without_a_code_generator() {
    for target in ["aarch64_be-unknown-linux-gnu", "s390x-unknown-linux-gnu"] {
        let output = cranevm(&["compile", "0x00", "--target", target]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("no code generator"), "{text}");
    }
}

#[test]
fn state_tests() {
    let folder = Folder::new();
    refuses(&["statetest", "absent"], &["absent", "can't be read"]);
    refuses(&["statetest", folder.0.path().to_str().unwrap()], &["no .json file"]);
    let archive = folder.file("bad.tar.xz", "not an archive");
    refuses(&["statetest", &archive, "--engine", "interpreter"], &["bad.tar.xz"]);
    let bad = folder.file("bad.json", "{\"x\": 1}");
    refuses(&["statetest", &bad, "--engine", "interpreter"], &["bad.json", "1:7"]);
}

/// Files are refused by their length; what has none is covered by the reader's own tests.
#[test]
fn input_that_is_too_long() {
    let folder = Folder::new();
    for name in ["long.hex", "long.json"] {
        let path = folder.file(name, "");
        fs::File::options().write(true).open(&path).unwrap().set_len((1 << 30) + 1).unwrap();
        refuses(&["run", &path], &[name, "file longer than 1073741824 bytes"]);
        refuses(&["statetest", &path, "--engine", "interpreter"], &[name, "file longer than"]);
    }
}

#[test]
fn good_input_runs() {
    let output = cranevm(&["run", "0x5f5f5260205ff3", "--engine", "interpreter", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["engines"][0]["result"], "success (Return)");
    assert_eq!(line["engines"][0]["output"], format!("0x{}", "00".repeat(32)));
}

/// Output that can't be written is an error of one line, not a panic.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cranevm"))
        .args(["explain", "0x6001600201"])
        .stdout(full)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("can't be written"), "{text}");

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cranevm"));
    let status = command.args(["run", "zz"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
