//! Stack bounds and gas of blocks. Relies on what `dataflow` has verified.

use super::{Defect, Entity, VerifyError, ensure};
use crate::ir::entities::Block;
use crate::ir::program::{BlockData, Program, ValueDef};

/// Verifies that all slots touched are within the bounds.
pub(super) fn verify_stack(program: &Program) -> Result<(), VerifyError> {
    for (block, data) in program.blocks.iter() {
        check_slots(program, block, data)?;
    }
    Ok(())
}

fn check_slots(program: &Program, block: Block, data: &BlockData) -> Result<(), VerifyError> {
    let lowest = -i32::from(data.stack.needed);
    let highest = i32::from(data.stack.growth);
    let bounds = lowest..=highest;
    let entity = Entity::Block(block);

    let delta = i32::from(data.stack.delta);
    ensure(bounds.contains(&delta), entity, Defect::HeightOutOfBounds(delta))?;
    for inst in program.block_insts(block) {
        let entity = Entity::Inst(inst);
        let inst_data = &program.insts[inst];
        let before = i32::from(inst_data.height);
        let popped = before - inst_data.args.len() as i32;
        let after = popped + i32::from(inst_data.result.is_some());
        for height in [before, popped, after] {
            ensure(bounds.contains(&height), entity, Defect::HeightOutOfBounds(height))?;
        }
        for &arg in program.args(inst) {
            check_input(&program.values[arg].def, lowest, entity)?;
        }
    }

    let outputs = program.outputs(block);
    for output in outputs {
        let slot = i32::from(output.slot);
        let within = lowest <= slot && slot < delta;
        ensure(within, entity, Defect::SlotOutOfBounds(slot))?;
        check_input(&program.values[output.value].def, lowest, entity)?;
    }
    let found = outputs.iter().filter(|output| output.slot >= 0).count();
    let expected = delta.max(0) as usize;
    ensure(found == expected, entity, Defect::OutputMissing { found, expected })?;
    Ok(())
}

/// An input that is used lies within the words needed at entry.
fn check_input(def: &ValueDef, lowest: i32, user: Entity) -> Result<(), VerifyError> {
    match *def {
        ValueDef::Input(slot) => {
            let slot = i32::from(slot);
            ensure(lowest <= slot, user, Defect::SlotOutOfBounds(slot))
        }
        _ => Ok(()),
    }
}

/// Verifies that gas falls along each block by at least the gas of its instructions.
pub(super) fn verify_gas(program: &Program) -> Result<(), VerifyError> {
    for (block, data) in program.blocks.iter() {
        let mut left = data.gas;
        for inst in program.block_insts(block) {
            let inst_data = &program.insts[inst];
            let own = inst_data.opcode.static_gas(program.spec_id);
            let falls = left.checked_sub(own).is_some_and(|rest| inst_data.gas_after <= rest);
            ensure(falls, Entity::Inst(inst), Defect::GasGrows)?;
            left = inst_data.gas_after;
        }
    }
    Ok(())
}
