//! What compiling costs, estimated before it is done.
//!
//! Compile time follows the instructions of Cranelift's IR, and of an opcode becomes between none
//! and fifty of them. A **weight** is that number for operands of which nothing is known, from
//! counts of translated code. It bounds what hostile code can make of few bytes:
//!
//! - a block, in which values live long, to [`MAX_BLOCK_WEIGHT`], or twice that where jumps are
//!   followed: register allocation takes more than linear time in a block;
//! - a chunk, whose limit of opcodes counts heavy ones by [`size`];
//! - a contract, to [`Budget`]: what is beyond it is left to the interpreter.
//!
//! Real contracts stay below all three, but for a few long blocks that are split.

use crate::ir::entities::Block;
use crate::ir::opcode::Opcode;
use crate::ir::program::{JumpTarget, Program, Terminator};

/// Weight at which a block is split.
pub(crate) const MAX_BLOCK_WEIGHT: u32 = 1024;

/// Weight that counts as one opcode: above the mean of real contracts.
const WEIGHT_PER_OPCODE: u32 = 8;

/// Weight of entering a block: its checks of gas and stack.
const HEAD_WEIGHT: u32 = 14;

/// Weight of a word written to the stack.
const OUTPUT_WEIGHT: u32 = 6;

/// How much of a contract is compiled, by estimated instructions of Cranelift's IR: its blocks in
/// order, up to a weight. What is beyond is left to the interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkLimit {
    /// Weight that any contract may have.
    pub contract: u32,
    /// Weight that each byte of its code adds.
    pub per_byte: u32,
}

impl Default for WorkLimit {
    /// No real contract reaches these: they have four or five a byte, and at most eight.
    fn default() -> Self {
        Self { contract: 4096, per_byte: 10 }
    }
}

/// Weight of an opcode.
pub(crate) const fn weight(opcode: Opcode) -> u32 {
    match opcode {
        Opcode::MUL => 48,
        Opcode::MSTORE => 32,
        Opcode::MSTORE8 | Opcode::CALLDATALOAD | Opcode::CLZ => 24,
        // The result lives long.
        Opcode::MLOAD => 40,
        Opcode::JUMPI => 40,
        Opcode::CREATE
        | Opcode::CALL
        | Opcode::CALLCODE
        | Opcode::DELEGATECALL
        | Opcode::CREATE2
        | Opcode::STATICCALL => 28,
        Opcode::SHL | Opcode::SHR | Opcode::SAR | Opcode::BYTE | Opcode::SIGNEXTEND => 20,
        Opcode::AND | Opcode::OR | Opcode::XOR | Opcode::NOT | Opcode::EQ | Opcode::ISZERO => 6,
        Opcode::JUMP | Opcode::JUMPDEST => 6,
        Opcode::MSIZE | Opcode::GAS | Opcode::CALLDATASIZE | Opcode::RETURNDATASIZE => 2,
        // PUSH, DUP, SWAP and their like move words, if anything.
        _ if matches!(opcode.get(), 0x5f..=0x9f | 0xe6..=0xe8) => 2,
        Opcode::POP | Opcode::PC | Opcode::CODESIZE => 1,
        _ => 14,
    }
}

/// As how many a number of opcodes counts whose weight is `weight`.
pub(crate) fn size(opcodes: u32, weight: u32) -> u32 {
    opcodes.max(weight / WEIGHT_PER_OPCODE)
}

/// Weight of a lifted block.
pub(crate) fn block_weight(program: &Program, block: Block) -> u32 {
    let insts = program.block_insts(block).map(|inst| weight(program.insts[inst].opcode));
    let outputs = program.outputs(block).len() as u32;
    let terminator = match program.blocks[block].terminator {
        Terminator::Branch { target: JumpTarget::Dynamic(_), .. } => weight(Opcode::JUMPI),
        Terminator::Branch { .. } => weight(Opcode::JUMPI) / 4,
        Terminator::Jump(_) => weight(Opcode::JUMP),
        // Counted as an instruction, or little.
        _ => 0,
    };
    HEAD_WEIGHT + insts.sum::<u32>() + OUTPUT_WEIGHT * outputs + terminator
}

/// What may still be compiled of a contract.
#[derive(Debug)]
pub(crate) struct Budget(u64);

impl Budget {
    /// The budget of a contract of `code_len` bytes.
    pub(crate) fn new(limit: WorkLimit, code_len: u32) -> Self {
        Self(u64::from(limit.contract) + u64::from(limit.per_byte) * u64::from(code_len))
    }

    /// Takes a block's weight; whether the budget lasts for it. Once it doesn't, it is spent.
    pub(crate) fn take(&mut self, weight: u32) -> bool {
        let rest = self.0.checked_sub(weight.into());
        self.0 = rest.unwrap_or(0);
        rest.is_some()
    }
}
