//! Stack bounds of a block, so that one check at its start covers all its instructions.
//!
//! If the stack at entry has [`StackEffect::needed`] words and room for
//! [`StackEffect::growth`] more, no instruction of the block under- or overflows it. The
//! bounds are those that revm checks one by one, so that the check is exact for the whole
//! block.

use crate::analysis::control_flow::ControlFlow;
use crate::decode::{Decoded, Form, Instruction};
use crate::ir::program::{Program, StackEffect};

/// Sets the stack bounds of every block.
pub(crate) fn bound_stack(program: &mut Program, decoded: &Decoded, flow: &ControlFlow) {
    for (block, shape) in flow.blocks.iter() {
        program.blocks[block].stack = stack_effect(flow.instructions(decoded, shape));
    }
}

/// The bounds of a block. Its height stays in `i16`, see
/// [`MAX_BLOCK_INSTRUCTIONS`](crate::analysis::control_flow::MAX_BLOCK_INSTRUCTIONS).
fn stack_effect<'a>(instructions: impl Iterator<Item = &'a Instruction>) -> StackEffect {
    let (mut needed, mut growth, mut height) = (0i32, 0i32, 0i32);
    for instruction in instructions {
        let (touched, change) = touched_and_change(instruction);
        needed = needed.max(touched - height);
        // What ends or suspends the frame is still to pop its arguments. It pops more words than
        // the one it pushes, so its result is never the highest word.
        if !matches!(instruction.form, Form::Exit | Form::Suspend) {
            height += change;
        }
        growth = growth.max(height);
    }
    StackEffect { needed: needed as u16, growth: growth as u16, delta: height as i16 }
}

/// Words that an instruction needs on the stack, and by how many it changes the height.
pub fn touched_and_change(instruction: &Instruction) -> (i32, i32) {
    match instruction.form {
        Form::JumpDest | Form::Stop | Form::HandOver | Form::Foreign => (0, 0),
        Form::Push => (0, 1),
        Form::Pop | Form::Jump => (1, -1),
        Form::Branch => (2, -2),
        Form::Dup(depth) => (i32::from(depth) + 1, 1),
        Form::Exchange(_, lower) => (i32::from(lower) + 1, 0),
        Form::Compute | Form::Exit | Form::Suspend => {
            instruction.opcode.info().map_or((0, 0), |info| {
                (i32::from(info.inputs), i32::from(info.outputs) - i32::from(info.inputs))
            })
        }
    }
}
