//! Transaction fixtures: a pre-state, a block environment and one transaction.
//!
//! The format is that of Ethereum's state tests without expectations: an object with one entry per
//! fixture, `{name: {env, pre, transaction}}`. Scalars are strings (`0x…` or decimal) or numbers;
//! `transaction` and its `data`, `gasLimit` and `value` may also be lists, of which the first
//! element counts.

use crate::{Environment, InputError, read};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, CfgEnv, TxEnv},
    database::{CacheDB, EmptyDB},
    primitives::hardfork::SpecId,
    state::AccountInfo,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{collections::BTreeMap, path::Path};

/// The database that a fixture's transaction runs on.
pub type FixtureDb = CacheDB<EmptyDB>;

/// A fixture's transaction and all that it needs.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Its name in the file.
    pub name: String,
    /// Block.
    pub block: BlockEnv,
    /// Accounts before the transaction.
    pub pre: BTreeMap<Address, PreAccount>,
    /// The transaction.
    pub tx: TxEnv,
}

impl Fixture {
    /// Reads the fixtures of a file.
    pub fn read(path: &Path) -> Result<Vec<Self>, InputError> {
        Self::parse(&path.display().to_string(), &read::file(path)?)
    }

    /// Parses the fixtures in `text`; `place` is what errors call it.
    pub fn parse(place: &str, text: &[u8]) -> Result<Vec<Self>, InputError> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let file: BTreeMap<String, FixtureJson> = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| json_error(place, &error.path().to_string(), error.inner()))?;
        json.end().map_err(|error| json_error(place, ".", &error))?;
        if file.is_empty() {
            return Err(InputError::new(place, "has no fixture"));
        }
        file.into_iter().map(|(name, json)| json.into_fixture(place, name)).collect()
    }

    /// The fork to run on unless one is asked for: Cancun for `onchain-lm*` (also with `_`), else
    /// Osaka.
    pub fn default_spec(&self) -> SpecId {
        let of_cancun = self.name.replace('_', "-").starts_with("onchain-lm");
        if of_cancun { SpecId::CANCUN } else { SpecId::OSAKA }
    }

    /// The contract that the transaction enters: the code of its target, or the creation code.
    pub fn entry_code(&self) -> Bytes {
        match self.tx.kind {
            TxKind::Call(to) => self.pre.get(&to).map(|account| account.code.clone()),
            TxKind::Create => Some(self.tx.data.clone()),
        }
        .unwrap_or_default()
    }

    /// The environment for one fork.
    ///
    /// The nonce isn't checked, and a transaction may use the gas of the whole block (EIP-7825's
    /// cap is lifted).
    pub fn environment(&self, spec: SpecId) -> Environment {
        let mut cfg = CfgEnv::new_with_spec(spec);
        cfg.set_spec_and_mainnet_gas_params(spec);
        cfg.disable_nonce_check = true;
        cfg.tx_gas_limit_cap = Some(u64::MAX);
        let mut block = self.block.clone();
        if spec.is_enabled_in(SpecId::MERGE) && block.prevrandao.is_none() {
            block.prevrandao = Some(B256::ZERO);
        }
        Environment { cfg, block, tx: self.tx.clone() }
    }

    /// The state before the transaction.
    pub fn database(&self) -> FixtureDb {
        let mut db = CacheDB::new(EmptyDB::default());
        for (address, account) in &self.pre {
            let code = Bytecode::new_raw_checked(account.code.clone())
                .unwrap_or_else(|_| Bytecode::new_legacy(account.code.clone()));
            let info = AccountInfo::default()
                .with_balance(account.balance)
                .with_nonce(account.nonce)
                .with_code(code);
            db.insert_account_info(*address, info);
            for (key, value) in &account.storage {
                // Writing into the cache reads nothing from the empty database below it.
                match db.insert_account_storage(*address, *key, *value) {
                    Ok(()) => {}
                    Err(never) => match never {},
                }
            }
        }
        db
    }
}

/// An account before the transaction.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PreAccount {
    /// In wei.
    #[serde(default, deserialize_with = "word")]
    pub balance: U256,
    /// Nonce.
    #[serde(default, deserialize_with = "word64")]
    pub nonce: u64,
    /// Bytecode.
    #[serde(default, deserialize_with = "bytes")]
    pub code: Bytes,
    /// Slots.
    #[serde(default)]
    pub storage: BTreeMap<U256, U256>,
}

/// One entry of a file.
#[derive(Deserialize)]
struct FixtureJson {
    env: EnvJson,
    pre: BTreeMap<Address, PreAccount>,
    transaction: FirstOf<TransactionJson>,
}

/// Names as in state tests.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvJson {
    #[serde(default)]
    current_coinbase: Address,
    #[serde(deserialize_with = "word64")]
    current_gas_limit: u64,
    #[serde(deserialize_with = "word")]
    current_number: U256,
    #[serde(deserialize_with = "word")]
    current_timestamp: U256,
    #[serde(default, deserialize_with = "word64")]
    current_base_fee: u64,
    #[serde(default, deserialize_with = "word")]
    current_difficulty: U256,
    current_random: Option<B256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransactionJson {
    #[serde(default)]
    data: FirstOf<HexJson>,
    gas_limit: FirstOf<Word64Json>,
    #[serde(default, deserialize_with = "word64")]
    gas_price: u64,
    #[serde(default, deserialize_with = "word64")]
    nonce: u64,
    sender: Address,
    #[serde(default, deserialize_with = "revm_statetest_types::deserialize_maybe_empty")]
    to: Option<Address>,
    #[serde(default)]
    value: FirstOf<WordJson>,
}

impl FixtureJson {
    fn into_fixture(self, place: &str, name: String) -> Result<Fixture, InputError> {
        let transaction = self.transaction.0;
        let kind = transaction.to.map_or(TxKind::Create, TxKind::Call);
        if let TxKind::Call(to) = kind
            && !self.pre.contains_key(&to)
        {
            let problem = format!("transaction.to: account {to} is not in pre");
            return Err(InputError::new(format_args!("{place}: {name}"), problem));
        }
        let block = BlockEnv {
            number: self.env.current_number,
            beneficiary: self.env.current_coinbase,
            timestamp: self.env.current_timestamp,
            gas_limit: self.env.current_gas_limit,
            basefee: self.env.current_base_fee,
            difficulty: self.env.current_difficulty,
            prevrandao: self.env.current_random,
            ..BlockEnv::default()
        };
        let tx = TxEnv {
            caller: transaction.sender,
            gas_limit: transaction.gas_limit.0.0,
            gas_price: u128::from(transaction.gas_price),
            kind,
            value: transaction.value.0.0,
            data: transaction.data.0.0,
            nonce: transaction.nonce,
            ..TxEnv::default()
        };
        Ok(Fixture { name, block, pre: self.pre, tx })
    }
}

/// An error of the JSON in `place`, at `field` (`.` for the whole): `place:line:column: what`.
pub(crate) fn json_error(place: &str, field: &str, error: &serde_json::Error) -> InputError {
    let message = error.to_string();
    // Said before the message, where editors look for it.
    let end = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&end).unwrap_or(&message);
    let place = format!("{place}:{}:{}", error.line(), error.column());
    match field {
        "." => InputError::new(place, message),
        field => InputError::new(place, format_args!("{field}: {message}")),
    }
}

/// A value, or a list of which the first element counts.
#[derive(Clone, Default)]
struct FirstOf<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FirstOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FirstOfVisitor(std::marker::PhantomData))
    }
}

struct FirstOfVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for FirstOfVisitor<T> {
    type Value = FirstOf<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        T::deserialize(serde::de::value::StrDeserializer::new(value)).map(FirstOf)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        T::deserialize(serde::de::value::U64Deserializer::new(value)).map(FirstOf)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(FirstOf)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let first = seq.next_element()?.ok_or_else(|| A::Error::custom("the list is empty"))?;
        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(FirstOf(first))
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
struct HexJson(#[serde(deserialize_with = "bytes")] Bytes);
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
struct WordJson(#[serde(deserialize_with = "word")] U256);
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
struct Word64Json(#[serde(deserialize_with = "word64")] u64);

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    crate::hex::decode(&text).map_err(D::Error::custom)
}

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<U256, D::Error> {
    U256::deserialize(deserializer)
}

fn word64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = word(deserializer)?;
    value.try_into().map_err(|_| D::Error::custom(format_args!("{value:#x} is above 64 bits")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTER: &str = r#"{ "counter": {
        "env": { "currentGasLimit": "0x7fffffffffffffff", "currentNumber": "0x1",
                 "currentTimestamp": "0x1" },
        "pre": { "0x1111111111111111111111111111111111111111": { "balance": "0x10" },
                 "0xcccccccccccccccccccccccccccccccccccccccc": {
                    "code": "0x60015f5500", "nonce": "0x1", "storage": { "0x0": "0x5" } } },
        "transaction": [ { "data": "0x01", "gasLimit": "0x10000",
            "sender": "0x1111111111111111111111111111111111111111",
            "to": "0xcccccccccccccccccccccccccccccccccccccccc", "value": "0x0" } ] } }"#;

    fn error_of(text: &str) -> String {
        Fixture::parse("f.json", text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn parses_a_fixture() {
        let fixtures = Fixture::parse("f.json", COUNTER.as_bytes()).unwrap();
        let fixture = &fixtures[0];
        assert_eq!(fixture.name, "counter");
        assert_eq!(fixture.entry_code().as_ref(), [0x60, 1, 0x5f, 0x55, 0]);
        assert_eq!(fixture.tx.gas_limit, 0x10000);
        assert_eq!(fixture.tx.data.as_ref(), [1]);
        assert_eq!(fixture.default_spec(), SpecId::OSAKA);
        for name in ["onchain-lm-v2", "onchain_lm_v2"] {
            let renamed = Fixture { name: name.into(), ..fixture.clone() };
            assert_eq!(renamed.default_spec(), SpecId::CANCUN);
        }
    }

    #[test]
    fn lists_are_taken_by_their_first_element() {
        let text = COUNTER
            .replace(r#""data": "0x01""#, r#""data": ["0x02", "0x03"]"#)
            .replace(r#""gasLimit": "0x10000""#, r#""gasLimit": ["99", "1"]"#)
            .replace("\"transaction\": [ {", "\"transaction\": {")
            .replace("\"0x0\" } ] } }", "[\"0x7\"] } } }");
        let fixture = &Fixture::parse("f.json", text.as_bytes()).unwrap()[0];
        assert_eq!(fixture.tx.data.as_ref(), [2]);
        assert_eq!(fixture.tx.gas_limit, 99);
        assert_eq!(fixture.tx.value, U256::from(7));
    }

    #[test]
    fn errors_name_place_and_field() {
        assert!(error_of("{").starts_with("f.json:1:1: "), "{}", error_of("{"));
        assert_eq!(error_of("{}"), "f.json: has no fixture");
        assert!(error_of(&format!("{COUNTER} x")).contains("trailing characters"));
        let missing = error_of(&COUNTER.replace("currentNumber", "number"));
        assert!(missing.contains("counter.env"), "{missing}");
        assert!(missing.contains("missing field `currentNumber`"), "{missing}");
        let odd = error_of(&COUNTER.replace("0x60015f5500", "0x60015f550"));
        assert!(odd.contains("code: not hex: odd number of digits (9)"), "{odd}");
        assert!(odd.contains("counter.pre.0xcccc"), "{odd}");
        let wide = error_of(&COUNTER.replace("0x10000", "0x10000000000000000"));
        assert!(wide.contains("gasLimit") && wide.contains("above 64 bits"), "{wide}");
        let nobody = error_of(&COUNTER.replace("\"to\": \"0xcccc", "\"to\": \"0xdddd"));
        assert!(nobody.contains("is not in pre"), "{nobody}");
        let empty = error_of(&COUNTER.replace("\"0x01\"", "[]"));
        assert!(empty.contains("the list is empty"), "{empty}");
        for text in [missing, odd, wide, nobody, empty] {
            assert!(!text.contains('\n'));
        }
    }
}
