//! Functions into executable memory, and the handle that keeps them there.
//!
//! `cranelift-jit` puts the functions together: a `JITModule` a contract, over a
//! [`StagingProvider`]. The module lives during the load only, as nothing of it is needed
//! afterwards but where the functions are: so the handle is a block and a list of offsets, is
//! `Send` and `Sync` by construction, and holds no allocation of the module's. A module panics
//! where it can't write the file of a profiler, which it does if `PERF_BUILDID_DIR` is set; that is
//! contained here.

use super::{
    CodeMemoryError, CodeRegion,
    region::Block,
    staging::{Staging, StagingProvider},
};
use cranelift_codegen::{ir::Signature, isa::TargetIsa};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Module, default_libcall_names};
use std::{
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Alignment of the first function: a header of 64 bytes may stand before its code.
const FIRST_ALIGNMENT: u64 = 64;
/// Alignment of the other functions: what a 64-bit processor fetches at once.
const ALIGNMENT: u64 = 16;

/// Keeps loaded functions alive; dropping it gives their memory back.
///
/// Whoever calls a function must keep the handle until the call has returned.
pub struct LoadedCode {
    block: Block,
    /// The functions' bytes, from the block's start.
    functions: Box<[Range<usize>]>,
}

impl LoadedCode {
    /// `header` is told where the functions will be, and says what the first of them begins with.
    pub(super) fn load<T, const N: usize>(
        region: &Arc<CodeRegion>,
        functions: &[&[u8]],
        header: impl FnOnce(&Self) -> ([u8; N], T),
    ) -> Result<(Self, T), CodeMemoryError> {
        let alignment = alignment(&**region.isa());
        let block = region.allocate(required_bytes(functions, alignment)?)?;
        let staging_alignment = usize::try_from(alignment.max(FIRST_ALIGNMENT)).ok();
        let staging = staging_alignment
            .and_then(|alignment| Staging::new(block.len(), alignment))
            .ok_or(CodeMemoryError::TooLarge)?;
        let staging = Arc::new(staging);

        let mut builder = JITBuilder::with_isa(Arc::clone(region.isa()), default_libcall_names());
        builder.memory_provider(Box::new(StagingProvider::new(Arc::clone(&staging))));
        let mut module = JITModule::new(builder);
        // Unwind safety: of the module only the memory is used after a panic, to give it back.
        let placed = catch_unwind(AssertUnwindSafe(|| place(&mut module, functions, alignment)))
            .unwrap_or(Err(CodeMemoryError::Panicked));
        // SAFETY: the module has no other use of the functions, and nobody executes them there.
        unsafe { module.free_memory() };

        let base = staging.base().as_ptr().addr();
        let functions: Box<[_]> = placed?
            .into_iter()
            .zip(functions)
            .map(|(address, code)| address.addr() - base..address.addr() - base + code.len())
            .collect();
        let loaded = Self { block, functions };
        let (bytes, made) = header(&loaded);
        if bytes.len() > loaded.functions[0].len() {
            return Err(CodeMemoryError::TooLarge);
        }
        // SAFETY: the module was freed, and the first function is as long.
        unsafe { staging.write(loaded.functions[0].start, &bytes) };
        // SAFETY: the module was freed. The block is new, and who was told of addresses in it has
        // executed nothing yet.
        unsafe { loaded.block.fill(staging.bytes()) }?;
        Ok((loaded, made))
    }

    /// Address of the `index`-th function.
    ///
    /// # Panics
    /// If there is no such function, as indexing a slice does.
    pub fn address(&self, index: usize) -> *const u8 {
        self.block.base().as_ptr().wrapping_add(self.functions[index].start)
    }

    /// Machine code of the `index`-th function, for disassembly.
    pub fn function(&self, index: usize) -> Option<&[u8]> {
        self.functions.get(index).and_then(|range| self.code().get(range.clone()))
    }

    /// Number of functions.
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// All bytes of the block: the functions, and the padding around them. None in a child of the
    /// process that has the code.
    pub fn code(&self) -> &[u8] {
        if !self.block.is_owned() {
            return &[];
        }
        // SAFETY: the block is initialised (all of it was written: functions and padding),
        // readable, and written again by its drop alone. It is mapped for as long as the handle,
        // which the slice borrows, in the process that reserved it.
        unsafe { std::slice::from_raw_parts(self.block.base().as_ptr(), self.block.len()) }
    }

    /// Bytes of memory taken, a multiple of 64 or, where pages are protected, of their size.
    pub fn len(&self) -> usize {
        self.block.len()
    }

    /// Never: a handle holds a function at least.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for LoadedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedCode")
            .field("base", &self.block.base())
            .field("len", &self.len())
            .field("functions", &self.functions.len())
            .finish()
    }
}

/// Alignment of all functions but the first on this machine.
fn alignment(isa: &dyn TargetIsa) -> u64 {
    ALIGNMENT.max(isa.function_alignment().minimum.into()).max(isa.symbol_alignment())
}

/// Bytes that `functions` take from the first one's start on, with the padding between them.
fn required_bytes(functions: &[&[u8]], alignment: u64) -> Result<usize, CodeMemoryError> {
    if functions.is_empty() {
        return Err(CodeMemoryError::NoFunctions);
    }
    let alignment = usize::try_from(alignment).map_err(|_| CodeMemoryError::TooLarge)?;
    let mut end = 0_usize;
    for (index, code) in functions.iter().enumerate() {
        if code.is_empty() {
            return Err(CodeMemoryError::EmptyFunction { index });
        }
        end = end
            .checked_next_multiple_of(alignment)
            .and_then(|start| start.checked_add(code.len()))
            .ok_or(CodeMemoryError::TooLarge)?;
    }
    Ok(end)
}

/// Defines the functions in a fresh module; where they are in its memory.
fn place(
    module: &mut JITModule,
    functions: &[&[u8]],
    alignment: u64,
) -> Result<Vec<*const u8>, CodeMemoryError> {
    // Nobody calls the functions through the module, so their signature doesn't matter.
    let signature = Signature::new(module.isa().default_call_conv());
    let mut ids = Vec::with_capacity(functions.len());
    for code in functions {
        let alignment = if ids.is_empty() { FIRST_ALIGNMENT.max(alignment) } else { alignment };
        let id = module
            .declare_anonymous_function(&signature)
            .map_err(CodeMemoryError::from_module_error)?;
        module
            .define_function_bytes(id, alignment, code, &[])
            .map_err(CodeMemoryError::from_module_error)?;
        ids.push(id);
    }
    module.finalize_definitions().map_err(CodeMemoryError::from_module_error)?;
    Ok(ids.into_iter().map(|id| module.get_finalized_function(id)).collect())
}
