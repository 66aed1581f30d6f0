//! Internal functions: calls by jumps, with the return address on the stack, and calls in them.
//!
//! A function takes `(return address, argument)` and leaves one word. A function calls only ones
//! that come after it, so that there is no recursion.

use super::{control::MAX_DEPTH, writer::Writer};
use crate::assembly::Label;
use revm::bytecode::opcode::*;

/// Most functions of a contract.
const MAX_FUNCTIONS: usize = 6;

impl Writer<'_> {
    /// A call of an internal function with a random argument.
    pub(super) fn internal_call(&mut self) {
        if let Some(function) = self.callee() {
            let back = self.new_label();
            self.push_label(back);
            self.operand();
            self.jump_to_function(function, back);
        }
    }

    /// The function to call: one that is known, or a new one.
    fn callee(&mut self) -> Option<Label> {
        let known = self.functions.len() - self.first_callable;
        let is_full = self.functions.len() >= MAX_FUNCTIONS;
        if known > 0 && (is_full || self.rng.percent(50)) {
            let index = self.first_callable + self.rng.below(known);
            return Some(self.functions[index]);
        }
        (!is_full).then(|| {
            let function = self.new_label();
            self.functions.push(function);
            function
        })
    }

    fn jump_to_function(&mut self, function: Label, back: Label) {
        self.push_label(function);
        self.apply(JUMP, 1, 0);
        self.place(back);
        // The function has replaced return address and argument by its result.
        self.height -= 1;
    }

    /// The bodies of the functions called: `(return address, argument) -> result`.
    pub(super) fn function_bodies(&mut self) {
        self.depth = MAX_DEPTH;
        while let Some(&function) = self.functions.get(self.first_callable) {
            self.first_callable += 1;
            self.function_body(function);
        }
    }

    fn function_body(&mut self, function: Label) {
        self.place(function);
        self.height = 2;
        self.floor = 0;
        self.fuel = 3;
        self.balanced_body(3);
        if self.rng.percent(25) {
            self.checked_argument();
        }
        for _ in 0..self.rng.below(3) {
            self.call_with_argument();
        }
        if self.rng.percent(15) {
            return self.tail_call();
        }
        let opcode = self.rng.pick(&[NOT, ISZERO, JUMPDEST]);
        self.op(opcode);
        self.op(SWAP1);
        self.op(JUMP);
    }

    /// As compilers check for overflow: a branch over code that ends the frame.
    fn checked_argument(&mut self) {
        let good = self.new_label();
        self.apply(DUP1, 0, 1);
        self.condition();
        self.apply(OR, 2, 1);
        self.push_label(good);
        self.apply(JUMPI, 2, 0);
        self.end_of_frame();
        self.place(good);
        self.height = 2;
    }

    /// Calls another function with the argument, and adds its result to it.
    fn call_with_argument(&mut self) {
        let Some(function) = self.callee() else { return };
        let back = self.new_label();
        self.push_label(back);
        self.apply(DUP2, 0, 1);
        self.jump_to_function(function, back);
        let opcode = self.rng.pick(&[ADD, SUB, XOR]);
        self.apply(opcode, 2, 1);
    }

    /// Ends with another function's result: its return address is this one's.
    fn tail_call(&mut self) {
        match self.callee() {
            Some(function) => {
                self.push_label(function);
                self.op(JUMP);
            }
            None => {
                self.op(SWAP1);
                self.op(JUMP);
            }
        }
    }
}
