//! The file format of a block: as an Ethereum node tells it over JSON-RPC, with all state that it
//! reads. `docs/replay.md` describes it.
//!
//! Header and transactions keep the names and the hex strings of the RPC (`eth_getBlockByNumber`),
//! and fields that aren't named here are ignored.

use crate::hex;
use alloy_primitives::{Address, B256, Bytes, U64, U128, U256};
use revm::context_interface::transaction::{AccessList, SignedAuthorization};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::{borrow::Cow, collections::BTreeMap};

/// A file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BlockFile {
    /// The chain's id; 1 is Ethereum's mainnet.
    pub chain: u64,
    /// The block's header, also what the block must come to.
    pub header: HeaderJson,
    /// Transactions, in order.
    pub txs: Vec<TransactionJson>,
    /// All accounts that exist before the block and that it reads, but for those that it creates.
    pub accounts: BTreeMap<Address, AccountJson>,
    /// Hashes of earlier blocks, by number.
    #[serde(default)]
    pub hashes: BTreeMap<u64, B256>,
    /// Code by its hash. What isn't here is in a file `codes.json` or `codes.json.xz` in the same
    /// directory.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub codes: BTreeMap<B256, CodeJson>,
}

/// The fields of a header that matter to execution, or are compared with what it comes to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderJson {
    /// The parent's hash.
    pub parent_hash: B256,
    /// Number.
    pub number: U64,
    /// Seconds.
    pub timestamp: U64,
    /// Who is paid.
    pub miner: Address,
    /// Gas that the block may use.
    pub gas_limit: U64,
    /// Gas that it uses.
    pub gas_used: U64,
    /// The root of the trie of receipts.
    pub receipts_root: B256,
    /// 0 from the merge on.
    #[serde(default)]
    pub difficulty: U256,
    /// PREVRANDAO from the merge on.
    pub mix_hash: B256,
    /// From London on, in wei.
    pub base_fee_per_gas: Option<U64>,
    /// From Cancun on.
    pub excess_blob_gas: Option<U64>,
    /// From Cancun on.
    pub parent_beacon_block_root: Option<B256>,
}

/// A transaction of any type up to 4.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionJson {
    /// The type (EIP-2718); 0 is a legacy transaction.
    #[serde(rename = "type", default)]
    pub kind: U64,
    /// The sender, recovered from the signature.
    pub from: Address,
    /// `None` creates a contract.
    pub to: Option<Address>,
    /// Nonce.
    pub nonce: U64,
    /// Gas that it may use.
    pub gas: U64,
    /// In wei.
    pub value: U256,
    /// Calldata, or init code.
    pub input: Bytes,
    /// EIP-155; `None` for a transaction of any chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<U64>,
    /// Types 0 and 1, in wei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gas_price: Option<U128>,
    /// From type 2 on, in wei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fee_per_gas: Option<U128>,
    /// From type 2 on, in wei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_priority_fee_per_gas: Option<U128>,
    /// Type 3, in wei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fee_per_blob_gas: Option<U128>,
    /// From type 1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_list: Option<AccessList>,
    /// Type 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob_versioned_hashes: Option<Vec<B256>>,
    /// Type 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_list: Option<Vec<SignedAuthorization>>,
}

/// An account before the block.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AccountJson {
    /// Balance, in wei.
    #[serde(rename = "b", default)]
    pub balance: U256,
    /// Nonce.
    #[serde(rename = "n", default)]
    pub nonce: U64,
    /// The code's hash; `None` without code.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub code_hash: Option<B256>,
    /// Slots that the block reads; the others aren't read, or are zero.
    #[serde(rename = "s", default)]
    pub storage: BTreeMap<U256, U256>,
}

/// Code as hex, with or without `0x`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CodeJson(pub Bytes);

impl<'de> Deserialize<'de> for CodeJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        hex::decode(&text).map(Self).map_err(D::Error::custom)
    }
}
