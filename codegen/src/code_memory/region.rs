//! The region of a backend: its blocks, and what they hold.
//!
//! A [`Block`] owns its granules from the moment that they leave what is free, so every path out of
//! loading, errors included, returns them. Blocks hold the region, so the last of region and
//! handles unmaps it.

use super::{
    CodeMemoryError, LoadedCode,
    os::{Reservation, UNIT, Way},
    space::Space,
    staging::PADDING,
    unwind::UnwindRule,
};
use cranelift_codegen::{isa::OwnedTargetIsa, settings};
use std::{
    fmt, io,
    ops::Range,
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

/// Runs of empty pages that one release gives back: its own, and one that the system refused
/// earlier.
const RUNS_GIVEN_BACK: usize = 2;

/// Reserved address space that holds the machine code of many contracts.
///
/// Reserving costs address space only; memory is used by what is loaded. All methods may be called
/// from any thread.
pub struct CodeRegion {
    /// Taken back before the address space is another's.
    unwind: UnwindRule,
    reservation: Reservation,
    space: Mutex<Space>,
    /// Whether the system may make huge pages of units, as far as is known.
    has_huge_pages: AtomicBool,
    /// Bytes of pages held, and of granules taken: as `space` says.
    mapped: AtomicUsize,
    used: AtomicUsize,
    /// What `cranelift-jit` wants to know of the machine; built once, as that costs more than a
    /// load.
    isa: OwnedTargetIsa,
}

impl CodeRegion {
    /// Reserves address space for `reserve_bytes` of code, in the best way that the system allows
    /// ([`how`](Self::how)).
    ///
    /// # Errors
    /// If the system or the machine isn't supported, the address space can't be had, or the system
    /// lets nothing be executed that was written.
    pub fn new(reserve_bytes: usize) -> Result<Arc<Self>, CodeMemoryError> {
        Self::with_way(reserve_bytes, Way::Any)
    }

    /// [`new`](Self::new), by these ways alone. For tests.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[doc(hidden)]
    pub fn with_way(reserve_bytes: usize, way: Way) -> Result<Arc<Self>, CodeMemoryError> {
        let isa = native_isa()?;
        let reservation = Reservation::new(reserve_bytes, way)?;
        let granule = reservation.granule();
        let page = reservation.page();
        let space = Space::new(reservation.len() / granule, page / granule, UNIT / page);
        Ok(Arc::new(Self {
            unwind: UnwindRule::new(reservation.base(), reservation.len()),
            reservation,
            space: Mutex::new(space),
            has_huge_pages: AtomicBool::new(true),
            mapped: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            isa,
        }))
    }

    /// Copies functions into executable memory of their own, in their order.
    ///
    /// The first function starts at a multiple of 64 bytes, the others at multiples of 16. The
    /// functions must be position-independent and without relocations.
    ///
    /// # Errors
    /// If the region is exhausted, memory can't be had, or this is a child of the process that
    /// reserved it; nothing is held then.
    pub fn load(self: &Arc<Self>, functions: &[&[u8]]) -> Result<LoadedCode, CodeMemoryError> {
        Ok(self.load_with_header(functions, |_| ([], ()))?.0)
    }

    /// [`load`](Self::load), where the first function begins with bytes that depend on where the
    /// functions are: `header` is told, and gives these, and what else the caller makes of it.
    /// Nothing may be called before this returns.
    ///
    /// # Errors
    /// As [`load`](Self::load), and if the first function is shorter than its header.
    pub(crate) fn load_with_header<T, const N: usize>(
        self: &Arc<Self>,
        functions: &[&[u8]],
        header: impl FnOnce(&LoadedCode) -> ([u8; N], T),
    ) -> Result<(LoadedCode, T), CodeMemoryError> {
        LoadedCode::load(self, functions, header)
    }

    /// Bytes of memory now held for code: pages with something in them.
    pub fn mapped_bytes(&self) -> usize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Bytes that programs now take of that: what [`LoadedCode::len`] sums up to.
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes of address space reserved.
    pub const fn reserved_bytes(&self) -> usize {
        self.reservation.len()
    }

    /// A turn of whoever looks after the region: makes huge pages of units whose pages have all
    /// been held for some turns, `most` of them; how many it made.
    ///
    /// Takes some milliseconds for each. Who executes code of the unit meanwhile may wait for a
    /// part of that.
    pub fn merge_pages(&self, most: usize) -> usize {
        if !self.reservation.is_owned() || !self.has_huge_pages.load(Ordering::Relaxed) {
            return 0;
        }
        let units = self.lock_space().units().turn(most);
        let mut made = 0;
        for unit in units {
            // Without the lock. Whatever becomes of the pages meanwhile, they hold what they do.
            let merged = self.reservation.merge(unit * UNIT..(unit + 1) * UNIT);
            if merged.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput) {
                self.has_huge_pages.store(false, Ordering::Relaxed);
            }
            self.lock_space().units().answer(unit, merged.is_ok());
            made += usize::from(merged.is_ok());
        }
        made
    }

    /// How code is made executable, and why not in a better way: for people.
    pub fn how(&self) -> &str {
        self.reservation.how()
    }

    pub(super) const fn isa(&self) -> &OwnedTargetIsa {
        &self.isa
    }

    /// Takes room for `bytes` (not zero) of code.
    pub(super) fn allocate(self: &Arc<Self>, bytes: usize) -> Result<Block, CodeMemoryError> {
        // Before the lock, which a thread may have held that a child doesn't have.
        if !self.reservation.is_owned() {
            return Err(CodeMemoryError::Forked);
        }
        let granule = self.reservation.granule();
        let granules = bytes.div_ceil(granule);
        let mut space = self.lock_space();
        let (taken, fresh) = space.take(granules).ok_or_else(|| CodeMemoryError::Exhausted {
            requested: granules.saturating_mul(granule),
            largest: space.longest() * granule,
            free: space.free() * granule,
            reserved: self.reservation.len(),
        })?;
        self.note(&space);
        drop(space);
        LOADS.fetch_add(1, Ordering::Relaxed);
        let range = taken.start * granule..taken.end * granule;
        let page = self.reservation.page();
        let fresh = fresh.start * page..fresh.end * page;
        Ok(Block { region: Arc::clone(self), range, fresh })
    }

    /// Takes back a block.
    ///
    /// # Safety
    /// The caller owned the block, and nobody uses its memory any more.
    unsafe fn release(&self, range: Range<usize>) {
        if !self.reservation.is_owned() {
            // A child has nothing of it.
            return;
        }
        // SAFETY: the caller's promise.
        unsafe { self.erase_edges(&range) };
        let (granule, page) = (self.reservation.granule(), self.reservation.page());
        let mut space = self.lock_space();
        space.put(range.start / granule..range.end / granule);
        for _ in 0..RUNS_GIVEN_BACK {
            let Some(pages) = space.take_empty() else { break };
            drop(space);
            // SAFETY: the pages were taken out of what is free, so they are this call's alone.
            let result = unsafe { self.reservation.discard(pages.start * page..pages.end * page) };
            space = self.lock_space();
            space.settle(pages, result.is_ok());
            if result.is_err() {
                // The kernel has no memory for tables of its own. The pages are used again, or
                // given back by a later release; until then they are counted.
                break;
            }
        }
        self.note(&space);
    }

    /// Overwrites what a block has of pages that it doesn't have whole, by traps: they stay
    /// executable for others. (Whole pages are given back.)
    ///
    /// # Safety
    /// As [`release`](Self::release).
    unsafe fn erase_edges(&self, range: &Range<usize>) {
        let page = self.reservation.page();
        let head = range.start..range.start.next_multiple_of(page).min(range.end);
        let tail = (range.end / page * page).max(head.end)..range.end;
        for edge in [head, tail] {
            for start in edge.clone().step_by(TRAPS.len()) {
                let end = edge.end.min(start + TRAPS.len());
                // SAFETY: a part of the block. It may fail for want of memory; then what was there
                // stays, which nobody has the address of.
                let _erased = unsafe { self.reservation.erase(start..end, &TRAPS[..end - start]) };
            }
        }
    }

    /// Tells what the space holds, to who asks without its lock.
    fn note(&self, space: &Space) {
        self.mapped.store(space.held() * self.reservation.page(), Ordering::Relaxed);
        self.used.store(space.used() * self.reservation.granule(), Ordering::Relaxed);
    }

    /// A poisoned lock is used as it is: nothing in a critical section can panic half-way but for
    /// failing allocations, which abort.
    fn lock_space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CodeRegion {
    fn drop(&mut self) {
        self.unwind.take_back(self.reservation.is_owned());
    }
}

/// What is written over code that was freed, a page at a time.
static TRAPS: [u8; 4096] = [PADDING; 4096];

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
            .field("used_bytes", &self.used_bytes())
            .field("how", &self.how())
            .finish()
    }
}

/// Granules of a region, owned. Executable once code was placed; given back on drop.
#[derive(Debug)]
pub(super) struct Block {
    region: Arc<CodeRegion>,
    /// Bytes from the region's start.
    range: Range<usize>,
    /// The pages of it that held nothing.
    fresh: Range<usize>,
}

impl Block {
    /// First address, at a multiple of 64 bytes at least.
    pub(super) fn base(&self) -> NonNull<u8> {
        // SAFETY: the range is within the reservation, which is mapped for as long as the region
        // lives.
        unsafe { self.region.reservation.base().add(self.range.start) }
    }

    /// Bytes, whole granules.
    pub(super) const fn len(&self) -> usize {
        self.range.end - self.range.start
    }

    /// Whether the memory is this process's.
    pub(super) fn is_owned(&self) -> bool {
        self.region.reservation.is_owned()
    }

    /// Fills the block with code, as many bytes as it has, which can be executed from then on.
    ///
    /// # Safety
    /// Nobody has executed or read anything in the block yet, and it wasn't filled before. This
    /// process owns it.
    pub(super) unsafe fn fill(&self, code: &[u8]) -> Result<(), CodeMemoryError> {
        // SAFETY: the granules are this block's; the rest is the caller's promise.
        unsafe { self.region.reservation.place(self.range.clone(), code) }?;
        if !self.fresh.is_empty() {
            self.region.reservation.bring(self.fresh.clone());
        }
        Ok(())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block owns the granules. The loader is done with them, for it holds the
        // block; and whoever executes the code keeps its `LoadedCode`, which holds the block too.
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
