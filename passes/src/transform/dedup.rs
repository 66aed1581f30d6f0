//! Merges identical blocks: jumps to any of them lead to the first.
//!
//! Two blocks are identical if they have the same stack bounds, gas, instructions on the same
//! operands, outputs and terminator. Whether compiled code enters one or the other then makes no
//! difference; nor does it to the interpreter, should compiled code hand over at the first one's
//! pc. Constants that aren't used, such as the target of a static jump, may differ: so blocks that
//! differ in a jump to one of two merged blocks are merged in the next round.
//!
//! Only blocks that end are merged, and that begin with JUMPDEST. A block that hands over isn't
//! merged: an opcode that a chain adds may look at the bytes that follow it.
//!
//! A merged block keeps its instructions, but isn't translated any more; its entry point leads to
//! the first block ([`BlockData::merged_into`](crate::ir::program::BlockData::merged_into)).
//!
//! Cost: linear in the program, but for sorting the blocks by hash, in each of a fixed number of
//! rounds. Blocks of equal hash are compared with the first of them only, so no choice of blocks
//! makes it more; blocks that merely collide aren't merged.

use crate::ir::entities::{Block, Value};
use crate::ir::program::{JumpTarget, Program, Terminator, ValueDef};
use cranelift_entity::{EntityRef, EntitySet};

/// Rounds at most. The second merges what jumps to merged blocks, and so on.
const MAX_ROUNDS: usize = 3;

/// Merges identical blocks of a program that has its stack bounds and gas, but no chunks.
pub(crate) fn dedup(program: &mut Program) {
    let mut keys = Keys { continuations: continuations(program), ..Keys::default() };
    for round in 0..MAX_ROUNDS {
        keys.collect(program, round > 0);
        if !keys.merge(program) {
            break;
        }
        redirect(program);
    }
}

fn continuations(program: &Program) -> EntitySet<Block> {
    let mut found = EntitySet::with_capacity(program.blocks.len());
    for data in program.blocks.values() {
        if let Terminator::Suspend { continuation, .. } = data.terminator {
            found.insert(continuation);
        }
    }
    found
}

/// Buffers of one round.
#[derive(Default)]
struct Keys {
    /// Hash and block.
    hashes: Vec<(u64, Block)>,
    first: Vec<u64>,
    other: Vec<u64>,
    /// Where frames resume.
    continuations: EntitySet<Block>,
}

impl Keys {
    /// Hashes the blocks that may be merged, or only those that end with a static jump.
    fn collect(&mut self, program: &Program, only_jumps: bool) {
        self.hashes.clear();
        for (block, data) in program.blocks.iter() {
            let is_static_jump = matches!(data.terminator, Terminator::Jump(JumpTarget::Block(_)));
            let is_wanted = is_static_jump || !only_jumps;
            if is_wanted
                && data.merged_into.is_none()
                && is_mergeable(program, &self.continuations, block)
            {
                write_key(program, block, &mut self.first);
                self.hashes.push((hash(&self.first), block));
            }
        }
        self.hashes.sort_unstable();
    }

    /// Merges each block into the first of its hash, if they are identical. Tells whether any was.
    fn merge(&mut self, program: &mut Program) -> bool {
        let mut found = false;
        for group in self.hashes.chunk_by(|a, b| a.0 == b.0) {
            let [(_, first), others @ ..] = group else { continue };
            if !others.is_empty() {
                write_key(program, *first, &mut self.first);
            }
            for (_, other) in others {
                write_key(program, *other, &mut self.other);
                if self.first == self.other {
                    program.blocks[*other].merged_into = (*first).into();
                    found = true;
                }
            }
        }
        found
    }
}

/// Whether a block may be merged: it begins with JUMPDEST and ends, and no frame resumes there.
fn is_mergeable(program: &Program, continuations: &EntitySet<Block>, block: Block) -> bool {
    let data = &program.blocks[block];
    let ends =
        matches!(data.terminator, Terminator::Jump(_) | Terminator::Stop | Terminator::Exit(_));
    data.is_jumpdest && ends && !continuations.contains(block)
}

/// Leads every edge to a merged block to the one it is merged into.
fn redirect(program: &mut Program) {
    // A block is merged into an earlier one, which leads to its own goal by then.
    for index in 0..program.blocks.len() {
        let block = Block::new(index);
        if let Some(goal) = program.blocks[block].merged_into.expand() {
            program.blocks[block].merged_into = program.goal(goal).into();
        }
    }
    for index in 0..program.blocks.len() {
        let block = Block::new(index);
        let mut terminator = program.blocks[block].terminator.clone();
        match &mut terminator {
            Terminator::Jump(JumpTarget::Block(target))
            | Terminator::Branch { target: JumpTarget::Block(target), .. } => {
                *target = program.goal(*target);
            }
            _ => {}
        }
        if let Terminator::FallThrough(next) | Terminator::Branch { otherwise: next, .. } =
            &mut terminator
        {
            *next = program.goal(*next);
        }
        program.blocks[block].terminator = terminator;
    }
}

/// Writes a block as words that are equal for identical blocks only.
fn write_key(program: &Program, block: Block, key: &mut Vec<u64>) {
    let data = &program.blocks[block];
    key.clear();
    let stack = data.stack;
    key.push(
        u64::from(stack.needed) | u64::from(stack.growth) << 16 | (stack.delta as u16 as u64) << 32,
    );
    key.push(data.insts.len() as u64 | (data.outputs.len() as u64) << 32);
    key.push(data.gas);
    for inst in program.block_insts(block) {
        let inst_data = &program.insts[inst];
        key.push(u64::from(inst_data.opcode.get()) | (inst_data.height as u16 as u64) << 8);
        key.push(inst_data.gas_after);
        for &arg in program.args(inst) {
            write_value(program, arg, data.insts.start, key);
        }
    }
    for output in program.outputs(block) {
        key.push(output.slot as u16 as u64);
        write_value(program, output.value, data.insts.start, key);
    }
    match data.terminator {
        Terminator::Jump(JumpTarget::Block(target)) => key.push(target.as_u32().into()),
        Terminator::Jump(JumpTarget::Dynamic(value)) => {
            key.push(1 << 32);
            write_value(program, value, data.insts.start, key);
        }
        Terminator::Jump(JumpTarget::Invalid) => key.push(2 << 32),
        Terminator::Stop => key.push(3 << 32),
        // Exits are told apart by their instruction; the others aren't merged.
        _ => key.push(4 << 32),
    }
}

/// Writes what a value is: an input by its slot, a result by its place in the block.
fn write_value(program: &Program, value: Value, first_inst: u32, key: &mut Vec<u64>) {
    match program.values[value].def {
        ValueDef::Input(slot) => key.push(1 << 32 | slot as u16 as u64),
        ValueDef::Const(word) => {
            key.push(2 << 32);
            key.extend_from_slice(word.as_limbs());
        }
        ValueDef::Result(inst) => key.push(3 << 32 | u64::from(inst.as_u32() - first_inst)),
        ValueDef::Unused => key.push(4 << 32),
    }
}

fn hash(words: &[u64]) -> u64 {
    words.iter().fold(words.len() as u64, |hash, &word| {
        (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}
