//! How much of a block ran natively, and why the rest didn't, from a backend's counters.

use cranevm::runtime::{FrameStats, JitBackend, RunStats};
use serde::Serialize;
use std::{collections::BTreeMap, ops::AddAssign};

/// A backend's counters at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters {
    hits: u64,
    misses: u64,
    frames: FrameStats,
}

/// How the frames of a block ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shares {
    /// All.
    pub total: Ran,
    /// Natively, in code of an optimising level.
    pub optimised: Ran,
    /// Natively, in code of a baseline level.
    pub baseline: Ran,
    /// In the interpreter, by reason; those that there were.
    pub interpreted: BTreeMap<&'static str, Ran>,
    /// Times that a frame with a program was left to the interpreter, by reason.
    pub hand_overs: BTreeMap<&'static str, u64>,
    /// Times that the interpreter's frame went on natively.
    pub entered_on_stack: u64,
    /// Lookups by frames that found a program.
    pub lookup_hits: u64,
    /// Lookups by frames of eligible code that found none.
    pub lookup_misses: u64,
}

/// Frames that began in one way, and the gas that was burnt in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// Frames.
    pub frames: u64,
    /// Gas, without that of nested frames.
    pub gas: u64,
}

impl Counters {
    /// Now.
    pub(super) fn read(backend: &JitBackend) -> Self {
        let stats = backend.stats();
        Self { hits: stats.lookup_hits, misses: stats.lookup_misses, frames: stats.frames }
    }

    /// What happened from then on until now.
    pub(super) fn shares(&self, backend: &JitBackend) -> Shares {
        let now = Self::read(backend);
        let (before, after) = (&self.frames, &now.frames);
        let reasons = before.interpreted.by_reason().into_iter();
        let interpreted = reasons
            .zip(after.interpreted.by_reason())
            .map(|((reason, before), (_, after))| (reason, Ran::between(before, after)));
        let hand_overs = before.hand_overs.by_reason().into_iter();
        let hand_overs = hand_overs
            .zip(after.hand_overs.by_reason())
            .map(|((reason, before), (_, after))| (reason, after.saturating_sub(before)));
        Shares {
            total: Ran::between(before.total(), after.total()),
            optimised: Ran::between(before.optimised, after.optimised),
            baseline: Ran::between(before.baseline, after.baseline),
            interpreted: interpreted.filter(|(_, ran)| *ran != Ran::default()).collect(),
            hand_overs: hand_overs.filter(|(_, times)| *times > 0).collect(),
            entered_on_stack: after.entered_on_stack.saturating_sub(before.entered_on_stack),
            lookup_hits: now.hits.saturating_sub(self.hits),
            lookup_misses: now.misses.saturating_sub(self.misses),
        }
    }
}

impl Ran {
    fn between(before: RunStats, after: RunStats) -> Self {
        Self {
            frames: after.frames.saturating_sub(before.frames),
            gas: after.gas.saturating_sub(before.gas),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self { frames: self.frames + other.frames, gas: self.gas + other.gas }
    }
}

impl Shares {
    /// What ran natively, at whatever level.
    pub fn native(&self) -> Ran {
        self.optimised.plus(self.baseline)
    }

    /// The share of the frames that began natively; 0 of none.
    pub fn native_frames(&self) -> f64 {
        share(self.native().frames, self.total.frames)
    }

    /// The share of the gas that was burnt natively; 0 of none.
    pub fn native_gas(&self) -> f64 {
        share(self.native().gas, self.total.gas)
    }

    /// The reason for which most gas was interpreted, and its share of all gas.
    pub fn most_interpreted(&self) -> Option<(&'static str, f64)> {
        let (reason, ran) = self.interpreted.iter().max_by_key(|(_, ran)| ran.gas)?;
        Some((reason, share(ran.gas, self.total.gas)))
    }

    /// All hand-overs.
    pub fn handed_over(&self) -> u64 {
        self.hand_overs.values().sum()
    }
}

/// The sum over several blocks.
impl<'a> AddAssign<&'a Self> for Shares {
    fn add_assign(&mut self, other: &'a Self) {
        self.total = self.total.plus(other.total);
        self.optimised = self.optimised.plus(other.optimised);
        self.baseline = self.baseline.plus(other.baseline);
        for (reason, ran) in &other.interpreted {
            let sum = self.interpreted.entry(reason).or_default();
            *sum = sum.plus(*ran);
        }
        for (reason, times) in &other.hand_overs {
            *self.hand_overs.entry(reason).or_default() += times;
        }
        self.entered_on_stack += other.entered_on_stack;
        self.lookup_hits += other.lookup_hits;
        self.lookup_misses += other.lookup_misses;
    }
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}
