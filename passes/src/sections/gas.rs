//! Static gas of a block, charged once at its start, and what of it lies after each
//! instruction.
//!
//! The charge includes the instruction that ends the block, unless that hands over to the
//! interpreter, which charges for it itself. An instruction that observes the exact gas
//! adds [`InstData::gas_after`](crate::ir::program::InstData::gas_after) to what is left,
//! since so much was charged ahead.

use crate::analysis::control_flow::ControlFlow;
use crate::decode::{Decoded, Form};
use crate::ir::entities::Inst;
use crate::ir::opcode::gas_table;
use crate::ir::program::Program;

/// Sets the static gas of every block and instruction. An instruction's `gas_after` is before
/// its place among its block's decoded ones.
pub(crate) fn sum_gas(program: &mut Program, decoded: &Decoded, flow: &ControlFlow) {
    let table = gas_table(program.spec_id);
    for (block, shape) in flow.blocks.iter() {
        let span = program.blocks[block].insts;
        let mut insts = (span.start..span.end).rev().map(Inst::from_u32).peekable();
        let mut gas = 0;
        let mut position = u64::from(flow.instruction_count(shape));
        for instruction in flow.instructions(decoded, shape).rev() {
            position -= 1;
            if matches!(instruction.form, Form::HandOver | Form::Foreign) {
                continue;
            }
            if let Some(inst) = insts.next_if(|&inst| program.insts[inst].gas_after == position) {
                program.insts[inst].gas_after = gas;
            }
            gas += u64::from(table[usize::from(instruction.opcode.get())]);
        }
        program.blocks[block].gas = gas;
    }
}
