//! Machine code for aarch64 as text, of a few kernels: the calling convention, the context's
//! layout, and what is lowered differently than on x86-64. That the code is right is for the
//! emulator to say (`tests/tests/emulated.rs`); these files show what it is, and that nothing has
//! changed it unnoticed.
//!
//! `CRANEVM_BLESS=1` writes the files anew.

#![cfg(feature = "disassemble")]

use cranevm_codegen::{
    Compiler, CompilerOptions, OptimizationLevel,
    disassemble::{Machine, disassemble, listing},
    dump::listing::opcode_at,
};
use revm_primitives::hardfork::SpecId;
use std::{env, fmt::Write, fs, path::Path};

const LINUX: &str = "aarch64-unknown-linux-gnu";
const MACOS: &str = "aarch64-apple-darwin";

/// Name, what to look at, bytecode.
const KERNELS: [(&str, &str, &[u8]); 7] = [
    (
        "add",
        "Carries over four limbs in the flags: adds, adcs. The sum is an output of the block.",
        &[0x5b, 0x01, 0x90, 0x56],
    ),
    (
        "multiply",
        "64-bit products: mul and umulh for each pair of limbs, madd for the topmost limb's.",
        &[0x5b, 0x02, 0x90, 0x56],
    ),
    (
        "compare",
        "A comparison of words and a branch on it: no word is made of the outcome.",
        &[0x5b, 0x10, 0x60, 0x07, 0x57, 0x00, 0x00, 0x5b, 0x5b, 0x00],
    ),
    (
        "memory",
        "MSTORE and MLOAD: the bounds check against the context, and the reversal of bytes: rev.",
        &[0x5b, 0x52, 0x51, 0x90, 0x56],
    ),
    (
        "divide",
        "A builtin: the address comes from the table that the context points to, blr.",
        &[0x5b, 0x04, 0x90, 0x56],
    ),
    (
        "store",
        "A builtin that charges: exact gas to the context and back, and the test of its status.",
        &[0x5b, 0x55, 0x5b, 0x00],
    ),
    (
        "jump",
        "A computed jump: the jump map, the entry table, and a tail call of the chunk found: br.",
        &[0x5b, 0x56, 0x5b, 0x60, 0x00, 0x80, 0x56],
    ),
];

fn compiler(target: &str) -> Compiler {
    let options = CompilerOptions {
        opt_level: OptimizationLevel::Default,
        verify: true,
        compile_all: true,
        ..Default::default()
    };
    let target = target.parse().expect("a triple");
    Compiler::for_target(options, target).expect("a known target")
}

/// Each chunk of a program, under a heading.
fn chunks(compiler: &mut Compiler, code: &[u8]) -> String {
    let program = compiler.analyze(code, SpecId::OSAKA).expect("analysed");
    let mut text = String::new();
    for chunk in program.chunks.keys() {
        let listed = compiler.list_chunk(&program, chunk).expect("compiles");
        let machine = Machine::of(&listed.target).expect("aarch64");
        let lines = disassemble(machine, &listed.code, 0, &listed.marks).expect("short");
        let name = |pc| opcode_at(code, pc).map_or(String::new(), |(text, _)| text);
        let _written = write!(text, "; {chunk}\n{}", listing(&lines, name));
    }
    text
}

/// Compares with the file of this name, or writes it.
fn check(name: &str, text: &str) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/aarch64_{name}.txt"));
    if env::var_os("CRANEVM_BLESS").is_some() {
        return fs::write(&path, text).expect("a folder that can be written to");
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    assert!(golden == text, "{name}: not as in {path:?} (CRANEVM_BLESS=1 writes it):\n{text}");
}

#[test]
fn kernels_are_as_listed() {
    let mut compiler = compiler(LINUX);
    for (name, what, code) in KERNELS {
        let text = format!("; {what}\n{}", chunks(&mut compiler, code));
        check(name, &text);
    }
}

/// The trampoline follows the platform's standard; the stub is called as chunks are.
#[test]
fn entry_is_as_listed() {
    let compiled = compiler(LINUX).compile(&[0x00], SpecId::OSAKA).expect("compiles");
    let mut text = String::new();
    for (name, code) in ["trampoline", "absent stub"].iter().zip(compiled.functions()) {
        let lines = disassemble(Machine::Aarch64, code, 0, &[]).expect("short");
        let _written = write!(text, "; {name}\n{}", listing(&lines, |_| ""));
    }
    check("entry", &text);
}

/// Names of instructions in order, and how many of them sign or authenticate a return address.
fn instructions(code: &[u8]) -> (Vec<String>, usize) {
    let lines = disassemble(Machine::Aarch64, code, 0, &[]).expect("short");
    let name = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    let names = lines.iter().map(|line| name(&line.text));
    let (signing, others): (Vec<_>, Vec<_>) =
        names.partition(|name| ["pacib", "autib"].iter().any(|prefix| name.starts_with(prefix)));
    (others, signing.len())
}

/// What the standards of the two systems differ in (variable arguments, small arguments on the
/// stack) doesn't occur here, and return addresses are signed on macOS alone: in each function that
/// has a frame once, and authenticated before each of its ends.
#[test]
fn the_systems_differ_in_signatures_only() {
    for (name, _, code) in KERNELS {
        let [linux, macos] = [LINUX, MACOS]
            .map(|target| compiler(target).compile(code, SpecId::OSAKA).expect("compiles"));
        for (linux, macos) in linux.functions().iter().zip(macos.functions()) {
            let [(linux, unsigned), (macos, signed)] =
                [linux, macos].map(|code| instructions(code));
            assert_eq!(linux, macos, "{name}");
            let has_frame = linux.first().is_some_and(|name| name == "stp");
            assert_eq!((unsigned, signed > 1), (0, has_frame), "{name}: {signed} in {macos:?}");
        }
    }
}
