//! Formats measurements, read from standard input, as Markdown: the lines of `cranevm bench --json`
//! as one table for each level, compile time and execution side by side; with `--corpus`, the
//! summaries among the lines of `cranevm compile --json` as a table with a row for each level.
//!
//! `report.sh` measures and calls it. Exits with 1 if a line can't be read or an engine disagrees
//! with the interpreter, for then the numbers mean nothing.

#![deny(unsafe_code)]

use cranevm_cli::measure::{count, time};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write, io::Read, process::ExitCode, time::Duration};

/// The fields of a line that the tables show. Times are in nanoseconds.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    name: String,
    opt: String,
    bytecode_len: u64,
    chunks: u64,
    compile_ns: u64,
    code_bytes: u64,
    interp_ns: u64,
    native_ns: u64,
    hand_overs: f64,
    #[serde(rename = "match")]
    agrees: bool,
}

/// The fields of a summary that the corpus table shows.
#[derive(Clone, Debug, Deserialize)]
struct Summary {
    opt: String,
    contracts: u64,
    failed: u64,
    bytecode_len: u64,
    phases_ns: BTreeMap<String, u64>,
    clif_instructions: u64,
    us_per_byte: BTreeMap<String, f64>,
    code_bytes_per_byte: BTreeMap<String, f64>,
}

#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("standard input can't be read: {0}")]
    Input(#[from] std::io::Error),
    #[error("line {line} isn't a measurement: {error}")]
    Line { line: usize, error: serde_json::Error },
    #[error("no measurements on standard input")]
    Empty,
    #[error("{failed} contract(s) weren't compiled at {opt}")]
    NotCompiled { failed: u64, opt: String },
    #[error("usage: report [--corpus] < LINES")]
    Usage,
    #[error("{0}: native code and the interpreter disagree")]
    Disagreement(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let format: fn(&str) -> Result<String, ReportError> = match &arguments[..] {
        [] => report,
        [option] if option == "--corpus" => corpus,
        _ => |_| Err(ReportError::Usage),
    };
    match read().and_then(|text| format(&text)) {
        Ok(tables) => {
            print!("{tables}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read() -> Result<String, ReportError> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// The tables of all levels.
fn report(text: &str) -> Result<String, ReportError> {
    let mut levels: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Row = serde_json::from_str(line)
            .map_err(|error| ReportError::Line { line: index + 1, error })?;
        if !row.agrees {
            return Err(ReportError::Disagreement(row.name));
        }
        levels.entry(row.opt.clone()).or_default().push(row);
    }
    if levels.is_empty() {
        return Err(ReportError::Empty);
    }
    // In order of effort, which isn't that of the names.
    let effort = ["none", "less", "default", "aggressive"];
    let mut levels: Vec<_> = levels.into_iter().collect();
    levels.sort_by_key(|(level, _)| effort.iter().position(|&name| name == level));
    Ok(levels.iter().map(|(level, rows)| table(level, rows)).collect::<Vec<_>>().join("\n"))
}

fn table(level: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "Level `{level}`:\n\n\
         | contract | bytes | chunks | compile | us/byte | code/byte | interpreter | native | speed-up | hand-overs |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for row in rows {
        // Writing to a `String` doesn't fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.2} | {:.1} | {} | {} | {:.2}x | {} |",
            row.name,
            count(row.bytecode_len),
            row.chunks,
            time(Duration::from_nanos(row.compile_ns)),
            ratio(row.compile_ns, row.bytecode_len) / 1e3,
            ratio(row.code_bytes, row.bytecode_len),
            time(Duration::from_nanos(row.interp_ns)),
            time(Duration::from_nanos(row.native_ns)),
            ratio(row.interp_ns, row.native_ns),
            row.hand_overs,
        );
    }
    text
}

/// The table of many contracts: a row for each summary.
fn corpus(text: &str) -> Result<String, ReportError> {
    let mut rows = String::new();
    let mut first = None;
    for (index, line) in text.lines().enumerate() {
        // Lines of single contracts have no such field; nor need they be read.
        if !line.contains("\"us_per_byte\"") {
            continue;
        }
        let summary: Summary = serde_json::from_str(line)
            .map_err(|error| ReportError::Line { line: index + 1, error })?;
        if summary.failed > 0 {
            return Err(ReportError::NotCompiled { failed: summary.failed, opt: summary.opt });
        }
        rows.push_str(&corpus_row(&summary));
        first.get_or_insert(summary);
    }
    let Summary { contracts, bytecode_len, .. } = first.ok_or(ReportError::Empty)?;
    Ok(format!(
        "{} contracts, {} bytes, one thread. Times in us per byte.\n\n\
         | level | total | median | p90 | p99 | max | parse | translate | optimize | codegen | \
         CLIF/byte | code/byte, total | code/byte, mean |\n\
         | --- |{}\n{rows}",
        count(contracts),
        count(bytecode_len),
        " ---: |".repeat(12),
    ))
}

fn corpus_row(summary: &Summary) -> String {
    // What a line lacks is shown as not a number.
    let of =
        |values: &BTreeMap<String, f64>, key: &str| values.get(key).copied().unwrap_or(f64::NAN);
    let phase = |key: &str| {
        let ns = summary.phases_ns.get(key).copied().unwrap_or_default();
        format!("{:.2}", ratio(ns, summary.bytecode_len) / 1e3)
    };
    let time = |key: &str| format!("{:.2}", of(&summary.us_per_byte, key));
    let code = |key: &str| format!("{:.1}", of(&summary.code_bytes_per_byte, key));
    let cells = [
        format!("`{}`", summary.opt),
        time("total"),
        time("p50"),
        time("p90"),
        time("p99"),
        time("max"),
        phase("parse"),
        phase("translate"),
        phase("optimize"),
        phase("codegen"),
        format!("{:.2}", ratio(summary.clif_instructions, summary.bytecode_len)),
        code("total"),
        code("mean"),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// Not a number for an empty contract, and shown as such.
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, opt: &str, agrees: bool) -> String {
        format!(
            r#"{{"name":"{name}","spec":"Osaka","opt":"{opt}","bytecode_len":1000,"opcodes":600,
            "chunks":2,"compile_ns":1500000,"phases_ns":{{"parse":1}},"code_bytes":15000,
            "interp_ns":9000000,"native_ns":2000000,"hand_overs":0.0,"gas_interp":1,"gas_native":1,"match":{agrees}}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn a_table_for_each_level_in_order_of_effort() {
        let text = [line("a", "default", true), line("a", "none", true), line("b", "none", true)];
        let tables = report(&text.join("\n")).unwrap();
        let (none, default) = tables.split_once("Level `default`").unwrap();
        assert!(none.starts_with("Level `none`"));
        assert!(
            none.contains(
                "| b | 1,000 | 2 | 1.50 ms | 1.50 | 15.0 | 9.00 ms | 2.00 ms | 4.50x | 0 |"
            )
        );
        assert!(default.contains("| a | 1,000 |"));
    }

    #[test]
    fn a_row_for_each_summary() {
        let line = r#"{"opt":"none","contracts":2,"failed":FAILED,"bytecode_len":1000,
            "phases_ns":{"parse":50000},"clif_instructions":2500,
            "us_per_byte":{"total":1.5,"p50":1.25},"code_bytes_per_byte":{"total":20.0}}"#
            .replace('\n', "");
        let text = format!("{{\"name\":\"a\"}}\n{}", line.replace("FAILED", "0"));
        let table = corpus(&text).unwrap();
        assert!(table.starts_with("2 contracts, 1,000 bytes"));
        assert!(table.contains("| `none` | 1.50 | 1.25 | NaN | NaN | NaN | 0.05 |"), "{table}");
        assert!(table.contains("| 2.50 | 20.0 | NaN |"));
        let failed = corpus(&line.replace("FAILED", "1"));
        assert!(matches!(failed, Err(ReportError::NotCompiled { failed: 1, .. })));
        assert!(matches!(corpus("{}"), Err(ReportError::Empty)));
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        assert!(matches!(report(""), Err(ReportError::Empty)));
        let text = format!("{}\n{{}}", line("a", "none", true));
        assert!(matches!(report(&text), Err(ReportError::Line { line: 2, .. })));
        let error = report(&line("a", "none", false)).unwrap_err().to_string();
        assert_eq!(error, "a: native code and the interpreter disagree");
    }
}
