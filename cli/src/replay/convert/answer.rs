//! Answers of a node, as they are saved: the whole JSON-RPC response, or its result alone.

use crate::{
    InputError,
    replay::{HeaderJson, TransactionJson, load},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::path::Path;

/// A block with whole transactions, as `eth_getBlockByNumber` with `true` tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct RpcBlock {
    /// The header.
    #[serde(flatten)]
    pub header: HeaderJson,
    /// Transactions, in order.
    pub transactions: Vec<TransactionJson>,
}

/// Reads a node's answer from a file, plain or compressed by xz.
///
/// # Errors
/// A file that can't be read, an answer that is an error, or something else than asked for.
pub fn answer<T: DeserializeOwned>(path: &Path) -> Result<T, InputError> {
    let bad = |problem: &dyn std::fmt::Display| InputError::new(path.display(), problem);
    let result = match load::parse(path)? {
        Value::Object(response) if response.contains_key("jsonrpc") => {
            result_of(response).map_err(|problem| bad(&problem))?
        }
        result => result,
    };
    serde_path_to_error::deserialize(result).map_err(|error| match error.path().to_string() {
        path if path == "." => bad(error.inner()),
        path => bad(&format_args!("{path}: {}", error.inner())),
    })
}

/// The result of a response.
fn result_of(mut response: Map<String, Value>) -> Result<Value, String> {
    if let Some(error) = response.remove("error").filter(|error| !error.is_null()) {
        return Err(format!("the node answered with an error: {error}"));
    }
    match response.remove("result") {
        Some(Value::Null) | None => Err("the node's answer has no result".into()),
        Some(result) => Ok(result),
    }
}
