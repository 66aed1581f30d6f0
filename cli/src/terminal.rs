//! Output for people and for programs: colour, progress, tables, JSON lines.
//!
//! `anstream` removes colour where the output isn't a terminal.

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};
use cranevm_cli::CommandError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::{
    fmt::{Arguments, Display},
    io::{ErrorKind, Write},
    process,
};

/// Prints a line to the standard output.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::terminal::write_line(format_args!($($argument)*))
    };
}
pub(crate) use say;

/// Writes a line to the standard output. If it can't be written, the program ends: quietly with
/// code 0 if nobody reads any more, else with an error and code 1.
pub(crate) fn write_line(line: Arguments<'_>) {
    let Err(error) = writeln!(anstream::stdout().lock(), "{line}") else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        process::exit(0);
    }
    self::error(format_args!("the output can't be written: {error}"));
    process::exit(1);
}

/// Red: something is wrong.
pub(crate) fn red(text: impl Display) -> String {
    coloured(AnsiColor::Red, text)
}

/// Green: something that was checked holds.
pub(crate) fn green(text: impl Display) -> String {
    coloured(AnsiColor::Green, text)
}

fn coloured(colour: AnsiColor, text: impl Display) -> String {
    let style = Style::new().bold().fg_color(Some(colour.into()));
    format!("{style}{text}{style:#}")
}

/// Prints an error to the standard error, as one line. If that can't be written to, the exit code
/// has to tell.
pub(crate) fn error(error: impl Display) {
    let _unwritten = writeln!(anstream::stderr(), "{}: {error}", red("error"));
}

/// A name from a file, as text in a line: without control characters, which would end the line or
/// colour what follows.
pub(crate) fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A progress bar on the standard error if that is a terminal, and else nothing.
pub(crate) fn progress(total: Option<usize>, unit: &str) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total as u64),
        None => ProgressBar::no_length(),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => format!("{{bar:40}} {{human_pos}}/{{human_len}} {unit}, {{eta}} left"),
        None => format!("{{spinner}} {{human_pos}} {unit}, {{elapsed}}"),
    };
    // The templates are constant and valid; were one not, the default look would do.
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// One line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<String, CommandError> {
    serde_json::to_string(value).map_err(|error| CommandError::Failed(error.to_string()))
}

/// A table without lines; all columns but the first are aligned to the right.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
