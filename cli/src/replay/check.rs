//! Whether a block came to what its header says, and to the same on two engines.

use super::{
    block::{Expected, ReplayBlock},
    execute::Executed,
    state,
};
use crate::observation::describe;
use alloy_primitives::{B256, Bloom, Log, logs_bloom};
use alloy_rlp::{BufMut, Encodable, Header};
use alloy_trie::root::ordered_trie_root_encoded;
use revm::{context::TxEnv, context_interface::result::ExecutionResult};

/// Lines that are kept of what differs.
const MAX_LINES: usize = 8;

/// Where a block differs from its header, one line each; none if it agrees.
pub fn header_differences(block: &ReplayBlock, executed: &Executed) -> Vec<String> {
    let got = outcome(block, executed);
    let mut lines = Vec::new();
    if got.gas_used != block.expected.gas_used {
        let expected = block.expected.gas_used;
        lines.push(format!("gas used: the header has {expected}, got {}", got.gas_used));
    }
    if let (Some(expected), Some(got)) = (block.expected.receipts_root, got.receipts_root)
        && expected != got
    {
        lines.push(format!("receipts root: the header has {expected}, got {got}"));
    }
    lines
}

/// What the header of a block that did this says.
pub(super) fn outcome(block: &ReplayBlock, executed: &Executed) -> Expected {
    Expected {
        gas_used: executed.gas_used(),
        // Before Byzantium there is no such root: see `Expected`.
        receipts_root: (block.expected.receipts_root)
            .map(|_| receipts_root(&block.transactions, &executed.results)),
    }
}

/// Where two executions of a block differ: result, gas, output and logs of each transaction, and
/// the state after all. The first lines; none if they agree.
pub fn differences(expected: &Executed, got: &Executed) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, (a, b)) in expected.results.iter().zip(&got.results).enumerate() {
        if a != b {
            lines.push(result_difference(index, a, b));
        }
    }
    if expected.results.len() != got.results.len() {
        let counts = (expected.results.len(), got.results.len());
        lines.push(format!("transactions: expected {}, got {}", counts.0, counts.1));
    }
    lines.extend(state::differences(&expected.state, &got.state));
    lines.truncate(MAX_LINES);
    lines
}

/// The first thing in which two results of a transaction differ.
fn result_difference(index: usize, expected: &ExecutionResult, got: &ExecutionResult) -> String {
    let all = |result: &ExecutionResult| {
        [
            ("result", describe(result)),
            ("gas", format!("{:?}", result.gas())),
            ("output", format!("{:?}", result.output())),
            ("logs", format!("{:?}", result.logs())),
            ("created address", format!("{:?}", result.created_address())),
        ]
    };
    let (expected, got) = (all(expected), all(got));
    let differing = expected.iter().zip(&got).find(|(a, b)| a != b);
    match differing {
        Some(((what, a), (_, b))) => format!("transaction {index}, {what}: expected {a}, got {b}"),
        None => format!("transaction {index}: differs"),
    }
}

/// The root of the receipts' trie (EIP-2718, EIP-658).
fn receipts_root(transactions: &[TxEnv], results: &[ExecutionResult]) -> B256 {
    let mut cumulative_gas = 0;
    let receipts: Vec<Vec<u8>> = transactions
        .iter()
        .zip(results)
        .map(|(transaction, result)| {
            cumulative_gas += result.tx_gas_used();
            let logs = result.logs();
            let receipt = Receipt {
                is_success: result.is_success(),
                cumulative_gas,
                bloom: logs_bloom(logs),
                logs,
            };
            receipt.encode(transaction.tx_type)
        })
        .collect();
    ordered_trie_root_encoded(&receipts)
}

struct Receipt<'a> {
    is_success: bool,
    cumulative_gas: u64,
    bloom: Bloom,
    logs: &'a [Log],
}

impl Receipt<'_> {
    /// The bytes in the trie: the type but for legacy transactions, then the list.
    fn encode(&self, tx_type: u8) -> Vec<u8> {
        let Self { is_success, cumulative_gas, bloom, logs } = self;
        let payload_length = is_success.length()
            + cumulative_gas.length()
            + bloom.length()
            + alloy_rlp::list_length(logs);
        let mut bytes = Vec::with_capacity(payload_length + 8);
        if tx_type != 0 {
            bytes.put_u8(tx_type);
        }
        Header { list: true, payload_length }.encode(&mut bytes);
        is_success.encode(&mut bytes);
        cumulative_gas.encode(&mut bytes);
        bloom.encode(&mut bytes);
        alloy_rlp::encode_list(logs, &mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{Loader, Subject, synthetic_blocks};
    use alloy_primitives::{U256, b256};
    use std::path::Path;

    fn block() -> ReplayBlock {
        let (name, file) = synthetic_blocks().unwrap().swap_remove(0);
        Loader::default().block(Path::new(name), name, &file).unwrap()
    }

    fn run(block: &ReplayBlock) -> Executed {
        Subject::Interpreter.run(block, &mut || ()).unwrap()
    }

    #[test]
    fn no_receipts_have_the_root_of_the_empty_trie() {
        let empty = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
        assert_eq!(receipts_root(&[], &[]), empty);
    }

    #[test]
    fn a_wrong_header_is_noticed() {
        let mut block = block();
        let executed = run(&block);
        assert_eq!(header_differences(&block, &executed), Vec::<String>::new());
        block.expected.gas_used += 1;
        block.expected.receipts_root = Some(B256::ZERO);
        let lines = header_differences(&block, &executed);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("gas used: the header has"), "{lines:?}");
        assert!(lines[1].starts_with("receipts root: the header has 0x00"), "{lines:?}");
        block.expected = Expected { receipts_root: None, ..outcome(&block, &executed) };
        assert!(header_differences(&block, &executed).is_empty());
    }

    #[test]
    fn a_wrong_result_or_state_is_noticed() {
        let block = block();
        let expected = run(&block);
        assert_eq!(differences(&expected, &run(&block)), Vec::<String>::new());
        let with = |change: fn(&mut Executed)| {
            let mut got = run(&block);
            change(&mut got);
            differences(&expected, &got).join("\n")
        };
        let gas = with(|got| {
            let ExecutionResult::Success { gas, .. } = &mut got.results[3] else { panic!() };
            gas.set_total_gas_spent(gas.total_gas_spent() + 1);
        });
        assert!(gas.starts_with("transaction 3, gas: expected"), "{gas}");
        let logs = with(|got| {
            let logs = got.results.iter_mut().find_map(|result| match result {
                ExecutionResult::Success { logs, .. } if !logs.is_empty() => Some(logs),
                _ => None,
            });
            logs.unwrap().pop();
        });
        assert!(logs.contains(", logs: expected"), "{logs}");
        let missing = with(|got| {
            got.results.pop();
        });
        assert!(missing.starts_with("transactions: expected"), "{missing}");
        let slot = with(|got| {
            let mut accounts = got.state.cache.accounts.values_mut();
            let account = accounts.find(|account| !account.storage.is_empty()).unwrap();
            *account.storage.values_mut().next().unwrap() += U256::ONE;
        });
        assert!(slot.contains(", slot 0x"), "{slot}");
        let balance = with(|got| {
            got.state.cache.accounts.values_mut().next().unwrap().info.balance += U256::ONE;
        });
        assert!(balance.contains(", balance: expected"), "{balance}");
        let nobody = with(|got| got.state.cache.accounts.clear());
        assert!(nobody.contains("not loaded"), "{nobody}");
    }
}
