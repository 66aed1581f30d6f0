//! What a run of state tests found.

use crate::InputError;
use serde::Serialize;

/// A case that failed on an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseFailure {
    /// The file.
    pub file: String,
    /// The test's name in the file.
    pub test: String,
    /// The fork, as the file calls it.
    pub fork: String,
    /// Index among the fork's expectations.
    pub index: usize,
    /// The engine.
    pub engine: String,
    /// What differs: `state root`, `logs hash`, `exception`, `output`, `panic`.
    pub what: &'static str,
    /// As the test says.
    pub expected: String,
    /// As the engine did.
    pub got: String,
}

/// Counts of cases. A case is one expectation: a test, a fork and an index; it passes if it passes
/// on every engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Files read.
    pub files: usize,
    /// Cases found.
    pub cases: usize,
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed on some engine.
    pub failed: usize,
    /// Cases of forks that revm doesn't have.
    pub skipped: usize,
}

/// What one or several files gave.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The counts.
    pub counts: Counts,
    /// Failed cases, one entry for each engine that failed.
    pub failures: Vec<CaseFailure>,
    /// Files that aren't state tests.
    pub malformed: Vec<InputError>,
}

impl Report {
    /// Whether nothing failed and all files could be read.
    pub fn is_success(&self) -> bool {
        self.counts.failed == 0 && self.malformed.is_empty()
    }

    /// Adds the results of other files.
    pub fn add(&mut self, other: Self) {
        self.counts.files += other.counts.files;
        self.counts.cases += other.counts.cases;
        self.counts.passed += other.counts.passed;
        self.counts.failed += other.counts.failed;
        self.counts.skipped += other.counts.skipped;
        self.failures.extend(other.failures);
        self.malformed.extend(other.malformed);
    }
}
