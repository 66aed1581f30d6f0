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
