//! Loops: the hot top words of the stack travel as block parameters along a chunk's static edges.
//!
//! A loop's header gets a second block whose parameters are the words that its region reads most:
//! the next iteration begins there, with the height of the stack the same, so that the bounds
//! checked at the header still hold. Within the region the words are in SSA only, and every exit
//! from it writes them back ([`Translator::write_back`]), so nobody outside needs to know. What is
//! saved is the way of each word through memory from one iteration to the next, and the check.

use super::{Translator, word::Limb, word::Word};
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, types};
use cranevm_passes::ir::{
    entities::{Block, Value},
    program::{JumpTarget, Terminator, ValueDef},
};

/// Most words that travel as parameters: more would only be spilled.
const MAX_LOOP_WORDS: usize = 4;

/// A loop's header.
#[derive(Clone, Debug)]
pub(super) struct LoopHeader {
    /// Where the next iteration begins.
    pub(super) again: ir::Block,
    /// The slots of its parameters, ascending. The first two parameters are the stack's top and the
    /// gas.
    pub(super) slots: Vec<i16>,
}

impl Translator<'_, '_> {
    /// Finds the chunk's loop headers and makes their second blocks.
    pub(super) fn find_loops(&mut self, blocks: &[Block]) {
        let mut is_header = vec![false; blocks.len()];
        for &block in blocks {
            let target = match self.program.blocks[block].terminator {
                Terminator::Jump(JumpTarget::Block(target))
                | Terminator::Branch { target: JumpTarget::Block(target), .. } => target,
                _ => continue,
            };
            if target <= block && self.program.blocks[target].chunk == self.chunk {
                is_header[self.index_of(target)] = true;
            }
        }
        for (index, _) in is_header.iter().enumerate().filter(|&(_, &header)| header) {
            let Some(slots) = self.hot_slots(index, &blocks[index..]) else { continue };
            let again = self.b.create_block();
            for _ in 0..2 + 4 * slots.len() {
                self.b.append_block_param(again, types::I64);
            }
            self.headers[index] = Some(LoopHeader { again, slots });
        }
    }

    /// The stack slots that a region reads most, relative to the height at its header, which is at
    /// `start` in the chunk. Notes which of its blocks go back to the header at the same height;
    /// `None` if none does, for then the way back is through other regions, and loading words early
    /// gains nothing.
    fn hot_slots(&mut self, start: usize, region: &[Block]) -> Option<Vec<i16>> {
        let mut counts: Vec<(i16, u32)> = Vec::new();
        let (mut height, mut repeats) = (0, false);
        for (index, &block) in region.iter().enumerate() {
            if index > 0 && !self.is_covered(block) {
                break;
            }
            self.for_each_use(block, |value| {
                if let ValueDef::Input(slot) = self.program.values[value].def {
                    count(&mut counts, slot.saturating_add(height));
                }
            });
            height = height.saturating_add(self.program.blocks[block].stack.delta);
            let target = match self.program.blocks[block].terminator {
                Terminator::Jump(target) | Terminator::Branch { target, .. } => Some(target),
                _ => None,
            };
            if target == Some(JumpTarget::Block(region[0])) {
                self.repeats[start + index] = height == 0;
                repeats |= height == 0;
            }
        }
        if !repeats {
            return None;
        }
        counts.retain(|&(slot, _)| slot < 0);
        counts.sort_unstable_by_key(|&(slot, uses)| {
            (std::cmp::Reverse(uses), std::cmp::Reverse(slot))
        });
        counts.truncate(MAX_LOOP_WORDS);
        let mut slots: Vec<i16> = counts.into_iter().map(|(slot, _)| slot).collect();
        slots.sort_unstable();
        Some(slots)
    }

    fn for_each_use(&self, block: Block, mut visit: impl FnMut(Value)) {
        for inst in self.program.block_insts(block) {
            self.program.args(inst).iter().copied().for_each(&mut visit);
        }
        self.program.blocks[block].terminator.values().for_each(visit);
    }

    /// At a header's plain block, with the region's stack bounds checked: loads the words, goes on
    /// to the second block, and notes which words are in SSA there.
    pub(super) fn enter_loop(&mut self, header: &LoopHeader) {
        let stack = self.stack();
        let args = self.loop_arguments(header, stack);
        self.b.ins().jump(header.again, &args);

        self.b.switch_to_block(header.again);
        let params = self.b.block_params(header.again).to_vec();
        self.state.stack = Some(params[0]);
        self.state.gas = Some(params[1]);
        let words = header.slots.iter().zip(params[2..].chunks_exact(4)).map(|(&slot, limbs)| {
            (slot, Word::new(std::array::from_fn(|limb| Limb::Value(limbs[limb])), 256))
        });
        self.state.carried.clear();
        self.state.carried.extend(words);
        self.state.unwritten.clone_from(&self.state.carried);
    }

    /// The header that the current block goes back to with the height of the stack the same.
    pub(super) fn repeated_header(&self) -> Option<Block> {
        match self.program.blocks[self.current_block].terminator {
            Terminator::Jump(JumpTarget::Block(header))
            | Terminator::Branch { target: JumpTarget::Block(header), .. }
                if self.repeats[self.current] =>
            {
                Some(header)
            }
            _ => None,
        }
    }

    /// The slots that the current block keeps in SSA on its way back to the header.
    pub(super) fn repeated_slots(&self) -> Vec<i16> {
        let header =
            self.repeated_header().and_then(|header| self.headers[self.index_of(header)].as_ref());
        header.map_or_else(Vec::new, |header| header.slots.clone())
    }

    /// The arguments of an edge to a header's second block: words in SSA as they are, others
    /// loaded.
    pub(super) fn loop_arguments(
        &mut self,
        header: &LoopHeader,
        stack: ir::Value,
    ) -> Vec<BlockArg> {
        let mut args = vec![stack, self.gas()];
        for &slot in &header.slots {
            let word = match self.state.carried_word(slot) {
                Some(word) => word,
                None => self.load_word(stack, slot),
            };
            args.extend(word.limbs.map(|limb| limb.value(&mut self.b)));
        }
        args.into_iter().map(BlockArg::Value).collect()
    }
}

/// Counts a slot. Regions read few distinct slots that matter: beyond a bound, new ones are left
/// out, so that the work is linear.
fn count(counts: &mut Vec<(i16, u32)>, slot: i16) {
    const MAX_DISTINCT: usize = 24;
    if let Some((_, uses)) = counts.iter_mut().find(|(known, _)| *known == slot) {
        *uses += 1;
    } else if counts.len() < MAX_DISTINCT {
        counts.push((slot, 1));
    }
}
