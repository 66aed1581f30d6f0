//! What a processor has to be told before code that was just written is executed.
//!
//! x86-64 sees to it by itself: its instruction caches go by physical addresses and follow writes,
//! through whatever address. (Intel's manual asks for a serialising instruction where that isn't
//! the address fetched from; what was fetched ahead there is code that nobody executes by then.) On
//! aarch64:
//!
//! 1. *Clean* the lines from the data caches to where instructions are fetched from. Data caches go
//!    by physical addresses (PIPT, by the architecture), so this is right by any address of the
//!    bytes that can be read: the executable one, where the kernel wrote through one of its own.
//!    (The kernel does it itself for a page that it maps, but not for one that is mapped already
//!    and written to.)
//! 2. *Invalidate* the lines of the instruction caches, which may go by virtual addresses: by the
//!    address that is executed. Both reach all cores of the inner shareable domain.
//! 3. *Every core* must drop what it has fetched ahead: `membarrier` has them do so, once for each
//!    placing. So nobody needs a barrier of his own, who gets the address by an ordinary load.
//!
//! Executed in an emulator at most; what else is known of it is reasoning.

use std::io;
use wasmtime_internal_jit_icache_coherence as icache;

/// Makes written code visible to every core's instruction fetch, before anyone has its address.
///
/// # Safety
/// The bytes are mapped and readable.
pub(super) unsafe fn publish(address: *const u8, bytes: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { clean(address, bytes) };
    // SAFETY: the caller's promise.
    unsafe { icache::clear_cache(address.cast(), bytes) }
        .map_err(|error| io::Error::other(error.to_string()))?;
    icache::pipeline_flush_mt().map_err(|error| io::Error::other(error.to_string()))
}

/// Writes back what the data caches have of these bytes.
///
/// # Safety
/// The bytes are mapped and readable.
#[cfg(all(target_arch = "aarch64", target_os = "linux"))]
unsafe fn clean(address: *const u8, bytes: usize) {
    use std::arch::asm;
    let types: u64;
    // SAFETY: reads a register that describes the caches; the kernel lets programs do that, or
    // answers in the processor's place.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) types, options(nomem, nostack, preserves_flags)) };
    // The logarithm of the least line, in words of four bytes.
    let line = 4_usize << (types >> 16 & 0xf);
    let mut at = address.addr() & !(line - 1);
    while at < address.addr() + bytes {
        // SAFETY: changes no memory; the line is of the caller's bytes, which can be read.
        unsafe { asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    // SAFETY: waits until the lines are written. What follows invalidates by the same addresses.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
}

/// Nothing to do: the caches are coherent, or the system's own invalidation cleans.
#[cfg(not(all(target_arch = "aarch64", target_os = "linux")))]
const unsafe fn clean(_address: *const u8, _bytes: usize) {}
