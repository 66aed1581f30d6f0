//! `cranevm aot verify`.

use super::{Row, StoreArgs, fault, file_name};
use crate::terminal::{self, say};
use clap::Args;
use cranevm_cli::{CommandError, measure};

/// Check every artifact of a store as a backend does before it loads it
///
/// Exits with 1 if a backend would refuse one.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(flatten)]
    args: StoreArgs,
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let entries = self.args.entries()?;
        let bar = terminal::progress(Some(entries.len()), "artifacts");
        let mut bad = 0;
        for entry in &entries {
            let (fault, file) = (fault(entry), &file_name(entry));
            bad += usize::from(fault.is_some());
            if self.args.json {
                let status = fault.as_ref().map_or("ok", |(reason, _)| reason);
                let line = terminal::json(&Row { file, status })?;
                bar.suspend(|| say!("{line}"));
            } else if let Some((reason, sentence)) = fault {
                let text = terminal::printable(&format!("{file}: {sentence}"));
                bar.suspend(|| say!("{}: {text}", terminal::red(reason)));
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        if !self.args.json {
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
