//! A fence between one side that passes it all the time and one that seldom does.
//!
//! Each side writes, passes the fence, and reads what the other writes: then at least one of them
//! sees the other's write. Where the system can have all threads of the process pass a fence
//! (`membarrier`, Linux 4.14), the frequent side pays nothing but the order of its code, and the
//! other one a system call of some microseconds. Elsewhere both execute a fence.

use std::sync::atomic::{AtomicBool, Ordering::*, compiler_fence, fence};

/// Whether the rare side makes all threads pass a fence. Never unset.
static IS_ONE_SIDED: AtomicBool = AtomicBool::new(false);

/// Asks the system, once. To be called before anybody passes the fence; who hasn't, and doesn't
/// know of a call, executes a fence.
pub(crate) fn prepare() {
    #[cfg(target_os = "linux")]
    if !IS_ONE_SIDED.load(Relaxed) {
        use rustix::thread::{MembarrierCommand, membarrier};
        let is_registered = membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok();
        if is_registered && all_threads().is_ok() {
            IS_ONE_SIDED.store(true, SeqCst);
        }
    }
}

/// The frequent side.
#[inline(always)]
pub(crate) fn light() {
    if !IS_ONE_SIDED.load(Relaxed) {
        execute();
    }
    compiler_fence(SeqCst);
}

#[cold]
fn execute() {
    fence(SeqCst);
}

/// The rare side; `false` if the system refused, and nothing is known of the other side's writes.
#[must_use]
pub(crate) fn heavy() -> bool {
    fence(SeqCst);
    #[cfg(target_os = "linux")]
    if IS_ONE_SIDED.load(SeqCst) {
        return all_threads().is_ok();
    }
    true
}

#[cfg(target_os = "linux")]
fn all_threads() -> rustix::io::Result<()> {
    use rustix::thread::{MembarrierCommand, membarrier};
    membarrier(MembarrierCommand::PrivateExpedited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::atomic::AtomicU64, thread};

    /// Two threads write in turn and read each other's word; that neither sees the other's is what
    /// processors do without a fence, some thousand times in this test.
    #[test]
    fn one_side_sees_the_other() {
        const ROUNDS: u64 = 50_000;
        prepare();
        let (frequent, rare) = (AtomicU64::new(0), AtomicU64::new(0));
        let (seen_by_frequent, seen_by_rare) = (AtomicU64::new(0), AtomicU64::new(0));
        let meet = |barrier: &std::sync::Barrier| barrier.wait();
        let barrier = std::sync::Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    meet(&barrier);
                    frequent.store(round, Relaxed);
                    light();
                    seen_by_frequent.store(rare.load(Relaxed), Relaxed);
                    meet(&barrier);
                }
            });
            for round in 1..=ROUNDS {
                meet(&barrier);
                rare.store(round, Relaxed);
                assert!(heavy());
                seen_by_rare.store(frequent.load(Relaxed), Relaxed);
                meet(&barrier);
                let seen = [seen_by_frequent.load(Relaxed), seen_by_rare.load(Relaxed)];
                assert!(seen.contains(&round), "{seen:?} in round {round}");
            }
        });
    }
}
