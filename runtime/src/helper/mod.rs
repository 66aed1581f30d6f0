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
pub(crate) use {server::serve, supervisor::Helpers};

use crate::lookup::RuntimeCacheKey;
use cranevm_codegen::CompilerOptions;
use std::time::{Duration, Instant};

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
