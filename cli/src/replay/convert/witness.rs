//! State from an execution witness: `debug_executionWitness`.
//!
//! It has the nodes of the tries on the way to what the block reads, the codes that it executes,
//! the addresses and slots that are meant by hashed keys, and the headers of earlier blocks. All
//! but the keys is checked by hashes, from the parent's hash on.

use super::{
    RpcBlock, State,
    trie::{self, Nodes, TrieError},
};
use crate::replay::AccountJson;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U64, U256, keccak256};
use alloy_rlp::{Decodable, Header};
use alloy_trie::TrieAccount;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// Fields of a header in RLP, by their order.
const STATE_ROOT: usize = 3;
const NUMBER: usize = 8;

/// A witness.
#[derive(Clone, Debug, Deserialize)]
pub struct Witness {
    /// Nodes of tries.
    state: Items,
    /// Codes.
    #[serde(default)]
    codes: Items,
    /// Addresses (20 bytes) and slots (32 bytes).
    #[serde(default)]
    keys: Items,
    /// Headers, in RLP.
    #[serde(default)]
    headers: Items,
}

/// A list, or, as older nodes answer, a map by hashes, which are computed anew.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Items {
    List(Vec<Bytes>),
    ByHash(BTreeMap<B256, Bytes>),
}

impl Default for Items {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Items {
    fn iter(&self) -> Box<dyn Iterator<Item = &Bytes> + '_> {
        match self {
            Self::List(items) => Box::new(items.iter()),
            Self::ByHash(items) => Box::new(items.values()),
        }
    }
}

/// A witness that isn't one of the block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// The parent's header isn't there.
    #[error("headers: none has the hash of the block's parent, {0}")]
    NoParent(B256),
    /// A header can't be read.
    #[error("headers[{index}]: {error}")]
    Header {
        /// Which.
        index: usize,
        /// Why.
        error: alloy_rlp::Error,
    },
    /// Without the keys nobody can tell whose account a leaf is.
    #[error("keys: there are none, so nobody can tell addresses and slots from their hashes")]
    NoKeys,
    /// The trie of accounts can't be read.
    #[error("state: {0}")]
    Accounts(TrieError),
    /// An account can't be read.
    #[error("state, account {address}: {error}")]
    Account {
        /// Which.
        address: Address,
        /// Why.
        error: TrieError,
    },
}

impl State {
    /// What `block` reads, by its witness.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn of_witness(block: &RpcBlock, witness: &Witness) -> Result<Self, WitnessError> {
        let mut state = Self::default();
        let root = state.add_headers(block.header.parent_hash, witness)?;
        for code in witness.codes.iter() {
            state.add_code(code.clone());
        }
        let mut nodes = Nodes::new(witness.state.iter().map(AsRef::as_ref));
        let keys = Keys::of(witness);
        if keys.addresses.is_empty() {
            return Err(WitnessError::NoKeys);
        }
        for (hashed, bytes) in trie::leaves(root, &mut nodes).map_err(WitnessError::Accounts)? {
            // A neighbour on the way to what is read, unless it is known.
            let Some(&address) = keys.addresses.get(&hashed) else { continue };
            let account = account(&bytes, &mut nodes, &keys)
                .map_err(|error| WitnessError::Account { address, error })?;
            state.accounts.insert(address, account);
        }
        Ok(state)
    }

    /// Keeps the hashes of headers; the state root of the parent.
    fn add_headers(&mut self, parent: B256, witness: &Witness) -> Result<B256, WitnessError> {
        let mut root = None;
        for (index, header) in witness.headers.iter().enumerate() {
            let hash = keccak256(header);
            let (state_root, number) =
                fields(header).map_err(|error| WitnessError::Header { index, error })?;
            self.hashes.insert(number, hash);
            if hash == parent {
                root = Some(state_root);
            }
        }
        root.ok_or(WitnessError::NoParent(parent))
    }
}

/// State root and number of a header.
fn fields(mut header: &[u8]) -> alloy_rlp::Result<(B256, u64)> {
    let mut payload = Header::decode_bytes(&mut header, true)?;
    let (mut root, mut number) = (B256::ZERO, 0);
    for field in 0..=NUMBER {
        match field {
            STATE_ROOT => root = B256::decode(&mut payload)?,
            NUMBER => number = u64::decode(&mut payload)?,
            _ => {
                Header::decode_bytes(&mut payload, false)?;
            }
        }
    }
    Ok((root, number))
}

/// What hashed keys stand for.
struct Keys {
    addresses: HashMap<B256, Address>,
    slots: HashMap<B256, U256>,
}

impl Keys {
    fn of(witness: &Witness) -> Self {
        let mut keys = Self { addresses: HashMap::new(), slots: HashMap::new() };
        for key in witness.keys.iter() {
            if let Ok(address) = Address::try_from(key.as_ref()) {
                keys.addresses.insert(keccak256(address), address);
            } else if let Ok(slot) = B256::try_from(key.as_ref()) {
                keys.slots.insert(keccak256(slot), slot.into());
            }
        }
        keys
    }
}

/// An account with the slots that are there.
fn account(mut bytes: &[u8], nodes: &mut Nodes<'_>, keys: &Keys) -> Result<AccountJson, TrieError> {
    let account = TrieAccount::decode(&mut bytes).map_err(TrieError::Node)?;
    let mut storage = BTreeMap::new();
    // Without its root nothing of it is read.
    if nodes.has(account.storage_root) {
        for (hashed, value) in trie::leaves(account.storage_root, nodes)? {
            let Some(&slot) = keys.slots.get(&hashed) else { continue };
            storage.insert(slot, U256::decode(&mut &value[..]).map_err(TrieError::Node)?);
        }
    }
    Ok(AccountJson {
        balance: account.balance,
        nonce: U64::from(account.nonce),
        code_hash: Some(account.code_hash).filter(|hash| *hash != KECCAK256_EMPTY),
        storage,
    })
}
