//! What compiled code and its entry look up in a program: entry points, their addresses, counts.
//!
//! Function 0 of a program is its trampoline, with a [`ProgramHeader`] in the 64 bytes before
//! its first instruction: an [`EvmCompilerFn`](super::EvmCompilerFn) is one code address, and finds
//! its tables there.

use crate::{CompiledCode, OpcodeSet, compiled::CompiledEntry};
use revm_primitives::hardfork::SpecId;
use std::{
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

/// Bytes reserved for the header before the trampoline's first instruction.
pub(super) const HEADER_BYTES: usize = 64;

/// What lies before a trampoline.
#[repr(C)]
pub(super) struct ProgramHeader {
    /// Address of the [`ProgramTables`], whose provenance is exposed.
    pub(super) tables: usize,
}

const _: () = assert!(size_of::<ProgramHeader>() <= HEADER_BYTES);

/// The tables of a program. Boxed, so that the header can point to them.
#[derive(Debug)]
pub(super) struct ProgramTables {
    pub(super) spec_id: SpecId,
    pub(super) single_error: bool,
    pub(super) force_hand_over: Option<u32>,
    /// What code is made for.
    pub(super) opcodes: OpcodeSet,
    /// What isn't revm's.
    pub(super) foreign: OpcodeSet,
    /// pc -> ordinal + 1 of the JUMPDEST there.
    pub(super) jump_map: Box<[u16]>,
    /// Ordinal -> code address.
    pub(super) addresses: Box<[AtomicPtr<u8>]>,
    /// The address of entry points whose chunk isn't there.
    absent_stub: *const u8,
    /// By function: frames that met it absent.
    pub(super) absent_hits: Box<[AtomicU32]>,
    pub(super) entries: Box<[CompiledEntry]>,
    /// Bytes of memory that there must be to enter elsewhere than at the start.
    initial_memory: u64,
    /// (pc, ordinal) of the entry points at which a frame begins or resumes, by pc.
    resume: Box<[(u32, u32)]>,
    /// Runs that were handed over to the interpreter.
    pub(super) hand_overs: AtomicU64,
}

impl ProgramTables {
    /// `address` tells where a function is.
    pub(super) fn new(code: &CompiledCode, address: impl Fn(usize) -> *const u8) -> Self {
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
            .map(|entry| {
                let function = address(entry.function as usize);
                AtomicPtr::new(function.wrapping_add(entry.offset as usize).cast_mut())
            })
            .collect();
        Self {
            spec_id: code.spec_id,
            single_error: code.single_error,
            force_hand_over: code.force_hand_over,
            opcodes: code.opcodes,
            foreign: code.foreign,
            jump_map,
            addresses,
            absent_stub: address(CompiledCode::ABSENT_STUB as usize),
            absent_hits: code.functions.iter().map(|_| AtomicU32::new(0)).collect(),
            entries: code.entries.clone().into_boxed_slice(),
            initial_memory: code.initial_memory.into(),
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
    fn any_ordinal(&self, pc: usize) -> Option<u32> {
        if pc == 0 {
            return Some(0);
        }
        match self.jump_map.get(pc) {
            Some(&ordinal) if ordinal != 0 => Some(u32::from(ordinal) - 1),
            _ => self.resume_ordinal(pc),
        }
    }

    /// The ordinal of the entry point at which a frame with this pc, so many bytes of memory, and
    /// so many paid for, may be entered. Compiled code takes for granted that memory reaches as far
    /// as the contract's first block makes it, and that a frame has the memory that it has paid
    /// for. So a frame that hasn't executed that block (it left compiled code before), or to which
    /// a chain's own instruction gave memory, or took some away, goes on interpreted.
    #[inline]
    pub(super) fn entry_for(&self, pc: usize, memory_len: usize, paid: usize) -> Option<u32> {
        let is_usual = memory_len == paid && (pc == 0 || memory_len as u64 >= self.initial_memory);
        self.any_ordinal(pc).filter(|_| is_usual)
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

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.jump_map)
            + size_of_val(&*self.addresses)
            + size_of_val(&*self.absent_hits)
            + size_of_val(&*self.entries)
            + size_of_val(&*self.resume)
    }
}
