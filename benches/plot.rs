//! Draws the charts of docs/performance.md from the lines of `cranevm compile --json` and
//! `cranevm bench --json`.
//!
//! ```sh
//! plot compile compile.jsonl > compile_time.svg    # compile time per byte against size
//! plot speed bench.jsonl > speed_up.svg            # speed-up against size
//! ```
//!
//! `report.sh` measures and calls it.

#![deny(unsafe_code)]

use clap::{Parser, ValueEnum};
use cranevm_benches::{
    chart::{Chart, Point, Series},
    level::Level,
};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, io, path::PathBuf, process::ExitCode};

/// Draw a chart of measurements, as SVG
#[derive(Debug, Parser)]
struct Arguments {
    /// What to draw
    #[arg(value_enum)]
    what: What,
    /// Lines of `cranevm compile --json` or `cranevm bench --json`, of one level or several
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Compile time per byte against size (lines of `compile`)
    Compile,
    /// Speed-up over the interpreter against size (lines of `bench`)
    Speed,
}

/// The fields that the charts show. Times are in nanoseconds.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    /// A summary has none.
    name: Option<String>,
    opt: Level,
    bytecode_len: f64,
    compile_ns: f64,
    interp_ns: Option<f64>,
    native_ns: Option<f64>,
}

#[derive(Debug, thiserror::Error)]
enum PlotError {
    #[error("{file}: can't be read: {error}")]
    Input { file: String, error: io::Error },
    #[error("{file}:{line}: isn't a measurement: {error}")]
    Line { file: String, line: usize, error: serde_json::Error },
    #[error("there is nothing to draw")]
    Empty,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match read(&arguments.files).and_then(|rows| draw(arguments.what, &rows)) {
        Ok(chart) => {
            print!("{chart}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Row>, PlotError> {
    let mut rows = Vec::new();
    for path in files {
        let file = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|error| PlotError::Input { file: file.clone(), error })?;
        rows.extend(parse(&file, &text)?);
    }
    Ok(rows)
}

fn parse(file: &str, text: &str) -> Result<Vec<Row>, PlotError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| PlotError::Line {
                file: file.to_owned(),
                line: index + 1,
                error,
            })
        })
        .collect()
}

fn draw(what: What, rows: &[Row]) -> Result<Chart, PlotError> {
    let mut series: BTreeMap<Level, Vec<Point>> = BTreeMap::new();
    for row in rows {
        let Some(name) = &row.name else { continue };
        let y = match (what, row.interp_ns, row.native_ns) {
            (What::Compile, ..) => row.compile_ns / 1e3 / row.bytecode_len,
            (What::Speed, Some(interpreted), Some(native)) => interpreted / native,
            (What::Speed, ..) => continue,
        };
        let point = Point { x: row.bytecode_len, y, name: name.clone() };
        series.entry(row.opt).or_default().push(point);
    }
    if series.is_empty() {
        return Err(PlotError::Empty);
    }
    let series = series
        .into_iter()
        .map(|(level, points)| Series { name: level.name().to_owned(), points })
        .collect();
    let (title, y_label) = match what {
        What::Compile => ("Compile time of deployed contracts", "compile time (µs per byte)"),
        What::Speed => ("Transactions, native against interpreted", "speed-up (interpreter = 1)"),
    };
    Ok(Chart {
        title: title.to_owned(),
        x_label: "bytecode (bytes)".to_owned(),
        y_label: y_label.to_owned(),
        mark: (what == What::Speed).then_some(1.0),
        names: what == What::Speed,
        series,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"name":"a","opt":"default","bytecode_len":100,"compile_ns":400000}
{"name":"b","opt":"none","bytecode_len":100,"compile_ns":1,"interp_ns":9,"native_ns":3}
{"opt":"none","contracts":2,"bytecode_len":200,"compile_ns":400001}
"#;

    #[test]
    fn a_series_for_each_level() {
        let rows = parse("f", LINES).unwrap();
        let chart = draw(What::Compile, &rows).unwrap();
        let names: Vec<_> = chart.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["none", "default"]);
        assert_eq!(chart.series[1].points[0].y, 4.0);
    }

    #[test]
    fn only_what_ran_has_a_speed() {
        let chart = draw(What::Speed, &parse("f", LINES).unwrap()).unwrap();
        assert_eq!(chart.series.len(), 1);
        assert_eq!(chart.series[0].points[0].y, 3.0);
    }

    #[test]
    fn bad_input_is_told() {
        let error = parse("f", "\n{}").unwrap_err();
        assert!(error.to_string().starts_with("f:2: isn't a measurement"), "{error}");
        assert!(matches!(draw(What::Speed, &[]), Err(PlotError::Empty)));
    }
}
