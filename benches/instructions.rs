//! Counts executed instructions with Valgrind: of compiling a contract, and of running its
//! transaction natively and in revm's interpreter.
//!
//! Each number comes from a process of its own (`callgrind`): this program again, with the hidden
//! option `--work`.

#![deny(unsafe_code)]

use clap::{Parser, ValueEnum};
use cranevm::OptimizationLevel;
use cranevm_benches::{
    callgrind::{self, failed, twice_then_measured},
    level::Level,
};
use cranevm_cli::{CommandError, Engine, EngineRunner, Fixture, measure::count, shipped};
use cranevm_codegen::{Compiler, CompilerOptions};
use serde::Serialize;
use std::process::ExitCode;

/// Count executed instructions with Valgrind: compilation, and the transaction on both engines
#[derive(Debug, Parser)]
struct Arguments {
    /// .json fixtures, or names of shipped contracts
    #[arg(required = true, value_name = "FIXTURE")]
    fixtures: Vec<String>,
    /// Optimization levels
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none,default")]
    opt: Vec<Level>,
    /// How often to repeat what is counted; the counts are means
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// A line of JSON for each fixture and level
    #[arg(long)]
    json: bool,
    /// Do the work that is counted, on the only fixture called this
    #[arg(long, hide = true, value_enum, requires = "only")]
    work: Option<Work>,
    /// The name of the fixture in its file
    #[arg(long, hide = true)]
    only: Option<String>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Work {
    /// Compiling the entry contract.
    Compile,
    /// The transaction, in revm's interpreter.
    Interpret,
    /// The transaction, natively.
    Native,
}

impl Work {
    /// As on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::Interpret => "interpret",
            Self::Native => "native",
        }
    }
}

/// A line of output. Counts are of instructions, for one compilation or transaction.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    opt: Level,
    bytecode_len: usize,
    compile_instructions: u64,
    interp_instructions: u64,
    native_instructions: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match (arguments.work, &arguments.only) {
        (Some(work), Some(only)) => do_work(work, only, &arguments),
        _ => count_all(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

/// Counts everything and prints it.
fn count_all(arguments: &Arguments) -> Result<(), CommandError> {
    callgrind::check()?;
    let mut rows = Vec::new();
    for argument in &arguments.fixtures {
        for fixture in shipped::fixtures(argument)? {
            // The same at each level.
            let interpreted =
                run_counted(Work::Interpret, Level::None, argument, &fixture, arguments)?;
            for &level in &arguments.opt {
                let count = |work| run_counted(work, level, argument, &fixture, arguments);
                let row = Row {
                    name: fixture.name.clone(),
                    opt: level,
                    bytecode_len: fixture.entry_code().len(),
                    compile_instructions: count(Work::Compile)?,
                    interp_instructions: interpreted,
                    native_instructions: count(Work::Native)?,
                };
                if arguments.json {
                    println!("{}", serde_json::to_string(&row).map_err(failed)?);
                }
                rows.push(row);
            }
        }
    }
    if !arguments.json {
        print_table(&rows);
    }
    Ok(())
}

/// The instructions of one round of `work`.
fn run_counted(
    work: Work,
    level: Level,
    argument: &str,
    fixture: &Fixture,
    arguments: &Arguments,
) -> Result<u64, CommandError> {
    let rounds = arguments.rounds.to_string();
    let words = ["--work", work.name(), "--opt", level.name(), "--only", &fixture.name];
    let words = [&words[..], &["--rounds", &rounds, argument]].concat();
    let total = callgrind::count(&words).map_err(|error| {
        failed(format_args!("{}, {} at {}: {error}", fixture.name, work.name(), level.name()))
    })?;
    Ok(total / arguments.rounds)
}

/// Does `work` on the fixture called `only`, part of it measured.
fn do_work(work: Work, only: &str, arguments: &Arguments) -> Result<(), CommandError> {
    let [argument] = &arguments.fixtures[..] else {
        return Err(failed("--work takes one fixture"));
    };
    let fixtures = shipped::fixtures(argument)?;
    let fixture = fixtures
        .iter()
        .find(|fixture| fixture.name == only)
        .ok_or_else(|| failed(format_args!("{argument} has no fixture {only}")))?;
    let level = arguments.opt.first().map_or_else(Default::default, |level| level.level());
    match work {
        Work::Compile => compile(fixture, level, arguments.rounds),
        Work::Interpret => {
            // So that both engines find the heap as a compilation leaves it.
            compile(fixture, level, 0)?;
            run(&EngineRunner::interpreter(), fixture, arguments.rounds)
        }
        Work::Native => {
            let runner = EngineRunner::new(Engine::Native, level).map_err(failed)?;
            run(&runner, fixture, arguments.rounds)?;
            match runner.compilations().failed {
                0 => Ok(()),
                failures => Err(failed(format_args!("{failures} contract(s) weren't compiled"))),
            }
        }
    }
}

fn compile(
    fixture: &Fixture,
    opt_level: OptimizationLevel,
    rounds: u64,
) -> Result<(), CommandError> {
    let (code, spec) = (fixture.entry_code(), fixture.default_spec());
    let options = CompilerOptions { opt_level, ..CompilerOptions::default() };
    let mut compiler = Compiler::new(options).map_err(failed)?;
    twice_then_measured(rounds, || compiler.compile(&code, spec))
}

fn run(runner: &EngineRunner, fixture: &Fixture, rounds: u64) -> Result<(), CommandError> {
    let environment = fixture.environment(fixture.default_spec());
    let mut session = runner.session(&environment, fixture.database());
    twice_then_measured(rounds, || session.run())
}

fn print_table(rows: &[Row]) {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(8);
    println!(
        "{:<width$} {:>10} {:>8} {:>15} {:>8} {:>15} {:>15} {:>7}",
        "fixture", "level", "bytes", "compile", "per byte", "interpreter", "native", "ratio"
    );
    for row in rows {
        let per_byte = row.compile_instructions / row.bytecode_len.max(1) as u64;
        let ratio = row.interp_instructions as f64 / row.native_instructions as f64;
        println!(
            "{:<width$} {:>10} {:>8} {:>15} {:>8} {:>15} {:>15} {:>7}",
            row.name,
            row.opt.name(),
            count(row.bytecode_len as u64),
            count(row.compile_instructions),
            count(per_byte),
            count(row.interp_instructions),
            count(row.native_instructions),
            format!("{ratio:.2}x"),
        );
    }
}
