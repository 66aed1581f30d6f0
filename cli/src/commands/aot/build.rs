//! `cranevm aot build`: contracts to artifacts, on all processors.
//!
//! What the store has already and would be loaded from it is skipped, so that a run which was
//! interrupted goes on where it was.

use super::recipe;
use crate::{
    commands::{Opt, contract_list},
    terminal::{self, printable, say},
};
use alloy_primitives::{Bytes, keccak256};
use clap::Args;
use cranevm::runtime::{
    ArtifactCompiler, ArtifactRecipe, ArtifactStore, DirArtifactStore, RuntimeCacheKey,
};
use cranevm_cli::{
    CommandError, InputError,
    error::panic_message,
    measure::{self, nanos},
    spec,
};
use cranevm_codegen::{COMPILER_STACK, Triple, mark_deep_stack};
use indicatif::ProgressBar;
use revm::primitives::hardfork::SpecId;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Compile contracts to artifacts
///
/// What the store already has is skipped. Exits with 1 if a contract isn't compiled or stored.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// .jsonl or .jsonl.xz files (objects with "name" and "bytecode"), and whatever `run` takes
    #[arg(required = true, value_name = "CONTRACTS")]
    contracts: Vec<String>,
    /// The store's directory; made if it isn't there. A store is of one machine
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Fork
    #[arg(long, value_parser = spec::parse, default_value = "Osaka")]
    spec: SpecId,
    /// Optimization level
    #[arg(long, value_enum, default_value_t)]
    opt: Opt,
    /// Machine to compile for, by its target triple; nothing is assumed of its CPU, and nothing is
    /// skipped [default: this one, with all that its CPU has]
    #[arg(long, value_name = "TRIPLE", value_parser = crate::commands::parse_target)]
    target: Option<Triple>,
    /// A line of JSON for each contract, then one with the counts
    #[arg(long)]
    json: bool,
}

/// A line of output.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    /// `built`, `skipped` or `failed`.
    status: &'static str,
    artifact_bytes: Option<usize>,
    compile_ns: Option<u64>,
    error: Option<&'a str>,
}

/// The last line of JSON.
#[derive(Default, Serialize)]
struct Summary {
    built: usize,
    skipped: usize,
    failed: usize,
}

/// What became of a contract.
enum Outcome {
    Built {
        bytes: usize,
        time: Duration,
    },
    /// The store has it.
    Skipped {
        bytes: usize,
    },
    Failed(String),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let mut contracts = Vec::new();
        for argument in &self.contracts {
            contract_list::for_each(argument, &mut |name, code| {
                contracts.push((name.to_owned(), code));
                Ok(())
            })?;
        }
        let store = DirArtifactStore::open(&self.store)
            .map_err(|error| InputError::new("--store", error))?;
        let recipe = recipe(self.opt.level());
        let (spec, target, next) = (self.spec, self.target, AtomicUsize::new(0));
        let batch = Batch { contracts, store, recipe, spec, target, next };
        let bar = terminal::progress(Some(batch.contracts.len()), "contracts");
        let summary = batch.run(&bar, self.json)?;
        bar.finish_and_clear();
        if self.json {
            say!("{}", terminal::json(&summary)?);
        } else {
            let Summary { built, skipped, failed } = summary;
            say!("{built} built, {skipped} skipped, {failed} failed");
        }
        match summary.failed {
            0 => Ok(()),
            failed => Err(CommandError::Failed(format!(
                "{failed} of {} contracts have no artifact",
                batch.contracts.len()
            ))),
        }
    }
}

/// The contracts of one run of the command.
struct Batch {
    contracts: Vec<(String, Bytes)>,
    store: DirArtifactStore,
    recipe: ArtifactRecipe,
    spec: SpecId,
    /// `None` for this machine.
    target: Option<Triple>,
    next: AtomicUsize,
}

impl Batch {
    /// Makes all artifacts, and prints a line for each in the order of the contracts.
    fn run(&self, bar: &ProgressBar, json: bool) -> Result<Summary, CommandError> {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = threads.min(self.contracts.len());
        let (sender, outcomes) = channel();
        thread::scope(|scope| {
            for index in 0..threads {
                let sender = sender.clone();
                let work = move || {
                    mark_deep_stack();
                    let mut compiler = None;
                    loop {
                        let index = self.next.fetch_add(1, Relaxed);
                        let Some((_, code)) = self.contracts.get(index) else { break };
                        let outcome = self.make(&mut compiler, code);
                        if sender.send((index, outcome)).is_err() {
                            break;
                        }
                    }
                };
                let started = thread::Builder::new()
                    .name(format!("aot-{index}"))
                    .stack_size(COMPILER_STACK)
                    .spawn_scoped(scope, work);
                match started {
                    Ok(_) => {}
                    Err(error) if index == 0 => {
                        return Err(CommandError::Failed(format!("no thread: {error}")));
                    }
                    // The others do more.
                    Err(_) => break,
                }
            }
            drop(sender);
            self.print(&outcomes, bar, json)
        })
    }

    fn print(
        &self,
        outcomes: &Receiver<(usize, Outcome)>,
        bar: &ProgressBar,
        json: bool,
    ) -> Result<Summary, CommandError> {
        let mut summary = Summary::default();
        // Those that are ahead of their turn.
        let mut early = BTreeMap::new();
        let mut turn = 0;
        for (index, outcome) in outcomes {
            early.insert(index, outcome);
            bar.inc(1);
            while let Some(outcome) = early.remove(&turn) {
                let row = summary.add(&self.contracts[turn].0, &outcome);
                if json {
                    let line = terminal::json(&row)?;
                    bar.suspend(|| say!("{line}"));
                } else if let Some(error) = row.error {
                    bar.suspend(|| {
                        say!("{}: {}: {error}", terminal::red(row.status), printable(row.name))
                    });
                } else if let Some(ns) = row.compile_ns {
                    let time = measure::time(Duration::from_nanos(ns));
                    let bytes = measure::count(row.artifact_bytes.unwrap_or(0) as u64);
                    bar.suspend(|| say!("{:<48} {time:>10} {bytes:>10} B", printable(row.name)));
                }
                turn += 1;
            }
        }
        Ok(summary)
    }

    /// Makes and stores one artifact, unless the store has it.
    fn make(&self, compiler: &mut Option<ArtifactCompiler>, code: &[u8]) -> Outcome {
        let key = RuntimeCacheKey { code_hash: keccak256(code), spec_id: self.spec };
        // One that can't be read is made again, and so is what only another machine can check.
        if self.target.is_none()
            && let Ok(Some(stored)) = self.store.load(&self.recipe.key(key))
            && self.recipe.verify(key, &stored).is_ok()
        {
            return Outcome::Skipped { bytes: stored.manifest.artifact_len };
        }
        let start = Instant::now();
        // Unwind safety: a compiler that panicked is dropped.
        let compiled = catch_unwind(AssertUnwindSafe(|| {
            let mut ready = match compiler.take() {
                Some(ready) => ready,
                None => match &self.target {
                    None => self.recipe.compiler()?,
                    Some(target) => self.recipe.compiler_for(target.clone())?,
                },
            };
            let artifact = ready.compile(key, code);
            *compiler = Some(ready);
            artifact
        }));
        let time = start.elapsed();
        let artifact = match compiled {
            Ok(Ok(artifact)) => artifact,
            Ok(Err(error)) => return Outcome::Failed(error.to_string()),
            Err(payload) => {
                let message = panic_message(&*payload);
                return Outcome::Failed(format!("the compiler panicked: {message}"));
            }
        };
        let key = &artifact.manifest.artifact_key;
        match self.store.store(key, &artifact.manifest, &artifact.bytes) {
            Ok(()) => Outcome::Built { bytes: artifact.bytes.len(), time },
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

impl Summary {
    /// Counts an outcome; its line.
    fn add<'a>(&mut self, name: &'a str, outcome: &'a Outcome) -> Row<'a> {
        let row = |status, artifact_bytes, compile_ns, error| Row {
            name,
            status,
            artifact_bytes,
            compile_ns,
            error,
        };
        match outcome {
            Outcome::Built { bytes, time } => {
                self.built += 1;
                row("built", Some(*bytes), Some(nanos(*time)), None)
            }
            Outcome::Skipped { bytes } => {
                self.skipped += 1;
                row("skipped", Some(*bytes), None, None)
            }
            Outcome::Failed(error) => {
                self.failed += 1;
                row("failed", None, None, Some(error))
            }
        }
    }
}
