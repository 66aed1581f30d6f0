//! Cutting a program into units of compilation, and the table of entry points.
//!
//! A chunk is a run of blocks in order of pc with at most `chunk_limit` opcodes (heavy ones count
//! as several, see `analysis::weight`), not counting blocks that aren't compiled, or a single
//! longer block. A cut is put where it splits no loop, if there is such a place. Only loops that
//! fit into a chunk count, and only those closed by a jump with a static target. The entry points
//! of merged blocks are those of the chunk that has the block they are merged into.
//!
//! Chunks are filled from the start of the code. When a block doesn't fit, the chunk ends
//! at the last place that splits no loop, or just before that block. Any two chunks
//! in a row then have more than `chunk_limit` together.
//!
//! Blocks beyond the contract's budget aren't compiled: those at the end of the code, for it begins
//! with what every call runs.
//!
//! Cost: linear in the blocks, but for sorting the merged ones.

use crate::analysis::control_flow::{BlockShape, ControlFlow};
use crate::analysis::weight::{Budget, block_weight, size};
use crate::ir::entities::{Block, Chunk};
use crate::ir::program::{ChunkData, EntryData, JumpTarget, Program, Span, Terminator};
use crate::transform::thread_jumps::Threaded;
use crate::{AnalysisError, MAX_ENTRIES, PassOptions};
use core::iter::Peekable;
use cranelift_entity::{EntityRef, EntitySet};

/// Cuts the program and makes its entry points.
///
/// # Errors
///
/// [`AnalysisError::TooManyEntries`] if the entry table can't index all of them.
pub(crate) fn cut_chunks(
    program: &mut Program,
    threaded: &Threaded,
    options: &PassOptions,
) -> Result<(), AnalysisError> {
    let PassOptions { chunk_limit, one_block_per_chunk, .. } = *options;
    let flow = &threaded.flow;
    let merged = merged_blocks(program);
    let weights: Vec<u32> =
        program.blocks.keys().map(|block| block_weight(program, block)).collect();
    let budget = Budget::new(options.work_limit, program.code_len);
    mark_cold(program, &threaded.cold, &merged, &weights, budget);
    let opcodes_before = sum_before(program, |block| flow.instruction_count(&flow.blocks[block]));
    let size_before = sum_before(program, |block| {
        size(flow.instruction_count(&flow.blocks[block]), weights[block.index()])
    });
    let starts = if one_block_per_chunk {
        let stays = |&index: &usize| program.blocks[Block::new(index)].merged_into.is_none();
        (0..flow.blocks.len()).filter(stays).collect()
    } else {
        let splits_loop = loops_split(program, &size_before, chunk_limit);
        chunk_starts(&size_before, &splits_loop, chunk_limit)
    };
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(flow.blocks.len());
        let chunk = program.chunks.push(ChunkData {
            blocks: Span { start: start as u32, end: end as u32 },
            entries: Span::default(),
            opcodes: opcodes_before[end] - opcodes_before[start],
        });
        for block in program.chunk_blocks(chunk) {
            program.blocks[block].chunk = chunk;
        }
    }
    let mut entered = crossed_into(program);
    if options.enter_loops {
        add_loop_headers(program, flow, &mut entered);
    }
    let mut merged = merged.into_iter().peekable();
    for chunk in program.chunks.keys() {
        add_entries(program, threaded, &entered, chunk, &mut merged);
    }
    let found = program.entries.len() + program.absent_targets().count();
    if found > MAX_ENTRIES {
        return Err(AnalysisError::TooManyEntries { found, limit: MAX_ENTRIES });
    }
    Ok(())
}

/// The merged blocks, each with the block it is merged into, by that one.
fn merged_blocks(program: &Program) -> Vec<(Block, Block)> {
    let mut merged: Vec<(Block, Block)> = program
        .blocks
        .iter()
        .filter_map(|(block, data)| Some((data.merged_into.expand()?, block)))
        .collect();
    merged.sort_unstable();
    merged
}

/// Marks the blocks that aren't compiled: those that are unlikely to run, and those that the budget
/// doesn't last for.
fn mark_cold(
    program: &mut Program,
    cold: &EntitySet<Block>,
    merged: &[(Block, Block)],
    weights: &[u32],
    mut budget: Budget,
) {
    for block in cold.iter() {
        program.blocks[block].is_cold = true;
    }
    for &(goal, other) in merged {
        // The one of them that is likely to run decides.
        program.blocks[goal].is_cold &= program.blocks[other].is_cold;
    }
    for (block, data) in program.blocks.iter_mut().filter(|(_, data)| data.is_compiled()) {
        let lasts = budget.take(weights[block.index()]);
        // The contract's first block is its first entry point, whatever else.
        data.is_cold = !lasts && block != Block::new(0);
    }
    for &(goal, other) in merged {
        program.blocks[other].is_cold = program.blocks[goal].is_cold;
    }
}

/// The sum over all compiled blocks before each block, and at the end over all.
fn sum_before(program: &Program, of: impl Fn(Block) -> u32) -> Vec<u32> {
    let mut sum = 0;
    let mut before = Vec::with_capacity(program.blocks.len() + 1);
    before.push(0);
    before.extend(program.blocks.iter().map(|(block, data)| {
        sum += if data.is_compiled() { of(block) } else { 0 };
        sum
    }));
    before
}

/// For each block, whether a cut before it would split a loop that fits into a chunk.
fn loops_split(program: &Program, size_before: &[u32], chunk_limit: u32) -> Vec<bool> {
    // Loops that begin minus loops that end between the block before and this one.
    let mut change = vec![0i32; program.blocks.len() + 1];
    for (tail, data) in program.blocks.iter() {
        let target = match data.terminator {
            Terminator::Jump(target) | Terminator::Branch { target, .. } => target,
            _ => continue,
        };
        let JumpTarget::Block(head) = target else { continue };
        let (head, tail) = (head.index(), tail.index());
        if head < tail && size_before[tail + 1] - size_before[head] <= chunk_limit {
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
fn chunk_starts(size_before: &[u32], splits_loop: &[bool], chunk_limit: u32) -> Vec<usize> {
    let blocks = size_before.len() - 1;
    let mut starts = vec![0];
    let mut start = 0;
    let mut good_cut = None;
    for block in 1..blocks {
        if !splits_loop[block] {
            good_cut = Some(block);
        }
        // Each round makes a chunk, so that all rounds together are at most as many as blocks.
        while size_before[block + 1] - size_before[start] > chunk_limit && start < block {
            start = good_cut.take().unwrap_or(block);
            starts.push(start);
        }
    }
    starts
}

/// The blocks that compiled blocks of another chunk go on with or jump to.
fn crossed_into(program: &Program) -> EntitySet<Block> {
    let mut crossed = EntitySet::with_capacity(program.blocks.len());
    for data in program.blocks.values().filter(|data| data.is_compiled()) {
        let successors = [data.terminator.next_block(), data.terminator.static_target()];
        for successor in successors.into_iter().flatten() {
            if program.blocks[successor].chunk != data.chunk {
                crossed.insert(successor);
            }
        }
    }
    crossed
}

/// Adds the headers of loops that a jump with a static target closes, even one that isn't compiled:
/// then the frame that comes by it is interpreted.
fn add_loop_headers(program: &Program, flow: &ControlFlow, entered: &mut EntitySet<Block>) {
    for (tail, data) in program.blocks.iter() {
        if let Some(head) = data.terminator.static_target()
            && head <= tail
            && flow.blocks[head].is_jumpdest
        {
            entered.insert(head);
        }
    }
}

/// Adds the entry points of a chunk: where computed jumps may lead, where frames begin and resume,
/// and the blocks in `entered`: what another chunk leads to, and loops. After each block's come
/// those of the blocks merged into it, which are taken from `merged`; a block that one of these
/// leads to has its own too.
fn add_entries(
    program: &mut Program,
    threaded: &Threaded,
    entered: &EntitySet<Block>,
    chunk: Chunk,
    merged: &mut Peekable<impl Iterator<Item = (Block, Block)>>,
) {
    let first_entry = program.entries.len() as u32;
    let mut others = Vec::new();
    for block in program.chunk_blocks(chunk) {
        others.clear();
        while let Some((_, other)) = merged.next_if(|&(goal, _)| goal == block) {
            if threaded.escaping.contains(other) {
                others.push(other);
            }
        }
        let is_entered = threaded.escaping.contains(block)
            || threaded.flow.blocks[block].is_continuation
            || entered.contains(block)
            || !others.is_empty();
        if is_entered && program.blocks[block].is_compiled() {
            for &entered in [block].iter().chain(&others) {
                add_entry(program, &threaded.flow, entered, block);
            }
        }
    }
    program.chunks[chunk].entries = Span { start: first_entry, end: program.entries.len() as u32 };
}

/// Adds the entry point of a block, which leads to `goal`.
fn add_entry(program: &mut Program, flow: &ControlFlow, block: Block, goal: Block) {
    let BlockShape { pc, is_jumpdest, is_continuation, .. } = flow.blocks[block];
    let data = EntryData { block: goal, pc, is_jumpdest, is_continuation };
    program.blocks[block].entry = program.entries.push(data).into();
}
