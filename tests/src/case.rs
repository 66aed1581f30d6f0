//! What an engine runs: accounts, a block, and transactions.

use crate::database::Fault;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use revm::{
    context::{BlockEnv, TxEnv, transaction::AccessList},
    context_interface::block::BlobExcessGasAndPrice,
    primitives::hardfork::SpecId,
};
use std::{collections::BTreeMap, fmt};

/// The world before the first transaction.
pub type Accounts = BTreeMap<Address, AccountSetup>;

/// An account before the first transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountSetup {
    /// Wei.
    pub balance: U256,
    /// Nonce.
    pub nonce: u64,
    /// Code; an EIP-7702 delegation designator counts as code.
    pub code: Bytes,
    /// Slots that aren't zero.
    pub storage: BTreeMap<U256, U256>,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Called contract, or creation.
    pub to: TxKind,
    /// Calldata, or initcode.
    pub data: Bytes,
    /// Gas limit, the intrinsic gas included.
    pub gas_limit: u64,
    /// Wei sent.
    pub value: U256,
    /// Warm addresses and slots (EIP-2930).
    pub access_list: AccessList,
    /// Versioned hashes (EIP-4844).
    pub blob_hashes: Vec<B256>,
}

/// All that an execution depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The fork.
    pub spec: SpecId,
    /// The world before the first transaction.
    pub accounts: Accounts,
    /// Transactions, each committed before the next.
    pub transactions: Vec<Transaction>,
    /// Most regular gas of a transaction (EIP-7825). Under EIP-8037 gas above it is a reservoir for
    /// state gas; a low one gives transactions of moderate gas such a reservoir.
    pub gas_cap: u64,
    /// Most bytes of memory of all frames, if revm is built with its feature `memory_limit`.
    pub memory_limit: u64,
    /// A read of the database that goes wrong.
    pub fault: Option<Fault>,
}

/// Sender of all transactions.
pub const SENDER: Address = Address::repeat_byte(0xee);

/// The contract that simple cases call.
pub const TARGET: Address = Address::repeat_byte(0xc0);

/// Gas that the transactions of hand-written cases have unless they say otherwise.
pub const DEFAULT_GAS: u64 = 1_000_000;

/// revm's own limit of memory, in bytes.
const DEFAULT_MEMORY_LIMIT: u64 = (1 << 32) - 1;

/// Wei per gas that all transactions pay.
const GAS_PRICE: u128 = 10;

/// Every fork, oldest first.
pub fn all_specs() -> impl DoubleEndedIterator<Item = SpecId> + Clone {
    (0..=SpecId::NEXT as u8).filter_map(SpecId::try_from_u8)
}

impl Transaction {
    /// A call of [`TARGET`] with default gas.
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self {
            to: TxKind::Call(TARGET),
            data: data.into(),
            gas_limit: DEFAULT_GAS,
            value: U256::ZERO,
            access_list: AccessList::default(),
            blob_hashes: Vec::new(),
        }
    }

    /// revm's form of the transaction, of the EIP-2718 type that its fields need.
    pub fn to_env(&self, nonce: u64) -> TxEnv {
        let tx_type = match (self.blob_hashes.is_empty(), self.access_list.is_empty()) {
            (false, _) => 3,
            (true, false) => 1,
            (true, true) => 0,
        };
        TxEnv {
            tx_type,
            caller: SENDER,
            gas_limit: self.gas_limit,
            gas_price: GAS_PRICE,
            kind: self.to,
            value: self.value,
            data: self.data.clone(),
            nonce,
            chain_id: Some(1),
            access_list: self.access_list.clone(),
            gas_priority_fee: (tx_type == 3).then_some(1),
            blob_hashes: self.blob_hashes.clone(),
            max_fee_per_blob_gas: if tx_type == 3 { 100 } else { 0 },
            authorization_list: Vec::new(),
        }
    }
}

impl Case {
    /// A call of `code`, placed at [`TARGET`], without calldata.
    pub fn new(spec: SpecId, code: impl Into<Bytes>) -> Self {
        let sender = AccountSetup { balance: U256::MAX >> 1, ..Default::default() };
        let accounts = BTreeMap::from([(SENDER, sender)]);
        let transactions = vec![Transaction::new(Bytes::new())];
        let (gas_cap, memory_limit) = (u64::MAX, DEFAULT_MEMORY_LIMIT);
        Self { spec, accounts, transactions, gas_cap, memory_limit, fault: None }
            .contract(TARGET, code)
    }

    /// The case with one more contract.
    pub fn contract(mut self, address: Address, code: impl Into<Bytes>) -> Self {
        let account = AccountSetup {
            balance: U256::from(1_000_000),
            nonce: 1,
            code: code.into(),
            ..Default::default()
        };
        self.accounts.insert(address, account);
        self
    }

    /// The case with calldata for all transactions.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        self.transactions.iter_mut().for_each(|tx| tx.data = data.clone());
        self
    }

    /// The case with a gas limit for all transactions.
    pub fn gas(mut self, gas_limit: u64) -> Self {
        self.transactions.iter_mut().for_each(|tx| tx.gas_limit = gas_limit);
        self
    }

    /// The case with a limit on regular gas.
    pub const fn gas_cap(mut self, gas_cap: u64) -> Self {
        self.gas_cap = gas_cap;
        self
    }

    /// The case with a limit on memory.
    pub const fn memory_limit(mut self, memory_limit: u64) -> Self {
        self.memory_limit = memory_limit;
        self
    }

    /// The case with a failing read.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// The block that all transactions are in.
    pub fn block(&self) -> BlockEnv {
        BlockEnv {
            number: U256::from(1000),
            beneficiary: Address::repeat_byte(0xcb),
            timestamp: U256::from(1_750_000_000),
            gas_limit: u64::MAX,
            basefee: if self.spec.is_enabled_in(SpecId::LONDON) { 7 } else { 0 },
            difficulty: U256::from(0x2_0000),
            prevrandao: Some(B256::repeat_byte(0x5a)),
            blob_excess_gas_and_price: Some(BlobExcessGasAndPrice {
                excess_blob_gas: 0,
                blob_gasprice: 1,
            }),
            slot_num: 0x1234_5678,
        }
    }
}

impl fmt::Display for Case {
    /// The case as something to paste into a test: every account and transaction in hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spec, gas_cap, memory_limit, fault, .. } = self;
        writeln!(f, "spec {spec:?}, gas cap {gas_cap}, memory {memory_limit}, fault {fault:?}")?;
        for (address, account) in &self.accounts {
            let AccountSetup { balance, nonce, code, storage } = account;
            writeln!(f, "account {address} balance {balance} nonce {nonce}")?;
            storage.iter().try_for_each(|(k, v)| writeln!(f, "  slot {k:#x} = {v:#x}"))?;
            if !code.is_empty() {
                writeln!(f, "  code hex!(\"{}\")", hex::encode(code))?;
            }
        }
        for tx in &self.transactions {
            let Transaction { to, data, gas_limit, value, access_list, blob_hashes } = tx;
            writeln!(f, "transaction to {to:?} gas {gas_limit} value {value}")?;
            writeln!(f, "  data hex!(\"{}\")", hex::encode(data))?;
            if !access_list.is_empty() || !blob_hashes.is_empty() {
                writeln!(f, "  {access_list:?} blob hashes {blob_hashes:?}")?;
            }
        }
        Ok(())
    }
}
