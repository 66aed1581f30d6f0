//! What the runtime costs blocks that it runs nothing of natively, in executed instructions beside
//! plain revm's.
//!
//! | | |
//! | --- | --- |
//! | off | a backend that is never switched on: nothing is looked up. Goal: 0.5 % |
//! | watched | a backend that is on, and paused: each frame looks for its program, and is counted |
//!
//! Each number comes from a process of its own (`callgrind`): this program again, with the hidden
//! option `--work`. The state is copied within what is counted, for both.

#![deny(unsafe_code)]

use clap::{Parser, ValueEnum};
use cranevm::runtime::{JitBackend, RuntimeConfig};
use cranevm_benches::callgrind::{self, failed, twice_then_measured};
use cranevm_cli::{
    CommandError,
    measure::count,
    replay::{self, ReplayBlock, Subject},
};
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode};

/// Count what the runtime costs blocks that it runs nothing of
#[derive(Debug, Parser)]
struct Arguments {
    /// .json or .json.xz files of blocks, or directories of such [default: the shipped blocks]
    #[arg(value_name = "BLOCKS")]
    blocks: Vec<PathBuf>,
    /// A line of JSON for each block
    #[arg(long)]
    json: bool,
    /// Do the work that is counted, on the block called `--only`
    #[arg(long, hide = true, value_enum, requires = "only")]
    work: Option<Work>,
    /// The name of a block
    #[arg(long, hide = true)]
    only: Option<String>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Work {
    /// Plain revm.
    Revm,
    /// A backend that is off.
    Off,
    /// A backend that compiles nothing.
    Watched,
}

impl Work {
    /// As on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Revm => "revm",
            Self::Off => "off",
            Self::Watched => "watched",
        }
    }
}

/// A line of output: instructions that a block takes.
#[derive(Debug, Serialize)]
struct Row {
    block: String,
    revm: u64,
    off: u64,
    watched: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let blocks = replay::blocks(&arguments.blocks)?;
    if let (Some(work), Some(only)) = (arguments.work, &arguments.only) {
        let block = blocks.iter().find(|block| block.name == *only);
        return do_work(work, block.ok_or_else(|| failed(format_args!("no block {only}")))?);
    }
    callgrind::check()?;
    let mut rows = Vec::new();
    for block in &blocks {
        let count = |work| count_work(work, &block.name, arguments);
        let [revm, off, watched] = [count(Work::Revm)?, count(Work::Off)?, count(Work::Watched)?];
        let row = Row { block: block.name.clone(), revm, off, watched };
        if arguments.json {
            println!("{}", serde_json::to_string(&row).map_err(failed)?);
        }
        rows.push(row);
    }
    if !arguments.json {
        print_table(&rows);
    }
    Ok(())
}

fn count_work(work: Work, block: &str, arguments: &Arguments) -> Result<u64, CommandError> {
    let mut words = vec!["--work".into(), work.name().into(), "--only".into(), block.into()];
    words.extend(arguments.blocks.iter().map(|path| path.as_os_str().to_os_string()));
    callgrind::count(&words)
        .map_err(|error| failed(format_args!("{block}, {}: {error}", work.name())))
}

fn do_work(work: Work, block: &ReplayBlock) -> Result<(), CommandError> {
    let subject = |subject: Subject<'_>| {
        twice_then_measured(1, || subject.run(block, &mut || ()).map_err(failed))
    };
    match work {
        Work::Revm => subject(Subject::Interpreter),
        Work::Off => subject(Subject::Native(&JitBackend::disabled())),
        Work::Watched => {
            let config = RuntimeConfig { enabled: true, ..Default::default() };
            let backend = JitBackend::new(config).map_err(failed)?;
            backend.pause();
            subject(Subject::Native(&backend))?;
            match backend.stats().compilations_succeeded {
                0 => Ok(()),
                compiled => Err(failed(format_args!("{compiled} contracts were compiled"))),
            }
        }
    }
}

fn print_table(rows: &[Row]) {
    let width = rows.iter().map(|row| row.block.len()).max().unwrap_or(0).max(5);
    println!(
        "{:<width$} {:>15} {:>15} {:>8} {:>15} {:>8}",
        "block", "revm", "off", "more", "watched", "more"
    );
    for row in rows {
        let more = |n: u64| format!("{:+.2} %", (n as f64 / row.revm.max(1) as f64 - 1.0) * 100.0);
        println!(
            "{:<width$} {:>15} {:>15} {:>8} {:>15} {:>8}",
            row.block,
            count(row.revm),
            count(row.off),
            more(row.off),
            count(row.watched),
            more(row.watched),
        );
    }
}
