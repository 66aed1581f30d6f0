//! Accesses to memory without a check: each is found to lie within memory on every way to it.
//!
//! The least length of memory is followed from the chunk's entry points along all edges, without
//! regard to regions or to the order in which blocks are translated. A frame enters the contract's
//! first block with nothing, and any other place with what that block makes sure of; each access
//! makes memory as long as it reaches. Which offsets are constant, and so immediates of the machine
//! code, the translator says: an access that is wrong in that is still within memory.
//!
//! Lengths are settled from the shortest on, for no block makes memory shorter.
//!
//! Cost: one look at each block and edge, and sorting them by length.

use super::edges::ways_out;
use super::{Defect, Entity, VerifyError, ensure};
use crate::ir::entities::{Block, Chunk, Inst};
use crate::ir::opcode::Opcode;
use crate::ir::program::Program;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Bytes of a word.
const WORD: u64 = 32;

/// Length where nobody has come by yet.
const UNREACHED: u64 = u64::MAX;

/// An access to memory at an offset that is an immediate of the machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The instruction.
    pub inst: Inst,
    /// Where it ends, in bytes from memory's start.
    pub end: u64,
    /// Whether compiled code makes sure that memory reaches so far.
    pub is_checked: bool,
}

/// Verifies that the accesses without a check lie within memory. `accesses` are those of a chunk at
/// constant offsets, in ascending order of their instructions; frames that enter elsewhere than at
/// the start have `initial_memory` bytes.
///
/// # Errors
///
/// The first access that may lie outside, or the first block if that doesn't make sure of
/// `initial_memory`.
pub fn verify_reach(
    program: &Program,
    chunk: Chunk,
    accesses: &[Access],
    initial_memory: u32,
) -> Result<(), VerifyError> {
    let (start, initial) = (Block::from_u32(0), u64::from(initial_memory));
    let holds = initial <= made_sure(program, start);
    ensure(holds, Entity::Block(start), Defect::InitialMemory)?;

    let first = program.chunks[chunk].blocks.start;
    let mut lengths: Vec<u64> = program
        .chunk_blocks(chunk)
        .map(|block| match program.blocks[block].entry.is_some() {
            true if block == start => 0,
            true => initial,
            false => UNREACHED,
        })
        .collect();
    let entered = program.chunk_blocks(chunk).zip(&lengths).filter(|&(_, &at)| at != UNREACHED);
    let mut pending: BinaryHeap<_> = entered.map(|(block, &at)| Reverse((at, block))).collect();
    while let Some(Reverse((length, block))) = pending.pop() {
        let is_least = length == lengths[(block.as_u32() - first) as usize];
        if !is_least || !program.blocks[block].is_compiled() {
            continue;
        }
        let length = of_block(program, accesses, block).fold(length, after);
        for to in ways_out(program, block) {
            let index = to.as_u32().wrapping_sub(first) as usize;
            if let Some(known) = lengths.get_mut(index).filter(|known| length < **known) {
                *known = length;
                pending.push(Reverse((length, to)));
            }
        }
    }
    for block in program.chunk_blocks(chunk) {
        let mut length = lengths[(block.as_u32() - first) as usize];
        for access in of_block(program, accesses, block) {
            let reaches = access.is_checked || access.end <= length;
            ensure(reaches, Entity::Inst(access.inst), Defect::OutsideMemory)?;
            length = after(length, access);
        }
    }
    Ok(())
}

/// The accesses of a block.
fn of_block<'a>(
    program: &Program,
    accesses: &'a [Access],
    block: Block,
) -> impl Iterator<Item = &'a Access> + use<'a> {
    let span = program.blocks[block].insts;
    let at = |index: u32| accesses.partition_point(|access| access.inst.as_u32() < index);
    accesses[at(span.start)..at(span.end)].iter()
}

/// The length of memory after an access that has gone well.
fn after(length: u64, access: &Access) -> u64 {
    length.max(access.end.div_ceil(WORD).saturating_mul(WORD))
}

/// The length of memory that a block makes sure of by accesses at constants of its own.
fn made_sure(program: &Program, block: Block) -> u64 {
    let ends = program.block_insts(block).filter_map(|inst| {
        let bytes = match program.insts[inst].opcode {
            Opcode::MLOAD | Opcode::MSTORE => WORD,
            Opcode::MSTORE8 => 1,
            _ => return None,
        };
        let offset = program.as_const(program.args(inst)[0])?;
        u64::try_from(offset).ok()?.checked_add(bytes)
    });
    ends.map(|end| end.div_ceil(WORD).saturating_mul(WORD)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PassOptions, PassSet, analyze};

    /// MSTORE to 0x40, then at a JUMPDEST that a computed jump may go to: MLOAD of 0x40 and 0x60.
    fn program() -> Program {
        let mut code = alloy_primitives::hex!("3360405261010035015600").to_vec();
        code.resize(0x100, 0);
        code.extend(alloy_primitives::hex!("5b60405160605100"));
        let options = PassOptions { compile_all: true, ..PassOptions::default() };
        analyze(&code, &options).expect("short code")
    }

    #[test]
    fn only_what_lies_within_is_accepted() {
        let program = program();
        let chunk = Chunk::from_u32(0);
        let access = |opcode, number: usize, end| {
            let mut insts = program.insts.keys().filter(|&i| program.insts[i].opcode == opcode);
            let inst = insts.nth(number).expect("an access");
            Access { inst, end, is_checked: false }
        };
        let store = Access { is_checked: true, ..access(Opcode::MSTORE, 0, 0x60) };
        let [low, high] = [(0, 0x60), (1, 0x80)].map(|(n, end)| access(Opcode::MLOAD, n, end));
        assert_eq!(program.initial_memory(), 0x60);
        let verify = |accesses: &[Access], memory| verify_reach(&program, chunk, accesses, memory);
        assert_eq!(verify(&[store, low], 0x60), Ok(()));
        assert_eq!(verify(&[store, low, Access { is_checked: true, ..high }], 0x60), Ok(()));
        let outside = |access: Access| {
            let entity = Entity::Inst(access.inst);
            Err(VerifyError { entity, defect: Defect::OutsideMemory })
        };
        assert_eq!(verify(&[store, low, high], 0x60), outside(high));
        assert_eq!(verify(&[store, low], 0x40), outside(low));
        let unchecked = Access { is_checked: false, ..store };
        assert_eq!(verify(&[unchecked, low], 0x60), outside(unchecked));
        let defect = verify(&[], 0x80).expect_err("nobody makes sure of it").defect;
        assert_eq!(defect, Defect::InitialMemory);
    }
    /// JUMPDESTs of which each jumps to the one before: against the order of blocks.
    #[test]
    fn the_shortest_way_counts_against_the_order_of_blocks() {
        const BLOCKS: u32 = 2000;
        // b0: MSTORE to 0x40, then a jump to the last, which is where computed jumps may go.
        let mut code = alloy_primitives::hex!("33604052").to_vec();
        let at = |number: u32| 8 + 5 * number;
        let jump_to = |code: &mut Vec<u8>, number| {
            code.push(Opcode::PUSH2.get());
            code.extend((at(number) as u16).to_be_bytes());
            code.push(Opcode::JUMP.get());
        };
        jump_to(&mut code, BLOCKS - 1);
        for number in 0..BLOCKS {
            code.push(Opcode::JUMPDEST.get());
            if number == 0 {
                code.extend(
                    [Opcode::PUSH0, Opcode::MLOAD, Opcode::POP, Opcode::STOP].map(Opcode::get),
                );
            } else {
                jump_to(&mut code, number - 1);
            }
        }
        let options = PassOptions {
            skip: PassSet::THREAD_JUMPS.union(PassSet::DEDUP),
            chunk_limit: u32::MAX,
            compile_all: true,
            ..PassOptions::default()
        };
        let mut program = analyze(&code, &options).expect("few entries");
        assert_eq!((program.chunks.len(), program.blocks.len()), (1, BLOCKS as usize + 1));
        let entry = program.blocks[Block::from_u32(0)].entry;
        program.blocks.values_mut().skip(1).for_each(|data| data.entry = None.into());
        let access = |opcode, end, is_checked| {
            let inst = program.insts.keys().find(|&inst| program.insts[inst].opcode == opcode);
            Access { inst: inst.expect("one of each"), end, is_checked }
        };
        let accesses = [access(Opcode::MSTORE, 0x60, true), access(Opcode::MLOAD, 0x20, false)];
        let chunk = Chunk::from_u32(0);
        assert_eq!(verify_reach(&program, chunk, &accesses, 0), Ok(()));
        // Who enters in the middle has less.
        program.blocks[Block::from_u32(BLOCKS / 2)].entry = entry;
        let error = verify_reach(&program, chunk, &accesses, 0).expect_err("there is no memory");
        let defect = Defect::OutsideMemory;
        assert_eq!(error, VerifyError { entity: Entity::Inst(accesses[1].inst), defect });
        assert_eq!(verify_reach(&program, chunk, &accesses, 0x20), Ok(()));
    }
}
