//! `cranevm replay`: Ethereum blocks, checked and measured on all engines.

mod table;

use super::Opt;
use crate::terminal::{self, say};
use clap::{Args, ValueEnum};
use cranevm_cli::{
    CommandError, InputError,
    replay::{self, Mode, NativeEngine, Policy, ReplayBlock, Report, Session, Settings, Step},
};
use indicatif::ProgressBar;
use std::{collections::BTreeSet, path::PathBuf};

/// Replay Ethereum blocks on the interpreter and natively
///
/// Each block is compared with its header (gas used, and from Byzantium on the receipts), and each
/// run with the interpreter's: results, gas, logs and state. Times are processor time of the thread
/// that executes, medians over rounds in which engines take turns. Exits with 1 if anything
/// differs. The file format is in docs/replay.md.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// .json or .json.xz files of blocks, or directories of such [default: blocks made of the
    /// shipped contracts]
    #[arg(value_name = "BLOCKS")]
    paths: Vec<PathBuf>,
    /// In which state caches and compiled code are; may be given several times [default: all]
    #[arg(long = "mode", value_enum, value_name = "MODE")]
    modes: Vec<Mode>,
    /// What is compared with the interpreter; may be given several times [default: all]
    #[arg(long = "engine", value_enum, value_name = "ENGINE")]
    engines: Vec<EngineArg>,
    /// Optimization level; may be given several times
    #[arg(long = "opt", value_enum, value_name = "OPT", default_values_t = [Opt::Default])]
    opts: Vec<Opt>,
    /// How often each block is measured; in live and fresh a third of that
    #[arg(long, default_value_t = 9, value_parser = parse_rounds)]
    rounds: usize,
    /// Seed of the orders in which engines take turns
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Most rounds: more would take days.
const MAX_ROUNDS: usize = 1_000_000;

fn parse_rounds(text: &str) -> Result<usize, String> {
    let rounds = text.parse().ok().filter(|rounds| (1..=MAX_ROUNDS).contains(rounds));
    rounds.ok_or_else(|| format!("a number from 1 to {MAX_ROUNDS} is wanted"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineArg {
    /// Everything compiled at its first call, by the thread that calls
    Native,
    /// The runtime's defaults: what is hot is compiled in the background
    Defaults,
}

impl EngineArg {
    const fn policy(self) -> Policy {
        match self {
            Self::Native => Policy::Blocking,
            Self::Defaults => Policy::Background,
        }
    }
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let blocks = replay::blocks(&self.paths)?;
        let settings = self.settings()?;
        let report = measure(&blocks, &settings)?;
        if self.json {
            say!("{}", terminal::json(&report)?);
        } else {
            table::print(&report);
        }
        conclude(&report)
    }

    fn settings(&self) -> Result<Settings, CommandError> {
        let engines = match self.engines.is_empty() {
            true => &[EngineArg::Native, EngineArg::Defaults][..],
            false => &self.engines,
        };
        let engines = engines.iter().flat_map(|engine| {
            let engine =
                |opt: &Opt| NativeEngine { policy: engine.policy(), opt_level: opt.level() };
            self.opts.iter().map(engine)
        });
        let settings = Settings {
            modes: match self.modes.is_empty() {
                true => Mode::ALL.to_vec(),
                false => without_repetitions(self.modes.iter().copied()),
            },
            engines: without_repetitions(engines),
            rounds: self.rounds,
            seed: self.seed,
        };
        let meaningless = self.modes.iter().find(|mode| settings.engines_of(**mode).is_empty());
        match meaningless {
            None => Ok(settings),
            Some(mode) => {
                let problem =
                    format!("{mode}: only for --engine defaults, which compiles meanwhile");
                Err(InputError::new("--mode", problem).into())
            }
        }
    }
}

/// What is there, once each, in its order.
fn without_repetitions<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(Vec::new(), |mut once, item| {
        if !once.contains(&item) {
            once.push(item);
        }
        once
    })
}

fn measure(blocks: &[ReplayBlock], settings: &Settings) -> Result<Report, CommandError> {
    let warming = terminal::progress(None, "runs to compile what gets hot");
    let mut measuring: Option<ProgressBar> = None;
    let mut on_step = |step| match step {
        Step::WarmUp => warming.inc(1),
        Step::Measured => {
            warming.finish_and_clear();
            let total = Some(settings.runs(blocks.len()));
            measuring.get_or_insert_with(|| terminal::progress(total, "runs")).inc(1);
        }
    };
    let report = Session::measure(blocks, settings, &mut on_step)
        .map_err(|error| CommandError::Failed(error.to_string()));
    warming.finish_and_clear();
    if let Some(bar) = measuring {
        bar.finish_and_clear();
    }
    report
}

fn conclude(report: &Report) -> Result<(), CommandError> {
    let wrong: BTreeSet<&str> =
        report.differences.iter().map(|difference| difference.block.as_str()).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = wrong.into_iter().map(terminal::printable).collect();
    let message = format!("{} block(s) differ: {}", names.len(), names.join(", "));
    Err(CommandError::Failed(message))
}
