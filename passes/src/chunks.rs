//! Cutting a program into units of compilation, and the table of entry points.
//!
//! A chunk is a run of blocks in order of pc with at most `chunk_limit` opcodes, or a
//! single longer block. A cut is put where it splits no loop, if there is such a place. Only
//! loops that fit into a chunk count, and only those closed by a jump with a static target.
//!
//! Chunks are filled from the start of the code. When a block doesn't fit, the chunk ends
//! at the last place that splits no loop, or just before that block. Any two chunks
//! in a row then have more than `chunk_limit` opcodes together.
//!
//! Cost: linear in the blocks.

use crate::analysis::control_flow::ControlFlow;
use crate::ir::entities::{Block, Chunk};
use crate::ir::program::{ChunkData, EntryData, JumpTarget, Program, Span, Terminator};
use crate::{AnalysisError, MAX_ENTRIES};
use cranelift_entity::EntityRef;

/// Cuts the program and makes its entry points.
///
/// # Errors
///
/// [`AnalysisError::TooManyEntries`] if the entry table can't index all of them.
pub(crate) fn cut_chunks(
    program: &mut Program,
    flow: &ControlFlow,
    chunk_limit: u32,
    one_block_per_chunk: bool,
) -> Result<(), AnalysisError> {
    let opcodes_before = opcodes_before(flow);
    let starts = if one_block_per_chunk {
        (0..flow.blocks.len()).collect()
    } else {
        let splits_loop = loops_split(program, &opcodes_before, chunk_limit);
        chunk_starts(&opcodes_before, &splits_loop, chunk_limit)
    };
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(flow.blocks.len());
        let chunk = program.chunks.push(ChunkData {
            blocks: Span { start: start as u32, end: end as u32 },
            entries: Span::default(),
            opcodes: opcodes_before[end] - opcodes_before[start],
        });
        add_entries(program, flow, chunk);
    }
    let found = program.entries.len();
    if found > MAX_ENTRIES {
        return Err(AnalysisError::TooManyEntries { found, limit: MAX_ENTRIES });
    }
    Ok(())
}

/// Opcodes in all blocks before each block, and at the end in all blocks.
fn opcodes_before(flow: &ControlFlow) -> Vec<u32> {
    let mut sum = 0;
    let mut before = Vec::with_capacity(flow.blocks.len() + 1);
    before.push(0);
    before.extend(flow.blocks.values().map(|shape| {
        sum += shape.last - shape.first;
        sum
    }));
    before
}

/// For each block, whether a cut before it would split a loop that fits into a chunk.
fn loops_split(program: &Program, opcodes_before: &[u32], chunk_limit: u32) -> Vec<bool> {
    // Loops that begin minus loops that end between the block before and this one.
    let mut change = vec![0i32; program.blocks.len() + 1];
    for (tail, data) in program.blocks.iter() {
        let target = match data.terminator {
            Terminator::Jump(target) | Terminator::Branch { target, .. } => target,
            _ => continue,
        };
        let JumpTarget::Block(head) = target else { continue };
        let (head, tail) = (head.index(), tail.index());
        if head < tail && opcodes_before[tail + 1] - opcodes_before[head] <= chunk_limit {
            change[head + 1] += 1;
            change[tail + 1] -= 1;
        }
    }
    let mut open = 0;
    change
        .into_iter()
        .map(|change| {
            open += change;
            open > 0
        })
        .collect()
}

/// The first block of each chunk.
fn chunk_starts(opcodes_before: &[u32], splits_loop: &[bool], chunk_limit: u32) -> Vec<usize> {
    let blocks = opcodes_before.len() - 1;
    let mut starts = vec![0];
    let mut start = 0;
    let mut good_cut = None;
    for block in 1..blocks {
        if !splits_loop[block] {
            good_cut = Some(block);
        }
        // Each round makes a chunk, so that all rounds together are at most as many as blocks.
        while opcodes_before[block + 1] - opcodes_before[start] > chunk_limit && start < block {
            start = good_cut.take().unwrap_or(block);
            starts.push(start);
        }
    }
    starts
}

/// Adds the entry points of a chunk: its JUMPDESTs and continuations, and its first block if
/// the chunk before goes on with it. Jumps lead to JUMPDESTs only.
fn add_entries(program: &mut Program, flow: &ControlFlow, chunk: Chunk) {
    let span = program.chunks[chunk].blocks;
    let first_entry = program.entries.len() as u32;
    for index in span.start..span.end {
        let block = Block::from_u32(index);
        let shape = &flow.blocks[block];
        let is_crossed_into = index == span.start
            && index > 0
            && flow.blocks[Block::from_u32(index - 1)].ending.reaches_next();
        let data = &mut program.blocks[block];
        data.chunk = chunk;
        if shape.is_jumpdest || shape.is_continuation || is_crossed_into {
            let entry = program.entries.push(EntryData {
                block,
                pc: shape.pc,
                is_jumpdest: shape.is_jumpdest,
                is_continuation: shape.is_continuation,
            });
            data.entry = entry.into();
        }
    }
    program.chunks[chunk].entries = Span { start: first_entry, end: program.entries.len() as u32 };
}
