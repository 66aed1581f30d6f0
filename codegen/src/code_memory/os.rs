//! The operating system's side of code memory: reserving, and the transitions of a block.
//!
//! The only calls of `mmap`, `mprotect` and `munmap` for code. No transition leads to a page that
//! is both writable and executable.

use super::CodeMemoryError;

#[cfg(unix)]
pub(super) use unix::Reservation;

#[cfg(not(unix))]
pub(super) use unsupported::Reservation;

#[cfg(unix)]
mod unix {
    use super::CodeMemoryError;
    use cranelift_jit::BranchProtection;
    use std::{io, ops::Range, ptr::NonNull};
    use wasmtime_internal_jit_icache_coherence as icache;

    /// Address space that belongs to this value, inaccessible but for the blocks within it that
    /// were made writable or executable. Unmapped on drop.
    #[derive(Debug)]
    pub(in super::super) struct Reservation {
        base: NonNull<u8>,
        len: usize,
        page: usize,
    }

    // SAFETY: the address and the sizes never change, and the mapping they name is owned by this
    // value alone; the methods only make system calls, which are thread-safe. Who may read or write
    // the pages is decided by the owner of a block, not here.
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
            // SAFETY: a new private mapping at an address of the kernel's choice touches no memory
            // that anyone else has.
            let base =
                unsafe { map_inaccessible(std::ptr::null_mut(), len, 0) }.map_err(|source| {
                    CodeMemoryError::Os { operation: "reserve", bytes: len, source }
                })?;
            Ok(Self { base, len, page })
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

        /// Makes a reserved block readable and writable, zero-filled.
        ///
        /// # Safety
        /// `range` (bytes) is whole pages of the reservation, owned by the caller, in use by
        /// nobody.
        pub(in super::super) unsafe fn make_writable(
            &self,
            range: Range<usize>,
        ) -> Result<(), CodeMemoryError> {
            // SAFETY: the caller's promise.
            unsafe { self.protect(range, libc::PROT_READ | libc::PROT_WRITE, "make writable") }
        }

        /// Makes a written block readable and executable, and visible to every core's instruction
        /// fetch.
        ///
        /// # Safety
        /// As [`make_writable`](Self::make_writable); the block is writable, and nobody writes to
        /// it any more.
        pub(in super::super) unsafe fn make_executable(
            &self,
            range: Range<usize>,
            branch_protection: BranchProtection,
        ) -> Result<(), CodeMemoryError> {
            let bytes = range.len();
            let flush_error = |source: String| CodeMemoryError::Os {
                operation: "flush the instruction cache of",
                bytes,
                source: io::Error::other(source),
            };
            // SAFETY: the range is mapped and readable, by the caller's promise. Flushed before it
            // is executable, so that no core can fetch a stale line through the new permission.
            unsafe { icache::clear_cache(self.address(range.start).cast(), bytes) }
                .map_err(|error| flush_error(error.to_string()))?;
            let protection = libc::PROT_READ | libc::PROT_EXEC | landing_pads(branch_protection);
            // SAFETY: the caller's promise.
            unsafe { self.protect(range, protection, "make executable") }?;
            icache::pipeline_flush_mt().map_err(|error| flush_error(error.to_string()))
        }

        /// Returns a block's memory to the system; its addresses stay reserved, inaccessible.
        ///
        /// A fresh mapping in the old one's place: the pages, their commit charge and the history
        /// that keeps the kernel from merging neighbouring mappings all go in one call.
        ///
        /// # Safety
        /// As [`make_writable`](Self::make_writable): nobody executes, reads or writes the block.
        pub(in super::super) unsafe fn discard(
            &self,
            range: Range<usize>,
        ) -> Result<(), CodeMemoryError> {
            let bytes = range.len();
            let address = self.address(range.start).cast();
            // SAFETY: the fixed address replaces only pages of this reservation that the caller
            // owns.
            unsafe { map_inaccessible(address, bytes, libc::MAP_FIXED) }
                .map_err(|source| CodeMemoryError::Os { operation: "give back", bytes, source })?;
            Ok(())
        }

        /// # Safety
        /// `range` is whole pages of the reservation, owned by the caller.
        unsafe fn protect(
            &self,
            range: Range<usize>,
            protection: libc::c_int,
            operation: &'static str,
        ) -> Result<(), CodeMemoryError> {
            let bytes = range.len();
            // SAFETY: the pages are of this reservation, so no memory of Rust's is affected.
            if unsafe { libc::mprotect(self.address(range.start).cast(), bytes, protection) } == 0 {
                return Ok(());
            }
            Err(CodeMemoryError::Os { operation, bytes, source: io::Error::last_os_error() })
        }

        fn address(&self, offset: usize) -> *mut u8 {
            self.base.as_ptr().wrapping_add(offset)
        }
    }

    impl Drop for Reservation {
        fn drop(&mut self) {
            // SAFETY: every block holds the region, hence this reservation, so no block is left. It
            // can fail only for an invalid range, and this one is what `new` mapped.
            let result = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
            debug_assert_eq!(result, 0, "munmap: {}", io::Error::last_os_error());
        }
    }

    /// # Safety
    /// With `MAP_FIXED` in `flags`, the range's old content is lost: the caller owns it.
    unsafe fn map_inaccessible(
        address: *mut libc::c_void,
        len: usize,
        flags: libc::c_int,
    ) -> io::Result<NonNull<u8>> {
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the caller's promise.
        let base = unsafe { libc::mmap(address, len, libc::PROT_NONE, flags, -1, 0) };
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

    /// The protection bit that makes the processor check landing pads (aarch64's BTI), where the
    /// code has them and the processor knows them.
    fn landing_pads(branch_protection: BranchProtection) -> libc::c_int {
        #[cfg(all(target_arch = "aarch64", target_os = "linux"))]
        if branch_protection == BranchProtection::BTI
            && std::arch::is_aarch64_feature_detected!("bti")
        {
            // PROT_BTI of Linux's asm/mman.h, which `libc` doesn't have.
            return 0x10;
        }
        let _ = branch_protection;
        0
    }
}

#[cfg(not(unix))]
mod unsupported {
    use super::CodeMemoryError;
    use cranelift_jit::BranchProtection;
    use std::{convert::Infallible, ops::Range, ptr::NonNull};

    /// A reservation that can't be made: there is no value of it.
    #[derive(Debug)]
    pub(in super::super) struct Reservation(Infallible);

    impl Reservation {
        pub(in super::super) fn new(_bytes: usize) -> Result<Self, CodeMemoryError> {
            Err(CodeMemoryError::UnsupportedSystem)
        }

        pub(in super::super) fn base(&self) -> NonNull<u8> {
            match self.0 {}
        }

        pub(in super::super) fn len(&self) -> usize {
            match self.0 {}
        }

        pub(in super::super) fn page(&self) -> usize {
            match self.0 {}
        }

        pub(in super::super) unsafe fn make_writable(
            &self,
            _range: Range<usize>,
        ) -> Result<(), CodeMemoryError> {
            match self.0 {}
        }

        pub(in super::super) unsafe fn make_executable(
            &self,
            _range: Range<usize>,
            _branch_protection: BranchProtection,
        ) -> Result<(), CodeMemoryError> {
            match self.0 {}
        }

        pub(in super::super) unsafe fn discard(
            &self,
            _range: Range<usize>,
        ) -> Result<(), CodeMemoryError> {
            match self.0 {}
        }
    }
}
