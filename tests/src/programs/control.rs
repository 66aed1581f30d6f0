//! Statements that branch and jump, except loops and internal calls.

use super::{values, writer::Writer};
use crate::assembly::{Item, Label};
use alloy_primitives::U256;
use revm::bytecode::opcode::*;

/// Loops and branches nest at most so deep.
pub(super) const MAX_DEPTH: usize = 3;

impl Writer<'_> {
    pub(super) fn control_statement(&mut self) {
        if self.depth >= MAX_DEPTH {
            return self.expression();
        }
        match self.rng.weighted(&[40, 22, 9, 6, 10, 3, 6, 6]) {
            0 => self.loops(),
            1 => self.branch(),
            2 => self.computed_jump(),
            3 => self.jump_table(),
            4 => self.internal_call(),
            5 => self.bad_jump(),
            6 => self.cycle_of_many_entries(),
            _ => self.kill_many_words(),
        }
    }

    /// `if condition { body } else { body }`.
    fn branch(&mut self) {
        let (otherwise, end) = (self.new_label(), self.new_label());
        self.condition();
        self.push_label(otherwise);
        self.apply(JUMPI, 2, 0);
        let statements = self.rng.range(0, 4);
        self.balanced_body(statements);
        if self.rng.percent(50) {
            self.push_label(end);
            self.apply(JUMP, 1, 0);
            self.place(otherwise);
            let statements = self.rng.range(0, 3);
            self.balanced_body(statements);
            self.place(end);
        } else {
            self.place(otherwise);
        }
    }

    /// A condition that isn't known when compiling, nor always the same.
    pub(super) fn condition(&mut self) {
        self.operand();
        match self.rng.below(4) {
            0 => self.apply(ISZERO, 1, 1),
            1 => {
                self.operand();
                let opcode = self.rng.pick(&[LT, GT, EQ, SLT, SGT]);
                self.apply(opcode, 2, 1);
            }
            2 => {
                self.push(U256::ONE);
                self.apply(AND, 2, 1);
            }
            _ => {}
        }
    }

    /// A jump whose target goes through arithmetic: constant in truth, or from calldata.
    fn computed_jump(&mut self) {
        let target = self.new_label();
        self.push_label(target);
        match self.rng.below(4) {
            0 => {
                let noise = values::word(self.rng);
                self.push(noise);
                self.apply(ADD, 2, 1);
                self.push(noise);
                self.apply(SWAP1, 2, 2);
                self.apply(SUB, 2, 1);
            }
            1 => {
                // Through memory.
                self.push(U256::from(0x40));
                self.apply(MSTORE, 2, 0);
                self.push(U256::from(0x40));
                self.apply(MLOAD, 1, 1);
            }
            2 => {
                // Times a word that is 1 for all calldata shorter than 1 KiB.
                self.push(U256::from(1024));
                self.apply(CALLDATALOAD, 1, 1);
                self.apply(ISZERO, 1, 1);
                self.apply(MUL, 2, 1);
            }
            _ => {
                self.condition();
                self.op(SWAP1);
                return self.jump_if(target);
            }
        }
        if self.rng.percent(30) {
            self.push(U256::ONE);
            self.op(SWAP1);
            return self.jump_if(target);
        }
        self.apply(JUMP, 1, 0);
        self.skipped_code();
        self.place(target);
    }

    /// JUMPI with condition and target in place; both ways meet at the target.
    fn jump_if(&mut self, target: Label) {
        self.apply(JUMPI, 2, 0);
        let statements = self.rng.range(0, 2);
        self.balanced_body(statements);
        self.place(target);
    }

    /// Code that is never executed straight, but may be a jump target by accident.
    fn skipped_code(&mut self) {
        if self.rng.percent(30) {
            let len = self.rng.range(1, 8);
            let bytes = self.rng.bytes(len);
            self.items.push(Item::Raw(bytes));
            // An unfinished PUSH must not swallow the target.
            self.items.push(Item::Raw(vec![JUMPDEST; 33]));
        }
    }

    /// A table of targets in memory, indexed by calldata.
    fn jump_table(&mut self) {
        let targets: Vec<Label> = (0..4).map(|_| self.new_label()).collect();
        let end = self.new_label();
        for (index, target) in targets.iter().enumerate() {
            self.push_label(*target);
            self.push(U256::from(0x80 + 32 * index));
            self.apply(MSTORE, 2, 0);
        }
        self.operand();
        self.push(U256::from(3));
        self.apply(AND, 2, 1);
        self.push(U256::from(5));
        self.apply(SHL_OR_MUL[usize::from(self.has(SHL))], 2, 1);
        self.push(U256::from(if self.has(SHL) { 0x80 } else { 0 }));
        self.apply(ADD, 2, 1);
        self.apply(MLOAD, 1, 1);
        self.apply(JUMP, 1, 0);
        for target in targets {
            self.place(target);
            let statements = self.rng.range(0, 2);
            self.balanced_body(statements);
            self.push_label(end);
            self.apply(JUMP, 1, 0);
        }
        self.place(end);
    }

    /// Many words, of which each way of a branch takes off or overwrites all in its own manner.
    fn kill_many_words(&mut self) {
        let height = self.height;
        for _ in 0..self.rng.range(5, 30) {
            self.operand();
        }
        let (otherwise, end) = (self.new_label(), self.new_label());
        self.condition();
        self.push_label(otherwise);
        self.apply(JUMPI, 2, 0);
        let full = self.height;
        self.kill_down_to(height);
        if self.rng.percent(70) {
            self.push_label(end);
            self.apply(JUMP, 1, 0);
        } else {
            self.end_of_frame();
        }
        self.height = full;
        self.place(otherwise);
        self.kill_down_to(height);
        self.place(end);
    }

    fn kill_down_to(&mut self, height: usize) {
        while self.height > height {
            let above = self.height - height;
            match self.rng.below(5) {
                0 if above >= 2 => {
                    let opcode = self.rng.pick(&[ADD, XOR, SUB, LT, DIV]);
                    self.apply(opcode, 2, 1);
                }
                1 if above >= 3 => {
                    // Overwrites a word below the top.
                    let depth = self.rng.below((above - 2).min(15)) as u8;
                    self.op(SWAP2 + depth);
                    self.apply(POP, 1, 0);
                }
                2 => {
                    let offset = self.rng.below(8) * 32;
                    self.push(U256::from(offset));
                    self.apply(MSTORE, 2, 0);
                }
                _ => self.apply(POP, 1, 0),
            }
        }
    }

    /// A jump to somewhere wrong, taken or not.
    fn bad_jump(&mut self) {
        self.condition();
        match self.rng.below(3) {
            0 => {
                let target = values::word(self.rng);
                self.push(target);
            }
            1 => {
                let target = self.rng.below(300);
                self.push(U256::from(target));
            }
            _ => {
                // One past a JUMPDEST.
                let label = self.new_label();
                self.place(label);
                self.push_label(label);
                self.push(U256::ONE);
                self.apply(ADD, 2, 1);
            }
        }
        self.apply(JUMPI, 2, 0);
    }
}

/// Before SHL existed (index 0), the table's index is kept in range by other means: `x * 5` of a
/// number below 4 reads the words at 0 to 15, whatever they hold.
const SHL_OR_MUL: [u8; 2] = [MUL, SHL];
