//! The translation validator: one stretch of execution, from any state at any entry point, beside
//! revm's interpreter.
//!
//! Tests that run transactions see a contract's blocks in the states that its own first block leads
//! to. But what passes and translator believe of a block must hold on every way in: after a
//! hand-over, a resumed call, a jump from a chunk or from the interpreter. So here a [`State`] is
//! made up for an entry point, a [`Subject`] goes on from there until it leaves the frame or hands
//! it over, and the interpreter must come to the same point, having asked the same of the host.
//!
//! | file | what it is |
//! | --- | --- |
//! | `state` | a frame in the middle |
//! | `states` | which states are tried |
//! | `host` | a host that records |
//! | `oracle` | revm's interpreter, and the prices of what it executes |
//! | `compare` | where a stretch ended, and whether that is right |
//! | `machine` | the subject that is compiled code |
//! | `ir` | the subject that is the analysed program, by a meaning of its own |
//! | `codes` | what code is tried |
//! | `shrink` | a smaller code and state that fail alike |
//!
//! `CRANEVM_VALIDATE` sets how much runs: `1` is what `cargo test` runs, `20` twenty times the
//! states, `all` all of the contracts and all amounts of gas that matter. `CRANEVM_SEED` sets another sequence, and
//! `CRANEVM_TRACE` names each job before it runs, should the process crash.

pub mod codes;
pub mod compare;
pub mod host;
pub mod machine;
pub mod oracle;
pub mod shrink;
pub mod state;
pub mod states;

use self::{
    compare::{Exit, Outcome, compare},
    host::RecordingHost,
    machine::Compilers,
    oracle::Oracle,
    state::{Code, Frame, State},
    states::{States, gas_amounts},
};
use crate::{
    parallel,
    rng::{Rng, mix},
};
use cranevm_codegen::{CompileError, CompilerOptions, OptimizationLevel, PassSet, Program};
use std::fmt;

/// Seed of a run without `CRANEVM_SEED`.
const DEFAULT_SEED: u64 = 0x7661_6c69_6461_7465;

/// What executes a stretch.
pub trait Subject {
    /// What it executes.
    fn program(&self) -> &Program;

    /// Goes on with a frame from its pc until it has ended or is handed over.
    fn run(&self, oracle: &Oracle, frame: &mut Frame, host: &mut RecordingHost) -> Exit;
}

/// A subject, by how it is made of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Compiled code.
    Machine(CompilerOptions),
}

impl Setting {
    /// The subject for a code.
    ///
    /// # Errors
    /// If the code can't be compiled.
    pub fn subject(
        self,
        compilers: &mut Compilers,
        code: &Code,
    ) -> Result<Box<dyn Subject>, CompileError> {
        Ok(match self {
            Self::Machine(options) => Box::new(compilers.compile(code, options)?),
        })
    }

    /// Some settings: both kinds of levels always, and others in turn.
    pub fn some(rng: &mut Rng) -> Vec<Self> {
        let level = |opt_level| CompilerOptions { opt_level, ..Default::default() };
        let [none, default] = [OptimizationLevel::None, OptimizationLevel::Default].map(level);
        let either = rng.pick(&[none, default]);
        let passes: Vec<PassSet> = PassSet::ALL.iter().collect();
        let other = match rng.below(6) {
            0 => level(OptimizationLevel::Aggressive),
            1 => CompilerOptions { compile_all: true, ..either },
            2 => CompilerOptions { one_block_per_chunk: true, ..either },
            3 => CompilerOptions { debug_assertions: true, compile_all: true, ..either },
            _ => CompilerOptions { skip_passes: rng.pick(&passes), compile_all: true, ..either },
        };
        [none, default, other].map(Self::Machine).to_vec()
    }
}

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// States of each code, and amounts of gas of each state.
    pub states: usize,
    /// At most.
    pub amounts: usize,
    /// Codes of each kind, for those that there are any number of.
    pub codes: usize,
    /// Made into states.
    pub seed: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Codes that ran.
    pub codes: u64,
    /// Stretches that ran, by how they were left: not entered, ended, handed over.
    pub stretches: [u64; 3],
    /// Stretches that differed.
    pub differing: u64,
    /// The first difference of each setting and code, at most some.
    pub findings: Vec<Finding>,
}

/// A difference.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How the subject was made.
    pub setting: Setting,
    /// The code.
    pub code: Code,
    /// The state.
    pub state: State,
    /// What differed.
    pub text: String,
}

impl Plan {
    /// The plan of the environment.
    ///
    /// # Panics
    /// If a variable has none of the forms above.
    pub fn from_env() -> Self {
        let text = std::env::var("CRANEVM_VALIDATE").unwrap_or_else(|_| "1".into());
        let seed = match std::env::var("CRANEVM_SEED") {
            Ok(text) => text.parse().unwrap_or_else(|error| panic!("CRANEVM_SEED={text}: {error}")),
            Err(_) => DEFAULT_SEED,
        };
        let plan = |times: usize| Self { states: 40 * times, amounts: 12, codes: 150, seed };
        match text.parse() {
            Ok(times) => plan(times),
            Err(_) if text == "all" => Self { amounts: usize::MAX, codes: usize::MAX, ..plan(10) },
            Err(_) => panic!("CRANEVM_VALIDATE={text}: 1, 20, or all"),
        }
    }

    /// Runs codes, each in its states.
    pub fn run(&self, codes: &[Code]) -> Summary {
        let workers = parallel::for_each(codes.len(), Worker::new, |worker, index| {
            worker.run(self, &codes[index], &mut Rng::new(mix(self.seed ^ mix(index as u64))));
        });
        let mut summary = Summary::default();
        workers.into_iter().for_each(|worker| summary.add(worker.summary));
        summary
    }
}

/// What one thread has.
struct Worker {
    compilers: Compilers,
    summary: Summary,
}

impl Worker {
    fn new() -> Self {
        let compilers = Compilers::new().unwrap_or_else(|error| panic!("no compiler: {error}"));
        Self { compilers, summary: Summary::default() }
    }

    fn run(&mut self, plan: &Plan, code: &Code, rng: &mut Rng) {
        let oracle = Oracle::new(code);
        let subjects: Vec<_> = Setting::some(rng)
            .into_iter()
            .map(|setting| match setting.subject(&mut self.compilers, code) {
                Ok(subject) => (setting, subject),
                Err(error) => panic!("{setting:?} of {code}: {error}"),
            })
            .collect();
        let states: Vec<_> =
            subjects.iter().map(|(_, subject)| States::of(subject.program())).collect();
        let mut has_found = vec![false; subjects.len()];
        for index in 0..plan.states {
            let mut state = states[index % states.len()].pick(rng);
            for gas in gas_amounts(&oracle, &state, plan.amounts, rng) {
                state.gas = gas;
                for ((setting, subject), has_found) in subjects.iter().zip(&mut has_found) {
                    let verdict = self.summary.check(&oracle, &**subject, &state);
                    if let Err(text) = verdict
                        && !*has_found
                    {
                        *has_found = true;
                        let (setting, code, state) = (*setting, code.clone(), state.clone());
                        self.summary.findings.push(Finding { setting, code, state, text });
                    }
                }
            }
        }
        self.summary.codes += 1;
    }
}

impl Summary {
    fn check(
        &mut self,
        oracle: &Oracle,
        subject: &dyn Subject,
        state: &State,
    ) -> Result<(), String> {
        let (exit, verdict) = check(oracle, subject, state);
        match exit {
            Exit::NotEntered => self.stretches[0] += 1,
            Exit::Ended => self.stretches[1] += 1,
            Exit::HandedOver => self.stretches[2] += 1,
            Exit::Broken(_) => {}
        }
        self.differing += u64::from(verdict.is_err());
        verdict
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: Self) {
        self.codes += other.codes;
        for (sum, more) in self.stretches.iter_mut().zip(other.stretches) {
            *sum += more;
        }
        self.differing += other.differing;
        self.findings.extend(other.findings);
    }

    /// The differences of the shortest codes, at most `count`, each made smaller.
    pub fn report(&self, count: usize) -> String {
        let mut findings: Vec<_> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.code.bytes.len());
        findings
            .into_iter()
            .take(count)
            .map(|finding| shrink::shrink(finding).to_string())
            .collect()
    }
}

/// Runs a subject from a state, and compares.
pub fn check(oracle: &Oracle, subject: &dyn Subject, state: &State) -> (Exit, Result<(), String>) {
    let (mut frame, mut host) = oracle.begin(state);
    let exit = subject.run(oracle, &mut frame, &mut host);
    let mut outcome = Outcome { exit: exit.clone(), frame, host };
    let program = subject.program();
    let goal = |pc: usize| {
        let merged = program
            .blocks
            .values()
            .find(|block| block.pc as usize == pc && block.merged_into.is_some())?;
        Some(program.blocks[merged.merged_into.expand()?].pc as usize)
    };
    (exit, compare(oracle, state, &mut outcome, goal))
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, code, state, text } = self;
        writeln!(f, "{setting:?}\n  {code}\n  {state}\n{text}")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [not_entered, ended, handed_over] = self.stretches;
        write!(f, "{} codes, {ended} stretches ended, {handed_over} ", self.codes)?;
        write!(f, "handed over, {not_entered} not entered: {} differ", self.differing)
    }
}
