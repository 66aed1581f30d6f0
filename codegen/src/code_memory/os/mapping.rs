//! Mapped memory that one value owns.

use std::{io, mem, ptr::NonNull};

/// A range of address space, unmapped on drop.
#[derive(Debug)]
pub(in super::super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address and a length, which never change; who may read or write what is there is
// decided by who has the mapping.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Private memory of whole pages: zeros.
    pub(super) fn anonymous(
        len: usize,
        protection: libc::c_int,
        flags: libc::c_int,
    ) -> io::Result<Self> {
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that anyone
        // else has.
        let base = unsafe { map(std::ptr::null_mut(), len, protection, flags, -1) }?;
        Ok(Self { base, len })
    }

    /// Address space alone, of whole pages, from a multiple of `alignment` on.
    #[cfg(target_os = "linux")]
    pub(super) fn aligned(len: usize, alignment: usize) -> io::Result<Self> {
        let too_large = || io::Error::from_raw_os_error(libc::ENOMEM);
        let all = len.checked_add(alignment).ok_or_else(too_large)?;
        let all = Self::anonymous(all, libc::PROT_NONE, libc::MAP_NORESERVE)?;
        let before = all.base.as_ptr().align_offset(alignment);
        let after = alignment - before;
        // SAFETY: the address is within what was mapped.
        let base = unsafe { all.base.add(before) };
        let end = base.as_ptr().wrapping_add(len);
        all.leave();
        for (address, len) in [(base.as_ptr().wrapping_sub(before), before), (end, after)] {
            if len > 0 {
                // SAFETY: a part of what was just mapped, and which nobody has an address of.
                unsafe { libc::munmap(address.cast(), len) };
            }
        }
        Ok(Self { base, len })
    }

    /// First address.
    pub(in super::super) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Leaves the range mapped, or to whoever has mapped something else there.
    pub(super) const fn leave(self) {
        mem::forget(self);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this value's, and whoever had an address in it has let go of the
        // value. It can fail only for an invalid range, and this one was mapped.
        let result = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, 0, "munmap: {}", io::Error::last_os_error());
    }
}

/// Maps memory.
///
/// # Safety
/// With `MAP_FIXED` in `flags`, the range's old content is lost: the caller owns it.
pub(super) unsafe fn map(
    address: *mut u8,
    len: usize,
    protection: libc::c_int,
    flags: libc::c_int,
    file: libc::c_int,
) -> io::Result<NonNull<u8>> {
    // SAFETY: the caller's promise.
    let base = unsafe { libc::mmap(address.cast(), len, protection, flags, file, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}
