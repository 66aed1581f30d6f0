//! `cranevm bench`: compile time, code size, and time on both engines, of whole transactions.

use super::{
    Opt,
    phases::{Passes, Phases},
};
use crate::terminal;
use crate::terminal::say;
use clap::{Args, ValueEnum};
use cranevm_cli::{
    CommandError, Engine, EngineRunner, Fixture,
    comparison::{self, Run},
    emulate::{EmulatedMachine, NoEmulator},
    engine::EngineStore,
    measure::{self, Repeat, median, nanos},
    shipped, spec,
};
use cranevm_codegen::{
    CompileTimings, CompiledCode, Compiler, CompilerOptions, abi::emulation::Emulator,
};
use cranevm_passes::{pipeline::Pass, timing::PassTimes};
use revm::primitives::hardfork::SpecId;
use serde::Serialize;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Measure compilation and execution of transaction fixtures
///
/// Compile time is the median of the entry contract's compilation on one thread. Times of execution
/// are medians of whole transactions on warm caches, both engines interleaved in one run, the state
/// reset in between. Exits with 1 if the engines disagree.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// .json fixtures, or names of shipped contracts
    #[arg(required = true, value_name = "FIXTURE")]
    fixtures: Vec<String>,
    /// Optimization level
    #[arg(long, value_enum, default_value_t)]
    opt: Opt,
    /// How often to measure [default: 5 to 201 times, for up to 2 s]
    #[arg(long)]
    iters: Option<usize>,
    /// What is compared with the interpreter; compile times are always of this process
    #[arg(long, value_enum, default_value_t)]
    engine: EngineArg,
    /// Directory of artifacts: what runs is loaded from these, and made where there is none
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Fork [default: Osaka, Cancun for onchain-lm*]
    #[arg(long, value_parser = spec::parse)]
    spec: Option<SpecId>,
    /// A line of JSON for each fixture
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum EngineArg {
    /// Native code, compiled in this process
    #[default]
    Native,
    /// Native code, compiled in a helper process
    Helper,
    /// Code for aarch64 in an emulator, if the program was built with the feature `emulate`
    Aarch64,
}

impl EngineArg {
    const fn engine(self) -> Engine {
        match self {
            Self::Native => Engine::Native,
            Self::Helper => Engine::Helper,
            Self::Aarch64 => Engine::Aarch64,
        }
    }

    /// What runs its code, if this machine doesn't.
    fn emulator(self) -> Result<Option<Emulator>, NoEmulator> {
        (self == Self::Aarch64).then(|| EmulatedMachine::Linux.emulator()).transpose()
    }
}

/// A line of output. Times are medians.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    spec: &'static str,
    opt: &'static str,
    bytecode_len: usize,
    opcodes: u32,
    blocks: u32,
    chunks: usize,
    entries: usize,
    compile_ns: u64,
    phases_ns: Phases,
    /// What `phases_ns.parse` consists of.
    passes_ns: Passes,
    clif_instructions: u32,
    code_bytes: usize,
    /// The first transaction, with the compilation of all that it calls.
    first_ns: u64,
    interp_ns: u64,
    native_ns: u64,
    /// To the interpreter, in a transaction after the first.
    hand_overs: f64,
    gas_interp: u64,
    gas_native: u64,
    r#match: bool,
    /// For people; the JSON says only whether there are any.
    #[serde(skip)]
    differences: Vec<String>,
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let mut fixtures = Vec::new();
        for argument in &self.fixtures {
            fixtures.extend(shipped::fixtures(argument)?);
        }
        let total = Some(fixtures.len());
        let bar = terminal::progress(total, "fixtures");
        let mut rows = Vec::with_capacity(fixtures.len());
        for fixture in &fixtures {
            let row = self.measure(fixture)?;
            if self.json {
                let line = terminal::json(&row)?;
                bar.suspend(|| say!("{line}"));
            }
            rows.push(row);
            bar.inc(1);
        }
        bar.finish_and_clear();
        if !self.json {
            print_table(&rows);
        }
        conclude(&rows)
    }

    fn repeat(&self) -> Repeat {
        let default = Repeat { min: 5, max: 201, budget: Duration::from_secs(2) };
        self.iters.map_or(default, Repeat::exactly)
    }

    fn measure(&self, fixture: &Fixture) -> Result<Row, CommandError> {
        let at = |error: &dyn std::fmt::Display| {
            CommandError::Failed(format!("{}: {error}", fixture.name))
        };
        let spec = self.spec.unwrap_or_else(|| fixture.default_spec());
        let code = fixture.entry_code();
        let emulator = self.engine.emulator().map_err(|error| at(&error))?;
        let compiled =
            self.measure_compilation(&code, spec, emulator).map_err(|error| at(&error))?;
        let interpreter = EngineRunner::interpreter();
        let store = self.store.as_deref().map(EngineStore::open).transpose()?;
        let (engine, opt) = (self.engine.engine(), self.opt.level());
        let native = EngineRunner::with_store(engine, opt, store.as_ref()).map_err(|e| at(&e))?;
        let environment = fixture.environment(spec);
        let runs = comparison::run_interleaved(
            &[&interpreter, &native],
            &environment,
            &fixture.database(),
            self.repeat(),
        )
        .map_err(|error| at(&error))?;
        if let Some(problem) = native.problem() {
            return Err(at(&problem));
        }
        let [interpreted, native] = &runs[..] else {
            return Err(at(&"a run is missing"));
        };
        let row = compiled.into_row(fixture, spec, self.opt, code.len());
        Ok(row.with_runs(interpreted, native))
    }

    fn measure_compilation(
        &self,
        code: &[u8],
        spec: SpecId,
        emulator: Option<Emulator>,
    ) -> Result<Compilation, cranevm_codegen::CompileError> {
        let options =
            CompilerOptions { opt_level: self.opt.level(), emulator, ..Default::default() };
        let mut compiler = Compiler::new(options)?;
        let repeat = self.repeat();
        let mut result = Compilation::default();
        // The first one is thrown away: it allocates what the compiler keeps.
        compiler.compile(code, spec)?;
        let begin = Instant::now();
        while repeat.goes_on(result.times.len(), begin) {
            let start = Instant::now();
            let compiled = compiler.compile(code, spec)?;
            result.times.push(start.elapsed());
            result.phases.push(compiled.timings);
            result.passes.push(compiled.report.pass_times);
            result.last = Some(compiled);
        }
        Ok(result)
    }
}

#[derive(Default)]
struct Compilation {
    times: Vec<Duration>,
    phases: Vec<CompileTimings>,
    passes: Vec<PassTimes>,
    /// Sizes and counts are the same each time.
    last: Option<CompiledCode>,
}

impl Compilation {
    fn into_row(self, fixture: &Fixture, spec: SpecId, opt: Opt, bytecode_len: usize) -> Row {
        let phase = |of: fn(&CompileTimings) -> Duration| {
            nanos(median(&self.phases.iter().map(of).collect::<Vec<_>>()))
        };
        let pass = |pass: Pass| {
            let times: Vec<_> = self.passes.iter().map(|times| times.of(pass)).collect();
            (pass.name(), nanos(median(&times)))
        };
        let count = |of: fn(&CompiledCode) -> usize| self.last.as_ref().map_or(0, of);
        Row {
            name: fixture.name.clone(),
            spec: spec.into(),
            opt: opt.name(),
            bytecode_len,
            opcodes: self.last.as_ref().map_or(0, |code| code.report.opcodes),
            blocks: self.last.as_ref().map_or(0, |code| code.report.blocks),
            chunks: count(CompiledCode::chunks),
            entries: count(CompiledCode::entries),
            compile_ns: nanos(median(&self.times)),
            phases_ns: Phases {
                parse: phase(|t| t.parse),
                translate: phase(|t| t.translate),
                optimize: phase(|t| t.optimize),
                codegen: phase(|t| t.codegen),
            },
            passes_ns: Pass::ALL.into_iter().map(pass).collect(),
            clif_instructions: self.last.as_ref().map_or(0, |code| code.report.clif_instructions),
            code_bytes: count(CompiledCode::code_bytes),
            first_ns: 0,
            interp_ns: 0,
            native_ns: 0,
            hand_overs: 0.0,
            gas_interp: 0,
            gas_native: 0,
            r#match: false,
            differences: Vec::new(),
        }
    }
}

impl Row {
    fn with_runs(self, interpreted: &Run, native: &Run) -> Self {
        let differences = comparison::differences(interpreted, native);
        Self {
            first_ns: nanos(native.first),
            hand_overs: native.hand_overs,
            interp_ns: nanos(interpreted.median),
            native_ns: nanos(native.median),
            gas_interp: interpreted.outcome.result.tx_gas_used(),
            gas_native: native.outcome.result.tx_gas_used(),
            r#match: differences.is_empty(),
            differences,
            ..self
        }
    }

    fn cells(&self) -> [String; 13] {
        let per_byte = measure::us_per_byte(self.compile_ns, self.bytecode_len);
        let speed = self.interp_ns as f64 / self.native_ns.max(1) as f64;
        [
            self.name.clone(),
            measure::count(self.bytecode_len as u64),
            measure::count(self.opcodes),
            self.chunks.to_string(),
            measure::time(Duration::from_nanos(self.compile_ns)),
            format!("{per_byte:.2}"),
            measure::count(self.clif_instructions),
            measure::count(self.code_bytes as u64),
            measure::time(Duration::from_nanos(self.interp_ns)),
            measure::time(Duration::from_nanos(self.native_ns)),
            format!("{speed:.2}x"),
            self.hand_overs.to_string(),
            // Colour would count as text in the column's width.
            if self.r#match { "yes" } else { "NO" }.into(),
        ]
    }
}

fn print_table(rows: &[Row]) {
    let mut table = terminal::table(&[
        "fixture",
        "bytecode/B",
        "opcodes",
        "chunks",
        "compile",
        "us/byte",
        "CLIF",
        "code/B",
        "interpreter",
        "native",
        "speed",
        "hand-overs",
        "equal",
    ]);
    for row in rows {
        table.add_row(row.cells());
    }
    say!("{}", table.trim_fmt());
    for row in rows {
        for line in &row.differences {
            say!("{}: {line}", row.name);
        }
    }
}

fn conclude(rows: &[Row]) -> Result<(), CommandError> {
    let wrong: Vec<&str> =
        rows.iter().filter(|row| !row.r#match).map(|row| row.name.as_str()).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(CommandError::Failed(format!("the engines disagree on {}", wrong.join(", "))))
}
