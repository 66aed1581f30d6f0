//! Regions: runs of blocks that only their first leads to, checked and charged at its head.
//!
//! A block without an entry point is entered only from the block before it. Its stack bounds are
//! checked at the region's head, and its static gas is charged there too, as long as no instruction
//! in between charges gas by its operands (which must see what is really left). A branch out of the
//! region gives back the gas of the blocks that it skips. The checks may be stricter than a path
//! needs: then the interpreter finds that all is well.

use super::Translator;
use cranevm_passes::ir::{entities::Block, opcode::Opcode, program::StackEffect};

/// What a block's head does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadPlan {
    /// The stack bounds to check; `None` where the region's head has checked them.
    pub(super) bounds: Option<StackEffect>,
    /// Static gas to charge: that of this block and of the following ones that are charged with it.
    pub(super) charge: u64,
    /// Whether this block's own gas is charged at an earlier head.
    pub(super) is_charged: bool,
    /// Static gas, already charged, of the region's blocks after this one.
    pub(super) gas_rest: u64,
}

impl Translator<'_, '_> {
    /// Whether a block is entered only by falling through from the block before it, so that what
    /// that one knows holds here.
    pub(super) fn is_covered(&self, block: Block) -> bool {
        self.program.blocks[block].entry.is_none()
    }

    /// Plans the heads of a chunk's blocks.
    pub(super) fn plan_heads(&self, blocks: &[Block]) -> Vec<HeadPlan> {
        let mut plans = vec![HeadPlan::default(); blocks.len()];
        let (mut region, mut gas_rest) = (None, 0);
        for (index, &block) in blocks.iter().enumerate().rev() {
            let data = &self.program.blocks[block];
            let plan = &mut plans[index];
            let bounds = merge_bounds(data.stack, region);
            plan.gas_rest = gas_rest;
            plan.charge = data.gas + gas_rest;
            let is_covered = self.is_covered(block);
            (region, plan.bounds) =
                if is_covered { (Some(bounds), None) } else { (None, Some(bounds)) };
            let leader = index.checked_sub(1).filter(|_| is_covered).map(|before| blocks[before]);
            plan.is_charged = leader.is_some_and(|leader| !self.charges_by_operands(leader));
            gas_rest = if plan.is_charged { plan.charge } else { 0 };
            if plan.is_charged {
                plan.charge = 0;
            }
        }
        plans
    }

    /// Whether an instruction of the block may charge gas beyond its static cost, or end the frame.
    fn charges_by_operands(&self, block: Block) -> bool {
        self.program.block_insts(block).any(|inst| !is_plain(self.program.insts[inst].opcode))
    }
}

/// The bounds of a block together with those of the rest of its region.
fn merge_bounds(own: StackEffect, rest: Option<StackEffect>) -> StackEffect {
    let Some(rest) = rest else { return own };
    let delta = i32::from(own.delta);
    StackEffect {
        needed: own.needed.max(saturate(i32::from(rest.needed) - delta)),
        growth: own.growth.max(saturate(delta + i32::from(rest.growth))),
        delta: own.delta,
    }
}

fn saturate(words: i32) -> u16 {
    words.clamp(0, i32::from(u16::MAX)) as u16
}

/// Whether an opcode is done without a gas window: natively, or by a builtin that only computes.
/// Such an opcode can neither fail nor charge gas beyond its static cost.
pub(super) fn is_plain(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::ADD
            | Opcode::SUB
            | Opcode::MUL
            | Opcode::DIV
            | Opcode::MOD
            | Opcode::SDIV
            | Opcode::SMOD
            | Opcode::ADDMOD
            | Opcode::MULMOD
            | Opcode::AND
            | Opcode::OR
            | Opcode::XOR
            | Opcode::NOT
            | Opcode::ISZERO
            | Opcode::CLZ
            | Opcode::EQ
            | Opcode::LT
            | Opcode::GT
            | Opcode::SLT
            | Opcode::SGT
            | Opcode::SHL
            | Opcode::SHR
            | Opcode::SAR
            | Opcode::SIGNEXTEND
            | Opcode::CALLDATALOAD
            | Opcode::CALLDATASIZE
            | Opcode::RETURNDATASIZE
            | Opcode::MSIZE
            | Opcode::GAS
            | Opcode::ADDRESS
            | Opcode::CALLER
            | Opcode::CALLVALUE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranevm_passes::ir::effects::Effects;

    #[test]
    fn plain_opcodes_cannot_fail() {
        let plain: Vec<Opcode> =
            (0..=u8::MAX).map(Opcode::new).filter(|&op| is_plain(op)).collect();
        assert!(!plain.is_empty());
        for opcode in plain {
            assert!(!opcode.effects().intersects(Effects::FAILS), "{opcode}");
        }
    }
}
