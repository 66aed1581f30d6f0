//! Where a contract's short loops are, by a guess: what lies between a JUMPDEST and a jump back to
//! it whose target is pushed right before it, if that is near.
//!
//! Code that runs often is worth more bytes. A wrong guess costs bytes or time, and nothing else.
//!
//! Cost: a look at each instruction, and at most a dozen words for each jump back.

use cranevm_passes::decode::{Form, Instruction, JumpDests};
use revm_primitives::U256;

/// Longest loop, in bytes. Most jumps further back are to functions.
const LONGEST: usize = 768;

/// The pcs in loops.
pub(super) struct Loops(Vec<u64>);

impl Loops {
    /// The loops of a contract among these instructions; `constant` tells what one of them pushes.
    pub(super) fn of(
        code_len: usize,
        instructions: &[Instruction],
        jumpdests: &JumpDests,
        constant: impl Fn(usize) -> U256,
    ) -> Self {
        let mut loops = Self(vec![0; code_len / 64 + 1]);
        for (at, pair) in instructions.windows(2).enumerate() {
            let [push, jump] = pair else { continue };
            let jumps = matches!(jump.form, Form::Jump | Form::Branch);
            if !jumps || !matches!(push.form, Form::Push) {
                continue;
            }
            let (target, end) = (usize::try_from(constant(at)), jump.pc as usize);
            if let Ok(target) = target
                && (end.saturating_sub(LONGEST)..end).contains(&target)
                && jumpdests.contains(target)
            {
                loops.mark(target, end);
            }
        }
        loops
    }

    /// Marks from one pc to another, both included.
    fn mark(&mut self, begin: usize, end: usize) {
        let (first, last) = (begin / 64, end / 64);
        for word in first..=last {
            let from = if word == first { begin % 64 } else { 0 };
            let to = if word == last { end % 64 } else { 63 };
            self.0[word] |= (u64::MAX << from) & (u64::MAX >> (63 - to));
        }
    }

    /// Whether the instruction at a pc is in a loop.
    pub(super) fn contain(&self, pc: u32) -> bool {
        let pc = pc as usize;
        self.0.get(pc / 64).is_some_and(|word| word >> (pc % 64) & 1 != 0)
    }
}
