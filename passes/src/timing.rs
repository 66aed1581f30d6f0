//! A timer per pass.
//!
//! Cost: two clock readings per pass.

use crate::pipeline::Pass;
use core::fmt;
use std::time::{Duration, Instant};

/// Time spent in each pass of one analysis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassTimes {
    durations: [Duration; Pass::ALL.len()],
}

impl PassTimes {
    /// Time spent in a pass.
    pub fn of(&self, pass: Pass) -> Duration {
        self.durations[pass as usize]
    }

    /// Time spent in all passes.
    pub fn total(&self) -> Duration {
        self.durations.iter().sum()
    }

    /// Runs a pass and adds the time it takes.
    pub(crate) fn time<T>(&mut self, pass: Pass, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = run();
        self.durations[pass as usize] += start.elapsed();
        result
    }
}

/// One line per pass, in the order they run, with its time.
impl fmt::Display for PassTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pass in Pass::ALL {
            writeln!(f, "{:<14} {:>12.1?}", pass.name(), self.of(pass))?;
        }
        Ok(())
    }
}
