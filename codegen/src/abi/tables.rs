//! What compiled code and its entry look up in a program: entry points, their addresses, counts.
//!
//! Function 0 of a program is its trampoline, with a [`ProgramHeader`] in the 64 bytes before its
//! first instruction: an [`EvmCompilerFn`](super::EvmCompilerFn) is one code address, and finds there
//! all that a frame needs that begins. The rest is in [`ProgramTables`], for frames that resume or
//! leave in their midst, and for who asks about the program.

use super::entry_index::{EntryIndex, Granule};
use crate::{CompiledCode, OpcodeSet};
use revm_primitives::hardfork::SpecId;
use std::{
    ptr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// Bytes reserved for the header before the trampoline's first instruction.
pub(super) const HEADER_BYTES: usize = 64;

/// What lies before a trampoline: addresses whose provenance is exposed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgramHeader {
    /// Of the [`ProgramTables`].
    tables: usize,
    /// Of the code that a frame begins with.
    start: usize,
    /// Of what [`EntryIndex`] has by bytecode.
    granules: usize,
    /// And of the ordinals by rank.
    ordinals: usize,
    /// Of the addresses by ordinal.
    addresses: usize,
    /// Blocks to run natively before a forced hand-over.
    block_budget: u64,
}

const _: () = assert!(size_of::<ProgramHeader>() <= HEADER_BYTES && size_of::<usize>() == 8);

impl ProgramHeader {
    /// A header that leads to `tables`, which stay where they are for as long as the header, and
    /// are to be [exposed](ProgramTables::expose).
    pub(super) fn new(tables: &ProgramTables) -> Self {
        Self {
            tables: ptr::from_ref(tables).addr(),
            start: tables.addresses[0].addr(),
            granules: tables.index.granules().addr(),
            ordinals: tables.index.ordinals().addr(),
            addresses: tables.addresses.as_ptr().addr(),
            block_budget: tables.force_hand_over.map_or(0, u64::from),
        }
    }

    /// As it lies in memory.
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let Self { tables, start, granules, ordinals, addresses, block_budget } = self;
        let words = [tables, start, granules, ordinals, addresses].map(|address| address as u64);
        let mut bytes = [0; HEADER_BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words.into_iter().chain([block_budget])) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// The program's tables.
    ///
    /// # Safety
    /// The program must be alive, during `'a`.
    #[inline(always)]
    pub(super) const unsafe fn tables<'a>(&self) -> &'a ProgramTables {
        // SAFETY: a live program's header leads to its tables, which were exposed when it was made.
        unsafe { &*ptr::with_exposed_provenance(self.tables) }
    }

    /// Where the code of an entry point is.
    ///
    /// # Safety
    /// The program must be alive, and have such an entry point.
    #[inline(always)]
    pub(super) const unsafe fn address(&self, ordinal: u32) -> *const u8 {
        if ordinal == 0 {
            return ptr::with_exposed_provenance(self.start);
        }
        // SAFETY: the caller's promise: it is one of the program's addresses.
        unsafe { *self.addresses().add(ordinal as usize) }
    }

    pub(super) const fn granules(&self) -> *const Granule {
        ptr::with_exposed_provenance(self.granules)
    }

    pub(super) const fn ordinals(&self) -> *const u16 {
        ptr::with_exposed_provenance(self.ordinals)
    }

    pub(super) const fn addresses(&self) -> *const *const u8 {
        ptr::with_exposed_provenance(self.addresses)
    }

    pub(super) const fn block_budget(&self) -> i64 {
        self.block_budget.cast_signed()
    }
}

/// The tables of a program. Boxed, so that the header can point to them.
#[derive(Debug)]
pub(super) struct ProgramTables {
    index: EntryIndex,
    /// Ordinal -> code address.
    addresses: Box<[*const u8]>,
    /// Bytes of memory that there must be to enter elsewhere than at the start.
    initial_memory: u64,
    /// Runs that were handed over to the interpreter.
    pub(super) hand_overs: AtomicU64,
    /// What isn't revm's.
    pub(super) foreign: OpcodeSet,
    /// What code is made for.
    pub(super) opcodes: OpcodeSet,
    pub(super) spec_id: SpecId,
    pub(super) single_error: bool,
    pub(super) force_hand_over: Option<u32>,
    /// Bytes of bytecode.
    pub(super) code_len: u32,
    /// The address of entry points whose code isn't there.
    absent_stub: *const u8,
    /// Frames that met an entry point whose code isn't there.
    pub(super) absent_hits: AtomicU32,
    /// The pcs of entry points by ordinal, if there are any whose code isn't there.
    pcs: Box<[u32]>,
}

impl ProgramTables {
    /// The tables of a program with this index of its entry points; `address` tells where a
    /// function is.
    pub(super) fn new(
        code: &CompiledCode,
        index: EntryIndex,
        address: impl Fn(usize) -> *const u8,
    ) -> Self {
        let pcs = code.entries.iter().map(|entry| entry.pc);
        let addresses = code
            .entries
            .iter()
            .map(|entry| {
                let function = address(entry.function as usize);
                function.wrapping_add(entry.offset as usize)
            })
            .collect();
        Self {
            index,
            addresses,
            initial_memory: code.initial_memory.into(),
            hand_overs: AtomicU64::new(0),
            foreign: code.foreign,
            opcodes: code.opcodes,
            spec_id: code.spec_id,
            single_error: code.single_error,
            force_hand_over: code.force_hand_over,
            code_len: code.code_len,
            absent_stub: address(CompiledCode::ABSENT_STUB as usize),
            absent_hits: AtomicU32::new(0),
            pcs: if code.is_whole() { Box::default() } else { pcs.collect() },
        }
    }

    /// Lets the header's addresses lead here.
    pub(super) fn expose(&self) {
        ptr::from_ref(self).expose_provenance();
        self.index.granules().expose_provenance();
        self.index.ordinals().expose_provenance();
        self.addresses.as_ptr().expose_provenance();
    }

    /// The ordinal of the entry point at which a frame with this pc, not 0, and so many bytes of
    /// memory, may be entered. Compiled code takes for granted that memory reaches as far as the
    /// contract's first block makes it. So a frame that hasn't executed that block (it left compiled
    /// code before), or from which a chain's own instruction took memory away, goes on interpreted.
    #[inline]
    pub(super) fn entry_in_midst(&self, pc: usize, memory_len: usize) -> Option<u32> {
        if memory_len as u64 >= self.initial_memory { self.index.ordinal_at(pc) } else { None }
    }

    /// Whether there is an entry point at this pc whose code is there.
    pub(super) fn is_enterable(&self, pc: usize) -> bool {
        let ordinal = if pc == 0 { Some(0) } else { self.index.ordinal_at(pc) };
        // Only the address itself is looked at: the code behind it is settled by entering.
        ordinal.is_some_and(|ordinal| !ptr::eq(self.addresses[ordinal as usize], self.absent_stub))
    }

    /// Counts a frame that met an absent entry point; the pc where it goes on. `None` if nothing is
    /// absent there.
    pub(super) fn absent_pc(&self, ordinal: u64) -> Option<usize> {
        let pc = *self.pcs.get(usize::try_from(ordinal).ok()?)?;
        self.absent_hits.fetch_add(1, Ordering::Relaxed);
        Some(pc as usize)
    }

    pub(super) fn count_hand_over(&self) {
        self.hand_overs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.index.bytes()
            + size_of_val(&*self.addresses)
            + size_of_val(&*self.pcs)
    }
}
