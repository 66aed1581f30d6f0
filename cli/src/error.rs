//! The two ways a command ends badly, and the exit code of each.

use std::{any::Any, fmt, path::Path, process::ExitCode};

/// Input that can't be used: what is wrong with it, and where. One line.
///
/// `place` is a file name, `file:line:column`, an option's name or the argument itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct InputError {
    /// Where.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

impl InputError {
    /// An error at `place`.
    pub fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        // Messages of libraries may have several lines; an error is one.
        let problem = problem.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { place: shorten(&place.to_string(), 200), problem: shorten(&problem, 1000) }
    }

    /// A file that can't be read.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::new(path.display(), format_args!("can't be read: {error}"))
    }
}

/// A command-line argument may be a whole contract in hex: of a text above `max` characters, shows
/// the beginning and the end.
fn shorten(text: &str, max: usize) -> String {
    let one_line: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let length = one_line.len();
    if length <= max {
        return one_line.into_iter().collect();
    }
    let head: String = one_line[..max / 4].iter().collect();
    let tail: String = one_line[length - max / 4..].iter().collect();
    format!("{head}…{tail} ({length} characters)")
}

/// The message of a caught panic.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    (payload.downcast_ref::<String>().map(String::as_str))
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Bad input or usage: exit code 2.
    #[error(transparent)]
    Input(#[from] InputError),
    /// What was checked doesn't hold, or the work couldn't be done: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The output can't be written: exit code 1.
    #[error("can't write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl CommandError {
    /// The exit code: 2 for bad input, 1 for a failure.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Input(_) => ExitCode::from(2),
            Self::Failed(_) | Self::Output(_) => ExitCode::from(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_short_line() {
        let error = InputError::new("6".repeat(5000), "first\n  second");
        let text = error.to_string();
        assert!(!text.contains('\n'));
        assert!(text.len() < 300, "{text}");
        assert!(text.ends_with("first second"));
    }
}
