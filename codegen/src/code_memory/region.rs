//! The region of a backend: its blocks of pages, and what they hold.
//!
//! A [`Block`] owns its pages from the moment they leave the free list, so every path out of
//! loading, errors included, returns them. Blocks hold the region, so the last of region and
//! handles unmaps it.

use super::{CodeMemoryError, LoadedCode, free_pages::FreePages, os::Reservation};
use cranelift_codegen::{isa::OwnedTargetIsa, settings};
use cranelift_jit::BranchProtection;
use std::{
    fmt,
    ops::Range,
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Reserved address space that holds the machine code of many contracts.
///
/// Reserving costs address space only; memory is used by what is loaded. All methods may be called
/// from any thread.
pub struct CodeRegion {
    reservation: Reservation,
    free: Mutex<FreePages>,
    /// Bytes taken from `free`, and not returned.
    mapped: AtomicUsize,
    /// What `cranelift-jit` wants to know of the machine; built once, as that costs more than a
    /// load.
    isa: OwnedTargetIsa,
}

impl CodeRegion {
    /// Reserves address space for `reserve_bytes` of code, rounded up to whole pages.
    ///
    /// # Errors
    /// If the system or the machine isn't supported, or the address space can't be had.
    pub fn new(reserve_bytes: usize) -> Result<Arc<Self>, CodeMemoryError> {
        let isa = native_isa()?;
        let reservation = Reservation::new(reserve_bytes)?;
        let free = Mutex::new(FreePages::new(reservation.len() / reservation.page()));
        Ok(Arc::new(Self { reservation, free, mapped: AtomicUsize::new(0), isa }))
    }

    /// Copies functions into executable memory of their own, in their order.
    ///
    /// The first function starts on a page, the others at multiples of 16 bytes. The functions must
    /// be position-independent and without relocations.
    ///
    /// # Errors
    /// If the region is exhausted, or memory can't be had; nothing is held then.
    pub fn load(self: &Arc<Self>, functions: &[&[u8]]) -> Result<LoadedCode, CodeMemoryError> {
        LoadedCode::load(self, functions)
    }

    /// Bytes of pages now held for code, whole pages: what [`LoadedCode::len`] sums up to.
    pub fn mapped_bytes(&self) -> usize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Bytes of address space reserved.
    pub fn reserved_bytes(&self) -> usize {
        self.reservation.len()
    }

    pub(super) fn isa(&self) -> &OwnedTargetIsa {
        &self.isa
    }

    /// Takes pages for `bytes` (not zero) of code and makes them writable.
    pub(super) fn allocate(self: &Arc<Self>, bytes: usize) -> Result<Block, CodeMemoryError> {
        let page = self.reservation.page();
        let pages = bytes.div_ceil(page);
        let run = {
            let mut free = self.lock_free();
            free.take(pages).ok_or_else(|| CodeMemoryError::Exhausted {
                requested: pages.saturating_mul(page),
                largest: free.longest() * page,
                free: free.free() * page,
                reserved: self.reservation.len(),
            })?
        };
        LOADS.fetch_add(1, Ordering::Relaxed);
        self.mapped.fetch_add(pages * page, Ordering::Relaxed);
        let range = run.start * page..run.end * page;
        let block = Block { region: Arc::clone(self), range };
        // SAFETY: the free list gave the pages to this block alone, and nobody has its address yet.
        // Loading seals or drops the block before it returns, on this thread.
        unsafe { self.reservation.make_writable(block.range.clone()) }?;
        Ok(block)
    }

    /// Takes back a block's pages.
    ///
    /// # Safety
    /// The caller owned the block, and nobody uses its memory any more.
    unsafe fn release(&self, range: Range<usize>) {
        // SAFETY: the caller's promise.
        if unsafe { self.reservation.discard(range.clone()) }.is_err() {
            // The kernel is out of memory for its own tables. The pages are still mapped: they stay
            // counted, and are not given to anyone else.
            return;
        }
        let page = self.reservation.page();
        self.lock_free().put(range.start / page..range.end / page);
        self.mapped.fetch_sub(range.len(), Ordering::Relaxed);
    }

    /// A poisoned lock is used as it is: nothing in a critical section can panic half-way but for
    /// failing allocations, which abort.
    fn lock_free(&self) -> MutexGuard<'_, FreePages> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocks of code that were taken so far, in all regions.
static LOADS: AtomicU64 = AtomicU64::new(0);

/// Changes before any address gets other code than it had: what was derived from the code at an
/// address holds as long as this is the same. Who is handed code by another thread sees the change.
#[doc(hidden)]
pub fn loads() -> u64 {
    LOADS.load(Ordering::Relaxed)
}

impl fmt::Debug for CodeRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeRegion")
            .field("base", &self.reservation.base())
            .field("reserved_bytes", &self.reserved_bytes())
            .field("mapped_bytes", &self.mapped_bytes())
            .finish()
    }
}

/// Whole pages of a region, owned. Writable until sealed, then executable; given back on drop.
#[derive(Debug)]
pub(super) struct Block {
    region: Arc<CodeRegion>,
    /// Bytes from the region's start.
    range: Range<usize>,
}

impl Block {
    /// First address, on a page boundary.
    pub(super) fn base(&self) -> NonNull<u8> {
        // SAFETY: the range is within the reservation, which is mapped for as long as the region
        // lives.
        unsafe { self.region.reservation.base().add(self.range.start) }
    }

    /// Bytes, whole pages.
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    /// Makes the block executable, for good.
    ///
    /// # Safety
    /// Nobody writes to the block during or after the call.
    pub(super) unsafe fn seal(
        &self,
        branch_protection: BranchProtection,
    ) -> Result<(), CodeMemoryError> {
        // SAFETY: the pages are this block's; the rest is the caller's promise.
        unsafe { self.region.reservation.make_executable(self.range.clone(), branch_protection) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block owns the pages. The loader is done with them, for it holds the block;
        // and whoever executes the code keeps its `LoadedCode`, which holds the block as well.
        unsafe { self.region.release(self.range.clone()) }
    }
}

/// A description of this machine. Loading reads alignments from it and compiles nothing, so its
/// flags need not be those the code was compiled with; `cranelift-jit` asks for `is_pic = false`.
fn native_isa() -> Result<OwnedTargetIsa, CodeMemoryError> {
    let unsupported = |message: String| CodeMemoryError::UnsupportedMachine(message);
    let builder = cranelift_native::builder().map_err(|message| unsupported(message.to_owned()))?;
    builder
        .finish(settings::Flags::new(settings::builder()))
        .map_err(|error| unsupported(error.to_string()))
}
