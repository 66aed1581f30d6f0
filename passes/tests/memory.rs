//! Loads of known words and dead stores: each rule by the memory instructions that it leaves, and
//! all of them on random programs, whose stack and memory are compared with the interpreter's.

use alloy_primitives::{U256, keccak256};
use cranevm_passes::ir::entities::{Block, Value};
use cranevm_passes::ir::opcode::Opcode;
use cranevm_passes::ir::program::{Program, ValueDef};
use cranevm_passes::{PassOptions, PassSet, ThreadLimits, analyze};
use programs::Random;
use programs::oracle::{Oracle, push};
use revm_primitives::hardfork::SpecId;

mod programs;

/// Instructions, with constants in hexadecimal, in the order in which they are executed => the
/// instructions that are left, without those that only compute. CALLVALUE stands for a word.
const RULES: &[(&str, &str)] = &[
    // A load after a store of the same word.
    ("CALLVALUE 40 MSTORE 40 MLOAD", "MSTORE"),
    ("CALLVALUE 40 MSTORE 41 MLOAD", "MSTORE MLOAD"),
    ("CALLVALUE 40 MSTORE CALLVALUE 60 MSTORE 40 MLOAD", "MSTORE MSTORE"),
    ("CALLVALUE 40 MSTORE CALLVALUE 5f MSTORE 40 MLOAD", "MSTORE MSTORE MLOAD"),
    ("CALLVALUE 40 MSTORE CALLVALUE 21 MSTORE 40 MLOAD", "MSTORE MSTORE MLOAD"),
    ("CALLVALUE 40 MSTORE CALLVALUE 20 MSTORE 40 MLOAD", "MSTORE MSTORE"),
    ("CALLVALUE 40 MSTORE CALLVALUE CALLVALUE MSTORE 40 MLOAD", "MSTORE MSTORE MLOAD"),
    ("CALLVALUE 40 MSTORE CALLVALUE 80 MSTORE8 40 MLOAD", "MSTORE MSTORE8 MLOAD"),
    ("CALLVALUE 40 MSTORE 0 0 0 CALLDATACOPY 40 MLOAD", "MSTORE CALLDATACOPY MLOAD"),
    ("CALLVALUE 40 MSTORE 0 SLOAD 40 MLOAD", "MSTORE SLOAD MLOAD"),
    ("CALLVALUE CALLVALUE MSTORE CALLVALUE MLOAD", "MSTORE MLOAD"),
    ("CALLVALUE ffffffff MSTORE ffffffff MLOAD", "MSTORE"),
    ("CALLVALUE 100000000 MSTORE 100000000 MLOAD", "MSTORE MLOAD"),
    ("CALLVALUE ffffffffffffffff MSTORE ffffffffffffffff MLOAD", "MSTORE MLOAD"),
    // A load after a load.
    ("40 MLOAD 40 MLOAD", "MLOAD"),
    ("40 MLOAD 41 MLOAD", "MLOAD MLOAD"),
    ("40 MLOAD 41 MLOAD 40 MLOAD", "MLOAD MLOAD"),
    ("40 MLOAD CALLVALUE 40 MSTORE 40 MLOAD", "MLOAD MSTORE"),
    // A store before a store of the same word: only if memory had grown so far before.
    ("CALLVALUE 40 MSTORE CALLVALUE 40 MSTORE", "MSTORE MSTORE"),
    ("60 MLOAD CALLVALUE 40 MSTORE CALLVALUE 40 MSTORE", "MLOAD MSTORE"),
    ("5f MLOAD CALLVALUE 40 MSTORE CALLVALUE 40 MSTORE", "MLOAD MSTORE"),
    ("40 MLOAD CALLVALUE 41 MSTORE CALLVALUE 41 MSTORE", "MLOAD MSTORE MSTORE"),
    ("60 MLOAD CALLVALUE 40 MSTORE GAS 40 MSTORE MSIZE 40 MSTORE", "MLOAD MSTORE"),
    ("60 MLOAD CALLVALUE 40 MSTORE 40 MLOAD 1 ADD 40 MSTORE", "MLOAD MSTORE"),
    // What may observe the store before.
    ("60 MLOAD CALLVALUE 40 MSTORE 41 MLOAD CALLVALUE 40 MSTORE", "MLOAD MSTORE MLOAD MSTORE"),
    ("60 MLOAD CALLVALUE 40 MSTORE 20 MLOAD CALLVALUE 40 MSTORE", "MLOAD MLOAD MSTORE"),
    (
        "60 MLOAD CALLVALUE 40 MSTORE CALLVALUE MLOAD CALLVALUE 40 MSTORE",
        "MLOAD MSTORE MLOAD MSTORE",
    ),
    (
        "60 MLOAD CALLVALUE 40 MSTORE 20 40 KECCAK256 CALLVALUE 40 MSTORE",
        "MLOAD MSTORE KECCAK256 MSTORE",
    ),
    ("60 MLOAD CALLVALUE 40 MSTORE 0 0 0 MCOPY CALLVALUE 40 MSTORE", "MLOAD MSTORE MCOPY MSTORE"),
    ("60 MLOAD CALLVALUE 40 MSTORE 0 0 LOG0 CALLVALUE 40 MSTORE", "MLOAD MSTORE LOG0 MSTORE"),
    ("60 MLOAD CALLVALUE 40 MSTORE 0 SLOAD CALLVALUE 40 MSTORE", "MLOAD MSTORE SLOAD MSTORE"),
    (
        "60 MLOAD CALLVALUE 40 MSTORE CALLVALUE CALLVALUE MSTORE CALLVALUE 40 MSTORE",
        "MLOAD MSTORE MSTORE MSTORE",
    ),
    (
        "60 MLOAD CALLVALUE 40 MSTORE CALLVALUE 0 MSTORE8 CALLVALUE 40 MSTORE",
        "MLOAD MSTORE MSTORE8 MSTORE",
    ),
    ("60 MLOAD CALLVALUE 40 MSTORE CALLVALUE 41 MSTORE", "MLOAD MSTORE MSTORE"),
    ("60 MLOAD CALLVALUE 40 MSTORE 20 40 RETURN", "MLOAD MSTORE RETURN"),
    ("60 MLOAD CALLVALUE 40 MSTORE 20 40 REVERT", "MLOAD MSTORE REVERT"),
    ("60 MLOAD CALLVALUE 40 MSTORE CALLVALUE SELFDESTRUCT", "MLOAD MSTORE SELFDESTRUCT"),
    ("60 MLOAD CALLVALUE 40 MSTORE 0 0 0 CREATE", "MLOAD MSTORE CREATE"),
    ("60 MLOAD CALLVALUE 40 MSTORE 0 0 0 0 0 0 0 CALL", "MLOAD MSTORE CALL"),
    ("60 MLOAD CALLVALUE 40 MSTORE INVALID", "MLOAD MSTORE"),
    // The end of the block is the end of what is known.
    ("60 MLOAD CALLVALUE 40 MSTORE JUMPDEST CALLVALUE 40 MSTORE", "MLOAD MSTORE MSTORE"),
    ("CALLVALUE 40 MSTORE JUMPDEST 40 MLOAD", "MSTORE MLOAD"),
];

fn code_of(text: &str) -> Vec<u8> {
    let mut code = Vec::new();
    for word in text.split_whitespace() {
        match U256::from_str_radix(word, 16) {
            Ok(constant) => push(constant, &mut code),
            Err(_) => code.push(Opcode::from_name(word).expect("an opcode").get()),
        }
    }
    // The stack is observed.
    code.push(Opcode::JUMPDEST.get());
    code
}

/// The instructions that have an effect.
fn left(code: &[u8], skip: PassSet) -> String {
    let options = PassOptions {
        thread_limits: ThreadLimits::NONE,
        verify: true,
        skip,
        ..PassOptions::default()
    };
    let program = analyze(code, &options).expect("a valid program");
    let has_effect = |opcode: &Opcode| !opcode.implementation().computes();
    let opcodes = program.insts.values().map(|data| data.opcode).filter(has_effect);
    opcodes.map(|opcode| opcode.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn rules() {
    for (text, expected) in RULES {
        assert_eq!(left(&code_of(text), PassSet::NONE), *expected, "{text}");
        let both = PassSet::FORWARD_MEMORY.union(PassSet::DEAD_STORES);
        let plain = left(&code_of(text), both);
        let written = text
            .split_whitespace()
            .filter(|&word| plain.split(' ').any(|left| left == word))
            .count();
        assert_eq!(plain.split(' ').count(), written, "{text}: {plain}");
    }
}

/// Straight-line code of memory accesses near each other; some at an offset that isn't constant.
fn accesses(random: &mut Random, len: usize) -> Vec<u8> {
    let mut code = Vec::new();
    for number in 0..len {
        let offset = [0, 1, 0x1f, 0x20, 0x21, 0x3f, 0x40, 0x60, 0x61, 0x80][random.below(10)];
        let at = |code: &mut Vec<u8>, is_known: bool| {
            push(U256::from(offset), code);
            if !is_known {
                code.extend([Opcode::CALLVALUE.get(), Opcode::ADD.get()]);
            }
        };
        let is_known = random.below(16) != 0;
        match random.below(16) {
            0..=6 => {
                push(U256::from(number + 1), &mut code);
                at(&mut code, is_known);
                code.push(Opcode::MSTORE.get());
            }
            7..=12 => {
                at(&mut code, is_known);
                code.push(Opcode::MLOAD.get());
            }
            13 => {
                at(&mut code, is_known);
                at(&mut code, true);
                code.push(Opcode::MSTORE8.get());
            }
            14 => {
                push(U256::from(random.below(70)), &mut code);
                at(&mut code, is_known);
                code.push(Opcode::KECCAK256.get());
            }
            _ => code.push(Opcode::MSIZE.get()),
        }
    }
    code
}

/// Memory, with the instructions of this test.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Memory {
    fn grown(&mut self, offset: U256, len: U256) -> &mut [u8] {
        let (offset, len): (usize, usize) = (offset.to(), len.to());
        if len > 0 {
            self.0.resize(self.0.len().max((offset + len).next_multiple_of(32)), 0);
        }
        let start = offset.min(self.0.len());
        &mut self.0[start..][..len]
    }

    fn execute(&mut self, opcode: Opcode, args: &[U256]) -> Option<U256> {
        let word = U256::from(32);
        match (opcode, args) {
            (Opcode::MLOAD, &[offset]) => Some(U256::from_be_slice(self.grown(offset, word))),
            (Opcode::MSTORE, &[offset, value]) => {
                self.grown(offset, word).copy_from_slice(&value.to_be_bytes::<32>());
                None
            }
            (Opcode::MSTORE8, &[offset, value]) => {
                self.grown(offset, U256::from(1))[0] = value.byte(0);
                None
            }
            (Opcode::KECCAK256, &[offset, len]) => {
                Some(U256::from_be_bytes(keccak256(self.grown(offset, len)).0))
            }
            (Opcode::MSIZE, []) => Some(U256::from(self.0.len())),
            (Opcode::CALLVALUE, []) => Some(U256::ZERO),
            (Opcode::ADD, &[x, y]) => Some(x + y),
            _ => panic!("{opcode} {args:?}"),
        }
    }
}

/// Executes a block without inputs; the words on the stack and the memory that it leaves.
fn execute(program: &Program, block: Block) -> (Vec<U256>, Vec<u8>) {
    let mut words = vec![U256::ZERO; program.values.len()];
    let mut memory = Memory::default();
    for inst in program.block_insts(block) {
        let word_of = |&value: &Value| match program.values[value].def {
            ValueDef::Const(word) => word,
            _ => words[value.as_u32() as usize],
        };
        let args: Vec<U256> = program.args(inst).iter().map(word_of).collect();
        let result = memory.execute(program.insts[inst].opcode, &args);
        if let Some(value) = program.insts[inst].result.expand() {
            words[value.as_u32() as usize] = result.expect("an opcode with a result");
        }
    }
    let outputs = program.outputs(block).iter().map(|output| {
        program.as_const(output.value).unwrap_or(words[output.value.as_u32() as usize])
    });
    (outputs.collect(), memory.0)
}

#[test]
fn random_programs_leave_what_the_interpreter_leaves() {
    let spec_id = SpecId::OSAKA;
    let mut oracle = Oracle::new(spec_id);
    let (mut before, mut after) = (0, 0);
    for seed in 0..4000 {
        let mut random = Random::new(seed);
        // Light enough for one block.
        let len = 1 + random.below(24);
        let mut code = accesses(&mut random, len);
        let expected = oracle.run(code.clone());
        code.push(Opcode::JUMPDEST.get());
        let skips = [PassSet::NONE, PassSet::FORWARD_MEMORY, PassSet::DEAD_STORES, PassSet::ALL];
        for skip in skips {
            let options = PassOptions {
                thread_limits: ThreadLimits::NONE,
                spec_id,
                verify: true,
                skip,
                ..PassOptions::default()
            };
            let program = analyze(&code, &options).expect("a valid program");
            assert_eq!(execute(&program, Block::from_u32(0)), expected, "{skip}\n{program}");
            match skip {
                PassSet::NONE => after += program.insts.len(),
                PassSet::ALL => before += program.insts.len(),
                _ => {}
            }
        }
    }
    assert!(after < before * 19 / 20, "{after} of {before} instructions are left");
}
