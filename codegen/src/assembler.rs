//! From bytecode to relocation-free machine code of stencils.
//!
//! An [`Assembler`] is shared: it keeps nothing between contracts, so any number of threads put
//! contracts together by one, and none waits for another.
//!
//! Cost: making the first for a machine takes some 25 milliseconds of processor time, for the
//! stencils, which the process keeps; a contract takes some 40 nanoseconds a byte.

use crate::{
    CompileError, CompileReport, CompileTimings, CompiledCode, CompilerOptions, OpcodeSet, Reached,
    Stencils,
    isa::{builder_of, finish_isa},
    stencils::{FirstTier, sample},
};
use cranelift_codegen::isa::TargetIsa;
use revm_primitives::hardfork::SpecId;
use std::{sync::Arc, time::Instant};

/// Puts contracts together from stencils.
#[derive(Clone, Debug)]
pub struct Assembler {
    first_tier: Arc<FirstTier>,
    options: CompilerOptions,
}

impl Assembler {
    /// An assembler for this machine, or for the one that the options have an emulator of, whatever
    /// level they ask for.
    ///
    /// # Errors
    /// When Cranelift has no code generator for the machine, or its code for a stencil isn't of the
    /// shape that is needed.
    pub fn new(options: CompilerOptions) -> Result<Self, CompileError> {
        Self::with_isa(options, &*finish_isa(&options, builder_of(&options)?)?)
    }

    /// An assembler for the machine of a code generator.
    pub(crate) fn with_isa(
        options: CompilerOptions,
        isa: &dyn TargetIsa,
    ) -> Result<Self, CompileError> {
        Ok(Self { first_tier: FirstTier::of(isa)?, options })
    }

    /// Puts a contract together for one fork: whole, without chunks to come. `foreign` takes the
    /// place of [`CompilerOptions::foreign`].
    ///
    /// # Errors
    /// When the bytecode is beyond a limit, or a branch doesn't reach its target.
    pub fn compile(
        &self,
        code: &[u8],
        spec_id: SpecId,
        foreign: OpcodeSet,
    ) -> Result<CompiledCode, CompileError> {
        let sampled = match self.options.stencils {
            Stencils::Sampled(seed) => Some(sample(code, spec_id, foreign, seed)),
            _ => None,
        };
        self.assemble(code, sampled.as_ref(), spec_id, foreign)
    }

    /// Puts together what was reached of a contract. Code that comes to anything else of it hands
    /// over.
    ///
    /// # Errors
    /// Those of [`compile`](Self::compile).
    pub fn compile_reached(
        &self,
        code: &[u8],
        spec_id: SpecId,
        foreign: OpcodeSet,
        reached: &Reached,
    ) -> Result<CompiledCode, CompileError> {
        if reached.code_len() != code.len() {
            return Err(CompileError::ForeignBlocks);
        }
        self.assemble(code, Some(reached), spec_id, foreign)
    }

    fn assemble(
        &self,
        code: &[u8],
        reached: Option<&Reached>,
        spec_id: SpecId,
        foreign: OpcodeSet,
    ) -> Result<CompiledCode, CompileError> {
        let start = Instant::now();
        let options = CompilerOptions { foreign, ..self.options };
        let assembled = self.first_tier.compile(code, reached, spec_id, &options)?;
        Ok(CompiledCode {
            id: 0,
            spec_id,
            code_len: code.len() as u32,
            single_error: options.single_error,
            force_hand_over: options.force_hand_over,
            opcodes: assembled.opcodes,
            foreign,
            functions: self.first_tier.functions(assembled.code),
            entries: assembled.entries,
            jumpdests: reached.map(|reached| reached.jumpdests(code).into()).unwrap_or_default(),
            initial_memory: 0,
            emulator: options.emulator,
            timings: CompileTimings { codegen: start.elapsed(), ..CompileTimings::default() },
            report: CompileReport {
                opcodes: assembled.instructions,
                blocks: assembled.blocks,
                ..CompileReport::default()
            },
        })
    }
}
