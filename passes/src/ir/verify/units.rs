//! Chunks and entry points. Relies on what `dataflow` has verified.

use super::dataflow::follows;
use super::{Defect, Entity, VerifyError, ensure};
use crate::MAX_ENTRIES;
use crate::ir::entities::{Block, Chunk, Entry};
use crate::ir::program::{ChunkData, Program};
use cranelift_entity::{EntityRef, EntitySet, SecondaryMap, packed_option::PackedOption};

/// Verifies chunks and entries.
pub(super) fn verify(program: &Program) -> Result<(), VerifyError> {
    let found = program.entries.len();
    let defect = Defect::EntryCount { found, limit: MAX_ENTRIES };
    ensure(found <= MAX_ENTRIES, Entity::Program, defect)?;
    let (mut next_block, mut next_entry) = (0, 0);
    for (chunk, data) in program.chunks.iter() {
        check_chunk(program, chunk, data, next_block, next_entry)?;
        (next_block, next_entry) = (data.blocks.end, data.entries.end);
    }
    let complete = next_block as usize == program.blocks.len() && next_entry as usize == found;
    ensure(complete, Entity::Program, Defect::Leftover)?;
    check_entries(program)?;
    let ways = Ways::find(program);
    program.blocks.keys().try_for_each(|block| check_block(program, &ways, block))
}

/// How blocks are entered.
struct Ways {
    /// Frames resume here, or begin.
    continuations: EntitySet<Block>,
    /// Compiled blocks of another chunk lead here.
    crossed: EntitySet<Block>,
    /// Blocks that lead to each.
    counts: SecondaryMap<Block, u32>,
}

impl Ways {
    fn find(program: &Program) -> Self {
        let mut ways = Self {
            continuations: EntitySet::with_capacity(program.blocks.len()),
            crossed: EntitySet::with_capacity(program.blocks.len()),
            counts: SecondaryMap::with_capacity(program.blocks.len()),
        };
        ways.continuations.insert(Block::new(0));
        for data in program.blocks.values() {
            if let Some(continuation) = data.terminator.continuation() {
                ways.continuations.insert(continuation);
            }
            let successors = [data.terminator.next_block(), data.terminator.static_target()];
            for successor in successors.into_iter().flatten() {
                ways.counts[successor] += 1;
                if program.blocks[successor].chunk != data.chunk && data.is_compiled() {
                    ways.crossed.insert(successor);
                }
            }
        }
        ways
    }
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
    let mut named =
        SecondaryMap::<Entry, PackedOption<Block>>::with_capacity(program.entries.len());
    for (block, data) in program.blocks.iter() {
        if let Some(entry) = data.entry.expand().filter(|&entry| program.entries.is_valid(entry)) {
            named[entry] = block.into();
        }
    }
    let mut last = None;
    for (entry, data) in program.entries.iter() {
        let matches = named[entry].expand().is_some_and(|named| {
            let block = &program.blocks[named];
            program.goal(named) == data.block
                && block.pc == data.pc
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

/// A block has an entry only if something asks for one, and the right flags.
fn check_block(program: &Program, ways: &Ways, block: Block) -> Result<(), VerifyError> {
    let entity = Entity::Block(block);
    let data = &program.blocks[block];
    let leading = ways.counts[block];
    ensure(!data.is_clone || leading <= 1, entity, Defect::SharedClone(leading))?;
    let is_continuation = ways.continuations.contains(block);
    let is_crossed = ways.crossed.contains(block);
    let Some(entry) = data.entry.expand() else {
        let is_start = block == Block::new(0);
        let needless = !is_start && (!data.is_compiled() || !(is_continuation || is_crossed));
        return ensure(needless, entity, Defect::EntryMissing);
    };
    ensure(!data.is_cold, entity, Defect::EntryNeedless)?;
    let Some(entry_data) = program.entries.get(entry) else {
        let defect = Defect::Missing(Entity::Entry(entry));
        return Err(VerifyError { entity, defect });
    };
    // Another block may name it too, so this is asked of the block as well as of the entry.
    let is_own = entry_data.block == program.goal(block) && entry_data.pc == data.pc;
    ensure(is_own, entity, Defect::EntryMismatch)?;
    let asked_for = data.is_jumpdest || is_continuation || is_crossed;
    ensure(asked_for, entity, Defect::EntryNeedless)?;
    let exact = entry_data.is_continuation == is_continuation;
    ensure(exact, Entity::Entry(entry), Defect::ContinuationFlag)
}
