//! The compiled form of a contract: machine code and entry points, as plain data.
//!
//! Made by the compiler, chunk by chunk; loaded into executable memory as a
//! [`NativeProgram`](crate::NativeProgram).

#[cfg(feature = "cranelift")]
use crate::abi::emulation::Emulator;
use crate::{Chunk, CompileReport};
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
    /// The fork compiled for.
    pub spec_id: SpecId,
    /// Bytes of bytecode.
    pub code_len: u32,
    /// Report every halt as `OutOfGas`.
    pub single_error: bool,
    /// Blocks to run natively before each forced hand-over; for tests.
    pub force_hand_over: Option<u32>,
    /// Position-independent machine code: the trampoline, the stub of absent chunks, and
    /// then the chunks. An absent chunk is empty: its entry points hand over.
    pub functions: Vec<Vec<u8>>,
    /// Entry points by ordinal.
    pub entries: Vec<CompiledEntry>,
    /// Bytes of memory that a frame must have where it is entered elsewhere than at its start.
    pub initial_memory: u32,
    /// What runs the code if it is another machine's.
    #[cfg(feature = "cranelift")]
    #[doc(hidden)]
    pub emulator: Option<Emulator>,
    /// Time spent.
    pub timings: CompileTimings,
    /// What was met and built.
    pub report: CompileReport,
}

/// An entry point of compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompiledEntry {
    /// Offset in the bytecode.
    pub pc: u32,
    /// Index in [`CompiledCode::functions`] of the chunk it is in.
    pub function: u32,
    /// Whether a jump may go here.
    pub is_jumpdest: bool,
    /// Whether a suspended frame resumes here.
    pub is_continuation: bool,
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

    /// Puts the code of an absent chunk in its place. `code` must have been compiled by
    /// [`Compiler::compile_chunk`](crate::Compiler::compile_chunk) for this chunk of this program.
    pub fn place_chunk(&mut self, chunk: Chunk, code: Vec<u8>) {
        self.functions[Self::function_of(chunk.as_u32() as usize) as usize] = code;
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.functions.iter().map(Vec::len).sum()
    }
}
