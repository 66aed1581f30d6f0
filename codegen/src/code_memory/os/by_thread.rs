//! Access to code memory by thread: macOS on aarch64, whose kernel doesn't let a page that was
//! writable become executable under the hardened runtime.
//!
//! All of a reservation is mapped once, as memory of a just-in-time compiler (`MAP_JIT`). A thread
//! may execute such memory until it says that it wants to write to it, and then may write but not
//! execute until it takes that back. Placing does both in one go, and runs no compiled code in
//! between. Other threads execute neighbours meanwhile, in the same pages too.
//!
//! What a program with the hardened runtime needs is the entitlement
//! `com.apple.security.cs.allow-jit`. Cost: no system call but to give memory back.

use super::{caches, mapping::Mapping};
use std::io;

/// Protection of all pages, whatever they are used for.
const PROTECTION: libc::c_int = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;

/// Unit in which programs are placed, whatever the size of a page.
pub(super) const fn granule(_page: usize) -> usize {
    super::reservation::GRANULE
}

/// How it is done, for people.
pub(super) const WAY: &str = "one private mapping, writable by the thread that places code";

/// Address space for code.
pub(super) fn reserve(len: usize) -> io::Result<Mapping> {
    Mapping::anonymous(len, PROTECTION, libc::MAP_NORESERVE | libc::MAP_JIT)
}

/// Makes memory hold `code`, executable.
///
/// # Safety
/// `address` is in a reservation, with room for `code`, owned by the caller, in use by nobody.
pub(super) unsafe fn place(address: *mut u8, code: &[u8]) -> io::Result<()> {
    // SAFETY: until it is taken back below, this thread executes no compiled code.
    unsafe { libc::pthread_jit_write_protect_np(0) };
    // SAFETY: this thread may write now, and the memory is the caller's alone.
    unsafe { address.copy_from_nonoverlapping(code.as_ptr(), code.len()) };
    // SAFETY: this thread is done with writing.
    unsafe { libc::pthread_jit_write_protect_np(1) };
    // SAFETY: the memory is readable.
    unsafe { caches::publish(address, code.len()) }
}

/// Gives pages back to the system; their addresses stay reserved. (The kernel allows neither a
/// mapping in the place of such pages nor another protection of them.)
///
/// # Safety
/// As [`place`], of whole pages; nobody executes or reads the pages any more.
pub(super) unsafe fn discard(address: *mut u8, bytes: usize) -> io::Result<()> {
    // SAFETY: the pages are of a reservation and in use by nobody, so what they hold may be lost.
    match unsafe { libc::madvise(address.cast(), bytes, libc::MADV_FREE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
