//! `cranevm aot list`.

use super::{StoreArgs, file_name};
use crate::terminal::{self, say};
use alloy_primitives::B256;
use clap::Args;
use cranevm::runtime::{StoreEntry, read_header};
use cranevm_cli::{CommandError, measure};
use serde::Serialize;

/// List the artifacts of a store, with what they say of themselves
///
/// Nothing is verified: see `verify`.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(flatten)]
    args: StoreArgs,
}

/// A line of output.
#[derive(Serialize)]
struct Row {
    file: String,
    code_hash: Option<B256>,
    spec: Option<String>,
    opt: Option<String>,
    bytecode_len: Option<u32>,
    artifact_bytes: Option<u64>,
    created_at_unix_secs: Option<u64>,
    compiler: Option<String>,
    target: Option<String>,
    cpu_features: Option<String>,
    options: Option<String>,
    error: Option<String>,
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let entries = self.args.entries()?;
        if self.args.json {
            for entry in &entries {
                say!("{}", terminal::json(&row(entry))?);
            }
            return Ok(());
        }
        let mut table = terminal::table(&["code", "fork", "level", "bytecode", "artifact", ""]);
        let mut bytes = 0;
        for entry in &entries {
            let row = row(entry);
            bytes += row.artifact_bytes.unwrap_or(0);
            let number = |number: Option<u64>| number.map(measure::count).unwrap_or_default();
            table.add_row([
                row.code_hash
                    .map_or_else(|| terminal::printable(&row.file), |hash| hash.to_string()),
                row.spec.unwrap_or_default(),
                row.opt.unwrap_or_default(),
                number(row.bytecode_len.map(u64::from)),
                number(row.artifact_bytes),
                row.error.map(terminal::red).unwrap_or_default(),
            ]);
        }
        say!("{}", table.trim_fmt());
        let count = measure::count(entries.len() as u64);
        say!("{count} artifacts, {} bytes", measure::count(bytes));
        Ok(())
    }
}

fn row(entry: &StoreEntry) -> Row {
    let file = file_name(entry);
    let read = match &entry.artifact {
        Err(error) => Err(error.to_string()),
        Ok((key, stored)) => {
            let header = read_header(stored).map_err(|problem| problem.to_string());
            header.map(|header| (key, stored, header))
        }
    };
    match read {
        Ok((key, stored, header)) => Row {
            file,
            code_hash: Some(key.runtime.code_hash),
            spec: Some(header.spec),
            opt: Some(format!("{:?}", key.opt_level).to_lowercase()),
            bytecode_len: Some(header.code_len),
            artifact_bytes: Some(header.artifact_len),
            created_at_unix_secs: Some(stored.manifest.created_at_unix_secs),
            compiler: Some(format!("{}, Cranelift {}", header.compiler, header.cranelift)),
            target: Some(header.target),
            cpu_features: Some(header.cpu_features),
            options: Some(header.options),
            error: None,
        },
        Err(error) => Row {
            file,
            code_hash: None,
            spec: None,
            opt: None,
            bytecode_len: None,
            artifact_bytes: None,
            created_at_unix_secs: None,
            compiler: None,
            target: None,
            cpu_features: None,
            options: None,
            error: Some(error),
        },
    }
}
