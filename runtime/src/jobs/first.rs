//! Code of the first tier that an EVM's thread had no allowance for.

use crate::{hotness::Cold, service::CompileService, source::Source};
use std::sync::Arc;

/// A contract that the first tier is to make code of.
pub(crate) struct FirstJob {
    source: Source,
    /// Of the cache, when it was begun.
    generation: u64,
    /// Which was told that it has begun.
    cold: Arc<Cold>,
    is_done: bool,
}

impl FirstJob {
    /// What was begun in this generation.
    pub(crate) fn new(source: Source, generation: u64, cold: &Arc<Cold>) -> Self {
        Self { source, generation, cold: Arc::clone(cold), is_done: false }
    }

    pub(super) fn run(mut self, service: &CompileService) {
        if service.cache.generation() == self.generation && !service.cache.has(&self.source.key()) {
            self.is_done = true;
            // EVMs find it by their counters.
            let _made = service.make_first(&self.source, self.generation, &self.cold);
        }
    }
}

impl Drop for FirstJob {
    /// The end of the workers isn't that of the first tier.
    fn drop(&mut self) {
        if !self.is_done {
            self.cold.put_first_off();
        }
    }
}
