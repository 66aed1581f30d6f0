//! The `cranevm` program: EVM contracts run, measured, compiled, explained and tested natively.
//!
//! Exit codes: 0 all well; 1 a check failed; 2 bad input or usage, said in one line.
#![deny(unsafe_code)]

mod commands;
mod terminal;

use clap::{Parser, Subcommand, error::ErrorKind};
use cranevm::runtime::maybe_run_jit_helper;
use cranevm_cli::{CommandError, InputError};
use std::{ops::ControlFlow, process::ExitCode};

/// EVM contracts as native code.
#[derive(Debug, Parser)]
#[command(name = "cranevm", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(commands::run::Command),
    Bench(commands::bench::Command),
    Compile(commands::compile::Command),
    Statetest(commands::statetest::Command),
    Replay(commands::replay::Command),
    Block(commands::block::Command),
    Explain(commands::explain::Command),
    Aot(commands::aot::Command),
}

fn main() -> ExitCode {
    // This program is its own helper process.
    match maybe_run_jit_helper() {
        Ok(ControlFlow::Continue(())) => {}
        Ok(ControlFlow::Break(())) => return ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(CommandError::Failed(format!("helper process: {error:#}")));
            return ExitCode::from(1);
        }
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        Command::Run(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Compile(command) => command.run(),
        Command::Statetest(command) => command.run(),
        Command::Replay(command) => command.run(),
        Command::Block(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Aot(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(&error);
            error.exit_code()
        }
    }
}

/// Help and usage errors as clap writes them; a bad value is bad input, and one line.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        let text = error.render().to_string();
        let text = text.split("\n\n").next().unwrap_or_default();
        let text = text.strip_prefix("error: ").unwrap_or(text);
        let error = CommandError::Input(InputError::new("usage", text));
        terminal::error(&error);
        return error.exit_code();
    }
    let written = error.print();
    match (error.use_stderr(), written) {
        (true, _) => ExitCode::from(2),
        (false, Ok(())) => ExitCode::SUCCESS,
        (false, Err(_)) => ExitCode::from(1),
    }
}
