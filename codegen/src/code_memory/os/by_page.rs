//! Access to code memory by the protection of its pages, which all threads see: pages are
//! inaccessible, then writable, then executable, then inaccessible again.
//!
//! Each program has whole pages of its own. Cost: three system calls a program, and mappings in
//! proportion to the programs, of which Linux allows a process 65,530.

use super::{
    caches,
    mapping::{Mapping, map},
};
use std::io;

/// Protection of pages that hold nothing.
const RESERVED: libc::c_int = libc::PROT_NONE;

/// Unit in which programs are placed, of pages of this size.
pub(super) const fn granule(page: usize) -> usize {
    page
}

/// How it is done, for people.
pub(super) const WAY: &str = "private pages, writable and then executable";

/// Address space for code.
pub(super) fn reserve(len: usize) -> io::Result<Mapping> {
    Mapping::anonymous(len, RESERVED, libc::MAP_NORESERVE)
}

/// Makes pages that hold nothing hold `code`, executable.
///
/// # Safety
/// `address` is that of whole pages of a reservation, as many as `code` has, owned by the caller,
/// in use by nobody.
pub(super) unsafe fn place(address: *mut u8, code: &[u8]) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { protect(address, code.len(), libc::PROT_READ | libc::PROT_WRITE) }?;
    // SAFETY: the pages are writable now, and the caller's alone.
    unsafe { address.copy_from_nonoverlapping(code.as_ptr(), code.len()) };
    // SAFETY: the caller's promise.
    unsafe { protect(address, code.len(), libc::PROT_READ | libc::PROT_EXEC) }?;
    // SAFETY: the pages are readable.
    unsafe { caches::publish(address, code.len()) }
}

/// Gives pages back to the system; their addresses stay reserved.
///
/// A fresh mapping in the old one's place: the pages, their commit charge and the history that
/// keeps the kernel from merging neighbouring mappings all go in one call.
///
/// # Safety
/// As [`place`]; nobody executes or reads the pages any more.
pub(super) unsafe fn discard(address: *mut u8, bytes: usize) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: the fixed address replaces only pages that the caller owns.
    unsafe { map(address, bytes, RESERVED, flags, -1) }.map(drop)
}

/// # Safety
/// As [`place`].
unsafe fn protect(address: *mut u8, bytes: usize, protection: libc::c_int) -> io::Result<()> {
    // SAFETY: the pages are of a reservation, so no memory of Rust's is affected.
    match unsafe { libc::mprotect(address.cast(), bytes, protection) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
