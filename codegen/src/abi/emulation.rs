//! What an emulator needs that runs another machine's code inside this process: for tests.
//!
//! The other machine's code sees this process's memory, at the same addresses. Function 0 of its
//! programs is this machine's: it calls the emulator with the context and the other machine's
//! trampoline, which the emulator runs until that returns. Builtins stay this machine's: the
//! emulator gives the context a table of addresses that it knows ([`replace_builtins`]), and when
//! emulated code calls one, comes back with [`HostBuiltins::call`].
//!
//! Needs from the emulator that it runs one context on one thread at a time, and that it forgets
//! translations of code when [`code_memory::loads`](crate::code_memory::loads) has changed. Costs
//! what lies before a trampoline nothing; a trampoline that was handed to an emulator is kept for
//! good, a page for each that differs.

use super::{EvmContext, STATUS_PANICKED};
use crate::builtins::{Builtin, BuiltinResults, BuiltinTable};
use std::{
    ptr::NonNull,
    sync::{Mutex, PoisonError},
};

/// Runs the other machine's `trampoline` on a context, to its end; its status. Doesn't unwind.
///
/// Called with a context that is ready to be run, and the trampoline's first instruction.
pub type EnterEmulator =
    unsafe extern "C" fn(context: NonNull<EvmContext<'_>>, trampoline: NonNull<u8>) -> u64;

/// Another machine, and what runs its code here.
#[derive(Clone, Copy, Debug)]
pub struct Emulator {
    /// Target triple of the other machine.
    pub target: &'static str,
    /// What function 0 of its programs calls.
    pub enter: EnterEmulator,
}

impl PartialEq for Emulator {
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target && std::ptr::fn_addr_eq(self.enter, other.enter)
    }
}

impl Eq for Emulator {}

/// Number of builtins.
pub const BUILTINS: usize = size_of::<BuiltinTable>() / size_of::<usize>();

/// The builtins of a context as it came, which are this machine's.
#[derive(Clone, Copy, Debug)]
pub struct HostBuiltins(*const BuiltinTable);

/// Gives a context another table of builtins, addresses of the other machine's code in the same
/// order. Returns the table that it had.
///
/// # Safety
/// `context` must be one that an [`EnterEmulator`] was called with and that hasn't run yet. Only
/// the other machine's code may run on it from now on.
pub unsafe fn replace_builtins(
    context: NonNull<EvmContext<'_>>,
    stubs: &'static [u64; BUILTINS],
) -> HostBuiltins {
    let context = context.as_ptr();
    // SAFETY: the caller's promise: the context is valid, and nobody has a reference to it.
    // `grow_word` is written as the number that it is to compiled code, and this machine calls it
    // nowhere.
    unsafe {
        let host = HostBuiltins((*context).builtins);
        (*context).builtins = stubs.as_ptr().cast();
        (&raw mut (*context).grow_word).cast::<u64>().write(stubs[Builtin::GrowWord as usize]);
        host
    }
}

impl HostBuiltins {
    /// Calls the builtin at `index` with the words that emulated code has in its registers for
    /// arguments. `None` if there is no such builtin.
    ///
    /// # Safety
    /// `self` must be of the context that runs on this thread, and the call one that its compiled
    /// code makes.
    pub unsafe fn call(self, index: usize, arguments: [u64; 5]) -> Option<BuiltinResults> {
        // SAFETY: tables of builtins are constants; the rest is the caller's promise.
        unsafe { (*self.0).call(index, arguments) }
    }
}

/// Ends a run that the emulator can't go on with: a panic with this message, once compiled code
/// is left. Returns the status to end it with.
///
/// # Safety
/// `context` must be the one that an [`EnterEmulator`] was called with.
pub unsafe fn fail(context: NonNull<EvmContext<'_>>, message: String) -> u64 {
    // SAFETY: the caller's promise; compiled code holds no reference.
    unsafe { (*context.as_ptr()).panic = Some(Box::new(message)) };
    STATUS_PANICKED
}

/// Code on pages of its own, so that no data that emulated code writes to is on them.
#[repr(C, align(4096))]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Page([u8; 4096]);

/// Keeps a trampoline where emulators can run it, for as long as the process lives: programs
/// refer to it, and no program holds it.
pub(crate) fn keep_trampoline(code: &[u8]) -> NonNull<u8> {
    static KEPT: Mutex<Vec<&[Page]>> = Mutex::new(Vec::new());
    let mut pages = vec![Page([0; 4096]); code.len().div_ceil(4096).max(1)];
    for (page, bytes) in pages.iter_mut().zip(code.chunks(4096)) {
        page.0[..bytes.len()].copy_from_slice(bytes);
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let known = kept.iter().find(|known| ***known == *pages).copied();
    let pages = known.unwrap_or_else(|| {
        kept.push(pages.leak());
        kept[kept.len() - 1]
    });
    NonNull::from(pages).cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_trampolines_are_kept_once() {
        let [first, second] = [&[1_u8, 2][..], &[2, 1]].map(keep_trampoline);
        assert_eq!(keep_trampoline(&[1, 2]), first);
        assert_ne!(first, second);
        // SAFETY: kept for good, and at least as long as what was given.
        assert_eq!(unsafe { second.cast::<[u8; 2]>().read() }, [2, 1]);
        assert_eq!(first.addr().get() % 4096, 0);
    }
}
