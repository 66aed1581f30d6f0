//! Blocks against the bytecode that they are made of: which opcodes they have, stack bounds, static
//! gas, what of it comes after each instruction, and which blocks may be one.
//!
//! The bytes are read anew, and only the opcode table is shared with the passes.

use super::opcodes::verify_opcodes;
use super::{Defect, Entity, Stage, VerifyError, ensure};
use crate::ir::entities::Block;
use crate::ir::implementation::Implementation;
use crate::ir::opcode::{Opcode, OpcodeInfo, OpcodeSet};
use crate::ir::program::{Program, Span, StackEffect, Terminator};
use alloy_primitives::U256;

/// The bytecode, and where each block is in it.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The bytecode, without padding.
    pub code: &'a [u8],
    /// By block: its runs of whole instructions, as offsets in the code.
    pub segments: Vec<Vec<Span>>,
    /// By block: stack slots at its entry, and the offsets that are said to be there.
    pub constants: Vec<Vec<(i16, u32)>>,
    /// Opcodes whose instruction isn't revm's.
    pub foreign: OpcodeSet,
}

/// An opcode as the bytes have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) pc: u32,
    pub(super) opcode: Opcode,
    /// The byte after it.
    next: u8,
}

/// Verifies a program of a source as far as the passes have come.
///
/// # Errors
///
/// The first block that isn't what its bytes are.
pub fn verify_source(
    program: &Program,
    source: &Source<'_>,
    stage: Stage,
) -> Result<(), VerifyError> {
    for (block, data) in program.blocks.iter() {
        let mut opcodes = read(source, block);
        verify_opcodes(program, source, block, &opcodes)?;
        if let Terminator::HandOver { .. } = data.terminator {
            // It is the interpreter that executes the last one.
            opcodes.pop();
        }
        let entity = Entity::Block(block);
        let is_bounded = stage < Stage::StackBounded || data.stack == stack(&opcodes);
        ensure(is_bounded, entity, Defect::StackBounds)?;
        if stage >= Stage::GasSummed {
            check_gas(program, block, &opcodes)?;
        }
        if let Some(goal) = data.merged_into.expand() {
            let other = read(source, goal);
            // Neither hands over: such blocks aren't merged.
            let is_alike = opcodes.len() == other.len()
                && opcodes.iter().zip(&other).all(|(one, other)| one.is_like(other));
            ensure(is_alike, entity, Defect::MergedInto(goal))?;
        }
    }
    Ok(())
}

/// The opcodes of a block.
pub(super) fn read(source: &Source<'_>, block: Block) -> Vec<Read> {
    let mut opcodes = Vec::new();
    for span in &source.segments[block.as_u32() as usize] {
        let mut pc = span.start;
        while pc < span.end {
            let byte = |at: u32| source.code.get(at as usize).copied().unwrap_or(0);
            let opcode = Opcode::new(byte(pc));
            opcodes.push(Read { pc, opcode, next: byte(pc + 1) });
            pc = opcodes.last().map_or(span.end, Read::end);
        }
    }
    opcodes
}

fn is_push(opcode: Opcode) -> bool {
    (Opcode::PUSH0..=Opcode::PUSH32).contains(&opcode)
}

impl Read {
    #[cfg(test)]
    pub(super) const fn new(pc: u32, opcode: Opcode, next: u8) -> Self {
        Self { pc, opcode, next }
    }

    /// The offset after it and its immediate.
    pub(super) fn end(&self) -> u32 {
        self.pc + 1 + self.opcode.info().map_or(0, |info| u32::from(info.immediate))
    }

    /// The constant that it pushes, if it does. Bytes that the code doesn't have are zeros.
    pub(super) fn constant(&self, code: &[u8]) -> Option<U256> {
        match self.opcode {
            Opcode::PC => Some(U256::from(self.pc)),
            Opcode::CODESIZE => Some(U256::from(code.len())),
            opcode if is_push(opcode) => {
                let immediate = self.pc + 1..self.end();
                let byte = |at: u32| code.get(at as usize).copied().unwrap_or(0);
                Some(immediate.fold(U256::ZERO, |word, at| word << 8 | U256::from(byte(at))))
            }
            _ => None,
        }
    }

    /// The words that it copies or exchanges, by their numbers from the top, which is 1: 0 and the
    /// word that is copied to the top, or the two that change places; 0 twice for any other.
    pub(super) fn depths(&self) -> (usize, usize) {
        let low = usize::from(self.opcode.get() & 15);
        match self.opcode {
            opcode if (Opcode::DUP1..=Opcode::DUP16).contains(&opcode) => (0, low + 1),
            opcode if (Opcode::SWAP1..=Opcode::SWAP16).contains(&opcode) => (1, low + 2),
            // EIP-8024.
            Opcode::DUPN => (0, self.single()),
            Opcode::SWAPN => (1, self.single() + 1),
            Opcode::EXCHANGE => {
                let (high, low) = self.nibbles();
                if high < low { (high + 2, low + 2) } else { (low + 2, 30 - high) }
            }
            _ => (0, 0),
        }
    }

    /// The operand of DUPN and SWAPN.
    fn single(&self) -> usize {
        (usize::from(self.next) + 145) % 256
    }

    /// Whether its operand is one that EIP-8024 defines, if it has such an operand.
    pub(super) fn is_immediate_valid(&self) -> bool {
        match self.opcode {
            Opcode::DUPN | Opcode::SWAPN => (17..=235).contains(&self.single()),
            Opcode::EXCHANGE => !(82..=127).contains(&self.next),
            _ => true,
        }
    }

    /// The halves of the operand of EXCHANGE.
    fn nibbles(&self) -> (usize, usize) {
        let mixed = usize::from(self.next ^ 0x8f);
        (mixed >> 4, mixed & 15)
    }

    /// Whether stack and gas go the same way.
    fn is_like(&self, other: &Self) -> bool {
        let pushes = |opcode| is_push(opcode) && opcode != Opcode::PUSH0;
        let has_depth = matches!(self.opcode, Opcode::DUPN | Opcode::SWAPN | Opcode::EXCHANGE);
        (self.opcode == other.opcode || (pushes(self.opcode) && pushes(other.opcode)))
            && (!has_depth || self.next == other.next)
    }

    /// Words that must be there, and by how many the height changes.
    fn effect(&self, info: &OpcodeInfo) -> (i32, i32) {
        let change = i32::from(info.outputs) - i32::from(info.inputs);
        let (_, deepest) = self.depths();
        (i32::from(info.inputs).max(deepest as i32), change)
    }
}

/// The bounds of a block of these opcodes.
fn stack(opcodes: &[Read]) -> StackEffect {
    let (mut lowest, mut highest, mut height) = (0, 0, 0);
    for read in opcodes {
        let Some(info) = read.opcode.info() else { continue };
        let (needed, change) = read.effect(info);
        lowest = lowest.min(height - needed);
        // The arguments of what ends or suspends the frame are still there when the block is over.
        if !matches!(info.implementation, Implementation::Exit | Implementation::Suspend) {
            height += change;
        }
        highest = highest.max(height);
    }
    StackEffect { needed: -lowest as u16, growth: highest as u16, delta: height as i16 }
}

/// Checks a block's gas, and what of it comes after its instructions.
fn check_gas(program: &Program, block: Block, opcodes: &[Read]) -> Result<(), VerifyError> {
    let mut after = 0;
    let mut insts = program.block_insts(block).rev().peekable();
    for read in opcodes.iter().rev() {
        // Some opcodes are no instruction any more; those that are, are in order.
        insts.next_if(|&inst| {
            let data = &program.insts[inst];
            data.pc == read.pc && data.gas_after == after
        });
        after += read.opcode.static_gas(program.spec_id);
    }
    if let Some(inst) = insts.next() {
        return ensure(false, Entity::Inst(inst), Defect::GasAfter);
    }
    ensure(program.blocks[block].gas == after, Entity::Block(block), Defect::BlockGas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::entities::Inst;
    use crate::{PassOptions, analyze};

    /// A program of one path through two segments, and its source.
    fn analyzed() -> (Program, Source<'static>) {
        // CALLER SLOAD PUSH1 8 JUMP, rubbish, JUMPDEST DUP1 SSTORE STOP
        const CODE: &[u8] = &alloy_primitives::hex!("3354600856fefefe5b805500");
        let program = analyze(CODE, &PassOptions::default()).expect("short code");
        let (start, end) = (Span { start: 0, end: 5 }, Span { start: 8, end: 12 });
        let segments = vec![vec![start, end], vec![end]];
        assert_eq!(program.blocks.len(), segments.len(), "{program}");
        let constants = vec![Vec::new(); segments.len()];
        (program, Source { code: CODE, segments, constants, foreign: OpcodeSet::ZERO })
    }

    fn broken(change: impl FnOnce(&mut Program)) -> Defect {
        let (mut program, source) = analyzed();
        assert_eq!(verify_source(&program, &source, Stage::Complete), Ok(()));
        change(&mut program);
        verify_source(&program, &source, Stage::Complete).expect_err("it is wrong").defect
    }

    #[test]
    fn what_the_bytes_are_not_is_found() {
        let block = Block::from_u32(0);
        assert_eq!(broken(|p| p.blocks[block].gas -= 1), Defect::BlockGas);
        assert_eq!(broken(|p| p.blocks[block].stack.growth += 1), Defect::StackBounds);
        assert_eq!(broken(|p| p.blocks[block].stack.needed += 1), Defect::StackBounds);
        let inst = Inst::from_u32;
        assert_eq!(broken(|p| p.insts[inst(0)].gas_after += 1), Defect::GasAfter);
        assert_eq!(broken(|p| p.insts[inst(1)].pc += 1), Defect::GasAfter);
    }

    #[test]
    fn only_blocks_of_the_same_opcodes_may_be_merged() {
        let read = |opcode, next| Read::new(0, opcode, next);
        let (one, two) = (read(Opcode::PUSH1, 1), read(Opcode::PUSH32, 2));
        assert!(one.is_like(&two));
        assert!(!one.is_like(&read(Opcode::PUSH0, 1)));
        assert!(!read(Opcode::DUPN, 0x80).is_like(&read(Opcode::DUPN, 0x81)));
        assert!(!read(Opcode::CALLER, 0).is_like(&read(Opcode::ADDRESS, 0)));
    }
}
