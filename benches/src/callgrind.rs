//! Counting executed instructions: a program runs itself under Valgrind, which counts within one
//! function.
//!
//! Times on a shared machine vary by a tenth; these counts by a thousandth, so they show small
//! differences. They aren't times: an instruction may cost anything between a quarter of a cycle
//! and a cache miss.

use cranevm_cli::CommandError;
use std::{
    fmt::Display,
    fs,
    hint::black_box,
    io,
    path::Path,
    process::{self, Stdio},
};

/// A failure with a text.
pub fn failed(error: impl Display) -> CommandError {
    CommandError::Failed(error.to_string())
}

/// Whether there is a Valgrind to count with.
///
/// # Errors
/// If there is none.
pub fn check() -> Result<(), CommandError> {
    let version = process::Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    match version {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format_args!("`valgrind --version` failed: {status}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(failed("valgrind isn't installed; it counts the instructions"))
        }
        Err(error) => Err(failed(format_args!("valgrind can't be started: {error}"))),
    }
}

/// The instructions that this program executes within [`twice_then_measured`]'s measured rounds,
/// when it is run with `arguments`.
///
/// # Errors
/// If it can't be run, or fails: then with the last line that it wrote.
pub fn count<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Result<u64, CommandError> {
    let profile = tempfile::NamedTempFile::new()?;
    let output = process::Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*measured_rounds*"])
        .arg(format!("--callgrind-out-file={}", profile.path().display()))
        .arg(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        let reason = log.lines().rfind(|line| !line.starts_with("==")).unwrap_or("no message");
        return Err(failed(format_args!("valgrind: {}: {reason}", output.status)));
    }
    read_total(profile.path()).map_err(|error| failed(format_args!("the profile: {error}")))
}

/// The total of a profile: its line `totals: N`, or `summary: N` where a version has no totals.
fn read_total(profile: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(profile)?;
    total_of(&text).ok_or_else(|| io::Error::other("has no total"))
}

fn total_of(profile: &str) -> Option<u64> {
    let find = |key| profile.lines().rev().find_map(|line| line.strip_prefix(key));
    let total: u64 = find("totals:").or_else(|| find("summary:"))?.trim().parse().ok()?;
    // Nothing was collected: then the program doesn't have the function that switches counting on.
    (total > 0).then_some(total)
}

/// Two rounds to warm up, which also tell whether the work succeeds, and then those that count.
///
/// # Errors
/// Those of the work.
pub fn twice_then_measured<T, E: Display>(
    rounds: u64,
    mut work: impl FnMut() -> Result<T, E>,
) -> Result<(), CommandError> {
    work().map_err(failed)?;
    work().map_err(failed)?;
    measured_rounds(rounds, &mut || drop(black_box(work())));
    Ok(())
}

/// Valgrind counts from the entry of this function to its end; it is found by its name.
#[inline(never)]
fn measured_rounds(rounds: u64, work: &mut dyn FnMut()) {
    for _ in 0..rounds {
        work();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_total_of_a_profile() {
        assert_eq!(total_of("events: Ir\nfn=(1) a\n1 17\n\ntotals: 1234\n"), Some(1234));
        assert_eq!(total_of("summary: 7\n"), Some(7));
        assert_eq!(total_of("events: Ir\ntotals: 0\n"), None, "nothing was collected");
        assert_eq!(total_of("events: Ir\n"), None);
    }
}
