//! Small programs, of which very many are run, each at all gas limits where it may go another way,
//! and from stacks that are just high enough, or just too high.
//!
//! Random programs of some size hardly ever do what a defect needs: run a second copy of the first
//! block, jump to the later of two merged blocks with a word too few, owe gas where a block ends.
//! So there are two sorts of small ones:
//!
//! - [`exhaustive`]: *all* programs of a few instructions of an alphabet;
//! - [`rare`]: random ones of shapes that make just these things.
//!
//! They are frames without a transaction around them ([`frame`]), which cost a microsecond instead
//! of thirty. Interpreter and compiled code take turns wherever they may, and what a frame calls
//! returns at once. Compiling takes most of the time. `CRANEVM_SMALL` says how many run:
//!
//! | value | runs |
//! | --- | --- |
//! | `1/10` | one of ten programs |
//! | `8` | all of the longest exhaustive ones, not one of three; eight times as many rare ones |
//! | `64` | also all that are a symbol longer: hours |
//! | `all` | as `64`, on every engine |
//!
//! Equality is exact: result, halt reason, gas, refund, output, what the host is asked in which
//! order, and, of frames that don't fail, stack and memory.

pub mod exhaustive;
pub mod frame;
pub mod host;
pub mod limits;
pub mod rare;
mod resume;

use self::{
    frame::{Frame, NativeFrame, Runner},
    limits::{gas_limits, heights},
};
use crate::{assembly::disassemble, parallel, rng::mix};
use alloy_primitives::hex;
use cranevm_codegen::{
    Compiler, CompilerOptions, OptimizationLevel, Stencils, code_memory::CodeRegion,
};
use revm::primitives::hardfork::SpecId;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// The fork: one that has all opcodes that are of interest.
pub const SPEC: SpecId = SpecId::AMSTERDAM;

/// Calldata of all frames: CALLDATASIZE is a small number that isn't known when compiling.
pub const CALLDATA: [u8; 3] = [0, 0, 5];

/// Findings that are kept.
const KEPT: usize = 200;

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each of how many programs runs.
    pub every: usize,
    /// How many times as many as usual.
    pub times: usize,
    /// Whether each runs on every engine.
    pub everywhere: bool,
}

impl Plan {
    /// The plan of the environment.
    ///
    /// # Panics
    /// If the variable has none of the forms above.
    pub fn from_env() -> Self {
        let text = std::env::var("CRANEVM_SMALL").unwrap_or_else(|_| "1".into());
        Self::parse(&text).unwrap_or_else(|| panic!("CRANEVM_SMALL={text}: 1/10, 8, or all"))
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "all" {
            return Some(Self { every: 1, times: 64, everywhere: true });
        }
        let (times, every) = text.split_once('/').unwrap_or((text, "1"));
        let (times, every) = (times.parse().ok()?, every.parse().ok()?);
        (times > 0 && every > 0).then_some(Self { every, times, everywhere: false })
    }
}

/// How thoroughly a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// From stacks of so many words, and fewer.
    pub low: usize,
    /// At so many gas limits from each.
    pub limits: usize,
    /// On so many engines always; on one of the others in turn.
    pub always: usize,
}

/// A difference.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The program.
    pub code: Vec<u8>,
    /// What differed, where, and how.
    pub text: String,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Programs that ran.
    pub programs: u64,
    /// Native runs that were compared.
    pub compared: u64,
    /// How many of these ended natively.
    pub natively: u64,
    /// Programs that differ.
    pub differing: u64,
    /// Some of them, the shortest among them.
    pub findings: Vec<Finding>,
}

/// A way to run a program natively.
struct Engine {
    name: String,
    compiler: Compiler,
}

/// What one thread runs programs of a fork with.
pub struct Bench {
    spec: SpecId,
    runner: Runner,
    region: Arc<CodeRegion>,
    engines: Vec<Engine>,
    summary: Summary,
}

/// The engines' settings: the first ones are those that run most.
fn settings() -> Vec<CompilerOptions> {
    let base = CompilerOptions {
        opt_level: OptimizationLevel::None,
        compile_all: true,
        verify: true,
        ..CompilerOptions::default()
    };
    let optimised = CompilerOptions { opt_level: OptimizationLevel::Default, ..base };
    let hand_over = |blocks| CompilerOptions { force_hand_over: Some(blocks), ..base };
    vec![
        CompilerOptions { stencils: Stencils::Copied, ..base },
        optimised,
        base,
        CompilerOptions { stencils: Stencils::Sampled(3), ..hand_over(1 << 20) },
        hand_over(0),
        hand_over(1),
        CompilerOptions { opt_level: OptimizationLevel::Default, ..hand_over(1) },
        CompilerOptions { one_block_per_chunk: true, ..optimised },
        CompilerOptions { compile_all: false, ..optimised },
        CompilerOptions { opt_level: OptimizationLevel::Default, ..hand_over(2) },
        CompilerOptions { debug_assertions: true, ..optimised },
    ]
}

fn name(options: &CompilerOptions) -> String {
    let mut name = format!("{:?}", options.opt_level);
    let flags = [
        (options.stencils == Stencils::Copied, "copied"),
        (options.stencils == Stencils::Sampled(3), "some blocks"),
        (options.one_block_per_chunk, "one block per chunk"),
        (!options.compile_all, "likely alone"),
        (options.debug_assertions, "asserting"),
    ];
    for (_, flag) in flags.into_iter().filter(|(is_set, _)| *is_set) {
        name = format!("{name}, {flag}");
    }
    match options.force_hand_over {
        Some(blocks) => format!("{name}, hand-over after {blocks}"),
        None => name,
    }
}

impl Bench {
    /// A bench without a program.
    ///
    /// # Panics
    /// If no code can be made here.
    pub fn new(spec: SpecId) -> Self {
        let engine = |options: CompilerOptions| Engine {
            name: name(&options),
            compiler: Compiler::new(options).expect("this machine"),
        };
        Self {
            spec,
            runner: Runner::new(spec),
            region: CodeRegion::new(1 << 24).expect("address space"),
            engines: settings().into_iter().map(engine).collect(),
            summary: Summary::default(),
        }
    }

    /// Runs a program on some engines, those beyond the first ones chosen by `turn`, and notes the
    /// first difference.
    pub fn run(&mut self, code: &[u8], effort: Effort, turn: usize) {
        let frame = Frame::new(code, &CALLDATA, self.spec);
        let others = self.engines.len() - effort.always.min(self.engines.len());
        let turn = if others == 0 { 0 } else { effort.always + turn % others };
        let engines =
            (0..effort.always.min(self.engines.len())).chain((others > 0).then_some(turn));
        let found = self.find(&frame, effort, engines);
        self.summary.programs += 1;
        if let Some(text) = found {
            self.summary.note(Finding { code: code.to_vec(), text });
        }
    }

    /// Whether any program differed so far.
    pub const fn differs(&self) -> bool {
        self.summary.differing > 0
    }

    /// What came of it.
    pub fn summary(self) -> Summary {
        Summary { natively: self.runner.ended_natively, ..self.summary }
    }

    fn find(
        &mut self,
        frame: &Frame,
        effort: Effort,
        engines: impl Iterator<Item = usize>,
    ) -> Option<String> {
        let mut natives = Vec::new();
        for index in engines {
            let Engine { name, compiler } = &mut self.engines[index];
            // Unwinding leaves a compiler as it was: it begins each program anew.
            let compile = AssertUnwindSafe(|| NativeFrame::compile(frame, compiler, &self.region));
            match catch_unwind(compile) {
                Ok(Ok(native)) => natives.push((index, native)),
                Ok(Err(error)) => return Some(format!("{name}: isn't compiled: {error}")),
                Err(_) => return Some(format!("{name}: the compiler panics")),
            }
        }
        for height in heights(&mut self.runner, frame, effort.low) {
            let limits = if height <= effort.low { effort.limits } else { effort.limits / 4 };
            for gas in gas_limits(&mut self.runner, frame, height, limits) {
                let expected = self.runner.interpret(frame, height, gas);
                for (index, native) in &natives {
                    let run = AssertUnwindSafe(|| self.runner.run(native, height, gas));
                    let seen = catch_unwind(run).ok();
                    self.summary.compared += 1;
                    if seen.as_ref() != Some(&expected) {
                        let name = &self.engines[*index].name;
                        return Some(format!(
                            "{name}, {height} words, gas {gas}:\n  interpreter {expected:?}\n  \
                             native      {seen:?}"
                        ));
                    }
                }
            }
        }
        None
    }
}

impl Summary {
    fn note(&mut self, finding: Finding) {
        self.differing += 1;
        self.findings.push(finding);
        self.findings.sort_by_key(|finding| finding.code.len());
        self.findings.truncate(KEPT);
    }

    fn add(&mut self, other: Self) {
        self.programs += other.programs;
        self.compared += other.compared;
        self.natively += other.natively;
        self.differing += other.differing;
        self.findings.extend(other.findings);
        self.findings.sort_by_key(|finding| finding.code.len());
    }

    /// The shortest programs that differ, at most `count`.
    pub fn report(&self, count: usize) -> String {
        let describe = |Finding { code, text }: &Finding| {
            format!("{}\n{text}\n{}\n", hex::encode(code), disassemble(code))
        };
        self.findings.iter().take(count).map(describe).collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { programs, compared, natively, differing, .. } = self;
        write!(f, "{programs} programs, {compared} native runs ({natively} to the end): ")?;
        write!(f, "{differing} programs differ")
    }
}

/// Runs the programs that `program` makes of the numbers below `count`. With the environment
/// variable `CRANEVM_TRACE`, prints each before it runs: one that crashes can't be reported.
pub fn run_all(
    plan: Plan,
    count: usize,
    effort: Effort,
    program: impl Fn(usize) -> Vec<u8> + Sync,
) -> Summary {
    /// Programs of a job.
    const BATCH: usize = 16;
    /// A batch takes a fraction of a second, unless one runs for nothing.
    const LIMIT: Duration = Duration::from_secs(120);
    let always = if plan.everywhere { usize::MAX } else { effort.always };
    let effort = Effort { always, ..effort };
    let trace = std::env::var_os("CRANEVM_TRACE").is_some();
    let keeps = |index: &usize| mix(*index as u64).is_multiple_of(plan.every as u64);
    let run = |bench: &mut Bench, job: usize| {
        let indices = job * BATCH..count.min((job + 1) * BATCH);
        for index in indices.filter(keeps) {
            let code = program(index);
            if trace {
                eprintln!("{}", hex::encode(&code));
            }
            bench.run(&code, effort, mix(!(index as u64)) as usize);
        }
    };
    let jobs = count.div_ceil(BATCH);
    let mut summary = Summary::default();
    for bench in parallel::for_each_within(LIMIT, jobs, || Bench::new(SPEC), run) {
        summary.add(bench.summary());
    }
    summary
}
