//! How much of a block ran natively, from a backend's counters.

use cranevm::runtime::JitBackend;
use serde::Serialize;

/// A backend's counters at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters {
    hits: u64,
    misses: u64,
    hand_overs: u64,
}

/// What a block did between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shares {
    /// Of the backend's lookups, the share that found a program. What an EVM's own cache answers
    /// isn't among them.
    pub lookups_found: f64,
    /// Runs that native code handed over to the interpreter.
    pub hand_overs: u64,
}

impl Counters {
    /// Now.
    pub(super) fn read(backend: &JitBackend) -> Self {
        let stats = backend.stats();
        Self {
            hits: stats.lookup_hits,
            misses: stats.lookup_misses,
            hand_overs: backend.hand_overs(),
        }
    }

    /// What happened from then on until now.
    pub(super) fn shares(&self, backend: &JitBackend) -> Shares {
        let now = Self::read(backend);
        let hits = now.hits.saturating_sub(self.hits);
        let lookups = hits + now.misses.saturating_sub(self.misses);
        Shares {
            lookups_found: if lookups == 0 { 0.0 } else { hits as f64 / lookups as f64 },
            hand_overs: now.hand_overs.saturating_sub(self.hand_overs),
        }
    }
}
