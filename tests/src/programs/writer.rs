//! Writing one contract: the state that statements are generated against.
//!
//! A *statement* leaves the stack at a height the writer knows. Nested statements (bodies of loops
//! and branches) leave it as they found it. `fuel` bounds the length of the code.

use super::{opcodes, values};
use crate::{
    assembly::{Item, Label, push_item},
    rng::Rng,
};
use alloy_primitives::U256;
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};

/// A contract under construction.
pub(super) struct Writer<'r> {
    pub(super) rng: &'r mut Rng,
    pub(super) spec: SpecId,
    pub(super) items: Vec<Item>,
    /// Words on the stack, as far as straight execution from the start tells.
    pub(super) height: usize,
    /// Height below which the words belong to an enclosing loop or function (counters, return
    /// addresses): they may be copied, but not moved or consumed.
    pub(super) floor: usize,
    /// Statements that may still be written.
    pub(super) fuel: usize,
    /// Nesting of loops and branches.
    pub(super) depth: usize,
    /// Bodies of internal functions, written after the main code.
    pub(super) functions: Vec<Label>,
    /// The first of them that what is being written may call.
    pub(super) first_callable: usize,
    next_label: u32,
}

/// The code of a random contract.
pub(super) fn contract(rng: &mut Rng, spec: SpecId) -> Vec<Item> {
    if rng.percent(4) {
        let len = rng.range(1, 200);
        return vec![Item::Raw(soup(rng, len))];
    }
    let fuel = rng.range(4, 36);
    let mut writer = Writer {
        rng,
        spec,
        items: Vec::new(),
        height: 0,
        floor: 0,
        fuel,
        depth: 0,
        functions: Vec::new(),
        first_callable: 0,
        next_label: 0,
    };
    writer.prologue();
    while writer.fuel > 0 {
        writer.statement();
    }
    writer.epilogue();
    writer.function_bodies();
    writer.trailer();
    writer.items
}

/// Random bytes, biased to what executes: pushes, stack opcodes, jump destinations.
fn soup(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len)
        .map(|_| match rng.below(4) {
            0 => rng.range(PUSH1.into(), PUSH4.into()) as u8,
            1 => rng.pick(&[JUMPDEST, DUP1, DUP2, SWAP1, ADD, MSTORE, ISZERO, PC, GAS]),
            2 => rng.range(0, 0x20) as u8,
            _ => rng.next() as u8,
        })
        .collect()
}

impl Writer<'_> {
    pub(super) fn op(&mut self, opcode: u8) {
        self.items.push(Item::Op(opcode));
    }

    /// Pushes a constant; the writer counts the word.
    pub(super) fn push(&mut self, word: U256) {
        let mut item = push_item(word);
        // A PUSH wider than needed, now and then.
        if let Item::Push(bytes) = &mut item
            && self.rng.percent(5)
        {
            let width = self.rng.range(bytes.len(), 32);
            let zeros = width - bytes.len();
            bytes.splice(0..0, std::iter::repeat_n(0, zeros));
        }
        self.items.push(item);
        self.height += 1;
    }

    pub(super) fn push_label(&mut self, label: Label) {
        self.items.push(Item::PushLabel(label));
        self.height += 1;
    }

    pub(super) fn place(&mut self, label: Label) {
        self.items.push(Item::Label(label));
    }

    pub(super) fn new_label(&mut self) -> Label {
        self.next_label += 1;
        Label(self.next_label - 1)
    }

    pub(super) fn has(&self, opcode: u8) -> bool {
        opcodes::available(opcode, self.spec)
    }

    /// Words that may be moved or consumed. Now and then all, whatever that breaks.
    pub(super) fn free(&mut self) -> usize {
        let floor = if self.rng.percent(1) { 0 } else { self.floor };
        self.height.saturating_sub(floor)
    }

    /// Appends an opcode that takes `pops` words and leaves `pushes`.
    pub(super) fn apply(&mut self, opcode: u8, pops: usize, pushes: usize) {
        self.op(opcode);
        self.height = self.height.saturating_sub(pops) + pushes;
    }

    /// One random statement.
    pub(super) fn statement(&mut self) {
        self.fuel = self.fuel.saturating_sub(1);
        if self.height > 900 {
            return self.drop_to(self.floor.max(20));
        }
        match self.rng.weighted(&[34, 14, 16, 8, 10, 12, 4, 2]) {
            0 => self.expression(),
            1 => self.shuffle(),
            2 => self.memory_statement(),
            3 => self.storage_statement(),
            4 => self.control_statement(),
            5 => self.call_statement(),
            6 => self.log(),
            _ => self.unlikely_end(),
        }
    }

    /// Statements that leave the stack's height as it was.
    pub(super) fn balanced_body(&mut self, statements: usize) {
        let height = self.height;
        let floor = std::mem::replace(&mut self.floor, height);
        self.depth += 1;
        for _ in 0..statements.min(self.fuel) {
            self.statement();
        }
        self.depth -= 1;
        self.floor = floor;
        self.drop_to(height);
        while self.height < height {
            self.push(U256::ZERO);
        }
    }

    /// Pops down to a height.
    pub(super) fn drop_to(&mut self, height: usize) {
        while self.height > height {
            self.apply(POP, 1, 0);
        }
    }

    /// Some words to work on; rarely a deep stack.
    fn prologue(&mut self) {
        for _ in 0..self.rng.below(6) {
            self.operand();
        }
        if self.rng.percent(3) {
            let depth = self.rng.pick(&[100, 900, 1000, 1015, 1020, 1023]);
            for _ in self.height..depth {
                self.apply(PC, 0, 1);
            }
        }
    }

    /// Stores the top words in memory and returns them, so that they are observed.
    fn epilogue(&mut self) {
        let words = self.height.min(8);
        for index in 0..words {
            self.push(U256::from(index * 32));
            self.apply(MSTORE, 2, 0);
        }
        match self.rng.weighted(&[70, 10, 10, 10]) {
            0 => {
                self.push(U256::from(words.max(1) * 32));
                self.push(U256::ZERO);
                self.apply(RETURN, 2, 0);
            }
            1 => {
                let slot = values::word(self.rng);
                self.apply(MSIZE, 0, 1);
                self.push(slot);
                self.apply(SSTORE, 2, 0);
                self.op(STOP);
            }
            2 => self.end_of_frame(),
            // Execution falls into the functions, or off the end.
            _ => {}
        }
    }

    /// What follows the last function: nothing, data, or a PUSH whose immediate is cut off.
    fn trailer(&mut self) {
        match self.rng.below(10) {
            0 => {
                let width = self.rng.range(1, 32);
                let present = self.rng.below(width);
                let mut bytes = vec![PUSH0 + width as u8];
                bytes.extend(self.rng.bytes(present));
                self.items.push(Item::Raw(bytes));
            }
            1 => {
                let len = self.rng.below(60);
                let bytes = soup(self.rng, len);
                self.items.push(Item::Raw(bytes));
            }
            _ => {}
        }
    }
}
