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
use crate::ir::program::{ChunkData, EntryData, Program, Span};
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
        let splits_loop = loops_split(loops(program), &size_before, chunk_limit);
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
    let entered = crossed_into(program);
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

/// The loops that a jump with a static target closes: first and last block.
fn loops(program: &Program) -> impl Iterator<Item = (usize, usize)> + '_ {
    program.blocks.iter().filter_map(|(tail, data)| {
        let head = data.terminator.static_target()?;
        (head <= tail).then(|| (head.index(), tail.index()))
    })
}

/// For each block, whether a cut before it would split a loop that fits into a chunk.
fn loops_split(
    loops: impl Iterator<Item = (usize, usize)>,
    size_before: &[u32],
    chunk_limit: u32,
) -> Vec<bool> {
    // Loops that begin minus loops that end between the block before and this one.
    let mut change = vec![0i32; size_before.len()];
    for (head, tail) in loops {
        if size_before[tail + 1] - size_before[head] <= chunk_limit {
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

/// Adds the entry points of a chunk: where computed jumps may lead, where frames begin and resume,
/// and the blocks in `entered`: what another chunk leads to. After each block's come those of the
/// blocks merged into it, which are taken from `merged`; a block that one of these leads to has its
/// own too.
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

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: usize = 4;

    /// The sums before blocks of all sizes from none to three.
    fn sizes_before() -> impl Iterator<Item = Vec<u32>> {
        (0..4u32.pow(BLOCKS as u32)).map(|number| {
            let mut sum = 0;
            let sizes = (0..BLOCKS as u32).map(|block| number / 4u32.pow(block) % 4);
            let ends = sizes.map(|size| {
                sum += size;
                sum
            });
            [0].into_iter().chain(ends).collect()
        })
    }

    /// Each two loops, which may be the same.
    fn pairs_of_loops() -> Vec<[(usize, usize); 2]> {
        let loops = || (0..BLOCKS).flat_map(|tail| (0..=tail).map(move |head| (head, tail)));
        loops().flat_map(|one| loops().map(move |other| [one, other])).collect()
    }

    #[test]
    fn a_cut_splits_the_loops_around_it_that_fit_into_a_chunk() {
        let pairs = pairs_of_loops();
        for before in sizes_before() {
            for limit in 0..=9 {
                for &loops in &pairs {
                    let found = loops_split(loops.into_iter(), &before, limit);
                    for (cut, &found) in found.iter().enumerate().take(BLOCKS).skip(1) {
                        let splits = |&(head, tail): &(usize, usize)| {
                            head < cut && cut <= tail && before[tail + 1] - before[head] <= limit
                        };
                        let expected = loops.iter().any(splits);
                        assert_eq!(found, expected, "{before:?} {limit} {loops:?} at {cut}");
                    }
                }
            }
        }
    }

    /// Where the chunk that begins with a block ends: at the last place that splits no loop, up to
    /// the first block that doesn't fit, or just before that one.
    fn end_of_chunk(before: &[u32], splits: &[bool], limit: u32, start: usize) -> Option<usize> {
        let does_not_fit = |&block: &usize| before[block + 1] - before[start] > limit;
        let beyond = (start + 1..BLOCKS).find(does_not_fit)?;
        Some((start + 1..=beyond).rev().find(|&cut| !splits[cut]).unwrap_or(beyond))
    }

    #[test]
    fn chunks_are_filled_up_to_the_last_place_that_splits_no_loop() {
        for before in sizes_before() {
            for limit in 0..=9 {
                for bits in 0..1 << BLOCKS {
                    let splits: Vec<bool> = (0..BLOCKS).map(|cut| bits >> cut & 1 != 0).collect();
                    let next = |&start: &usize| end_of_chunk(&before, &splits, limit, start);
                    let expected: Vec<usize> = std::iter::successors(Some(0), next).collect();
                    let found = chunk_starts(&before, &splits, limit);
                    assert_eq!(found, expected, "{before:?} {splits:?} {limit}");
                }
            }
        }
    }
}
