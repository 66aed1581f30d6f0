//! From a command-line argument to a contract.

use crate::{Fixture, InputError, assembler, hex, read, shipped};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use revm::{
    context::{BlockEnv, TxEnv},
    primitives::eip7825,
};
use std::{collections::BTreeMap, path::Path};

/// Where a contract given as bytecode is put.
pub const CONTRACT_ADDRESS: Address = Address::repeat_byte(0xcc);
/// Who calls it.
pub const CALLER: Address = Address::repeat_byte(0x11);
/// The gas that a call gets by default: the cap of a transaction on Osaka (EIP-7825).
pub const DEFAULT_GAS: u64 = eip7825::TX_GAS_LIMIT_CAP;

/// A contract, and a transaction for it if it came from a fixture.
#[derive(Clone, Debug)]
pub struct Contract {
    /// A short name for the output.
    pub name: String,
    /// Its bytecode.
    pub code: Bytes,
    /// The fixture it came from.
    pub fixture: Option<Fixture>,
}

impl Contract {
    /// Resolves an argument: the name of a shipped contract, a file (`.json` fixture, `.evm`
    /// assembly, or hex), or hex.
    pub fn resolve(argument: &str) -> Result<Self, InputError> {
        if let Some(contract) = shipped::find(argument) {
            return contract.load();
        }
        let path = Path::new(argument);
        // A contract in hex is longer than a file's name may be; asking for it is an error as well.
        if path.try_exists().unwrap_or(false) {
            return Self::read(path);
        }
        let begins_as_hex = argument.starts_with("0x") || argument.starts_with("0X");
        if begins_as_hex || argument.chars().all(|c| c.is_ascii_hexdigit()) {
            let code = hex::decode(argument).map_err(|error| InputError::new(argument, error))?;
            return Ok(Self { name: "bytecode".into(), code, fixture: None });
        }
        let names: Vec<&str> = shipped::names().collect();
        let problem = format!(
            "no such file, not hex, and not a shipped contract ({})",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        );
        Err(InputError::new(argument, problem))
    }

    /// Reads a contract from a file.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let place = path.display().to_string();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if extension.eq_ignore_ascii_case("json") {
            return first(&place, Fixture::read(path)?);
        }
        let text = String::from_utf8(read::file(path)?).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            InputError::new(&place, format_args!("not text: byte {offset} is not UTF-8"))
        })?;
        let code = if ["evm", "easm", "asm"].iter().any(|e| extension.eq_ignore_ascii_case(e)) {
            assembler::assemble(&text).map_err(|error| {
                InputError::new(format_args!("{place}:{}", error.position), error.kind)
            })?
        } else {
            hex::decode(&text).map_err(|error| InputError::new(&place, error))?
        };
        let name = path.file_stem().map_or(place, |stem| stem.to_string_lossy().into_owned());
        Ok(Self { name, code, fixture: None })
    }

    /// The transaction of the fixture, or else a call without arguments.
    pub fn into_fixture(self) -> Fixture {
        self.fixture.unwrap_or_else(|| call_of(self.name, self.code))
    }
}

impl From<Fixture> for Contract {
    fn from(fixture: Fixture) -> Self {
        Self { name: fixture.name.clone(), code: fixture.entry_code(), fixture: Some(fixture) }
    }
}

fn first(place: &str, fixtures: Vec<Fixture>) -> Result<Contract, InputError> {
    let fixture = fixtures.into_iter().next();
    fixture.map(Contract::from).ok_or_else(|| InputError::new(place, "has no fixture"))
}

/// A call of a contract that is alone in the world, by a rich caller, at no gas price.
fn call_of(name: String, code: Bytes) -> Fixture {
    let account = |balance, nonce, code| crate::fixture::PreAccount {
        balance,
        nonce,
        code,
        storage: BTreeMap::new(),
    };
    let pre = BTreeMap::from([
        (CALLER, account(U256::MAX >> 1, 0, Bytes::new())),
        (CONTRACT_ADDRESS, account(U256::ZERO, 1, code)),
    ]);
    let block = BlockEnv {
        number: U256::ONE,
        timestamp: U256::ONE,
        gas_limit: u64::MAX,
        ..BlockEnv::default()
    };
    let tx = TxEnv {
        caller: CALLER,
        gas_limit: DEFAULT_GAS,
        kind: TxKind::Call(CONTRACT_ADDRESS),
        ..TxEnv::default()
    };
    Fixture { name, block, pre, tx }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_hex() {
        let contract = Contract::resolve("0x6001600255").unwrap();
        assert_eq!(contract.code.len(), 5);
        assert_eq!(contract.into_fixture().entry_code().len(), 5);
        assert!(Contract::resolve("0x").unwrap().code.is_empty());
    }

    #[test]
    fn says_what_an_unusable_argument_is_not() {
        let error = |argument: &str| Contract::resolve(argument).unwrap_err().to_string();
        assert_eq!(error("0x123"), "0x123: not hex: odd number of digits (3)");
        assert_eq!(error("0x12zz"), "0x12zz: not hex: character 'z' at position 5");
        assert!(error("no/such/file.hex").contains("no such file, not hex"));
        assert!(error(&format!("0x{}", "ab".repeat(10_000) + "c")).len() < 200);
    }
}
