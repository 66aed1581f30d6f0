//! Typed failures of the runtime.
//!
//! Public calls return [`eyre::Result`], as clients expect; what is inside is a [`RuntimeError`],
//! to be had with `report.downcast_ref::<RuntimeError>()`.

use crate::lookup::RuntimeCacheKey;
use cranevm_codegen::{CompileError, code_memory::CodeMemoryError};
use std::sync::Arc;

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
    /// The handle comes from [`JitBackend::disabled`](crate::runtime::JitBackend::disabled), which
    /// has no machinery behind it.
    #[error(
        "this backend handle was made by JitBackend::disabled() and can't compile; \
         make it with JitBackend::new (a configuration with enabled = false starts nothing)"
    )]
    NoBackend,
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
}
