//! Loops: with the test at the end or at the top, one directly after another, one inside another.
//!
//! A loop has its counter on top of the stack and a few words below it that its body changes by
//! moving them past the counter. Native code keeps such words in registers from one iteration to
//! the next, and must have them in place wherever a loop is left: at its end, at an opcode
//! that needs the host, at a call, and where gas runs out.

use super::{control::MAX_DEPTH, values, writer::Writer};
use crate::assembly::Label;
use alloy_primitives::U256;
use revm::bytecode::opcode::*;

/// Most words below the counter that a loop changes: more than native code keeps in registers.
const MAX_WORDS: usize = 9;

/// Opcodes from one word to one that native code calls a builtin for, and some that it doesn't.
const UNARY: [u8; 11] = [
    SLOAD,
    BALANCE,
    EXTCODESIZE,
    EXTCODEHASH,
    TLOAD,
    CALLDATALOAD,
    BLOCKHASH,
    BLOBHASH,
    CLZ,
    ISZERO,
    NOT,
];

/// The same, from two words.
const BINARY: [u8; 11] = [SDIV, DIV, SMOD, MOD, EXP, SIGNEXTEND, MUL, SUB, XOR, SHL, SAR];

/// A loop's counter.
#[derive(Clone, Copy)]
enum Counter {
    /// Its value where the loop begins.
    Known(usize),
    /// The result of a call or creation.
    Result,
}

impl Writer<'_> {
    /// One to three loops without an instruction between them: where one ends, the next begins.
    pub(super) fn loops(&mut self) {
        let words = self.rng.below(MAX_WORDS + 1);
        for _ in 0..words {
            self.operand();
        }
        let mut counter = if self.rng.percent(25) {
            self.bare_frame();
            Counter::Result
        } else {
            let count = self.rng.below(10);
            self.push(U256::from(count));
            Counter::Known(count)
        };
        if self.rng.percent(15) {
            self.loops_of_one_head(words);
        } else {
            let mut head = self.new_label();
            self.place(head);
            for _ in 0..self.rng.range(1, 3) {
                let next = self.new_label();
                counter = self.one_loop(head, next, words, counter);
                self.place(next);
                head = next;
            }
        }
        if self.rng.percent(50) {
            self.apply(POP, 1, 0);
        }
    }

    /// A loop whose head is placed, and that is left at `end`, which follows it. Returns what its
    /// counter is there.
    fn one_loop(&mut self, head: Label, end: Label, words: usize, counter: Counter) -> Counter {
        let (down, limit, after) = match counter {
            Counter::Known(count) if count > 0 && self.rng.percent(40) => {
                (true, 0, Counter::Known(0))
            }
            Counter::Known(count) => {
                let limit = count + self.rng.range(1, 6);
                (false, limit, Counter::Known(limit))
            }
            // An address is above any limit.
            Counter::Result => (false, self.rng.range(2, 6), Counter::Result),
        };
        let test_first = self.rng.percent(40);
        if test_first {
            self.wants_more(down, limit);
            self.apply(ISZERO, 1, 1);
            self.push_label(end);
            self.apply(JUMPI, 2, 0);
        }
        self.loop_body(words);
        self.push(U256::ONE);
        if down {
            self.op(SWAP1);
            self.apply(SUB, 2, 1);
        } else {
            self.apply(ADD, 2, 1);
        }
        if test_first {
            self.push_label(head);
            self.apply(JUMP, 1, 0);
        } else {
            self.wants_more(down, limit);
            self.push_label(head);
            self.apply(JUMPI, 2, 0);
        }
        after
    }

    /// Whether the counter, on top of the stack, is short of its end.
    fn wants_more(&mut self, down: bool, limit: usize) {
        if down {
            self.apply(DUP1, 0, 1);
        } else {
            self.push(U256::from(limit));
            self.apply(DUP2, 0, 1);
            self.apply(LT, 2, 1);
        }
    }

    /// Two nested loops that begin at the same place, at one label or at two: the word on top is
    /// the inner counter.
    fn loops_of_one_head(&mut self, words: usize) {
        self.push(U256::ZERO);
        let outer = self.new_label();
        self.place(outer);
        let inner = if self.rng.percent(50) { outer } else { self.new_label() };
        if inner != outer {
            self.place(inner);
        }
        // The outer counter is the first of the words below, which the body leaves alone.
        self.loop_body(0);
        self.push(U256::ONE);
        self.apply(ADD, 2, 1);
        let limit = self.rng.range(1, 4);
        self.wants_more(false, limit);
        self.push_label(inner);
        self.apply(JUMPI, 2, 0);
        self.apply(POP, 1, 0);
        self.loop_body(words);
        self.push(U256::ONE);
        self.apply(ADD, 2, 1);
        let limit = self.rng.range(1, 6);
        self.wants_more(false, limit);
        self.push(U256::ZERO);
        self.op(SWAP1);
        self.push_label(outer);
        self.apply(JUMPI, 2, 0);
    }

    /// Changes of the words below the counter, statements above it, and loops.
    pub(super) fn loop_body(&mut self, words: usize) {
        self.depth += 1;
        for _ in 0..self.rng.below(5) {
            if self.depth < MAX_DEPTH && self.rng.percent(8) {
                self.nested_loops();
            } else if words > 0 && self.rng.percent(70) {
                self.change_word(words);
            } else {
                self.balanced_body(1);
            }
        }
        self.depth -= 1;
    }

    /// Loops above the counter.
    fn nested_loops(&mut self) {
        let height = self.height;
        let floor = std::mem::replace(&mut self.floor, height);
        self.loops();
        self.floor = floor;
        self.drop_to(height);
    }

    /// Changes one of the `words` below the counter on top; the counter stays.
    fn change_word(&mut self, words: usize) {
        let depth = self.rng.range(1, words) as u8;
        let other = self.rng.range(1, words) as u8;
        match self.rng.below(7) {
            0 => {
                let opcode = self.enabled(&UNARY, NOT);
                self.op(SWAP1 + depth - 1);
                self.op(opcode);
                self.op(SWAP1 + depth - 1);
            }
            1 => {
                let opcode = self.enabled(&BINARY, SDIV);
                self.op(SWAP1 + depth - 1);
                self.copy_or_constant();
                self.apply(opcode, 2, 1);
                self.op(SWAP1 + depth - 1);
            }
            2 => {
                let opcode = self.rng.pick(&[ADDMOD, MULMOD]);
                self.op(SWAP1 + depth - 1);
                self.copy_or_constant();
                self.copy_or_constant();
                self.apply(opcode, 3, 1);
                self.op(SWAP1 + depth - 1);
            }
            3 => {
                // The gas left, or the size of memory, in place of the word.
                let opcode = self.rng.pick(&[GAS, GAS, MSIZE]);
                self.apply(opcode, 0, 1);
                self.op(SWAP1 + depth);
                self.apply(POP, 1, 0);
            }
            4 if depth != other => {
                // The two words change places.
                for swap in [depth, other, depth] {
                    self.op(SWAP1 + swap - 1);
                }
            }
            5 => self.combine_words(words, depth),
            _ => self.store_word(depth),
        }
    }

    /// Combines all words into one of them.
    fn combine_words(&mut self, words: usize, into: u8) {
        self.push(U256::ONE);
        for depth in 1..=words {
            // Below the sum and the counter.
            self.apply(DUP2 + depth as u8, 0, 1);
            let opcode = self.rng.pick(&[ADD, XOR, SUB, OR]);
            self.apply(opcode, 2, 1);
        }
        self.op(SWAP1 + into);
        self.apply(POP, 1, 0);
    }

    /// Stores a word below the counter, in storage or memory.
    fn store_word(&mut self, depth: u8) {
        self.apply(DUP1 + depth, 0, 1);
        let (slot, is_storage) = (self.rng.below(4), self.rng.percent(30));
        self.push(U256::from(if is_storage { slot } else { 32 * slot }));
        self.apply(if is_storage { SSTORE } else { MSTORE }, 2, 0);
    }

    /// A copy of any word in reach, or a constant.
    fn copy_or_constant(&mut self) {
        if self.rng.percent(50) {
            let depth = self.rng.below(self.height.clamp(1, 16));
            self.apply(DUP1 + depth as u8, 0, 1);
        } else {
            let word = values::word(self.rng);
            self.push(word);
        }
    }

    /// One of these opcodes if the fork has it.
    fn enabled(&mut self, opcodes: &[u8], otherwise: u8) -> u8 {
        let opcode = self.rng.pick(opcodes);
        if self.has(opcode) { opcode } else { otherwise }
    }
}
