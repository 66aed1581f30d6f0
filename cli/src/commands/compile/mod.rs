//! `cranevm compile`: compile times and code sizes of many contracts, one after the other on one
//! thread.

mod totals;

use self::totals::{Jumps, Totals};
use super::{
    Opt, contract_list, new_compiler,
    phases::{Passes, Phases, passes},
};
use crate::terminal::{self, say};
use clap::Args;
use cranevm_cli::{
    CommandError,
    error::panic_message,
    measure::{self, nanos, us_per_byte},
    spec,
};
use cranevm_codegen::{CompileError, CompiledCode, Compiler, CompilerOptions, PassSet, Triple};
use indicatif::ProgressBar;
use revm::primitives::hardfork::SpecId;
use serde::Serialize;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// Compile contracts and report times and sizes
///
/// Exits with 1 if a contract isn't compiled.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// .jsonl or .jsonl.xz files (objects with "name" and "bytecode"), and whatever `run` takes
    #[arg(required = true, value_name = "CONTRACTS")]
    contracts: Vec<String>,
    /// Optimization level
    #[arg(long, value_enum, default_value_t)]
    opt: Opt,
    /// Fork
    #[arg(long, value_parser = spec::parse, default_value = "Osaka")]
    spec: SpecId,
    /// Passes to leave out, to find the one that a defect comes from: simplify, remove-unused, ...
    #[arg(long, value_name = "PASS", value_delimiter = ',', value_parser = super::parse_pass)]
    skip: Vec<PassSet>,
    /// Machine to compile for, by its target triple; nothing is assumed of its CPU [default: this
    /// one, with all that its CPU has]
    #[arg(long, value_name = "TRIPLE", value_parser = super::parse_target)]
    target: Option<Triple>,
    /// A line of JSON for each contract, then one with the totals
    #[arg(long)]
    json: bool,
}

/// A line of output.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    opt: &'static str,
    bytecode_len: usize,
    opcodes: u32,
    compile_ns: u64,
    phases_ns: Phases,
    /// What `phases_ns.parse` consists of.
    passes_ns: Passes,
    clif_instructions: u32,
    code_bytes: usize,
    blocks: u32,
    chunks: usize,
    jumps: Jumps,
    entries: usize,
    /// `ok` or `failed`.
    status: &'static str,
    error: Option<String>,
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let options = CompilerOptions {
            opt_level: self.opt.level(),
            skip_passes: self.skip.iter().copied().fold(PassSet::NONE, PassSet::union),
            predict_jumps: true,
            ..Default::default()
        };
        let mut batch = Batch {
            options,
            compiler: new_compiler(options, self.target.as_ref())?,
            target: self.target,
            spec: self.spec,
            json: self.json,
            bar: terminal::progress(None, "contracts"),
            totals: Totals::at(self.opt.name()),
        };
        if !self.json {
            batch.bar.suspend(print_header);
        }
        for argument in &self.contracts {
            contract_list::for_each(argument, &mut |name, code| batch.compile(name, &code))?;
        }
        batch.bar.finish_and_clear();
        batch.totals.finish(self.json)
    }
}

/// The contracts of one run of the command, on one compiler.
struct Batch {
    options: CompilerOptions,
    compiler: Compiler,
    target: Option<Triple>,
    spec: SpecId,
    json: bool,
    bar: ProgressBar,
    totals: Totals,
}

/// Why a contract isn't compiled.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Refused(#[from] CompileError),
    #[error("the compiler panicked: {0}")]
    Panicked(String),
}

/// Runs a compilation, and makes a panic of it a failure.
fn contain<T>(compilation: impl FnOnce() -> Result<T, CompileError>) -> Result<T, Failure> {
    // Unwind safety: whoever lent a compiler that panicked replaces it.
    match catch_unwind(AssertUnwindSafe(compilation)) {
        Ok(result) => result.map_err(Failure::Refused),
        Err(payload) => Err(Failure::Panicked(panic_message(&*payload).to_owned())),
    }
}

impl Batch {
    fn compile(&mut self, name: &str, code: &[u8]) -> Result<(), CommandError> {
        let start = Instant::now();
        let result = contain(|| self.compiler.compile(code, self.spec));
        let time = start.elapsed();
        if let Err(Failure::Panicked(_)) = result {
            // A panic may have left anything in its buffers.
            self.compiler = new_compiler(self.options, self.target.as_ref())?;
        }
        self.report(name, code, &result, time)
    }

    fn report(
        &mut self,
        name: &str,
        code: &[u8],
        result: &Result<CompiledCode, Failure>,
        time: Duration,
    ) -> Result<(), CommandError> {
        let (compiled, error) = match result {
            Ok(compiled) => (Some(compiled), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let row = Row {
            name,
            opt: self.totals.opt(),
            bytecode_len: code.len(),
            opcodes: compiled.map_or(0, |code| code.report.opcodes),
            compile_ns: nanos(time),
            phases_ns: compiled.map(|code| Phases::from(&code.timings)).unwrap_or_default(),
            passes_ns: compiled.map(|code| passes(&code.report.pass_times)).unwrap_or_default(),
            clif_instructions: compiled.map_or(0, |code| code.report.clif_instructions),
            code_bytes: compiled.map_or(0, CompiledCode::code_bytes),
            blocks: compiled.map_or(0, |code| code.report.blocks),
            chunks: compiled.map_or(0, CompiledCode::chunks),
            entries: compiled.map_or(0, CompiledCode::entries),
            jumps: compiled.map_or_else(Jumps::default, |code| code.report.jumps.into()),
            status: if error.is_none() { "ok" } else { "failed" },
            error,
        };
        self.totals.add(&row, time);
        let line = if self.json { terminal::json(&row)? } else { text_line(&row, time) };
        self.bar.suspend(|| say!("{line}"));
        self.bar.inc(1);
        Ok(())
    }
}

fn print_header() {
    say!(
        "{:<48} {:>9} {:>10} {:>10} {:>7} {:>9}  status",
        "contract",
        "bytecode",
        "time",
        "code",
        "chunks",
        "us/byte"
    );
}

fn text_line(row: &Row<'_>, time: Duration) -> String {
    let per_byte = us_per_byte(row.compile_ns, row.bytecode_len);
    let status = match &row.error {
        None => terminal::green(row.status),
        Some(error) => format!("{}: {error}", terminal::red(row.status)),
    };
    format!(
        "{:<48} {:>7} B {:>10} {:>8} B {:>7} {:>9.3}  {status}",
        terminal::printable(row.name),
        row.bytecode_len,
        measure::time(time),
        row.code_bytes,
        row.chunks,
        per_byte,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_of_its_contract() {
        let panicking = || -> Result<(), CompileError> { panic!("chunk {} broke", 7) };
        let failure = contain(panicking).unwrap_err();
        assert_eq!(failure.to_string(), "the compiler panicked: chunk 7 broke");
        assert_eq!(contain(|| Ok(1)).unwrap(), 1);
    }
}
