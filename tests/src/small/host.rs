//! A host of a few slots that remembers what it was asked, in order.

use alloy_primitives::{Address, B256, Log, U256};
use revm::{
    context_interface::{
        cfg::GasParams,
        context::{SStoreResult, SelfDestructResult},
        host::LoadError,
        journaled_state::{AccountInfoLoad, StateLoad},
    },
    interpreter::{Host, host::DummyHost},
    primitives::hardfork::SpecId,
};

/// Something that a frame asked its host for. Keys and values are cut to what tells them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SLOAD of a slot; whether only if it is warm.
    Load(U256, bool),
    /// SSTORE of a word to a slot; whether only if it is warm.
    Store(U256, U256, bool),
    /// TLOAD.
    TransientLoad(U256),
    /// TSTORE.
    TransientStore(U256, U256),
    /// A log.
    Log(Log),
    /// An account's balance, code or hash.
    Account(Address),
    /// The hash of a block.
    BlockHash(u64),
    /// SELFDESTRUCT in favour of an account.
    Selfdestruct(Address),
}

/// The host.
#[derive(Debug)]
pub struct SmallHost {
    rest: DummyHost,
    /// What it was asked.
    pub asked: Vec<Asked>,
    warm: Vec<U256>,
    slots: Vec<(U256, U256)>,
    transient: Vec<(U256, U256)>,
}

impl SmallHost {
    /// A host where all slots are cold, and those up to 7 hold their number.
    pub fn new(spec: SpecId) -> Self {
        let (rest, warm, transient) = (DummyHost::new(spec), Vec::new(), Vec::new());
        Self { rest, asked: Vec::new(), warm, slots: Vec::new(), transient }
    }

    /// As new.
    pub fn reset(&mut self) {
        self.asked.clear();
        self.warm.clear();
        self.slots.clear();
        self.transient.clear();
    }

    /// Warms a slot; whether it was cold.
    fn warm(&mut self, key: U256) -> bool {
        let is_cold = !self.warm.contains(&key);
        if is_cold {
            self.warm.push(key);
        }
        is_cold
    }
}

/// What a slot holds before the frame.
fn original(key: U256) -> U256 {
    if key < U256::from(8) { key } else { U256::ZERO }
}

fn find(words: &[(U256, U256)], key: U256) -> Option<U256> {
    words.iter().rev().find(|(found, _)| *found == key).map(|(_, word)| *word)
}

macro_rules! like_the_dummy {
    ($($name:ident: $ty:ty),*) => {
        $(fn $name(&self) -> $ty { self.rest.$name() })*
    };
}

impl Host for SmallHost {
    like_the_dummy! {
        basefee: U256, blob_gasprice: U256, gas_limit: U256, difficulty: U256, block_number: U256,
        timestamp: U256, beneficiary: Address, slot_num: U256, chain_id: U256,
        effective_gas_price: U256, caller: Address, max_initcode_size: usize,
        gas_params: &GasParams, is_amsterdam_eip8037_enabled: bool
    }

    fn prevrandao(&self) -> Option<U256> {
        Some(U256::from(11))
    }

    fn blob_hash(&self, number: usize) -> Option<U256> {
        self.rest.blob_hash(number)
    }

    fn block_hash(&mut self, number: u64) -> Option<B256> {
        self.asked.push(Asked::BlockHash(number));
        Some(B256::with_last_byte(3))
    }

    fn selfdestruct(
        &mut self,
        address: Address,
        target: Address,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SelfDestructResult>, LoadError> {
        self.asked.push(Asked::Selfdestruct(target));
        self.rest.selfdestruct(address, target, skip_cold_load)
    }

    fn log(&mut self, log: Log) {
        self.asked.push(Asked::Log(log));
    }

    fn sstore_skip_cold_load(
        &mut self,
        _: Address,
        key: U256,
        value: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SStoreResult>, LoadError> {
        self.asked.push(Asked::Store(key, value, skip_cold_load));
        if skip_cold_load && !self.warm.contains(&key) {
            return Err(LoadError::ColdLoadSkipped);
        }
        let is_cold = self.warm(key);
        let original_value = original(key);
        let present_value = find(&self.slots, key).unwrap_or(original_value);
        self.slots.push((key, value));
        let data = SStoreResult { original_value, present_value, new_value: value };
        Ok(StateLoad::new(data, is_cold))
    }

    fn sload_skip_cold_load(
        &mut self,
        _: Address,
        key: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<U256>, LoadError> {
        self.asked.push(Asked::Load(key, skip_cold_load));
        if skip_cold_load && !self.warm.contains(&key) {
            return Err(LoadError::ColdLoadSkipped);
        }
        let is_cold = self.warm(key);
        Ok(StateLoad::new(find(&self.slots, key).unwrap_or(original(key)), is_cold))
    }

    fn tstore(&mut self, _: Address, key: U256, value: U256) {
        self.asked.push(Asked::TransientStore(key, value));
        self.transient.push((key, value));
    }

    fn tload(&mut self, _: Address, key: U256) -> U256 {
        self.asked.push(Asked::TransientLoad(key));
        find(&self.transient, key).unwrap_or_default()
    }

    fn load_account_info_skip_cold_load(
        &mut self,
        address: Address,
        load_code: bool,
        skip_cold_load: bool,
    ) -> Result<AccountInfoLoad<'_>, LoadError> {
        self.asked.push(Asked::Account(address));
        self.rest.load_account_info_skip_cold_load(address, load_code, skip_cold_load)
    }
}
