//! A block as the memory of one `cranelift-jit` module.
//!
//! A bump allocator over pages whose number was computed ahead. The provider shares the block with
//! the [`LoadedCode`](super::LoadedCode) being made: freeing the module's memory gives up that
//! share only.

use super::{CodeMemoryError, region::Block};
use cranelift_jit::{BranchProtection, JITMemoryKind, JITMemoryProvider};
use cranelift_module::ModuleResult;
use std::{io, sync::Arc};

/// What lies between functions: an instruction that traps, so that a stray jump stops at once. (On
/// aarch64 a zero word is one, `udf #0`; on x86-64 zeros would be an `add`, and this is `int3`.)
pub(super) const PADDING: u8 = if cfg!(target_arch = "x86_64") { 0xcc } else { 0 };

/// Gives out the bytes of one block, once.
pub(super) struct BlockProvider {
    /// `None` once freed.
    block: Option<Arc<Block>>,
    /// Bytes given out, with the padding between them.
    used: usize,
    /// Whether `finalize` was called: the block is no longer written to.
    sealed: bool,
}

impl BlockProvider {
    /// Gives out a block that is writable, and that nobody else writes to.
    pub(super) fn new(block: Arc<Block>) -> Self {
        Self { block: Some(block), used: 0, sealed: false }
    }
}

/// Fills bytes `from..to` of a block.
///
/// # Safety
/// The block is writable and not sealed, nobody else uses those bytes, and `to` is at most its
/// length.
unsafe fn pad(block: &Block, from: usize, to: usize) {
    // SAFETY: the caller's promise.
    unsafe { block.base().add(from).write_bytes(PADDING, to - from) };
}

impl JITMemoryProvider for BlockProvider {
    fn allocate(&mut self, size: usize, align: u64, kind: JITMemoryKind) -> io::Result<*mut u8> {
        let JITMemoryKind::Executable = kind else {
            return Err(io::Error::other("a block holds code only, not data"));
        };
        let block = self.block.as_ref().ok_or_else(|| io::Error::other("the block was freed"))?;
        if self.sealed {
            return Err(io::Error::other("the block is executable already"));
        }
        let start = usize::try_from(align)
            .ok()
            .and_then(|align| self.used.checked_next_multiple_of(align))
            .ok_or_else(|| io::Error::other(format!("can't align code to {align} bytes")))?;
        let end = start
            .checked_add(size)
            .filter(|&end| end <= block.len())
            .ok_or_else(|| io::Error::other("the block is smaller than its functions"))?;
        // SAFETY: the bytes are in the block and weren't given out. The block isn't sealed: checked
        // above.
        unsafe { pad(block, self.used, start) };
        self.used = end;
        // SAFETY: `start` is within the block.
        Ok(unsafe { block.base().add(start) }.as_ptr())
    }

    unsafe fn free_memory(&mut self) {
        self.block = None;
    }

    fn finalize(&mut self, branch_protection: BranchProtection) -> ModuleResult<()> {
        let Some(block) = &self.block else {
            return Ok(());
        };
        if !self.sealed {
            // SAFETY: `used` is at most the length, and those bytes weren't given out.
            unsafe { pad(block, self.used, block.len()) };
            self.sealed = true;
        }
        // SAFETY: no more of the block is given out once `sealed` is set, and the module writes to
        // what it was given before it calls this. Sealing again changes nothing.
        unsafe { block.seal(branch_protection) }.map_err(CodeMemoryError::into_module_error)
    }
}
