//! What chaos does to a translation: see [`crate::chaos`] for why, and who decides.
//!
//! Each perturbation rests on one belief of the translator, and is legal if that is right:
//!
//! - a value that is in SSA and in a slot may be loaded from the slot
//!   ([`Perturbation::ForgetWord`], [`Perturbation::ForgetCarried`]), so the slot must hold it;
//! - a value may move to a slot that nobody needs ([`Perturbation::Spill`],
//!   [`Perturbation::WriteEarly`]), and a slot may be used for something else once whoever needs
//!   its content has loaded it ([`Perturbation::Clobber`]);
//! - of an unwritten word only SSA counts ([`Perturbation::ClobberUnwritten`]), and whoever writes
//!   it makes it one like others ([`Perturbation::WriteBack`]);
//! - above the stack is nothing ([`Perturbation::ClobberAbove`]), and in the context nothing that
//!   isn't written again before somebody reads it ([`Perturbation::ClobberContext`]);
//! - a word's bits beyond its width are clear ([`Perturbation::Trim`]);
//! - any fact may be unknown: where a region begins, how wide a word is, how far memory reaches;
//! - a head may hand over whenever it likes ([`Perturbation::HandOver`]).
//!
//! Cost: what is decided on and done at an instruction is in proportion to the words of its block,
//! of which there is a bounded number.

use super::{STACK_WORD, Translator, trusted};
use crate::{
    abi::offsets,
    chaos::{Chaos, Dice, Perturbation, Roll},
    words::{Limb, Word},
};
use cranelift_codegen::ir::{InstBuilder, condcodes::IntCC, types};
use cranevm_passes::{
    analysis::regions::Regions,
    ir::{
        entities::{Block, Chunk, Value},
        program::{Output, Program},
    },
};

/// Index of the decision to split a region at a block.
const SPLIT: u64 = 0;

/// Index of the decision to keep some of a loop's words out of SSA.
const LOOP_WORDS: u64 = 1;

/// A head that may hand over does so if these bits of the gas are some number.
const HAND_OVER_MASK: i64 = 7;

/// Most words above the stack that are overwritten.
const MAX_ABOVE: i32 = 4;

/// What makes the decisions of a chunk, if there is chaos.
pub(super) fn dice(program: &Program, chunk: Chunk, chaos: Option<Chaos>) -> Option<Box<Dice>> {
    let new = |chaos| Box::new(Dice::new(chaos, program.code_len, chunk.as_u32()));
    chaos.map(new)
}

/// Finds a chunk's regions, and splits some.
pub(super) fn find_regions(program: &Program, chunk: Chunk, dice: Option<&mut Dice>) -> Regions {
    let Some(dice) = dice else { return Regions::find(program, chunk) };
    Regions::find_split(program, chunk, |position| {
        let block = Block::from_u32(program.chunks[chunk].blocks.start + position);
        dice.go_to(program.blocks[block].pc);
        let roll = dice.roll_fixed(Perturbation::SplitRegion, position as usize, SPLIT);
        roll.inspect(|roll| dice.note(roll)).is_some()
    })
}

/// Leaves out some slots, a few at most.
fn leave_out(slots: &mut Vec<i16>, dice: &mut Dice, roll: &Roll) {
    let before = slots.len();
    let mut bits = roll.bits;
    slots.retain(|_| {
        bits >>= 1;
        bits & 1 == 0
    });
    if slots.len() < before {
        dice.note(roll);
    }
}

impl Translator<'_, '_> {
    /// Begins the decisions of the current block.
    pub(super) fn begin_chaos(&mut self, block: Block) {
        if let Some(dice) = &mut self.dice {
            dice.begin_block(self.current);
            dice.go_to(self.program.blocks[block].pc);
        }
    }

    /// Disturbs what is known before the instruction at `pc`.
    pub(super) fn disturb(&mut self, pc: u32) {
        if let Some(dice) = &mut self.dice {
            dice.go_to(pc);
        }
        self.disturb_by(&Perturbation::BETWEEN, |translator, roll| {
            translator.disturb_value(roll) || translator.disturb_shared(roll, true)
        });
    }

    /// Disturbs what a block begins or ends with, when the stack is written and no value of the
    /// block lies in a slot.
    pub(super) fn disturb_edge(&mut self) {
        self.disturb_by(&Perturbation::AT_EDGES, |translator, roll| {
            translator.disturb_shared(roll, false)
        });
    }

    /// Overwrites what is above the stack at the block's end, which has taken its operands off.
    pub(super) fn disturb_above(&mut self, block: Block) {
        let stack = self.program.blocks[block].stack;
        let room = i32::from(stack.growth) - i32::from(stack.delta);
        self.disturb_by(&[Perturbation::ClobberAbove], |translator, roll| {
            let slot = roll.pick(0..room.min(MAX_ABOVE));
            slot.map(|slot| translator.store_junk(slot as i16, roll)).is_some()
        });
    }

    fn disturb_by(&mut self, kinds: &[Perturbation], act: impl Fn(&mut Self, &Roll) -> bool) {
        let Some(mut dice) = self.dice.take() else { return };
        for &what in kinds {
            if let Some(roll) = dice.roll(what)
                && act(self, &roll)
            {
                dice.note(&roll);
            }
        }
        self.dice = Some(dice);
    }

    /// Hands over at the block's head for some of the amounts of gas there can be.
    pub(super) fn hand_over_at_times(&mut self, block: Block) {
        self.disturb_by(&[Perturbation::HandOver], |translator, roll| {
            let (gas, uncharged) = (translator.gas(), translator.uncharged_gas());
            let low = translator.b.ins().band_imm_s(gas, HAND_OVER_MASK);
            let wanted = roll.bits.cast_signed() & HAND_OVER_MASK;
            let flag = translator.b.ins().icmp_imm_s(IntCC::Equal, low, wanted);
            translator.hand_over_if(flag, block, uncharged);
            true
        });
    }

    /// Leaves out some of the slots that the current block need not write.
    pub(super) fn keep_less(&mut self, mut slots: Vec<i16>) -> Vec<i16> {
        if let Some(dice) = &mut self.dice
            && let Some(roll) = dice.roll(Perturbation::KeepLess)
        {
            leave_out(&mut slots, dice, &roll);
        }
        slots
    }

    /// Leaves out some of the words that a loop would keep in SSA.
    pub(super) fn keep_less_in_loop(&mut self, header: usize, mut slots: Vec<i16>) -> Vec<i16> {
        let pc = self.program.blocks[self.block_at(header as u32)].pc;
        if let Some(dice) = &mut self.dice
            && let Some(roll) = dice.roll_fixed(Perturbation::KeepLess, header, LOOP_WORDS)
        {
            dice.go_to(pc);
            leave_out(&mut slots, dice, &roll);
        }
        slots
    }

    /// Perturbs where one of the block's values is; whether it could.
    fn disturb_value(&mut self, roll: &Roll) -> bool {
        let done = match roll.what() {
            Perturbation::ForgetWord => self.forget_word(roll),
            Perturbation::Spill => self.spill(roll),
            Perturbation::WriteEarly => self.write_early(roll),
            Perturbation::Clobber => self.clobber_any(roll),
            Perturbation::Trim => self.trim(roll),
            Perturbation::Widen => self.widen(roll),
            _ => None,
        };
        done.is_some()
    }

    fn forget_word(&mut self, roll: &Roll) -> Option<()> {
        let value = self.pick_value(roll, |_, is_in_slot| is_in_slot)?;
        self.state.location_mut(value).word = None;
        Some(())
    }

    fn spill(&mut self, roll: &Roll) -> Option<()> {
        let growth = self.program.blocks[self.current_block].stack.growth as i16;
        let is_free = |&slot: &i16| self.state.resident_at(slot).is_none();
        let slot = roll.pick((0..growth).filter(is_free))?;
        let value = self.pick_value(roll, |_, is_in_slot| !is_in_slot)?;
        let word = self.state.location_mut(value).word.take()?;
        self.store_slot(slot, &word);
        self.settle(slot, value);
        Some(())
    }

    fn write_early(&mut self, roll: &Roll) -> Option<()> {
        let program = self.program;
        let is_there = |&&Output { slot, value }: &&Output| {
            let location = self.state.location(value);
            let is_known = program.as_const(value).is_some();
            (is_known || location.word.is_some() || location.slot.is_some())
                && self.state.resident_at(slot) != Some(value)
        };
        let outputs = program.outputs(self.current_block);
        let Output { slot, value } = *roll.pick(outputs.iter().filter(is_there))?;
        let word = self.peek_word(value);
        self.clobber(slot);
        self.store_slot(slot, &word);
        self.settle(slot, value);
        Some(())
    }

    fn clobber_any(&mut self, roll: &Roll) -> Option<()> {
        let stack = self.program.blocks[self.current_block].stack;
        let slot = roll.pick(-i32::from(stack.needed)..i32::from(stack.growth))? as i16;
        self.clobber(slot);
        self.store_junk(slot, roll);
        Some(())
    }

    /// Clears what no bit of a word may be in, but for whole limbs: these aren't there.
    fn trim(&mut self, roll: &Roll) -> Option<()> {
        let top = |word: &Word| usize::from(word.bits / 64);
        let value = self.pick_value(roll, |word, _| {
            word.bits % 64 != 0 && matches!(word.limbs[top(word)], Limb::Value(_))
        })?;
        let mut word = self.state.location(value).word?;
        let at = top(&word);
        let limb = word.limbs[at].value(&mut self.b);
        let mask = self.b.ins().iconst(types::I64, (1i64 << (word.bits % 64)).wrapping_sub(1));
        word.limbs[at] = Limb::Value(self.b.ins().band(limb, mask));
        self.state.location_mut(value).word = Some(word);
        Some(())
    }

    fn widen(&mut self, roll: &Roll) -> Option<()> {
        let value = self.pick_value(roll, |_, _| true)?;
        let word = self.state.location(value).word?;
        // Zeros are left constant at times, as they are in a word that was loaded in part.
        let hides_zeros = roll.bits >> 32 & 1 == 1;
        let limbs = word.limbs.map(|limb| {
            let is_left = limb.is_zero() && !hides_zeros;
            if is_left { limb } else { Limb::Value(limb.value(&mut self.b)) }
        });
        self.state.location_mut(value).word = Some(Word { limbs, bits: 256 });
        Some(())
    }

    /// One of the block's values that are in SSA and needed, of which `fits` holds, given the word
    /// and whether a slot holds it too.
    fn pick_value(&self, roll: &Roll, fits: impl Fn(&Word, bool) -> bool) -> Option<Value> {
        let values = self.state.values().filter(|&(value, location)| {
            let is_needed = location.uses > 0 && self.program.as_const(value).is_none();
            let in_slot = location.slot.is_some();
            is_needed && location.word.is_some_and(|word| fits(&word, in_slot))
        });
        roll.pick(values).map(|(value, _)| value)
    }

    /// Perturbs what blocks share; whether it could. Within a block, the values may have taken
    /// slots over.
    fn disturb_shared(&mut self, roll: &Roll, within_block: bool) -> bool {
        let done = match roll.what() {
            Perturbation::WriteBack => self.write_one_back(roll, within_block),
            Perturbation::ClobberUnwritten => self.pick_unwritten(roll, within_block).map(|at| {
                let (slot, _) = self.state.unwritten[at];
                self.store_junk(slot, roll);
            }),
            Perturbation::ForgetCarried => self.forget_carried(roll),
            Perturbation::ForgetMemory => self.forget_memory(roll),
            Perturbation::MoveGas => {
                self.move_gas();
                Some(())
            }
            Perturbation::ClobberContext => self.clobber_context(roll),
            Perturbation::Reread => {
                self.forget_shared();
                Some(())
            }
            _ => None,
        };
        done.is_some()
    }

    fn write_one_back(&mut self, roll: &Roll, within_block: bool) -> Option<()> {
        let index = self.pick_unwritten(roll, within_block)?;
        let (slot, word) = self.state.unwritten.remove(index);
        self.store_slot(slot, &word);
        Some(())
    }

    /// Index of an unwritten word whose slot hasn't been taken over.
    fn pick_unwritten(&self, roll: &Roll, within_block: bool) -> Option<usize> {
        let state = &self.state;
        let is_own = |slot| !within_block || !state.is_taken(slot);
        let indices = (0..state.unwritten.len()).filter(|&at| is_own(state.unwritten[at].0));
        roll.pick(indices)
    }

    fn forget_carried(&mut self, roll: &Roll) -> Option<()> {
        let state = &mut self.state;
        let is_written = |slot| state.unwritten.iter().all(|&(at, _)| at != slot);
        let indices = (0..state.carried.len()).filter(|&at| is_written(state.carried[at].0));
        let index = roll.pick(indices)?;
        state.carried.remove(index);
        Some(())
    }

    fn move_gas(&mut self) {
        let gas = self.gas();
        self.store_context(gas, offsets::GAS);
        self.state.gas = Some(self.load_context(types::I64, offsets::GAS));
    }

    fn clobber_context(&mut self, roll: &Roll) -> Option<()> {
        let fields = [offsets::GAS, offsets::STACK_TOP, offsets::PC, offsets::ENTRY];
        let field = roll.pick(fields)?;
        let junk = self.b.ins().iconst(types::I64, roll.junk());
        self.store_context(junk, field);
        Some(())
    }

    fn forget_memory(&mut self, roll: &Roll) -> Option<()> {
        self.state.known_memory = 32 * roll.bits.checked_rem(self.state.known_memory / 32)?;
        Some(())
    }

    fn store_junk(&mut self, slot: i16, roll: &Roll) {
        self.assert_slot(slot);
        let junk = self.b.ins().iconst(types::I64, roll.junk());
        let (stack, base) = (self.stack(), self.slot_offset(slot));
        for at in (0..STACK_WORD).step_by(8) {
            self.b.ins().store(trusted(), junk, stack, base + at);
        }
    }
}
