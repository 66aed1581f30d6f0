//! The head of a block: its static gas and stack bounds, and the exits that abnormal runs take.
//!
//! The checks come before anything of the block runs, so a failing one hands over, with the stack
//! written to memory, and revm's interpreter finds out what is wrong. A head that charges nothing
//! needs no check even where gas may be owed: nothing in such a block can be observed before the
//! gas is looked at again. Exits are shared by all blocks of a chunk.

use super::{STACK_WORD, Translator};
use crate::abi::{STATUS_HAND_OVER, offsets};
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, condcodes::IntCC, types};
use cranevm_passes::ir::{
    entities::{Block, Inst},
    program::StackEffect,
};
use revm_interpreter::{InstructionResult, interpreter::STACK_LIMIT};

/// Exits shared by a chunk's blocks, made when first needed.
#[derive(Debug, Default)]
pub(super) struct Exits {
    /// `(stack top, gas, pc)`: hands over.
    hand_over: Option<ir::Block>,
    /// `(status)`: ends with a builtin's status; the gas is in the context.
    fail: Option<ir::Block>,
    /// `(gas, status)`: ends with compiled code's own status.
    end: Option<ir::Block>,
    /// `(stack top, gas, pc)`: ends by a STOP.
    stop: Option<ir::Block>,
    /// `(stack top, gas, target, target's upper limbs)`: a dynamic jump.
    pub(super) jump: Option<ir::Block>,
}

impl Translator<'_, '_> {
    /// Emits a block's checks, and charges its static gas and that of the blocks charged with it.
    pub(super) fn emit_head(&mut self, block: Block, bounds: Option<StackEffect>) {
        let plan = self.plan;
        if self.counts_blocks {
            let out_of_budget = self.budget_check();
            let uncharged = self.uncharged_gas();
            self.hand_over_if(out_of_budget, block, uncharged);
        }
        self.hand_over_at_times(block);
        let gas = self.gas();
        let outside = bounds.and_then(|bounds| self.stack_check(bounds));
        let too_little = (plan.charge > 0).then(|| {
            let charge = self.b.ins().iconst(types::I64, plan.charge as i64);
            // Signed, for gas that is owed is below zero.
            self.b.ins().icmp(IntCC::SignedLessThan, gas, charge)
        });
        for flag in [outside, too_little].into_iter().flatten() {
            self.hand_over_if(flag, block, gas);
        }
        self.state.gas = Some(self.gas_with(plan.charge.wrapping_neg()));
    }

    /// The gas left at the block's start, if its static gas isn't charged before.
    pub(super) fn uncharged_gas(&mut self) -> ir::Value {
        let plan = self.plan;
        self.gas_with(if plan.is_charged { plan.total } else { 0 })
    }

    /// Checks the stack bounds of a region, or hands over.
    pub(super) fn check_stack(&mut self, block: Block, bounds: Option<StackEffect>) {
        if let Some(outside) = bounds.and_then(|bounds| self.stack_check(bounds)) {
            let gas = self.gas();
            self.hand_over_if(outside, block, gas);
        }
    }

    /// Static gas charged for what comes after an instruction, in its block and in the region.
    pub(super) fn gas_after(&self, inst: Inst) -> u64 {
        self.program.insts[inst].gas_after + self.plan.gas_rest
    }

    /// Gives back what was charged ahead for another way out of the block.
    pub(super) fn return_gas(&mut self, excess: u64) {
        self.state.gas = Some(self.gas_with(excess));
    }

    /// The gas left and some more, modulo 2^64.
    fn gas_with(&mut self, more: u64) -> ir::Value {
        let gas = self.gas();
        if more == 0 { gas } else { self.b.ins().iadd_imm_s(gas, more as i64) }
    }

    /// Hands over at a block's start if the flag is set.
    pub(super) fn hand_over_if(&mut self, flag: ir::Value, block: Block, gas: ir::Value) {
        let go_on = self.b.create_block();
        let hand_over = self.hand_over_block();
        let pc = i64::from(self.program.blocks[block].pc);
        // In a block of its own, what only the hand-over needs stays off the hot path.
        let leave = self.b.create_block();
        self.b.set_cold_block(leave);
        self.b.ins().brif(flag, leave, &[], go_on, &[]);
        self.b.switch_to_block(leave);
        self.write_back();
        let (stack, pc) = (self.stack_at(0), self.b.ins().iconst(types::I64, pc));
        self.b.ins().jump(hand_over, &[stack, gas, pc].map(BlockArg::Value));
        self.b.switch_to_block(go_on);
    }

    /// The flag of the stack being too low or too high, if it can be.
    fn stack_check(&mut self, bounds: StackEffect) -> Option<ir::Value> {
        let limit = STACK_LIMIT as i64;
        let (lowest, highest) = (i64::from(bounds.needed), limit - i64::from(bounds.growth));
        if highest < lowest {
            return Some(self.b.ins().iconst(types::I8, 1));
        }
        if lowest == 0 && highest == limit {
            return None;
        }
        let word = i64::from(STACK_WORD);
        let base = self.load_context(types::I64, offsets::STACK_BASE);
        let stack = self.stack();
        let height = self.b.ins().isub(stack, base);
        Some(if highest == limit {
            self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, height, lowest * word)
        } else {
            let above =
                if lowest == 0 { height } else { self.b.ins().iadd_imm_s(height, -lowest * word) };
            self.b.ins().icmp_imm_s(IntCC::UnsignedGreaterThan, above, (highest - lowest) * word)
        })
    }

    /// Counts a block; the flag of the count having run out.
    fn budget_check(&mut self) -> ir::Value {
        let budget = self.load_context(types::I64, offsets::BLOCK_BUDGET);
        let left = self.b.ins().iadd_imm_s(budget, -1);
        self.store_context(left, offsets::BLOCK_BUDGET);
        self.b.ins().icmp_imm_s(IntCC::SignedLessThan, left, 0)
    }

    fn exit_block(&mut self, params: usize) -> ir::Block {
        let block = self.b.create_block();
        self.b.set_cold_block(block);
        for _ in 0..params {
            self.b.append_block_param(block, types::I64);
        }
        block
    }

    /// The exit `(stack top, gas, pc)` that hands over.
    pub(super) fn hand_over_block(&mut self) -> ir::Block {
        match self.exits.hand_over {
            Some(block) => block,
            None => {
                let block = self.exit_block(3);
                *self.exits.hand_over.insert(block)
            }
        }
    }

    /// The exit `(status)` for builtins' failures.
    pub(super) fn fail_block(&mut self) -> ir::Block {
        match self.exits.fail {
            Some(block) => block,
            None => {
                let block = self.exit_block(1);
                *self.exits.fail.insert(block)
            }
        }
    }

    /// The exit `(gas, status)`.
    pub(super) fn end_block(&mut self) -> ir::Block {
        match self.exits.end {
            Some(block) => block,
            None => {
                let block = self.exit_block(2);
                *self.exits.end.insert(block)
            }
        }
    }

    /// The exit `(stack top, gas, pc)` of STOP.
    pub(super) fn stop_block(&mut self) -> ir::Block {
        match self.exits.stop {
            Some(block) => block,
            None => {
                let block = self.exit_block(3);
                *self.exits.stop.insert(block)
            }
        }
    }

    /// Emits the exits that were used.
    pub(super) fn emit_exits(&mut self) {
        let leaving = [
            (self.exits.hand_over, STATUS_HAND_OVER),
            (self.exits.stop, InstructionResult::Stop as u64),
        ];
        for (block, status) in leaving {
            let Some(block) = block else { continue };
            self.b.switch_to_block(block);
            let &[stack, gas, pc] = self.b.block_params(block) else { unreachable!("three") };
            self.store_context(stack, offsets::STACK_TOP);
            self.store_context(gas, offsets::GAS);
            self.store_context(pc, offsets::PC);
            self.return_status(status);
        }
        if let Some(block) = self.exits.fail {
            self.b.switch_to_block(block);
            let status = self.b.block_params(block)[0];
            self.b.ins().return_(&[status]);
        }
        if let Some(block) = self.exits.end {
            self.b.switch_to_block(block);
            let &[gas, status] = self.b.block_params(block) else { unreachable!("two") };
            self.store_context(gas, offsets::GAS);
            self.b.ins().return_(&[status]);
        }
    }

    fn return_status(&mut self, status: u64) {
        let status = self.b.ins().iconst(types::I64, status as i64);
        self.b.ins().return_(&[status]);
    }
}
