//! Dead stores: words that a block leaves on the stack and its successor takes off or overwrites.
//!
//! Where an edge leads to a block with no other predecessor, such a word stays in SSA and isn't
//! stored. Whoever may observe it writes it back: the other way out of a branch, and a hand-over at
//! the successor's head. Nothing else does: the successor's instructions find their arguments in
//! SSA, and at its end the word is gone.
//!
//! Words travel so only into blocks without calls, across which they would only be spilled, only
//! where no other successor inherits them, which might not kill them, and only a few at a time:
//! each way that writes them back has code for all of them. A block that goes back to its loop's
//! header leaves nothing unwritten but the loop's own words.

use super::Translator;
use cranevm_passes::{
    analysis::regions::Kind,
    ir::{entities::Block, implementation::Implementation, program::Terminator},
};

/// Most words that stay unwritten on an edge.
const MAX_UNWRITTEN: usize = 6;

impl Translator<'_, '_> {
    /// The slots that the current block needn't store, relative to the height at its end,
    /// ascending.
    pub(super) fn dead_slots(&self, block: Block) -> Vec<i16> {
        if self.keeps_dead_stores {
            return Vec::new();
        }
        let data = &self.program.blocks[block];
        let successors = [data.terminator.next_block(), data.terminator.static_target()];
        let mut inheriting =
            successors.into_iter().flatten().filter(|&to| self.inherits(block, to));
        let (Some(successor), None) = (inheriting.next(), inheriting.next()) else {
            return Vec::new();
        };
        if self.back_target().is_some() || !self.makes_no_calls(successor) {
            return Vec::new();
        }
        let slots = self.program.outputs(block).iter().rev().map(|out| out.slot - data.stack.delta);
        let mut dead: Vec<i16> =
            slots.filter(|&slot| self.kills(successor, slot)).take(MAX_UNWRITTEN).collect();
        dead.reverse();
        dead
    }

    /// Whether a successor starts with what is in SSA at the block's end.
    fn inherits(&self, block: Block, successor: Block) -> bool {
        self.is_inside(successor)
            && self.kind(successor) == Kind::Single(self.index_of(block) as u32)
    }

    /// Whether a block makes no calls.
    fn makes_no_calls(&self, successor: Block) -> bool {
        let terminator = &self.program.blocks[successor].terminator;
        !matches!(terminator, Terminator::Suspend { .. } | Terminator::HandOver { .. })
            && self.program.block_insts(successor).all(|inst| {
                let implementation = self.program.insts[inst].opcode.implementation();
                // Some of these call on rare paths, or short builtins.
                matches!(
                    implementation,
                    Implementation::Native | Implementation::Words | Implementation::Memory
                )
            })
    }

    /// Whether a block takes off or overwrites what is in a slot at its start.
    fn kills(&self, block: Block, slot: i16) -> bool {
        let data = &self.program.blocks[block];
        let outputs = self.program.outputs(block);
        slot >= data.stack.delta
            || outputs.binary_search_by_key(&slot, |output| output.slot).is_ok()
    }
}
