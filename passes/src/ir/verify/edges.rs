//! The edges of a chunk, as the blocks have them: which of its blocks are reached, and from where.

use crate::ir::entities::{Block, Chunk};
use crate::ir::program::{Program, Span};

/// The edges between the blocks of a chunk that are reached from an entry point. (What another
/// chunk goes to has one.)
pub(super) struct Edges {
    blocks: Span,
    is_reached: Vec<bool>,
    /// By position in the chunk: the blocks that lead to it, one for each edge.
    pub(super) into: Vec<Vec<Block>>,
}

impl Edges {
    pub(super) fn find(program: &Program, chunk: Chunk) -> Self {
        let blocks = program.chunks[chunk].blocks;
        let mut edges = Self {
            blocks,
            is_reached: vec![false; blocks.len()],
            into: vec![Vec::new(); blocks.len()],
        };
        let has_entry = |&block: &Block| program.blocks[block].entry.is_some();
        let mut reached: Vec<Block> = program.chunk_blocks(chunk).filter(has_entry).collect();
        while let Some(block) = reached.pop() {
            let index = edges.position(block);
            let is_new = !std::mem::replace(&mut edges.is_reached[index], true);
            if !is_new || !program.blocks[block].is_compiled() {
                continue;
            }
            for successor in ways_out(program, block) {
                let index = edges.position(successor);
                if let Some(ways) = edges.into.get_mut(index) {
                    ways.push(block);
                    reached.push(successor);
                }
            }
        }
        edges
    }

    /// A block's position in the chunk: beyond the last for a block of another chunk.
    pub(super) fn position(&self, block: Block) -> usize {
        block.as_u32().wrapping_sub(self.blocks.start) as usize
    }

    /// The block at a position in the chunk.
    pub(super) fn block_at(&self, position: u32) -> Block {
        Block::from_u32(self.blocks.start.wrapping_add(position))
    }

    /// Whether a block is one of the chunk that somebody gets to, and is compiled: such a block
    /// must be translated.
    pub(super) fn is_translated(&self, program: &Program, block: Block) -> bool {
        let is_reached = self.is_reached.get(self.position(block));
        is_reached == Some(&true) && program.blocks[block].is_compiled()
    }

    /// The blocks that must be translated, in order of pc.
    pub(super) fn translated<'a>(
        &'a self,
        program: &'a Program,
    ) -> impl Iterator<Item = Block> + 'a {
        let blocks = (0..self.is_reached.len() as u32).map(|position| self.block_at(position));
        blocks.filter(|&block| self.is_translated(program, block))
    }
}

/// Where a block leads, without a computed jump.
pub(super) fn ways_out(program: &Program, block: Block) -> impl Iterator<Item = Block> + use<> {
    let terminator = &program.blocks[block].terminator;
    [terminator.static_target(), terminator.next_block()].into_iter().flatten()
}
