//! Native execution of EVM contracts inside revm.
//!
//! - [`runtime`]: the shared [`JitBackend`](runtime::JitBackend) that compiles contracts and keeps
//!   the programs, its configuration, and what a lookup says;
//! - [`revm_evm`]: [`JitEvm`](revm_evm::JitEvm), which wraps a revm EVM and runs its frames
//!   natively where a program is there, and in revm's interpreter where not;
//! - `alloy_evm` (feature `alloy-evm`): the same behind alloy-evm's `EvmFactory`.
//!
//! ```no_run
//! use cranevm::{
//!     revm_evm::JitEvm,
//!     runtime::{JitBackend, RuntimeConfig},
//! };
//! use revm::{Context, ExecuteEvm, MainBuilder, MainContext, context::TxEnv};
//!
//! # fn main() -> cranevm::Result<()> {
//! // Once per process. `blocking` compiles on first sight.
//! let backend = JitBackend::new(RuntimeConfig { blocking: true, ..Default::default() })?;
//! // Per block, transaction, or for ever.
//! let mut evm = JitEvm::new(Context::mainnet().build_mainnet(), backend);
//! let outcome = evm.transact(TxEnv::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! Results, gas and state are those of revm's interpreter. The names follow revmc's runtime, so
//! that a client of that crate changes a line of its manifest.

#![deny(unsafe_code)]

mod admission;
mod allowance;
mod aot;
mod artifacts;
mod backend;
mod barrier;
mod cache;
mod code_space;
mod compile;
mod compiler_pool;
mod config;
mod consult;
mod control;
mod crew;
mod dump;
mod error;
mod events;
mod eviction;
mod failures;
mod faults;
mod first_tier;
mod flights;
mod foreign;
mod frame_counts;
mod frame_stats;
mod helper;
mod hotness;
mod housekeeping;
mod jobs;
mod learning;
mod ledger;
mod locks;
mod log_limit;
mod lookup;
#[cfg(feature = "metrics")]
mod metrics_export;
mod options;
mod panics;
mod places;
mod pool;
mod program;
mod reclaim;
mod residents;
mod service;
mod source;
mod stats;
mod submission;
mod teamwork;
mod threads;
mod tuning;
mod usage;

pub mod revm_evm;

#[cfg(feature = "alloy-evm")]
pub mod alloy_evm;

/// The compiling backend: configuration, lookups, programs, statistics.
pub mod runtime {
    pub use crate::{
        artifacts::{
            Artifact, ArtifactCompiler, ArtifactKey, ArtifactManifest, ArtifactProblem,
            ArtifactRecipe, ArtifactRefusals, ArtifactStore, BackendSelection, DirArtifactStore,
            RuntimeArtifactStore, StoreEntry, StoreError, StoredArtifact, read_header,
        },
        backend::JitBackend,
        config::{CompilationEvent, CompilationKind, JitMode, RuntimeConfig},
        error::{CompileFailure, RuntimeError},
        frame_stats::{FrameStats, HandOverStats, InterpretedStats, RunStats},
        helper::{HelperError, WireError, maybe_run_jit_helper},
        lookup::{
            AotRequest, InterpretReason, LookupDecision, LookupRequest, ProgramStatus,
            RuntimeCacheKey,
        },
        options::BackendOptions,
        program::{CompiledProgram, ProgramKind},
        stats::{FirstTierStats, RuntimeStatsSnapshot},
        tuning::RuntimeTuning,
    };
}

pub use cranevm_codegen::{
    CompileError, CompileTimings, EvmCompilerFn, EvmContext, OptimizationLevel, RawEvmCompilerFn,
    artifact::ArtifactError,
};
#[cfg(feature = "cranelift")]
pub use cranevm_codegen::{PassSet, WorkLimit};

pub use eyre;
pub use eyre::{Error, Result};

pub use revm::{
    bytecode as revm_bytecode, context_interface, handler, inspector, interpreter, primitives,
    primitives::{U256, hardfork::SpecId},
};
