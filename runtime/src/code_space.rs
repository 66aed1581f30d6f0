//! The memory of a backend's compiled code.
//!
//! Its address space is reserved when the backend is first enabled, or by the first compilation:
//! one that never is costs none. Programs in it are counted, wherever they are held. Where the
//! system lets nothing be executed, that is found out then, told once, and nothing is compiled from
//! then on.

use crate::{
    barrier,
    error::CompileFailure,
    frame_counts::{FrameRegistry, RunClass},
    housekeeping::Bell,
    locks::lock,
    lookup::RuntimeCacheKey,
    program::{CompiledProgram, ProgramKind},
    reclaim::Holdings,
    source::Source,
};
use cranevm_codegen::{
    CompileError, CompiledCode, NativeProgram,
    code_memory::{CodeMemoryError, CodeRegion},
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Address space reserved for code if there is no budget, in bytes.
const UNLIMITED_RESERVE: usize = 8 << 30;

/// Least address space reserved for code, in bytes: room for the largest contracts, however small
/// the budget.
pub(crate) const MIN_RESERVE: usize = 64 << 20;

/// Huge pages made in a turn of the housekeeping thread. Each takes it some milliseconds, of 100.
const MERGED_AT_ONCE: usize = 2;

/// Where a backend's code is.
pub(crate) struct CodeSpace {
    reserve_bytes: usize,
    memory: Mutex<Memory>,
    /// Bytes that were reserved, for who asks often; 0: none yet.
    reserved_bytes: AtomicUsize,
    holdings: Arc<Holdings>,
}

/// What is known of the memory.
#[derive(Default)]
enum Memory {
    /// Nobody has asked yet, or it was short.
    #[default]
    Unreserved,
    Reserved(Arc<CodeRegion>),
    /// The system lets nothing be executed, for this reason: it won't change its mind.
    Refused(Arc<str>),
}

impl Memory {
    const fn region(&self) -> Option<&Arc<CodeRegion>> {
        match self {
            Self::Reserved(region) => Some(region),
            Self::Unreserved | Self::Refused(_) => None,
        }
    }
}

impl CodeSpace {
    /// Room for at most `reserve_bytes` of code.
    pub(crate) fn new(reserve_bytes: usize) -> Self {
        barrier::prepare();
        let (memory, reserved_bytes) = (Mutex::default(), AtomicUsize::new(0));
        Self { reserve_bytes, memory, reserved_bytes, holdings: Arc::default() }
    }

    /// Finds out whether code can be executed, for whoever reads the log. Who needs it asks again.
    pub(crate) fn prepare(&self) {
        let _told_if_never = self.region();
    }

    /// Whether the system lets nothing be executed, as far as that is known.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(*lock(&self.memory), Memory::Refused(_))
    }

    /// Makes sure that there is address space: so that without it no time goes into making code.
    pub(crate) fn reserve(&self) -> Result<(), CompileError> {
        self.region().map(drop)
    }

    /// Places in memory what `source` was compiled to, whose runs are put down to `class`.
    pub(crate) fn load(
        &self,
        source: &Source,
        (kind, class): (ProgramKind, RunClass),
        compiled: &CompiledCode,
    ) -> Result<CompiledProgram, CompileFailure> {
        let native = NativeProgram::load(compiled, &self.region()?)?;
        Ok(CompiledProgram::new(source, (kind, class), native, Arc::clone(&self.holdings)))
    }

    /// Places in memory what an artifact of `key` holds, whose bytecode isn't at hand.
    pub(crate) fn load_artifact(
        &self,
        key: RuntimeCacheKey,
        class: RunClass,
        compiled: &CompiledCode,
    ) -> Result<CompiledProgram, CompileFailure> {
        let native = NativeProgram::load(compiled, &self.region()?)?;
        Ok(CompiledProgram::of_artifact((key, class), native, Arc::clone(&self.holdings)))
    }

    /// Bytes of executable memory that programs take, wherever they are: what each takes, in sum.
    pub(crate) fn used_bytes(&self) -> u64 {
        lock(&self.memory).region().map_or(0, |region| region.used_bytes() as u64)
    }

    /// Bytes of memory held for that: pages, which programs share.
    pub(crate) fn code_bytes(&self) -> u64 {
        lock(&self.memory).region().map_or(0, |region| region.mapped_bytes() as u64)
    }

    /// Bytes of tables and bytecode held by programs, wherever they are.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.holdings.data_bytes.get()
    }

    /// Programs that were dropped and their memory freed. A failure from a shortage may be history
    /// once this has grown.
    pub(crate) fn releases(&self) -> u64 {
        self.holdings.releases.get()
    }

    /// The EVMs that may execute code in it.
    pub(crate) fn frames(&self) -> &Arc<FrameRegistry> {
        &self.holdings.frames
    }

    /// Drops programs that left the cache.
    pub(crate) fn drop_all(&self, programs: Vec<Arc<CompiledProgram>>) {
        self.holdings.drop_all(programs);
    }

    /// Drops programs on a thread that is to execute a frame: somebody else frees them.
    pub(crate) fn drop_later(&self, programs: Vec<Arc<CompiledProgram>>) {
        self.holdings.drop_later(programs);
    }

    /// Frees what was dropped and nobody executes; whether something is being executed, and is to
    /// be freed later.
    pub(crate) fn reclaim(&self) -> bool {
        self.holdings.reclaim()
    }

    /// Makes huge pages of memory that has held code for some turns, if this is a turn of who looks
    /// after it. Takes milliseconds.
    pub(crate) fn merge_pages(&self) {
        // Not with the lock: look-ups of sizes take it.
        let region = lock(&self.memory).region().map(Arc::clone);
        if let Some(region) = region {
            region.merge_pages(MERGED_AT_ONCE);
        }
    }

    /// From now on somebody calls [`reclaim`](Self::reclaim) when the bell rings; with `None`,
    /// nobody does.
    pub(crate) fn keep(&self, bell: Option<&Arc<Bell>>) {
        self.holdings.keep(bell);
    }

    /// Bytes of the reservation, if the system gave less than was asked for.
    pub(crate) fn cut_reserve(&self) -> Option<u64> {
        let reserved = self.reserved_bytes.load(Relaxed);
        (1..self.reserve_bytes).contains(&reserved).then_some(reserved as u64)
    }

    /// The same memory, of which `wanted_bytes` were asked for.
    #[cfg(test)]
    pub(crate) fn cut_from(self, wanted_bytes: usize) -> Self {
        self.region().unwrap();
        Self { reserve_bytes: wanted_bytes, ..self }
    }

    /// The same memory, where the system lets nothing be executed.
    #[cfg(test)]
    pub(crate) fn refuse(&self) {
        *lock(&self.memory) = Memory::Refused("a test".into());
    }

    fn region(&self) -> Result<Arc<CodeRegion>, CompileError> {
        let reserved = {
            let mut memory = lock(&self.memory);
            match &*memory {
                Memory::Reserved(region) => return Ok(Arc::clone(region)),
                Memory::Refused(why) => {
                    return Err(CodeMemoryError::NotExecutable { why: Arc::clone(why) }.into());
                }
                Memory::Unreserved => {}
            }
            let reserved = reserve(self.reserve_bytes);
            match &reserved {
                Ok(region) => {
                    self.reserved_bytes.store(region.reserved_bytes(), Relaxed);
                    *memory = Memory::Reserved(Arc::clone(region));
                }
                Err(CodeMemoryError::NotExecutable { why }) => {
                    *memory = Memory::Refused(Arc::clone(why));
                }
                Err(_) => {}
            }
            reserved
        };
        // Without the lock: what is logged may call the backend.
        match &reserved {
            Ok(region) => tracing::debug!(
                reserved_bytes = region.reserved_bytes(),
                how = region.how(),
                "memory for compiled code"
            ),
            Err(error @ CodeMemoryError::NotExecutable { .. }) => tracing::error!(%error),
            Err(_) => {}
        }
        Ok(reserved?)
    }
}

/// Address space to reserve for code on a budget of resident code (0: none).
///
/// Twice the budget, within bounds: cleared programs keep their memory until their last user lets
/// go, and free memory lies scattered.
pub(crate) fn reserve_for(budget_bytes: usize) -> usize {
    match budget_bytes {
        0 => UNLIMITED_RESERVE,
        budget => budget.saturating_mul(2).clamp(MIN_RESERVE, UNLIMITED_RESERVE),
    }
}

/// Reserves code memory; where the process may not have that much address space, half as much, and
/// so on down to [`MIN_RESERVE`].
fn reserve(bytes: usize) -> Result<Arc<CodeRegion>, CodeMemoryError> {
    let mut wanted = bytes;
    loop {
        match CodeRegion::new(wanted) {
            Err(CodeMemoryError::Os { .. }) if wanted / 2 >= MIN_RESERVE => wanted /= 2,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserves_within_bounds() {
        assert_eq!(reserve_for(0), UNLIMITED_RESERVE);
        assert_eq!(reserve_for(1), MIN_RESERVE);
        assert_eq!(reserve_for(1 << 30), 2 << 30);
        assert_eq!(reserve_for(usize::MAX), UNLIMITED_RESERVE);
    }
}
