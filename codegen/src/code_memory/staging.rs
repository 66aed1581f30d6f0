//! Where `cranelift-jit` puts a program together: ordinary memory, as long as the program's block.
//!
//! Code has no relocations, so it may be put together at one address and executed at another: what
//! counts are the places from the staging memory's start. A [`StagingProvider`] gives that out as
//! the memory of one module, front to back, and shares it with who loads the program.

use cranelift_jit::{BranchProtection, JITMemoryKind, JITMemoryProvider};
use cranelift_module::ModuleResult;
use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    io,
    ptr::NonNull,
    sync::Arc,
};

/// What lies between functions, and where code was: an instruction that traps, so that a stray jump
/// stops at once. (On aarch64 a zero word is one, `udf #0`; on x86-64 zeros would be an `add`, and
/// this is `int3`.)
pub(super) const PADDING: u8 = if cfg!(target_arch = "x86_64") { 0xcc } else { 0 };

/// Memory with the alignment of a block, full of padding at first.
#[derive(Debug)]
pub(super) struct Staging {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: an allocation, written to by the provider's module, and read by nobody before that is
// done; see `bytes`.
unsafe impl Send for Staging {}
// SAFETY: as for `Send`.
unsafe impl Sync for Staging {}

impl Staging {
    /// So many bytes, not zero, at a multiple of `alignment`; `None` if there is no such memory.
    pub(super) fn new(bytes: usize, alignment: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes, alignment).ok().filter(|_| bytes > 0)?;
        // SAFETY: the layout isn't empty.
        let base = unsafe { alloc(layout) };
        let base = NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: all of it was just allocated.
        unsafe { base.write_bytes(PADDING, bytes) };
        Some(Self { base, layout })
    }

    /// First address.
    pub(super) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Writes over what was put together, from this place on.
    ///
    /// # Safety
    /// Nobody else uses the memory any more: the module was freed. It has so many bytes there.
    pub(super) unsafe fn write(&self, start: usize, bytes: &[u8]) {
        debug_assert!(start + bytes.len() <= self.layout.size());
        // SAFETY: the caller's promise.
        unsafe {
            self.base.add(start).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len())
        };
    }

    /// What was put together.
    ///
    /// # Safety
    /// Nobody writes to the memory any more: the module was freed.
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: all of it was written by `new`; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, and nobody has it any more: who writes to it
        // holds it.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// Gives out staging memory to one module, once.
pub(super) struct StagingProvider {
    /// `None` once freed.
    memory: Option<Arc<Staging>>,
    /// Bytes given out, with the padding between them.
    used: usize,
}

impl StagingProvider {
    /// Gives out memory that nobody else writes to.
    pub(super) const fn new(memory: Arc<Staging>) -> Self {
        Self { memory: Some(memory), used: 0 }
    }
}

impl JITMemoryProvider for StagingProvider {
    fn allocate(&mut self, size: usize, align: u64, kind: JITMemoryKind) -> io::Result<*mut u8> {
        let JITMemoryKind::Executable = kind else {
            return Err(io::Error::other("a block holds code only, not data"));
        };
        let memory = self.memory.as_ref().ok_or_else(|| io::Error::other("it was freed"))?;
        let layout = memory.layout;
        let start = usize::try_from(align)
            .ok()
            .filter(|&align| align <= layout.align())
            .and_then(|align| self.used.checked_next_multiple_of(align))
            .ok_or_else(|| io::Error::other(format!("can't align code to {align} bytes")))?;
        let end = start
            .checked_add(size)
            .filter(|&end| end <= layout.size())
            .ok_or_else(|| io::Error::other("the block is smaller than its functions"))?;
        self.used = end;
        // SAFETY: `start` is within the memory.
        Ok(unsafe { memory.base.add(start) }.as_ptr())
    }

    unsafe fn free_memory(&mut self) {
        self.memory = None;
    }

    /// Nothing to do: the code isn't executed here. (Nor has it landing pads to be checked.)
    fn finalize(&mut self, _branch_protection: BranchProtection) -> ModuleResult<()> {
        Ok(())
    }
}
