//! All programs of a few symbols of an alphabet. A symbol is an instruction, or two that make one
//! constant and use it.

use super::{Effort, Plan, Summary, run_all};
use revm::bytecode::opcode::*;

/// Symbols of which all sequences are programs.
#[derive(Clone, Copy, Debug)]
pub struct Alphabet {
    /// Of what its programs are made.
    pub symbols: &'static [&'static [u8]],
    /// What all programs begin with.
    pub before: &'static [u8],
    /// What all programs end with.
    pub after: &'static [u8],
}

/// The stack, its bounds, jumps to constants and to words that aren't known (CALLDATASIZE is 3),
/// and ways that meet; a load shows what was executed.
pub const JUMPS: Alphabet = Alphabet {
    symbols: &[
        &[JUMPDEST],
        &[POP],
        &[DUP1],
        &[SWAP1],
        &[PUSH0],
        &[CALLDATASIZE],
        &[PUSH1, 4],
        &[JUMP],
        &[JUMPI],
        &[SLOAD],
    ],
    before: &[],
    after: &[JUMPDEST, STOP],
};

/// Memory at constant offsets and at others, known and grown on some ways alone: the words that
/// programs end with are jumped over, or not.
pub const MEMORY: Alphabet = Alphabet {
    symbols: &[
        &[JUMPDEST],
        &[PUSH0, MLOAD],
        &[PUSH1, 32, MLOAD],
        &[PUSH0, MSTORE],
        &[CALLDATASIZE, MLOAD],
        &[MSTORE8],
        &[MSIZE],
        &[GAS],
        &[PUSH1, 8, JUMPI],
        &[PUSH0, JUMP],
        &[PUSH0, PUSH0, KECCAK256],
    ],
    before: &[],
    after: &[JUMPDEST, PUSH0, MLOAD, STOP],
};

/// What charges by its operands or by the state, before each end of a block.
pub const DEBTS: Alphabet = Alphabet {
    symbols: &[
        &[SLOAD],
        &[CALLDATASIZE, SSTORE],
        &[CALLDATASIZE, EXP],
        &[MLOAD],
        &[PUSH0, BYTE],
        &[GAS],
        &[TLOAD],
        &[PUSH1, 11, JUMP],
        &[PUSH1, 11, JUMPI],
        &[JUMPDEST],
        &[STOP],
        &[CALLDATASIZE, CALLDATASIZE, KECCAK256],
    ],
    before: &[CALLDATASIZE],
    after: &[ISZERO, ISZERO, POP, JUMPDEST, JUMPDEST, JUMPDEST, JUMPDEST, PUSH0, POP, JUMPDEST],
};

impl Alphabet {
    /// How many programs there are of so many symbols.
    pub fn count(&self, len: u32) -> usize {
        self.symbols.len().pow(len)
    }

    /// One of them.
    pub fn program(&self, len: u32, index: usize) -> Vec<u8> {
        let mut code = self.before.to_vec();
        let mut rest = index;
        for _ in 0..len {
            code.extend(self.symbols[rest % self.symbols.len()]);
            rest /= self.symbols.len();
        }
        code.extend(self.after);
        code
    }

    /// Runs all programs of fewer than so many symbols, and some of as many: all, if the plan is
    /// for more than usual; if it is for very much more, also all of one symbol more.
    pub fn run(&self, plan: Plan, longest: u32) -> Summary {
        /// Of the longest, one of so many runs as usual.
        const SHARE: usize = 3;
        let effort = Effort { low: 2, limits: 80, always: 1 };
        let mut summary = Summary::default();
        for len in 1..=longest + u32::from(plan.times >= 64) {
            let every =
                if len == longest && plan.times == 1 { plan.every * SHARE } else { plan.every };
            let plan = Plan { every, ..plan };
            summary.add(run_all(plan, self.count(len), effort, |index| self.program(len, index)));
        }
        summary
    }
}
