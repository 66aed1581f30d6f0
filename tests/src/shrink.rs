//! Making a failing program small.
//!
//! Delta debugging over the items of every contract, plus the few knobs of the transaction. A
//! candidate is kept if it still fails. Bounded by time rather than by rounds: a compilation of a
//! large program takes milliseconds.

use crate::{assembly::Item, programs::Program};
use alloy_primitives::{Bytes, U256};
use revm::context::transaction::AccessList;
use std::time::{Duration, Instant};

/// Makes `program` smaller as long as `fails` holds and `limit` isn't over. `fails` must hold for
/// `program` itself.
pub fn shrink(program: &Program, limit: Duration, fails: impl Fn(&Program) -> bool) -> Program {
    let mut shrinker = Shrinker { best: program.clone(), end: Instant::now() + limit, fails };
    shrinker.settle_gas();
    loop {
        let before = shrinker.best.clone();
        shrinker.drop_contracts();
        shrinker.simplify_transaction();
        for contract in 0..shrinker.best.contracts.len() {
            shrinker.drop_items(contract);
            shrinker.simplify_items(contract);
        }
        if shrinker.best == before || shrinker.is_over() {
            return shrinker.best;
        }
    }
}

struct Shrinker<F> {
    best: Program,
    end: Instant,
    fails: F,
}

impl<F: Fn(&Program) -> bool> Shrinker<F> {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Applies a change if the program then still fails.
    fn try_change(&mut self, change: impl FnOnce(&mut Program)) -> bool {
        if self.is_over() {
            return false;
        }
        let mut candidate = self.best.clone();
        change(&mut candidate);
        let better = candidate != self.best && (self.fails)(&candidate);
        if better {
            self.best = candidate;
        }
        better
    }

    /// Drops contracts but the called one, and storage.
    fn drop_contracts(&mut self) {
        for index in (1..self.best.contracts.len()).rev() {
            self.try_change(|program| drop(program.contracts.remove(index)));
        }
        for index in 0..self.best.contracts.len() {
            self.try_change(|program| program.contracts[index].storage.clear());
        }
    }

    fn simplify_transaction(&mut self) {
        self.try_change(|program| program.transaction.access_list = AccessList::default());
        self.try_change(|program| program.transaction.blob_hashes.clear());
        self.try_change(|program| program.transaction.value = U256::ZERO);
        self.try_change(|program| program.gas_cap = u64::MAX);
        if !self.try_change(|program| program.transaction.data = Bytes::new()) {
            self.try_change(|program| {
                let data = &mut program.transaction.data;
                let half = data.len() / 2;
                data.truncate(half);
            });
        }
    }

    /// Plenty of gas makes a failure that isn't about gas clearer; else as little as does it. Once
    /// only: the two ways would undo each other for ever.
    fn settle_gas(&mut self) {
        if self.try_change(|program| program.transaction.gas_limit = 1_000_000) {
            return;
        }
        let lower = |program: &mut Program| {
            let gas = &mut program.transaction.gas_limit;
            *gas -= *gas / 8;
        };
        while self.try_change(lower) {}
    }

    /// Drops runs of items, from half the code down to single items.
    fn drop_items(&mut self, contract: usize) {
        let mut run = self.best.contracts[contract].items.len() / 2;
        while run > 0 {
            let mut end = self.best.contracts[contract].items.len();
            while end > 0 && !self.is_over() {
                let start = end.saturating_sub(run);
                self.try_change(|program| {
                    drop(program.contracts[contract].items.drain(start..end))
                });
                end = start;
            }
            run /= 2;
        }
    }

    /// Makes constants small and raw bytes few.
    fn simplify_items(&mut self, contract: usize) {
        for index in 0..self.best.contracts[contract].items.len() {
            match self.best.contracts[contract].items[index].clone() {
                Item::Push(bytes) if bytes != [0] => {
                    for simple in [vec![0], vec![1], vec![32]] {
                        let item = Item::Push(simple);
                        let simpler = |p: &mut Program| p.contracts[contract].items[index] = item;
                        if self.try_change(simpler) {
                            break;
                        }
                    }
                }
                Item::Raw(bytes) => self.shorten_raw(contract, index, bytes),
                _ => {}
            }
        }
    }

    fn shorten_raw(&mut self, contract: usize, index: usize, mut bytes: Vec<u8>) {
        for at in (0..bytes.len()).rev() {
            let mut shorter = bytes.clone();
            shorter.remove(at);
            let item = Item::Raw(shorter.clone());
            if self.try_change(|program| program.contracts[contract].items[index] = item) {
                bytes = shorter;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembly::assemble;

    #[test]
    fn a_program_shrinks_to_what_matters() {
        let program = Program::generate(11);
        let mut program = program;
        program.contracts[0].items.insert(3, Item::Op(0x5c));
        let has = |p: &Program| p.contracts[0].items.contains(&Item::Op(0x5c));
        let small = shrink(&program, Duration::from_secs(20), has);
        assert_eq!(assemble(&small.contracts[0].items), [0x5c]);
        assert_eq!(small.contracts.len(), 1);
        assert!(small.transaction.data.is_empty());
    }
}
