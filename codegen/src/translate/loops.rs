//! Loops: the hot top words of the stack travel as block parameters along a chunk's static edges.
//!
//! A loop's header gets a second block whose parameters are the words that its region reads most:
//! the next iteration begins there, with the height of the stack the same, so that the bounds
//! checked at the header still hold. Within the region the words are in SSA only, and every exit
//! from it writes them back ([`Translator::write_back`]), so nobody outside needs to know. What is
//! saved is the way of each word through memory from one iteration to the next, and the check.

use super::Translator;
use crate::words::{Limb, Word};
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, types};
use cranevm_passes::{
    analysis::regions::Kind,
    ir::{
        entities::{Block, Value},
        program::ValueDef,
    },
};

/// Most words that travel as parameters: more would only be spilled.
const MAX_LOOP_WORDS: usize = 4;

/// A loop's header.
#[derive(Clone, Debug)]
pub(super) struct LoopHeader {
    /// Where the next iteration begins.
    pub(super) again: ir::Block,
    /// The slots of its parameters, relative to the height at the header, ascending. The first
    /// parameter is the gas.
    pub(super) slots: Vec<i16>,
}

impl Translator<'_, '_> {
    /// Finds the chunk's loops and makes their headers' second blocks.
    pub(super) fn find_loops(&mut self) {
        // The last block with several predecessors on the way to each: all that a block keeps in
        // SSA comes from there.
        let mut roots: Vec<u32> = (0..self.blocks.len() as u32).collect();
        for &index in &self.regions.order {
            if let Kind::Single(before) = self.regions.places[index as usize].kind {
                roots[index as usize] = roots[before as usize];
            }
        }
        let mut is_header = vec![false; self.blocks.len()];
        for &index in &self.regions.order {
            let Some(header) = self.program.blocks[self.block_at(index)].terminator.static_target()
            else {
                continue;
            };
            if self.is_inside(header) && roots[index as usize] == self.index_of(header) as u32 {
                let height = self.end_height(index) - self.start_height(roots[index as usize]);
                self.repeats[index as usize] = height == 0;
                is_header[self.index_of(header)] |= height == 0;
            }
        }
        let mut counts: Vec<Vec<(i16, u32)>> = vec![Vec::new(); self.blocks.len()];
        for &index in &self.regions.order {
            let root = roots[index as usize];
            if is_header[root as usize] {
                let height = (self.start_height(index) - self.start_height(root)) as i16;
                self.count_inputs(index, height, &mut counts[root as usize]);
            }
        }
        for (index, counts) in counts.into_iter().enumerate().filter(|&(at, _)| is_header[at]) {
            self.make_header(index, hottest(counts));
        }
    }

    fn start_height(&self, index: u32) -> i32 {
        self.regions.places[index as usize].height.into()
    }

    fn end_height(&self, index: u32) -> i32 {
        let delta = self.program.blocks[self.block_at(index)].stack.delta;
        self.start_height(index) + i32::from(delta)
    }

    /// Counts the reads of slots by a block at a height relative to its loop's header.
    fn count_inputs(&self, index: u32, height: i16, counts: &mut Vec<(i16, u32)>) {
        self.for_each_use(self.block_at(index), |value| {
            if let ValueDef::Input(slot) = self.program.values[value].def {
                count(counts, slot.saturating_add(height));
            }
        });
    }

    fn make_header(&mut self, index: usize, slots: Vec<i16>) {
        let slots = self.keep_less_in_loop(index, slots);
        let again = self.b.create_block();
        for _ in 0..1 + 4 * slots.len() {
            self.b.append_block_param(again, types::I64);
        }
        self.headers[index] = Some(LoopHeader { again, slots });
    }

    fn for_each_use(&self, block: Block, mut visit: impl FnMut(Value)) {
        for inst in self.program.block_insts(block) {
            self.program.args(inst).iter().copied().for_each(&mut visit);
        }
        self.program.blocks[block].terminator.values().for_each(visit);
    }

    /// Starts a loop's second block, with the region's stack bounds checked. At a leader, goes on
    /// to it from the plain block.
    pub(super) fn enter_loop(&mut self, header: &LoopHeader, is_leader: bool) {
        if is_leader {
            let args = self.loop_arguments(header);
            self.b.ins().jump(header.again, &args);
        }
        self.b.switch_to_block(header.again);
        let params = self.b.block_params(header.again).to_vec();
        self.state.gas = Some(params[0]);
        let words = header.slots.iter().zip(params[1..].chunks_exact(4)).map(|(&slot, limbs)| {
            (slot, Word::new(std::array::from_fn(|limb| Limb::Value(limbs[limb])), 256))
        });
        self.state.carried.clear();
        self.state.carried.extend(words);
        self.state.unwritten.clone_from(&self.state.carried);
    }

    /// The block that the current one jumps back to, or branches to, with the height of the
    /// stack the same.
    pub(super) fn back_target(&self) -> Option<Block> {
        let target = self.program.blocks[self.current_block].terminator.static_target();
        target.filter(|_| self.repeats[self.current])
    }

    /// The slots that the current block keeps in SSA on its way back to the header.
    pub(super) fn repeated_slots(&self) -> Vec<i16> {
        let header =
            self.back_target().and_then(|header| self.headers[self.index_of(header)].as_ref());
        header.map_or_else(Vec::new, |header| header.slots.clone())
    }

    /// The arguments of an edge to a header's second block: words in SSA as they are, others
    /// loaded.
    pub(super) fn loop_arguments(&mut self, header: &LoopHeader) -> Vec<BlockArg> {
        let mut args = vec![self.gas()];
        for &slot in &header.slots {
            let word = match self.state.carried_word(slot) {
                Some(word) => word,
                None => self.load_slot(slot),
            };
            args.extend(word.limbs.map(|limb| limb.value(&mut self.b)));
        }
        args.into_iter().map(BlockArg::Value).collect()
    }
}

/// The slots that are read most.
fn hottest(mut counts: Vec<(i16, u32)>) -> Vec<i16> {
    counts.retain(|&(slot, _)| slot < 0);
    counts.sort_unstable_by_key(|&(slot, uses)| (std::cmp::Reverse(uses), std::cmp::Reverse(slot)));
    counts.truncate(MAX_LOOP_WORDS);
    let mut slots: Vec<i16> = counts.into_iter().map(|(slot, _)| slot).collect();
    slots.sort_unstable();
    slots
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
