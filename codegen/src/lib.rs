//! Machine code for analysed EVM programs, by Cranelift.
//!
//! Bytecode is analysed by `cranevm-passes`, translated chunk by chunk to Cranelift's IR
//! (`translate`, `words`) and compiled to relocation-free machine code ([`Compiler`]), or put together
//! from machine code that was made before ([`Assembler`], `stencils`), and placed in executable memory
//! ([`code_memory`]). [`EvmCompilerFn`] runs it over a revm interpreter
//! ([`abi`]); what isn't machine code is a builtin or revm's own instruction.

#![deny(unsafe_code)]
#![cfg_attr(
    not(feature = "cranelift"),
    expect(dead_code, unused_imports, reason = "what only compiled code and its loader use")
)]

#[cfg(not(feature = "cranelift"))]
mod absent;
#[cfg(not(feature = "cranelift"))]
pub use absent::{
    Analysed, Assembler, Chunk, CompileReport, Compiler, NativeProgram, OpcodeSet, dump,
    later_chunks,
};

#[expect(unsafe_code, reason = "the boundary to compiled code")]
pub mod abi;
pub mod artifact;
#[cfg(feature = "cranelift")]
mod assembler;
#[expect(unsafe_code, reason = "called from compiled code with pointers")]
mod builtins;
mod chaos;
#[cfg_attr(feature = "cranelift", expect(unsafe_code, reason = "maps and protects memory"))]
pub mod code_memory;
mod compiled;
#[cfg(feature = "cranelift")]
mod compiler;
mod deep_stack;
#[cfg(feature = "disassemble")]
pub mod disassemble;
#[cfg(feature = "disassemble")]
pub mod dump;
mod error;
#[cfg(feature = "cranelift")]
mod isa;
mod options;
mod reached;
#[cfg(feature = "cranelift")]
mod sources;
#[cfg(feature = "cranelift")]
mod stencils;
#[cfg(feature = "cranelift")]
mod translate;
#[cfg(feature = "cranelift")]
mod words;

pub use abi::{
    EvmCompilerFn, EvmContext, Fault, HandOver, NativeRun, RawEvmCompilerFn, collapse_halt_reason,
};
pub use builtins::{TableVerdicts, delegated_instructions, native_opcodes};
pub use chaos::{Chaos, Decision, Perturbation};
pub use compiled::{CompileTimings, CompiledChunk, CompiledCode};
#[cfg(feature = "cranelift")]
pub use compiler::{Analysed, ChunkListing, CompileReport, Compiler, later_chunks};
#[cfg(feature = "cranelift")]
pub use cranevm_passes::{
    PassSet, WorkLimit,
    ir::{entities::Chunk, opcode::OpcodeSet, program::Program},
};
pub use deep_stack::{COMPILER_STACK, mark_deep_stack, on_deep_stack};
pub use error::CompileError;
#[cfg(feature = "cranelift")]
pub use target_lexicon::Triple;
#[cfg(feature = "cranelift")]
pub use {abi::NativeProgram, assembler::Assembler};

/// Whether there is a compiler in this build: the feature `cranelift`.
pub const HAS_COMPILER: bool = cfg!(feature = "cranelift");

pub use options::{CompilerOptions, OptimizationLevel, Stencils};
pub use reached::Reached;
