//! Code of the first tier that an EVM's thread had no allowance for.

use crate::{hotness::Cold, program::CompiledProgram, service::CompileService, source::Source};
use std::sync::{Arc, Weak};

/// A contract that the first tier is to make code of.
pub(crate) struct FirstJob {
    source: Source,
    /// What it takes the place of.
    old: Option<Weak<CompiledProgram>>,
    /// Of the cache, when it was begun.
    generation: u64,
    /// Which was told that it has begun.
    cold: Arc<Cold>,
    is_done: bool,
}

impl FirstJob {
    /// What was begun in this generation.
    pub(crate) fn new(
        source: Source,
        old: Option<Weak<CompiledProgram>>,
        generation: u64,
        cold: &Arc<Cold>,
    ) -> Self {
        Self { source, old, generation, cold: Arc::clone(cold), is_done: false }
    }

    pub(super) fn run(mut self, service: &CompileService) {
        let is_wanted = self.old.is_some() || !service.cache.has(&self.source.key());
        if service.cache.generation() == self.generation && is_wanted {
            self.is_done = true;
            // EVMs find it by their counters.
            match self.cold.first.hold() {
                Some(mut blocks) => {
                    let blocks = blocks.sorted_out(self.source.code());
                    let place = (self.old.take(), self.generation);
                    let _made = service.make_first(&self.source, place, &self.cold, blocks);
                }
                None => self.cold.first.put_off(self.source.code()),
            }
        }
    }
}

impl Drop for FirstJob {
    /// The end of the workers isn't that of the first tier.
    fn drop(&mut self) {
        if !self.is_done {
            self.cold.first.put_off(self.source.code());
        }
    }
}
