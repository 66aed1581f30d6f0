//! Counts executed instructions with Valgrind: of compiling a contract, and of running its
//! transaction natively and in revm's interpreter.
//!
//! Times on a shared machine vary by a tenth; these counts by a thousandth, so they show small
//! differences between two versions. They aren't times: an instruction may cost anything between a
//! quarter of a cycle and a cache miss.
//!
//! Each number comes from a process of its own under `callgrind`, which collects only within
//! `measured`: this program again, with the hidden option `--work`.

#![deny(unsafe_code)]

use clap::{Parser, ValueEnum};
use cranevm::OptimizationLevel;
use cranevm_benches::level::Level;
use cranevm_cli::{CommandError, Engine, EngineRunner, Fixture, measure::count, shipped};
use cranevm_codegen::{Compiler, CompilerOptions};
use serde::Serialize;
use std::{
    fmt::Display,
    fs,
    hint::black_box,
    io,
    path::Path,
    process::{self, ExitCode, Stdio},
};

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

fn failed(error: impl Display) -> CommandError {
    CommandError::Failed(error.to_string())
}

/// Counts everything and prints it.
fn count_all(arguments: &Arguments) -> Result<(), CommandError> {
    check_valgrind()?;
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

/// Whether there is a Valgrind to count with.
fn check_valgrind() -> Result<(), CommandError> {
    let version = process::Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    match version {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format_args!("`valgrind --version` failed: {status}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(failed("valgrind isn't installed; it counts the instructions"))
        }
        Err(error) => Err(failed(format_args!("valgrind can't be started: {error}"))),
    }
}

/// The instructions of one round of `work`.
fn run_counted(
    work: Work,
    level: Level,
    argument: &str,
    fixture: &Fixture,
    arguments: &Arguments,
) -> Result<u64, CommandError> {
    let profile = tempfile::NamedTempFile::new()?;
    let output = process::Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*measured_rounds*"])
        .arg(format!("--callgrind-out-file={}", profile.path().display()))
        .arg(std::env::current_exe()?)
        .args(["--work", work.name(), "--opt", level.name(), "--only", &fixture.name])
        .args(["--rounds", &arguments.rounds.to_string(), argument])
        .stdin(Stdio::null())
        .output()?;
    let at = format!("{}, {} at {}", fixture.name, work.name(), level.name());
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        let reason = log.lines().rfind(|line| !line.starts_with("==")).unwrap_or("no message");
        return Err(failed(format_args!("{at}: valgrind: {}: {reason}", output.status)));
    }
    let total = read_total(profile.path())
        .map_err(|error| failed(format_args!("{at}: the profile: {error}")))?;
    Ok(total / arguments.rounds)
}

/// The total of a profile: its line `totals: N`, or `summary: N` where a version has no totals.
fn read_total(profile: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(profile)?;
    total_of(&text).ok_or_else(|| io::Error::other("has no total"))
}

fn total_of(profile: &str) -> Option<u64> {
    let find = |key| profile.lines().rev().find_map(|line| line.strip_prefix(key));
    let total: u64 = find("totals:").or_else(|| find("summary:"))?.trim().parse().ok()?;
    // Nothing was collected: then the program doesn't have the function that switches counting on.
    (total > 0).then_some(total)
}

/// Does `work` on the fixture called `only`, the measured part of it in [`measured_rounds`].
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

/// Two rounds to warm up, which also tell whether the work succeeds, and then those that count.
fn twice_then_measured<T, E: Display>(
    rounds: u64,
    mut work: impl FnMut() -> Result<T, E>,
) -> Result<(), CommandError> {
    work().map_err(failed)?;
    work().map_err(failed)?;
    measured_rounds(rounds, &mut || drop(black_box(work())));
    Ok(())
}

/// Valgrind counts from the entry of this function to its end; it is found by its name.
#[inline(never)]
fn measured_rounds(rounds: u64, work: &mut dyn FnMut()) {
    for _ in 0..rounds {
        work();
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_total_of_a_profile() {
        assert_eq!(total_of("events: Ir\nfn=(1) a\n1 17\n\ntotals: 1234\n"), Some(1234));
        assert_eq!(total_of("summary: 7\n"), Some(7));
        assert_eq!(total_of("events: Ir\ntotals: 0\n"), None, "nothing was collected");
        assert_eq!(total_of("events: Ir\n"), None);
    }
}
