//! The runner of Ethereum's state tests (the format of `ethereum/tests` and of
//! `execution-spec-tests`, parsed by `revm-statetest-types`).
//!
//! Files are run on all cores, by threads with stacks deep enough for 1024 nested frames; a panic
//! in a case is a failure of the case. The engines are shared by the threads, so that a contract is
//! compiled once, and their compiled code is dropped when it grows beyond a bound.

mod case;
mod input;
mod report;
mod roots;

pub use report::{CaseFailure, Counts, Report};
pub use roots::{logs_hash, state_root};

use crate::{EngineRunner, InputError, fixture::json_error};
use case::Case;
use input::TestFile;
use revm_statetest_types::{TestSuite, TestUnit};
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

/// Stack of a thread that runs tests, in bytes.
const STACK_BYTES: usize = 64 << 20;
/// Most threads; each has a stack of its own, and more than cores gain nothing.
const MAX_THREADS: usize = 1024;

/// Files read from an archive ahead of the threads.
const FILES_AHEAD: usize = 32;
/// Compiled code that the engines together may hold, in bytes, before it is dropped.
const CODE_BYTES: u64 = 512 << 20;

/// How to run a suite.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Threads; `None` for one a core.
    pub threads: Option<NonZeroUsize>,
}

/// The number of files in `paths`, if none of them is an archive.
pub fn count_files(paths: &[PathBuf]) -> Option<usize> {
    paths.iter().map(|path| input::count_files(path)).sum()
}

/// Runs every state test of `paths` on each of `runners`. `on_file` sees the report of each file as
/// it is done, from the thread that ran it.
///
/// # Errors
///
/// A path that can't be read or has no tests. A file that isn't a state test is no error of the
/// suite: it is in [`Report::malformed`].
pub fn run_suite(
    paths: &[PathBuf],
    runners: &[EngineRunner],
    options: Options,
    on_file: &(dyn Fn(&Report) + Sync),
) -> Result<Report, InputError> {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = options.threads.unwrap_or(cores).get();
    if threads > MAX_THREADS {
        let problem = format!("{threads} are more than the {MAX_THREADS} that can be started");
        return Err(InputError::new("--threads", problem));
    }
    let total = Mutex::new(Report::default());
    let (sender, receiver) = sync_channel(FILES_AHEAD);
    let receiver = Mutex::new(receiver);
    let worker = || {
        while let Some(file) = next(&receiver) {
            let report = run_test_file(file, runners);
            on_file(&report);
            total.lock().unwrap_or_else(PoisonError::into_inner).add(report);
        }
    };
    thread::scope(|scope| {
        for index in 0..threads {
            thread::Builder::new()
                .name(format!("statetest-{index}"))
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, worker)
                .map_err(|error| InputError::new("--threads", error))?;
        }
        feed(paths, sender)
    })?;
    let mut report = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures.sort_by(|a, b| (&a.file, &a.test).cmp(&(&b.file, &b.test)));
    report.malformed.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(report)
}

fn next(receiver: &Mutex<Receiver<TestFile>>) -> Option<TestFile> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Sends all files; the channel closes when the sender goes.
fn feed(paths: &[PathBuf], sender: SyncSender<TestFile>) -> Result<(), InputError> {
    paths
        .iter()
        .try_for_each(|path| input::for_each_file(path, &mut |file| sender.send(file).is_ok()))
}

/// Runs the state tests of one file, on this thread, on each of `runners`.
pub fn run_file(path: &Path, runners: &[EngineRunner]) -> Report {
    run_test_file(TestFile::OnDisk(path.to_path_buf()), runners)
}

fn run_test_file(file: TestFile, runners: &[EngineRunner]) -> Report {
    let name = file.name();
    let mut report = Report::default();
    report.counts.files = 1;
    match file.into_text().and_then(|text| parse(&name, &text)) {
        Ok(suite) => {
            for (test, unit) in &suite.0 {
                run_unit(&name, test, unit, runners, &mut report);
            }
        }
        Err(error) => report.malformed.push(error),
    }
    for runner in runners {
        runner.trim(CODE_BYTES / runners.len() as u64);
    }
    report
}

fn parse(name: &str, text: &[u8]) -> Result<TestSuite, InputError> {
    serde_json::from_slice(text).map_err(|error| json_error(name, ".", &error))
}

fn run_unit(
    file: &str,
    test: &str,
    unit: &TestUnit,
    runners: &[EngineRunner],
    report: &mut Report,
) {
    let state = unit.state();
    for (fork, expectations) in &unit.post {
        report.counts.cases += expectations.len();
        let Some(spec) = case::spec_of(fork) else {
            report.counts.skipped += expectations.len();
            continue;
        };
        for (index, expectation) in expectations.iter().enumerate() {
            let case = Case { unit, test: expectation, spec, state: &state };
            let before = report.failures.len();
            for runner in runners {
                let Err(mismatch) = case.run(runner) else { continue };
                report.failures.push(CaseFailure {
                    file: file.into(),
                    test: test.into(),
                    fork: format!("{fork:?}"),
                    index,
                    engine: runner.engine().to_string(),
                    what: mismatch.what,
                    expected: mismatch.expected,
                    got: mismatch.got,
                });
            }
            if report.failures.len() == before {
                report.counts.passed += 1;
            } else {
                report.counts.failed += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
