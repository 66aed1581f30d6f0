//! What two engines must agree on after a transaction, and where they don't.

use alloy_primitives::{Address, U256};
use revm::{
    context_interface::result::{ExecutionResult, HaltReason, ResultAndState},
    state::{Account, EvmState},
};

/// What a transaction did.
pub type Outcome = ResultAndState<HaltReason>;

/// The differences between two outcomes of one transaction, one line each; none if they agree.
///
/// Compared are the result with its halt reason, gas (with refund, floor and state gas), output,
/// logs, and every account and slot that was loaded, so the access list too.
pub fn differences(expected: &Outcome, got: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    let mut check = |what: &str, expected: String, got: String| {
        if expected != got {
            lines.push(format!("{what}: expected {expected}, got {got}"));
        }
    };
    let (a, b) = (&expected.result, &got.result);
    check("result", describe(a), describe(b));
    check("gas", format!("{:?}", a.gas()), format!("{:?}", b.gas()));
    let output = |result: &ExecutionResult| format!("{:?}", result.output());
    check("output", output(a), output(b));
    check("logs", format!("{:?}", a.logs()), format!("{:?}", b.logs()));
    let created = |result: &ExecutionResult| format!("{:?}", result.created_address());
    check("created address", created(a), created(b));
    lines.extend(state_differences(&expected.state, &got.state));
    lines
}

/// A result in a few words, such as `success (Return)`.
pub fn describe(result: &ExecutionResult) -> String {
    match result {
        ExecutionResult::Success { reason, .. } => format!("success ({reason:?})"),
        ExecutionResult::Revert { .. } => "revert".into(),
        ExecutionResult::Halt { reason, .. } => format!("halt ({reason:?})"),
    }
}

fn state_differences(expected: &EvmState, got: &EvmState) -> Vec<String> {
    let mut addresses: Vec<&Address> = expected.keys().chain(got.keys()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut lines = Vec::new();
    for address in addresses {
        match (expected.get(address), got.get(address)) {
            (Some(expected), Some(got)) => account_differences(address, expected, got, &mut lines),
            (Some(_), None) => lines.push(format!("account {address}: not loaded")),
            (None, _) => lines.push(format!("account {address}: loaded, and should not be")),
        }
    }
    lines
}

fn account_differences(
    address: &Address,
    expected: &Account,
    got: &Account,
    lines: &mut Vec<String>,
) {
    let mut check = |what: &str, expected: String, got: String| {
        if expected != got {
            lines.push(format!("account {address}, {what}: expected {expected}, got {got}"));
        }
    };
    let (a, b) = (&expected.info, &got.info);
    check("balance", a.balance.to_string(), b.balance.to_string());
    check("nonce", a.nonce.to_string(), b.nonce.to_string());
    check("code hash", a.code_hash.to_string(), b.code_hash.to_string());
    check("status", format!("{:?}", expected.status), format!("{:?}", got.status));
    let mut keys: Vec<&U256> = expected.storage.keys().chain(got.storage.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let slot = |account: &Account| match account.storage.get(key) {
            Some(slot) => format!(
                "{:#x} (was {:#x}{})",
                slot.present_value,
                slot.original_value,
                if slot.is_cold { ", cold" } else { "" }
            ),
            None => "not loaded".into(),
        };
        check(&format!("slot {key:#x}"), slot(expected), slot(got));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contract, Engine, EngineRunner};
    use revm::primitives::hardfork::SpecId;

    fn outcome(code: &str) -> Outcome {
        let fixture = Contract::resolve(code).unwrap().into_fixture();
        let runner = EngineRunner::interpreter();
        assert_eq!(runner.engine(), Engine::Interpreter);
        runner.session(&fixture.environment(SpecId::OSAKA), fixture.database()).run().unwrap()
    }

    /// PUSH value, PUSH slot, SSTORE, STOP, and one byte that is only the code's hash.
    fn store(value: u8, slot: u8) -> Outcome {
        outcome(&format!("60{value:02x}60{slot:02x}5500"))
    }

    #[test]
    fn an_outcome_agrees_with_itself() {
        assert!(differences(&store(1, 2), &store(1, 2)).is_empty());
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let lines = differences(&store(1, 2), &store(3, 2)).join("\n");
        assert!(lines.contains("slot 0x2: expected 0x1 (was 0x0), got 0x3"), "{lines}");
        let lines = differences(&store(1, 2), &store(1, 4)).join("\n");
        assert!(lines.contains("slot 0x2") && lines.contains("not loaded"), "{lines}");
        let lines = differences(&outcome("60006000f3"), &outcome("60006000fd")).join("\n");
        assert!(lines.contains("result: expected success (Return), got revert"), "{lines}");
        let lines = differences(&outcome("fe"), &outcome("0c")).join("\n");
        assert!(lines.contains("halt (InvalidFEOpcode), got halt (OpcodeNotFound)"), "{lines}");
        let lines = differences(&outcome("60016000f3"), &outcome("60026000f3")).join("\n");
        assert!(lines.contains("output: "), "{lines}");
        let lines = differences(&outcome("60006000a000"), &outcome("600060006000a100")).join("\n");
        assert!(lines.contains("logs: ") && lines.contains("gas: "), "{lines}");
        // An account that is only looked at is a difference too.
        let lines = differences(&outcome("6077"), &outcome("607731")).join("\n");
        assert!(lines.contains("loaded, and should not be"), "{lines}");
    }
}
