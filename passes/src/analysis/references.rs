//! What refers to each JUMPDEST: offsets that are pushed, and falling through.
//!
//! A block is a *loop's header* if a block at or behind it jumps back to it, and nothing calls it.
//! A call is a jump with the offset of another JUMPDEST left on the stack, pushed in the same
//! block: the return address.
//!
//! Cost: one look at each instruction.

use super::control_flow::{BlockShape, ControlFlow, Ending};
use crate::decode::{Decoded, Form, Instruction};
use crate::ir::entities::Block;
use crate::ir::opcode::Opcode;
use cranelift_entity::{EntitySet, SecondaryMap};

/// The references to the blocks of a program.
#[derive(Debug)]
pub(crate) struct References<'a> {
    code: &'a [u8],
    decoded: &'a Decoded,
    counts: SecondaryMap<Block, u32>,
    jumped_back_to: EntitySet<Block>,
    called: EntitySet<Block>,
    calls: EntitySet<Block>,
}

/// Finds all references.
pub(crate) fn find_references<'a>(
    code: &'a [u8],
    decoded: &'a Decoded,
    flow: &ControlFlow,
) -> References<'a> {
    let count = flow.blocks.len();
    let mut references = References {
        code,
        decoded,
        counts: SecondaryMap::with_capacity(count),
        jumped_back_to: EntitySet::with_capacity(count),
        called: EntitySet::with_capacity(count),
        calls: EntitySet::with_capacity(count),
    };
    for (block, shape) in flow.blocks.iter() {
        references.note_block(flow, block, shape);
    }
    references
}

impl References<'_> {
    fn note_block(&mut self, flow: &ControlFlow, block: Block, shape: &BlockShape) {
        if let Some(next) = shape.next.expand() {
            self.counts[next] += 1;
        }
        let mut pushed = 0;
        for instruction in flow.instructions(self.decoded, shape) {
            if let Some(target) = self.pushed(instruction).and_then(|pc| self.block_at(flow, pc)) {
                self.counts[target] += 1;
                pushed += 1;
            }
        }
        if let Some(target) = self.static_target(flow, shape) {
            if target <= block {
                self.jumped_back_to.insert(target);
            }
            if shape.ending == Ending::Jump && pushed > 1 {
                self.called.insert(target);
                self.calls.insert(block);
            }
        }
    }

    fn block_at(&self, flow: &ControlFlow, pc: u32) -> Option<Block> {
        let number = self.decoded.jumpdests.number(pc as usize)?;
        Some(flow.jumpdest_blocks[number])
    }

    /// The JUMPDEST whose offset an instruction pushes.
    pub(crate) fn pushed(&self, instruction: &Instruction) -> Option<u32> {
        if instruction.form != Form::Push {
            return None;
        }
        let len = match instruction.opcode {
            Opcode::PC | Opcode::CODESIZE => return None,
            opcode => usize::from(opcode.get() - Opcode::PUSH0.get()),
        };
        let start = instruction.pc as usize + 1;
        // A truncated PUSH is the code's last instruction: no jump follows.
        let bytes = self.code.get(start..start + len)?;
        let (high, low) = bytes.split_at(len.saturating_sub(4));
        if high.iter().any(|&byte| byte != 0) {
            return None;
        }
        let pc = low.iter().fold(0, |pc, &byte| pc << 8 | u32::from(byte));
        self.decoded.jumpdests.contains(pc as usize).then_some(pc)
    }

    /// The block that a block's jump or branch goes to, if its offset is pushed just before.
    pub(crate) fn static_target(&self, flow: &ControlFlow, shape: &BlockShape) -> Option<Block> {
        let mut instructions = flow.instructions(self.decoded, shape).rev();
        let last = instructions.next()?;
        if !matches!(last.form, Form::Jump | Form::Branch) {
            return None;
        }
        self.block_at(flow, self.pushed(instructions.next()?)?)
    }

    /// How often a block is referred to. The contract's start has one reference more.
    pub(crate) fn count(&self, block: Block) -> u32 {
        self.counts[block]
    }

    /// Whether a block ends by calling another.
    pub(crate) fn is_call(&self, block: Block) -> bool {
        self.calls.contains(block)
    }

    /// Whether a block is a loop's header.
    pub(crate) fn is_loop_header(&self, block: Block) -> bool {
        self.jumped_back_to.contains(block) && !self.called.contains(block)
    }
}
