//! Irreducible cycles: blocks that lead to each other in any order, of which several are entered.
//!
//! The counter on top of the stack bounds them: each block counts down and leaves the cycle at
//! zero. No block comes before all others, so there is no head at which words of the loop could
//! settle.

use super::writer::Writer;
use crate::assembly::Label;
use alloy_primitives::U256;
use revm::bytecode::opcode::*;

/// Most words below the counter that the blocks change.
const MAX_WORDS: usize = 8;

impl Writer<'_> {
    pub(super) fn cycle_of_many_entries(&mut self) {
        let words = self.rng.below(MAX_WORDS + 1);
        for _ in 0..words {
            self.operand();
        }
        let turns = self.rng.range(1, 12);
        self.push(U256::from(turns));
        let blocks: Vec<Label> = (0..self.rng.range(2, 4)).map(|_| self.new_label()).collect();
        let end = self.new_label();
        for _ in 0..self.rng.range(1, 2) {
            let entry = self.rng.pick(&blocks);
            self.condition();
            self.push_label(entry);
            self.apply(JUMPI, 2, 0);
        }
        for &block in &blocks {
            self.place(block);
            self.cycle_block(words, &blocks, end);
        }
        self.push_label(blocks[0]);
        self.apply(JUMP, 1, 0);
        self.place(end);
        if self.rng.percent(50) {
            self.apply(POP, 1, 0);
        }
    }

    /// One block of the cycle; what follows it is the next.
    fn cycle_block(&mut self, words: usize, blocks: &[Label], end: Label) {
        self.loop_body(words);
        self.push(U256::ONE);
        self.op(SWAP1);
        self.apply(SUB, 2, 1);
        self.apply(DUP1, 0, 1);
        self.apply(ISZERO, 1, 1);
        self.push_label(end);
        self.apply(JUMPI, 2, 0);
        let next = self.rng.pick(blocks);
        if self.rng.percent(70) {
            self.condition();
            self.push_label(next);
            self.apply(JUMPI, 2, 0);
        } else {
            self.push_label(next);
            self.apply(JUMP, 1, 0);
        }
    }
}
