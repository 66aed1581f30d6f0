//! The one listed exception to equality: two failures racing inside one basic block.
//!
//! Native code charges the static gas of a block at its start. When a dynamic charge in the
//! block then fails, the interpreter (which hasn't charged the later instructions yet) may pass
//! it and fail at a later instruction of the same block. Both engines fail in the same frame and
//! both burn its gas; three things may differ:
//!
//! - the halt *reason*, by the pairs that [`may_race`] lists;
//! - reads of the database between the two points of failure, which only the interpreter makes;
//! - accounts and slots loaded by those reads, unchanged and untouched.
//!
//! A frame that fails inside the transaction has no visible reason, so the last two may differ in
//! a transaction that succeeds. That is accepted only if the interpreter really had a frame that
//! failed for a reason of the list, which an inspector tells.

use crate::{
    case::Case,
    engines::{TestContext, inspected_evm},
    observation::{Execution, Observation, Outcome},
};
use alloy_primitives::Address;
use revm::{
    ExecuteCommitEvm, InspectEvm, Inspector,
    context::result::{ExecutionResult, HaltReason, OutOfGasError},
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, InstructionResult,
        interpreter::EthInterpreter,
    },
    state::Account,
};
use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What native code may report: the failure of a dynamic charge.
const NATIVE_REASONS: [HaltReason; 4] = [
    HaltReason::OutOfGas(OutOfGasError::Basic),
    HaltReason::OutOfGas(OutOfGasError::Memory),
    HaltReason::OutOfGas(OutOfGasError::InvalidOperand),
    HaltReason::OutOfGas(OutOfGasError::ReentrancySentry),
];

/// What the interpreter may report instead: it runs out of gas at the latest at the block's last
/// instruction, and may meet one of the other failures before.
const INTERPRETER_REASONS: [HaltReason; 5] = [
    HaltReason::OutOfGas(OutOfGasError::Basic),
    HaltReason::OutOfGas(OutOfGasError::Memory),
    HaltReason::OutOfGas(OutOfGasError::InvalidOperand),
    HaltReason::OutOfGas(OutOfGasError::ReentrancySentry),
    HaltReason::OutOfOffset,
];

/// A pair of halt reasons of one frame: the interpreter's and native code's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Race {
    /// Reported by the interpreter.
    pub interpreter: HaltReason,
    /// Reported by native code. The same as the interpreter's where only loads differ.
    pub native: HaltReason,
}

impl fmt::Display for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interpreter {:?}, native {:?}", self.interpreter, self.native)
    }
}

/// Whether a frame may fail so on the interpreter and so natively.
pub fn may_race(interpreter: &HaltReason, native: &HaltReason) -> bool {
    INTERPRETER_REASONS.contains(interpreter) && NATIVE_REASONS.contains(native)
}

/// Explains a difference of two observations as a race, or returns `None`: then it is a
/// miscompilation. Runs the interpreter once more, inspected.
pub fn explain(case: &Case, interpreter: &Observation, native: &Observation) -> Option<Vec<Race>> {
    if interpreter.outcomes.len() != native.outcomes.len() {
        return None;
    }
    // Native code may only lack reads.
    let mut spare = interpreter.reads.clone();
    for read in &native.reads {
        let at = spare.iter().position(|other| other == read)?;
        spare.swap_remove(at);
    }
    let mut races = Vec::new();
    for (left, right) in interpreter.outcomes.iter().zip(&native.outcomes) {
        if left == right {
            continue;
        }
        let (Outcome::Executed(left), Outcome::Executed(right)) = (left, right) else {
            return None;
        };
        races.extend(explain_execution(left, right)?);
    }
    if races.is_empty() {
        // Only loads differ: a failed inner frame must account for them.
        let reason = failed_frames(case).into_iter().find(|r| INTERPRETER_REASONS.contains(r))?;
        races.push(Race { interpreter: reason.clone(), native: reason });
    }
    Some(races)
}

fn explain_execution(left: &Execution, right: &Execution) -> Option<Option<Race>> {
    if changes(&left.state) != changes(&right.state) {
        return None;
    }
    if left.result == right.result {
        return Some(None);
    }
    match (&left.result, &right.result) {
        (
            ExecutionResult::Halt { reason: interpreter, gas, logs },
            ExecutionResult::Halt { reason: native, gas: native_gas, logs: native_logs },
        ) if (gas, logs) == (native_gas, native_logs) && may_race(interpreter, native) => {
            Some(Some(Race { interpreter: interpreter.clone(), native: native.clone() }))
        }
        _ => None,
    }
}

/// The accounts that were touched, with the slots that were changed: what reaches a database.
fn changes(state: &BTreeMap<Address, Account>) -> BTreeMap<Address, Account> {
    let touched = state.iter().filter(|(_, account)| account.is_touched());
    let mut changes: BTreeMap<_, _> = touched.map(|(a, account)| (*a, account.clone())).collect();
    for account in changes.values_mut() {
        account.storage.retain(|_, slot| slot.is_changed());
    }
    changes
}

/// How the exceptionally halted frames of a case end on the interpreter.
fn failed_frames(case: &Case) -> Vec<HaltReason> {
    let mut evm = inspected_evm(case, FailureRecorder::default());
    for (nonce, transaction) in case.transactions.iter().enumerate() {
        let tx = transaction.to_env(nonce as u64);
        match catch_unwind(AssertUnwindSafe(|| evm.inspect_tx(tx))) {
            Ok(Ok(executed)) => evm.commit(executed.state),
            // What follows an error of the database can't be told from here.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    evm.inspector.reasons
}

/// An inspector that collects the reasons of exceptional halts.
#[derive(Debug, Default)]
struct FailureRecorder {
    reasons: Vec<HaltReason>,
}

impl FailureRecorder {
    fn record(&mut self, result: InstructionResult) {
        let kind = match result {
            InstructionResult::OutOfGas => OutOfGasError::Basic,
            InstructionResult::MemoryOOG => OutOfGasError::Memory,
            InstructionResult::InvalidOperandOOG => OutOfGasError::InvalidOperand,
            InstructionResult::ReentrancySentryOOG => OutOfGasError::ReentrancySentry,
            InstructionResult::OutOfOffset => {
                self.reasons.push(HaltReason::OutOfOffset);
                return;
            }
            _ => return,
        };
        self.reasons.push(HaltReason::OutOfGas(kind));
    }
}

impl Inspector<TestContext, EthInterpreter> for FailureRecorder {
    fn call_end(&mut self, _: &mut TestContext, _: &CallInputs, outcome: &mut CallOutcome) {
        self.record(outcome.result.result);
    }

    fn create_end(&mut self, _: &mut TestContext, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.record(outcome.result.result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_pairs_race() {
        let basic = HaltReason::OutOfGas(OutOfGasError::Basic);
        let memory = HaltReason::OutOfGas(OutOfGasError::Memory);
        assert!(may_race(&basic, &memory) && may_race(&HaltReason::OutOfOffset, &memory));
        assert!(!may_race(&HaltReason::StackUnderflow, &basic));
        assert!(!may_race(&basic, &HaltReason::OutOfOffset));
        assert!(!may_race(&basic, &HaltReason::InvalidJump));
    }
}
