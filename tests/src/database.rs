//! A database in memory that records every read and can fail or panic at a chosen one.
//!
//! The sequence of reads is part of what a client of the EVM observes (a stateless witness is
//! made of it), so engines must agree on it. Code isn't part of the accounts it returns, so
//! that loading code is a read of its own.

use crate::case::Accounts;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256, map::AddressMap};
use revm::{
    Database, DatabaseCommit,
    bytecode::Bytecode,
    database_interface::DBErrorMarker,
    primitives::KECCAK_EMPTY,
    state::{Account, AccountInfo},
};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// One call of the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    /// `basic`: an account without its code.
    Account(Address),
    /// `code_by_hash`.
    Code(B256),
    /// `storage`: a slot.
    Storage(Address, U256),
    /// `block_hash`.
    BlockHash(u64),
}

/// What happens at one chosen read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Index of the read, from 0, over all transactions of a case.
    pub at: usize,
    /// What happens.
    pub kind: FaultKind,
}

/// How a read fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The database returns an error.
    Error,
    /// The database panics.
    Panic,
}

/// The error of a [`FaultKind::Error`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("injected failure of read {0}")]
pub struct InjectedError(pub usize);

impl DBErrorMarker for InjectedError {}

/// The message of a [`FaultKind::Panic`] begins with this.
pub const INJECTED_PANIC: &str = "injected panic at read";

/// The log of reads, shared with the test: it survives a panic of the EVM that owns the database.
pub type ReadLog = Rc<RefCell<Vec<Read>>>;

/// The database. See the [module documentation](self).
#[derive(Clone, Debug)]
pub struct RecordingDatabase {
    accounts: Accounts,
    /// By account: the hash of its code.
    hashes: BTreeMap<Address, B256>,
    codes: Vec<(B256, Bytecode)>,
    reads: ReadLog,
    fault: Option<Fault>,
}

impl RecordingDatabase {
    /// A database of these accounts. `reads` is appended to.
    pub fn new(accounts: &Accounts, fault: Option<Fault>, reads: ReadLog) -> Self {
        let hashes: BTreeMap<_, _> =
            accounts.iter().map(|(&address, account)| (address, hash(&account.code))).collect();
        let codes = accounts.values().map(|account| bytecode(&account.code));
        let codes = hashes.values().copied().zip(codes).collect();
        Self { accounts: accounts.clone(), hashes, codes, reads, fault }
    }

    /// A copy that appends to another log.
    pub fn with_log(&self, reads: ReadLog) -> Self {
        Self { reads, ..self.clone() }
    }

    fn record(&self, read: Read) -> Result<(), InjectedError> {
        let index = {
            let mut reads = self.reads.borrow_mut();
            reads.push(read);
            reads.len() - 1
        };
        match self.fault {
            Some(Fault { at, kind: FaultKind::Error }) if at == index => Err(InjectedError(at)),
            Some(Fault { at, kind: FaultKind::Panic }) if at == index => {
                panic!("{INJECTED_PANIC} {at}")
            }
            _ => Ok(()),
        }
    }
}

impl Database for RecordingDatabase {
    type Error = InjectedError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, InjectedError> {
        self.record(Read::Account(address))?;
        Ok(self.accounts.get(&address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: self.hashes[&address],
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, InjectedError> {
        self.record(Read::Code(code_hash))?;
        let found = self.codes.iter().find(|(hash, _)| *hash == code_hash);
        Ok(found.map(|(_, code)| code.clone()).unwrap_or_default())
    }

    fn storage(&mut self, address: Address, index: U256) -> Result<U256, InjectedError> {
        self.record(Read::Storage(address, index))?;
        let slot = self.accounts.get(&address).and_then(|account| account.storage.get(&index));
        Ok(slot.copied().unwrap_or_default())
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, InjectedError> {
        self.record(Read::BlockHash(number))?;
        Ok(keccak256(number.to_be_bytes()))
    }
}

impl DatabaseCommit for RecordingDatabase {
    fn commit(&mut self, changes: AddressMap<Account>) {
        for (address, change) in changes.into_iter().filter(|(_, change)| change.is_touched()) {
            if change.is_selfdestructed() {
                self.accounts.remove(&address);
                self.hashes.remove(&address);
                continue;
            }
            let account = self.accounts.entry(address).or_default();
            self.hashes.entry(address).or_insert(KECCAK_EMPTY);
            account.balance = change.info.balance;
            account.nonce = change.info.nonce;
            if let Some(code) = change.info.code {
                account.code = code.original_bytes();
                self.hashes.insert(address, change.info.code_hash);
                self.codes.push((change.info.code_hash, code));
            }
            let slots = change.storage.into_iter().filter(|(_, slot)| slot.is_changed());
            account.storage.extend(slots.map(|(key, slot)| (key, slot.present_value)));
        }
    }
}

/// The hash of code; that of none is known.
fn hash(code: &Bytes) -> B256 {
    if code.is_empty() { KECCAK_EMPTY } else { keccak256(code) }
}

/// Code as a node would hold it. Random bytes may begin like an EIP-7702 delegation without being
/// one; no account has such code, and to the interpreter it is code like any other.
fn bytecode(code: &Bytes) -> Bytecode {
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code.clone()))
}
