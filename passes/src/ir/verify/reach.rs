//! Accesses to memory without a check: each is found to lie within memory on every way to it.
//!
//! The least length of memory is followed from the chunk's entry points along all edges, down to a
//! fixed point, without regard to regions or to the order in which blocks are translated. A frame
//! enters the contract's first block with nothing, and any other place with what that block makes
//! sure of; each access makes memory as long as it reaches.
//!
//! Cost: a few rounds over the chunk's blocks, one for each nesting of loops.

use super::{Defect, Entity, VerifyError, ensure};
use crate::ir::entities::{Block, Chunk, Inst};
use crate::ir::opcode::Opcode;
use crate::ir::program::Program;
use alloy_primitives::U256;

/// Length where nobody has come by yet.
const UNREACHED: u64 = u64::MAX;

/// Verifies that the accesses in `unchecked`, instructions of a chunk in ascending order, lie
/// within memory, where frames that enter elsewhere than at the start have `initial_memory` bytes
/// of it.
///
/// # Errors
///
/// The first access that may lie outside, or the first block if that doesn't make sure of
/// `initial_memory`.
pub fn verify_reach(
    program: &Program,
    chunk: Chunk,
    unchecked: &[Inst],
    initial_memory: u32,
) -> Result<(), VerifyError> {
    let (start, initial) = (Block::from_u32(0), u64::from(initial_memory));
    let made_sure = after(program, start, 0, &mut |_, _| {});
    ensure(initial <= made_sure, Entity::Block(start), Defect::InitialMemory)?;

    let first = program.chunks[chunk].blocks.start;
    let mut lengths: Vec<u64> = program
        .chunk_blocks(chunk)
        .map(|block| match program.blocks[block].entry.is_some() {
            true if block == start => 0,
            true => initial,
            false => UNREACHED,
        })
        .collect();
    loop {
        let mut has_changed = false;
        for block in program.chunk_blocks(chunk) {
            let length = lengths[(block.as_u32() - first) as usize];
            if length == UNREACHED || !program.blocks[block].is_compiled() {
                continue;
            }
            let length = after(program, block, length, &mut |_, _| {});
            let terminator = &program.blocks[block].terminator;
            for to in [terminator.static_target(), terminator.next_block()].into_iter().flatten() {
                let index = to.as_u32().wrapping_sub(first) as usize;
                if let Some(known) = lengths.get_mut(index).filter(|known| length < **known) {
                    *known = length;
                    has_changed = true;
                }
            }
        }
        if !has_changed {
            break;
        }
    }
    for block in program.chunk_blocks(chunk) {
        let mut outside = None;
        let length = lengths[(block.as_u32() - first) as usize];
        after(program, block, length, &mut |inst, reaches| {
            if !reaches && unchecked.binary_search(&inst).is_ok() {
                outside.get_or_insert(inst);
            }
        });
        if let Some(inst) = outside {
            return ensure(false, Entity::Inst(inst), Defect::OutsideMemory);
        }
    }
    Ok(())
}

/// The length of memory after a block that is entered with so much. `visit` is told of each access
/// whether it lies within what is there before it; one at an unknown offset doesn't.
fn after(
    program: &Program,
    block: Block,
    mut length: u64,
    visit: &mut impl FnMut(Inst, bool),
) -> u64 {
    for inst in program.block_insts(block) {
        let bytes = match program.insts[inst].opcode {
            Opcode::MLOAD | Opcode::MSTORE => 32,
            Opcode::MSTORE8 => 1,
            _ => continue,
        };
        let offset = program.as_const(program.args(inst)[0]);
        let end = offset.and_then(|offset| offset.checked_add(U256::from(bytes)));
        let end = end.and_then(|end| u64::try_from(end).ok());
        visit(inst, end.is_some_and(|end| end <= length));
        // What is beyond all bounds has failed.
        length = length.max(end.map_or(0, |end| end.div_ceil(32).saturating_mul(32)));
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PassOptions, analyze};

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
        let loads: Vec<Inst> =
            program.insts.keys().filter(|&i| program.insts[i].opcode == Opcode::MLOAD).collect();
        assert_eq!(program.initial_memory(), 0x60);
        let verify = |unchecked: &[Inst], memory| verify_reach(&program, chunk, unchecked, memory);
        assert_eq!(verify(&loads[..1], 0x60), Ok(()));
        let outside =
            |inst| Err(VerifyError { entity: Entity::Inst(inst), defect: Defect::OutsideMemory });
        assert_eq!(verify(&loads, 0x60), outside(loads[1]));
        assert_eq!(verify(&loads[..1], 0x40), outside(loads[0]));
        let store = program.insts.keys().find(|&i| program.insts[i].opcode == Opcode::MSTORE);
        let store = store.expect("the first block's");
        assert_eq!(verify(&[store], 0x60), outside(store));
        let defect = verify(&[], 0x80).expect_err("nobody makes sure of it").defect;
        assert_eq!(defect, Defect::InitialMemory);
    }
}
