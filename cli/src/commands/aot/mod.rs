//! `cranevm aot`: artifacts in a directory, made and looked after.
//!
//! They are those of a backend with the default configuration, but for the optimization level: its
//! store can be this directory.

mod build;
mod list;
mod prune;
mod verify;

use clap::Subcommand;
use cranevm::{
    OptimizationLevel,
    runtime::{ArtifactRecipe, DirArtifactStore, RuntimeConfig, RuntimeTuning, StoreEntry},
};
use cranevm_cli::{CommandError, InputError};
use std::path::Path;

/// Compile contracts to artifacts that outlive the process, and look after them
#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Build(build::Command),
    Verify(verify::Command),
    List(list::Command),
    Prune(prune::Command),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        match self.action {
            Action::Build(command) => command.run(),
            Action::Verify(command) => command.run(),
            Action::List(command) => command.run(),
            Action::Prune(command) => command.run(),
        }
    }
}

/// The recipe of a backend with the default configuration, at a level.
fn recipe(level: OptimizationLevel) -> ArtifactRecipe {
    let tuning = RuntimeTuning { aot_opt_level: level, ..RuntimeTuning::default() };
    ArtifactRecipe::new(&RuntimeConfig { tuning, ..RuntimeConfig::default() })
}

/// Opens a store that is there.
fn open(directory: &Path) -> Result<DirArtifactStore, CommandError> {
    if !directory.is_dir() {
        return Err(InputError::new(directory.display(), "not a directory").into());
    }
    Ok(DirArtifactStore::open(directory).map_err(|error| InputError::new("--store", error))?)
}

/// What a backend would find wrong with a file; `None` if nothing. A short name, and a sentence.
fn fault(entry: &StoreEntry) -> Option<(&'static str, String)> {
    match &entry.artifact {
        Err(error) => Some((error.reason(), error.to_string())),
        Ok((key, stored)) => {
            let verified = recipe(key.opt_level).verify(key.runtime, stored);
            verified.err().map(|problem| (problem.reason(), problem.to_string()))
        }
    }
}

/// A file's name, for output.
fn file_name(entry: &StoreEntry) -> String {
    entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
