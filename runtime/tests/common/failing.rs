//! A database that has accounts, and no storage.

use revm::{
    Database,
    bytecode::Bytecode,
    context::DBErrorMarker,
    database::{CacheDB, EmptyDB},
    primitives::{Address, B256, StorageKey, StorageValue},
    state::AccountInfo,
};

/// Each look at storage is an error.
#[derive(Debug)]
pub(crate) struct Failing(pub(crate) CacheDB<EmptyDB>);

#[derive(Debug, thiserror::Error)]
#[error("no storage today")]
pub(crate) struct NoStorage;

impl DBErrorMarker for NoStorage {}

impl Database for Failing {
    type Error = NoStorage;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, NoStorage> {
        self.0.basic(address).map_err(|never| match never {})
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, NoStorage> {
        self.0.code_by_hash(code_hash).map_err(|never| match never {})
    }

    fn storage(&mut self, _: Address, _: StorageKey) -> Result<StorageValue, NoStorage> {
        Err(NoStorage)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, NoStorage> {
        self.0.block_hash(number).map_err(|never| match never {})
    }
}
