//! What compiling costs, estimated before it is done.
//!
//! Compile time follows the instructions of Cranelift's IR, and of an opcode becomes between none
//! and fifty of them. A **weight** is that number, which the opcode table has of each. It bounds
//! what hostile code can make of few bytes:
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

/// As how many a number of opcodes counts whose weight is `weight`.
pub(crate) fn size(opcodes: u32, weight: u32) -> u32 {
    opcodes.max(weight / WEIGHT_PER_OPCODE)
}

/// Weight of a lifted block.
pub(crate) fn block_weight(program: &Program, block: Block) -> u32 {
    let insts = program.block_insts(block).map(|inst| program.insts[inst].opcode.weight());
    let outputs = program.outputs(block).len() as u32;
    let terminator = match program.blocks[block].terminator {
        Terminator::Branch { target: JumpTarget::Dynamic(_), .. } => Opcode::JUMPI.weight(),
        Terminator::Branch { .. } => Opcode::JUMPI.weight() / 4,
        Terminator::Jump(_) => Opcode::JUMP.weight(),
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
