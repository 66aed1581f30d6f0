//! Access to code memory by the protection of its pages, which all threads see: a block is
//! inaccessible, then writable, then executable, then inaccessible again.

use super::unix::map;
use cranelift_jit::BranchProtection;
use std::io;

/// Protection of pages that are in no block.
pub(super) const RESERVED: libc::c_int = libc::PROT_NONE;

/// Flags of the mapping, besides those of every private one.
pub(super) const FLAGS: libc::c_int = libc::MAP_NORESERVE;

/// Makes reserved pages readable and writable: zeros.
///
/// # Safety
/// The pages are of a reservation, and owned by the caller.
pub(super) unsafe fn make_writable(address: *mut u8, bytes: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { protect(address, bytes, libc::PROT_READ | libc::PROT_WRITE) }
}

/// Makes written pages readable and executable.
///
/// # Safety
/// As [`make_writable`]; nobody writes to them any more.
pub(super) unsafe fn make_executable(
    address: *mut u8,
    bytes: usize,
    branch_protection: BranchProtection,
) -> io::Result<()> {
    let protection = libc::PROT_READ | libc::PROT_EXEC | landing_pads(branch_protection);
    // SAFETY: the caller's promise.
    unsafe { protect(address, bytes, protection) }
}

/// Gives pages back to the system; their addresses stay reserved.
///
/// A fresh mapping in the old one's place: the pages, their commit charge and the history that
/// keeps the kernel from merging neighbouring mappings all go in one call.
///
/// # Safety
/// As [`make_writable`]; nobody executes, reads or writes them any more.
pub(super) unsafe fn discard(address: *mut u8, bytes: usize) -> io::Result<()> {
    // SAFETY: the fixed address replaces only pages that the caller owns.
    unsafe { map(address, bytes, RESERVED, FLAGS | libc::MAP_FIXED) }.map(drop)
}

/// # Safety
/// The pages are of a reservation, and owned by the caller.
unsafe fn protect(address: *mut u8, bytes: usize, protection: libc::c_int) -> io::Result<()> {
    // SAFETY: the pages are of a reservation, so no memory of Rust's is affected.
    match unsafe { libc::mprotect(address.cast(), bytes, protection) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The protection bit that makes the processor check landing pads (aarch64's BTI), where the
/// code has them and the processor knows them.
fn landing_pads(branch_protection: BranchProtection) -> libc::c_int {
    #[cfg(all(target_arch = "aarch64", target_os = "linux"))]
    if branch_protection == BranchProtection::BTI && std::arch::is_aarch64_feature_detected!("bti")
    {
        // PROT_BTI of Linux's asm/mman.h, which `libc` doesn't have.
        return 0x10;
    }
    let _ = branch_protection;
    0
}
