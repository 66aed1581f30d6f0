//! Chunks and entry points. Relies on what `dataflow` has verified.

use super::dataflow::follows;
use super::{Defect, Entity, VerifyError, ensure};
use crate::MAX_ENTRIES;
use crate::ir::entities::{Block, Chunk, Entry};
use crate::ir::program::{ChunkData, Program, Terminator};
use cranelift_entity::{EntityRef, EntitySet};

/// Verifies chunks and entries.
pub(super) fn verify(program: &Program) -> Result<(), VerifyError> {
    let found = program.entries.len();
    let defect = Defect::EntryCount { found, limit: MAX_ENTRIES };
    ensure(found <= MAX_ENTRIES, Entity::Program, defect)?;
    let (mut next_block, mut next_entry, mut opcodes) = (0, 0, 0u64);
    for (chunk, data) in program.chunks.iter() {
        check_chunk(program, chunk, data, next_block, next_entry)?;
        (next_block, next_entry) = (data.blocks.end, data.entries.end);
        opcodes += u64::from(data.opcodes);
    }
    let complete = next_block as usize == program.blocks.len() && next_entry as usize == found;
    ensure(complete, Entity::Program, Defect::Leftover)?;
    ensure(opcodes <= program.opcode_count.into(), Entity::Program, Defect::OpcodeCount)?;
    check_entries(program)?;
    let jumped_to = jumped_to_from_elsewhere(program);
    let mut blocks = program.blocks.keys();
    blocks.try_for_each(|block| check_block(program, block, jumped_to.contains(block)))
}

/// The blocks that another chunk's compiled blocks jump to.
fn jumped_to_from_elsewhere(program: &Program) -> EntitySet<Block> {
    let mut found = EntitySet::with_capacity(program.blocks.len());
    for data in program.blocks.values().filter(|data| data.is_compiled()) {
        if let Some(target) = data.terminator.static_target()
            && program.blocks[target].chunk != data.chunk
        {
            found.insert(target);
        }
    }
    found
}

fn check_chunk(
    program: &Program,
    chunk: Chunk,
    data: &ChunkData,
    next_block: u32,
    next_entry: u32,
) -> Result<(), VerifyError> {
    let entity = Entity::Chunk(chunk);
    let follows_blocks = follows(data.blocks, next_block, program.blocks.len());
    ensure(follows_blocks && !data.blocks.is_empty(), entity, Defect::ChunkBlocks)?;
    let follows_entries = follows(data.entries, next_entry, program.entries.len());
    ensure(follows_entries, entity, Defect::ChunkEntries)?;
    for index in data.entries.start..data.entries.end {
        let block = program.entries[Entry::from_u32(index)].block.as_u32();
        let inside = data.blocks.start <= block && block < data.blocks.end;
        ensure(inside, entity, Defect::ChunkEntries)?;
    }
    for block in program.chunk_blocks(chunk) {
        let belongs = program.blocks[block].chunk == chunk;
        ensure(belongs, Entity::Block(block), Defect::WrongChunk)?;
    }
    Ok(())
}

fn check_entries(program: &Program) -> Result<(), VerifyError> {
    let mut last = None;
    for (entry, data) in program.entries.iter() {
        let named = program.blocks.binary_search_values_by_key(&data.pc, |block| block.pc);
        let matches = named.is_ok_and(|named| {
            let block = &program.blocks[named];
            block.entry.expand() == Some(entry)
                && program.goal(named) == data.block
                && block.is_jumpdest == data.is_jumpdest
                && program.blocks[data.block].entry.is_some()
        });
        let place = (data.block, data.pc);
        let in_order = last.is_none_or(|last| last < place);
        ensure(matches && in_order, Entity::Entry(entry), Defect::EntryMismatch)?;
        last = Some(place);
    }
    Ok(())
}

/// A block has an entry exactly if something asks for one, and the right flags.
fn check_block(program: &Program, block: Block, jumped_to: bool) -> Result<(), VerifyError> {
    let entity = Entity::Block(block);
    let data = &program.blocks[block];
    let before = block.index().checked_sub(1).map(|index| &program.blocks[Block::new(index)]);
    let is_continuation =
        before.is_none_or(|before| matches!(before.terminator, Terminator::Suspend { .. }));
    let is_crossed_into = before.is_some_and(|before| {
        before.chunk != data.chunk
            && before.is_compiled()
            && before.terminator.next_block() == Some(block)
    });
    let Some(entry) = data.entry.expand() else {
        let needless = !data.is_compiled() || !(is_continuation || is_crossed_into || jumped_to);
        return ensure(needless, entity, Defect::EntryMissing);
    };
    ensure(!data.is_cold, entity, Defect::EntryNeedless)?;
    let Some(entry_data) = program.entries.get(entry) else {
        let defect = Defect::Missing(Entity::Entry(entry));
        return Err(VerifyError { entity, defect });
    };
    ensure(entry_data.block == program.goal(block), entity, Defect::EntryMismatch)?;
    let asked_for = data.is_jumpdest || is_continuation || is_crossed_into;
    ensure(asked_for, entity, Defect::EntryNeedless)?;
    let exact = entry_data.is_continuation == is_continuation;
    ensure(exact, Entity::Entry(entry), Defect::ContinuationFlag)
}
