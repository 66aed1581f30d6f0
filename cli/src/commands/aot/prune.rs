//! `cranevm aot prune`.

use super::{
    fault, file_name, open,
    verify::{Row, failed},
};
use crate::terminal::{self, say};
use clap::Args;
use cranevm_cli::CommandError;
use serde::Serialize;
use std::path::PathBuf;

/// Delete what `verify` refuses
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// The store's directory
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// A line of JSON for each file that is deleted, then one with the counts
    #[arg(long)]
    json: bool,
}

/// The last line of JSON.
#[derive(Serialize)]
struct Summary {
    deleted: usize,
    kept: usize,
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let store = open(&self.store)?;
        let entries = store.entries().map_err(failed)?;
        let mut deleted = 0;
        for entry in &entries {
            let Some((status, sentence)) = fault(entry) else { continue };
            store.delete_entry(entry).map_err(failed)?;
            deleted += 1;
            let file = &file_name(entry);
            if self.json {
                say!("{}", terminal::json(&Row { file, status })?);
            } else {
                say!("deleted {file}: {sentence}");
            }
        }
        let summary = Summary { deleted, kept: entries.len() - deleted };
        if self.json {
            say!("{}", terminal::json(&summary)?);
        } else {
            say!("{} deleted, {} kept", summary.deleted, summary.kept);
        }
        Ok(())
    }
}
