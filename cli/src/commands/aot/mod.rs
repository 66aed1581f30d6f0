//! `cranevm aot`: artifacts in a directory, made and looked after.
//!
//! They are those of a backend with the default configuration, but for the optimization level: its
//! store can be this directory.

mod build;
mod list;
mod prune;
mod verify;

use clap::{Args, Subcommand};
use cranevm::{
    OptimizationLevel,
    runtime::{
        ArtifactRecipe, DirArtifactStore, RuntimeConfig, RuntimeTuning, StoreEntry, StoreError,
    },
};
use cranevm_cli::{CommandError, InputError};
use serde::Serialize;
use std::path::PathBuf;

/// Compile contracts to artifacts that outlive the process, and look after them
#[derive(Debug, Args)]
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

/// What the commands take that look after a store.
#[derive(Debug, Args)]
struct StoreArgs {
    /// The store's directory
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// A line of JSON for each file
    #[arg(long)]
    json: bool,
}

impl StoreArgs {
    /// Opens the store, which must be there.
    fn open(&self) -> Result<DirArtifactStore, CommandError> {
        if !self.store.is_dir() {
            return Err(InputError::new(self.store.display(), "not a directory").into());
        }
        Ok(DirArtifactStore::open(&self.store)
            .map_err(|error| InputError::new("--store", error))?)
    }

    /// The store's files, good and bad.
    fn entries(&self) -> Result<Vec<StoreEntry>, CommandError> {
        self.open()?.entries().map_err(failed)
    }
}

/// The store can't be read any more.
fn failed(error: StoreError) -> CommandError {
    CommandError::Failed(error.to_string())
}

/// A line of JSON about a file.
#[derive(Serialize)]
struct Row<'a> {
    file: &'a str,
    /// `ok`, or a reason.
    status: &'static str,
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
