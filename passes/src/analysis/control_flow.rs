//! Where basic blocks begin and end, and which are entered from where.
//!
//! A block begins at pc 0, at each JUMPDEST, after `JUMPI`, and after `CALL*` and `CREATE*` and
//! foreign opcodes (the continuation); a block of too many or too heavy instructions is split.
//! Every JUMPDEST counts as reachable, since a jump may be computed. What follows an unconditional
//! end up to the next JUMPDEST isn't reachable and gets no block.
//!
//! Blocks are in order of pc, and a block that goes on (falls through, is left by an
//! untaken branch or suspends) goes on with the next one, until jumps are threaded
//! (`transform::thread_jumps`): then a block may be of several segments of the bytecode, and there
//! are clones.
//!
//! Cost: one look at each instruction.

use crate::analysis::weight::MAX_BLOCK_WEIGHT;
use crate::decode::{Decoded, Form, Instruction};
use crate::ir::entities::Block;
use crate::ir::program::Span;
use cranelift_entity::{PrimaryMap, packed_option::PackedOption};

/// Most instructions in a block, whatever the options. Each weighs something, so that a path of
/// several blocks has hardly more. With at most seven words popped by an instruction and a depth of
/// at most 236 touched, no slot of a block leaves `i16`.
pub const MAX_BLOCK_INSTRUCTIONS: u32 = 4096;

/// The blocks of a contract, before their instructions are lifted.
#[derive(Clone, Debug)]
pub struct ControlFlow {
    /// The blocks in order of pc; the first is the contract's start.
    pub blocks: PrimaryMap<Block, BlockShape>,
    /// The runs of instructions that blocks are made of, as indices of
    /// [`Decoded::instructions`].
    pub segments: Vec<Span>,
    /// JUMPDEST offsets that are known to be on the stack where a clone begins: (slot, offset).
    pub constants: Vec<(i16, u32)>,
    /// The block of each JUMPDEST, by [`JumpDests::number`](crate::decode::JumpDests::number).
    pub jumpdest_blocks: Vec<Block>,
}

/// Extent and edges of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockShape {
    /// Its segments; the instruction that ends the block is included, and so are the jumps from
    /// segment to segment.
    pub segments: Span,
    /// Offset of the first byte.
    pub pc: u32,
    /// Offset one past the last byte of the first segment, at most the length of the code.
    pub end_pc: u32,
    /// Whether the block begins with JUMPDEST.
    pub is_jumpdest: bool,
    /// Whether a frame may begin or resume here.
    pub is_continuation: bool,
    /// Whether the block is a copy that one other block leads to.
    pub is_clone: bool,
    /// How it ends.
    pub ending: Ending,
    /// The block that it goes on with, if it does.
    pub next: PackedOption<Block>,
    /// The clone that it jumps to instead of the block at the target.
    pub target: PackedOption<Block>,
    /// Words known where it begins, as indices of [`ControlFlow::constants`].
    pub constants: Span,
}

/// How a block ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Goes on with the next block; no instruction of its own.
    FallThrough,
    /// The last instruction is `JUMP`.
    Jump,
    /// The last instruction is `JUMPI`; untaken, the next block follows.
    Branch,
    /// The last instruction is `STOP`, or the code ends.
    Stop,
    /// The last instruction ends the frame.
    Exit,
    /// The last instruction suspends the frame, which resumes at the next block.
    Suspend,
    /// The last instruction isn't compiled.
    HandOver,
    /// The last instruction isn't compiled, for it is foreign. If the frame goes on after it, then
    /// most likely with the next block.
    Foreign,
}

impl Ending {
    /// Whether execution may go on with the next block in order of pc.
    pub const fn reaches_next(self) -> bool {
        matches!(self, Self::FallThrough | Self::Branch | Self::Suspend | Self::Foreign)
    }
}

/// Finds the blocks of a contract of `code_len` bytes, of at most `block_limit` instructions
/// each.
pub(crate) fn find_blocks(decoded: &Decoded, code_len: u32, block_limit: u32) -> ControlFlow {
    let instructions = &decoded.instructions;
    let block_limit = block_limit.clamp(1, MAX_BLOCK_INSTRUCTIONS) as usize;
    let mut blocks = PrimaryMap::with_capacity(instructions.len() / 8 + 2);
    let mut segments = Vec::with_capacity(instructions.len() / 8 + 2);
    let mut jumpdest_blocks = Vec::with_capacity(instructions.len() / 16);
    let pc_of = |index: usize| instructions.get(index).map_or(code_len, |i| i.pc);

    let mut first = 0;
    let mut is_continuation = true;
    loop {
        let rest = &instructions[first..];
        let is_jumpdest = rest.first().is_some_and(Instruction::is_jumpdest);
        let (len, ending) = block_extent(rest, block_limit);
        let last = first + len;
        let end_pc = pc_of(last);
        if is_jumpdest {
            jumpdest_blocks.push(blocks.next_key());
        }
        let number = blocks.len() as u32;
        segments.push(Span { start: first as u32, end: last as u32 });
        blocks.push(BlockShape {
            segments: Span { start: number, end: number + 1 },
            pc: pc_of(first),
            end_pc,
            is_jumpdest,
            is_continuation,
            is_clone: false,
            ending,
            next: ending.reaches_next().then(|| Block::from_u32(number + 1)).into(),
            target: None.into(),
            constants: Span::default(),
        });

        first = last;
        is_continuation = matches!(ending, Ending::Suspend | Ending::Foreign);
        if !ending.reaches_next() {
            let skipped = instructions[first..].iter().position(Instruction::is_jumpdest);
            match skipped {
                Some(skipped) => first += skipped,
                None => break,
            }
        }
    }
    ControlFlow { blocks, segments, constants: Vec::new(), jumpdest_blocks }
}

/// Number of instructions and the ending of the block at the head of `rest`.
fn block_extent(rest: &[Instruction], limit: usize) -> (usize, Ending) {
    let mut heavy = 0;
    for (index, instruction) in rest.iter().enumerate() {
        if index != 0 && instruction.is_jumpdest() {
            return (index, Ending::FallThrough);
        }
        let ending = match instruction.form {
            _ if index == limit || heavy >= MAX_BLOCK_WEIGHT => {
                return (index, Ending::FallThrough);
            }
            Form::Jump => Ending::Jump,
            Form::Branch => Ending::Branch,
            Form::Stop => Ending::Stop,
            Form::Exit => Ending::Exit,
            Form::Suspend => Ending::Suspend,
            Form::HandOver => Ending::HandOver,
            Form::Foreign => Ending::Foreign,
            _ => {
                heavy += instruction.opcode.weight();
                continue;
            }
        };
        return (index + 1, ending);
    }
    (rest.len(), Ending::Stop)
}

impl ControlFlow {
    /// The instructions of a block, in order.
    pub fn instructions<'a>(
        &'a self,
        decoded: &'a Decoded,
        shape: &BlockShape,
    ) -> impl DoubleEndedIterator<Item = &'a Instruction> {
        let segments = &self.segments[shape.segments.start as usize..shape.segments.end as usize];
        segments
            .iter()
            .flat_map(|span| &decoded.instructions[span.start as usize..span.end as usize])
    }

    /// The number of a block's instructions.
    pub fn instruction_count(&self, shape: &BlockShape) -> u32 {
        let segments = &self.segments[shape.segments.start as usize..shape.segments.end as usize];
        segments.iter().map(|span| span.end - span.start).sum()
    }

    /// The words known where a block begins.
    pub fn constants(&self, shape: &BlockShape) -> &[(i16, u32)] {
        &self.constants[shape.constants.start as usize..shape.constants.end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::ir::opcode::{Opcode, OpcodeSet};
    use revm_primitives::hardfork::SpecId;

    /// How many instructions the blocks have that a code of one opcode is split into.
    fn lengths(opcode: Opcode, count: usize, block_limit: u32) -> Vec<u32> {
        let code = vec![opcode.get(); count];
        let decoded = decode(&code, SpecId::AMSTERDAM, OpcodeSet::ZERO);
        let flow = find_blocks(&decoded, count as u32, block_limit);
        flow.blocks.values().map(|shape| flow.instruction_count(shape)).collect()
    }

    #[test]
    fn blocks_are_split_that_are_long_or_heavy() {
        assert_eq!(lengths(Opcode::PC, 7, 3), [3, 3, 1]);
        assert_eq!(lengths(Opcode::PC, 6, 0), [1; 6]);
        assert_eq!(lengths(Opcode::JUMPDEST, 3, u32::MAX), [1; 3]);
        // One that reaches the weight is the last of its block.
        let heavy = MAX_BLOCK_WEIGHT.div_ceil(Opcode::MULMOD.weight());
        assert_eq!(lengths(Opcode::MULMOD, 2 * heavy as usize + 1, u32::MAX), [heavy, heavy, 1]);
    }
}
