//! What a compilation's time consists of, in the JSON of `bench` and `compile`. Nanoseconds.

use cranevm_cli::measure::nanos;
use cranevm_codegen::CompileTimings;
use cranevm_passes::{pipeline::Pass, timing::PassTimes};
use serde::Serialize;
use std::collections::BTreeMap;

/// The phases. Their sum is below the whole: entry points and function bodies are copied between.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Phases {
    /// Decoding and analysis: all passes.
    pub(crate) parse: u64,
    /// Building Cranelift's IR.
    pub(crate) translate: u64,
    /// Cranelift's passes on its IR.
    pub(crate) optimize: u64,
    /// Lowering, register allocation and emission.
    pub(crate) codegen: u64,
}

impl From<&CompileTimings> for Phases {
    fn from(timings: &CompileTimings) -> Self {
        Self {
            parse: nanos(timings.parse),
            translate: nanos(timings.translate),
            optimize: nanos(timings.optimize),
            codegen: nanos(timings.codegen),
        }
    }
}

/// Time in each pass of the analysis, by the pass's name.
pub(crate) type Passes = BTreeMap<&'static str, u64>;

/// The times of one analysis.
pub(crate) fn passes(times: &PassTimes) -> Passes {
    Pass::ALL.into_iter().map(|pass| (pass.name(), nanos(times.of(pass)))).collect()
}

/// Adds the phases and passes of one compilation to those of others.
#[derive(Clone, Debug, Default)]
pub(crate) struct PhaseTotals {
    /// Sums over compilations.
    pub(crate) phases: Phases,
    /// Sums over compilations.
    pub(crate) passes: Passes,
}

impl PhaseTotals {
    /// Adds one compilation.
    pub(crate) fn add(&mut self, phases: &Phases, passes: &Passes) {
        self.phases.parse += phases.parse;
        self.phases.translate += phases.translate;
        self.phases.optimize += phases.optimize;
        self.phases.codegen += phases.codegen;
        for (name, time) in passes {
            *self.passes.entry(name).or_default() += time;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn totals_are_sums() {
        let timings = CompileTimings { codegen: Duration::from_nanos(7), ..Default::default() };
        let mut totals = PhaseTotals::default();
        for _ in 0..2 {
            totals.add(&Phases::from(&timings), &Passes::from([("decode", 3)]));
        }
        assert_eq!((totals.phases.codegen, totals.phases.parse), (14, 0));
        assert_eq!(totals.passes, Passes::from([("decode", 6)]));
    }

    #[test]
    fn every_pass_has_a_time() {
        assert_eq!(passes(&PassTimes::default()).len(), Pass::ALL.len());
    }
}
