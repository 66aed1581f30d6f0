//! How much longer hostile code takes to compile than a contract of the same size: each of
//! `cranevm_tests::hostile` beside the contract given, in one process, as a Markdown table.
//!
//! The work that is counted for the same codes is bounded by `tests/tests/hostile.rs`; this shows
//! what isn't counted: how long Cranelift takes for it.

#![deny(unsafe_code)]

use clap::Parser;
use cranevm_benches::level::Level;
use cranevm_cli::{CommandError, Contract, measure::median};
use cranevm_codegen::{CompileError, Compiler, CompilerOptions};
use cranevm_tests::hostile::{ALL, Hostile};
use revm::primitives::hardfork::SpecId;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Compare the compile time of hostile code with that of a contract, as a Markdown table
#[derive(Debug, Parser)]
struct Arguments {
    /// The contract to compare with: a file, or the name of a shipped one
    #[arg(default_value = "large_24k")]
    reference: String,
    /// Optimization levels
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none,default")]
    opt: Vec<Level>,
    /// Length of the hostile code in KiB
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1024))]
    kib: u32,
    /// Compilations of each code; the medians count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Compile what is unlikely to run too
    #[arg(long)]
    all: bool,
    /// Only those whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let reference = Contract::resolve(&arguments.reference)?;
    println!("| code | level | time | µs/byte | of {} | CLIF/byte | of {0} |", reference.name);
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
    for &level in &arguments.opt {
        let options = CompilerOptions {
            opt_level: level.level(),
            compile_all: arguments.all,
            ..CompilerOptions::default()
        };
        let failed = |error: CompileError| CommandError::Failed(error.to_string());
        let mut compiler = Compiler::new(options).map_err(failed)?;
        let base = Cost::of(&mut compiler, &reference.code, arguments.rounds).map_err(failed)?;
        print_row(&reference.name, level, &base, &base);
        let wanted = ALL.iter().filter(|hostile| hostile.name.contains(&arguments.only));
        for Hostile { name, code } in wanted {
            let code = code(arguments.kib as usize * 1024);
            match Cost::of(&mut compiler, &code, arguments.rounds) {
                Ok(cost) => print_row(name, level, &cost, &base),
                Err(error) => println!("| {name} | {} | {error} | | | | |", level.name()),
            }
        }
    }
    Ok(())
}

/// What a compilation costs.
struct Cost {
    time: Duration,
    bytes: usize,
    clif_instructions: u32,
}

impl Cost {
    fn of(compiler: &mut Compiler, code: &[u8], rounds: u32) -> Result<Self, CompileError> {
        let mut times = Vec::new();
        let mut clif_instructions = 0;
        for _ in 0..rounds {
            let start = Instant::now();
            clif_instructions = compiler.compile(code, SpecId::OSAKA)?.report.clif_instructions;
            times.push(start.elapsed());
        }
        Ok(Self { time: median(&times), bytes: code.len(), clif_instructions })
    }

    fn us_per_byte(&self) -> f64 {
        self.time.as_secs_f64() * 1e6 / self.bytes.max(1) as f64
    }

    fn clif_per_byte(&self) -> f64 {
        f64::from(self.clif_instructions) / self.bytes.max(1) as f64
    }
}

fn print_row(name: &str, level: Level, cost: &Cost, base: &Cost) {
    println!(
        "| {name} | {} | {:.1?} | {:.2} | {:.1} | {:.1} | {:.1} |",
        level.name(),
        cost.time,
        cost.us_per_byte(),
        cost.us_per_byte() / base.us_per_byte(),
        cost.clif_per_byte(),
        cost.clif_per_byte() / base.clif_per_byte(),
    );
}
