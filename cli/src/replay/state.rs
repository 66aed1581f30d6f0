//! The state that a block runs on: all in memory, as large as what the block reads.

use alloy_primitives::{Address, B256, U256};
use revm::{
    DatabaseRef,
    bytecode::Bytecode,
    database::{AccountState, CacheDB, DBErrorMarker, DbAccount},
    state::AccountInfo,
};
use std::collections::{BTreeSet, HashMap};

/// A block's state. Its clones share the codes.
pub type BlockDb = CacheDB<Absent>;

/// What lies below a block's state: nothing. Accounts and slots that a file doesn't have are
/// absent; a hash of an earlier block that it doesn't have is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Absent;

/// Something that the block reads and its file doesn't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingState {
    /// A hash of an earlier block.
    #[error("the hash of block {0} is missing")]
    BlockHash(u64),
    /// A code.
    #[error("the code of hash {0} is missing")]
    Code(B256),
}

impl DBErrorMarker for MissingState {}

impl DatabaseRef for Absent {
    type Error = MissingState;

    fn basic_ref(&self, _address: Address) -> Result<Option<AccountInfo>, MissingState> {
        Ok(None)
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, MissingState> {
        Err(MissingState::Code(code_hash))
    }

    fn storage_ref(&self, _address: Address, _slot: U256) -> Result<U256, MissingState> {
        Ok(U256::ZERO)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, MissingState> {
        Err(MissingState::BlockHash(number))
    }
}

/// Where two states differ, one line each; none if they agree.
pub(super) fn differences(expected: &BlockDb, got: &BlockDb) -> Vec<String> {
    let (expected, got) = (&expected.cache.accounts, &got.cache.accounts);
    let addresses: BTreeSet<&Address> = expected.keys().chain(got.keys()).collect();
    let mut lines = Vec::new();
    for address in addresses {
        match (expected.get(address), got.get(address)) {
            (Some(expected), Some(got)) if !is_equal(expected, got) => {
                lines.push(account_difference(address, expected, got));
            }
            (Some(_), Some(_)) => {}
            (Some(_), None) => lines.push(format!("account {address}: not loaded")),
            (None, _) => lines.push(format!("account {address}: loaded, and should not be")),
        }
    }
    lines
}

fn is_equal(a: &DbAccount, b: &DbAccount) -> bool {
    let is_there = |account: &DbAccount| account.account_state != AccountState::NotExisting;
    is_there(a) == is_there(b) && a.info == b.info && a.storage == b.storage
}

/// The first thing in which two accounts differ.
fn account_difference(address: &Address, expected: &DbAccount, got: &DbAccount) -> String {
    let (a, b) = (&expected.info, &got.info);
    let (state_a, state_b) = (&expected.account_state, &got.account_state);
    let slots: BTreeSet<&U256> = expected.storage.keys().chain(got.storage.keys()).collect();
    let slot = |map: &DbAccount, key: &U256| map.storage.get(key).copied();
    let differing =
        slots.into_iter().find(|key| slot(expected, key) != slot(got, key)).map(|key| {
            let text =
                |value: Option<U256>| value.map_or("not loaded".into(), |v| format!("{v:#x}"));
            (format!("slot {key:#x}"), text(slot(expected, key)), text(slot(got, key)))
        });
    let (what, expected, got) = [
        ("balance", a.balance.to_string(), b.balance.to_string()),
        ("nonce", a.nonce.to_string(), b.nonce.to_string()),
        ("code hash", a.code_hash.to_string(), b.code_hash.to_string()),
    ]
    .into_iter()
    .find(|(_, a, b)| a != b)
    .map(|(what, a, b)| (what.to_string(), a, b))
    .or(differing)
    .unwrap_or_else(|| ("state".into(), format!("{state_a:?}"), format!("{state_b:?}")));
    format!("account {address}, {what}: expected {expected}, got {got}")
}

/// Codes by their hashes, analysed once.
pub(super) type Codes = HashMap<B256, Bytecode>;
