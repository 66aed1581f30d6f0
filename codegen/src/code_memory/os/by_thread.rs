//! Access to code memory by thread: macOS on aarch64, whose kernel doesn't let a page that was
//! writable become executable under the hardened runtime.
//!
//! All of a reservation is mapped once, as memory of a just-in-time compiler (`MAP_JIT`). A thread
//! may execute such memory until it says that it wants to write to it, and then may write but not
//! execute until it takes that back. So the thread that makes a block writable is the one that
//! fills it and makes it executable, or discards it, and runs no compiled code in between: loading
//! does it in one go. Dropping a block at any time leaves the thread executing.
//!
//! What a program with the hardened runtime needs is the entitlement
//! `com.apple.security.cs.allow-jit`. Cost: no system call but to give memory back.

use cranelift_jit::BranchProtection;
use std::io;

/// Protection of all pages, whatever they are used for.
pub(super) const RESERVED: libc::c_int = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;

/// Flags of the mapping, besides those of every private one.
pub(super) const FLAGS: libc::c_int = libc::MAP_NORESERVE | libc::MAP_JIT;

/// Lets this thread write to code, and execute none. What the pages hold is unspecified.
///
/// # Safety
/// The pages are of a reservation, and owned by the caller, who calls [`make_executable`] or
/// [`discard`] on this thread before it executes compiled code.
pub(super) unsafe fn make_writable(_address: *mut u8, _bytes: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { libc::pthread_jit_write_protect_np(0) };
    Ok(())
}

/// Lets this thread execute code again.
///
/// # Safety
/// The pages are of a reservation, and owned by the caller; nobody writes to them any more.
pub(super) unsafe fn make_executable(
    _address: *mut u8,
    _bytes: usize,
    _branch_protection: BranchProtection,
) -> io::Result<()> {
    // SAFETY: the caller doesn't write any more.
    unsafe { libc::pthread_jit_write_protect_np(1) };
    Ok(())
}

/// Gives pages back to the system; their addresses stay reserved. (The kernel allows neither a
/// mapping in the place of such pages nor another protection of them.)
///
/// # Safety
/// As [`make_executable`]; nobody executes or reads the pages any more.
pub(super) unsafe fn discard(address: *mut u8, bytes: usize) -> io::Result<()> {
    // SAFETY: the caller doesn't write any more. This thread may have been about to fill the pages.
    unsafe { libc::pthread_jit_write_protect_np(1) };
    // SAFETY: the pages are of a reservation and in use by nobody, so what they hold may be lost.
    match unsafe { libc::madvise(address.cast(), bytes, libc::MADV_FREE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
