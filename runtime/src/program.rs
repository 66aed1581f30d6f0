//! A compiled contract together with what keeps its code alive.
//!
//! The one place of this crate that enters compiled code. [`CompiledProgram`] is made only by the
//! compilation path, which compiles a [`Source`], whose hash was computed, and loads the result; so
//! the code behind [`func`](CompiledProgram::func) belongs to the key, and lives as long as the
//! program. Frames run on a [`Verified`] program: one whose bytecode was compared with the frame's.

#![expect(unsafe_code, reason = "entering compiled code")]

use crate::{
    frame_counts::RunClass,
    lookup::RuntimeCacheKey,
    source::Source,
    stats::{Gauge, Releases},
};
use alloy_primitives::Bytes;
use cranevm_codegen::{
    Chunk, CompileError, CompiledChunk, EvmCompilerFn, NativeProgram, NativeRun, OpcodeSet,
    code_memory::CodeRegion,
};
use revm::{
    bytecode::Bytecode,
    interpreter::{GasTable, Host, InstructionTable, Interpreter, interpreter::EthInterpreter},
};
use std::{
    fmt,
    ops::Deref,
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

/// A compiled contract. Dropping the last reference frees its machine code.
pub struct CompiledProgram {
    /// The contract as a callable; valid as long as this program lives.
    pub func: EvmCompilerFn,
    /// What it was compiled from and for.
    pub key: RuntimeCacheKey,
    /// Where it comes from.
    pub kind: ProgramKind,
    /// What its runs are put down to: by the level that it was compiled at.
    class: RunClass,
    /// Owner of the code that `func` points into.
    backing: NativeProgram,
    /// The bytecode that it was compiled from, to compare others with. An artifact that was loaded
    /// before anybody brought the bytecode gets it from the first who has it.
    source: OnceLock<Source>,
    /// The backend's clock when it was last used; see
    /// [`ProgramCache::clock`](crate::cache::ProgramCache::clock).
    last_use: AtomicU32,
    /// The releases of programs from which on there may be the memory that was short; 0: none was.
    short_until: AtomicU64,
    /// Attempts at better code that found no memory.
    shortages: AtomicU32,
    /// Whether a helper that made better code was killed by somebody.
    was_killed: AtomicBool,
    /// Whether better code was put off: for want of a helper process, or of room in the queue.
    put_off: AtomicBool,
    /// After `backing`, for fields are dropped in their order: a release is told when the memory is
    /// free.
    _share: Share,
}

/// What the programs of a backend hold together, wherever they are.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    /// Bytes of tables and bytecode.
    pub(crate) data_bytes: Gauge,
    /// Programs dropped, each counted after its code was freed.
    pub(crate) releases: Releases,
}

/// One program's part of the [`Holdings`], taken back on drop.
struct Share {
    holdings: Arc<Holdings>,
    data_bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.holdings.data_bytes.subtract(self.data_bytes);
        self.holdings.releases.bump();
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
            class,
            backing,
            source,
            last_use: AtomicU32::new(0),
            short_until: AtomicU64::new(0),
            shortages: AtomicU32::new(0),
            was_killed: AtomicBool::new(false),
            put_off: AtomicBool::new(false),
            _share: Share { holdings, data_bytes },
        }
    }

    /// Whether `code` is what this was compiled from, for sure: the very bytes that are kept, or
    /// equal to them; where none are kept yet, by their hash, which `hashed` computes.
    pub(crate) fn is_of(&self, code: &Bytes, hashed: impl FnOnce() -> Source) -> bool {
        if code.len() != self.backing.bytecode_len() {
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

    /// What it was compiled from, if somebody has brought that.
    pub(crate) fn source(&self) -> Option<&Source> {
        self.source.get()
    }

    /// Places a chunk that was absent; frames that run meanwhile meet it when they come by.
    pub(crate) fn publish(
        &self,
        chunk: &CompiledChunk,
        region: &Arc<CodeRegion>,
    ) -> Result<(), CompileError> {
        self.backing.publish(chunk, region)
    }

    /// How often frames met a chunk that was absent.
    pub(crate) fn misses(&self, chunk: Chunk) -> u32 {
        self.backing.absent_hits(chunk.as_u32() as usize)
    }

    /// Frames that met a JUMPDEST which was guessed not to be jumped to.
    pub(crate) fn wrong_guesses(&self) -> u32 {
        self.backing.wrong_guesses()
    }

    /// Bytes of executable memory, tables and bytecode held.
    pub(crate) fn bytes(&self) -> u64 {
        self.backing.code_bytes() as u64 + data_bytes(&self.backing)
    }

    /// What its runs are put down to.
    #[inline]
    pub(crate) const fn class(&self) -> RunClass {
        self.class
    }

    /// Notes a use: a load, and a store if the clock has gone on since the last.
    #[inline]
    pub(crate) fn touch(&self, clock: u32) {
        if self.last_use.load(Relaxed) != clock {
            self.last_use.store(clock, Relaxed);
        }
    }

    /// The backend's clock when the program was last used.
    pub(crate) fn last_use(&self) -> u32 {
        self.last_use.load(Relaxed)
    }

    /// Notes that a part of it found no memory, after so many releases of programs.
    pub(crate) fn note_shortage(&self, releases: u64) {
        self.short_until.store(releases + 1, Relaxed);
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
        self.backing.opcodes()
    }

    /// Runs of this program that were handed over to the interpreter.
    pub(crate) fn hand_overs(&self) -> u64 {
        self.backing.hand_overs()
    }

    /// Whether a frame of this program can go on natively at `pc` now.
    #[inline]
    pub(crate) fn is_enterable(&self, pc: usize) -> bool {
        self.backing.is_enterable(pc)
    }

    /// Whether halts of frames that ran natively are reported as `OutOfGas`.
    #[inline]
    pub(crate) fn has_single_error(&self) -> bool {
        self.backing.has_single_error()
    }
}

/// Bytes of tables and bytecode that a program holds. The bytecode counts also where it isn't there
/// yet, so that a program doesn't grow when it comes.
fn data_bytes(backing: &NativeProgram) -> u64 {
    (backing.data_bytes() + backing.bytecode_len()) as u64
}

/// Tells a bytecode from all others that are alive: where it is. Clones are one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeId(usize);

impl CodeId {
    #[inline(always)]
    pub(crate) fn of(code: &Bytecode) -> Self {
        // A part of what clones share, whose content isn't looked at here.
        Self(std::ptr::from_ref(code.bytecode()).addr())
    }

    /// One of `places`, a power of two, for what is kept by it. Allocations of one size lie at
    /// multiples of something, so more bits take part than are needed.
    #[inline(always)]
    pub(crate) const fn place(self, places: usize) -> usize {
        (self.0 >> 4 ^ self.0 >> 9) % places
    }
}

/// A program, and a bytecode that was found to be what it was compiled from.
#[derive(Clone)]
pub(crate) struct Verified {
    program: Arc<CompiledProgram>,
    /// Held, so that no other bytecode can be where this is.
    code: Bytecode,
}

impl Verified {
    /// `None` if the program was compiled from other code. Costs the comparison of
    /// [`is_of`](CompiledProgram::is_of).
    pub(crate) fn new(program: &Arc<CompiledProgram>, code: &Bytecode) -> Option<Self> {
        let hashed = || Source::of(code, program.key.spec_id);
        let is_own = code.is_legacy() && program.is_of(&code.original_bytes(), hashed);
        is_own.then(|| Self { program: Arc::clone(program), code: code.clone() })
    }

    /// The same program for `code`, if it was compiled from that as well.
    pub(crate) fn for_code(&self, code: &Bytecode) -> Option<Self> {
        match CodeId::of(&self.code) == CodeId::of(code) {
            true => Some(self.clone()),
            false => Self::new(&self.program, code),
        }
    }

    /// Bytes of the bytecode held.
    pub(crate) fn code_len(&self) -> usize {
        self.code.len()
    }

    /// The program.
    #[cfg(test)]
    pub(crate) const fn program(&self) -> &Arc<CompiledProgram> {
        &self.program
    }

    /// Goes on with a frame natively from the entry point at its pc, as
    /// [`EvmCompilerFn::go_on`] does, with the EVM's own tables for what isn't native. Nothing is
    /// done if there is no such entry point, or the frame isn't one of the bytecode that was
    /// verified.
    #[inline]
    pub(crate) fn go_on<H: Host>(
        &self,
        interpreter: &mut Interpreter<EthInterpreter>,
        host: &mut H,
        instructions: &InstructionTable<EthInterpreter, H>,
        gas_table: &GasTable,
    ) -> NativeRun {
        let fits = interpreter.runtime_flag.spec_id == self.key.spec_id
            && CodeId::of(&interpreter.bytecode) == CodeId::of(&self.code);
        if !fits {
            return NativeRun::NotEntered;
        }
        // SAFETY: `self.program` keeps the code alive during the call, for `self` is borrowed. It
        // was compiled for this spec (checked above) and from this bytecode: the frame's is the
        // very object `self.code` (checked above, and nothing else can be in its place while it is
        // held), which never changes, and which `new` has compared with what the program was
        // compiled from.
        unsafe { self.func.go_on(interpreter, host, instructions, gas_table) }
    }
}

impl Deref for Verified {
    type Target = CompiledProgram;

    #[inline]
    fn deref(&self) -> &CompiledProgram {
        &self.program
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler_pool::CompilerPool;
    use cranevm_codegen::CompilerOptions;
    use revm::{
        bytecode::{Bytecode, opcode::*},
        context_interface::host::DummyHost,
        interpreter::{
            SharedMemory,
            instructions::{gas_table_spec, instruction_table},
            interpreter::{ExtBytecode, InputsImpl, STACK_LIMIT},
        },
        primitives::hardfork::SpecId,
    };

    const SPEC: SpecId = SpecId::CANCUN;
    const CODE: [u8; 4] = [PUSH1, 1, PUSH0, STOP];

    fn program() -> Arc<CompiledProgram> {
        let compilers = CompilerPool::new(CompilerOptions::default(), 0, 1 << 20);
        Arc::new(compilers.started(&CODE, SPEC).0)
    }

    fn bytecode(code: &[u8]) -> Bytecode {
        Bytecode::new_legacy(code.to_vec().into())
    }

    /// Runs a program on a frame of `code`, on a fork, with room for so many words.
    fn go_on(program: &Verified, code: &Bytecode, spec_id: SpecId, words: usize) -> NativeRun {
        let bytecode = ExtBytecode::new(code.clone());
        let (memory, inputs) = (SharedMemory::new(), InputsImpl::default());
        let mut frame = Interpreter::new(memory, bytecode, inputs, false, spec_id, 1_000_000);
        *frame.stack.data_mut() = Vec::with_capacity(words);
        let (instructions, gas_table) = (instruction_table(), gas_table_spec(spec_id));
        program.go_on(&mut frame, &mut DummyHost::new(spec_id), &instructions, &gas_table)
    }

    /// Compiled code writes to the stack without a look at its capacity, and the checks of the
    /// EVM's limit are all that bounds it.
    #[test]
    fn w19_a_stack_without_room_for_1024_words_isnt_run_on() {
        let code = bytecode(&CODE);
        let program = Verified::new(&program(), &code).unwrap();
        let go_on = |words| go_on(&program, &code, SPEC, words);
        assert_eq!(go_on(STACK_LIMIT), NativeRun::Ended);
        assert_eq!(go_on(STACK_LIMIT - 1), NativeRun::NotEntered);
        assert_eq!(go_on(0), NativeRun::NotEntered);
    }

    #[test]
    fn a_frame_of_another_contract_or_fork_isnt_entered() {
        let (program, code) = (program(), bytecode(&CODE));
        let verified = Verified::new(&program, &code).unwrap();
        assert_eq!(go_on(&verified, &code, SpecId::PRAGUE, STACK_LIMIT), NativeRun::NotEntered);
        let same_length = [PUSH1, 2, PUSH0, STOP];
        for other in [&CODE[..3], &same_length] {
            assert!(Verified::new(&program, &bytecode(other)).is_none());
            assert!(verified.for_code(&bytecode(other)).is_none());
            let other = bytecode(other);
            assert_eq!(go_on(&verified, &other, SPEC, STACK_LIMIT), NativeRun::NotEntered);
        }
        // Two objects of the same code are verified each by itself.
        let copy = bytecode(&CODE);
        assert_eq!(go_on(&verified, &copy, SPEC, STACK_LIMIT), NativeRun::NotEntered);
        let verified = verified.for_code(&copy).unwrap();
        assert_eq!(go_on(&verified, &copy, SPEC, STACK_LIMIT), NativeRun::Ended);
    }

    /// A slice of longer code begins where that does, and an EIP-7702 designator is no contract.
    #[test]
    fn what_shares_bytes_is_told_apart() {
        let long: Bytes = [&CODE[..], &[STOP, STOP]].concat().into();
        let (whole, start) = (Bytecode::new_legacy(long.clone()), long.slice(..CODE.len()));
        let start = Bytecode::new_legacy(start);
        assert_eq!(whole.bytecode_ptr(), start.bytecode_ptr(), "the test tests nothing");
        let verified = Verified::new(&program(), &start).unwrap();
        assert_eq!(go_on(&verified, &start, SPEC, STACK_LIMIT), NativeRun::Ended);
        assert_eq!(go_on(&verified, &whole, SPEC, STACK_LIMIT), NativeRun::NotEntered);
        let designator = Bytecode::new_eip7702(Default::default());
        let compilers = CompilerPool::new(CompilerOptions::default(), 0, 1 << 20);
        let (program, _) = compilers.started(designator.original_byte_slice(), SPEC);
        assert!(Verified::new(&Arc::new(program), &designator).is_none());
    }

    /// What was loaded from an artifact knows its hash alone, until it has met its code.
    #[test]
    fn a_program_without_its_bytecode_goes_by_the_codes_hash() {
        let compilers = CompilerPool::new(CompilerOptions::default(), 0, 1 << 20);
        let source = Source::hashed(Bytes::from_static(&CODE), SPEC);
        let (_, compiled) = compilers.begin(compilers.first_tier(), &source).unwrap();
        let program = Arc::new(compilers.load_artifact(source.key(), &compiled).unwrap());
        let held = compilers.space.data_bytes();
        let other = bytecode(&[PUSH1, 2, PUSH0, STOP]);
        assert!(Verified::new(&program, &other).is_none() && program.source().is_none());
        assert!(Verified::new(&program, &bytecode(&CODE)).is_some());
        assert_eq!(program.source().unwrap().code(), source.code());
        let unasked = || panic!("hashed what could be compared");
        assert!(program.is_of(source.code(), unasked));
        assert!(!program.is_of(&other.original_bytes(), unasked));
        assert_eq!(compilers.space.data_bytes(), held, "its bytecode counted from the start");
        drop(program);
        assert_eq!(compilers.space.data_bytes(), 0);
    }
}
