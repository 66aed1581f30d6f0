//! The stack of a block while it is executed symbolically: a value for each slot that it touches.
//!
//! Cost: proportional to the slots touched, not to how deep they lie.

use crate::ir::entities::Value;
use crate::ir::program::{Output, ValueData, ValueDef};
use crate::ir::width::WORD_BITS;
use cranelift_entity::{PrimaryMap, packed_option::PackedOption};

type Values = PrimaryMap<Value, ValueData>;

/// The stack of one block while it is executed symbolically.
#[derive(Default)]
pub(super) struct SymbolicStack {
    /// Contents of the slots from 0 up; as many as the stack is higher than at entry.
    above: Vec<Value>,
    /// Contents of the slots -1, -2, ... where they are known; kept between blocks, all `None`.
    below: Vec<PackedOption<Value>>,
    /// Indices of `below` that aren't `None`, each once.
    touched: Vec<u16>,
    /// Words that are popped below the height at entry and not pushed again.
    sunk: usize,
    /// Words known at entry, by index of `below`.
    known: Vec<(u16, Value)>,
}

impl SymbolicStack {
    /// Height relative to the block's entry.
    pub(super) fn height(&self) -> i16 {
        self.above.len() as i16 - self.sunk as i16
    }

    pub(super) fn push(&mut self, value: Value) {
        if self.sunk > 0 {
            self.sunk -= 1;
            self.set_below(self.sunk, value);
        } else {
            self.above.push(value);
        }
    }

    pub(super) fn pop(&mut self, values: &mut Values) -> Value {
        if let Some(value) = self.above.pop() {
            return value;
        }
        let value = self.get_below(self.sunk, values);
        self.sunk += 1;
        value
    }

    /// Notes that a slot below zero holds a constant at entry.
    pub(super) fn know(&mut self, slot: i16, constant: Value) {
        let index = -(slot + 1) as usize;
        self.set_below(index, constant);
        self.known.push((index as u16, constant));
    }

    /// Pops a word that nobody reads, so that no input is made for it.
    pub(super) fn discard(&mut self) {
        if self.above.pop().is_none() {
            self.sunk += 1;
        }
    }

    /// The word at a depth from the top.
    pub(super) fn peek(&mut self, depth: usize, values: &mut Values) -> Value {
        match self.above.len().checked_sub(depth + 1) {
            Some(index) => self.above[index],
            None => self.get_below(self.sunk + depth - self.above.len(), values),
        }
    }

    pub(super) fn set(&mut self, depth: usize, value: Value) {
        match self.above.len().checked_sub(depth + 1) {
            Some(index) => self.above[index] = value,
            None => self.set_below(self.sunk + depth - self.above.len(), value),
        }
    }

    fn get_below(&mut self, index: usize, values: &mut Values) -> Value {
        if let Some(value) = self.below.get(index).and_then(|slot| slot.expand()) {
            return value;
        }
        let def = ValueDef::Input(slot_below(index));
        let value = values.push(ValueData { def, uses: 0, bits: WORD_BITS });
        self.set_below(index, value);
        value
    }

    fn set_below(&mut self, index: usize, value: Value) {
        if index >= self.below.len() {
            self.below.resize(index + 1, None.into());
        }
        if self.below[index].is_none() {
            self.touched.push(index as u16);
        }
        self.below[index] = value.into();
    }

    /// Calls `output` for each slot whose content differs from that at entry, in ascending
    /// order.
    pub(super) fn changed_slots(
        &mut self,
        values: &mut Values,
        mut output: impl FnMut(Output, &mut Values),
    ) {
        self.touched.sort_unstable_by(|a, b| b.cmp(a));
        for &index in &self.touched {
            let index = usize::from(index);
            let slot = slot_below(index);
            if index < self.sunk {
                break;
            }
            if let Some(value) = self.below[index].expand()
                && values[value].def != ValueDef::Input(slot)
                && !self.known.contains(&(index as u16, value))
            {
                output(Output { slot, value }, values);
            }
        }
        for (index, &value) in self.above.iter().enumerate() {
            output(Output { slot: index as i16, value }, values);
        }
    }

    /// Makes ready for the next block.
    pub(super) fn clear(&mut self) {
        let Self { above, below, touched, sunk, known } = self;
        above.clear();
        known.clear();
        for index in touched.drain(..) {
            below[usize::from(index)] = None.into();
        }
        *sunk = 0;
    }
}

/// The slot of an index of [`SymbolicStack::below`].
fn slot_below(index: usize) -> i16 {
    -(index as i16) - 1
}
