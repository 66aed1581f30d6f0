//! Drops instructions whose result nobody uses, one block at a time, before its instructions
//! join the program's.
//!
//! Only what compiled code computes by itself is dropped: an instruction of revm may be one that a
//! chain has replaced. The static gas of a dropped instruction is charged nevertheless, and its
//! stack bounds hold, as both come from the bytecode.
//!
//! Cost: one walk backwards over the instructions, and one forwards if any is dropped.

use crate::ir::entities::{Inst, Value};
use crate::ir::opcode::Opcode;
use crate::ir::program::{InstData, Span, ValueData, ValueDef};
use cranelift_entity::PrimaryMap;

/// Drops the unused instructions of a block. `insts` are its instructions, of which the first has
/// the number `first_inst`; their arguments are the last of `arg_pool`. Outputs and terminator are
/// counted as uses.
pub(crate) fn remove_unused(
    insts: &mut Vec<InstData>,
    first_inst: u32,
    values: &mut PrimaryMap<Value, ValueData>,
    arg_pool: &mut Vec<Value>,
) {
    let mut found = false;
    for inst in insts.iter().rev() {
        let Some(result) = inst.result.expand() else { continue };
        if values[result].uses == 0 && is_removable(inst.opcode) {
            found = true;
            values[result].def = ValueDef::Unused;
            values[result].bits = 0;
            for arg in &arg_pool[inst.args.start as usize..inst.args.end as usize] {
                values[*arg].uses -= 1;
            }
        }
    }
    if found {
        close_gaps(insts, first_inst, values, arg_pool);
    }
}

/// Takes the instructions out whose result is [`ValueDef::Unused`], and their arguments.
fn close_gaps(
    insts: &mut Vec<InstData>,
    first_inst: u32,
    values: &mut PrimaryMap<Value, ValueData>,
    arg_pool: &mut Vec<Value>,
) {
    let mut next_arg = insts.first().map_or(arg_pool.len(), |inst| inst.args.start as usize);
    let mut next_inst = first_inst;
    insts.retain_mut(|inst| {
        let result = inst.result.expand();
        if result.is_some_and(|result| values[result].def == ValueDef::Unused) {
            return false;
        }
        if let Some(result) = result {
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
    let is_computed = opcode.get() <= Opcode::CLZ.get()
        || matches!(
            opcode,
            Opcode::ADDRESS
                | Opcode::CALLER
                | Opcode::CALLVALUE
                | Opcode::CALLDATALOAD
                | Opcode::CALLDATASIZE
                | Opcode::RETURNDATASIZE
                | Opcode::MSIZE
                | Opcode::GAS
        );
    is_computed && opcode.effects().is_removable()
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
