//! What is known at the start of a block.
//!
//! The passes find regions: blocks that are entered through a leader only, at known heights of the
//! stack (`cranevm_passes::analysis::regions`), and plan what the heads of their blocks check and
//! charge (`cranevm_passes::analysis::head_plans`).
//!
//! A block with one predecessor starts with all that is known at that one's end. Where several
//! meet, what they agree on is known, unless one of them is still to be translated.

use super::Translator;
use crate::words::Word;
use cranelift_codegen::ir;
use cranevm_passes::{
    analysis::regions::{Kind, position},
    ir::entities::Block,
};

/// What is known where an edge leads.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Edges seen so far.
    edges: u32,
    /// Gas left; where several edges meet it is a parameter instead.
    gas: Option<ir::Value>,
    /// Gas to give back first.
    excess: u64,
    known_memory: u64,
    pub(super) carried: Vec<(i16, Word)>,
    unwritten: Vec<(i16, Word)>,
}

impl Translator<'_, '_> {
    /// How a block of this chunk is entered.
    pub(super) fn kind(&self, block: Block) -> Kind {
        self.regions.places[self.index_of(block)].kind
    }

    /// A block's position in its chunk.
    pub(super) fn index_of(&self, block: Block) -> usize {
        position(self.program, block) as usize
    }

    /// The block at a position in the chunk.
    pub(super) fn block_at(&self, position: u32) -> Block {
        Block::from_u32(self.program.chunks[self.chunk].blocks.start + position)
    }

    /// Whether a block is translated in this chunk.
    pub(super) fn is_inside(&self, block: Block) -> bool {
        let data = &self.program.blocks[block];
        data.chunk == self.chunk && data.is_compiled()
    }

    /// Gas charged ahead at the current block's head that a way out of it doesn't need.
    pub(super) fn excess_gas(&self, to: Block) -> u64 {
        self.plans.excess(self.program, self.current, to)
    }

    /// Notes what is known on an edge to a block of the region, where the stack is flushed.
    /// `excess` is the gas to give back there.
    pub(super) fn note_edge(&mut self, to: Block, excess: u64) {
        let index = self.index_of(to);
        let state = &self.state;
        let known = &mut self.known[index];
        known.edges += 1;
        if known.edges == 1 {
            (known.gas, known.excess) = (state.gas, excess);
            known.known_memory = state.known_memory;
            known.carried.clone_from(&state.carried);
            known.unwritten.clone_from(&state.unwritten);
            return;
        }
        known.known_memory = known.known_memory.min(state.known_memory);
        known.carried.retain_mut(|(slot, word)| match state.carried_word(*slot) {
            Some(other) if other.limbs == word.limbs => {
                word.bits = word.bits.max(other.bits);
                true
            }
            _ => false,
        });
    }

    /// Starts a block of a region with what is known there. Where edges meet, their words are
    /// written.
    pub(super) fn start_inside(&mut self, block: Block) {
        let index = self.index_of(block);
        let place = self.regions.places[index];
        let known = std::mem::take(&mut self.known[index]);
        let is_complete = known.edges == place.predecessors;
        let state = &mut self.state;
        state.height = place.height.into();
        // What an edge that is still to come knows may be less.
        state.known_memory = if is_complete { known.known_memory } else { self.initial_memory };
        state.carried = if is_complete { known.carried } else { Vec::new() };
        state.gas = known.gas;
        state.unwritten = match place.kind {
            Kind::Single(_) => known.unwritten,
            _ => Vec::new(),
        };
        self.return_gas(known.excess);
    }
}
