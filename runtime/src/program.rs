//! A compiled contract together with what keeps its code alive.
//!
//! The one place of this crate that enters compiled code. [`CompiledProgram`] is made only by the
//! compilation path, which compiles for its key and loads the result, so the code behind
//! [`func`](CompiledProgram::func) belongs to the key, and lives as long as the program.

#![expect(unsafe_code, reason = "entering compiled code")]

use crate::{
    lookup::RuntimeCacheKey,
    stats::{Gauge, Releases},
};
use cranevm_codegen::{
    Chunk, CompileError, EvmCompilerFn, NativeProgram, NativeRun, code_memory::CodeRegion,
};
use revm::interpreter::{
    GasTable, Host, InstructionTable, Interpreter,
    interpreter::{EthInterpreter, STACK_LIMIT},
};
use std::{
    fmt,
    sync::{
        Arc,
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
    /// Owner of the code that `func` points into.
    backing: NativeProgram,
    /// Bytes of the bytecode compiled.
    code_len: usize,
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
    /// Bytes of tables.
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
    /// Wraps loaded code. `backing` must be what the code of `key` was compiled to.
    pub(crate) fn new(
        key: RuntimeCacheKey,
        kind: ProgramKind,
        backing: NativeProgram,
        holdings: Arc<Holdings>,
    ) -> Self {
        let data_bytes = backing.data_bytes() as u64;
        holdings.data_bytes.add(data_bytes);
        let _share = Share { holdings, data_bytes };
        let (func, code_len) = (backing.func(), backing.bytecode_len());
        Self {
            func,
            key,
            kind,
            backing,
            code_len,
            last_use: AtomicU32::new(0),
            short_until: AtomicU64::new(0),
            shortages: AtomicU32::new(0),
            was_killed: AtomicBool::new(false),
            put_off: AtomicBool::new(false),
            _share,
        }
    }

    /// Places a chunk that was absent; frames that run meanwhile meet it when they come by.
    pub(crate) fn publish(
        &self,
        chunk: Chunk,
        code: &[u8],
        region: &Arc<CodeRegion>,
    ) -> Result<(), CompileError> {
        self.backing.publish(chunk.as_u32() as usize, code, region)
    }

    /// How often frames met a chunk that was absent.
    pub(crate) fn misses(&self, chunk: Chunk) -> u32 {
        self.backing.absent_hits(chunk.as_u32() as usize)
    }

    /// Frames that met a JUMPDEST which was guessed not to be jumped to.
    pub(crate) fn wrong_guesses(&self) -> u32 {
        self.backing.wrong_guesses()
    }

    /// Bytes of executable memory and tables held.
    pub(crate) fn bytes(&self) -> u64 {
        (self.backing.code_bytes() + self.backing.data_bytes()) as u64
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

    /// Runs of this program that were handed over to the interpreter.
    pub(crate) fn hand_overs(&self) -> u64 {
        self.backing.hand_overs()
    }

    /// Goes on with a frame natively from the entry point at its pc, as
    /// [`EvmCompilerFn::go_on`] does, with the EVM's own tables for what isn't native. Nothing is
    /// done if there is no such entry point, or the frame isn't one of this program.
    ///
    /// Whether the frame's code is this program's is told by its hash, which the caller has
    /// compared and revm vouches for. The checks here catch what would break memory safety: a pc
    /// beyond the code, or a stack without room.
    #[inline]
    pub(crate) fn go_on<H: Host>(
        &self,
        interpreter: &mut Interpreter<EthInterpreter>,
        host: &mut H,
        instructions: &InstructionTable<EthInterpreter, H>,
        gas_table: &GasTable,
    ) -> NativeRun {
        let fits = interpreter.runtime_flag.spec_id == self.key.spec_id
            && interpreter.bytecode.is_legacy()
            && interpreter.bytecode.len() == self.code_len
            && interpreter.stack.data().capacity() >= STACK_LIMIT;
        if !fits {
            return NativeRun::NotEntered;
        }
        // SAFETY: `self.backing` keeps the code alive during the call, for `self` is borrowed. It
        // was compiled for this spec and for bytecode of this length (checked above) and of this
        // hash (compared by the caller).
        unsafe { self.func.go_on(interpreter, host, instructions, gas_table) }
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
            interpreter::{ExtBytecode, InputsImpl},
        },
        primitives::hardfork::SpecId,
    };

    const SPEC: SpecId = SpecId::CANCUN;
    const CODE: [u8; 4] = [PUSH1, 1, PUSH0, STOP];

    /// Runs [`CODE`]'s program on a frame of `code`, on a fork, with room for so many words.
    fn go_on(code: &[u8], spec_id: SpecId, words: usize) -> NativeRun {
        let compilers = CompilerPool::new(CompilerOptions::default(), 0, 1 << 20);
        let (program, _) = compilers.started(&CODE, SPEC);
        let bytecode = ExtBytecode::new(Bytecode::new_legacy(code.to_vec().into()));
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
        assert_eq!(go_on(&CODE, SPEC, STACK_LIMIT), NativeRun::Ended);
        assert_eq!(go_on(&CODE, SPEC, STACK_LIMIT - 1), NativeRun::NotEntered);
        assert_eq!(go_on(&CODE, SPEC, 0), NativeRun::NotEntered);
    }

    #[test]
    fn a_frame_of_another_contract_or_fork_isnt_entered() {
        assert_eq!(go_on(&CODE, SpecId::PRAGUE, STACK_LIMIT), NativeRun::NotEntered);
        assert_eq!(go_on(&CODE[..3], SPEC, STACK_LIMIT), NativeRun::NotEntered);
    }
}
