//! Drops instructions of a block before they join the program's: those whose result nobody uses,
//! and those that another pass has found to be useless.
//!
//! Unused is only dropped what compiled code computes by itself: an instruction of revm may be one
//! that a chain has replaced. The static gas of a dropped instruction is charged nevertheless, and
//! its stack bounds hold, as both come from the bytecode.
//!
//! In what follows, `insts` are the instructions of a block, of which the first will have the
//! number `first_inst`; their arguments are the last of `arg_pool`.
//!
//! Cost: one walk backwards over the instructions, and one forwards if any is dropped.

use crate::ir::entities::{Inst, Value};
use crate::ir::opcode::Opcode;
use crate::ir::program::{InstData, Span, ValueData, ValueDef};
use cranelift_entity::PrimaryMap;

type Values = PrimaryMap<Value, ValueData>;

/// Marks in `dropped` the instructions without use, and drops their uses. Outputs and terminator
/// are counted as uses.
pub(crate) fn mark_unused(
    insts: &[InstData],
    dropped: &mut [bool],
    values: &mut Values,
    arg_pool: &[Value],
) {
    for (inst, dropped) in insts.iter().zip(dropped).rev() {
        let Some(result) = inst.result.expand() else { continue };
        if values[result].uses == 0 && is_removable(inst.opcode) {
            *dropped = true;
            drop_inst(inst, values, arg_pool);
        }
    }
}

/// Takes an instruction's uses and result away. The caller marks it as dropped.
pub(crate) fn drop_inst(inst: &InstData, values: &mut Values, arg_pool: &[Value]) {
    for &arg in &arg_pool[inst.args.start as usize..inst.args.end as usize] {
        values[arg].uses -= 1;
    }
    if let Some(result) = inst.result.expand() {
        values[result].def = ValueDef::Unused;
        values[result].bits = 0;
    }
}

/// Takes the dropped instructions out, and their arguments.
pub(crate) fn remove_dropped(
    insts: &mut Vec<InstData>,
    dropped: &[bool],
    first_inst: u32,
    values: &mut Values,
    arg_pool: &mut Vec<Value>,
) {
    if !dropped.contains(&true) {
        return;
    }
    let mut next_arg = insts.first().map_or(arg_pool.len(), |inst| inst.args.start as usize);
    let mut next_inst = first_inst;
    let mut dropped = dropped.iter();
    insts.retain_mut(|inst| {
        if dropped.next() == Some(&true) {
            return false;
        }
        if let Some(result) = inst.result.expand() {
            values[result].def = ValueDef::Result(Inst::from_u32(next_inst));
        }
        next_inst += 1;
        arg_pool.copy_within(inst.args.start as usize..inst.args.end as usize, next_arg);
        let len = inst.args.len();
        inst.args = Span { start: next_arg as u32, end: (next_arg + len) as u32 };
        next_arg += len;
        true
    });
    arg_pool.truncate(next_arg);
}

/// Whether an instruction only computes or observes, and by compiled code's own means.
fn is_removable(opcode: Opcode) -> bool {
    opcode.implementation().computes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_fail_or_be_replaced_stays() {
        for opcode in [Opcode::ADD, Opcode::CLZ, Opcode::MULMOD, Opcode::GAS, Opcode::CALLER] {
            assert!(is_removable(opcode), "{opcode}");
        }
        for opcode in [Opcode::EXP, Opcode::MLOAD, Opcode::TLOAD, Opcode::ORIGIN, Opcode::NUMBER] {
            assert!(!is_removable(opcode), "{opcode}");
        }
    }
}
