//! `cranevm compile`: compile times and code sizes of many contracts, one after the other on one
//! thread.

use super::{
    Opt, contract_list, new_compiler,
    phases::{Passes, PhaseTotals, Phases, passes},
};
use crate::terminal;
use crate::terminal::say;
use clap::Args;
use cranevm_cli::{
    CommandError,
    error::panic_message,
    measure::{self, nanos, quantile, us_per_byte},
    spec,
};
use cranevm_codegen::{CompileError, CompiledCode, Compiler, CompilerOptions, PassSet, Triple};
use cranevm_passes::{ir::program::JumpStats, pipeline::Pass};
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

/// The last line of JSON. Sums are over all contracts.
#[derive(Serialize)]
struct Summary {
    opt: &'static str,
    contracts: usize,
    failed: usize,
    bytecode_len: usize,
    opcodes: u64,
    compile_ns: u64,
    phases_ns: Phases,
    passes_ns: Passes,
    clif_instructions: u64,
    code_bytes: usize,
    us_per_byte: UsPerByte,
    code_bytes_per_byte: CodeBytesPerByte,
    jumps: Jumps,
}

/// How many jumps there are, by what is known of their targets.
#[derive(Clone, Copy, Default, Serialize)]
struct Jumps {
    /// To a constant.
    constant: u64,
    /// Computed, with likely targets.
    resolved: u64,
    /// Computed, of which nothing is known.
    unresolved: u64,
}

impl From<JumpStats> for Jumps {
    fn from(stats: JumpStats) -> Self {
        let [constant, resolved, unresolved] =
            [stats.constant, stats.resolved, stats.unresolved].map(u64::from);
        Self { constant, resolved, unresolved }
    }
}

/// Bytes of machine code per byte of bytecode.
#[derive(Serialize)]
struct CodeBytesPerByte {
    /// Of all contracts together.
    total: f64,
    /// The mean of the contracts' own.
    mean: f64,
}

/// Microseconds of compilation per byte of bytecode: of all together, and quantiles over contracts.
#[derive(Serialize)]
struct UsPerByte {
    total: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
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
            totals: Totals { opt: self.opt.name(), ..Totals::default() },
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
            opt: self.totals.opt,
            bytecode_len: code.len(),
            opcodes: compiled.map_or(0, |code| code.report.opcodes),
            compile_ns: nanos(time),
            phases_ns: compiled.map(|code| Phases::from(&code.timings)).unwrap_or_default(),
            passes_ns: compiled.map(|code| passes(&code.report.pass_times)).unwrap_or_default(),
            clif_instructions: compiled.map_or(0, |code| code.report.clif_instructions),
            code_bytes: compiled.map_or(0, CompiledCode::code_bytes),
            blocks: compiled.map_or(0, |code| code.report.blocks),
            chunks: compiled.map_or(0, CompiledCode::chunks),
            entries: compiled.map_or(0, |code| code.entries.len()),
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
        row.name,
        row.bytecode_len,
        measure::time(time),
        row.code_bytes,
        row.chunks,
        per_byte,
    )
}

#[derive(Default)]
struct Totals {
    opt: &'static str,
    bytecode_len: usize,
    opcodes: u64,
    code_bytes: usize,
    clif_instructions: u64,
    time: Duration,
    phases: PhaseTotals,
    failed: usize,
    contracts: usize,
    jumps: Jumps,
    /// Picoseconds per byte of each contract that isn't empty: integers, so that they sort.
    ps_per_byte: Vec<u64>,
    /// Sum of the contracts' bytes of machine code per byte.
    code_bytes_per_byte: f64,
}

impl Totals {
    fn add(&mut self, row: &Row<'_>, time: Duration) {
        self.contracts += 1;
        self.bytecode_len += row.bytecode_len;
        self.opcodes += u64::from(row.opcodes);
        self.code_bytes += row.code_bytes;
        self.clif_instructions += u64::from(row.clif_instructions);
        self.time += time;
        self.jumps.constant += row.jumps.constant;
        self.jumps.resolved += row.jumps.resolved;
        self.jumps.unresolved += row.jumps.unresolved;
        self.phases.add(&row.phases_ns, &row.passes_ns);
        self.failed += usize::from(row.error.is_some());
        if row.error.is_none() && row.bytecode_len > 0 {
            let per_byte = row.compile_ns.saturating_mul(1000) / row.bytecode_len as u64;
            self.ps_per_byte.push(per_byte);
            self.code_bytes_per_byte += row.code_bytes as f64 / row.bytecode_len as f64;
        }
    }

    fn summary(self) -> Summary {
        let at = |q: f64| quantile(&self.ps_per_byte, q) as f64 / 1e6;
        Summary {
            opt: self.opt,
            contracts: self.contracts,
            failed: self.failed,
            bytecode_len: self.bytecode_len,
            opcodes: self.opcodes,
            compile_ns: nanos(self.time),
            us_per_byte: UsPerByte {
                total: us_per_byte(nanos(self.time), self.bytecode_len),
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                max: at(1.0),
            },
            phases_ns: self.phases.phases,
            passes_ns: self.phases.passes,
            clif_instructions: self.clif_instructions,
            code_bytes: self.code_bytes,
            jumps: self.jumps,
            code_bytes_per_byte: CodeBytesPerByte {
                total: self.code_bytes as f64 / self.bytecode_len.max(1) as f64,
                mean: self.code_bytes_per_byte / self.ps_per_byte.len().max(1) as f64,
            },
        }
    }

    fn finish(self, json: bool) -> Result<(), CommandError> {
        let summary = self.summary();
        if json {
            say!("{}", terminal::json(&summary)?);
        } else {
            print_summary(&summary);
        }
        match summary.failed {
            0 => Ok(()),
            failed => Err(CommandError::Failed(format!(
                "{failed} of {} contracts couldn't be compiled",
                summary.contracts
            ))),
        }
    }
}

fn print_summary(summary: &Summary) {
    say!(
        "\n{} contracts at {}, {} failed: {} bytes of bytecode, {} opcodes",
        measure::count(summary.contracts as u64),
        summary.opt,
        summary.failed,
        measure::count(summary.bytecode_len as u64),
        measure::count(summary.opcodes),
    );
    let Jumps { constant, resolved, unresolved } = summary.jumps;
    let [constant, resolved, unresolved] = [constant, resolved, unresolved].map(measure::count);
    say!("jumps: {constant} constant, {resolved} resolved, {unresolved} unresolved");
    say!("{}", phase_table(summary).trim_fmt());
    let UsPerByte { total, p50, p90, p99, max } = summary.us_per_byte;
    let mut table = terminal::table(&["per byte", "total", "mean", "p50", "p90", "p99", "max"]);
    let time = |value: f64| format!("{value:.3}");
    table.add_row(
        ["us", &time(total), "", &time(p50), &time(p90), &time(p99), &time(max)].map(str::to_owned),
    );
    let CodeBytesPerByte { total, mean } = summary.code_bytes_per_byte;
    let bytes = |value: f64| format!("{value:.1}");
    table.add_row(["code/B", &bytes(total), &bytes(mean), "", "", "", ""].map(str::to_owned));
    say!("{}", table.trim_fmt());
}

/// Where the time went. Passes are parts of `parse`.
fn phase_table(summary: &Summary) -> comfy_table::Table {
    let mut table = terminal::table(&["phase", "time", "share"]);
    let Phases { parse, translate, optimize, codegen } = summary.phases_ns;
    let phases =
        [("parse", parse), ("translate", translate), ("optimize", optimize), ("codegen", codegen)];
    let passes = Pass::ALL.map(|pass| {
        let time = summary.passes_ns.get(pass.name()).copied().unwrap_or_default();
        (format!("  {}", pass.name()), time)
    });
    let [first, rest @ ..] = phases.map(|(name, time)| (name.to_owned(), time));
    for (name, ns) in [first].into_iter().chain(passes).chain(rest) {
        let share = 100.0 * ns as f64 / summary.compile_ns.max(1) as f64;
        table.add_row([name, measure::time(Duration::from_nanos(ns)), format!("{share:.1} %")]);
    }
    table
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
