//! A reservation of address space for code, on a Unix.

use super::{super::CodeMemoryError, access};
use cranelift_jit::BranchProtection;
use std::{io, ops::Range, ptr::NonNull};
use wasmtime_internal_jit_icache_coherence as icache;

/// Address space that belongs to this value. Of what is in no block of it, nobody has an address.
/// Unmapped on drop.
#[derive(Debug)]
pub(in super::super) struct Reservation {
    base: NonNull<u8>,
    len: usize,
    page: usize,
}

// SAFETY: the address and the sizes never change, and the mapping they name is owned by this value
// alone; the methods only make system calls, which are thread-safe. Who may read or write the pages
// is decided by the owner of a block, not here.
unsafe impl Send for Reservation {}
// SAFETY: as for `Send`.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves at least `bytes`, rounded up to whole pages.
    pub(in super::super) fn new(bytes: usize) -> Result<Self, CodeMemoryError> {
        let page = page_size()?;
        let max = isize::MAX as usize / page * page;
        if bytes == 0 || bytes > max {
            return Err(CodeMemoryError::InvalidReserve { bytes, max });
        }
        let len = bytes.next_multiple_of(page);
        // SAFETY: a new private mapping at an address of the kernel's choice touches no memory that
        // anyone else has.
        let base = unsafe { map(std::ptr::null_mut(), len, access::RESERVED, access::FLAGS) };
        Ok(Self { base: base.map_err(failed("reserve", len))?, len, page })
    }

    /// First address.
    pub(in super::super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes reserved, whole pages.
    pub(in super::super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of a page.
    pub(in super::super) fn page(&self) -> usize {
        self.page
    }

    /// Makes a reserved block readable and writable, by this thread at least. What it holds is
    /// unspecified.
    ///
    /// # Safety
    /// `range` (bytes) is whole pages of the reservation, owned by the caller, in use by nobody.
    /// The caller calls [`make_executable`](Self::make_executable) or [`discard`](Self::discard) on
    /// this thread before it executes compiled code.
    pub(in super::super) unsafe fn make_writable(
        &self,
        range: Range<usize>,
    ) -> Result<(), CodeMemoryError> {
        // SAFETY: the caller's promise.
        unsafe { access::make_writable(self.address(range.start), range.len()) }
            .map_err(failed("make writable", range.len()))
    }

    /// Makes a written block readable and executable, and visible to every core's instruction
    /// fetch.
    ///
    /// # Safety
    /// As [`make_writable`](Self::make_writable); the block is writable, and nobody writes to it
    /// any more.
    pub(in super::super) unsafe fn make_executable(
        &self,
        range: Range<usize>,
        branch_protection: BranchProtection,
    ) -> Result<(), CodeMemoryError> {
        let (address, bytes) = (self.address(range.start), range.len());
        let flush_error = |source: String| CodeMemoryError::Os {
            operation: "flush the instruction cache of",
            bytes,
            source: io::Error::other(source),
        };
        // SAFETY: the range is mapped and readable, by the caller's promise. Flushed before anyone
        // has its address, so that no core can fetch a stale line.
        unsafe { icache::clear_cache(address.cast(), bytes) }
            .map_err(|error| flush_error(error.to_string()))?;
        // SAFETY: the caller's promise.
        unsafe { access::make_executable(address, bytes, branch_protection) }
            .map_err(failed("make executable", bytes))?;
        icache::pipeline_flush_mt().map_err(|error| flush_error(error.to_string()))
    }

    /// Returns a block's memory to the system; its addresses stay reserved.
    ///
    /// # Safety
    /// `range` (bytes) is whole pages of the reservation, owned by the caller. Nobody executes,
    /// reads or writes the block.
    pub(in super::super) unsafe fn discard(
        &self,
        range: Range<usize>,
    ) -> Result<(), CodeMemoryError> {
        // SAFETY: the caller's promise.
        unsafe { access::discard(self.address(range.start), range.len()) }
            .map_err(failed("give back", range.len()))
    }

    fn address(&self, offset: usize) -> *mut u8 {
        self.base.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: every block holds the region, hence this reservation, so no block is left. It can
        // fail only for an invalid range, and this one is what `new` mapped.
        let result = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, 0, "munmap: {}", io::Error::last_os_error());
    }
}

fn failed(operation: &'static str, bytes: usize) -> impl FnOnce(io::Error) -> CodeMemoryError {
    move |source| CodeMemoryError::Os { operation, bytes, source }
}

/// Maps private anonymous memory.
///
/// # Safety
/// With `MAP_FIXED` in `flags`, the range's old content is lost: the caller owns it.
pub(super) unsafe fn map(
    address: *mut u8,
    len: usize,
    protection: libc::c_int,
    flags: libc::c_int,
) -> io::Result<NonNull<u8>> {
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: the caller's promise.
    let base = unsafe { libc::mmap(address.cast(), len, protection, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}

fn page_size() -> Result<usize, CodeMemoryError> {
    // SAFETY: `sysconf` reads a constant.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).ok().filter(|page| page.is_power_of_two()).ok_or_else(|| {
        CodeMemoryError::Os {
            operation: "learn the page size for",
            bytes: 0,
            source: io::Error::last_os_error(),
        }
    })
}
