//! Programs as text. Each file of `tests/golden` has the bytecode and the options in its
//! comments, and below them the program that `analyze` must make of it.
//!
//! With `CRANEVM_BLESS=1` in the environment the files are rewritten instead.

use alloy_primitives::hex;
use cranevm_passes::ir::opcode::OpcodeSet;
use cranevm_passes::ir::text::parse;
use cranevm_passes::ir::verify::{Stage, verify};
use cranevm_passes::{PassOptions, PassSet, analyze};
use std::fs;
use std::path::Path;

mod programs;

/// The comments at the head of a file, and what they say.
struct Case {
    head: String,
    code: Vec<u8>,
    options: PassOptions,
}

fn read_case(text: &str) -> Case {
    let head: String =
        text.lines().take_while(|line| line.starts_with(';')).flat_map(|l| [l, "\n"]).collect();
    let mut code = None;
    let mut options = PassOptions { verify: true, ..PassOptions::default() };
    for line in head.lines() {
        let Some((key, value)) = line.trim_start_matches([';', ' ']).split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key {
            "code" => code = Some(hex::decode(value.replace(' ', "")).expect("hexadecimal")),
            "spec" => {
                options.spec_id = programs::specs()
                    .find(|spec| format!("{spec:?}") == value)
                    .expect("the name of a fork");
            }
            "chunk-limit" => options.chunk_limit = value.parse().expect("a number"),
            "compile-all" => options.compile_all = value == "true",
            "skip" => {
                options.skip = value
                    .split(',')
                    .map(|name| PassSet::from_name(name.trim()).expect("the name of a pass"))
                    .fold(PassSet::NONE, PassSet::union);
            }
            "foreign" => {
                let bytes = hex::decode(value.replace(' ', "")).expect("hexadecimal");
                let with = |set, byte| set | OpcodeSet::from(1) << usize::from(byte);
                options.foreign = bytes.into_iter().fold(OpcodeSet::ZERO, with);
            }
            "one-block-per-chunk" => options.one_block_per_chunk = value == "true",
            _ => {}
        }
    }
    Case { code: code.expect("a line `; code: ` at the head"), head, options }
}

#[test]
fn programs_read_as_expected() {
    let bless = std::env::var_os("CRANEVM_BLESS").is_some();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the folder of golden files") {
        let path = entry.expect("an entry of the folder").path();
        let text = fs::read_to_string(&path).expect("a text file");
        let case = read_case(&text);
        let program = analyze(&case.code, &case.options).expect("any bytes can be analysed");
        let printed = format!("{}\n{program}", case.head);
        if bless {
            fs::write(&path, &printed).expect("a file that can be written");
        }
        let expected = if bless { &printed } else { &text };
        assert_eq!(&printed, expected, "{} (CRANEVM_BLESS=1 rewrites it)", path.display());
        let parsed = parse(expected).expect("what was printed can be parsed");
        assert_eq!(parsed, program, "{}", path.display());
        assert_eq!(verify(&parsed, Stage::Complete), Ok(()), "{}", path.display());
        count += 1;
    }
    assert!(count >= 10, "only {count} golden files");
}
