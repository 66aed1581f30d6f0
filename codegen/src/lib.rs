//! Machine code for analysed EVM programs, by Cranelift.
//!
//! Bytecode is analysed by `cranevm-passes`, translated chunk by chunk to Cranelift's IR
//! (`translate`), compiled to relocation-free machine code ([`Compiler`]), and placed in
//! executable memory ([`code_memory`]). [`EvmCompilerFn`] runs it over a revm interpreter
//! ([`abi`]); what isn't machine code is a builtin or revm's own instruction.

#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "the boundary to compiled code")]
pub mod abi;
#[expect(unsafe_code, reason = "called from compiled code with pointers")]
mod builtins;
#[expect(unsafe_code, reason = "maps and protects memory")]
pub mod code_memory;
mod compiled;
mod compiler;
#[cfg(feature = "disassemble")]
pub mod disassemble;
#[cfg(feature = "disassemble")]
pub mod dump;
mod error;
mod options;
mod translate;

pub use abi::{
    EvmCompilerFn, EvmContext, NativeProgram, NativeRun, RawEvmCompilerFn, collapse_halt_reason,
};
pub use builtins::delegated_instructions;
pub use compiled::{CompileTimings, CompiledCode, CompiledEntry};
pub use compiler::{ChunkListing, CompileReport, Compiler};
pub use cranevm_passes::{
    PassSet, WorkLimit,
    ir::{entities::Chunk, program::Program},
};
pub use error::CompileError;
pub use options::{CompilerOptions, OptimizationLevel};
