//! Compilation in helper processes, so that a crash, a hang, or all the memory that compiling may
//! take costs a process of its own and one contract.
//!
//! [`Helpers`] (`supervisor`) lends a helper to whoever has something to compile; `process` is a
//! helper seen from here, `server` a helper seen from within, and `protocol` what they say to each
//! other, in frames of `wire`. Nobody waits for a helper but who compiles: a worker, or a caller of
//! a blocking function.

#[cfg(not(feature = "cranelift"))]
mod absent;
#[cfg(feature = "cranelift")]
mod backoff;
mod error;
#[cfg(feature = "cranelift")]
mod limits;
#[cfg(feature = "cranelift")]
mod options;
#[cfg(feature = "cranelift")]
mod places;
#[cfg(feature = "cranelift")]
mod process;
#[cfg(feature = "cranelift")]
mod protocol;
#[cfg(feature = "cranelift")]
mod server;
#[cfg(feature = "cranelift")]
mod supervisor;
#[cfg(feature = "cranelift")]
mod wire;

pub use error::{HelperError, WireError};

#[cfg(not(feature = "cranelift"))]
pub(crate) use absent::Helpers;
#[cfg(feature = "cranelift")]
pub(crate) use supervisor::Helpers;

#[cfg(not(feature = "cranelift"))]
use crate::error::RuntimeError;
use crate::lookup::RuntimeCacheKey;
use cranevm_codegen::CompilerOptions;
use std::{
    env,
    ops::ControlFlow,
    time::{Duration, Instant},
};

/// Marks a helper process.
pub(crate) const MARKER: &str = "REVMC_JIT_HELPER";

/// Who has something to compile.
#[cfg_attr(not(feature = "cranelift"), allow(dead_code, reason = "there are no helpers"))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    /// A thread of the backend's own: it lives as long as the backend wants helpers.
    Worker,
    /// Any other thread. It waits until then at most.
    Caller(Instant),
}

/// What is to be compiled, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work<'a> {
    pub(crate) key: RuntimeCacheKey,
    pub(crate) options: CompilerOptions,
    pub(crate) code: &'a [u8],
}

/// A point in time; far away if the clock can't tell it.
pub(crate) fn deadline_in(limit: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(limit.min(FAR)).unwrap_or(now)
}

/// Serves as helper process if this process was started as one: to be called first in `main`,
/// before anything reads from standard input. `Break` means that it was, has served, and is to
/// exit; `Continue`, that this is an ordinary process.
///
/// # Errors
/// In a helper process: a pipe to the backend that fails, or
/// [`RuntimeError::Unsupported`](crate::runtime::RuntimeError::Unsupported) if this crate was built
/// without its compiler.
pub fn maybe_run_jit_helper() -> eyre::Result<ControlFlow<()>> {
    if env::var_os(MARKER).is_none() {
        return Ok(ControlFlow::Continue(()));
    }
    #[cfg(feature = "cranelift")]
    {
        server::serve()?;
        Ok(ControlFlow::Break(()))
    }
    #[cfg(not(feature = "cranelift"))]
    Err(RuntimeError::Unsupported {
        what: "the compilation helper process (REVMC_JIT_HELPER is set)",
        instead: "build with the feature `cranelift`",
    }
    .into())
}
