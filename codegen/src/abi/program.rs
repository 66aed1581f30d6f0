//! A compiled contract in executable memory: its code, its tables, and the chunks that come later.
//!
//! Function 0 of a program is its trampoline, with a [`ProgramHeader`] in the 64 bytes before
//! its first instruction: an [`EvmCompilerFn`] is one code address, and finds its tables there.
//!
//! A program runs as soon as the chunk it starts in is there. The entry points of absent chunks
//! lead to a stub that hands over, and counts; [`NativeProgram::publish`] places a chunk and
//! redirects its entry points, each by one atomic store, while frames run.

use super::entry::{EvmCompilerFn, RawEvmCompilerFn};
use crate::{
    CompileError, CompiledCode, CompiledEntry,
    code_memory::{CodeRegion, LoadedCode},
};
use revm_primitives::hardfork::SpecId;
use std::{
    ptr::{self, NonNull},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
    },
};

/// Bytes reserved for the header before the trampoline's first instruction.
pub(super) const HEADER_BYTES: usize = 64;

/// What lies before a trampoline.
#[repr(C)]
pub(super) struct ProgramHeader {
    pub(super) tables: *const ProgramTables,
}

const _: () = assert!(size_of::<ProgramHeader>() <= HEADER_BYTES);

/// The tables of a program. Boxed, so that the header can point to them.
#[derive(Debug)]
pub(super) struct ProgramTables {
    pub(super) spec_id: SpecId,
    pub(super) single_error: bool,
    pub(super) force_hand_over: Option<u32>,
    /// pc -> ordinal + 1 of the JUMPDEST there.
    pub(super) jump_map: Box<[u16]>,
    /// Ordinal -> code address.
    pub(super) addresses: Box<[AtomicPtr<u8>]>,
    /// The address of entry points whose chunk isn't there.
    absent_stub: *const u8,
    /// By function: frames that met it absent.
    absent_hits: Box<[AtomicU32]>,
    pub(super) entries: Box<[CompiledEntry]>,
    /// (pc, ordinal) of the entry points at which a frame begins or resumes, by pc.
    resume: Box<[(u32, u32)]>,
    /// Runs that were handed over to the interpreter.
    hand_overs: AtomicU64,
}

impl ProgramTables {
    /// `address` tells where a function is.
    fn new(code: &CompiledCode, address: impl Fn(usize) -> *const u8) -> Self {
        let mut jump_map = vec![0u16; code.code_len as usize].into_boxed_slice();
        let mut resume = Vec::new();
        for (ordinal, entry) in code.entries.iter().enumerate() {
            if entry.is_jumpdest {
                // The analysis bounds the number of entries to what fits.
                jump_map[entry.pc as usize] = (ordinal + 1) as u16;
            }
            if entry.is_continuation {
                resume.push((entry.pc, ordinal as u32));
            }
        }
        resume.sort_unstable();
        let addresses = code
            .entries
            .iter()
            .map(|entry| AtomicPtr::new(address(entry.function as usize).cast_mut()))
            .collect();
        Self {
            spec_id: code.spec_id,
            single_error: code.single_error,
            force_hand_over: code.force_hand_over,
            jump_map,
            addresses,
            absent_stub: address(CompiledCode::ABSENT_STUB as usize),
            absent_hits: code.functions.iter().map(|_| AtomicU32::new(0)).collect(),
            entries: code.entries.clone().into_boxed_slice(),
            resume: resume.into_boxed_slice(),
            hand_overs: AtomicU64::new(0),
        }
    }

    /// The ordinal of the entry point at which a frame with this pc resumes.
    fn resume_ordinal(&self, pc: usize) -> Option<u32> {
        let pc = u32::try_from(pc).ok()?;
        let index = self.resume.binary_search_by_key(&pc, |&(entry_pc, _)| entry_pc).ok()?;
        Some(self.resume[index].1)
    }

    /// The ordinal of any entry point at this pc. The stack is in memory there.
    #[inline]
    pub(super) fn any_ordinal(&self, pc: usize) -> Option<u32> {
        if pc == 0 {
            return Some(0);
        }
        match self.jump_map.get(pc) {
            Some(&ordinal) if ordinal != 0 => Some(u32::from(ordinal) - 1),
            _ => self.resume_ordinal(pc),
        }
    }

    /// Whether there is an entry point at this pc whose chunk is there. If there is a chunk and it
    /// is absent, this counts as a visit. One that was left out isn't counted: whether it was
    /// jumped to by a way that compiled code can't take is only known where compiled code meets it.
    pub(super) fn is_enterable(&self, pc: usize) -> bool {
        let Some(ordinal) = self.any_ordinal(pc) else { return false };
        // Only the address itself is looked at: the code behind it is settled by entering.
        let address = self.addresses[ordinal as usize].load(Ordering::Relaxed);
        let is_absent = ptr::eq(address, self.absent_stub);
        let entry = &self.entries[ordinal as usize];
        if is_absent && entry.function != CompiledCode::ABSENT_STUB {
            self.absent_pc(ordinal as usize);
        }
        !is_absent
    }

    /// Counts a frame that met an absent entry point; the pc where it goes on.
    pub(super) fn absent_pc(&self, ordinal: usize) -> usize {
        let entry = &self.entries[ordinal];
        self.absent_hits[entry.function as usize].fetch_add(1, Ordering::Relaxed);
        entry.pc as usize
    }

    pub(super) fn count_hand_over(&self) {
        self.hand_overs.fetch_add(1, Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.jump_map)
            + size_of_val(&*self.addresses)
            + size_of_val(&*self.absent_hits)
            + size_of_val(&*self.entries)
            + size_of_val(&*self.resume)
    }
}

/// A compiled contract in executable memory. Dropping it frees the code.
#[derive(Debug)]
pub struct NativeProgram {
    func: EvmCompilerFn,
    code: LoadedCode,
    /// Chunks published later.
    later: Mutex<Vec<LoadedCode>>,
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

impl NativeProgram {
    /// Places compiled code in executable memory.
    ///
    /// # Errors
    /// When the region is exhausted or the system refuses memory.
    pub fn load(code: &CompiledCode, region: &Arc<CodeRegion>) -> Result<Self, CompileError> {
        // The header needs the tables' address, the tables need the code's addresses: so the tables
        // are allocated first and filled afterwards.
        let tables = Box::<ProgramTables>::new_uninit();
        let address = tables.as_ptr() as usize;
        let mut trampoline = vec![0u8; HEADER_BYTES];
        trampoline[..size_of::<usize>()].copy_from_slice(&address.to_ne_bytes());
        trampoline.extend_from_slice(&code.functions[0]);
        let present = |&index: &usize| !code.functions[index].is_empty();
        let indices: Vec<usize> = (0..code.functions.len()).filter(present).collect();
        let functions: Vec<&[u8]> = std::iter::once(trampoline.as_slice())
            .chain(indices[1..].iter().map(|&index| code.functions[index].as_slice()))
            .collect();
        let loaded = region.load(&functions)?;
        let address = |function: usize| {
            let place = indices.binary_search(&function);
            loaded.address(place.unwrap_or(CompiledCode::ABSENT_STUB as usize))
        };
        let tables = Box::leak(Box::write(tables, ProgramTables::new(code, address)));
        let tables = NonNull::from(tables);
        // SAFETY: function 0 is the trampoline with its header before it, compiled by this crate
        // with the signature of `RawEvmCompilerFn`.
        let raw = unsafe {
            std::mem::transmute::<*const u8, RawEvmCompilerFn>(loaded.address(0).add(HEADER_BYTES))
        };
        let later = Mutex::default();
        Ok(Self { func: EvmCompilerFn::new(raw), code: loaded, later, tables })
    }

    /// Places a chunk that was absent, and leads its entry points to it. Frames that run meanwhile
    /// meet it the next time they come by.
    ///
    /// `code` must have been compiled by
    /// [`Compiler::compile_chunk`](crate::Compiler::compile_chunk) for this chunk of this program.
    ///
    /// # Errors
    /// When the region is exhausted or the system refuses memory: the chunk stays absent.
    pub fn publish(
        &self,
        chunk: usize,
        code: &[u8],
        region: &Arc<CodeRegion>,
    ) -> Result<(), CompileError> {
        if code.is_empty() {
            return Ok(());
        }
        let loaded = region.load(&[code])?;
        let address = loaded.address(0).cast_mut();
        // Held from now on: the addresses below stay valid as long as the program.
        self.later.lock().unwrap_or_else(PoisonError::into_inner).push(loaded);
        let tables = self.tables();
        let function = CompiledCode::function_of(chunk);
        for (entry, slot) in tables.entries.iter().zip(&tables.addresses) {
            if entry.function == function {
                // Compiled code reads the table without an order of its own: the code behind an
                // address was complete, and visible to all processors, before it was stored.
                slot.store(address, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Whether a frame whose pc is this can go on natively now: there is an entry point, and its
    /// chunk is there. If the chunk is absent, [`absent_hits`](Self::absent_hits) counts this.
    #[inline]
    pub fn is_enterable(&self, pc: usize) -> bool {
        self.tables().is_enterable(pc)
    }

    /// Whether exceptional halts are reported as `OutOfGas`.
    pub fn has_single_error(&self) -> bool {
        self.tables().single_error
    }

    /// How often a run was handed over to the interpreter so far.
    pub fn hand_overs(&self) -> u64 {
        self.tables().hand_overs.load(Ordering::Relaxed)
    }

    /// How often frames met a chunk that was absent.
    pub fn absent_hits(&self, chunk: usize) -> u32 {
        let function = CompiledCode::function_of(chunk) as usize;
        self.tables().absent_hits.get(function).map_or(0, |hits| hits.load(Ordering::Relaxed))
    }

    /// How often compiled code met a JUMPDEST that isn't compiled, for it was guessed not to be
    /// jumped to or is beyond the limit of work.
    pub fn wrong_guesses(&self) -> u32 {
        self.tables().absent_hits[CompiledCode::ABSENT_STUB as usize].load(Ordering::Relaxed)
    }

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
        self.tables().jump_map.len()
    }

    /// Bytes of executable memory held, whole pages.
    pub fn code_bytes(&self) -> usize {
        let later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        self.code.len() + later.iter().map(LoadedCode::len).sum::<usize>()
    }

    /// Bytes of tables held.
    pub fn data_bytes(&self) -> usize {
        self.tables().bytes()
    }
}
