//! Statements that jump, except loops.

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
        match self.rng.weighted(&[45, 25, 10, 7, 10, 3]) {
            0 => self.loops(),
            1 => self.branch(),
            2 => self.computed_jump(),
            3 => self.jump_table(),
            4 => self.internal_call(),
            _ => self.bad_jump(),
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
    fn condition(&mut self) {
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

    /// A call of an internal function: the return address is on the stack.
    fn internal_call(&mut self) {
        let back = self.new_label();
        let reuse = self.rng.percent(40);
        let function = match self.functions.first() {
            Some(&known) if reuse => known,
            _ => {
                let function = self.new_label();
                self.functions.push(function);
                function
            }
        };
        self.push_label(back);
        self.operand();
        self.push_label(function);
        self.apply(JUMP, 1, 0);
        self.place(back);
        // The function has replaced return address and argument by its result.
        self.height -= 1;
    }

    /// The bodies of the functions called: `(return address, argument) -> result`.
    pub(super) fn function_bodies(&mut self) {
        self.depth = MAX_DEPTH;
        for function in std::mem::take(&mut self.functions) {
            self.place(function);
            self.height = 2;
            self.fuel = 3;
            self.balanced_body(3);
            let opcode = self.rng.pick(&[NOT, ISZERO, JUMPDEST]);
            self.op(opcode);
            self.op(SWAP1);
            self.op(JUMP);
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
