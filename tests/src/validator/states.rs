//! States to begin with: at each entry point, what blocks distinguish.
//!
//! Heights of the stack at and around each bound of the block and of the region that it leads;
//! memory at and around what compiled code takes for granted; words that are jumped to, that are
//! offsets in memory, that count rounds of loops, and edges of arithmetic. The gas comes last: the
//! prices of what the interpreter executes from the state tell which amounts matter.

use super::{oracle::Oracle, state::State};
use crate::{
    programs::values,
    rng::{Rng, mix},
};
use alloy_primitives::U256;
use cranevm_codegen::Program;
use cranevm_passes::{
    analysis::{head_plans::HeadPlans, regions::Regions},
    ir::{
        entities::{Chunk, Entry},
        program::StackEffect,
    },
};
use revm::{interpreter::interpreter::STACK_LIMIT, primitives::hardfork::SpecId};
use std::collections::BTreeSet;

/// Gas with which a stretch is traced, and with which it runs to its end or for long.
const PLENTY: u64 = 120_000;

/// Words below the top that are chosen one by one. Instructions reach no deeper, but for those of
/// EIP-8024.
const CHOSEN_WORDS: usize = 48;

/// The states of a program.
pub struct States<'a> {
    program: &'a Program,
    /// Where frames come in.
    entries: Vec<Entry>,
    /// By entry point, what the head of its block asks of the stack.
    bounds: Vec<StackEffect>,
    targets: Vec<U256>,
    edges: Vec<U256>,
}

impl<'a> States<'a> {
    /// Looks at a program.
    pub fn of(program: &'a Program) -> Self {
        let plans: Vec<HeadPlans> = program
            .chunks
            .keys()
            .map(|chunk: Chunk| HeadPlans::of(program, chunk, &Regions::find(program, chunk)))
            .collect();
        let bounds = |entry: Entry| {
            let block = program.entries[entry].block;
            let plans = &plans[program.blocks[block].chunk.as_u32() as usize];
            plans.plan_of(program, block).and_then(|plan| plan.bounds).unwrap_or_default()
        };
        let jumpdests = program.blocks.values().filter(|block| block.is_jumpdest);
        // Others are for chunks that go on in each other.
        let is_outside = |&entry: &Entry| {
            let data = &program.entries[entry];
            data.is_jumpdest || data.is_continuation
        };
        Self {
            program,
            entries: program.entries.keys().filter(is_outside).collect(),
            bounds: program.entries.keys().map(bounds).collect(),
            targets: jumpdests.map(|block| U256::from(block.pc)).collect(),
            edges: values::edges(),
        }
    }

    /// A state at an entry point, with plenty of gas.
    pub fn pick(&self, rng: &mut Rng) -> State {
        let entry = rng.pick(&self.entries);
        let height = self.height(entry, rng);
        let skipped = height.saturating_sub(CHOSEN_WORDS);
        let word = |slot| if slot < skipped { U256::from(slot * 32) } else { self.word(rng) };
        let stack = (0..height).map(word).collect();
        let calldata = match rng.below(4) {
            0 => Vec::new(),
            1 => {
                let len = rng.below(80);
                rng.bytes(len)
            }
            words => {
                let selector = rng.bytes(4);
                let words = (0..2 * words).flat_map(|_| self.word(rng).to_be_bytes::<32>());
                selector.into_iter().chain(words).collect()
            }
        };
        State {
            pc: self.program.entries[entry].pc as usize,
            stack,
            memory_words: self.memory_words(rng),
            gas: PLENTY,
            reservoir: match self.program.spec_id.is_enabled_in(SpecId::AMSTERDAM) {
                true => rng.pick(&[0, 0, 1000, 60_000]),
                false => 0,
            },
            is_static: rng.percent(10),
            calldata: calldata.into(),
            return_data: match rng.percent(50) {
                true => rng.bytes(64).into(),
                false => Vec::new().into(),
            },
            seed: mix(rng.next()),
        }
    }

    /// A height of the stack.
    fn height(&self, entry: Entry, rng: &mut Rng) -> usize {
        let block = &self.program.blocks[self.program.entries[entry].block];
        let bounds =
            if rng.percent(50) { block.stack } else { self.bounds[entry.as_u32() as usize] };
        let (low, high) = (usize::from(bounds.needed), usize::from(bounds.growth));
        let high = STACK_LIMIT.saturating_sub(high);
        let height = match rng.below(16) {
            0 => low.saturating_sub(1),
            1 => low,
            2 => low + 1,
            3 => high.saturating_sub(1),
            4 => high,
            5 => high + 1,
            6 => rng.below(low + 1),
            7 => rng.pick(&[0, STACK_LIMIT, STACK_LIMIT - 1]),
            8 => rng.below(STACK_LIMIT + 1),
            _ => low + rng.below(40),
        };
        height.min(STACK_LIMIT)
    }

    /// A length of memory.
    fn memory_words(&self, rng: &mut Rng) -> usize {
        let initial = self.program.initial_memory() as usize / 32;
        match rng.below(16) {
            0 => rng.below(2),
            1 => initial.saturating_sub(1),
            2 => rng.below(initial + 1),
            3..=7 => initial,
            8 => initial + 1,
            9 => initial + rng.below(8),
            _ => initial + rng.below(60),
        }
    }

    /// A word of the stack or of calldata.
    fn word(&self, rng: &mut Rng) -> U256 {
        match rng.weighted(&[30, 25, 15, 20, 10]) {
            0 if !self.targets.is_empty() => rng.pick(&self.targets),
            0 | 1 => U256::from(rng.below(32) * 32),
            2 => U256::from(rng.below(6)),
            3 => rng.pick(&self.edges),
            _ => rng.word() >> rng.below(256),
        }
    }
}

/// The amounts of gas that a state is run with: none, plenty, and such at which something can just
/// be paid or just not, at most `count` of them.
pub fn gas_amounts(oracle: &Oracle, state: &State, count: usize, rng: &mut Rng) -> BTreeSet<u64> {
    let limits = oracle.trace(state).gas_limits(0, count == usize::MAX);
    let mut limits: Vec<u64> = limits.into_iter().filter(|&limit| limit < state.gas).collect();
    let mut amounts = BTreeSet::from([0, state.gas]);
    while !limits.is_empty() && amounts.len() < count {
        amounts.insert(limits.swap_remove(rng.below(limits.len())));
    }
    amounts
}
