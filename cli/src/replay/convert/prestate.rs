//! State from the prestate tracer: `debug_traceBlockByNumber` with `{"tracer": "prestateTracer"}`.
//!
//! For each transaction it tells what that reads, as it is before the transaction. What a block
//! finds is therefore what is told first: who changes a thing has read it.

use super::State;
use crate::replay::{AccountJson, CodeJson};
use alloy_primitives::{Address, B256, U64, U256};
use serde::Deserialize;
use std::collections::{BTreeMap, btree_map::Entry};

/// What one transaction reads.
#[derive(Clone, Debug, Deserialize)]
pub struct Traced {
    /// Accounts, before it.
    result: BTreeMap<Address, TracedAccount>,
}

/// An account before a transaction. What isn't told is zero.
#[derive(Clone, Debug, Default, Deserialize)]
struct TracedAccount {
    #[serde(default)]
    balance: U256,
    #[serde(default)]
    nonce: u64,
    #[serde(default)]
    code: Option<CodeJson>,
    #[serde(default)]
    storage: BTreeMap<B256, B256>,
}

impl State {
    /// What all transactions of a block read.
    ///
    /// The tracer tells of accounts that aren't there as of empty ones: they are taken for absent,
    /// which is the same from Spurious Dragon on (EIP-161).
    pub fn of_traces(traces: Vec<Traced>) -> Self {
        let mut state = Self::default();
        for (address, account) in traces.into_iter().flat_map(|traced| traced.result) {
            state.add_traced(address, account);
        }
        let is_empty = |account: &AccountJson| {
            account.balance.is_zero() && account.nonce.is_zero() && account.code_hash.is_none()
        };
        state.accounts.retain(|_, account| !is_empty(account));
        state
    }

    fn add_traced(&mut self, address: Address, account: TracedAccount) {
        let TracedAccount { balance, nonce, code, storage } = account;
        let code_hash = code.and_then(|CodeJson(code)| self.add_code(code));
        let known = match self.accounts.entry(address) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(AccountJson {
                balance,
                nonce: U64::from(nonce),
                code_hash,
                storage: BTreeMap::new(),
            }),
        };
        for (slot, value) in storage {
            known.storage.entry(slot.into()).or_insert(value.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::address;

    #[test]
    fn what_is_told_first_is_what_the_block_finds() {
        const FIRST: Address = address!("0x00000000000000000000000000000000000000aa");
        let text = r#"[
            {"txHash": "0x01", "result": {
                "0x00000000000000000000000000000000000000aa": {"balance": "0x7", "nonce": 3,
                    "storage": {"0x0000000000000000000000000000000000000000000000000000000000000001":
                        "0x0000000000000000000000000000000000000000000000000000000000000005"}},
                "0x00000000000000000000000000000000000000bb": {"balance": "0x0"}}},
            {"result": {
                "0x00000000000000000000000000000000000000aa": {"balance": "0x9", "nonce": 4,
                    "code": "0x00",
                    "storage": {"0x0000000000000000000000000000000000000000000000000000000000000001":
                        "0x0000000000000000000000000000000000000000000000000000000000000006",
                        "0x0000000000000000000000000000000000000000000000000000000000000002":
                        "0x0000000000000000000000000000000000000000000000000000000000000008"}},
                "0x00000000000000000000000000000000000000bb": {"balance": "0x1"}}}
        ]"#;
        let state = State::of_traces(serde_json::from_str(text).unwrap());
        assert_eq!(state.accounts.keys().collect::<Vec<_>>(), [&FIRST]);
        let account = &state.accounts[&FIRST];
        assert_eq!((account.balance, account.nonce), (U256::from(7), U64::from(3)));
        assert_eq!(account.code_hash, None, "it was made by the first transaction");
        let slots = [(1, 5), (2, 8)].map(|(slot, value)| (U256::from(slot), U256::from(value)));
        assert_eq!(account.storage, BTreeMap::from(slots));
    }
}
