//! A host that answers deterministically and records, in order, all that is asked of it.
//!
//! What an account or a slot holds, and whether it is warm at first, follows from its name and a
//! seed. Slots and accounts get warm as in revm's journal, a cold one isn't loaded where the caller
//! forbids it, and what is stored is there when it is loaded. What it says of the block and of the
//! transaction is fixed, and isn't recorded: nobody can observe that it was asked.

use crate::{
    programs::values::{PEERS, delegation_to},
    rng::mix,
};
use alloy_primitives::{Address, B256, Bytes, Log, U256, keccak256};
use revm::{
    bytecode::Bytecode,
    context_interface::{
        cfg::GasParams,
        context::{SStoreResult, SelfDestructResult, StateLoad},
        host::LoadError,
        journaled_state::AccountInfoLoad,
    },
    interpreter::Host,
    primitives::hardfork::SpecId,
    state::AccountInfo,
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// The number of the block: hashes of the 256 before it can be had.
const BLOCK_NUMBER: u64 = 0x150;

/// Something that was asked of the host, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they are")]
pub enum Event {
    /// A slot was loaded: the value, unless it is cold and wasn't to be loaded then.
    Load { address: Address, key: U256, skips_cold: bool, found: Option<(U256, bool)> },
    /// A slot was stored: the value before, unless it is cold and wasn't to be loaded then.
    Store {
        address: Address,
        key: U256,
        value: U256,
        skips_cold: bool,
        found: Option<(U256, bool)>,
    },
    /// A slot of transient storage was loaded.
    LoadTransient { address: Address, key: U256, value: U256 },
    /// A slot of transient storage was stored.
    StoreTransient { address: Address, key: U256, value: U256 },
    /// An account was loaded, with its code or not; whether it was cold.
    Account { address: Address, with_code: bool, skips_cold: bool, found: Option<bool> },
    /// The hash of a block was asked for.
    BlockHash(u64),
    /// A log was written.
    Log(Log),
    /// A contract destroyed itself; whether the heir was cold.
    SelfDestruct { address: Address, heir: Address, skips_cold: bool, found: Option<bool> },
}

/// The host. See the [module documentation](self).
#[derive(Clone, Debug)]
pub struct RecordingHost {
    seed: u64,
    spec: SpecId,
    params: GasParams,
    /// Slots that were met: the value at first and now.
    slots: BTreeMap<(Address, U256), (U256, U256)>,
    transient: BTreeMap<(Address, U256), U256>,
    accounts: BTreeSet<Address>,
    destroyed: BTreeSet<Address>,
    /// What was asked.
    pub trace: Vec<Event>,
}

impl RecordingHost {
    /// A host of a fork, whose answers follow from the seed.
    pub fn new(spec: SpecId, seed: u64) -> Self {
        Self {
            seed,
            spec,
            params: GasParams::new_spec(spec),
            slots: BTreeMap::new(),
            transient: BTreeMap::new(),
            accounts: BTreeSet::new(),
            destroyed: BTreeSet::new(),
            trace: Vec::new(),
        }
    }

    /// A number that is as good as random, of a name.
    fn number(&self, address: Address, key: U256) -> u64 {
        let parts = address
            .as_slice()
            .chunks(8)
            .map(|part| part.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte)));
        let parts = parts.chain(key.into_limbs());
        parts.fold(self.seed, |number, part| mix(number ^ part))
    }

    /// Finds a slot: its values, and whether it is cold. `None` if it is and that is to be skipped.
    fn slot(
        &mut self,
        address: Address,
        key: U256,
        skips_cold: bool,
    ) -> Option<(U256, U256, bool)> {
        if let Some(&(original, present)) = self.slots.get(&(address, key)) {
            return Some((original, present, false));
        }
        let number = self.number(address, key);
        let is_cold = number & 3 != 0;
        if is_cold && skips_cold {
            return None;
        }
        let value = match number >> 2 & 7 {
            0..=2 => U256::ZERO,
            3 | 4 => U256::from(number >> 5 & 0x1ff),
            5 => U256::MAX,
            _ => U256::from_limbs([number, mix(number), mix(!number), number >> 3]),
        };
        self.slots.insert((address, key), (value, value));
        Some((value, value, is_cold))
    }

    /// Finds an account: whether it is cold. `None` if it is and that is to be skipped.
    fn warm(&mut self, address: Address, skips_cold: bool) -> Option<bool> {
        let is_cold = self.number(address, U256::MAX) & 3 != 0 && !self.accounts.contains(&address);
        if is_cold && skips_cold {
            return None;
        }
        self.accounts.insert(address);
        Some(is_cold)
    }

    /// What there is of an account.
    fn info(&self, address: Address) -> AccountInfo {
        let number = self.number(address, U256::MAX) >> 2;
        let code = match number & 7 {
            0..=2 => Bytes::new(),
            3 => delegation_to(PEERS[0]),
            _ => Bytes::copy_from_slice(&number.to_be_bytes().repeat((number >> 3 & 15) as usize)),
        };
        let balance = U256::from(number >> 7 & 0xff);
        let code =
            Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code));
        let code_hash = keccak256(code.original_byte_slice());
        AccountInfo {
            balance,
            nonce: number >> 15 & 1,
            code_hash,
            account_id: None,
            code: Some(code),
        }
    }
}

impl Host for RecordingHost {
    fn basefee(&self) -> U256 {
        U256::from(7)
    }

    fn blob_gasprice(&self) -> U256 {
        U256::from(3)
    }

    fn gas_limit(&self) -> U256 {
        U256::from(30_000_000)
    }

    fn difficulty(&self) -> U256 {
        U256::from(0x1_0000_0001u64)
    }

    fn prevrandao(&self) -> Option<U256> {
        Some(U256::from_limbs([1, 2, 3, 4]))
    }

    fn block_number(&self) -> U256 {
        U256::from(BLOCK_NUMBER)
    }

    fn timestamp(&self) -> U256 {
        U256::from(0x6543_2100u64)
    }

    fn beneficiary(&self) -> Address {
        Address::repeat_byte(0xbe)
    }

    fn slot_num(&self) -> U256 {
        U256::from(9)
    }

    fn chain_id(&self) -> U256 {
        U256::ONE
    }

    fn effective_gas_price(&self) -> U256 {
        U256::from(11)
    }

    fn caller(&self) -> Address {
        Address::repeat_byte(0x5e)
    }

    fn blob_hash(&self, number: usize) -> Option<U256> {
        (number < 2).then(|| U256::from(number + 0x100))
    }

    fn max_initcode_size(&self) -> usize {
        49_152
    }

    fn gas_params(&self) -> &GasParams {
        &self.params
    }

    fn is_amsterdam_eip8037_enabled(&self) -> bool {
        self.spec.is_enabled_in(SpecId::AMSTERDAM)
    }

    fn block_hash(&mut self, number: u64) -> Option<B256> {
        self.trace.push(Event::BlockHash(number));
        Some(keccak256(number.to_be_bytes()))
    }

    fn selfdestruct(
        &mut self,
        address: Address,
        heir: Address,
        skips_cold: bool,
    ) -> Result<StateLoad<SelfDestructResult>, LoadError> {
        let found = self.warm(heir, skips_cold);
        self.trace.push(Event::SelfDestruct { address, heir, skips_cold, found });
        let is_cold = found.ok_or(LoadError::ColdLoadSkipped)?;
        let data = SelfDestructResult {
            had_value: self.seed & 1 == 0,
            target_exists: !self.info(heir).is_empty(),
            previously_destroyed: !self.destroyed.insert(address),
        };
        Ok(StateLoad::new(data, is_cold))
    }

    fn log(&mut self, log: Log) {
        self.trace.push(Event::Log(log));
    }

    fn sstore_skip_cold_load(
        &mut self,
        address: Address,
        key: U256,
        value: U256,
        skips_cold: bool,
    ) -> Result<StateLoad<SStoreResult>, LoadError> {
        let found = self.slot(address, key, skips_cold);
        let seen = found.map(|(_, present, is_cold)| (present, is_cold));
        self.trace.push(Event::Store { address, key, value, skips_cold, found: seen });
        let (original, present, is_cold) = found.ok_or(LoadError::ColdLoadSkipped)?;
        self.slots.insert((address, key), (original, value));
        let data =
            SStoreResult { original_value: original, present_value: present, new_value: value };
        Ok(StateLoad::new(data, is_cold))
    }

    fn sload_skip_cold_load(
        &mut self,
        address: Address,
        key: U256,
        skips_cold: bool,
    ) -> Result<StateLoad<U256>, LoadError> {
        let found = self.slot(address, key, skips_cold);
        let found = found.map(|(_, present, is_cold)| (present, is_cold));
        self.trace.push(Event::Load { address, key, skips_cold, found });
        let (present, is_cold) = found.ok_or(LoadError::ColdLoadSkipped)?;
        Ok(StateLoad::new(present, is_cold))
    }

    fn tstore(&mut self, address: Address, key: U256, value: U256) {
        self.trace.push(Event::StoreTransient { address, key, value });
        self.transient.insert((address, key), value);
    }

    fn tload(&mut self, address: Address, key: U256) -> U256 {
        let value = self.transient.get(&(address, key)).copied().unwrap_or_default();
        self.trace.push(Event::LoadTransient { address, key, value });
        value
    }

    fn load_account_info_skip_cold_load(
        &mut self,
        address: Address,
        with_code: bool,
        skips_cold: bool,
    ) -> Result<AccountInfoLoad<'_>, LoadError> {
        let found = self.warm(address, skips_cold);
        self.trace.push(Event::Account { address, with_code, skips_cold, found });
        let is_cold = found.ok_or(LoadError::ColdLoadSkipped)?;
        let account = self.info(address);
        let is_empty = account.is_empty();
        Ok(AccountInfoLoad { account: Cow::Owned(account), is_cold, is_empty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_get_warm_and_keep_what_is_stored() {
        let mut host = RecordingHost::new(SpecId::OSAKA, 5);
        let (address, key) = (Address::ZERO, (0u64..).map(U256::from));
        let mut is_cold = |key: &U256| host.number(address, *key) & 3 != 0;
        let cold = key.clone().find(&mut is_cold).expect("most are");
        let warm = key.clone().find(|key| !is_cold(key)).expect("some are");
        assert!(host.sload_skip_cold_load(address, cold, true).is_err());
        assert!(!host.sload_skip_cold_load(address, warm, true).expect("warm").is_cold);
        let before = host.sload_skip_cold_load(address, cold, false).expect("loaded");
        let stored = host.sstore_skip_cold_load(address, cold, key.clone().nth(77).unwrap(), true);
        let stored = stored.expect("warm by now");
        assert!(before.is_cold && !stored.is_cold);
        assert_eq!(stored.data.present_value, before.data);
        assert_eq!(host.sload(address, cold).expect("warm").data, U256::from(77));
        assert_eq!(host.trace.len(), 5);
    }
}
