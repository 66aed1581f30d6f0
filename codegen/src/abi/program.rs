//! A compiled contract in executable memory: its code and its tables, neither of which changes.
//!
//! The entry points of code that isn't there lead to a stub that hands over, and counts.

use super::{
    emulation,
    entry::{EvmCompilerFn, RawEvmCompilerFn},
    entry_index::EntryIndex,
    tables::{HEADER_BYTES, ProgramHeader, ProgramTables},
};
use crate::{
    CompileError, CompiledCode, OpcodeSet,
    code_memory::{CodeRegion, LoadedCode},
};
use revm_primitives::hardfork::SpecId;
use std::{
    ptr::NonNull,
    sync::{Arc, atomic::Ordering},
};

/// A compiled contract in executable memory. Dropping it frees the code.
#[derive(Debug)]
pub struct NativeProgram {
    func: EvmCompilerFn,
    code: LoadedCode,
    /// Owned: from a `Box`, to which the header in `code` points too.
    tables: NonNull<ProgramTables>,
}

// SAFETY: but for atomics the tables are never written after they are made, and they are freed with
// their one owner.
unsafe impl Send for NativeProgram {}
// SAFETY: as above.
unsafe impl Sync for NativeProgram {}

impl Drop for NativeProgram {
    fn drop(&mut self) {
        // SAFETY: `tables` comes from `Box::leak` in `load` and is freed nowhere else.
        drop(unsafe { Box::from_raw(self.tables.as_ptr()) });
    }
}

impl CompiledCode {
    /// Puts other code in the place of a chunk: how an emulator's tests have it run what it must
    /// notice.
    ///
    /// # Safety
    /// Whoever enters what is loaded from this answers for the code.
    #[doc(hidden)]
    pub unsafe fn forge_chunk(&mut self, chunk: usize, code: Vec<u8>) {
        self.functions[Self::function_of(chunk) as usize] = code;
    }
}

impl NativeProgram {
    /// Places compiled code in executable memory.
    ///
    /// # Errors
    /// When the region is exhausted or the system refuses memory.
    pub fn load(code: &CompiledCode, region: &Arc<CodeRegion>) -> Result<Self, CompileError> {
        // The tables need the code's addresses, the header the tables' one.
        let mut trampoline = vec![0u8; HEADER_BYTES];
        match code.emulator {
            None => trampoline.extend_from_slice(&code.functions[0]),
            Some(emulator) => trampoline.extend(emulation::entry(emulator, &code.functions[0])?),
        }
        let present = |&index: &usize| !code.functions[index].is_empty();
        let indices: Vec<usize> = (0..code.functions.len()).filter(present).collect();
        let functions: Vec<&[u8]> = std::iter::once(trampoline.as_slice())
            .chain(indices[1..].iter().map(|&index| code.functions[index].as_slice()))
            .collect();
        let index = EntryIndex::new(code.code_len, &code.entries, &code.jumpdests)
            .ok_or(CompileError::EntryPoints)?;
        let (loaded, tables) = region.load_with_header(&functions, |places| {
            let address = |function: usize| {
                let place = indices.binary_search(&function);
                places.address(place.unwrap_or(CompiledCode::ABSENT_STUB as usize))
            };
            let tables = Box::new(ProgramTables::new(code, index, address));
            (ProgramHeader::new(&tables).to_bytes(), tables)
        })?;
        let tables = NonNull::from(Box::leak(tables));
        // SAFETY: just made.
        unsafe { tables.as_ref() }.expose();
        // The entry finds the header by the address of the code that it calls.
        loaded.address(0).expose_provenance();
        // SAFETY: function 0 is the trampoline, or an emulator's entry, with the header before it,
        // compiled by this crate with the signature of `RawEvmCompilerFn`.
        let raw = unsafe {
            std::mem::transmute::<*const u8, RawEvmCompilerFn>(loaded.address(0).add(HEADER_BYTES))
        };
        Ok(Self { func: EvmCompilerFn::new(raw), code: loaded, tables })
    }

    /// Whether a frame whose pc is this can go on natively: there is an entry point, and its code
    /// is there.
    #[inline]
    pub fn is_enterable(&self, pc: usize) -> bool {
        self.tables().is_enterable(pc)
    }

    /// Whether exceptional halts are reported as `OutOfGas`.
    #[inline]
    pub fn has_single_error(&self) -> bool {
        self.tables().single_error
    }

    /// How often a run was handed over to the interpreter so far.
    pub fn hand_overs(&self) -> u64 {
        self.tables().hand_overs.load(Ordering::Relaxed)
    }

    /// How often compiled code met a JUMPDEST that isn't compiled, for it was guessed not to be
    /// jumped to or is beyond the limit of work.
    pub fn wrong_guesses(&self) -> u32 {
        self.tables().absent_hits.load(Ordering::Relaxed)
    }

    #[inline]
    fn tables(&self) -> &ProgramTables {
        // SAFETY: made in `load`, and valid until `self` is dropped.
        unsafe { self.tables.as_ref() }
    }

    /// The callable. Valid while `self` lives.
    pub fn func(&self) -> EvmCompilerFn {
        self.func
    }

    /// The fork the program was compiled for.
    pub fn spec_id(&self) -> SpecId {
        self.tables().spec_id
    }

    /// Bytes of bytecode that the program was compiled from.
    pub fn bytecode_len(&self) -> usize {
        self.tables().code_len as usize
    }

    /// Opcodes that the program executes as revm's instructions do. An EVM that has other
    /// instructions for any of them can't run it.
    #[inline]
    pub fn opcodes(&self) -> OpcodeSet {
        self.tables().opcodes
    }

    /// Bytes of executable memory taken.
    pub fn code_bytes(&self) -> usize {
        self.code.len()
    }

    /// Bytes of tables held.
    pub fn data_bytes(&self) -> usize {
        self.tables().bytes()
    }
}
