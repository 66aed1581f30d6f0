//! An EVM's own cache of the backend's answers: no locks, no shared cache lines, one hash probe a
//! frame.
//!
//! Answers hold for one epoch of the backend. Anything that may change one (a publication, a clear,
//! switching on or off) begins another epoch, and the cache starts empty.

use crate::{
    lookup::{LookupDecision, LookupRequest, RuntimeCacheKey},
    program::CompiledProgram,
    runtime::JitBackend,
};
use alloy_primitives::{Bytes, map::HashMap};
use std::sync::Arc;

/// Answers kept. An EVM that sees more contracts in one epoch starts over.
const MAX_ANSWERS: usize = 4096;

/// The backend's answers of one epoch; `None` is "interpret".
#[derive(Default)]
pub(super) struct LocalCache {
    epoch: u64,
    answers: HashMap<RuntimeCacheKey, Option<Arc<CompiledProgram>>>,
}

impl LocalCache {
    /// The program for `key`, whose bytecode is `code`; `None` to interpret.
    #[inline]
    pub(super) fn program(
        &mut self,
        backend: &JitBackend,
        key: RuntimeCacheKey,
        code: impl FnOnce() -> Bytes,
    ) -> Option<&CompiledProgram> {
        // Before the lookup: if the backend changes during it, the next frame sees another epoch
        // and asks again.
        let epoch = backend.epoch();
        if epoch != self.epoch || self.answers.len() >= MAX_ANSWERS {
            self.answers.clear();
            self.epoch = epoch;
        }
        let ask = || match backend.lookup(LookupRequest { key, code: code() }) {
            LookupDecision::Compiled(program) => Some(program),
            LookupDecision::Interpret(_) => None,
        };
        self.answers.entry(key).or_insert_with(ask).as_deref()
    }
}
