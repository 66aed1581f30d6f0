//! `cranevm aot verify`.

use super::{fault, file_name, open};
use crate::terminal::{self, say};
use clap::Args;
use cranevm_cli::{CommandError, measure};
use serde::Serialize;
use std::path::PathBuf;

/// Check every artifact of a store as a backend does before it loads it
///
/// Exits with 1 if a backend would refuse one.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// The store's directory
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// A line of JSON for each file
    #[arg(long)]
    json: bool,
}

/// A line of output.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    pub(super) file: &'a str,
    /// `ok`, or a reason.
    pub(super) status: &'static str,
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let entries = open(&self.store)?.entries().map_err(failed)?;
        let bar = terminal::progress(Some(entries.len()), "artifacts");
        let mut bad = 0;
        for entry in &entries {
            let (fault, file) = (fault(entry), &file_name(entry));
            bad += usize::from(fault.is_some());
            if self.json {
                let status = fault.as_ref().map_or("ok", |(reason, _)| reason);
                let line = terminal::json(&Row { file, status })?;
                bar.suspend(|| say!("{line}"));
            } else if let Some((reason, sentence)) = fault {
                bar.suspend(|| say!("{}: {file}: {sentence}", terminal::red(reason)));
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        if !self.json {
            let total = measure::count(entries.len() as u64);
            say!("{total} artifacts, {} bad", measure::count(bad as u64));
        }
        match bad {
            0 => Ok(()),
            bad => Err(CommandError::Failed(format!(
                "{bad} of {} artifacts are bad; `cranevm aot prune` deletes them",
                entries.len()
            ))),
        }
    }
}

/// The store can't be read any more.
pub(super) fn failed(error: cranevm::runtime::StoreError) -> CommandError {
    CommandError::Failed(error.to_string())
}
