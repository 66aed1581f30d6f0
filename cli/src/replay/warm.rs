//! Warming up: all blocks are run until nothing more is compiled.

use super::{
    clock::Others,
    engine::NativeEngine,
    execute::Subject,
    mode::Mode,
    report::Compiling,
    session::{ReplayError, Session, Step, start, wait_idle},
};
use cranevm::runtime::JitBackend;
use std::{thread, time::Duration};

/// Passes over all blocks, at most. By default a contract is compiled after 8 frames.
const MAX_PASSES: usize = 20;

/// The runtime looks every 100 ms for programs that leave out code that runs, and compiles them
/// anew; less often with more than a thousand programs, in proportion.
const HOUSEKEEPING: Duration = Duration::from_millis(150);
const LOOKED_AT: u64 = 1000;

/// Waits until an engine's backend has nothing to compile, after it has looked for what is left
/// out.
pub(super) fn settle(engine: &NativeEngine, backend: &JitBackend) -> Result<(), ReplayError> {
    wait_idle(engine, backend)?;
    if engine.is_background() {
        let turns = 1 + backend.stats().resident_entries / LOOKED_AT;
        thread::sleep(HOUSEKEEPING.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX)));
    }
    wait_idle(engine, backend)
}

/// An engine that has compiled what it needs.
pub(super) struct Warm {
    pub(super) engine: NativeEngine,
    pub(super) backend: JitBackend,
    /// What that took.
    pub(super) compiling: Compiling,
}

impl Session<'_> {
    /// Starts an engine and runs all blocks, until a pass compiles nothing.
    pub(super) fn warm(&mut self, engine: &NativeEngine) -> Result<Warm, ReplayError> {
        let backend = start(engine)?;
        let others = Others::start();
        let mut passes = Vec::new();
        let mut dispatched = 0;
        while passes.len() < MAX_PASSES {
            let mut time = 0;
            for block in 0..self.blocks.len() {
                let subject = Subject::Native(&backend);
                time += self.run(subject, engine, Mode::Rotating, block, &mut || ());
                wait_idle(engine, &backend)?;
                self.done(Step::WarmUp);
            }
            settle(engine, &backend)?;
            passes.push(time);
            let stats = backend.stats();
            let now = stats.compilations_dispatched + stats.upgrades_dispatched;
            if now == dispatched {
                break;
            }
            dispatched = now;
        }
        // In blocking mode the thread that executes compiles, all in the first pass.
        let own = match (engine.is_background(), passes.first(), passes.last()) {
            (false, Some(first), Some(last)) => first.saturating_sub(*last),
            _ => 0,
        };
        let cpu = others.elapsed() + Duration::from_nanos(own);
        Ok(Warm { engine: *engine, compiling: Compiling::now(&backend, cpu), backend })
    }
}
