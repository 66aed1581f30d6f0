//! Typed failures of the runtime.
//!
//! Public calls return [`eyre::Result`], as clients expect; what is inside is a [`RuntimeError`],
//! to be had with `report.downcast_ref::<RuntimeError>()`.

use crate::{artifacts::ArtifactProblem, helper::HelperError, lookup::RuntimeCacheKey};
use alloy_primitives::B256;
use cranevm_codegen::{CompileError, Fault, code_memory::CodeMemoryError};
use std::{sync::Arc, time::Duration};

/// What went wrong in a call to the runtime.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A setting or call of the interface that this version doesn't implement.
    #[error("{what} isn't supported by this version of cranevm; {instead}")]
    Unsupported {
        /// The setting or call.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// An environment variable has a value that can't be used.
    #[error("environment variable {name}: {problem}; correct or unset it")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// The handle comes from [`JitBackend::disabled`](crate::runtime::JitBackend::disabled), and
    /// wasn't switched on: it has no machinery behind it.
    #[error(
        "this backend handle was made by JitBackend::disabled() and can't compile; call \
         set_enabled(true), which starts a default backend, or make it with JitBackend::new"
    )]
    NoBackend,
    /// The backend is that of the process that this one was forked from.
    #[error(
        "this process was forked from the one that made the backend, whose threads and compiled \
         code it doesn't have; make a backend of its own with JitBackend::new"
    )]
    Forked,
    /// The operating system refused a thread.
    #[error(
        "thread {name} can't be started: {problem}; nothing is compiled in the background, \
         compile_jit_sync still compiles, on a thread that it starts for that"
    )]
    Thread {
        /// The thread's name.
        name: String,
        /// What the system said.
        problem: String,
    },
    /// The artifact store can't be used.
    #[error("{problem}; correct it, or set RuntimeConfig::store to None")]
    Store {
        /// What went wrong.
        #[source]
        problem: Arc<ArtifactProblem>,
    },
    /// There is no store for artifacts.
    #[error("there is no store for artifacts; set RuntimeConfig::store, or use compile_jit_sync")]
    NoStore,
    /// A synchronous call didn't end in the time it was given. The compilation may still end.
    #[error("code {code_hash} wasn't compiled within {limit:?}", code_hash = .key.code_hash)]
    TimedOut {
        /// The program asked for.
        key: RuntimeCacheKey,
        /// The time given.
        limit: Duration,
    },
    /// The code is never compiled.
    #[error(
        "code {code_hash} of {code_len} bytes isn't eligible for compilation: it is empty or \
         longer than jit_max_bytecode_len = {limit} (0: no limit)",
        code_hash = .key.code_hash
    )]
    Ineligible {
        /// The program asked for.
        key: RuntimeCacheKey,
        /// Bytes of code.
        code_len: usize,
        /// The limit in force.
        limit: usize,
    },
    /// This process was started to be a helper, and runs the program instead.
    #[error(
        "this process was started as a helper of a backend, but goes on as the program itself: \
         call maybe_run_jit_helper first in main, or set jit_helper_path to a program that does"
    )]
    HelperRunsTheProgram,
    /// The compiler failed.
    #[error(
        "code {code_hash} wasn't compiled for {spec:?}: {failure}; it is interpreted",
        code_hash = .key.code_hash, spec = .key.spec_id
    )]
    CompileFailed {
        /// The program asked for.
        key: RuntimeCacheKey,
        /// Why.
        #[source]
        failure: Arc<CompileFailure>,
    },
}

/// Why an attempt to compile failed.
#[derive(Debug, thiserror::Error)]
pub enum CompileFailure {
    /// The compiler refused, or the code couldn't be loaded.
    #[error(transparent)]
    Compiler(#[from] CompileError),
    /// It took longer than a caller waits; see
    /// [`JitBackend::compile_jit_sync`](crate::runtime::JitBackend::compile_jit_sync).
    #[error("compilation took longer than the time allowed for it")]
    TimedOut,
    /// Nobody compiles it any more: the backend ended, or a `clear_*` came before the work ended.
    #[error("the compilation was given up: the backend ended or was cleared")]
    Abandoned,
    /// The bytecode isn't what its key says. Nothing is compiled from it, for the program would
    /// serve whoever has the code that the key names.
    #[error("the code's hash is {found}, not the one of its key; ask with the code's own hash")]
    WrongHash {
        /// Keccak-256 of the code.
        found: B256,
    },
    /// The helper process didn't give a program.
    #[error("the helper process: {0}")]
    Helper(#[from] HelperError),
    /// The artifact couldn't be stored. The program serves all the same, until the process ends.
    #[error("compiled, but the artifact isn't stored: {0}")]
    NotStored(#[source] ArtifactProblem),
    /// The program alone is larger than the budget of resident programs, so it isn't kept. In the
    /// background the contract isn't tried again until the next clear.
    #[error(
        "the program takes {bytes} bytes, more than all programs may: \
         raise resident_code_cache_bytes = {budget}, or set it to 0 for no limit"
    )]
    BeyondBudget {
        /// Bytes of code and tables.
        bytes: u64,
        /// The budget.
        budget: u64,
    },
    /// What it was compiled to broke a rule when it ran: an error in the compiler, or memory that
    /// somebody has overwritten. The contract is interpreted until the next clear.
    #[error("its native code can't be believed: {fault}")]
    Faulted {
        /// The rule.
        fault: Fault,
    },
    /// The compiler panicked: an error in it. The panic was contained.
    #[error("the compiler panicked: {message}")]
    Panic {
        /// The panic's message.
        message: String,
    },
}

impl CompileFailure {
    /// Whether the failure came from a shortage of code memory and not from the code, so that
    /// trying again may succeed once a program was freed.
    pub(crate) fn is_shortage(&self) -> bool {
        use CodeMemoryError::{Exhausted, Os};
        matches!(self, Self::Compiler(CompileError::CodeMemory(Exhausted { .. } | Os { .. })))
    }

    /// Whether the contract can't be put together from stencils; it may be compiled otherwise.
    pub(crate) const fn is_unfit_for_stencils(&self) -> bool {
        matches!(self, Self::Compiler(CompileError::Stencils(_)))
    }

    /// Whether the system lets nothing be executed: no code's doing, and no shortage that passes.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Compiler(CompileError::CodeMemory(CodeMemoryError::NotExecutable { .. }))
        )
    }

    /// Whether native code broke a rule.
    pub(crate) const fn is_fault(&self) -> bool {
        matches!(self, Self::Faulted { .. })
    }

    /// Whether there is no room for the program, however many others go.
    pub(crate) const fn is_beyond_budget(&self) -> bool {
        matches!(self, Self::BeyondBudget { .. })
    }

    /// Whether it may well not be the code's doing, which has a second chance then.
    pub(crate) const fn is_excusable(&self) -> bool {
        matches!(self, Self::Helper(error) if error.is_excusable())
    }

    /// Whether compiling once more for a dump shows more of it, and costs no helper.
    pub(crate) fn is_explained_by_a_dump(&self) -> bool {
        !self.is_refusal()
            && !matches!(
                self,
                Self::Compiler(CompileError::Thread { .. }) | Self::BeyondBudget { .. }
            )
            && !matches!(self, Self::Helper(error) if !matches!(error, HelperError::Compiler { .. }))
    }

    /// Whether the failure came from outside, and tells nothing of the code.
    pub(crate) fn is_circumstantial(&self) -> bool {
        match self {
            // The key may be another code's.
            Self::TimedOut | Self::Abandoned | Self::WrongHash { .. } => true,
            Self::Helper(error) => error.is_circumstantial(),
            // The system refused a thread.
            Self::Compiler(CompileError::Thread { .. }) => true,
            // This is another process than the one that compiles.
            Self::Compiler(CompileError::CodeMemory(CodeMemoryError::Forked)) => true,
            Self::Compiler(_)
            | Self::NotStored(_)
            | Self::BeyondBudget { .. }
            | Self::Faulted { .. }
            | Self::Panic { .. } => false,
        }
    }
}
