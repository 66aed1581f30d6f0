//! The subjects that are tried: levels, passes left out, ways to cut chunks and to follow jumps.

use super::{
    Subject,
    ir::{Analysed, Heads},
    machine::Compilers,
    state::Code,
};
use crate::rng::Rng;
use cranevm_codegen::{Chaos, CompileError, CompilerOptions, OptimizationLevel, PassSet};
use cranevm_passes::{PassOptions, ThreadLimits};
use std::collections::BTreeSet;

/// How a subject is made of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Compiled code.
    Machine(CompilerOptions),
    /// The analysed program.
    Analysed(PassOptions, Heads),
}

/// A subject, and what must be known to judge it.
pub struct Tried {
    /// How it was made.
    pub setting: Setting,
    /// The subject.
    pub subject: Box<dyn Subject>,
    /// Of each merged block its pc, and that of the block which it is merged into.
    pub goals: BTreeSet<(usize, usize)>,
}

impl Setting {
    /// The subject for a code.
    ///
    /// # Errors
    /// If the code can't be analysed or compiled.
    pub fn subject(&self, compilers: &mut Compilers, code: &Code) -> Result<Tried, CompileError> {
        let subject: Box<dyn Subject> = match self {
            Self::Machine(options) => Box::new(compilers.compile(code, *options)?),
            Self::Analysed(options, heads) => Box::new(Analysed::new(code, options, *heads)?),
        };
        let blocks = &subject.program().blocks;
        let merged = blocks.values().filter_map(|data| Some((data.pc, data.merged_into.expand()?)));
        let goals = merged.map(|(pc, goal)| (pc as usize, blocks[goal].pc as usize)).collect();
        Ok(Tried { setting: self.clone(), subject, goals })
    }

    /// Some settings: code of both kinds of levels and a program for each kind of heads always,
    /// and others in turn.
    pub fn some(rng: &mut Rng) -> Vec<Self> {
        let level = |opt_level| CompilerOptions { opt_level, ..Default::default() };
        let [none, default] = [OptimizationLevel::None, OptimizationLevel::Default].map(level);
        let either = rng.pick(&[none, default]);
        let skip_passes = some_passes(rng);
        let other = match rng.below(6) {
            0 => level(OptimizationLevel::Aggressive),
            1 => CompilerOptions { compile_all: true, ..default },
            2 => CompilerOptions { one_block_per_chunk: true, ..default },
            3 => CompilerOptions { debug_assertions: true, compile_all: true, ..either },
            _ => CompilerOptions { skip_passes, compile_all: true, ..default },
        };
        let analysed = [Heads::Plain, Heads::Planned].map(|heads| {
            let options = some_options(rng);
            Self::Analysed(options, heads)
        });
        [none, default, other].map(Self::Machine).into_iter().chain(analysed).collect()
    }
}

impl Setting {
    /// Compiled code whose translation is disturbed, each time in another way.
    pub fn chaotic(rng: &mut Rng) -> Vec<Self> {
        let levels = [
            OptimizationLevel::Default,
            OptimizationLevel::Default,
            OptimizationLevel::Default,
            OptimizationLevel::Aggressive,
        ];
        let disturbed = levels.map(|opt_level| CompilerOptions {
            opt_level,
            chaos: Some(Chaos::new(rng.next())),
            compile_all: rng.percent(60),
            debug_assertions: rng.percent(25),
            one_block_per_chunk: rng.percent(10),
            skip_passes: if rng.percent(75) { PassSet::NONE } else { some_passes(rng) },
            ..Default::default()
        });
        disturbed.map(Self::Machine).to_vec()
    }
}

/// Options of the passes, of which half compile all.
fn some_options(rng: &mut Rng) -> PassOptions {
    let longer = ThreadLimits { copied_function: 200, growth_percent: 300, path: 3000 };
    let limits = [ThreadLimits::default(), ThreadLimits::MOVE_ONLY, ThreadLimits::NONE, longer];
    PassOptions {
        chunk_limit: rng.pick(&[500, 1000, 60, 20]),
        one_block_per_chunk: rng.percent(15),
        thread_limits: rng.pick(&limits),
        compile_all: rng.percent(50),
        // What the verifier refuses isn't run: here it is to be found out by running.
        verify: false,
        skip: some_passes(rng),
        ..PassOptions::default()
    }
}

/// Passes to leave out: mostly none, or one, or any.
fn some_passes(rng: &mut Rng) -> PassSet {
    let passes: Vec<PassSet> = PassSet::ALL.iter().collect();
    match rng.below(4) {
        0 | 1 => PassSet::NONE,
        2 => rng.pick(&passes),
        _ => passes.into_iter().filter(|_| rng.percent(40)).fold(PassSet::NONE, PassSet::union),
    }
}
