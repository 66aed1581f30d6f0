//! What all blocks of a program are looked at with: where jumps may lead, and which block stands
//! for which offset.

use crate::ir::entities::Block;
use crate::ir::opcode::Opcode;
use crate::ir::program::{Program, Terminator};
use crate::ir::verify::source::Read;
use crate::ir::verify::{Defect, Entity, Source, VerifyError, ensure};
use alloy_primitives::U256;
use std::collections::HashSet;

/// What all blocks are looked at with.
pub(super) struct Whole<'a> {
    pub(super) program: &'a Program,
    pub(super) source: &'a Source<'a>,
    /// By offset: whether it is a valid jump target.
    jumpdests: Vec<bool>,
    /// Blocks, with the offset of each that was merged into them.
    merged: HashSet<(Block, u32)>,
}

impl<'a> Whole<'a> {
    pub(super) fn of(program: &'a Program, source: &'a Source<'a>) -> Self {
        let blocks = program.blocks.values();
        let merged = blocks.filter_map(|data| Some((data.merged_into.expand()?, data.pc)));
        Self { program, source, jumpdests: jumpdests(source.code), merged: merged.collect() }
    }

    /// Each valid jump target is where exactly one block begins that says so, and no other block
    /// does: so each is in the jump map, by that block's entry point or as one that isn't compiled.
    /// Copies are entered by their one edge only.
    pub(super) fn check_jumpdests(&self) -> Result<(), VerifyError> {
        let mut missing = self.jumpdests.clone();
        let blocks = self.program.blocks.iter();
        for (block, data) in blocks.filter(|(_, data)| data.is_jumpdest) {
            let place = missing.get_mut(data.pc as usize);
            let is_new = place.is_some_and(|place| std::mem::replace(place, false));
            ensure(is_new && !data.is_clone, Entity::Block(block), Defect::NotTheJumpDest)?;
        }
        let lost = missing.iter().position(|&is_missing| is_missing);
        let defect = lost.map(|pc| Defect::JumpDestLost(pc as u32));
        defect.map_or(Ok(()), |defect| ensure(false, Entity::Program, defect))
    }

    /// Whether a jump may lead to an offset.
    pub(super) fn is_target(&self, to: U256) -> bool {
        usize::try_from(to).is_ok_and(|to| self.jumpdests.get(to) == Some(&true))
    }

    /// Whether who goes on with a block goes on at an offset: the block's, or that of one which was
    /// merged into it.
    pub(super) fn stands_for(&self, block: Block, pc: u32) -> bool {
        self.program.blocks[block].pc == pc || self.merged.contains(&(block, pc))
    }

    /// Whether who goes on with a block after the last opcode goes on at an offset. Behind the
    /// code, that is where the frame stops.
    pub(super) fn goes_on(&self, block: Block, end: u32) -> bool {
        let data = &self.program.blocks[block];
        match end < self.program.code_len {
            true => self.stands_for(block, end),
            false => data.terminator == Terminator::Stop { pc: end },
        }
    }

    pub(super) fn constants(&self, block: Block) -> &[(i16, u32)] {
        &self.source.constants[block.as_u32() as usize]
    }

    /// A block begins where it says; one that takes words for known has no way in but one edge. If
    /// that comes from another chunk, there is an entry point, but no frame begins or resumes
    /// there.
    pub(super) fn check_start(&self, block: Block, reads: &[Read]) -> Result<(), VerifyError> {
        let (entity, data) = (Entity::Block(block), &self.program.blocks[block]);
        let begins = reads.first().map_or(self.program.code_len, |read| read.pc) == data.pc;
        ensure(begins, entity, Defect::OtherPath(data.pc))?;
        if let Some(&(slot, _)) = self.constants(block).first() {
            let entry = data.entry.expand().map(|entry| &self.program.entries[entry]);
            let is_open = entry.is_some_and(|entry| entry.is_jumpdest || entry.is_continuation);
            let has_one_way = data.is_clone && !is_open;
            ensure(has_one_way, entity, Defect::OtherConstant(slot))?;
        }
        Ok(())
    }
}

/// The offsets that a jump may lead to.
fn jumpdests(code: &[u8]) -> Vec<bool> {
    let mut found = vec![false; code.len()];
    let mut pc = 0;
    while let Some(&byte) = code.get(pc) {
        found[pc] = byte == Opcode::JUMPDEST.get();
        // EIP-8024 keeps the immediates of other opcodes from being JUMPDEST or PUSH.
        pc += match byte {
            0x60..=0x7f => usize::from(byte - 0x5e),
            _ => 1,
        };
    }
    found
}
