//! Small blocks that come with the program, made of the shipped contracts: what `cranevm replay`
//! runs when it is given no file, and tests of the same.
//!
//! They are blocks of the latest rules, with transactions of types 0 to 3. Their headers say what
//! revm's interpreter makes of them.

use super::{
    check,
    execute::{ExecuteError, Subject},
    format::{AccountJson, BlockFile, CodeJson, HeaderJson, TransactionJson},
    load::Loader,
    rules,
};
use crate::{InputError, shipped};
use alloy_primitives::{Address, B256, Bytes, U64, U128, U256, address, b256, keccak256};
use std::path::Path;

/// Where a block's number and time begin: after BPO2.
const FIRST_NUMBER: u64 = 24_500_000;
const FIRST_TIME: u64 = 1_770_000_000;

/// The sender of all transactions, as in the fixtures.
const SENDER: Address = address!("1111111111111111111111111111111111111111");
/// Who receives ether.
const RECEIVER: Address = address!("2222222222222222222222222222222222222222");
/// The address of a fixture's contract.
const CONTRACT: Address = address!("cccccccccccccccccccccccccccccccccccccccc");

/// In wei.
const BASE_FEE: u64 = 7;
const MAX_FEE: u64 = 100;
/// That of EIP-7825.
const GAS_LIMIT: u64 = 1 << 24;

/// A block: its name, shipped contracts, and how often each is called.
const BLOCKS: [(&str, &[&str], usize); 4] = [
    ("transfers", &["token_transfer"], 4),
    ("swaps", &["pair_swap"], 6),
    ("storage", &["storage_churn", "proxy"], 4),
    (
        "mixed",
        &[
            "pair_swap",
            "soft_hash",
            "ray_march",
            "big_loop",
            "storage_churn",
            "token_transfer",
            "large_24k",
        ],
        1,
    ),
];

/// Of a blob that nobody has; the first byte is the version (EIP-4844).
const VERSIONED_HASH: B256 =
    b256!("0100000000000000000000000000000000000000000000000000000000000000");

/// Transfers of ether before each call of a contract.
const TRANSFERS: usize = 5;

/// Blocks that can't be made, which is a defect of the program.
#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    /// A shipped contract isn't one.
    #[error(transparent)]
    Contract(#[from] InputError),
    /// A block can't be executed.
    #[error("block {name}: {error}")]
    Execute {
        /// Which.
        name: &'static str,
        /// Why.
        error: ExecuteError,
    },
}

/// All of them, by name.
///
/// # Errors
/// If the shipped contracts don't make blocks.
pub fn blocks() -> Result<Vec<(&'static str, BlockFile)>, SyntheticError> {
    let numbers = FIRST_NUMBER..;
    BLOCKS
        .iter()
        .zip(numbers)
        .map(|((name, contracts, calls), number)| {
            Ok((*name, block(name, number, contracts, *calls)?))
        })
        .collect()
}

fn block(
    name: &'static str,
    number: u64,
    contracts: &[&str],
    calls: usize,
) -> Result<BlockFile, SyntheticError> {
    let parent = keccak256((number - 1).to_be_bytes());
    let mut file = BlockFile {
        chain: rules::MAINNET,
        header: HeaderJson {
            parent_hash: parent,
            number: U64::from(number),
            timestamp: U64::from(FIRST_TIME + 12 * (number - FIRST_NUMBER)),
            miner: address!("9999999999999999999999999999999999999999"),
            gas_limit: U64::from(1_000_000_000),
            mix_hash: keccak256(parent),
            base_fee_per_gas: Some(U64::from(BASE_FEE)),
            excess_blob_gas: Some(U64::ZERO),
            parent_beacon_block_root: Some(keccak256(name)),
            ..HeaderJson::default()
        },
        txs: Vec::new(),
        accounts: [(SENDER, AccountJson { balance: U256::MAX >> 1, ..Default::default() })].into(),
        hashes: [(number - 1, parent)].into(),
        codes: [].into(),
    };
    let mut called = Vec::new();
    for (index, contract) in contracts.iter().enumerate() {
        called.push(add_contract(&mut file, contract, index)?);
    }
    for (target, data) in called.iter().cycle().take(calls * called.len()) {
        for _ in 0..TRANSFERS {
            add_transaction(&mut file, RECEIVER, U256::ONE, Bytes::new());
        }
        add_transaction(&mut file, *target, U256::ZERO, data.clone());
    }
    fill_header(name, &mut file)?;
    Ok(file)
}

/// Adds a fixture's accounts; returns the address and the calldata of its call. The first contract
/// of a block stays at its address, on which its neighbours' storage may depend.
fn add_contract(
    file: &mut BlockFile,
    name: &str,
    index: usize,
) -> Result<(Address, Bytes), InputError> {
    let mut place = CONTRACT;
    place.0[0] -= u8::try_from(index).unwrap_or_default();
    let contract =
        shipped::find(name).ok_or_else(|| InputError::new(name, "no shipped contract"))?;
    let fixture = contract.load()?.into_fixture();
    for (address, account) in &fixture.pre {
        if *address == SENDER {
            continue;
        }
        let code_hash = keccak256(&account.code);
        file.codes.insert(code_hash, CodeJson(account.code.clone()));
        file.accounts.insert(
            if *address == CONTRACT { place } else { *address },
            AccountJson {
                balance: account.balance,
                nonce: U64::from(account.nonce),
                code_hash: Some(code_hash),
                storage: account.storage.clone(),
            },
        );
    }
    Ok((place, fixture.tx.data))
}

/// Adds a transaction; their types take turns.
fn add_transaction(file: &mut BlockFile, to: Address, value: U256, input: Bytes) {
    let index = file.txs.len() as u64;
    let kind = index % 4;
    let fee = |from: bool| from.then(|| U128::from(MAX_FEE));
    file.txs.push(TransactionJson {
        kind: U64::from(kind),
        from: SENDER,
        to: Some(to),
        nonce: U64::from(index),
        gas: U64::from(GAS_LIMIT),
        value,
        input,
        chain_id: Some(U64::from(rules::MAINNET)),
        gas_price: fee(kind < 2),
        max_fee_per_gas: fee(kind >= 2),
        max_priority_fee_per_gas: (kind >= 2).then_some(U128::ONE),
        max_fee_per_blob_gas: fee(kind == 3),
        access_list: (kind >= 1).then(Default::default),
        blob_versioned_hashes: (kind == 3).then(|| vec![VERSIONED_HASH]),
        authorization_list: None,
    });
}

/// Has the interpreter say what the block comes to.
fn fill_header(name: &'static str, file: &mut BlockFile) -> Result<(), SyntheticError> {
    let block = Loader::default().block(Path::new(name), name, file)?;
    let executed = (Subject::Interpreter.run(&block, &mut || ()))
        .map_err(|error| SyntheticError::Execute { name, error })?;
    let outcome = check::outcome(&block, &executed);
    file.header.gas_used = U64::from(outcome.gas_used);
    file.header.receipts_root = outcome.receipts_root.unwrap_or_default();
    Ok(())
}
