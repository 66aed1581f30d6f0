//! What runs after what, in each mode. Engines take turns in an order that changes each time.

use super::{
    clock::Others,
    cold::OtherData,
    engine::NativeEngine,
    execute::Subject,
    mode::Mode,
    report::{Compiling, INTERPRETER},
    session::{ReplayError, Session, Step, start, wait_idle},
    shares::{Counters, Shares},
    warm::{Warm, settle},
};
use crate::measure::{median, nanos};
use cranevm::runtime::JitBackend;
use std::{fmt::Display, time::Duration};

/// What was measured in a mode. Of `times`, the first is the interpreter.
pub(super) struct Samples {
    /// By subject, block and round, in nanoseconds.
    pub(super) times: Vec<Vec<Vec<u64>>>,
    /// By engine and block.
    pub(super) shares: Vec<Vec<Shares>>,
    /// By engine, block and round: processor time of compiling, in nanoseconds. Empty for modes
    /// that compile before.
    pub(super) compile_ns: Vec<Vec<Vec<u64>>>,
    /// By engine.
    pub(super) compiling: Vec<Compiling>,
}

impl Samples {
    fn new(engines: usize, blocks: usize) -> Self {
        Self {
            times: vec![vec![Vec::new(); blocks]; engines + 1],
            shares: vec![vec![Shares::default(); blocks]; engines],
            compile_ns: vec![vec![Vec::new(); blocks]; engines],
            compiling: vec![Compiling::default(); engines],
        }
    }

    /// Adds a run of an engine that compiles.
    fn add(&mut self, engine: usize, block: usize, run: Compiled) {
        self.times[engine + 1][block].push(run.time_ns);
        self.compile_ns[engine][block].push(run.compile_ns);
        self.shares[engine][block] = run.shares;
    }
}

/// Runs before one that is measured hot.
const HEATING: usize = 3;

impl Session<'_> {
    /// A mode in which all is compiled before.
    pub(super) fn warmed(&mut self, mode: Mode, warm: &[Warm]) -> Result<Samples, ReplayError> {
        let blocks = self.blocks.len();
        let mut samples = Samples::new(warm.len(), blocks);
        let mut others = (mode == Mode::Cold).then(OtherData::default);
        for _ in 0..mode.rounds(self.settings.rounds.max(1)) {
            if matches!(mode, Mode::Rotating | Mode::Found) {
                // A pass over all blocks each: what one engine left in the caches is its own.
                for subject in self.permutation(warm.len() + 1) {
                    for block in 0..blocks {
                        let time = self.turn(mode, warm, subject, block, &mut others)?;
                        samples.times[subject][block].push(time);
                    }
                }
                continue;
            }
            for block in 0..blocks {
                for subject in self.permutation(warm.len() + 1) {
                    let time = self.turn(mode, warm, subject, block, &mut others)?;
                    samples.times[subject][block].push(time);
                }
            }
        }
        for (index, Warm { engine, backend, compiling }) in warm.iter().enumerate() {
            samples.compiling[index] = *compiling;
            for block in 0..blocks {
                // Reading the counters of all programs would leave their lines in the caches.
                let before = Counters::read(backend);
                self.run(subject(mode, backend), engine, mode, block, &mut || ());
                samples.shares[index][block] = before.shares(backend);
            }
        }
        Ok(samples)
    }

    /// One measured run in a mode in which all is compiled before.
    fn turn(
        &mut self,
        mode: Mode,
        warm: &[Warm],
        index: usize,
        block: usize,
        others: &mut Option<OtherData>,
    ) -> Result<u64, ReplayError> {
        let engine = index.checked_sub(1).map(|index| &warm[index]);
        let mut before = || {
            if let Some(others) = others {
                others.walk();
            }
        };
        let (subject, name): (_, &dyn Display) = match engine {
            Some(Warm { engine, backend, .. }) => (subject(mode, backend), engine),
            None => (Subject::Interpreter, &INTERPRETER),
        };
        if mode == Mode::Hot {
            // Another engine was before this one. Comparing what these did would fill the caches
            // with other things; the run that follows does the same, and is compared.
            for _ in 0..HEATING {
                drop(subject.run(self.blocks[block], &mut || ()));
            }
        }
        let time = self.run(subject, name, mode, block, &mut before);
        if let Some(Warm { engine, backend, .. }) = engine {
            wait_idle(engine, backend)?;
        }
        self.done(Step::Measured);
        Ok(time)
    }

    /// All blocks in order, once, from an empty backend; idle in between. Engines are named by
    /// their indices in the settings.
    pub(super) fn live(&mut self, engines: &[usize]) -> Result<Samples, ReplayError> {
        let engines: Vec<_> = engines.iter().map(|index| self.settings.engines[*index]).collect();
        let mut samples = Samples::new(engines.len(), self.blocks.len());
        for _ in 0..Mode::Live.rounds(self.settings.rounds.max(1)) {
            let backends = engines.iter().map(start).collect::<Result<Vec<_>, _>>()?;
            for block in 0..self.blocks.len() {
                for subject in self.permutation(engines.len() + 1) {
                    let Some(index) = subject.checked_sub(1) else {
                        self.interpret(Mode::Live, block, &mut samples);
                        continue;
                    };
                    let engine = &engines[index];
                    let compiled = self.compile(Mode::Live, engine, &backends[index], block)?;
                    samples.add(index, block, compiled);
                }
            }
            for (index, backend) in backends.iter().enumerate() {
                samples.compiling[index] = Compiling::now(backend, Duration::ZERO);
            }
        }
        total(&mut samples);
        Ok(samples)
    }

    /// A new backend for each block.
    pub(super) fn fresh(&mut self, engines: &[usize]) -> Result<Samples, ReplayError> {
        let engines: Vec<_> = engines.iter().map(|index| self.settings.engines[*index]).collect();
        let mut samples = Samples::new(engines.len(), self.blocks.len());
        for _ in 0..Mode::Fresh.rounds(self.settings.rounds.max(1)) {
            samples.compiling.fill(Compiling::default());
            for block in 0..self.blocks.len() {
                for subject in self.permutation(engines.len() + 1) {
                    let Some(index) = subject.checked_sub(1) else {
                        self.interpret(Mode::Fresh, block, &mut samples);
                        continue;
                    };
                    let backend = start(&engines[index])?;
                    let compiled = self.compile(Mode::Fresh, &engines[index], &backend, block)?;
                    samples.add(index, block, compiled);
                    samples.compiling[index].add(&Compiling::now(&backend, Duration::ZERO));
                }
            }
        }
        total(&mut samples);
        Ok(samples)
    }

    fn interpret(&mut self, mode: Mode, block: usize, samples: &mut Samples) {
        let time = self.run(Subject::Interpreter, &INTERPRETER, mode, block, &mut || ());
        samples.times[0][block].push(time);
        self.done(Step::Measured);
    }

    /// A measured run that compiles, and the wait for what it asked for.
    fn compile(
        &mut self,
        mode: Mode,
        engine: &NativeEngine,
        backend: &JitBackend,
        block: usize,
    ) -> Result<Compiled, ReplayError> {
        // Of the few programs that there are.
        let before = Counters::read(backend);
        let others = Others::start();
        let time_ns = self.run(Subject::Native(backend), engine, mode, block, &mut || ());
        let shares = before.shares(backend);
        settle(engine, backend)?;
        self.done(Step::Measured);
        Ok(Compiled { time_ns, shares, compile_ns: nanos(others.elapsed()) })
    }
}

/// A run that compiles.
struct Compiled {
    time_ns: u64,
    shares: Shares,
    /// Processor time of compiling, in nanoseconds.
    compile_ns: u64,
}

fn subject(mode: Mode, backend: &JitBackend) -> Subject<'_> {
    match mode {
        Mode::Found => Subject::Found(backend),
        _ => Subject::Native(backend),
    }
}

/// Sums up the processor time of compiling.
fn total(samples: &mut Samples) {
    for (compiling, blocks) in samples.compiling.iter_mut().zip(&samples.compile_ns) {
        compiling.cpu_ns = blocks.iter().map(|rounds| median(rounds)).sum();
    }
}
