//! What EVMs keep of a program: enough to enter it, and to know whether they may. It outlives the
//! program, so keeping it keeps no code.
//!
//! Whoever enters code by an entry says so first, in the [`Executing`] of its EVM, and then looks
//! whether the entry was revoked. Who takes code away revokes the entry first, and then looks who
//! is executing ([`crate::reclaim`]). With the fence between the two ([`crate::barrier`]), either
//! the code isn't entered, or it isn't freed.

use crate::{barrier, frame_counts::RunClass, lookup::RuntimeCacheKey, usage::Usage};
use cranevm_codegen::{EvmCompilerFn, NativeProgram, OpcodeSet};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::*};

/// Entries may be used as they are.
const CURRENT: u8 = 0;
/// Whoever uses an entry is to ask the backend again: there is something to be told.
const ASK: u8 = 1;
/// The program isn't the contract's, not yet or not any more, and may be gone.
const REVOKED: u8 = 2;

/// The way into a program.
#[derive(Debug)]
pub(crate) struct ProgramEntry {
    /// Valid as long as the program lives.
    pub(super) func: EvmCompilerFn,
    /// What the program was compiled from and for.
    pub(crate) key: RuntimeCacheKey,
    /// What its runs are put down to.
    pub(crate) class: RunClass,
    /// Whether halts of frames that ran natively are reported as `OutOfGas`.
    pub(crate) has_single_error: bool,
    /// The opcodes that it executes as revm's instructions do.
    pub(crate) opcodes: OpcodeSet,
    state: AtomicU8,
    /// Its uses, by the clock of the backend.
    pub(crate) usage: Usage,
}

impl ProgramEntry {
    pub(super) fn new(key: RuntimeCacheKey, class: RunClass, program: &NativeProgram) -> Self {
        Self {
            func: program.func(),
            key,
            class,
            has_single_error: program.has_single_error(),
            opcodes: program.opcodes(),
            state: AtomicU8::new(REVOKED),
            usage: Usage::default(),
        }
    }

    /// Whether it may be used without asking the backend. If so, it wasn't revoked.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.state.load(Acquire) == CURRENT
    }

    /// Has who uses it ask again, if it was current.
    pub(crate) fn recall(&self) {
        let _ = self.state.compare_exchange(CURRENT, ASK, Relaxed, Relaxed);
    }

    /// Takes back [`recall`](Self::recall).
    pub(crate) fn confirm(&self) {
        let _ = self.state.compare_exchange(ASK, CURRENT, Relaxed, Relaxed);
    }

    /// The program isn't the contract's any more.
    pub(crate) fn revoke(&self) {
        self.state.store(REVOKED, Release);
    }

    /// The program is the contract's.
    pub(crate) fn restore(&self) {
        self.state.store(CURRENT, Release);
    }
}

/// Which entry an EVM executes by: its address, or 0. Written by the EVM alone.
#[derive(Debug, Default)]
pub(crate) struct Executing(AtomicUsize);

impl Executing {
    /// Says that it is about to enter code by this entry, until the guard is dropped. What is
    /// revoked already may be gone.
    #[inline(always)]
    pub(super) fn begin(&self, entry: &ProgramEntry) -> impl Drop + use<'_> {
        struct Guard<'a>(&'a Executing);
        impl Drop for Guard<'_> {
            #[inline(always)]
            fn drop(&mut self) {
                self.0.0.store(0, Release);
            }
        }
        // Released as what it replaces is: who finds this one sees all that was done by the last.
        self.0.store(address(entry), Release);
        barrier::light();
        Guard(self)
    }

    /// The address of the entry, or 0.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Acquire)
    }
}

/// Tells an entry from all others that are alive.
pub(crate) fn address(entry: &ProgramEntry) -> usize {
    std::ptr::from_ref(entry).addr()
}
