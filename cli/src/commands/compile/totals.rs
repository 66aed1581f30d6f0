//! The last lines of `cranevm compile`: sums, and means and quantiles over the contracts.

use super::Row;
use crate::{
    commands::phases::{Passes, PhaseTotals, Phases},
    terminal::{self, say},
};
use cranevm_cli::{
    CommandError,
    measure::{self, nanos, quantile, us_per_byte},
};
use cranevm_passes::{ir::program::JumpStats, pipeline::Pass};
use serde::Serialize;
use std::time::Duration;

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
pub(super) struct Jumps {
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

/// What all contracts of a run come to.
#[derive(Default)]
pub(super) struct Totals {
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
    /// Of no contract yet, at a level.
    pub(super) fn at(opt: &'static str) -> Self {
        Self { opt, ..Self::default() }
    }

    /// The level's name.
    pub(super) const fn opt(&self) -> &'static str {
        self.opt
    }

    /// Adds a contract.
    pub(super) fn add(&mut self, row: &Row<'_>, time: Duration) {
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

    /// Prints them.
    ///
    /// # Errors
    /// If a contract wasn't compiled.
    pub(super) fn finish(self, json: bool) -> Result<(), CommandError> {
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
