//! Compares two sets of measurements, as a Markdown table: lines of `cranevm bench --json` and of
//! `instructions --json`, those of one version in the first file, those of the other in the second.
//!
//! A contract may have several lines of a level: then the median counts. `compare.sh` measures two
//! revisions and calls it.

#![deny(unsafe_code)]

use clap::Parser;
use cranevm_benches::level::Level;
use cranevm_cli::measure::{count, median, time};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// Compare two sets of measurements
#[derive(Debug, Parser)]
struct Arguments {
    /// Lines of `cranevm bench --json` and `instructions --json` of one version
    before: PathBuf,
    /// Those of the other
    after: PathBuf,
}

/// The fields that are compared: times in nanoseconds, sizes in bytes, counts of instructions.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    name: String,
    opt: Level,
    compile_ns: Option<u64>,
    native_ns: Option<u64>,
    interp_ns: Option<u64>,
    code_bytes: Option<u64>,
    compile_instructions: Option<u64>,
    native_instructions: Option<u64>,
}

/// What a column compares.
struct Metric {
    title: &'static str,
    of: fn(&Row) -> Option<u64>,
    show: fn(u64) -> String,
}

const METRICS: [Metric; 6] = [
    Metric { title: "compile", of: |row| row.compile_ns, show: nanoseconds },
    Metric {
        title: "compile, instructions",
        of: |row| row.compile_instructions,
        show: |value| count(value),
    },
    Metric { title: "code bytes", of: |row| row.code_bytes, show: |value| count(value) },
    Metric { title: "native run", of: |row| row.native_ns, show: nanoseconds },
    Metric { title: "native / interpreter", of: relative_run, show: thousandths },
    Metric {
        title: "native run, instructions",
        of: |row| row.native_instructions,
        show: |value| count(value),
    },
];

fn nanoseconds(ns: u64) -> String {
    time(Duration::from_nanos(ns))
}

fn thousandths(value: u64) -> String {
    format!("{:.3}", value as f64 / 1e3)
}

/// The native run's time in thousandths of the interpreter's, of the same process: moves less than
/// the times.
fn relative_run(row: &Row) -> Option<u64> {
    Some(row.native_ns?.saturating_mul(1000) / row.interp_ns?.max(1))
}

#[derive(Debug, thiserror::Error)]
enum CompareError {
    #[error("{file}: can't be read: {error}")]
    Input { file: String, error: io::Error },
    #[error("{file}:{line}: isn't a measurement: {error}")]
    Line { file: String, line: usize, error: serde_json::Error },
    #[error("the two files have no contract at one level in common")]
    NothingInCommon,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let compared = read(&arguments.before)
        .and_then(|before| Ok((before, read(&arguments.after)?)))
        .and_then(|(before, after)| table(&before, &after));
    match compared {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All lines of each contract and level.
type Lines = BTreeMap<(Level, String), Vec<Row>>;

fn read(path: &Path) -> Result<Lines, CompareError> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| CompareError::Input { file: file.clone(), error })?;
    parse(&file, &text)
}

fn parse(file: &str, text: &str) -> Result<Lines, CompareError> {
    let mut lines = Lines::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Row = serde_json::from_str(line).map_err(|error| CompareError::Line {
            file: file.to_owned(),
            line: index + 1,
            error,
        })?;
        lines.entry((row.opt, row.name.clone())).or_default().push(row);
    }
    Ok(lines)
}

/// The median of a metric over lines that have it.
fn value(rows: &[Row], metric: &Metric) -> Option<u64> {
    let values: Vec<u64> = rows.iter().filter_map(metric.of).collect();
    (!values.is_empty()).then(|| median(&values))
}

fn table(before: &Lines, after: &Lines) -> Result<String, CompareError> {
    let common: Vec<_> =
        before.iter().filter_map(|(key, rows)| Some((key, rows, after.get(key)?))).collect();
    if common.is_empty() {
        return Err(CompareError::NothingInCommon);
    }
    let metrics: Vec<&Metric> = METRICS
        .iter()
        .filter(|metric| {
            let measured = |rows: &[Row]| value(rows, metric).is_some();
            common.iter().any(|(_, before, after)| measured(before) && measured(after))
        })
        .collect();
    let mut text = String::from("| contract | level |");
    // Writing to a `String` doesn't fail.
    for metric in &metrics {
        let _ = write!(text, " {} |", metric.title);
    }
    let _ = writeln!(text, "\n| --- | --- |{}", " ---: |".repeat(metrics.len()));
    for ((level, name), before, after) in common {
        let _ = write!(text, "| {name} | {} |", level.name());
        for metric in &metrics {
            let _ =
                write!(text, " {} |", cell(metric, value(before, metric), value(after, metric)));
        }
        text.push('\n');
    }
    Ok(text)
}

/// `before → after (change)`; nothing if one is missing.
fn cell(metric: &Metric, before: Option<u64>, after: Option<u64>) -> String {
    let (Some(before), Some(after)) = (before, after) else { return String::new() };
    let show = metric.show;
    if before == after {
        return show(after);
    }
    let change = 100.0 * (after as f64 - before as f64) / before.max(1) as f64;
    format!("{} → {} ({change:+.1} %)", show(before), show(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines {
        parse("f", text).unwrap()
    }

    #[test]
    fn shows_the_change_of_medians() {
        let run = |native: u64| {
            format!(
                r#"{{"name":"a","opt":"none","compile_ns":1000,"native_ns":{native},
                "interp_ns":4000,"code_bytes":10}}"#
            )
            .replace('\n', "")
        };
        let before = [run(1000), run(9000), run(2000)].join("\n");
        let table = table(&lines(&before), &lines(&run(1500))).unwrap();
        assert!(table.contains("2.00 µs → 1.50 µs (-25.0 %)"), "{table}");
        assert!(table.contains("0.500 → 0.375 (-25.0 %)"), "{table}");
        assert!(table.contains("| 1.00 µs | 10 |"), "unchanged, and without counts: {table}");
    }

    #[test]
    fn counts_stand_beside_the_times_of_their_contract() {
        let text = r#"{"name":"a","opt":"none","compile_ns":1000}
{"name":"a","opt":"none","compile_instructions":7000,"native_instructions":5}"#;
        let table = table(&lines(text), &lines(text)).unwrap();
        assert!(table.contains("| a | none | 1.00 µs | 7,000 | 5 |"), "{table}");
    }

    #[test]
    fn nothing_in_common_is_an_error() {
        let (a, b) = (r#"{"name":"a","opt":"none"}"#, r#"{"name":"a","opt":"default"}"#);
        assert!(matches!(table(&lines(a), &lines(b)), Err(CompareError::NothingInCommon)));
        assert!(parse("f", "{}").unwrap_err().to_string().starts_with("f:1:"));
    }
}
