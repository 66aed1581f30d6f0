//! A measurement: every block against its header, then each mode with all engines interleaved, and
//! every run compared with the interpreter's.

use super::{
    block::ReplayBlock,
    check, clock,
    engine::NativeEngine,
    execute::{ExecuteError, Executed, Subject},
    mode::Mode,
    precompiles,
    report::{BlockReport, Difference, LeftOut, Report},
    warm::Warm,
};
use crate::measure::nanos;
use cranevm::runtime::{JitBackend, LookupRequest, RuntimeCacheKey};
use revm::primitives::{Bytes, hardfork::SpecId, keccak256};
use std::{fmt::Display, time::Duration};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In this order.
    pub modes: Vec<Mode>,
    /// Beside the interpreter.
    pub engines: Vec<NativeEngine>,
    /// How often each block is measured, at least once; modes that compile a third as often.
    pub rounds: usize,
    /// Of the orders in which engines run.
    pub seed: u64,
}

impl Settings {
    /// The engines that have a meaning in a mode, by their indices.
    pub fn engines_of(&self, mode: Mode) -> Vec<usize> {
        let has_meaning = |engine: &NativeEngine| !mode.compiles() || engine.is_background();
        let engines = self.engines.iter().enumerate();
        engines.filter(|(_, engine)| has_meaning(engine)).map(|(index, _)| index).collect()
    }

    /// Measured runs of `blocks` blocks, for a progress bar.
    pub fn runs(&self, blocks: usize) -> usize {
        let of = |mode: &Mode| match self.engines_of(*mode).len() {
            0 => 0,
            engines => (engines + 1) * mode.rounds(self.rounds.max(1)) * blocks,
        };
        self.modes.iter().map(of).sum()
    }
}

/// A measurement that couldn't be made.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A backend can't be started, or can't compile.
    #[error("the engine {engine} can't be started: {reason}")]
    Engine {
        /// Which.
        engine: NativeEngine,
        /// What the runtime said.
        reason: String,
    },
    /// Compilations go on and on.
    #[error("the engine {0} still compiles after {IDLE_SECONDS} s")]
    Busy(NativeEngine),
}

/// Longest wait for the compilations of a block, in seconds.
const IDLE_SECONDS: u64 = 120;

/// A block that is interpreted in less than this is left out of the sums: what is around frames,
/// and the clock, are too large a part of it.
const MIN_TIME: Duration = Duration::from_millis(1);

/// A block of which precompiled contracts are more than this share is left out of the sums.
const MAX_PRECOMPILES: f64 = 0.5;

/// Runs of which the least is a block's time in the interpreter for that: it was disturbed least.
const PROBES: usize = 5;

/// A measurement under way.
pub struct Session<'a> {
    pub(super) settings: &'a Settings,
    /// Those that can be executed.
    pub(super) blocks: Vec<&'a ReplayBlock>,
    /// What they did in the interpreter, the first time.
    references: Vec<Executed>,
    /// Puts engines in an order that differs from round to round.
    random: fastrand::Rng,
    report: Report,
    on_step: &'a mut dyn FnMut(Step),
}

/// How far a measurement has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A block was run so that an engine compiles what it needs. How many such runs there will be
    /// isn't known before.
    WarmUp,
    /// A measured run: one of [`Settings::runs`].
    Measured,
}

impl<'a> Session<'a> {
    /// Measures all. `on_step` is told how far it is.
    ///
    /// What differs is in the report.
    ///
    /// # Errors
    /// If an engine can't be started, or never ends compiling.
    pub fn measure(
        blocks: &'a [ReplayBlock],
        settings: &'a Settings,
        on_step: &'a mut dyn FnMut(Step),
    ) -> Result<Report, ReplayError> {
        let mut session = Self {
            settings,
            blocks: Vec::new(),
            references: Vec::new(),
            random: fastrand::Rng::with_seed(settings.seed),
            report: Report::new(settings),
            on_step,
        };
        if let Some(engine) = settings.engines.first() {
            session.report.once_cpu_ns = nanos(cost_of_first(engine)?);
        }
        for block in blocks {
            session.check_header(block);
        }
        let warm = session.warm_up()?;
        for mode in &settings.modes {
            session.measure_mode(*mode, &warm)?;
        }
        Ok(session.report)
    }

    /// Executes a block in the interpreter, and compares it with its header.
    fn check_header(&mut self, block: &'a ReplayBlock) {
        let mut row = BlockReport::new(block);
        match probe(block) {
            Ok((executed, time, share)) => {
                for line in check::header_differences(block, &executed) {
                    self.report.differences.push(Difference::from_header(block, line));
                    row.header_matches = false;
                }
                row.interpreter_ns = nanos(time);
                row.precompiles = share;
                row.left_out = if share > MAX_PRECOMPILES {
                    Some(LeftOut::Precompiles)
                } else {
                    (time < MIN_TIME).then_some(LeftOut::Short)
                };
                self.blocks.push(block);
                self.references.push(executed);
            }
            Err(error) => {
                self.report.differences.push(Difference::from_header(block, error.to_string()));
                row.header_matches = false;
                row.left_out = Some(LeftOut::Failed);
            }
        }
        self.report.blocks.push(row);
    }

    fn warm_up(&mut self) -> Result<Vec<Warm>, ReplayError> {
        if !self.settings.modes.iter().any(|mode| mode.is_warm()) {
            return Ok(Vec::new());
        }
        self.settings.engines.iter().map(|engine| self.warm(engine)).collect()
    }

    fn measure_mode(&mut self, mode: Mode, warm: &[Warm]) -> Result<(), ReplayError> {
        let engines = self.settings.engines_of(mode);
        if engines.is_empty() || self.blocks.is_empty() {
            return Ok(());
        }
        let samples = match mode {
            Mode::Live => self.live(&engines)?,
            Mode::Fresh => self.fresh(&engines)?,
            warm_mode => self.warmed(warm_mode, warm)?,
        };
        let blocks: Vec<&str> = self.blocks.iter().map(|block| block.name.as_str()).collect();
        let names: Vec<NativeEngine> =
            engines.iter().map(|index| self.settings.engines[*index]).collect();
        self.report.add(mode, &blocks, &names, &samples);
        Ok(())
    }

    /// Executes a block, compares what it did with the interpreter, and gives its time in
    /// nanoseconds; a block that differs isn't in the sums. `before` is called between the
    /// preparations and what is timed.
    pub(super) fn run(
        &mut self,
        subject: Subject<'_>,
        engine: &dyn Display,
        mode: Mode,
        index: usize,
        before: &mut dyn FnMut(),
    ) -> u64 {
        let block = self.blocks[index];
        let (lines, time) = match subject.run(block, before) {
            Ok(executed) => (check::differences(&self.references[index], &executed), executed.time),
            Err(error) => (vec![error.to_string()], Duration::ZERO),
        };
        self.report.add_differences(block, engine, mode, lines);
        nanos(time)
    }

    /// The numbers below `count` in a random order, so that no engine always runs after the same
    /// other one.
    pub(super) fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..count).collect();
        self.random.shuffle(&mut numbers);
        numbers
    }

    /// To be called after each run that is one of those that are counted.
    pub(super) fn done(&mut self, step: Step) {
        (self.on_step)(step);
    }
}

/// Waits until a backend has compiled all that it was asked for.
pub(super) fn wait_idle(engine: &NativeEngine, backend: &JitBackend) -> Result<(), ReplayError> {
    match backend.wait_idle(Duration::from_secs(IDLE_SECONDS)) {
        true => Ok(()),
        false => Err(ReplayError::Busy(*engine)),
    }
}

/// Starts an engine.
pub(super) fn start(engine: &NativeEngine) -> Result<JitBackend, ReplayError> {
    let failed = |error: cranevm::Error| failure(engine, &error);
    engine.start().map_err(failed)
}

fn failure(engine: &NativeEngine, error: &cranevm::Error) -> ReplayError {
    ReplayError::Engine { engine: *engine, reason: format!("{error:#}") }
}

/// What a block does in the interpreter, how long it takes, and the share of precompiled contracts.
fn probe(block: &ReplayBlock) -> Result<(Executed, Duration, f64), ExecuteError> {
    let executed = Subject::Interpreter.run(block, &mut || ())?;
    let mut least = Duration::MAX;
    for _ in 0..PROBES {
        least = least.min(Subject::Interpreter.run(block, &mut || ())?.time);
    }
    Ok((executed, least, precompiles::share(block)?))
}

/// The processor time of what a process does once: a backend and the compilation of one STOP.
fn cost_of_first(engine: &NativeEngine) -> Result<Duration, ReplayError> {
    let begin = clock::process();
    let backend = start(engine)?;
    let code = Bytes::from_static(&[0]);
    let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::default() };
    backend
        .compile_jit_sync(LookupRequest { key, code })
        .map_err(|error| failure(engine, &error))?;
    wait_idle(engine, &backend)?;
    drop(backend);
    Ok(clock::process().saturating_sub(begin))
}
