//! The compiled form of a contract: machine code and entry points, as plain data.
//!
//! Made by the compiler, chunk by chunk, or from an artifact; loaded into executable memory as a
//! [`NativeProgram`](crate::NativeProgram). What is loaded can be entered, so nobody else can make
//! or change one: chunks are added only to the program that they were compiled for.

#[cfg(feature = "cranelift")]
use crate::abi::emulation::Emulator;
use crate::{Chunk, CompileError, CompileReport, OpcodeSet};
use revm_primitives::hardfork::SpecId;
use std::{ops::AddAssign, time::Duration};

/// Time spent in each phase of a compilation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompileTimings {
    /// Decoding and analysis of the bytecode.
    pub parse: Duration,
    /// Building Cranelift's IR.
    pub translate: Duration,
    /// Cranelift's passes on its IR.
    pub optimize: Duration,
    /// Lowering, register allocation and emission.
    pub codegen: Duration,
}

impl AddAssign for CompileTimings {
    fn add_assign(&mut self, more: Self) {
        self.parse += more.parse;
        self.translate += more.translate;
        self.optimize += more.optimize;
        self.codegen += more.codegen;
    }
}

/// The compiled form of a contract: plain data without addresses, so that it can be
/// loaded anywhere.
#[derive(Clone, Debug)]
pub struct CompiledCode {
    /// Which analysis its chunks come from; 0 if it is whole.
    pub(crate) id: u64,
    /// The fork compiled for.
    pub(crate) spec_id: SpecId,
    /// Bytes of bytecode.
    pub(crate) code_len: u32,
    /// Report every halt as `OutOfGas`.
    pub(crate) single_error: bool,
    /// Blocks to run natively before each forced hand-over; for tests.
    pub(crate) force_hand_over: Option<u32>,
    /// Opcodes of the bytecode that code is made for: it does what revm's instructions do.
    pub(crate) opcodes: OpcodeSet,
    /// Opcodes that weren't compiled, for their instruction isn't known to be revm's.
    pub(crate) foreign: OpcodeSet,
    /// Position-independent machine code: the trampoline, the stub of absent chunks, and
    /// then the chunks. An absent chunk is empty: its entry points hand over.
    pub(crate) functions: Vec<Vec<u8>>,
    /// Entry points by ordinal.
    pub(crate) entries: Vec<CompiledEntry>,
    /// Valid jump targets, as bits by pc, if not all of them are entry points.
    pub(crate) jumpdests: Box<[u64]>,
    /// Bytes of memory that a frame must have where it is entered elsewhere than at its start.
    pub(crate) initial_memory: u32,
    /// What runs the code if it is another machine's.
    #[cfg(feature = "cranelift")]
    pub(crate) emulator: Option<Emulator>,
    /// Time spent.
    pub timings: CompileTimings,
    /// What was met and built.
    pub report: CompileReport,
}

/// The machine code of one chunk, for the program that it was compiled for. Empty if the chunk has
/// no entry point, hence never runs.
#[derive(Debug)]
pub struct CompiledChunk {
    /// As [`CompiledCode::id`].
    pub(crate) id: u64,
    pub(crate) chunk: Chunk,
    pub(crate) code: Vec<u8>,
}

impl CompiledChunk {
    /// Makes sure that the chunk is one of the program with this number.
    pub(crate) const fn check(&self, id: u64) -> Result<(), CompileError> {
        if self.id == id { Ok(()) } else { Err(CompileError::ForeignChunk) }
    }
}

/// An entry point of compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompiledEntry {
    /// Offset in the bytecode.
    pub(crate) pc: u32,
    /// Index in [`CompiledCode::functions`] of the chunk it is in.
    pub(crate) function: u32,
    /// Where in the function's code it is: not at its begin if that is of stencils.
    pub(crate) offset: u32,
    /// Whether a jump may go here.
    pub(crate) is_jumpdest: bool,
    /// Whether a suspended frame resumes here.
    pub(crate) is_continuation: bool,
}

/// Functions before the first chunk in [`CompiledCode::functions`].
pub(crate) const FIRST_CHUNK: usize = 2;

impl CompiledCode {
    /// The stub of absent chunks in [`functions`](Self::functions).
    pub(crate) const ABSENT_STUB: u32 = 1;

    /// Where a chunk is in [`functions`](Self::functions).
    pub(crate) const fn function_of(chunk: usize) -> u32 {
        (FIRST_CHUNK + chunk) as u32
    }

    /// Number of chunks.
    pub fn chunks(&self) -> usize {
        self.functions.len().saturating_sub(FIRST_CHUNK)
    }

    /// Puts the code of an absent chunk in its place.
    ///
    /// # Errors
    /// [`CompileError::ForeignChunk`] if it was compiled for another program.
    pub fn place_chunk(&mut self, compiled: CompiledChunk) -> Result<(), CompileError> {
        compiled.check(self.id)?;
        let function = Self::function_of(compiled.chunk.as_u32() as usize);
        self.functions[function as usize] = compiled.code;
        Ok(())
    }

    /// Whether the code of all entry points is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.entries.iter().all(|entry| {
            let function = entry.function;
            function != Self::ABSENT_STUB && !self.functions[function as usize].is_empty()
        })
    }

    /// Bytes of the bytecode.
    pub const fn code_len(&self) -> u32 {
        self.code_len
    }

    /// Machine code: the trampoline, the stub of absent chunks, and then the chunks, of which an
    /// absent one is empty.
    pub fn functions(&self) -> &[Vec<u8>] {
        &self.functions
    }

    /// Number of entry points.
    pub const fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.functions.iter().map(Vec::len).sum()
    }
}
