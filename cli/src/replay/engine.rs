//! The native engines that are compared with the interpreter.
//!
//! Both report exact halt reasons (`single_error` is off), so that results can be compared whole;
//! all else is the runtime's default.

use cranevm::{
    OptimizationLevel,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use std::fmt;

/// When contracts are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All of them, at their first call, by the thread that calls.
    Blocking,
    /// Those that are called often or burn much gas, in the background, in tiers: as in a node.
    Background,
}

/// A native engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeEngine {
    /// When contracts are compiled.
    pub policy: Policy,
    /// How much work goes into the code, in the end.
    pub opt_level: OptimizationLevel,
}

impl NativeEngine {
    /// Starts a backend.
    ///
    /// # Errors
    /// Those of [`JitBackend::new`].
    pub fn start(&self) -> cranevm::Result<JitBackend> {
        let blocking = !self.is_background();
        let config = RuntimeConfig {
            enabled: true,
            blocking,
            single_error: false,
            tuning: RuntimeTuning { jit_opt_level: self.opt_level, ..RuntimeTuning::default() },
            ..RuntimeConfig::default()
        };
        JitBackend::new(config)
    }

    /// Whether contracts are compiled beside the thread that executes.
    pub fn is_background(&self) -> bool {
        self.policy == Policy::Background
    }
}

/// `native` or `defaults`, with the level unless that is the default: `native-none`.
impl fmt::Display for NativeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.policy {
            Policy::Blocking => "native",
            Policy::Background => "defaults",
        })?;
        match self.opt_level {
            OptimizationLevel::Default => Ok(()),
            level => write!(f, "-{}", format!("{level:?}").to_lowercase()),
        }
    }
}
