//! Why a contract isn't compiled.

use crate::code_memory::CodeMemoryError;

/// Why a compilation failed.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// This machine isn't one that code is generated for.
    #[error("no code generator for this machine: {0}; supported are x86-64 and aarch64")]
    UnsupportedTarget(String),
    /// There is no compiler in this build.
    #[error(
        "this program was built without the feature `cranelift`: nothing can be compiled, and all \
         code is interpreted"
    )]
    NoCompiler,
    /// The bytecode is beyond a limit of the analysis.
    #[cfg(feature = "cranelift")]
    #[error(transparent)]
    Analysis(#[from] cranevm_passes::AnalysisError),
    /// The first tier can't put contracts together on this machine, or not this one.
    #[error("no code of stencils: {0}; an optimising level compiles it")]
    Stencils(String),
    /// What a level of stencils hasn't was asked for.
    #[error("code of stencils has no IR, and no chunks: choose an optimising level")]
    NotTranslated,
    /// Cranelift refused a function: an error of the translator.
    #[error("chunk {chunk} (pc {pc:#x}): Cranelift refused its code: {message}")]
    Cranelift {
        /// The chunk's index.
        chunk: u32,
        /// Offset of the chunk's first byte.
        pc: u32,
        /// What Cranelift said.
        message: String,
    },
    /// The generated code has a relocation: an error of the translator.
    #[error("chunk {chunk} (pc {pc:#x}): the code isn't position-independent")]
    Relocation {
        /// The chunk's index.
        chunk: u32,
        /// Offset of the chunk's first byte.
        pc: u32,
    },
    /// Two entry points are at one place of the bytecode, or one is beyond it: an error of the
    /// translator.
    #[error("the entry points can't be told apart by their places in the bytecode")]
    EntryPoints,
    /// A chunk was to be added to a program that it wasn't compiled for.
    #[error("the chunk was compiled for another program than the one that it was to be added to")]
    ForeignChunk,
    /// The blocks that were reached are another contract's.
    #[error("the blocks to compile were reached in another contract")]
    ForeignBlocks,
    /// The system refused the thread that was to compile.
    #[error("no thread to compile on, and the caller's stack may be too small: {problem}")]
    Thread {
        /// What the system said.
        problem: String,
    },
    /// The code couldn't be placed in executable memory.
    #[error(transparent)]
    CodeMemory(#[from] CodeMemoryError),
}
