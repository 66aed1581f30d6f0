//! Generated programs on all engines: the loop, its knobs, and its report.

use crate::{
    assembly::disassemble,
    check::{Checker, Mismatch, Tally},
    parallel,
    programs::Program,
    rng::mix,
    shrink::shrink,
};
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

/// Programs of a run without `CRANEVM_PROGRAMS`.
const DEFAULT_PROGRAMS: usize = 20_000;

/// Seed of a run without `CRANEVM_SEED`.
const DEFAULT_SEED: u64 = 0x6372_616e_6576_6d00;

/// Time for shrinking a failing program.
const SHRINK_TIME: Duration = Duration::from_secs(40);

/// Programs after which an engine forgets its code.
const CLEAR_INTERVAL: usize = 500;

/// What to run, from the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many programs (`CRANEVM_PROGRAMS`).
    pub programs: usize,
    /// The seed that the programs' seeds are made of (`CRANEVM_SEED`).
    pub seed: u64,
    /// The one program to run instead (`CRANEVM_PROGRAM`): a seed that a report printed.
    pub only: Option<u64>,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The comparisons.
    pub tally: Tally,
    /// Programs that revm refused to execute as invalid transactions.
    pub refused: usize,
    /// The program that took longest on its engines, and how long.
    pub slowest: (Duration, u64),
}

impl Plan {
    /// The plan of the environment.
    ///
    /// # Panics
    /// If a variable isn't a number.
    pub fn from_env() -> Self {
        let programs = env_number("CRANEVM_PROGRAMS").map_or(DEFAULT_PROGRAMS, |n| n as usize);
        let seed = env_number("CRANEVM_SEED").unwrap_or(DEFAULT_SEED);
        Self { programs, seed, only: env_number("CRANEVM_PROGRAM") }
    }

    /// The seed of a program of the run.
    pub const fn program_seed(&self, index: usize) -> u64 {
        match self.only {
            Some(seed) => seed,
            None => mix(self.seed ^ mix(index as u64)),
        }
    }

    /// Runs all programs, the first settings on each and the others in turn.
    ///
    /// # Panics
    /// On the first difference, with the shrunk program.
    pub fn run(&self) -> Summary {
        let programs = if self.only.is_some() { 1 } else { self.programs };
        let always = if self.only.is_some() { usize::MAX } else { 2 };
        let workers = parallel::for_each(programs, Worker::default, |worker, index| {
            worker.run(self.program_seed(index), always, index as u64)
        });
        let mut summary = Summary::default();
        for worker in workers {
            summary.tally.add(&worker.checker.tally());
            summary.refused += worker.refused;
            summary.slowest = summary.slowest.max(worker.slowest);
        }
        summary
    }
}

/// Engines of one thread.
#[derive(Default)]
struct Worker {
    checker: Checker,
    done: usize,
    refused: usize,
    slowest: (Duration, u64),
}

impl Worker {
    fn run(&mut self, seed: u64, always: usize, turn: u64) {
        let start = Instant::now();
        let program = Program::generate(seed);
        let (expected, mismatch) = self.checker.compare_some(&program.to_case(), always, turn);
        if let Some(mismatch) = mismatch {
            panic!("{}", explain(&program, &mismatch));
        }
        self.refused += usize::from(!expected.all_executed());
        self.done += 1;
        self.slowest = self.slowest.max((start.elapsed(), seed));
        if self.done.is_multiple_of(CLEAR_INTERVAL) {
            self.checker.clear();
        }
    }
}

/// Shrinks a failing program and describes it.
fn explain(program: &Program, mismatch: &Mismatch) -> String {
    let checker = Checker::new();
    let fails = |candidate: &Program| {
        let found = checker.find_mismatch(&candidate.to_case());
        found.is_some_and(|found| found.engine == mismatch.engine)
    };
    let small = shrink(program, SHRINK_TIME, fails);
    let shrunk = checker.find_mismatch(&small.to_case()).unwrap_or_else(|| mismatch.clone());
    let case = small.to_case();
    let seed = program.seed;
    let mut text = format!(
        "{} differs from the interpreter (CRANEVM_PROGRAM={seed} runs it again)\n\
         before shrinking:\n{}after shrinking:\n{}\n{case}",
        mismatch.engine, mismatch.diff, shrunk.diff,
    );
    for contract in &small.contracts {
        let code = &case.accounts[&contract.address].code;
        let _ = write!(text, "\n{}:\n{}", contract.address, disassemble(code));
    }
    text
}

fn env_number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}
