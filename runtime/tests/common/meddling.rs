//! A database that does something in the middle of a frame: when it is read.

use cranevm::primitives::{Address, B256, StorageKey, StorageValue};
use revm::{
    Database,
    bytecode::Bytecode,
    database::{CacheDB, EmptyDB},
    state::AccountInfo,
};
use std::convert::Infallible;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Account(Address),
    Storage,
}

/// Does something the `countdown`th time that `at` is read.
pub(crate) struct Meddling<'a> {
    pub(crate) database: CacheDB<EmptyDB>,
    pub(crate) at: Read,
    pub(crate) countdown: usize,
    /// `None` once it is done.
    pub(crate) meddle: Option<Box<dyn FnOnce() + 'a>>,
}

impl Meddling<'_> {
    fn read(&mut self, what: Read) {
        if what != self.at {
            return;
        }
        self.countdown = self.countdown.saturating_sub(1);
        if self.countdown == 0
            && let Some(meddle) = self.meddle.take()
        {
            meddle();
        }
    }
}

impl Database for Meddling<'_> {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        self.read(Read::Account(address));
        self.database.basic(address)
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Infallible> {
        self.database.code_by_hash(code_hash)
    }

    fn storage(&mut self, address: Address, key: StorageKey) -> Result<StorageValue, Infallible> {
        self.read(Read::Storage);
        self.database.storage(address, key)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        self.database.block_hash(number)
    }
}
