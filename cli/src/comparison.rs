//! One transaction on the interpreter and natively, interleaved in one run.

use crate::{
    EngineRunner, Environment,
    fixture::FixtureDb,
    measure::{self, Repeat},
    observation::{self, Outcome},
};
use std::time::{Duration, Instant};

/// What a transaction did on one engine, and how long it took.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it did, the first time.
    pub outcome: Outcome,
    /// The first time, cold: with the compilation of all that it calls.
    pub first: Duration,
    /// The median of the following times.
    pub median: Duration,
    /// Hand-overs to the interpreter, for one of the following runs, in the mean.
    pub hand_overs: f64,
}

/// A transaction that the EVM refused: it isn't valid in its environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transaction is not valid: {0}")]
pub struct Refused(pub String);

/// Runs a transaction on each of `runners` in turn, until `repeat` is content.
///
/// The state is the same before every run. The result has an entry for each runner.
pub fn run_interleaved(
    runners: &[&EngineRunner],
    environment: &Environment,
    db: &FixtureDb,
    repeat: Repeat,
) -> Result<Vec<Run>, Refused> {
    let refused = |error: &dyn std::fmt::Display| Refused(error.to_string());
    let mut sessions: Vec<_> =
        runners.iter().map(|runner| runner.session(environment, db.clone())).collect();
    let mut runs = Vec::with_capacity(runners.len());
    for session in &mut sessions {
        let start = Instant::now();
        let outcome = session.run().map_err(|error| refused(&error))?;
        runs.push(Run { outcome, first: start.elapsed(), median: Duration::ZERO, hand_overs: 0.0 });
    }
    let mut times = vec![Vec::new(); runners.len()];
    let warm: Vec<u64> = runners.iter().map(|runner| runner.hand_overs()).collect();
    let begin = Instant::now();
    let mut round = 0;
    while repeat.goes_on(round, begin) {
        for (session, times) in sessions.iter_mut().zip(&mut times) {
            let start = Instant::now();
            let outcome = session.run().map_err(|error| refused(&error))?;
            times.push(start.elapsed());
            // Freeing what the run left isn't part of it.
            drop(outcome);
        }
        round += 1;
    }
    for (index, run) in runs.iter_mut().enumerate() {
        run.median = measure::median(&times[index]);
        let hand_overs = runners[index].hand_overs().saturating_sub(warm[index]);
        run.hand_overs = hand_overs as f64 / round.max(1) as f64;
    }
    Ok(runs)
}

/// Where two runs differ; empty if they agree.
pub fn differences(expected: &Run, got: &Run) -> Vec<String> {
    observation::differences(&expected.outcome, &got.outcome)
}
