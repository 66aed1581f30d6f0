//! What was measured, as a table or as JSON.

use crate::{blocks::Kind, node::Executed};
use cranevm::runtime::RuntimeStatsSnapshot;

/// What executed a block, and how well it knew the contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Interpreter,
    Cold,
    Warm,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Interpreter => "interpreter",
            Self::Cold => "jit, cold",
            Self::Warm => "jit, warm",
        }
    }
}

/// The quickest of an engine's rounds over the blocks of a kind.
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
    pub(crate) executed: Executed,
    /// The backend's, after the round.
    pub(crate) stats: RuntimeStatsSnapshot,
}

/// Prints a table for people: aligned columns, the units in the head.
pub(crate) fn print_table(lines: &[Line]) {
    println!(
        "{:<9} {:<12} {:>6} {:>9} {:>10} {:>9} {:>7}  {:>9} {:>10} {:>9} {:>10}",
        "blocks",
        "engine",
        "txs",
        "Mgas",
        "time (ms)",
        "Mgas/s",
        "ratio",
        "programs",
        "code (KiB)",
        "hits",
        "misses",
    );
    for line in lines {
        let Executed { transactions, gas, time, .. } = line.executed;
        print!(
            "{:<9} {:<12} {transactions:>6} {:>9.1} {:>10.2} {:>9.1} {:>6.2}x",
            line.kind.name(),
            line.phase.name(),
            gas as f64 / 1e6,
            time.as_secs_f64() * 1e3,
            line.executed.mgas_per_second(),
            ratio(lines, line),
        );
        if line.phase != Phase::Interpreter {
            let stats = &line.stats;
            print!(
                "  {:>9} {:>10} {:>9} {:>10}",
                stats.resident_entries,
                stats.jit_code_bytes.div_ceil(1024),
                stats.lookup_hits,
                stats.lookup_misses,
            );
        }
        println!();
    }
}

/// Prints JSON for machines: times in seconds, sizes in bytes.
pub(crate) fn print_json(lines: &[Line], agree: bool) -> eyre::Result<()> {
    let rows: Vec<_> = lines
        .iter()
        .map(|line| {
            serde_json::json!({
                "blocks": line.kind.name(),
                "engine": line.phase.name(),
                "transactions": line.executed.transactions,
                "gas": line.executed.gas,
                "seconds": line.executed.time.as_secs_f64(),
                "mgas_per_second": line.executed.mgas_per_second(),
                "speed_over_interpreter": ratio(lines, line),
                "resident_entries": line.stats.resident_entries,
                "jit_code_bytes": line.stats.jit_code_bytes,
                "jit_data_bytes": line.stats.jit_data_bytes,
                "lookup_hits": line.stats.lookup_hits,
                "lookup_misses": line.stats.lookup_misses,
                "compilations_succeeded": line.stats.compilations_succeeded,
                "compilations_failed": line.stats.compilations_failed,
            })
        })
        .collect();
    let report = serde_json::json!({ "roots_agree": agree, "rows": rows });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// How many times as quick as the interpreter on the same blocks; 1 if it didn't run.
fn ratio(lines: &[Line], line: &Line) -> f64 {
    let is_base = |other: &&Line| other.kind == line.kind && other.phase == Phase::Interpreter;
    let base = lines.iter().find(is_base).unwrap_or(line);
    base.executed.time.as_secs_f64() / line.executed.time.as_secs_f64().max(1e-9)
}
