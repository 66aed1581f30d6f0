//! Code for the architectures that this machine isn't: it must at least come out of Cranelift,
//! verified and without relocations.

use cranevm_codegen::{Compiler, CompilerOptions, OptimizationLevel};
use revm_primitives::hardfork::SpecId;

/// Every opcode on operands that are computed, constant and narrow, in a loop, with a computed
/// jump.
fn every_opcode() -> Vec<u8> {
    let mut code = Vec::new();
    for opcode in 0x01..=0x4b {
        for operand in [[0x36, 0x30, 0x35], [0x60, 0x07, 0x80]] {
            code.push(0x5b);
            for _ in 0..4 {
                code.extend(operand);
            }
            code.push(opcode);
        }
    }
    for opcode in [0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x58, 0x59, 0x5a, 0x5c, 0x5d, 0x5e, 0xa2] {
        code.extend([0x5b, 0x36, 0x35, 0x36, 0x60, 0x40, 0x36, 0x35, 0x36, 0x36, opcode]);
    }
    // A loop whose words are in registers, calls, a computed jump, an end.
    let start = code.len();
    code.extend([0x5b, 0x80, 0x91, 0x01, 0x90, 0x60, 1, 0x90, 0x03, 0x80, 0x61]);
    code.extend([(start >> 8) as u8, start as u8, 0x57]);
    code.extend([
        0x36, 0x36, 0x36, 0x36, 0x36, 0x36, 0x36, 0xf1, 0x36, 0x36, 0x36, 0xf0, 0x35, 0x56,
    ]);
    code.extend([0x5b, 0x60, 0, 0x60, 0, 0xf3]);
    code
}

#[test]
fn every_opcode_compiles_for_each_architecture() {
    let code = every_opcode();
    for target in ["aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu", "aarch64-apple-darwin"]
    {
        for opt_level in
            [OptimizationLevel::None, OptimizationLevel::Default, OptimizationLevel::Aggressive]
        {
            let options = CompilerOptions {
                opt_level,
                verify: true,
                compile_all: true,
                ..Default::default()
            };
            let triple = target.parse().expect("a triple");
            let mut compiler = Compiler::for_target(options, triple).expect("a known target");
            let compiled = compiler.compile(&code, SpecId::AMSTERDAM).expect("compiles");
            assert!(compiled.code_bytes() > code.len(), "{target} {opt_level:?}");
        }
    }
}

#[test]
fn unknown_architectures_are_refused() {
    let triple = "riscv64gc-unknown-linux-gnu".parse().expect("a triple");
    let error = Compiler::for_target(CompilerOptions::default(), triple).expect_err("not built in");
    assert!(error.to_string().contains("no code generator"), "{error}");
}
