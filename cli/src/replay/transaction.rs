//! Transactions of the RPC as revm has them.
//!
//! Authorities are recovered from their signatures here, as a node does when it receives a
//! transaction, so that executing a block doesn't include it.

use super::format::TransactionJson;
use alloy_primitives::{TxKind, U128};
use revm::{
    context::{TxEnv, either::Either},
    context_interface::transaction::{
        RecoveredAuthorization, SignedAuthorization, TransactionType,
    },
};

/// A transaction that isn't one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// An unknown type.
    #[error("type {0} isn't known")]
    Type(u64),
    /// A field that its type has is missing.
    #[error("type {kind} without {field}")]
    Missing {
        /// The type.
        kind: u64,
        /// The field's name.
        field: &'static str,
    },
}

impl TransactionJson {
    /// The transaction as revm has it.
    ///
    /// # Errors
    /// If its type is above 4, or a field that the type has is missing.
    pub fn to_env(&self) -> Result<TxEnv, TransactionError> {
        let kind = self.kind.to::<u64>();
        let known = u8::try_from(kind).ok().filter(|kind| *kind <= TransactionType::Eip7702 as u8);
        let tx_type = known.ok_or(TransactionError::Type(kind))?;
        let missing = |field| TransactionError::Missing { kind, field };
        let price = |value: Option<U128>, field| {
            value.map(|value| value.to::<u128>()).ok_or_else(|| missing(field))
        };
        let is_dynamic = tx_type >= TransactionType::Eip1559 as u8;
        let is_blob = tx_type == TransactionType::Eip4844 as u8;
        let access_list = self.access_list.clone().filter(|_| tx_type > 0).unwrap_or_default();
        Ok(TxEnv {
            tx_type,
            caller: self.from,
            gas_limit: self.gas.to(),
            gas_price: match is_dynamic {
                true => price(self.max_fee_per_gas, "maxFeePerGas")?,
                false => price(self.gas_price, "gasPrice")?,
            },
            kind: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            data: self.input.clone(),
            nonce: self.nonce.to(),
            chain_id: self.chain_id.map(|id| id.to()),
            access_list,
            gas_priority_fee: match is_dynamic {
                true => Some(price(self.max_priority_fee_per_gas, "maxPriorityFeePerGas")?),
                false => None,
            },
            blob_hashes: match is_blob {
                true => self.blob_versioned_hashes.clone().ok_or(missing("blobVersionedHashes"))?,
                false => Vec::new(),
            },
            max_fee_per_blob_gas: match is_blob {
                true => price(self.max_fee_per_blob_gas, "maxFeePerBlobGas")?,
                false => 0,
            },
            authorization_list: match tx_type == TransactionType::Eip7702 as u8 {
                true => self.authorizations().ok_or(missing("authorizationList"))?,
                false => Vec::new(),
            },
        })
    }

    /// Authorizations with their authorities (EIP-7702), as far as these can be recovered.
    fn authorizations(&self) -> Option<Vec<Either<SignedAuthorization, RecoveredAuthorization>>> {
        let list = self.authorization_list.as_ref()?.iter().cloned();
        Some(list.map(|signed| Either::Right(signed.into_recovered())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ACCOUNT: &str = "0x1111111111111111111111111111111111111111";

    /// A transaction with the fields of all types.
    fn transaction(kind: u8) -> Value {
        json!({
            "type": format!("{kind:#x}"), "from": ACCOUNT, "to": ACCOUNT, "nonce": "0x1",
            "gas": "0x5208", "value": "0x2", "input": "0x03", "chainId": "0x1",
            "gasPrice": "0x10", "maxFeePerGas": "0x20", "maxPriorityFeePerGas": "0x3",
            "maxFeePerBlobGas": "0x4", "blobVersionedHashes": [format!("0x01{:062}", 0)],
            "accessList": [{ "address": ACCOUNT, "storageKeys": [format!("0x{:064}", 7)] }],
            "authorizationList": [],
        })
    }

    fn env(json: Value) -> Result<TxEnv, TransactionError> {
        serde_json::from_value::<TransactionJson>(json).unwrap().to_env()
    }

    #[test]
    fn each_type_takes_its_own_fields() {
        for kind in 0..=4 {
            let tx = env(transaction(kind)).unwrap();
            assert_eq!((tx.tx_type, tx.nonce, tx.gas_limit), (kind, 1, 21_000));
            assert_eq!(tx.gas_price, if kind < 2 { 16 } else { 32 }, "type {kind}");
            assert_eq!(tx.gas_priority_fee, (kind >= 2).then_some(3));
            assert_eq!(tx.max_fee_per_blob_gas, if kind == 3 { 4 } else { 0 });
            assert_eq!(tx.blob_hashes.len(), usize::from(kind == 3));
            assert_eq!(tx.access_list.0.len(), usize::from(kind >= 1));
        }
    }

    #[test]
    fn what_a_type_needs_is_missed() {
        for (kind, field) in [
            (0, "gasPrice"),
            (1, "gasPrice"),
            (2, "maxFeePerGas"),
            (2, "maxPriorityFeePerGas"),
            (3, "maxFeePerBlobGas"),
            (3, "blobVersionedHashes"),
            (4, "authorizationList"),
        ] {
            let mut json = transaction(kind);
            json.as_object_mut().unwrap().remove(field);
            let error = TransactionError::Missing { kind: kind.into(), field };
            assert_eq!(env(json), Err(error));
        }
        assert_eq!(env(transaction(5)), Err(TransactionError::Type(5)));
        let mut wide = transaction(0);
        wide["type"] = json!("0x100");
        assert_eq!(env(wide), Err(TransactionError::Type(256)));
    }

    /// Without a recipient a contract is created.
    #[test]
    fn no_recipient_is_creation() {
        let mut json = transaction(2);
        json["to"] = Value::Null;
        assert_eq!(env(json).unwrap().kind, TxKind::Create);
    }
}
