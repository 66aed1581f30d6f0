//! What stands for the compiler and its code memory where they aren't built: types without values,
//! so that who uses them is the same with and without the feature `cranelift`. Only
//! [`Compiler::new`] and [`CodeRegion::new`] can be called; both refuse.

use crate::{
    CompileError, CompileTimings, CompiledChunk, CompiledCode, CompilerOptions, EvmCompilerFn,
    Reached, artifact::Identity, code_memory::CodeMemoryError,
};
use alloy_primitives::{B256, U256};
use revm_primitives::hardfork::SpecId;
use std::{convert::Infallible, iter, sync::Arc};

/// A set of opcodes: the bit whose index is the opcode's byte tells whether it is in the set.
pub type OpcodeSet = U256;

/// No compiler.
#[derive(Debug)]
pub struct Compiler(Infallible);

/// No assembler.
#[derive(Clone, Debug)]
pub struct Assembler(Infallible);

impl Assembler {
    /// Refuses.
    ///
    /// # Errors
    /// [`CompileError::NoCompiler`].
    pub const fn new(_options: CompilerOptions) -> Result<Self, CompileError> {
        Err(CompileError::NoCompiler)
    }

    /// Never called.
    pub const fn compile(
        &self,
        _code: &[u8],
        _spec_id: SpecId,
        _foreign: OpcodeSet,
    ) -> Result<CompiledCode, CompileError> {
        match self.0 {}
    }

    /// Never called.
    pub const fn compile_reached(
        &self,
        _code: &[u8],
        _spec_id: SpecId,
        _foreign: OpcodeSet,
        _reached: &Reached,
    ) -> Result<CompiledCode, CompileError> {
        match self.0 {}
    }
}

/// No analysed program.
#[derive(Debug)]
pub struct Analysed(Infallible);

/// No chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk(Infallible);

/// No memory for code.
#[derive(Debug)]
pub struct CodeRegion(Infallible);

/// No compiled contract in memory.
#[derive(Debug)]
pub struct NativeProgram(Infallible);

/// No numbers of a compilation.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompileReport;

impl Compiler {
    /// No version of Cranelift.
    pub const CRANELIFT: &str = "none";

    /// Never called.
    pub fn identity(&self, _code_hash: B256) -> Identity {
        match self.0 {}
    }

    /// Refuses.
    ///
    /// # Errors
    /// [`CompileError::NoCompiler`].
    pub const fn new(_options: CompilerOptions) -> Result<Self, CompileError> {
        Err(CompileError::NoCompiler)
    }

    /// Never called.
    pub const fn set_foreign(&mut self, _foreign: OpcodeSet) {
        match self.0 {}
    }

    /// Never called.
    pub fn compile(
        &mut self,
        _code: &[u8],
        _spec_id: SpecId,
    ) -> Result<CompiledCode, CompileError> {
        match self.0 {}
    }

    /// Never called.
    pub fn compile_start(
        &mut self,
        _code: &[u8],
        _spec_id: SpecId,
    ) -> Result<(Analysed, CompiledCode), CompileError> {
        match self.0 {}
    }

    /// Never called.
    pub fn compile_chunk(
        &mut self,
        _analysed: &Analysed,
        _chunk: Chunk,
        _timings: &mut CompileTimings,
    ) -> Result<CompiledChunk, CompileError> {
        match self.0 {}
    }
}

/// Never called.
pub fn later_chunks(analysed: &Analysed) -> iter::Empty<Chunk> {
    match analysed.0 {}
}

impl Chunk {
    /// Never called.
    pub const fn as_u32(self) -> u32 {
        match self.0 {}
    }
}

impl CodeRegion {
    /// Refuses.
    ///
    /// # Errors
    /// [`CodeMemoryError::NotBuilt`].
    pub const fn new(_bytes: usize) -> Result<Arc<Self>, CodeMemoryError> {
        Err(CodeMemoryError::NotBuilt)
    }

    /// Never called.
    pub const fn reserved_bytes(&self) -> usize {
        match self.0 {}
    }

    /// Never called.
    pub const fn mapped_bytes(&self) -> usize {
        match self.0 {}
    }

    /// Never called.
    pub const fn used_bytes(&self) -> usize {
        match self.0 {}
    }

    /// Never called.
    pub const fn merge_pages(&self, _most: usize) -> usize {
        match self.0 {}
    }

    /// Never called.
    pub const fn how(&self) -> &str {
        match self.0 {}
    }
}

impl NativeProgram {
    /// Refuses, as there is no region.
    pub fn load(_code: &CompiledCode, region: &Arc<CodeRegion>) -> Result<Self, CompileError> {
        match region.0 {}
    }

    /// Never called.
    pub const fn is_enterable(&self, _pc: usize) -> bool {
        match self.0 {}
    }

    /// Never called.
    pub const fn has_single_error(&self) -> bool {
        match self.0 {}
    }

    /// Never called.
    pub const fn hand_overs(&self) -> u64 {
        match self.0 {}
    }

    /// Never called.
    pub const fn wrong_guesses(&self) -> u32 {
        match self.0 {}
    }

    /// Never called.
    pub const fn func(&self) -> EvmCompilerFn {
        match self.0 {}
    }

    /// Never called.
    pub const fn bytecode_len(&self) -> usize {
        match self.0 {}
    }

    /// Never called.
    pub const fn opcodes(&self) -> OpcodeSet {
        match self.0 {}
    }

    /// Never called.
    pub const fn code_bytes(&self) -> usize {
        match self.0 {}
    }

    /// Never called.
    pub const fn data_bytes(&self) -> usize {
        match self.0 {}
    }
}

/// Files for people, of which there are none.
pub mod dump {
    use super::Compiler;
    use revm_primitives::hardfork::SpecId;

    /// No file.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DumpFile {
        /// Its name.
        pub name: &'static str,
        /// Its contents.
        pub contents: Vec<u8>,
    }

    /// Never called.
    pub const fn dump(compiler: &mut Compiler, _code: &[u8], _spec_id: SpecId) -> Vec<DumpFile> {
        match compiler.0 {}
    }
}
