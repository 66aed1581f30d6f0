//! A block that is ready to be executed.

use super::{
    format::{AccountJson, BlockFile, HeaderJson},
    rules,
    state::{BlockDb, Codes},
    transaction::TransactionError,
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, address};
use revm::{
    context::{BlockEnv, CfgEnv, TxEnv},
    context_interface::block::BlobExcessGasAndPrice,
    primitives::hardfork::SpecId,
    state::AccountInfo,
};

/// The contract that keeps roots of beacon blocks (EIP-4788).
const BEACON_ROOTS: Address = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
/// The contract that keeps hashes of blocks (EIP-2935).
const HISTORY_STORAGE: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");

/// A block and all that it reads.
#[derive(Clone, Debug)]
pub struct ReplayBlock {
    /// What it is called in tables: its file's name without extensions.
    pub name: String,
    /// Its number.
    pub number: u64,
    /// Fork and limits.
    pub cfg: CfgEnv,
    /// The EVM's block environment.
    pub env: BlockEnv,
    /// Calls of the system before the transactions: target and calldata.
    pub system_calls: Vec<(Address, Bytes)>,
    /// Transactions, in order.
    pub transactions: Vec<TxEnv>,
    /// The state before the block.
    pub state: BlockDb,
    /// What the header says that it comes to.
    pub expected: Expected,
}

/// What a header says of a block's execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Gas used by all transactions.
    pub gas_used: u64,
    /// The root of the receipts; `None` before Byzantium (EIP-658), where receipts have roots of
    /// the state, which can't be computed from a part of it.
    pub receipts_root: Option<B256>,
}

/// A block that can't be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Rules that aren't known.
    #[error("chain: {0} isn't known; blocks are of Ethereum's mainnet, 1")]
    Chain(u64),
    /// A field that its fork has isn't there.
    #[error("header.{0}: missing, and its fork has it")]
    Field(&'static str),
    /// More blob gas than any block has been in excess of.
    #[error("header.excessBlobGas: {excess} makes a price beyond all ether; at most {max} is one")]
    ExcessBlobGas {
        /// The excess.
        excess: u64,
        /// The largest that is taken.
        max: u64,
    },
    /// A transaction isn't one.
    #[error("txs[{index}]: {error}")]
    Transaction {
        /// Its index.
        index: usize,
        /// Why.
        error: TransactionError,
    },
}

impl ReplayBlock {
    /// Makes a block of a file, with the codes of all its accounts.
    ///
    /// # Errors
    /// If the chain isn't the mainnet, a field of the header is missing or makes no sense, or a
    /// transaction isn't one.
    pub fn new(name: String, file: &BlockFile, codes: &Codes) -> Result<Self, BlockError> {
        if file.chain != rules::MAINNET {
            return Err(BlockError::Chain(file.chain));
        }
        let header = &file.header;
        let cfg = rules::configuration(header.number.to(), header.timestamp.to());
        check_header(header, &cfg)?;
        let transactions = file.txs.iter().enumerate().map(|(index, transaction)| {
            transaction.to_env().map_err(|error| BlockError::Transaction { index, error })
        });
        Ok(Self {
            name,
            number: header.number.to(),
            env: environment(header, &cfg),
            system_calls: system_calls(header, cfg.spec),
            transactions: transactions.collect::<Result<_, _>>()?,
            state: state(file, codes),
            expected: Expected {
                gas_used: header.gas_used.to(),
                receipts_root: (cfg.spec.is_enabled_in(SpecId::BYZANTIUM))
                    .then_some(header.receipts_root),
            },
            cfg,
        })
    }
}

/// The largest excess of blob gas, in fractions of its update: the price is e to that power.
const MAX_EXCESS_FRACTIONS: u64 = 64;

/// Whether the header has what its fork has.
fn check_header(header: &HeaderJson, cfg: &CfgEnv) -> Result<(), BlockError> {
    let fields = [
        ("baseFeePerGas", SpecId::LONDON, header.base_fee_per_gas.is_some()),
        ("excessBlobGas", SpecId::CANCUN, header.excess_blob_gas.is_some()),
        ("parentBeaconBlockRoot", SpecId::CANCUN, header.parent_beacon_block_root.is_some()),
    ];
    let is_missing =
        |(_, since, is_there): &(_, SpecId, bool)| cfg.spec.is_enabled_in(*since) && !is_there;
    if let Some((name, ..)) = fields.into_iter().find(is_missing) {
        return Err(BlockError::Field(name));
    }
    let excess = header.excess_blob_gas.unwrap_or_default().to();
    let max = cfg.blob_base_fee_update_fraction().saturating_mul(MAX_EXCESS_FRACTIONS);
    match excess > max {
        true => Err(BlockError::ExcessBlobGas { excess, max }),
        false => Ok(()),
    }
}

fn environment(header: &HeaderJson, cfg: &CfgEnv) -> BlockEnv {
    let is_merged = cfg.spec.is_enabled_in(SpecId::MERGE);
    let blobs = header.excess_blob_gas.filter(|_| cfg.spec.is_enabled_in(SpecId::CANCUN));
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.miner,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit.to(),
        basefee: header.base_fee_per_gas.unwrap_or_default().to(),
        difficulty: header.difficulty,
        prevrandao: is_merged.then_some(header.mix_hash),
        blob_excess_gas_and_price: blobs.map(|excess| {
            BlobExcessGasAndPrice::new(excess.to(), cfg.blob_base_fee_update_fraction())
        }),
        ..BlockEnv::default()
    }
}

/// The calls that write the beacon root (EIP-4788) and the parent's hash (EIP-2935).
fn system_calls(header: &HeaderJson, spec: SpecId) -> Vec<(Address, Bytes)> {
    let root = header.parent_beacon_block_root.filter(|_| spec.is_enabled_in(SpecId::CANCUN));
    let parent = spec.is_enabled_in(SpecId::PRAGUE).then_some(header.parent_hash);
    [(BEACON_ROOTS, root), (HISTORY_STORAGE, parent)]
        .into_iter()
        .filter_map(|(target, word)| Some((target, Bytes::from(word?))))
        .collect()
}

fn state(file: &BlockFile, codes: &Codes) -> BlockDb {
    let mut db = BlockDb::default();
    for (address, account) in &file.accounts {
        db.insert_account_info(*address, info(account, codes));
        if let Some(entry) = db.cache.accounts.get_mut(address) {
            entry.storage.extend(&account.storage);
        }
    }
    let hashes = file.hashes.iter().map(|(number, hash)| (U256::from(*number), *hash));
    db.cache.block_hashes.extend(hashes);
    db
}

/// An account. Of one that isn't called the code may be missing: who needs it is told then.
fn info(account: &AccountJson, codes: &Codes) -> AccountInfo {
    let info = AccountInfo {
        balance: account.balance,
        nonce: account.nonce.to(),
        ..AccountInfo::default()
    };
    match account.code_hash.filter(|hash| *hash != KECCAK256_EMPTY) {
        None => info,
        Some(code_hash) => match codes.get(&code_hash) {
            Some(code) => info.with_code_and_hash(code.clone(), code_hash),
            None => AccountInfo { code_hash, code: None, ..info },
        },
    }
}
