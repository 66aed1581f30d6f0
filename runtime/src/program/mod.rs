//! A compiled contract together with what keeps its code alive.
//!
//! [`CompiledProgram`] is made only by the compilation path, which compiles a [`Source`], whose
//! hash was computed, and loads the result; so the code behind [`func`](CompiledProgram::func)
//! belongs to the key, and lives as long as the program. Frames run on a [`Verified`] program, one
//! whose bytecode was compared with the frame's, or by what an EVM has kept of one: [`Known`].
//!
//! - `entry`: what outlives a program.
//! - `verified`: entering compiled code, which this crate does nowhere else.

mod entry;
mod verified;

pub(crate) use entry::{Executing, ProgramEntry, address};
pub(crate) use verified::{CodeId, Known, Verified};

use crate::{
    frame_counts::RunClass,
    lookup::RuntimeCacheKey,
    reclaim::{Holdings, Retired},
    source::Source,
    usage::Usage,
};
use alloy_primitives::Bytes;
use cranevm_codegen::{EvmCompilerFn, NativeProgram, OpcodeSet};
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

/// Most times that the releases waited for double.
const MAX_DOUBLINGS: u32 = 16;

/// Where a program comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// From an artifact.
    Aot,
    /// Compiled by this process.
    Jit,
}

/// A compiled contract. Its machine code is freed with the last reference, or, if an EVM is just
/// executing it, after that.
pub struct CompiledProgram {
    /// The contract as a callable; valid as long as this program lives.
    pub func: EvmCompilerFn,
    /// What it was compiled from and for.
    pub key: RuntimeCacheKey,
    /// Where it comes from.
    pub kind: ProgramKind,
    /// What EVMs keep of it.
    entry: Arc<ProgramEntry>,
    /// Owner of the code that `func` points into; taken when the program is dropped.
    backing: Option<NativeProgram>,
    /// The bytecode that it was compiled from, to compare others with. An artifact that was loaded
    /// before anybody brought the bytecode gets it from the first who has it.
    source: OnceLock<Source>,
    /// The releases of programs from which on there may be the memory that was short; 0: none was.
    short_until: AtomicU64,
    /// Attempts at better code that found no memory.
    shortages: AtomicU32,
    /// Whether a helper that made better code was killed by somebody.
    was_killed: AtomicBool,
    /// Whether better code was put off: for want of a helper process, or of room in the queue.
    put_off: AtomicBool,
    /// Bytes of tables and bytecode.
    data_bytes: u64,
    holdings: Arc<Holdings>,
}

impl Drop for CompiledProgram {
    fn drop(&mut self) {
        // First: whoever still enters by it has said so when it is asked who does.
        self.entry.revoke();
        if let Some(code) = self.backing.take() {
            let (entry, data_bytes) = (Arc::clone(&self.entry), self.data_bytes);
            self.holdings.retire(Retired { entry, code, data_bytes });
        }
    }
}

impl CompiledProgram {
    /// Wraps loaded code. `backing` must be what the code of `source` was compiled to.
    pub(crate) fn new(
        source: &Source,
        kind: (ProgramKind, RunClass),
        backing: NativeProgram,
        holdings: Arc<Holdings>,
    ) -> Self {
        let key = source.key();
        let source = OnceLock::from(source.clone());
        Self::with_source(key, source, kind, backing, holdings)
    }

    /// Wraps the loaded code of an artifact, whose bytecode nobody has at hand. `backing` must be
    /// what code of this hash was compiled to.
    pub(crate) fn of_artifact(
        (key, class): (RuntimeCacheKey, RunClass),
        backing: NativeProgram,
        holdings: Arc<Holdings>,
    ) -> Self {
        Self::with_source(key, OnceLock::new(), (ProgramKind::Aot, class), backing, holdings)
    }

    fn with_source(
        key: RuntimeCacheKey,
        source: OnceLock<Source>,
        (kind, class): (ProgramKind, RunClass),
        backing: NativeProgram,
        holdings: Arc<Holdings>,
    ) -> Self {
        let data_bytes = data_bytes(&backing);
        holdings.data_bytes.add(data_bytes);
        Self {
            func: backing.func(),
            key,
            kind,
            entry: Arc::new(ProgramEntry::new(key, class, &backing)),
            backing: Some(backing),
            source,
            short_until: AtomicU64::new(0),
            shortages: AtomicU32::new(0),
            was_killed: AtomicBool::new(false),
            put_off: AtomicBool::new(false),
            data_bytes,
            holdings,
        }
    }

    /// Whether `code` is what this was compiled from, for sure: the very bytes that are kept, or
    /// equal to them; where none are kept yet, by their hash, which `hashed` computes.
    pub(crate) fn is_of(&self, code: &Bytes, hashed: impl FnOnce() -> Source) -> bool {
        if code.len() != self.backing().bytecode_len() {
            return false;
        }
        let Some(source) = self.source.get() else {
            let source = hashed();
            let is_own = source.key() == self.key;
            if is_own {
                // Another thread may have been quicker, with the same bytes.
                let _kept = self.source.set(source);
            }
            return is_own;
        };
        // Both are alive, so what is at the same place is the same.
        code.as_ptr() == source.code().as_ptr() || code == source.code()
    }

    /// Bytes of bytecode that it was compiled from.
    pub(crate) fn bytecode_len(&self) -> usize {
        self.backing().bytecode_len()
    }

    /// What it was compiled from, if somebody has brought that.
    pub(crate) fn source(&self) -> Option<&Source> {
        self.source.get()
    }

    /// Frames that met a JUMPDEST which was guessed not to be jumped to.
    pub(crate) fn wrong_guesses(&self) -> u32 {
        self.backing().wrong_guesses()
    }

    /// Bytes of executable memory, tables and bytecode held.
    pub(crate) fn bytes(&self) -> u64 {
        self.backing().code_bytes() as u64 + self.data_bytes
    }

    /// What EVMs keep of it.
    #[inline]
    pub(crate) const fn entry(&self) -> &Arc<ProgramEntry> {
        &self.entry
    }

    /// Notes a use.
    pub(crate) fn touch(&self, clock: u32) {
        self.usage().touch(clock);
    }

    /// Its uses, by the clock of the backend.
    pub(crate) fn usage(&self) -> &Usage {
        &self.entry.usage
    }

    /// Notes that better code found no memory, after so many releases of programs. Each time twice
    /// as many further ones are waited for: an attempt may itself evict programs.
    pub(crate) fn note_upgrade_shortage(&self, releases: u64) {
        let doublings = self.shortages.fetch_add(1, Relaxed).min(MAX_DOUBLINGS);
        self.short_until.store(releases + (1 << doublings), Relaxed);
    }

    /// Whether it found no memory, and there is none for it yet.
    pub(crate) fn is_short(&self, releases: u64) -> bool {
        self.short_until.load(Relaxed) > releases
    }

    /// Whether it found no memory, and so many programs were freed since that it may now.
    pub(crate) fn may_find_memory(&self, releases: u64) -> bool {
        let until = self.short_until.load(Relaxed);
        until != 0 && until <= releases
    }

    /// Notes that a helper which made better code was killed by somebody; whether for the first
    /// time.
    pub(crate) fn note_kill(&self) -> bool {
        !self.was_killed.swap(true, Relaxed)
    }

    /// Notes that better code found no helper process to be compiled in, or no room in the queue.
    pub(crate) fn note_put_off(&self) {
        self.put_off.store(true, Relaxed);
    }

    /// Whether better code was put off.
    pub(crate) fn is_put_off(&self) -> bool {
        self.put_off.load(Relaxed)
    }

    /// The opcodes that it executes as revm's instructions do.
    #[inline]
    pub(crate) fn opcodes(&self) -> OpcodeSet {
        self.entry.opcodes
    }

    /// Runs of this program that were handed over to the interpreter.
    pub(crate) fn hand_overs(&self) -> u64 {
        self.backing().hand_overs()
    }

    /// Whether a frame of this program can go on natively at `pc` now.
    #[inline]
    pub(crate) fn is_enterable(&self, pc: usize) -> bool {
        self.backing().is_enterable(pc)
    }

    fn backing(&self) -> &NativeProgram {
        self.backing.as_ref().expect("taken when the program is dropped")
    }
}

/// Bytes of tables and bytecode that a program holds. The bytecode counts also where it isn't there
/// yet, so that a program doesn't grow when it comes.
fn data_bytes(backing: &NativeProgram) -> u64 {
    (backing.data_bytes() + backing.bytecode_len()) as u64
}

impl fmt::Debug for CompiledProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledProgram")
            .field("key", &self.key)
            .field("kind", &self.kind)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}
