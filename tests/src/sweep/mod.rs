//! Gas limits that look where it hurts: every program of a matrix, at the gas limits at which an
//! instruction between a dynamic charge and the end of its basic block can just be paid, and with
//! one more gas.
//!
//! The matrix is {instructions that charge} x {instructions that may stand before an end} x {ways
//! in which a block ends} x {operands, padding, forks}. By default every combination of the first
//! three runs with one choice of the rest, at both levels and on one of the other engines, which
//! take turns: 41,000 programs, some minutes of processor time. `CRANEVM_SWEEP`
//! says otherwise:
//!
//! | value | runs |
//! | --- | --- |
//! | `1/20` | one of twenty combinations |
//! | `8` | each combination with eight choices of the rest |
//! | `all` | as `64`, on every engine, also at all limits inside a charge: days |
//!
//! Equality is exact: result, halt reason, gas, refund, output, logs, state, warmth, reads.

pub mod endings;
pub mod pieces;
pub mod program;
pub mod trace;

use self::{
    endings::Ending,
    pieces::{CHARGING, inner_opcodes},
    program::Shape,
    trace::Trace,
};
use crate::{
    assembly::disassemble,
    case::{Case, TARGET},
    database::{ReadLog, RecordingDatabase},
    engines::{Engine, NativeSettings},
    parallel,
    rng::mix,
};
use alloy_primitives::hex;
use revm::bytecode::opcode::OpCode;
use std::{collections::BTreeMap, fmt};

/// Programs after which an engine forgets its code.
const CLEAR_INTERVAL: usize = 200;

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each of how many combinations runs.
    pub every: usize,
    /// Choices of operands, padding and fork for each combination.
    pub choices: usize,
    /// Whether each program runs on all engines, and at the limits inside charges.
    pub everything: bool,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Programs that ran.
    pub programs: u64,
    /// Native runs that were compared.
    pub compared: u64,
    /// Limits below what the transaction costs beforehand.
    pub refused: u64,
    /// Native runs that differed.
    pub differing: u64,
    /// By charge, last instruction and end: the shortest program that differs.
    pub findings: BTreeMap<(u8, u8, Ending), Finding>,
}

/// A difference.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What differed, and on which engine.
    pub text: String,
    /// The case.
    pub case: Case,
}

impl Finding {
    fn len(&self) -> usize {
        self.case.accounts[&TARGET].code.len()
    }
}

impl Plan {
    /// The plan of the environment.
    ///
    /// # Panics
    /// If the variable has none of the forms above.
    pub fn from_env() -> Self {
        let text = std::env::var("CRANEVM_SWEEP").unwrap_or_else(|_| "1".into());
        Self::parse(&text).unwrap_or_else(|| panic!("CRANEVM_SWEEP={text}: 1/20, 8, or all"))
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "all" {
            return Some(Self { every: 1, choices: 64, everything: true });
        }
        let (choices, every) = text.split_once('/').unwrap_or((text, "1"));
        let (choices, every) = (choices.parse().ok()?, every.parse().ok()?);
        let is_some = choices > 0 && every > 0;
        is_some.then_some(Self { every, choices, everything: false })
    }

    /// The programs.
    pub fn shapes(&self) -> Vec<Shape> {
        let mut shapes = Vec::new();
        for charge in CHARGING {
            for last in inner_opcodes() {
                for ending in Ending::ALL {
                    for choice in 0..self.choices {
                        let choice = mix(((shapes.len() as u64) << 8) ^ choice as u64);
                        shapes.push(Shape { charge, last, ending, choice });
                    }
                }
            }
        }
        // Neighbours differ in their ends alone: what is left out must not be always the same.
        let kept = |index: usize| mix(index as u64).is_multiple_of(self.every as u64);
        shapes.into_iter().enumerate().filter(|(index, _)| kept(*index)).map(|(_, s)| s).collect()
    }

    /// Runs all programs.
    pub fn run(&self) -> Summary {
        let shapes = self.shapes();
        let workers = parallel::for_each(shapes.len(), Worker::default, |worker, index| {
            worker.run(&shapes[index], index, self.everything);
        });
        let mut summary = Summary::default();
        workers.into_iter().for_each(|worker| summary.add(worker.summary));
        summary
    }
}

/// Engines of one thread.
struct Worker {
    interpreter: Engine,
    /// The first two run always, the others take turns.
    natives: Vec<Engine>,
    done: usize,
    summary: Summary,
}

impl Default for Worker {
    fn default() -> Self {
        let hand_overs = [0, 1, 2].map(NativeSettings::hand_over);
        let settings = [NativeSettings::BASELINE, NativeSettings::OPTIMISED]
            .into_iter()
            .chain([NativeSettings::AGGRESSIVE, NativeSettings::OPTIMISED.asserting()])
            .chain([NativeSettings::ONE_BLOCK])
            .chain([NativeSettings::BASELINE, NativeSettings::OPTIMISED].map(|s| s.as_artifacts()))
            .chain(hand_overs)
            .chain(hand_overs.map(NativeSettings::optimised));
        let natives = settings.map(Engine::native).collect();
        Self { interpreter: Engine::interpreter(), natives, done: 0, summary: Summary::default() }
    }
}

impl Worker {
    fn run(&mut self, shape: &Shape, index: usize, everything: bool) {
        let program = shape.program();
        let limits = Trace::of(&program.unlimited()).gas_limits(program.pc, everything);
        let (always, others) = self.natives.split_at(2);
        let turn = if everything { others } else { &others[index % others.len()..][..1] };
        let database = RecordingDatabase::new(&program.case.accounts, None, ReadLog::default());
        for gas in limits {
            let case = program.limited(gas);
            let expected = self.interpreter.run_on(&case, &database);
            if !expected.all_executed() {
                self.summary.refused += 1;
                continue;
            }
            for engine in always.iter().chain(turn) {
                let diff = expected.diff(&engine.run_on(&case, &database));
                self.summary.compared += 1;
                if !diff.is_empty() {
                    self.summary.note(shape, &case, format!("{}:\n{diff}", engine.name()));
                }
            }
        }
        always.iter().chain(turn).for_each(|engine| engine.assert_compiled(&program.case));
        self.summary.programs += 1;
        self.done += 1;
        if self.done.is_multiple_of(CLEAR_INTERVAL) {
            self.natives.iter().for_each(Engine::clear);
        }
    }
}

impl Summary {
    fn note(&mut self, shape: &Shape, case: &Case, text: String) {
        self.differing += 1;
        let finding = Finding { text, case: case.clone() };
        self.keep((shape.charge, shape.last, shape.ending), finding);
    }

    fn keep(&mut self, key: (u8, u8, Ending), finding: Finding) {
        let shortest = self.findings.entry(key).or_insert_with(|| finding.clone());
        if finding.len() < shortest.len() {
            *shortest = finding;
        }
    }

    fn add(&mut self, other: Self) {
        self.programs += other.programs;
        self.compared += other.compared;
        self.refused += other.refused;
        self.differing += other.differing;
        other.findings.into_iter().for_each(|(key, finding)| self.keep(key, finding));
    }

    /// The shortest programs that differ, at most `count`.
    pub fn report(&self, count: usize) -> String {
        let mut findings: Vec<_> = self.findings.iter().collect();
        findings.sort_by_key(|(_, finding)| finding.len());
        let name = |opcode: u8| OpCode::new(opcode).map_or("?", |opcode| opcode.as_str());
        findings
            .into_iter()
            .take(count)
            .map(|((charge, last, ending), Finding { text, case })| {
                let code = &case.accounts[&TARGET].code;
                let tx = &case.transactions[0];
                format!(
                    "{} ... {}, {ending:?}, {:?}, gas {} of cap {}\n  code {}\n  data {}\n{text}{}\n",
                    name(*charge),
                    name(*last),
                    case.spec,
                    tx.gas_limit,
                    case.gas_cap,
                    hex::encode(code),
                    hex::encode(&tx.data),
                    disassemble(code)
                )
            })
            .collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { programs, compared, refused, differing, findings } = self;
        write!(f, "{programs} programs, {compared} native runs ({refused} limits refused): ")?;
        write!(f, "{differing} differ, in {} combinations", findings.len())
    }
}
