//! Files of blocks, made from what nodes answer over JSON-RPC.
//!
//! A block with whole transactions (`eth_getBlockByNumber`) is all that a file needs but for the
//! state that it reads. That comes from the prestate tracer (`prestate`), account by account, or
//! from an execution witness (`witness`), as nodes of the tries below the parent's state root.
//!
//! Cost: linear in what is read.

mod answer;
mod prestate;
mod trie;
mod witness;

pub use answer::{RpcBlock, answer};
pub use prestate::Traced;
pub use trie::TrieError;
pub use witness::{Witness, WitnessError};

use super::{AccountJson, BlockFile, CodeJson, rules};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, keccak256};
use std::collections::BTreeMap;

/// What a block reads.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Accounts before the block, with the slots that it reads.
    pub accounts: BTreeMap<Address, AccountJson>,
    /// Code by its hash.
    pub codes: BTreeMap<B256, CodeJson>,
    /// Hashes of earlier blocks.
    pub hashes: BTreeMap<u64, B256>,
}

impl State {
    /// Keeps a code; its hash, unless it is empty.
    fn add_code(&mut self, code: Bytes) -> Option<B256> {
        let hash = keccak256(&code);
        if hash == KECCAK256_EMPTY {
            return None;
        }
        self.codes.entry(hash).or_insert(CodeJson(code));
        Some(hash)
    }

    /// The file of `block`, one of the mainnet, which reads this. The parent's hash is the
    /// header's.
    pub fn into_file(self, block: RpcBlock) -> BlockFile {
        let Self { accounts, codes, mut hashes } = self;
        let RpcBlock { header, transactions: txs } = block;
        if let Some(parent) = header.number.to::<u64>().checked_sub(1) {
            hashes.insert(parent, header.parent_hash);
        }
        BlockFile { chain: rules::MAINNET, header, txs, accounts, hashes, codes }
    }
}
