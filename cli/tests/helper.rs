//! The program is its own helper process.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

fn cranevm(arguments: &[&str]) -> Output {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/contracts/big_loop.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cranevm"));
    command.args(arguments).arg(fixture).output().unwrap()
}

/// The first field of this name in a line of JSON, as text.
fn field(output: &Output, name: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    line[name].to_string()
}

#[test]
fn bench_compares_code_from_a_helper() {
    let output = cranevm(&["bench", "--engine", "helper", "--iters", "1", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(field(&output, "match"), "true");
    assert_eq!(field(&output, "hand_overs"), "0.0", "it ran natively");
}

#[test]
fn run_runs_code_from_a_helper() {
    let helper = cranevm(&["run", "--engine", "helper", "--json"]);
    let interpreter = cranevm(&["run", "--engine", "interpreter", "--json"]);
    let results = [&helper, &interpreter].map(|output| {
        let engines: serde_json::Value = serde_json::from_str(&field(output, "engines")).unwrap();
        ["result", "gas_used", "output"].map(|name| engines[0][name].clone())
    });
    assert_eq!(results[0], results[1]);
    let table = cranevm(&["run", "--engine", "helper"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("1 contract(s)"));
}

/// A helper says who it is, and ends with its input; it takes no command.
#[test]
fn a_helper_ends_with_its_input() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cranevm"));
    let command = command.env("REVMC_JIT_HELPER", "1").stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"\xffcranevm-helper\xfe"));
    assert!(output.stderr.is_empty());
}
