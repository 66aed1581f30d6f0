//! What a [`Compiler`](crate::Compiler) is asked to do.

#[cfg(feature = "cranelift")]
use crate::abi::emulation::Emulator;
use crate::{Chaos, OpcodeSet};
#[cfg(feature = "cranelift")]
use cranevm_passes::{PassSet, WorkLimit};

/// How much work goes into the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OptimizationLevel {
    /// Put together from stencils: in microseconds, whole, without the passes. The options of
    /// passes and chunks have no effect then, nor have `verify` and `chaos`. Of `debug_assertions`
    /// there are the checks at the start of each block, not those of each access.
    None,
    /// The same as [`None`](Self::None).
    Less,
    /// Optimising: translated and compiled by Cranelift.
    #[default]
    Default,
    /// Optimising, with Cranelift's mid-end too.
    Aggressive,
}

impl OptimizationLevel {
    /// Whether run time counts more than compile time: whether contracts are translated.
    pub const fn optimises(self) -> bool {
        matches!(self, Self::Default | Self::Aggressive)
    }
}

/// How contracts are put together from stencils. Code of all three does the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stencils {
    /// Short ones are copied, long ones called.
    #[default]
    ByLength,
    /// What can be copied is. For tests.
    Copied,
    /// What can be called is. For tests.
    Called,
    /// Of some blocks alone, which follow from a seed. For tests.
    Sampled(u32),
}

/// Options of a [`Compiler`](crate::Compiler). Those that have an effect affect the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompilerOptions {
    /// How much work goes into the code.
    pub opt_level: OptimizationLevel,
    /// How stencils are put together, where the level is of them.
    pub stencils: Stencils,
    /// Report every halt of a compiled frame as `OutOfGas`.
    pub single_error: bool,
    /// Don't merge identical basic blocks: the same as `PassSet::DEDUP` in `skip_passes`.
    pub no_dedup: bool,
    /// Don't eliminate dead stores: the same as `PassSet::DEAD_STORES` in `skip_passes`.
    pub no_dse: bool,
    /// Passes of the analysis to leave out, to find the one that a defect comes from.
    #[cfg(feature = "cranelift")]
    pub skip_passes: PassSet,
    /// Predict where computed jumps lead, for reports: compiled code doesn't depend on it. Implied
    /// by `verify`.
    pub predict_jumps: bool,
    /// Check at the start of each block what compiled code relies on: the stack's bounds, the pc,
    /// the gas, and that memory and calldata are as revm's interpreter has them. A violation
    /// panics, and the panic leaves compiled code as a host's would. Each access to memory, to the
    /// stack and to calldata is checked to lie within them before it is made. Costs some 10 ns a
    /// block, and some ns an access.
    pub debug_assertions: bool,
    /// Run the IR verifiers of the passes and of Cranelift. Costs 1.5-2x compile time.
    pub verify: bool,
    /// Compile what is unlikely to run too, instead of leaving it to the interpreter: blocks that
    /// only lead to failure, and JUMPDESTs whose offset is pushed nowhere.
    pub compile_all: bool,
    /// How much of a contract is compiled, with or without `compile_all`.
    #[cfg(feature = "cranelift")]
    pub work_limit: WorkLimit,
    /// Cut every basic block into a chunk of its own: each edge becomes a jump between chunks.
    /// For tests.
    pub one_block_per_chunk: bool,
    /// Run at most this many basic blocks natively at a time: the next block start hands over,
    /// and the interpreter goes on to the next entry point. For tests.
    pub force_hand_over: Option<u32>,
    /// Have the translator forget, write back, reload and clobber at random what it may, which
    /// changes no result unless it is wrong in what it believes. Cranelift's verifier and the check
    /// of its register allocation run with it. Costs 4x compile time. For tests.
    pub chaos: Option<Chaos>,
    /// Opcodes whose instruction isn't known to be revm's. They aren't compiled: the interpreter
    /// executes them by the EVM's table, and compiled code goes on after them.
    pub foreign: OpcodeSet,
    /// Compile for another machine, whose code this emulator runs here. For tests.
    #[cfg(feature = "cranelift")]
    #[doc(hidden)]
    pub emulator: Option<Emulator>,
}

#[cfg(feature = "cranelift")]
impl CompilerOptions {
    /// Whether Cranelift verifies what it is given.
    pub(crate) const fn verifies_code(&self) -> bool {
        self.verify || self.chaos.is_some()
    }

    /// The passes to leave out, by whichever option.
    pub(crate) fn skipped_passes(&self) -> PassSet {
        let mut passes = self.skip_passes;
        if self.no_dedup {
            passes = passes.union(PassSet::DEDUP);
        }
        if self.no_dse {
            passes = passes.union(PassSet::DEAD_STORES);
        }
        if !self.predict_jumps && !self.verify {
            passes = passes.union(PassSet::RESOLVE_JUMPS);
        }
        passes
    }
}

#[cfg(all(test, feature = "cranelift"))]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_predicted_only_where_somebody_looks() {
        let skips =
            |options: CompilerOptions| options.skipped_passes().contains(PassSet::RESOLVE_JUMPS);
        assert!(skips(CompilerOptions::default()));
        assert!(!skips(CompilerOptions { predict_jumps: true, ..Default::default() }));
        assert!(!skips(CompilerOptions { verify: true, ..Default::default() }));
        let left_out = PassSet::RESOLVE_JUMPS;
        assert!(skips(CompilerOptions {
            verify: true,
            skip_passes: left_out,
            ..Default::default()
        }));
    }
}
