//! Where the blocks of a contract end, what they need of the stack, and what they cost.
//!
//! A **run** is a block that frames may enter from outside, with those that only the untaken
//! branches of it lead to: one check of the stack at its head is for all. That may be stricter than
//! needed, for an instruction that isn't come to; then the interpreter finds out.

use cranevm_passes::{
    decode::{Form, Instruction},
    ir::opcode::Opcode,
    sections::stack::touched_and_change,
};

/// What a run needs of the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Words that there must be.
    pub(super) needed: i64,
    /// Words that there must be room for.
    pub(super) growth: i64,
}

/// What the run needs that these instructions begin with.
pub(super) fn bounds(instructions: &[Instruction]) -> Bounds {
    let (mut bounds, mut height) = (Bounds::default(), 0);
    for (index, instruction) in instructions.iter().enumerate() {
        if index > 0 && matches!(instruction.form, Form::JumpDest) {
            break;
        }
        let (touched, change) = touched_and_change(instruction);
        bounds.needed = bounds.needed.max(i64::from(touched) - height);
        // What ends or suspends the frame pops its arguments when compiled code is done.
        if !matches!(instruction.form, Form::Exit | Form::Suspend) {
            height += i64::from(change);
        }
        bounds.growth = bounds.growth.max(height);
        if instruction.form.ends_block() && !matches!(instruction.form, Form::Branch) {
            break;
        }
    }
    bounds
}

/// Whether gas must be exact before an instruction: it charges by its operands, or tells the gas.
pub(super) fn settles(instruction: &Instruction) -> bool {
    instruction.opcode.implementation().charges() || instruction.opcode == Opcode::GAS
}

/// Static gas from these instructions' first to the first before which gas must be exact, or to the
/// end of the block, both included. What is left to the interpreter, that charges for.
pub(super) fn gas_until_settled(instructions: &[Instruction], prices: &[u16; 256]) -> u64 {
    let mut gas = 0;
    for (index, instruction) in instructions.iter().enumerate() {
        let is_other = index > 0 && matches!(instruction.form, Form::JumpDest);
        if is_other || matches!(instruction.form, Form::HandOver | Form::Foreign) {
            break;
        }
        gas += u64::from(prices[usize::from(instruction.opcode.get())]);
        if settles(instruction) || instruction.form.ends_block() {
            break;
        }
    }
    gas
}
