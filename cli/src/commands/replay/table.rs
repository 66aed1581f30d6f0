//! The tables of `cranevm replay`: blocks, each mode, and the sums.

use crate::terminal::{self, say};
use cranevm_cli::{
    measure::{count, time},
    replay::{Aggregate, BlockReport, LeftOut, Mode, Ratio, Report, Row, Shares, Times},
};
use std::time::Duration;

/// Prints all of a report.
pub(super) fn print(report: &Report) {
    let crypto = if report.node_crypto { "as nodes build them" } else { "portable" };
    say!("{}, {} CPUs; Keccak and precompiled contracts {crypto}", report.cpu, report.cpus);
    say!("rounds {}, seed {}\n", report.rounds, report.seed);
    say!("{}\n", blocks(report));
    for mode in &report.modes {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.mode == *mode).collect();
        if !rows.is_empty() {
            say!("{mode}\n{}\n", mode_table(report, &rows));
        }
    }
    say!("{}", sums(report));
    say!("\nonce per process: {} of processor time", nanos(report.once_cpu_ns));
    for difference in &report.differences {
        let mode = difference.mode.map_or("header".into(), |mode: Mode| mode.to_string());
        let place = format!("{} ({}, {mode})", difference.block, difference.engine);
        let [place, what] = [&place, &difference.what].map(|text| terminal::printable(text));
        say!("{} {place}: {what}", terminal::red("differs:"));
    }
}

fn blocks(report: &Report) -> impl std::fmt::Display {
    let mut table = terminal::table(&[
        "block",
        "fork",
        "transactions",
        "gas",
        "interpreter",
        "precompiles",
        "header",
        "sums",
    ]);
    for block in &report.blocks {
        table.add_row(block_cells(block));
    }
    table.trim_fmt()
}

fn block_cells(block: &BlockReport) -> [String; 8] {
    [
        terminal::printable(&block.name),
        block.fork.into(),
        block.transactions.to_string(),
        count(block.gas_used),
        nanos(block.interpreter_ns),
        percent(block.precompiles),
        // Colour would count as text in the column's width.
        if block.header_matches { "equal" } else { "DIFFERS" }.into(),
        left_out(block.left_out).into(),
    ]
}

fn left_out(reason: Option<LeftOut>) -> &'static str {
    match reason {
        None => "yes",
        Some(LeftOut::Precompiles) => "no: precompiles",
        Some(LeftOut::Short) => "no: below 1 ms",
        Some(LeftOut::Failed) => "no: failed",
    }
}

/// Engines side by side, a row for each block.
fn mode_table(report: &Report, rows: &[&Row]) -> impl std::fmt::Display {
    let engines: Vec<&str> = (report.engines.iter().map(String::as_str))
        .filter(|engine| rows.iter().any(|row| row.engine == *engine))
        .collect();
    let compiles = rows.iter().any(|row| row.compile_cpu_ns.is_some());
    let mut header = vec!["block", "interpreter", ""];
    for engine in &engines {
        header.extend([engine, "", "ratio", "frames", "gas", "hand-overs"]);
        if compiles {
            header.push("compiling");
        }
    }
    let mut table = terminal::table(&header);
    for block in &report.blocks {
        let of = |engine: &&str| {
            rows.iter().find(|row| row.block == block.name && row.engine == **engine)
        };
        let Some(first) = engines.first().and_then(of) else { continue };
        let mark = if first.counted { "" } else { " *" };
        let mut cells = vec![format!("{}{mark}", terminal::printable(&block.name))];
        cells.extend(times(&first.interpreter));
        for row in engines.iter().filter_map(of) {
            cells.extend(times(&row.native));
            cells.push(format!("{:.2}x", row.ratio.value));
            cells.extend(match row.mode {
                // Nothing is counted, as nothing runs by what is found.
                Mode::Found => ["–", "–", "–"].map(String::from),
                _ => [
                    percent(row.shares.native_frames()),
                    percent(row.shares.native_gas()),
                    count(row.shares.handed_over()),
                ],
            });
            cells.extend(row.compile_cpu_ns.map(nanos));
        }
        table.add_row(cells);
    }
    table.trim_fmt()
}

fn sums(report: &Report) -> impl std::fmt::Display {
    let mut table = terminal::table(&[
        "mode",
        "engine",
        "blocks",
        "interpreter",
        "native",
        "ratio",
        "range",
        "min",
        "median",
        "max",
        "frames",
        "gas",
        "most interpreted",
        "saved",
        "compiling",
        "programs",
        "code",
    ]);
    for sum in &report.aggregates {
        table.add_row(sum_cells(sum));
    }
    table.trim_fmt()
}

fn sum_cells(sum: &Aggregate) -> [String; 17] {
    let Ratio { value, low, high } = sum.ratio;
    let [frames, gas, interpreted] = match sum.mode {
        Mode::Found => ["–", "–", "–"].map(String::from),
        _ => [
            percent(sum.shares.native_frames()),
            percent(sum.shares.native_gas()),
            most_interpreted(&sum.shares),
        ],
    };
    let saved = u64::try_from(sum.saved_ns.unsigned_abs()).unwrap_or(u64::MAX);
    let sign = if sum.saved_ns < 0 { "-" } else { "" };
    [
        sum.mode.to_string(),
        sum.engine.clone(),
        sum.blocks.to_string(),
        nanos(sum.interpreter_ns),
        nanos(sum.native_ns),
        format!("{value:.3}x"),
        format!("{low:.3} .. {high:.3}"),
        format!("{:.2}", sum.of_blocks.min),
        format!("{:.2}", sum.of_blocks.median),
        format!("{:.2}", sum.of_blocks.max),
        frames,
        gas,
        interpreted,
        format!("{sign}{}", nanos(saved)),
        nanos(sum.compiling.cpu_ns),
        count(sum.compiling.programs),
        format!("{:.1} MB", sum.compiling.code_bytes as f64 / 1e6),
    ]
}

/// Why most of the gas that wasn't native wasn't.
fn most_interpreted(shares: &Shares) -> String {
    shares.most_interpreted().map_or_else(
        || "nothing".into(),
        |(reason, share)| format!("{} {}", reason.replace('_', " "), percent(share)),
    )
}

/// A median and its spread.
fn times(times: &Times) -> [String; 2] {
    [nanos(times.median_ns), format!("±{}", percent(times.spread()))]
}

fn nanos(ns: u64) -> String {
    time(Duration::from_nanos(ns))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
