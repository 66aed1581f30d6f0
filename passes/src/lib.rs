//! Analysis of EVM bytecode for compilation: from bytes to verified, stack-lifted blocks.
//!
//! ```text
//! bytes --decode--> instructions, jump targets
//!       --find-blocks--> block extents and edges
//!       --thread-jumps--> internal calls followed, what is unlikely to run
//!       --lift-stack--> values in place of stack slots, simplified
//!       --bound-stack, sum-gas--> one stack check and one gas charge per block
//!       --dedup--> one of each block
//!       --resolve-jumps--> likely targets of computed jumps
//!       --cut-chunks--> units of compilation and their entry points
//! ```
//!
//! [`analyze`] runs all of them and yields a [`Program`].
//! [`pipeline`] holds their order, [`ir`] what they produce, how it reads as text and
//! what must hold of it. The crate knows neither a code generator nor a host.
//!
//! Any bytes are valid input. Time and memory are linear in their number; nothing recurses.
//! What can't be compiled is left to the interpreter by a hand-over
//! ([`Terminator::HandOver`](ir::program::Terminator::HandOver)), never refused.

#![deny(unsafe_code)]

pub mod analysis;
pub mod chains;
mod chunks;
pub mod decode;
pub mod ir;
pub mod pass_set;
pub mod pipeline;
pub mod sections;
pub mod sources;
pub mod timing;
mod transform;

pub use analysis::weight::WorkLimit;
use ir::{opcode::OpcodeSet, program::Program, verify::VerifyError};
pub use pass_set::PassSet;
use revm_primitives::hardfork::SpecId;
use timing::PassTimes;
pub use transform::thread_jumps::ThreadLimits;

/// Most entry points of a contract: what a 16-bit ordinal can index.
pub const MAX_ENTRIES: usize = 65_535;

/// Longest bytecode that is analysed, in bytes: far above any fork's limit, and low enough
/// that no index leaves `u32`.
pub const MAX_CODE_LEN: usize = 1 << 24;

/// What to analyse for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassOptions {
    /// The fork.
    pub spec_id: SpecId,
    /// Most opcodes in a chunk, of which heavy ones count as several. A longer block is split.
    pub chunk_limit: u32,
    /// How much of a contract is compiled.
    pub work_limit: WorkLimit,
    /// Each block is a chunk of its own.
    pub one_block_per_chunk: bool,
    /// Limits of following jumps.
    pub thread_limits: ThreadLimits,
    /// Compile what is unlikely to run too.
    pub compile_all: bool,
    /// Verify the program after each pass.
    pub verify: bool,
    /// Passes to leave out.
    pub skip: PassSet,
    /// Opcodes whose instruction isn't revm's: see [`decode`].
    pub foreign: OpcodeSet,
}

impl Default for PassOptions {
    fn default() -> Self {
        Self {
            spec_id: SpecId::default(),
            chunk_limit: 500,
            work_limit: WorkLimit::default(),
            one_block_per_chunk: false,
            thread_limits: ThreadLimits::default(),
            compile_all: false,
            verify: false,
            skip: PassSet::NONE,
            foreign: OpcodeSet::ZERO,
        }
    }
}

/// Why bytecode can't be analysed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// More entry points than the entry table can index.
    #[error(
        "{found} entry points, more than the {limit} of the entry table; interpret the contract"
    )]
    TooManyEntries {
        /// Entry points of the contract.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytecode is longer than indices can tell.
    #[error(
        "{found} bytes of bytecode, more than the {limit} that can be analysed; interpret the contract"
    )]
    CodeTooLong {
        /// Bytes of bytecode.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A pass broke an invariant of the program: a defect of this crate.
    #[error("a pass made an invalid program, please report it: {0}")]
    Invalid(#[from] VerifyError),
}

/// Analyses bytecode, given without padding.
///
/// # Errors
///
/// [`AnalysisError`] if a limit is exceeded, or if [`PassOptions::verify`] finds a defect.
pub fn analyze(code: &[u8], options: &PassOptions) -> Result<Program, AnalysisError> {
    analyze_timed(code, options).map(|(program, _)| program)
}

/// Like [`analyze`], and tells the time spent in each pass.
///
/// # Errors
///
/// Those of [`analyze`].
pub fn analyze_timed(
    code: &[u8],
    options: &PassOptions,
) -> Result<(Program, PassTimes), AnalysisError> {
    pipeline::run(code, options)
}
