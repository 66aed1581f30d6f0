//! A reservation of address space for code, on a Unix.
//!
//! What the system allows is found out when it is made: first a file, then private memory. Where
//! neither can be made executable, that is an error of its own, and not for want of memory.

use super::{
    super::{CodeMemoryError, fork_guard::ForkGuard},
    Way,
    by_file::CodeFile,
    mapping::Mapping,
    page_size, private,
};
use std::{io, mem::ManuallyDrop, ops::Range, ptr::NonNull};

/// Unit in which programs are placed, where the way of placing doesn't ask for whole pages: what
/// caches hold at once. So no two programs share a line.
pub(in super::super) const GRANULE: usize = 64;

/// Address space that belongs to this value. Of what is in no block of it, nobody has an address.
/// Unmapped on drop.
#[derive(Debug)]
pub(in super::super) struct Reservation {
    mapping: ManuallyDrop<Mapping>,
    /// Bytes for code; the mapping is rounded up to whole pages.
    len: usize,
    page: usize,
    guard: ForkGuard,
    access: Access,
    how: String,
}

/// How code gets there.
#[derive(Debug)]
enum Access {
    /// By writing to the file that is mapped.
    File(CodeFile),
    /// As private memory allows it.
    Private,
}

impl Reservation {
    /// Reserves at least `bytes`, rounded up to whole granules.
    pub(in super::super) fn new(bytes: usize, way: Way) -> Result<Self, CodeMemoryError> {
        let page = page_size().map_err(failed("learn the page size for", 0))?;
        let max = isize::MAX as usize / page * page;
        if bytes == 0 || bytes > max {
            return Err(CodeMemoryError::InvalidReserve { bytes, max });
        }
        let guard = ForkGuard::new(false);
        let refused = match reserve_file(bytes.next_multiple_of(page), way, &guard) {
            Ok((mapping, file)) => {
                let access = Access::File(file);
                let how = "a file in memory, mapped executable and never writable".to_owned();
                return Ok(Self::with(mapping, (bytes, page), guard, access, how));
            }
            // Less may be had, in the same way.
            Err(error) if is_shortage(&error) => return Err(failed("reserve", bytes)(error)),
            Err(error) => error,
        };
        let mapping = reserve_private(bytes.next_multiple_of(page), page, way)
            .map_err(|error| unusable(error, &refused, bytes))?;
        let how = format!("{} (a file in memory: {refused})", private::WAY);
        Ok(Self::with(mapping, (bytes, page), guard, Access::Private, how))
    }

    fn with(
        mapping: Mapping,
        (bytes, page): (usize, usize),
        guard: ForkGuard,
        access: Access,
        how: String,
    ) -> Self {
        let mapping = ManuallyDrop::new(mapping);
        let mut reservation = Self { mapping, len: 0, page, guard, access, how };
        reservation.len = bytes.next_multiple_of(reservation.granule());
        reservation
    }

    /// First address, at the start of a page.
    pub(in super::super) fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    /// Bytes reserved, whole granules.
    pub(in super::super) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of a page: what can be given back.
    pub(in super::super) const fn page(&self) -> usize {
        self.page
    }

    /// Bytes of the least unit of code; pages are multiples of it.
    pub(in super::super) const fn granule(&self) -> usize {
        match self.access {
            Access::File(_) => GRANULE,
            Access::Private => private::granule(self.page),
        }
    }

    /// How code is placed, and why not in a better way; for people.
    pub(in super::super) fn how(&self) -> &str {
        &self.how
    }

    /// Whether this process made it. A forked child has neither the mapping nor a right to its
    /// memory.
    pub(in super::super) fn is_owned(&self) -> bool {
        self.guard.is_owner()
    }

    /// Makes a range of bytes hold `code`: when it returns, that can be executed on every core.
    ///
    /// # Safety
    /// The range is whole granules of the reservation, as many bytes as `code` has, owned by the
    /// caller, in use by nobody. This process [owns](Self::is_owned) the reservation.
    pub(in super::super) unsafe fn place(
        &self,
        range: Range<usize>,
        code: &[u8],
    ) -> Result<(), CodeMemoryError> {
        debug_assert_eq!(range.len(), code.len());
        let address = self.address(range.start);
        let placed = match &self.access {
            // SAFETY: the caller's promise; the file is mapped from its start on.
            Access::File(file) => unsafe { file.place(range.start, address, code) },
            // SAFETY: the caller's promise.
            Access::Private => unsafe { private::place(address, code) },
        };
        placed.map_err(failed("place code in", range.len()))
    }

    /// Overwrites a range of bytes, which nobody executes from then on.
    ///
    /// # Safety
    /// As [`place`](Self::place).
    pub(in super::super) unsafe fn erase(&self, range: Range<usize>, by: &[u8]) -> io::Result<()> {
        debug_assert_eq!(range.len(), by.len());
        match &self.access {
            // No core has to be told.
            Access::File(file) => file.write(range.start, by),
            // SAFETY: the caller's promise.
            Access::Private => unsafe { private::place(self.address(range.start), by) },
        }
    }

    /// Has pages at hand for who executes them first, who would else wait for each. Changes nothing
    /// but that.
    pub(in super::super) fn bring(&self, range: Range<usize>) {
        match &self.access {
            Access::File(file) => file.bring(self.address(range.start), range.len()),
            // Whoever has written to them has them at hand.
            Access::Private => {}
        }
    }

    /// Makes a huge page of a unit of the reservation. Changes nothing that memory holds; who uses
    /// it waits, at most.
    pub(in super::super) fn merge(&self, unit: Range<usize>) -> io::Result<()> {
        match &self.access {
            Access::File(file) => file.merge(self.address(unit.start), unit.len()),
            Access::Private => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        }
    }

    /// Returns the memory of pages to the system; their addresses stay reserved.
    ///
    /// # Safety
    /// `range` (bytes) is whole pages of the reservation, owned by the caller, in use by nobody.
    /// This process [owns](Self::is_owned) the reservation.
    pub(in super::super) unsafe fn discard(&self, range: Range<usize>) -> io::Result<()> {
        match &self.access {
            Access::File(file) => file.discard(range),
            // SAFETY: the caller's promise.
            Access::Private => unsafe { private::discard(self.address(range.start), range.len()) },
        }
    }

    fn address(&self, offset: usize) -> *mut u8 {
        self.mapping.base().as_ptr().wrapping_add(offset)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: taken once, here. Every block holds the region, hence this reservation, so no
        // block is left.
        let mapping = unsafe { ManuallyDrop::take(&mut self.mapping) };
        if !self.is_owned() {
            // A child doesn't have it, and may have something else there; or, of private memory, has
            // a copy, which may be being executed.
            mapping.leave();
        }
    }
}

/// A mapping of a file, where the system has such; or why not.
fn reserve_file(len: usize, way: Way, guard: &ForkGuard) -> io::Result<(Mapping, CodeFile)> {
    if way != Way::Any {
        return Err(io::Error::other("no file was tried"));
    }
    // What a child doesn't have it mustn't be sent to.
    if !guard.is_wiped() {
        return Err(io::Error::other("no file, as children can't be told apart"));
    }
    CodeFile::reserve(len)
}

/// Private memory, after making sure that a page of it can be executed.
fn reserve_private(len: usize, page: usize, way: Way) -> io::Result<Mapping> {
    let mapping = private::reserve(len)?;
    if way == Way::Refused {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    let address = mapping.base().as_ptr();
    // SAFETY: the first page of what was just mapped, of which nobody has an address. Nothing of it
    // is executed.
    unsafe { private::place(address, &vec![0; page]) }?;
    // SAFETY: as above.
    unsafe { private::discard(address, page) }?;
    Ok(mapping)
}

/// What it means that private memory can't be had: a shortage, or that nothing may be executed.
fn unusable(error: io::Error, file: &io::Error, bytes: usize) -> CodeMemoryError {
    match is_shortage(&error) {
        true => failed("reserve", bytes)(error),
        false => {
            let why = format!("a file in memory: {file}; private memory: {error}");
            CodeMemoryError::NotExecutable { why: why.into() }
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock)
}

fn failed(operation: &'static str, bytes: usize) -> impl FnOnce(io::Error) -> CodeMemoryError {
    move |source| CodeMemoryError::Os { operation, bytes, source }
}
