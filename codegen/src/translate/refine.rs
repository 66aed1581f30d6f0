//! What a branch tells of the words that it compared.
//!
//! Contracts test what they are given before they use it: a length against 2^64, an address against
//! its own lower 160 bits. Where the way out of the branch leads to a block with no other
//! predecessor, the words that were compared are carried there as wide as the outcome lets them be,
//! and what is done with them there is done on fewer limbs.
//!
//! Cost: a few comparisons of words for each branch.

use super::Translator;
use crate::words::Word;
use cranevm_passes::{
    analysis::regions::Kind,
    ir::{
        entities::{Block, Value},
        opcode::Opcode,
        program::ValueDef,
    },
};

/// How deep a condition is looked into: `ISZERO` of `OR` of comparisons.
const MAX_DEPTH: u32 = 4;

impl Translator<'_, '_> {
    /// Narrows what is carried to `to`, where the current block's branch goes if its condition is
    /// nonzero (`truth`), or else zero.
    pub(super) fn refine_edge(&mut self, to: Block, condition: Value, truth: bool) {
        if self.is_inside(to) && matches!(self.kind(to), Kind::Single(_)) {
            self.learn(to, condition, truth, MAX_DEPTH);
        }
    }

    /// Applies what is known where `value` is nonzero, or zero.
    fn learn(&mut self, to: Block, value: Value, truth: bool, depth: u32) {
        let program = self.program;
        let ValueDef::Result(inst) = program.values[value].def else { return };
        if depth == 0 {
            return;
        }
        let bits = |value: Value, translator: &mut Self| match program.as_const(value) {
            Some(word) => word.bit_len() as u16,
            None => translator.word_in_ssa(value).map_or(256, |word| word.bits),
        };
        match (program.insts[inst].opcode, program.args(inst)) {
            (Opcode::ISZERO, &[of]) => self.learn(to, of, !truth, depth - 1),
            (Opcode::AND, &[x, y]) if truth => {
                self.learn(to, x, true, depth - 1);
                self.learn(to, y, true, depth - 1);
            }
            (Opcode::OR, &[x, y]) if !truth => {
                self.learn(to, x, false, depth - 1);
                self.learn(to, y, false, depth - 1);
            }
            // `x < y`, or `y <= x`: the lesser word is no wider than the other.
            (Opcode::LT, &[x, y]) | (Opcode::GT, &[y, x]) => {
                let (lesser, greater) = if truth { (x, y) } else { (y, x) };
                let bits = bits(greater, self);
                self.narrow(to, lesser, bits);
            }
            (Opcode::EQ, &[x, y]) if truth => {
                let bits = bits(x, self).min(bits(y, self));
                self.narrow(to, x, bits);
                self.narrow(to, y, bits);
            }
            (Opcode::XOR | Opcode::SUB, &[x, y]) if !truth => {
                let bits = bits(x, self).min(bits(y, self));
                self.narrow(to, x, bits);
                self.narrow(to, y, bits);
            }
            (Opcode::SHR, &[amount, of]) if !truth => {
                if let Some(amount) = program.as_const(amount).filter(|amount| *amount < 256) {
                    self.narrow(to, of, amount.to::<u16>());
                }
            }
            _ => {}
        }
    }

    /// A value is less than `2^bits` on the edge to `to`.
    fn narrow(&mut self, to: Block, value: Value, bits: u16) {
        let Some(word) = self.word_in_ssa(value).filter(|word| bits < word.bits) else { return };
        let index = self.index_of(to);
        for (_, carried) in &mut self.known[index].carried {
            if carried.limbs == word.limbs {
                *carried = Word::new(carried.limbs, bits.min(carried.bits));
            }
        }
    }
}
