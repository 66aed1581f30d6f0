//! Transactions of the RPC as revm has them.
//!
//! Authorities are recovered from their signatures here, as a node does when it receives a
//! transaction, so that executing a block doesn't include it.

use super::format::TransactionJson;
use alloy_primitives::{TxKind, U128};
use revm::{
    context::{TxEnv, either::Either},
    context_interface::transaction::TransactionType,
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
        let authorizations = match &self.authorization_list {
            Some(list) => list.clone(),
            None if tx_type == TransactionType::Eip7702 as u8 => {
                return Err(missing("authorizationList"));
            }
            None => Vec::new(),
        };
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
            access_list: self.access_list.clone().unwrap_or_default(),
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
            authorization_list: authorizations
                .into_iter()
                .map(|signed| Either::Right(signed.into_recovered()))
                .collect(),
        })
    }
}
