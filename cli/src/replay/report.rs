//! What a measurement comes to: for each mode and engine a row for each block, and their sum.

use super::{
    block::ReplayBlock,
    engine::NativeEngine,
    machine,
    mode::Mode,
    schedule::Samples,
    session::Settings,
    shares::Shares,
    statistics::{Range, Ratio, Times},
};
use crate::measure::{median, nanos};
use cranevm::runtime::JitBackend;
use serde::Serialize;
use std::{fmt::Display, time::Duration};

/// All that was measured. As JSON, an object; times in nanoseconds of processor time.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// This program's version.
    pub version: &'static str,
    /// The processor's model.
    pub cpu: String,
    /// Processors that could be used.
    pub cpus: usize,
    /// Whether interpreter and precompiled contracts are built as nodes build them.
    pub node_crypto: bool,
    /// What was asked for.
    pub modes: Vec<Mode>,
    /// What was asked for.
    pub engines: Vec<String>,
    /// What was asked for.
    pub rounds: usize,
    /// What was asked for.
    pub seed: u64,
    /// Processor time of what a process does once, before it compiles a contract: the first backend
    /// and its first compilation, of one opcode. It isn't in any other figure.
    pub once_cpu_ns: u64,
    /// The blocks, each compared with its header.
    pub blocks: Vec<BlockReport>,
    /// A row for each mode, engine and block.
    pub rows: Vec<Row>,
    /// A row for each mode and engine.
    pub aggregates: Vec<Aggregate>,
    /// What differs from a header or from the interpreter. Empty if all is well.
    pub differences: Vec<Difference>,
}

/// A block, and what it did in the interpreter.
#[derive(Clone, Debug, Serialize)]
pub struct BlockReport {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u64,
    /// Its fork.
    pub fork: &'static str,
    /// How many it has.
    pub transactions: usize,
    /// By the header.
    pub gas_used: u64,
    /// The least of a few runs.
    pub interpreter_ns: u64,
    /// The share of its time that precompiled contracts take.
    pub precompiles: f64,
    /// Whether gas and receipts are those of the header.
    pub header_matches: bool,
    /// Why it isn't in the sums.
    pub left_out: Option<LeftOut>,
}

/// Why a block isn't in the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeftOut {
    /// More than half of its time is precompiled contracts.
    Precompiles,
    /// It takes less than a millisecond.
    Short,
    /// It can't be executed.
    Failed,
}

/// A block in a mode on an engine, beside the interpreter.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The mode.
    pub mode: Mode,
    /// The engine.
    pub engine: String,
    /// The block's name.
    pub block: String,
    /// Whether it is in the sums.
    pub counted: bool,
    /// In the interpreter.
    pub interpreter: Times,
    /// On the engine.
    pub native: Times,
    /// The first by the second.
    pub ratio: Ratio,
    /// How much ran natively.
    pub shares: Shares,
    /// Processor time of compiling, in modes that compile.
    pub compile_cpu_ns: Option<u64>,
}

/// What differences call the interpreter.
pub(super) const INTERPRETER: &str = "interpreter";

/// All counted blocks in a mode on an engine.
#[derive(Clone, Debug, Serialize)]
pub struct Aggregate {
    /// The mode.
    pub mode: Mode,
    /// The engine.
    pub engine: String,
    /// Blocks in the sums.
    pub blocks: usize,
    /// Sum of medians.
    pub interpreter_ns: u64,
    /// Sum of medians.
    pub native_ns: u64,
    /// The first by the second, and how it moved between rounds.
    pub ratio: Ratio,
    /// Ratios of the blocks.
    pub of_blocks: Range,
    /// How their frames ran.
    pub shares: Shares,
    /// Time saved by one pass over the blocks; negative if it takes longer.
    pub saved_ns: i128,
    /// What was compiled for it, of all blocks.
    pub compiling: Compiling,
}

/// What an engine has compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compiling {
    /// Processor time, of all threads that compile.
    pub cpu_ns: u64,
    /// Compilations: of a contract at a level.
    pub compilations: u64,
    /// Those that failed.
    pub failed: u64,
    /// Programs, in the end.
    pub programs: u64,
    /// Their code.
    pub code_bytes: u64,
    /// Their tables.
    pub data_bytes: u64,
}

impl Compiling {
    /// What a backend has compiled so far, in `cpu`.
    pub(super) fn now(backend: &JitBackend, cpu: Duration) -> Self {
        let stats = backend.stats();
        Self {
            cpu_ns: nanos(cpu),
            compilations: stats.compilations_succeeded + stats.upgrades_succeeded,
            failed: stats.compilations_failed + stats.upgrades_failed,
            programs: stats.resident_entries,
            code_bytes: stats.jit_code_bytes,
            data_bytes: stats.jit_data_bytes,
        }
    }

    /// Adds what another backend has compiled.
    pub(super) fn add(&mut self, other: &Self) {
        self.cpu_ns += other.cpu_ns;
        self.compilations += other.compilations;
        self.failed += other.failed;
        self.programs += other.programs;
        self.code_bytes += other.code_bytes;
        self.data_bytes += other.data_bytes;
    }
}

/// A block that didn't do what it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The block's name.
    pub block: String,
    /// On which engine.
    pub engine: String,
    /// In which mode; `None` for the comparison with the header.
    pub mode: Option<Mode>,
    /// What differs, in a line.
    pub what: String,
}

impl Difference {
    pub(super) fn from_header(block: &ReplayBlock, what: String) -> Self {
        Self { block: block.name.clone(), engine: INTERPRETER.into(), mode: None, what }
    }
}

impl BlockReport {
    pub(super) fn new(block: &ReplayBlock) -> Self {
        Self {
            name: block.name.clone(),
            number: block.number,
            fork: block.cfg.spec.into(),
            transactions: block.transactions.len(),
            gas_used: block.expected.gas_used,
            interpreter_ns: 0,
            precompiles: 0.0,
            header_matches: true,
            left_out: None,
        }
    }
}

impl Report {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cpu: machine::cpu_model(),
            cpus: machine::cpus(),
            node_crypto: cfg!(feature = "node-crypto"),
            modes: settings.modes.clone(),
            engines: settings.engines.iter().map(ToString::to_string).collect(),
            rounds: settings.rounds,
            seed: settings.seed,
            once_cpu_ns: 0,
            blocks: Vec::new(),
            rows: Vec::new(),
            aggregates: Vec::new(),
            differences: Vec::new(),
        }
    }

    /// Adds what differs in a run, the first time for a block on an engine.
    pub(super) fn add_differences(
        &mut self,
        block: &ReplayBlock,
        engine: &dyn Display,
        mode: Mode,
        lines: Vec<String>,
    ) {
        if lines.is_empty() {
            return;
        }
        let (block, engine) = (block.name.clone(), engine.to_string());
        let is_known = |difference: &Difference| {
            difference.mode.is_some() && difference.block == block && difference.engine == engine
        };
        if self.differences.iter().any(is_known) {
            return;
        }
        let new = lines.into_iter().map(|what| Difference {
            block: block.clone(),
            engine: engine.clone(),
            mode: Some(mode),
            what,
        });
        self.differences.extend(new);
    }

    /// Adds a mode's rows: of `blocks`, by name, on `engines`.
    pub(super) fn add<'a>(
        &mut self,
        mode: Mode,
        blocks: &[&str],
        engines: &[NativeEngine],
        samples: &'a Samples,
    ) {
        let interpreter = &samples.times[0];
        for (index, engine) in engines.iter().enumerate() {
            let engine_name = engine.to_string();
            let counted: Vec<bool> =
                blocks.iter().map(|name| self.is_counted(name, &engine_name)).collect();
            let native = &samples.times[index + 1];
            let first = self.rows.len();
            for (block, name) in blocks.iter().enumerate() {
                let compile = &samples.compile_ns[index][block];
                self.rows.push(Row {
                    mode,
                    engine: engine_name.clone(),
                    block: (*name).into(),
                    counted: counted[block],
                    interpreter: Times::of(&interpreter[block]),
                    native: Times::of(&native[block]),
                    ratio: Ratio::of_sums(&[&interpreter[block]], &[&native[block]]),
                    shares: samples.shares[index][block].clone(),
                    compile_cpu_ns: (!compile.is_empty()).then(|| median(compile)),
                });
            }
            let in_sums = |times: &'a [Vec<u64>]| -> Vec<&'a Vec<u64>> {
                let pairs = times.iter().zip(&counted);
                pairs.filter(|(_, counted)| **counted).map(|(times, _)| times).collect()
            };
            let ratio = Ratio::of_sums(&in_sums(interpreter), &in_sums(native));
            let rows = &self.rows[first..];
            let compiling = samples.compiling[index];
            if counted.contains(&true) {
                self.aggregates.push(Aggregate::of(mode, engine, rows, ratio, compiling));
            }
        }
    }

    /// Whether a block is in the sums of an engine: it is one to measure, and differs nowhere.
    fn is_counted(&self, name: &str, engine: &str) -> bool {
        let differs = |difference: &Difference| {
            difference.block == name && [engine, INTERPRETER].contains(&&*difference.engine)
        };
        self.blocks.iter().any(|block| block.name == name && block.left_out.is_none())
            && !self.differences.iter().any(differs)
    }
}

impl Aggregate {
    /// Of all blocks' rows in a mode on an engine.
    fn of(
        mode: Mode,
        engine: &NativeEngine,
        rows: &[Row],
        ratio: Ratio,
        compiling: Compiling,
    ) -> Self {
        let counted = || rows.iter().filter(|row| row.counted);
        let interpreter_ns = counted().map(|row| row.interpreter.median_ns).sum();
        let native_ns = counted().map(|row| row.native.median_ns).sum();
        let mut shares = Shares::default();
        counted().for_each(|row| shares += &row.shares);
        Self {
            mode,
            engine: engine.to_string(),
            blocks: counted().count(),
            interpreter_ns,
            native_ns,
            ratio,
            of_blocks: Range::of(counted().map(|row| row.ratio.value)),
            shares,
            saved_ns: i128::from(interpreter_ns) - i128::from(native_ns),
            compiling,
        }
    }
}
