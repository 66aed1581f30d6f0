//! `cranevm aot prune`.

use super::{Row, StoreArgs, failed, fault, file_name};
use crate::terminal::{self, say};
use clap::Args;
use cranevm_cli::CommandError;
use serde::Serialize;

/// Delete what `verify` refuses
///
/// With --json a file that is deleted has a line; the last line has the counts.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(flatten)]
    args: StoreArgs,
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
        let store = self.args.open()?;
        let entries = store.entries().map_err(failed)?;
        let (mut deleted, mut undeletable) = (0, 0);
        for entry in &entries {
            let Some((status, sentence)) = fault(entry) else { continue };
            if let Err(error) = store.delete_entry(entry) {
                undeletable += 1;
                terminal::error(error);
                continue;
            }
            deleted += 1;
            let file = &file_name(entry);
            if self.args.json {
                say!("{}", terminal::json(&Row { file, status })?);
            } else {
                say!("deleted {}", terminal::printable(&format!("{file}: {sentence}")));
            }
        }
        let summary = Summary { deleted, kept: entries.len() - deleted };
        if self.args.json {
            say!("{}", terminal::json(&summary)?);
        } else {
            say!("{} deleted, {} kept", summary.deleted, summary.kept);
        }
        match undeletable {
            0 => Ok(()),
            files => Err(CommandError::Failed(format!("{files} bad files can't be deleted"))),
        }
    }
}
