//! `cranevm statetest`: Ethereum's state tests on an engine.

use super::Opt;
use crate::terminal;
use crate::terminal::say;
use clap::{Args, ValueEnum};
use cranevm_cli::{
    CommandError, Engine, EngineRunner,
    engine::{CHAOS_SEED, EngineError, EngineStore},
    measure,
    statetest::{self, CaseFailure, Counts, Options, Report},
};
use std::{num::NonZeroUsize, path::PathBuf, time::Instant};

/// Run Ethereum state tests
///
/// Exits with 1 if a case fails or a contract isn't compiled, and with 2 if a file isn't a state
/// test.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// Files, directories (searched for .json files) or .tar.xz archives
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What runs the transactions
    #[arg(long, value_enum, default_value_t)]
    engine: EngineArg,
    /// What the engine `chaos` makes its decisions of
    #[arg(long, value_name = "NUMBER", default_value_t = CHAOS_SEED)]
    seed: u64,
    /// Directory of artifacts: native code is loaded from these, and made where there is none
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Optimization level of native code
    #[arg(long, value_enum, default_value_t)]
    opt: Opt,
    /// Threads [default: one a core]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// A line of JSON for each failure, then one with the counts
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum EngineArg {
    /// revm's interpreter
    Interpreter,
    /// Native code
    #[default]
    Native,
    /// Native code, compiled in helper processes
    Helper,
    /// Native code, compiled to artifacts and loaded from these
    Artifact,
    /// Code for aarch64 in an emulator, if the program was built with the feature `emulate`
    Aarch64,
    /// Native code whose translation is disturbed at random: see --seed
    Chaos,
    /// Native code that hands over to the interpreter after 0, 1, 2, ... basic blocks, in turn
    Handover,
}

impl EngineArg {
    fn engines(self, seed: u64) -> Vec<Engine> {
        match self {
            Self::Interpreter => vec![Engine::Interpreter],
            Self::Native => vec![Engine::Native],
            Self::Helper => vec![Engine::Helper],
            Self::Artifact => vec![Engine::Artifact],
            Self::Aarch64 => vec![Engine::Aarch64],
            Self::Chaos => vec![Engine::Chaos(seed)],
            Self::Handover => Engine::HAND_OVERS.to_vec(),
        }
    }
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let store = self.store.as_deref().map(EngineStore::open).transpose()?;
        let runners = (self.engine.engines(self.seed).into_iter())
            .map(|engine| EngineRunner::with_store(engine, self.opt.level(), store.as_ref()))
            .collect::<Result<Vec<_>, EngineError>>()
            .map_err(|error| CommandError::Failed(error.to_string()))?;
        let start = Instant::now();
        let bar = terminal::progress(statetest::count_files(&self.paths), "files");
        let options = Options { threads: self.threads };
        let report = statetest::run_suite(&self.paths, &runners, options, &|_| bar.inc(1));
        bar.finish_and_clear();
        let report = report?;
        let problem = runners.iter().find_map(EngineRunner::problem);
        if self.json {
            print_json(&report)?;
        } else {
            print_text(&report, &runners, start);
        }
        conclude(report, problem)
    }
}

/// Failed cases weigh more than what went wrong beside them, and that more than malformed
/// files. Malformed files are told one line each, the last one by whoever gets the error.
fn conclude(mut report: Report, problem: Option<String>) -> Result<(), CommandError> {
    let Counts { failed, cases, .. } = report.counts;
    let result = if failed > 0 {
        Err(CommandError::Failed(format!("{failed} of {cases} cases failed")))
    } else if let Some(problem) = problem {
        Err(CommandError::Failed(problem))
    } else {
        report.malformed.pop().map_or(Ok(()), |error| Err(error.into()))
    };
    for error in &report.malformed {
        terminal::error(error);
    }
    result
}

fn print_json(report: &Report) -> Result<(), CommandError> {
    for failure in &report.failures {
        say!("{}", terminal::json(failure)?);
    }
    say!("{}", terminal::json(&report.counts)?);
    Ok(())
}

fn print_text(report: &Report, runners: &[EngineRunner], start: Instant) {
    for failure in &report.failures {
        print_failure(failure);
    }
    let counts = &report.counts;
    let number = |n: usize| measure::count(n as u64);
    say!(
        "{} files, {} cases: {} passed, {} failed, {} skipped, in {}",
        number(counts.files),
        number(counts.cases),
        number(counts.passed),
        number(counts.failed),
        number(counts.skipped),
        measure::time(start.elapsed()),
    );
    for runner in runners.iter().filter(|runner| runner.engine() != Engine::Interpreter) {
        let compilations = runner.compilations();
        say!(
            "{}: {} contracts compiled, {} failed to compile",
            runner.engine(),
            measure::count(compilations.succeeded),
            measure::count(compilations.failed),
        );
    }
}

fn print_failure(failure: &CaseFailure) {
    let CaseFailure { file, test, fork, index, engine, what, expected, got } = failure;
    say!("{}: {file}", terminal::red("FAILED"));
    say!("  test      {test}");
    say!("  case      {fork}, index {index}");
    say!("  engine    {engine}");
    say!("  {what}: expected {expected}, got {got}");
}
