//! Where the values of the running block are: in SSA, or still in a slot of the EVM stack.
//!
//! A stack input is loaded when it is first used, and a builtin's result stays in its slot until
//! then, so a word that only moves through a block is never loaded. Before a slot is
//! overwritten, whoever still needs its content is loaded ([`Translator::clobber`]).

use super::{STACK_WORD, Translator, trusted};
use crate::words::{Limb, Word};
use cranelift_codegen::ir::{self, InstBuilder, types};
use cranelift_entity::EntityRef;
use cranevm_passes::ir::{
    entities::{Block, Value},
    program::{Output, ValueDef},
};
use revm_primitives::U256;

/// How far below the top words are carried: it bounds the work at each block's end.
const MAX_CARRIED_DEPTH: i16 = 32;

/// What is known of one value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Location {
    /// The word in SSA, once loaded or computed.
    pub(super) word: Option<Word>,
    /// A slot that holds the value.
    pub(super) slot: Option<i16>,
    /// Uses still to come.
    pub(super) uses: u32,
}

/// What goes to a slot of the stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// A word in SSA.
    Word(Word),
    /// The limbs of a word that only moves, in floating-point registers: others are scarce.
    Limbs([ir::Value; 4]),
}

/// The state of the block being translated. Kept between blocks for its allocations.
#[derive(Debug, Default)]
pub(super) struct BlockState {
    /// By value, relative to `first_value`.
    locations: Vec<Location>,
    first_value: usize,
    /// By slot plus `slot_bias`: the value that memory holds there.
    residents: Vec<Option<Value>>,
    slot_bias: i32,
    /// Height of the stack that slots are relative to, itself relative to the region's leader: that
    /// at the block's start, and once the stack is flushed that at its end.
    pub(super) height: i32,
    /// Gas left after the block's static gas.
    pub(super) gas: Option<ir::Value>,
    /// Bytes of memory that are known to be there.
    pub(super) known_memory: u64,
    /// Words that are in SSA at the end of a block as well as on the stack, by slot relative to the
    /// height there: a block entered only from it needn't load them.
    pub(super) carried: Vec<(i16, Word)>,
    /// Those of `carried` that memory doesn't hold: every exit writes them back.
    pub(super) unwritten: Vec<(i16, Word)>,
    /// Words that are on the stack unchanged at the block's end, but whose slot served for
    /// something else in between.
    displaced: Vec<(i16, Word)>,
}

impl BlockState {
    pub(super) fn carried_word(&self, slot: i16) -> Option<Word> {
        let index = self.carried.binary_search_by_key(&slot, |&(at, _)| at).ok()?;
        Some(self.carried[index].1)
    }

    pub(super) fn location(&self, value: Value) -> Location {
        self.locations[value.index() - self.first_value]
    }

    pub(super) fn location_mut(&mut self, value: Value) -> &mut Location {
        &mut self.locations[value.index() - self.first_value]
    }

    /// The block's values, and where they are.
    pub(super) fn values(&self) -> impl Iterator<Item = (Value, &Location)> {
        let value = |index: usize| Value::from_u32((self.first_value + index) as u32);
        let locations = self.locations.iter().enumerate();
        locations.map(move |(index, location)| (value(index), location))
    }

    /// The value that memory holds in a slot, as far as the block knows.
    pub(super) fn resident_at(&self, slot: i16) -> Option<Value> {
        let index = usize::try_from(i32::from(slot) + self.slot_bias).ok()?;
        self.residents.get(index).copied().flatten()
    }

    /// Whether the block has used the slot of a word that isn't its own.
    pub(super) fn is_taken(&self, slot: i16) -> bool {
        self.resident_at(slot).is_some() || self.displaced.iter().any(|&(at, _)| at == slot)
    }
}

impl Translator<'_, '_> {
    /// One past the stack's top word at the start of the region.
    pub(super) fn stack(&self) -> ir::Value {
        self.leader_stack.expect("a region's stack pointer is set at its leader")
    }

    /// Offset in bytes of a slot from [`stack`](Self::stack).
    pub(super) fn slot_offset(&self, slot: i16) -> i32 {
        (self.state.height + i32::from(slot)) * STACK_WORD
    }

    /// One past the word below a slot.
    pub(super) fn stack_at(&mut self, slot: i16) -> ir::Value {
        let stack = self.stack();
        match self.slot_offset(slot) {
            0 => stack,
            offset => self.b.ins().iadd_imm_s(stack, i64::from(offset)),
        }
    }

    /// The gas left.
    pub(super) fn gas(&self) -> ir::Value {
        self.state.gas.expect("a block's gas is set at its head")
    }

    /// Prepares for a block: each input is in its slot, and nothing is loaded but what is carried.
    pub(super) fn begin_block(&mut self, block: Block) {
        let program = self.program;
        let data = &program.blocks[block];
        let (mut first, mut end) = (usize::MAX, 0);
        let mut note = |value: Value| {
            let index = value.index();
            first = first.min(index);
            end = end.max(index + 1);
        };
        program.block_insts(block).for_each(|inst| {
            program.args(inst).iter().copied().for_each(&mut note);
            program.insts[inst].result.expand().into_iter().for_each(&mut note);
        });
        program.outputs(block).iter().for_each(|output| note(output.value));
        data.terminator.values().for_each(&mut note);

        self.current_block = block;
        let state = &mut self.state;
        state.locations.clear();
        state.displaced.clear();
        state.first_value = first.min(end);
        state.slot_bias = i32::from(data.stack.needed);
        state.residents.clear();
        // One slot more than the block's own growth: a delegated instruction's result.
        let slots = usize::from(data.stack.needed) + usize::from(data.stack.growth) + 1;
        state.residents.resize(slots, None);
        for index in first.min(end)..end {
            let value = Value::from_u32(index as u32);
            let data = &program.values[value];
            let slot = match data.def {
                ValueDef::Input(slot) => Some(slot),
                _ => None,
            };
            let word = slot.and_then(|slot| state.carried_word(slot));
            let slot = slot.filter(|slot| state.unwritten.iter().all(|(at, _)| at != slot));
            state.locations.push(Location { word, slot, uses: data.uses });
            if let Some(slot) = slot {
                let index = usize::try_from(i32::from(slot) + state.slot_bias);
                if let Some(resident) = index.ok().and_then(|at| state.residents.get_mut(at)) {
                    *resident = Some(value);
                }
            }
        }
    }

    /// At the end of a block, with the stack written: remembers which words are in SSA, relative to
    /// the height there.
    fn carry_words(&mut self, delta: i16) {
        let state = &mut self.state;
        let first_slot = -state.slot_bias as i16;
        let lowest = delta - MAX_CARRIED_DEPTH;
        // What was carried here stays where the block has neither read nor written.
        let mut carried = std::mem::take(&mut state.carried);
        carried.retain(|&(slot, _)| {
            let index = usize::try_from(i32::from(slot) + state.slot_bias);
            let resident = index.ok().and_then(|at| state.residents.get(at)).copied().flatten();
            let in_reach =
                slot >= lowest || state.unwritten.iter().any(|&(at, _)| at == slot - delta);
            slot < delta && resident.is_none() && in_reach
        });
        let skipped = usize::try_from(lowest - first_slot).unwrap_or(0);
        for (index, resident) in state.residents.iter().enumerate().skip(skipped) {
            let (Some(value), slot) = (*resident, first_slot + index as i16) else { continue };
            if slot >= delta {
                break;
            }
            let word = match self.program.as_const(value) {
                Some(word) => Some(Word::constant(word)),
                None => state.location(value).word,
            };
            carried.extend(word.map(|word| (slot, word)));
        }
        carried.sort_unstable_by_key(|&(slot, _)| slot);
        carried.iter_mut().for_each(|(slot, _)| *slot -= delta);
        self.state.carried = carried;
    }

    fn location(&mut self, value: Value) -> &mut Location {
        self.state.location_mut(value)
    }

    fn resident(&mut self, slot: i16) -> &mut Option<Value> {
        let index = (i32::from(slot) + self.state.slot_bias) as usize;
        &mut self.state.residents[index]
    }

    /// The word of a value; counts as one of its uses.
    pub(super) fn use_word(&mut self, value: Value) -> Word {
        let word = self.peek_word(value);
        self.consume(value);
        word
    }

    /// Counts one use of a value without its word.
    fn consume(&mut self, value: Value) {
        let location = self.location(value);
        location.uses = location.uses.saturating_sub(1);
    }

    pub(super) fn peek_word(&mut self, value: Value) -> Word {
        if let Some(word) = self.program.as_const(value) {
            return Word::constant(word);
        }
        let location = *self.location(value);
        if let Some(word) = location.word {
            return word;
        }
        let slot = location.slot.expect("a value is in SSA or in a slot when it is used");
        let word = self.load_slot(slot);
        self.location(value).word = Some(word);
        word
    }

    /// The word of a value that isn't a constant, if it is in SSA.
    pub(super) fn word_in_ssa(&mut self, value: Value) -> Option<Word> {
        let is_const = self.program.as_const(value).is_some();
        if is_const { None } else { self.location(value).word }
    }

    /// The constant that a value is known to be, by definition or by what was carried here.
    pub(super) fn known_constant(&mut self, value: Value) -> Option<U256> {
        self.program
            .as_const(value)
            .or_else(|| self.location(value).word.and_then(|word| word.as_const()))
    }

    /// Sets the word of an instruction's result.
    pub(super) fn define(&mut self, value: Value, word: Word) {
        self.location(value).word = Some(word);
    }

    /// Replaces a value's word by an equal one about which more is known.
    pub(super) fn refine(&mut self, value: Value, word: Word) {
        if self.program.as_const(value).is_none() {
            self.location(value).word = Some(word);
        }
    }

    /// Whether nobody uses a value.
    pub(super) fn is_unused(&self, value: Value) -> bool {
        self.program.values[value].uses == 0
    }

    /// Loads the word in a slot.
    pub(super) fn load_slot(&mut self, slot: i16) -> Word {
        self.assert_slot(slot);
        let (stack, base) = (self.stack(), self.slot_offset(slot));
        let limbs = std::array::from_fn(|limb| {
            let offset = base + 8 * limb as i32;
            Limb::Value(self.b.ins().load(types::I64, trusted(), stack, offset))
        });
        Word::new(limbs, 256)
    }

    pub(super) fn store_slot(&mut self, slot: i16, word: &Word) {
        self.assert_slot(slot);
        let (stack, base) = (self.stack(), self.slot_offset(slot));
        for (half, limbs) in word.limbs.as_chunks::<2>().0.iter().enumerate() {
            let at = base + 16 * half as i32;
            if limbs.iter().all(|limb| limb.is_zero()) {
                self.store_wide_zero(stack, at);
                continue;
            }
            for (limb, at) in limbs.iter().zip([at, at + 8]) {
                if limb.is_zero() {
                    self.store_zero(stack, at);
                } else {
                    let part = limb.value(&mut self.b);
                    self.b.ins().store(trusted(), part, stack, at);
                }
            }
        }
    }

    /// Before the slot is overwritten: loads what was there if it is still needed and nowhere else.
    pub(super) fn clobber(&mut self, slot: i16) {
        if self.stays(slot) && self.state.displaced.iter().all(|&(at, _)| at != slot) {
            let word = match self.state.carried_word(slot) {
                Some(word) => word,
                None => self.load_slot(slot),
            };
            self.state.displaced.push((slot, word));
        }
        let Some(value) = self.resident(slot).take() else { return };
        let location = *self.location(value);
        if location.slot == Some(slot) {
            if location.uses > 0 && location.word.is_none() {
                self.peek_word(value);
            }
            self.location(value).slot = None;
        }
    }

    /// Whether a slot holds at the block's end what it held at its start.
    fn stays(&self, slot: i16) -> bool {
        let outputs = self.program.outputs(self.current_block);
        let data = &self.program.blocks[self.current_block];
        slot < data.stack.delta.min(0)
            && outputs.binary_search_by_key(&slot, |output| output.slot).is_err()
    }

    /// Writes the stack to memory at the block's end, but for the slots (relative to the height
    /// there) that `in_ssa` takes over: those stay unwritten.
    pub(super) fn write_outputs(&mut self, in_ssa: &[i16]) {
        let program = self.program;
        let block = self.current_block;
        let delta = program.blocks[block].stack.delta;
        let outputs = program.outputs(block);
        let is_kept = |output: &Output| in_ssa.contains(&(output.slot - delta));
        // Before any slot is written: a kept word may still be in one.
        let kept: Vec<(i16, Word)> = outputs
            .iter()
            .filter(|output| is_kept(output))
            .map(|output| (output.slot - delta, self.use_word(output.value)))
            .collect();
        self.write_slots(outputs.iter().copied().filter(|output| !is_kept(output)));
        for index in 0..self.state.displaced.len() {
            let (slot, word) = self.state.displaced[index];
            if self.state.unwritten.iter().all(|&(at, _)| at != slot) {
                self.store_slot(slot, &word);
            }
            *self.resident(slot) = None;
        }
        self.state.unwritten.retain(|&(slot, _)| {
            slot < delta && outputs.binary_search_by_key(&slot, |output| output.slot).is_err()
        });
        self.state.unwritten.iter_mut().for_each(|(slot, _)| *slot -= delta);
        self.carry_words(delta);
        if !kept.is_empty() {
            self.state.carried.retain(|&(slot, _)| kept.iter().all(|&(at, _)| at != slot));
            self.state.carried.extend_from_slice(&kept);
            self.state.carried.sort_unstable_by_key(|&(slot, _)| slot);
            self.state.unwritten.extend(kept);
        }
    }

    /// Stores what is unwritten.
    pub(super) fn write_back(&mut self) {
        for index in 0..self.state.unwritten.len() {
            let (slot, word) = self.state.unwritten[index];
            self.store_slot(slot, &word);
        }
    }

    /// Marks that memory holds the value in this slot.
    pub(super) fn settle(&mut self, slot: i16, value: Value) {
        *self.resident(slot) = Some(value);
        self.location(value).slot = Some(slot);
    }

    /// What is stored for one use of a value: a word in SSA, or a copy of the slot that holds it.
    fn use_content(&mut self, value: Value) -> Content {
        let Location { word: None, slot: Some(slot), uses: ..=1 } = *self.location(value) else {
            return Content::Word(self.use_word(value));
        };
        if self.program.as_const(value).is_some() {
            return Content::Word(self.use_word(value));
        }
        self.consume(value);
        self.assert_slot(slot);
        let (stack, base) = (self.stack(), self.slot_offset(slot));
        // A load of half a word waits for limbs that were stored shortly before to reach the cache:
        // it is shorter to compile, but slower to run.
        Content::Limbs(
            [0, 8, 16, 24]
                .map(|offset| self.b.ins().load(types::F64, trusted(), stack, base + offset)),
        )
    }

    fn store_content(&mut self, slot: i16, content: &Content) {
        self.assert_slot(slot);
        match content {
            Content::Word(word) => self.store_slot(slot, word),
            Content::Limbs(limbs) => {
                let (stack, base) = (self.stack(), self.slot_offset(slot));
                for (limb, offset) in limbs.iter().zip([0, 8, 16, 24]) {
                    self.b.ins().store(trusted(), *limb, stack, base + offset);
                }
            }
        }
    }

    /// Stores values to their slots, each after all are loaded: a slot may be another's source.
    pub(super) fn write_slots(&mut self, outputs: impl Iterator<Item = Output> + Clone) {
        let mut pending = std::mem::take(&mut self.pending_stores);
        for Output { slot, value } in outputs {
            if *self.resident(slot) == Some(value) {
                self.consume(value);
                continue;
            }
            let content = self.use_content(value);
            pending.push((slot, value, content));
        }
        for &(slot, ..) in &pending {
            self.clobber(slot);
        }
        for (slot, value, content) in pending.drain(..) {
            self.store_content(slot, &content);
            self.settle(slot, value);
        }
        self.pending_stores = pending;
    }
}
