//! A seeded generator of EVM programs.
//!
//! A [`Program`] is a few contracts that call each other, and a transaction. Most code is
//! generated with the stack's height in mind and memory offsets kept small, so that a large part
//! of it executes; a share is deliberately wrong (bad jumps, underflow, undefined bytes, random
//! byte soup, gas limits that don't suffice). A program is kept as lists of instructions, so that
//! the [shrinker](crate::shrink) can take pieces out of it.
//!
//! | file | what it generates |
//! | --- | --- |
//! | `values` | edge constants, offsets, addresses, gas amounts |
//! | `opcodes` | which opcodes a fork has, by kind |
//! | `writer` | a contract: the stack-aware writer, its prologue and epilogue |
//! | `expressions` | arithmetic, environment, stack shuffling |
//! | `memory` | memory, storage, copies, logs |
//! | `control` | branches, jumps of all kinds |
//! | `functions` | internal functions that call each other |
//! | `loops` | loops of several shapes, one after and inside another |
//! | `cycles` | cycles of blocks with several entries |
//! | `calls` | calls, creations, ends of frames |
//!
//! `one_byte` has programs that aren't generated.

mod calls;
mod control;
mod cycles;
mod expressions;
mod functions;
mod loops;
mod memory;
pub mod one_byte;
pub mod opcodes;
pub mod values;
mod writer;

use crate::{
    assembly::{Item, assemble},
    case::{Case, TARGET, Transaction, all_specs},
    rng::Rng,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use revm::{
    context::transaction::{AccessList, AccessListItem},
    primitives::hardfork::SpecId,
};
use values::PEERS;

/// A generated program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The seed that makes it (before shrinking).
    pub seed: u64,
    /// The fork.
    pub spec: SpecId,
    /// The contracts; the first is the one called.
    pub contracts: Vec<Contract>,
    /// The transaction.
    pub transaction: Transaction,
    /// Most regular gas; see [`Case::gas_cap`].
    pub gas_cap: u64,
}

/// A generated contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Where it is.
    pub address: Address,
    /// Its code.
    pub items: Vec<Item>,
    /// Its storage.
    pub storage: Vec<(U256, U256)>,
}

impl Program {
    /// The program of a seed.
    pub fn generate(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let specs: Vec<SpecId> = all_specs().collect();
        // Half of the programs are of the three newest forks, which have the most opcodes.
        let newest = &specs[specs.len() - 3..];
        let spec = if rng.percent(50) { rng.pick(newest) } else { rng.pick(&specs) };
        let count = rng.weighted(&[0, 50, 30, 20]);
        let contracts = [TARGET, PEERS[0], PEERS[1]]
            .into_iter()
            .take(count)
            .map(|address| Contract {
                address,
                items: writer::contract(rng, spec),
                storage: (0..rng.below(4)).map(|k| (U256::from(k), values::word(rng))).collect(),
            })
            .collect();
        let transaction = transaction(rng, spec);
        // Before Amsterdam a transaction above the cap is refused.
        let split = spec.is_enabled_in(SpecId::AMSTERDAM) && rng.percent(60);
        let gas_cap = if split { rng.pick(&[60_000, 150_000, 500_000]) } else { u64::MAX };
        Self { seed, spec, contracts, transaction, gas_cap }
    }

    /// The case to run.
    pub fn to_case(&self) -> Case {
        let mut case = Case::new(self.spec, Bytes::new()).gas_cap(self.gas_cap);
        for contract in &self.contracts {
            case = case.contract(contract.address, assemble(&contract.items));
            if let Some(account) = case.accounts.get_mut(&contract.address) {
                let slots = contract.storage.iter().filter(|(_, value)| !value.is_zero());
                account.storage = slots.copied().collect();
            }
        }
        let shared = self.spec.is_enabled_in(SpecId::PRAGUE);
        let code = if shared { values::delegation_to(PEERS[0]) } else { Bytes::new() };
        case = case.contract(values::DELEGATED, code);
        case.transactions = vec![self.transaction.clone()];
        case
    }
}

fn transaction(rng: &mut Rng, spec: SpecId) -> Transaction {
    let words = rng.below(5);
    let mut data: Vec<u8> =
        (0..words).flat_map(|_| values::word(rng).to_be_bytes::<32>()).collect();
    let stray = rng.below(40);
    data.extend(rng.bytes(stray));
    let mut transaction = Transaction::new(data);
    transaction.gas_limit = match rng.weighted(&[4, 11, 55, 30]) {
        0 => 21_000 + rng.below(3_000) as u64,
        1 => 25_000 + rng.below(60_000) as u64,
        2 => 100_000 + rng.below(900_000) as u64,
        _ => 1_000_000 + rng.below(4_000_000) as u64,
    };
    if rng.percent(20) {
        transaction.value = U256::from(rng.below(1000));
    }
    if spec.is_enabled_in(SpecId::BERLIN) && rng.percent(15) {
        let storage_keys = (0..rng.below(3)).map(|key| B256::from(U256::from(key))).collect();
        let item = AccessListItem { address: rng.pick(&[TARGET, PEERS[0]]), storage_keys };
        transaction.access_list = AccessList(vec![item]);
    }
    if spec.is_enabled_in(SpecId::CANCUN) && rng.percent(10) {
        let hashes = (0..rng.range(1, 3)).map(|_| rng.word().to_be_bytes::<32>());
        transaction.blob_hashes = hashes.map(|h| versioned(B256::from(h))).collect();
    }
    if rng.percent(3) && transaction.blob_hashes.is_empty() {
        transaction.to = TxKind::Create;
        transaction.data = assemble(&writer::contract(rng, spec)).into();
        transaction.gas_limit += 200_000;
    }
    transaction
}

/// EIP-4844: the first byte of a blob hash is its version.
fn versioned(mut hash: B256) -> B256 {
    hash.0[0] = 1;
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_program() {
        for seed in 0..50 {
            assert_eq!(Program::generate(seed), Program::generate(seed));
        }
        assert_ne!(Program::generate(1).contracts, Program::generate(2).contracts);
    }

    #[test]
    fn code_is_of_moderate_length() {
        let lengths =
            (0..200).map(|seed| assemble(&Program::generate(seed).contracts[0].items).len());
        let (mut total, mut largest) = (0, 0);
        for length in lengths {
            total += length;
            largest = largest.max(length);
        }
        assert!((100..3000).contains(&(total / 200)) && largest < 24_576, "{total} {largest}");
    }
}
