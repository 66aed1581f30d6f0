//! A contract whose chunks several threads compile together: the caller that waits for it, and
//! workers that have nothing more urgent.
//!
//! The caller never depends on help: it takes chunks itself until none is left, and then waits
//! only for those that a worker is at. Lock: that of the work's state, for a few moves.

use crate::{
    compiler_pool::{CompilerPool, Tier},
    error::CompileFailure,
    locks::{lock, wait_until},
};
use cranevm_codegen::{Analysed, Chunk, CompileTimings, CompiledChunk, CompiledCode, later_chunks};
use std::{
    sync::{Condvar, Mutex},
    time::Instant,
};

/// The chunks of a contract that somebody waits for.
pub(crate) struct Teamwork {
    tier: Tier,
    analysed: Analysed,
    state: Mutex<State>,
    /// Nobody is at a chunk any more.
    settled: Condvar,
}

#[derive(Default)]
struct State {
    /// The next one last.
    to_do: Vec<Chunk>,
    /// Chunks that somebody is at.
    under_way: usize,
    done: Vec<CompiledChunk>,
    timings: CompileTimings,
    failure: Option<CompileFailure>,
}

impl Teamwork {
    /// The chunks that `analysed` has besides its first.
    pub(crate) fn new(tier: Tier, analysed: Analysed) -> Self {
        let state = Mutex::new(State { to_do: chunks_to_come(&analysed), ..State::default() });
        Self { tier, analysed, state, settled: Condvar::new() }
    }

    /// Chunks that nobody has begun.
    pub(crate) fn left(&self) -> usize {
        lock(&self.state).to_do.len()
    }

    /// Compiles one of the chunks that nobody has begun; `false` if there is none.
    pub(crate) fn step(&self, compilers: &CompilerPool) -> bool {
        let Some(chunk) = self.begin() else { return false };
        let mut timings = CompileTimings::default();
        // A panic in it comes back as a failure, so the chunk is always accounted for.
        let code = compilers.chunk(self.tier, &self.analysed, chunk, &mut timings);
        let mut state = lock(&self.state);
        state.under_way -= 1;
        state.timings += timings;
        match code {
            Ok(code) => state.done.push(code),
            Err(failure) => {
                state.to_do.clear();
                state.failure.get_or_insert(failure);
            }
        }
        if state.under_way == 0 {
            self.settled.notify_all();
        }
        true
    }

    fn begin(&self) -> Option<Chunk> {
        let mut state = lock(&self.state);
        let chunk = state.to_do.pop()?;
        state.under_way += 1;
        Some(chunk)
    }

    /// Compiles what nobody else does, waits for the rest, and puts all of it into `compiled`. At
    /// `deadline` it calls the work off, but for the chunk at hand then.
    ///
    /// # Errors
    /// The first failure of a chunk, or [`CompileFailure::TimedOut`].
    pub(crate) fn finish(
        &self,
        compilers: &CompilerPool,
        deadline: Instant,
        compiled: &mut CompiledCode,
    ) -> Result<(), CompileFailure> {
        while self.left() > 0 {
            if Instant::now() >= deadline {
                lock(&self.state).to_do.clear();
                return Err(CompileFailure::TimedOut);
            }
            self.step(compilers);
        }
        let mut state = lock(&self.state);
        while state.under_way > 0 {
            let waited = wait_until(&self.settled, state, deadline);
            state = waited.ok_or(CompileFailure::TimedOut)?;
        }
        compiled.timings += state.timings;
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        Ok(state.done.drain(..).try_for_each(|chunk| compiled.place_chunk(chunk))?)
    }
}

/// The chunks of a contract besides its first, the next one last.
pub(crate) fn chunks_to_come(analysed: &Analysed) -> Vec<Chunk> {
    let mut chunks: Vec<_> = later_chunks(analysed).collect();
    chunks.reverse();
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{foreign::ForeignOpcodes, source::Source};
    use alloy_primitives::Bytes;
    use cranevm_codegen::{CompilerOptions, OpcodeSet};
    use revm::primitives::hardfork::SpecId;
    use std::{sync::Arc, thread, time::Duration};

    /// `JUMPDEST PUSH1 n SELFDESTRUCT`, each a chunk of its own, that nothing merges.
    const CODE: [u8; 160] = {
        let mut code = [0x5b; 160];
        let mut at = 0;
        while at < code.len() {
            code[at + 1] = 0x60;
            code[at + 2] = at as u8;
            code[at + 3] = 0xff;
            at += 4;
        }
        code
    };

    fn begun() -> (CompilerPool, Arc<Teamwork>, CompiledCode) {
        let options = CompilerOptions {
            one_block_per_chunk: true,
            compile_all: true,
            ..CompilerOptions::default()
        };
        let compilers = CompilerPool::new(options, 0, 1 << 20);
        let source = Source::hashed(Bytes::from_static(&CODE), SpecId::OSAKA);
        let (analysed, compiled) = compilers.begin(Tier::Full, &source).unwrap();
        let work = Arc::new(Teamwork::new(Tier::Full, analysed));
        assert!(work.left() > 20);
        (compilers, work, compiled)
    }

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Functions that have code.
    fn present(compiled: &CompiledCode) -> usize {
        compiled.functions().iter().filter(|code| !code.is_empty()).count()
    }

    #[test]
    fn alone_and_together_the_same_comes_out() {
        let (compilers, work, mut alone) = begun();
        work.finish(&compilers, in_a_minute(), &mut alone).unwrap();
        let (compilers, work, mut together) = begun();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| while work.step(&compilers) {});
            }
            work.finish(&compilers, in_a_minute(), &mut together).unwrap();
        });
        assert!(present(&alone) > 20);
        assert_eq!(alone.functions(), together.functions());
    }

    /// Neither a caller's compilation nor an upgrade ends because some EVM has an instruction of its
    /// own.
    #[test]
    fn what_becomes_foreign_meanwhile_fails_no_other_compilation() {
        let (compilers, work, mut expected) = begun();
        work.finish(&compilers, in_a_minute(), &mut expected).unwrap();
        let (compilers, work, mut compiled) = begun();
        let foreign = Arc::new(ForeignOpcodes::default());
        let compilers = compilers.with_foreign(Arc::clone(&foreign));
        assert!(work.step(&compilers));
        // BALANCE, which isn't in the code.
        assert!(foreign.extend(OpcodeSet::from(1) << 0x31));
        work.finish(&compilers, in_a_minute(), &mut compiled).unwrap();
        assert_eq!(compiled.functions(), expected.functions());
    }

    #[test]
    fn a_chunk_that_somebody_is_at_is_waited_for_until_the_deadline() {
        let (compilers, work, mut compiled) = begun();
        let _held = work.begin().unwrap();
        let soon = Instant::now() + Duration::from_millis(100);
        let failure = work.finish(&compilers, soon, &mut compiled).unwrap_err();
        assert!(matches!(failure, CompileFailure::TimedOut));
        assert!(Instant::now() >= soon);
        assert!(!work.step(&compilers), "nothing is left to begin");
    }

    #[test]
    fn nothing_is_begun_after_the_deadline() {
        let (compilers, work, mut compiled) = begun();
        let failure = work.finish(&compilers, Instant::now(), &mut compiled).unwrap_err();
        assert!(matches!(failure, CompileFailure::TimedOut));
        assert_eq!(work.left(), 0);
    }
}
