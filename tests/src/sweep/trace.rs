//! Where the gas of a transaction goes, instruction by instruction, and the gas limits that follow
//! from it.
//!
//! Between a charge that depends on operands or state and the end of its basic block, the
//! interpreter may stop at any instruction, while compiled code has charged all of the block's
//! static gas at its head. So each gas limit of that stretch is of interest. Inside one charge only
//! the limits at which a part of it can be paid are: `PRICES`.

use crate::{
    case::Case,
    engines::{TestContext, inspected_evm},
};
use revm::{
    ExecuteCommitEvm, InspectEvm, Inspector,
    bytecode::opcode::*,
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, Interpreter,
        instructions::gas_table_spec,
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LoopControl},
    },
    primitives::hardfork::SpecId,
};
use std::{collections::BTreeSet, ops::RangeInclusive};

/// What parts of a charge cost in some fork.
const PRICES: [u64; 11] = [100, 200, 700, 800, 2_100, 2_300, 2_600, 2_900, 5_000, 20_000, 22_100];

/// A charge up to this is one of which all limits are run.
const SMALL_CHARGE: u64 = 48;

/// Limits below the end of a charge, and beyond the end of a block, that are run too: what compiled
/// code has charged ahead might be taken for gas that is left.
const MARGIN: u64 = 32;

/// Limits from an instruction that fails on, whatever the gas: about what a block's instructions
/// after it cost, which a trace can't show.
const AFTER_FAILURE: u64 = 160;

/// An instruction of the outermost frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it stands.
    pub pc: usize,
    /// Its opcode.
    pub opcode: u8,
    /// Gas spent before it, what the transaction costs beforehand included.
    pub spent: u64,
    /// What it charged. A call charges what it gives away.
    pub cost: u64,
    /// Whether that isn't its static gas.
    pub is_dynamic: bool,
    /// Whether it ended the frame, and isn't meant to.
    pub failed: bool,
}

impl Step {
    /// Whether a basic block ends after it, whatever comes.
    const fn ends_block(&self) -> bool {
        matches!(self.opcode, JUMP | JUMPI | CREATE | CREATE2)
            || matches!(self.opcode, CALL | CALLCODE | DELEGATECALL | STATICCALL)
    }
}

/// The instructions of a case's only transaction, as the interpreter executes them.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// In order.
    pub steps: Vec<Step>,
}

impl Trace {
    /// Runs a case on the interpreter.
    pub fn of(case: &Case) -> Self {
        let gas_limit = case.transactions[0].gas_limit;
        let mut evm = inspected_evm(case, Tracer::new(case.spec, gas_limit.min(case.gas_cap)));
        if let Ok(executed) = evm.inspect_tx(case.transactions[0].to_env(0)) {
            evm.commit(executed.state);
        }
        Self { steps: evm.inspector.steps }
    }

    /// The gas limits that are run for the instructions from `pc` on. `everything` adds all that
    /// end the frame inside a charge.
    pub fn gas_limits(&self, pc: usize, everything: bool) -> BTreeSet<u64> {
        let mut limits = BTreeSet::new();
        for (index, step) in self.steps.iter().enumerate().filter(|(_, step)| step.pc >= pc) {
            let before = index.checked_sub(1).map(|before| &self.steps[before]);
            let starts_block = step.opcode == JUMPDEST || before.is_none_or(Step::ends_block);
            if starts_block {
                limits.extend(step.spent.saturating_sub(1)..=step.spent + 1);
            }
            if step.failed {
                limits.extend(step.spent..=step.spent + AFTER_FAILURE);
            }
            if step.is_dynamic {
                limits.extend(charge_limits(step, everything));
                self.add_rest(index, everything, &mut limits);
            }
        }
        limits
    }

    /// Adds the limits from the end of a charge to the next one or the end of its block: those at
    /// which each instruction can just be paid, and those with one more; with `everything` all. What
    /// comes within the next charge is that one's.
    fn add_rest(&self, index: usize, everything: bool, limits: &mut BTreeSet<u64>) {
        let mut from = self.steps[index].spent + self.steps[index].cost;
        for step in &self.steps[index + 1..] {
            limits.extend(from..=step.spent + 1);
            from = step.spent + step.cost;
            if everything && !step.is_dynamic {
                limits.extend(step.spent..=from);
            }
            if step.opcode == JUMPDEST || step.ends_block() || step.is_dynamic {
                break;
            }
        }
        limits.extend(from..=from + MARGIN);
    }
}

/// The limits at which an instruction can pay a part of its charge.
fn charge_limits(step: &Step, everything: bool) -> BTreeSet<u64> {
    let Step { spent, cost, .. } = *step;
    if cost <= SMALL_CHARGE || everything {
        return (spent..=spent + cost + 1).collect();
    }
    let around = |price: u64| -> RangeInclusive<u64> { spent + price - 1..=spent + price + 1 };
    let parts = PRICES.into_iter().filter(|&price| price < cost).flat_map(around);
    parts.chain(spent..=spent + 2).chain(spent + cost - MARGIN..=spent + cost + 1).collect()
}

/// The inspector that records.
struct Tracer {
    static_gas: [u16; 256],
    gas_limit: u64,
    depth: usize,
    steps: Vec<Step>,
}

impl Tracer {
    fn new(spec: SpecId, gas_limit: u64) -> Self {
        let table = gas_table_spec(spec);
        let static_gas = std::array::from_fn(|byte| table[byte]);
        Self { static_gas, gas_limit, depth: 0, steps: Vec::new() }
    }
}

impl Inspector<TestContext, EthInterpreter> for Tracer {
    fn step(&mut self, frame: &mut Interpreter<EthInterpreter>, _: &mut TestContext) {
        if self.depth == 1 {
            let spent = self.gas_limit - frame.gas.remaining();
            let (pc, opcode) = (frame.bytecode.pc(), frame.bytecode.opcode());
            self.steps.push(Step { pc, opcode, spent, cost: 0, is_dynamic: false, failed: false });
        }
    }

    fn step_end(&mut self, frame: &mut Interpreter<EthInterpreter>, _: &mut TestContext) {
        if self.depth != 1 {
            return;
        }
        let Some(step) = self.steps.last_mut() else { return };
        step.cost = (self.gas_limit - frame.gas.remaining()).saturating_sub(step.spent);
        let failed = frame.bytecode.is_end() && !matches!(step.opcode, STOP | RETURN | REVERT);
        step.is_dynamic = !failed && step.cost != u64::from(self.static_gas[step.opcode as usize]);
    }

    fn call(&mut self, _: &mut TestContext, _: &mut CallInputs) -> Option<CallOutcome> {
        self.depth += 1;
        None
    }

    fn call_end(&mut self, _: &mut TestContext, _: &CallInputs, _: &mut CallOutcome) {
        self.depth -= 1;
    }

    fn create(&mut self, _: &mut TestContext, _: &mut CreateInputs) -> Option<CreateOutcome> {
        self.depth += 1;
        None
    }

    fn create_end(&mut self, _: &mut TestContext, _: &CreateInputs, _: &mut CreateOutcome) {
        self.depth -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembly::Assembly;

    fn trace() -> Trace {
        // A cold SLOAD in a block of its own, then a jump over nothing.
        let mut asm = Assembly::new();
        let end = asm.new_label();
        let asm = asm.push(7).op(SLOAD).op(CALLVALUE).push_label(end).op(JUMP).label(end).op(STOP);
        Trace::of(&Case::new(SpecId::CANCUN, asm.code()))
    }

    #[test]
    fn steps_say_what_was_charged() {
        let steps = trace().steps;
        let charges: Vec<_> = steps.iter().map(|step| (step.opcode, step.cost)).collect();
        let expected =
            [(PUSH1, 3), (SLOAD, 2100), (CALLVALUE, 2), (PUSH2, 3), (JUMP, 8), (JUMPDEST, 1)];
        assert_eq!(charges[..6], expected);
        assert_eq!(steps.iter().filter(|step| step.is_dynamic).count(), 1);
        assert_eq!((steps[1].pc, steps[1].spent), (2, 21_003));
    }

    #[test]
    fn all_limits_to_the_end_of_the_block_are_run() {
        let limits = trace().gas_limits(1, false);
        let (charged, end) = (21_003 + 2_100, 21_003 + 2_100 + 13);
        assert!((charged - MARGIN..=charged + 3).all(|limit| limits.contains(&limit)));
        assert!((end..=end + MARGIN).all(|limit| limits.contains(&limit)));
        let all = trace().gas_limits(1, true);
        assert!((charged - MARGIN..=end + MARGIN).all(|limit| all.contains(&limit)));
        assert!([21_003, 21_102, 21_103, 21_104].iter().all(|limit| limits.contains(limit)));
        assert!(!limits.contains(&22_000), "nothing can be paid there that couldn't before");
        assert!(trace().gas_limits(1, true).contains(&22_000));
    }
}
