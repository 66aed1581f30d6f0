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
//! | `settings` | the subjects that are tried: levels, passes left out, ways to cut and follow |
//! | `codes` | what code is tried |
//! | `twins` | pairs of blocks that nearly are the same |
//! | `watch` | names the stretch that has no end |
//! | `shrink` | a smaller code and state that fail alike |
//!
//! `CRANEVM_VALIDATE` sets how much runs: `1` is what `cargo test` runs, `20` twenty times the
//! states, `all` all of the contracts, ten times the states, and all amounts of gas that matter:
//! hours. `CRANEVM_SEED` sets another sequence, and `CRANEVM_TRACE` prints each stretch before it
//! runs, should the process crash.

pub mod codes;
pub mod compare;
pub mod host;
pub mod ir;
pub mod machine;
pub mod oracle;
pub mod settings;
pub mod shrink;
pub mod state;
pub mod states;
mod twins;
mod watch;

use self::{
    compare::{Exit, Outcome, compare},
    host::RecordingHost,
    machine::Compilers,
    oracle::Oracle,
    settings::{Setting, Tried},
    state::{Code, Frame, State},
    states::{States, gas_amounts},
    watch::Watch,
};
use crate::{
    parallel,
    rng::{Rng, mix},
};
use cranevm_codegen::Program;
use std::{fmt, ops::AddAssign};

/// Seed of a run without `CRANEVM_SEED`.
const DEFAULT_SEED: u64 = 0x7661_6c69_6461_7465;

/// What executes a stretch.
pub trait Subject {
    /// What it executes.
    fn program(&self) -> &Program;

    /// Goes on with a frame from its pc until it has ended or is handed over.
    fn run(&self, oracle: &Oracle, frame: &mut Frame, host: &mut RecordingHost) -> Exit;
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
    /// Stretches of compiled code.
    pub machine: Tally,
    /// Stretches of analysed programs.
    pub analysed: Tally,
    /// Stretches that differed.
    pub differing: u64,
    /// The first difference of each setting and code, at most some.
    pub findings: Vec<Finding>,
}

/// Stretches that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The frame couldn't be entered.
    pub not_entered: u64,
    /// The frame ended or was suspended.
    pub ended: u64,
    /// The frame was handed over after some instructions.
    pub handed_over: u64,
    /// The frame was handed over where it was.
    pub refused: u64,
    /// Instructions up to there, as the interpreter counts them.
    pub instructions: u64,
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
        self.run_with(codes, Setting::some)
    }

    /// Runs codes with settings that are picked for each.
    pub fn run_with(
        &self,
        codes: &[Code],
        pick: impl Fn(&mut Rng) -> Vec<Setting> + Sync,
    ) -> Summary {
        let workers = parallel::for_each(codes.len(), Worker::new, |worker, index| {
            let rng = &mut Rng::new(mix(self.seed ^ mix(index as u64)));
            let settings = pick(rng);
            worker.run(self, &codes[index], &settings, rng);
        });
        let mut summary = Summary::default();
        workers.into_iter().for_each(|worker| summary.add(worker.summary));
        summary
    }
}

/// What one thread has.
struct Worker {
    compilers: Compilers,
    watch: Watch,
    summary: Summary,
}

impl Worker {
    fn new() -> Self {
        let compilers = Compilers::new().unwrap_or_else(|error| panic!("no compiler: {error}"));
        Self { compilers, watch: Watch::new(), summary: Summary::default() }
    }

    fn run(&mut self, plan: &Plan, code: &Code, settings: &[Setting], rng: &mut Rng) {
        let oracle = Oracle::new(code);
        let subjects: Vec<Tried> = settings
            .iter()
            .map(|setting| match setting.subject(&mut self.compilers, code) {
                Ok(subject) => subject,
                Err(error) => panic!("{setting:?} of {code}: {error}"),
            })
            .collect();
        let programs = subjects.iter().map(|tried| tried.subject.program());
        let states: Vec<_> = programs.map(States::of).collect();
        let mut has_found = vec![false; subjects.len()];
        for index in 0..plan.states {
            let mut state = states[index % states.len()].pick(rng);
            for gas in gas_amounts(&oracle, &state, plan.amounts, rng) {
                state.gas = gas;
                for (tried, has_found) in subjects.iter().zip(&mut has_found) {
                    let (exit, verdict) = self
                        .watch
                        .over((&tried.setting, code, &state), || check(&oracle, tried, &state));
                    self.summary.count(&tried.setting, &exit, &verdict);
                    if let Err(text) = verdict
                        && !*has_found
                    {
                        *has_found = true;
                        let setting = tried.setting.clone();
                        let (code, state) = (code.clone(), state.clone());
                        self.summary.findings.push(Finding { setting, code, state, text });
                    }
                }
            }
        }
        self.summary.codes += 1;
    }
}

impl Summary {
    fn count(&mut self, setting: &Setting, exit: &Exit, verdict: &Result<u64, String>) {
        let tally = match setting {
            Setting::Machine(_) => &mut self.machine,
            Setting::Analysed(..) => &mut self.analysed,
        };
        match (exit, verdict) {
            (Exit::NotEntered, _) => tally.not_entered += 1,
            (Exit::Ended, _) => tally.ended += 1,
            (Exit::HandedOver, Ok(0)) => tally.refused += 1,
            (Exit::HandedOver, _) => tally.handed_over += 1,
            (Exit::Broken(_), _) => {}
        }
        match verdict {
            Ok(instructions) => tally.instructions += instructions,
            Err(_) => self.differing += 1,
        }
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: Self) {
        self.codes += other.codes;
        self.machine += other.machine;
        self.analysed += other.analysed;
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
pub fn check(oracle: &Oracle, tried: &Tried, state: &State) -> (Exit, Result<u64, String>) {
    let (mut frame, mut host) = oracle.begin(state);
    let exit = tried.subject.run(oracle, &mut frame, &mut host);
    let mut outcome = Outcome { exit: exit.clone(), frame, host };
    (exit, compare(oracle, state, &mut outcome, |pc, goal| tried.goals.contains(&(pc, goal))))
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, code, state, text } = self;
        writeln!(f, "{setting:?}\n  {code}\n  {state}\n{text}")
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.not_entered += more.not_entered;
        self.ended += more.ended;
        self.handed_over += more.handed_over;
        self.refused += more.refused;
        self.instructions += more.instructions;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { not_entered, ended, handed_over, refused, instructions } = self;
        write!(
            f,
            "{ended} stretches ended, {handed_over} handed over on the way, {refused} at once, "
        )?;
        write!(f, "{not_entered} not entered; {instructions} instructions")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { codes, machine, analysed, differing, .. } = self;
        write!(f, "{codes} codes, {differing} stretches differ\n  compiled: {machine}\n  ")?;
        write!(f, "analysed: {analysed}")
    }
}
