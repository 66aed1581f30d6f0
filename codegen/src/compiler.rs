//! From bytecode to relocation-free machine code.
//!
//! Analyses the bytecode, then translates and compiles chunk after chunk with Cranelift, reusing
//! its contexts. Costs are linear in the bytecode: chunks bound the size of a Cranelift function.

use crate::{
    Assembler, CompileError, CompileTimings, CompiledChunk, CompiledCode, CompilerOptions,
    Decision, OpcodeSet,
    artifact::Identity,
    compiled::{CompiledEntry, FIRST_CHUNK},
    isa::{builder_for, builder_of, finish_isa, needed_machine},
    translate::{
        Scratch,
        entry::{self, EnterBy},
        translate_chunk,
    },
};
use alloy_primitives::B256;
use cranelift_codegen::{
    Context,
    control::ControlPlane,
    isa::{self, OwnedTargetIsa},
};
use cranelift_entity::EntityRef;
use cranevm_passes::{
    AnalysisError, PassOptions, ThreadLimits, analyze, analyze_timed,
    decode::compiled_opcodes,
    ir::{
        entities::Chunk,
        program::{JumpStats, Program},
    },
    timing::PassTimes,
};
use revm_primitives::hardfork::SpecId;
use std::{
    fmt,
    ops::Deref,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};
use target_lexicon::Triple;

/// Most opcodes in a chunk. Larger chunks have fewer jumps between them, which save and restore
/// registers; above, register allocation gets slower per opcode.
const CHUNK_OPCODES: u32 = 1000;

/// What was met and built in one compilation, in numbers.
#[derive(Clone, Debug, Default)]
pub struct CompileReport {
    /// Opcodes in the bytecode.
    pub opcodes: u32,
    /// Where its jumps lead.
    pub jumps: JumpStats,
    /// Basic blocks of the analysed program.
    pub blocks: u32,
    /// Instructions of Cranelift's IR, before its own passes. Compile time follows this number.
    pub clif_instructions: u32,
    /// Time spent in each pass of the analysis: what
    /// [`parse`](CompileTimings::parse) consists of.
    pub pass_times: PassTimes,
}

/// A contract as [`Compiler::compile_start`] has analysed it: what its other chunks are compiled
/// from. Nobody else can make or change one.
#[derive(Debug)]
pub struct Analysed {
    program: Program,
    /// As [`CompiledCode::id`].
    id: u64,
    /// How it was compiled, and for which machine; see [`Compiler::identifies_as`].
    made_by: (CompilerOptions, Triple),
}

impl Deref for Analysed {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

/// The number of the next analysis.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// What one chunk was translated and compiled to, for people to read.
#[derive(Clone, Debug)]
pub struct ChunkListing {
    /// The machine compiled for.
    pub target: Triple,
    /// Cranelift's IR.
    pub clif: String,
    /// The same after Cranelift's own passes.
    pub optimized_clif: String,
    /// Machine code.
    pub code: Vec<u8>,
    /// (offset in `code`, pc) where the code of an instruction begins.
    pub marks: Vec<(u32, u32)>,
}

/// A reusable compiler: it keeps Cranelift's allocations between contracts.
pub struct Compiler {
    options: CompilerOptions,
    isa: OwnedTargetIsa,
    context: Context,
    registers: regalloc2::Ctx,
    control_plane: ControlPlane,
    scratch: Scratch,
    trampoline: Vec<u8>,
    /// If the level is of stencils.
    assembler: Option<Assembler>,
    absent_stub: Vec<u8>,
    /// Instructions built for the contract at hand.
    clif_instructions: u32,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler")
            .field("options", &self.options)
            .field("target", self.isa.triple())
            .finish_non_exhaustive()
    }
}

impl Compiler {
    /// A compiler for this machine, or for the one that the options have an emulator of.
    ///
    /// # Errors
    /// When Cranelift has no code generator for it.
    pub fn new(options: CompilerOptions) -> Result<Self, CompileError> {
        Self::with_isa(options, builder_of(&options)?)
    }

    /// A compiler for another machine, without assumptions on its CPU's extensions. The code can be
    /// loaded here only if the options have an emulator of that machine.
    ///
    /// # Errors
    /// When Cranelift has no code generator for it, or the emulator is another machine's.
    pub fn for_target(options: CompilerOptions, target: Triple) -> Result<Self, CompileError> {
        match options.emulator {
            Some(emulator) if emulator.target != target.to_string() => {
                let other = emulator.target;
                let message = format!("{target}, where the emulator is of {other}");
                Err(CompileError::UnsupportedTarget(message))
            }
            _ => Self::with_isa(options, builder_for(target)?),
        }
    }

    fn with_isa(options: CompilerOptions, builder: isa::Builder) -> Result<Self, CompileError> {
        let isa = finish_isa(&options, builder)?;
        let assembler = match options.opt_level.optimises() {
            true => None,
            false => Some(Assembler::with_isa(options, &*isa)?),
        };
        let mut compiler = Self {
            options,
            assembler,
            isa,
            context: Context::new(),
            registers: regalloc2::Ctx::default(),
            control_plane: ControlPlane::default(),
            scratch: Scratch::default(),
            trampoline: Vec::new(),
            absent_stub: Vec::new(),
            clif_instructions: 0,
        };
        if compiler.assembler.is_some() {
            // Stencils have their own.
            return Ok(compiler);
        }
        let mut unused = CompileTimings::default();
        let target = compiler.isa.frontend_config();
        entry::trampoline(
            target,
            EnterBy::Chunk,
            &mut compiler.context.func,
            &mut compiler.scratch.builder,
        );
        compiler.trampoline = compiler.finish((0, 0), &mut unused)?.code_buffer().to_vec();
        compiler.context.clear();
        entry::absent_stub(target, &mut compiler.context.func, &mut compiler.scratch.builder);
        compiler.absent_stub = compiler.finish((0, 0), &mut unused)?.code_buffer().to_vec();
        Ok(compiler)
    }

    /// Version of Cranelift.
    pub const CRANELIFT: &str = cranelift_codegen::VERSION;

    /// What an artifact of this compiler's code tells of it. `code_hash` is the bytecode's.
    pub fn identity(&self, code_hash: B256) -> Identity {
        Identity {
            code_hash,
            options: self.options,
            machine: needed_machine(&*self.isa),
            cranelift: Self::CRANELIFT.to_owned(),
        }
    }

    /// The options given to [`new`](Self::new).
    pub fn options(&self) -> &CompilerOptions {
        &self.options
    }

    /// Sets [`foreign`](CompilerOptions::foreign), for contracts that are begun from now on. Those
    /// that were begun before are gone on with as they were.
    pub const fn set_foreign(&mut self, foreign: OpcodeSet) {
        self.options.foreign = foreign;
    }

    /// Compiles a contract for one fork.
    ///
    /// # Errors
    /// When the bytecode is beyond a limit, or on an error of the translator.
    pub fn compile(&mut self, code: &[u8], spec_id: SpecId) -> Result<CompiledCode, CompileError> {
        let (analysed, mut compiled) = self.compile_start(code, spec_id)?;
        for chunk in later_chunks(&analysed) {
            let function = self.compile_chunk(&analysed, chunk, &mut compiled.timings)?;
            compiled.place_chunk(function)?;
        }
        compiled.report.clif_instructions = self.clif_instructions;
        Ok(compiled)
    }

    /// Compiles the chunk that a contract starts in, so that it can run as soon as may be. The
    /// other chunks are absent; they are [`compile_chunk`](Self::compile_chunk)'s.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_start(
        &mut self,
        code: &[u8],
        spec_id: SpecId,
    ) -> Result<(Analysed, CompiledCode), CompileError> {
        if let Some(assembler) = &self.assembler {
            let mut compiled = assembler.compile(code, spec_id, self.options.foreign)?;
            compiled.id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
            let program =
                Program::without_blocks(spec_id, compiled.code_len, compiled.report.opcodes);
            let (id, made_by) = (compiled.id, self.identifies_as());
            return Ok((Analysed { program, id, made_by }, compiled));
        }
        let mut timings = CompileTimings::default();
        let start = Instant::now();
        let (program, pass_times) = analyze_timed(code, &self.pass_options(spec_id))?;
        timings.parse = start.elapsed();
        self.clif_instructions = 0;
        let first = self.compile_timed(&program, Chunk::from_u32(0), &mut timings)?;
        let mut functions = vec![self.trampoline.clone(), self.absent_stub.clone(), first];
        functions.resize(FIRST_CHUNK + program.chunks.len(), Vec::new());
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let compiled = CompiledCode {
            id,
            spec_id,
            code_len: program.code_len,
            single_error: self.options.single_error,
            force_hand_over: self.options.force_hand_over,
            opcodes: compiled_opcodes(code, spec_id, self.options.foreign),
            foreign: self.options.foreign,
            functions,
            entries: compiled_entries(&program),
            jumpdests: Box::default(),
            initial_memory: program.initial_memory(),
            emulator: self.options.emulator,
            timings,
            report: CompileReport {
                opcodes: program.opcode_count,
                jumps: program.jump_stats(),
                blocks: program.blocks.len() as u32,
                clif_instructions: self.clif_instructions,
                pass_times,
            },
        };
        Ok((Analysed { program, id, made_by: self.identifies_as() }, compiled))
    }

    /// Compiles one chunk of a program, for [`CompiledCode::place_chunk`]. Adds the time spent to `timings`.
    ///
    /// # Errors
    /// As [`compile`](Self::compile), and [`CompileError::ForeignChunk`] if the contract was
    /// analysed by a compiler of other options (but for the foreign opcodes) or for another
    /// machine.
    pub fn compile_chunk(
        &mut self,
        analysed: &Analysed,
        chunk: Chunk,
        timings: &mut CompileTimings,
    ) -> Result<CompiledChunk, CompileError> {
        let Analysed { program, id, made_by } = analysed;
        if *made_by != self.identifies_as() || program.chunks.get(chunk).is_none() {
            return Err(CompileError::ForeignChunk);
        }
        Ok(CompiledChunk { id: *id, chunk, code: self.compile_timed(program, chunk, timings)? })
    }

    /// The analysed program that [`compile`](Self::compile) translates.
    ///
    /// # Errors
    /// When the bytecode is beyond a limit of the analysis.
    pub fn analyze(&self, code: &[u8], spec_id: SpecId) -> Result<Program, CompileError> {
        Ok(analyze(code, &self.pass_options(spec_id))?)
    }

    /// What compilers must have in common whose chunks make one program. Which opcodes are foreign
    /// was settled by the analysis, and may have changed since.
    fn identifies_as(&self) -> (CompilerOptions, Triple) {
        let options = CompilerOptions { foreign: OpcodeSet::ZERO, ..self.options };
        (options, self.isa.triple().clone())
    }

    fn pass_options(&self, spec_id: SpecId) -> PassOptions {
        PassOptions {
            spec_id,
            chunk_limit: CHUNK_OPCODES,
            work_limit: self.options.work_limit,
            one_block_per_chunk: self.options.one_block_per_chunk,
            compile_all: self.options.compile_all,
            thread_limits: ThreadLimits::default(),
            verify: self.options.verify,
            skip: self.options.skipped_passes(),
            foreign: self.options.foreign,
        }
    }

    /// Compiles one chunk of an analysed program, and shows what became of it.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn list_chunk(
        &mut self,
        program: &Program,
        chunk: Chunk,
    ) -> Result<ChunkListing, CompileError> {
        let clif = self.translate_only(program, chunk)?;
        let compiled = self.finish(place(program, chunk), &mut CompileTimings::default())?;
        let optimized_clif = self.context.func.display().to_string();
        let locations = compiled.buffer.get_srclocs_sorted().iter();
        let marks = locations
            .filter(|location| !location.loc.is_default())
            .map(|location| (location.start, location.loc.bits()))
            .collect();
        let (target, code) = (self.isa.triple().clone(), compiled.code_buffer().to_vec());
        Ok(ChunkListing { target, clif, optimized_clif, code, marks })
    }

    /// Puts a contract together, and shows what became of it, with marks at entry points; `None` at a
    /// level that isn't of stencils.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn list_stencils(
        &self,
        code: &[u8],
        spec_id: SpecId,
    ) -> Result<Option<ChunkListing>, CompileError> {
        let Some(assembler) = &self.assembler else { return Ok(None) };
        let CompiledCode { functions, entries, .. } =
            assembler.compile(code, spec_id, self.options.foreign)?;
        Ok(Some(ChunkListing {
            target: self.isa.triple().clone(),
            clif: String::new(),
            optimized_clif: String::new(),
            code: functions.concat().split_off(functions[..FIRST_CHUNK].iter().map(Vec::len).sum()),
            marks: entries.iter().map(|entry| (entry.offset, entry.pc)).collect(),
        }))
    }

    /// Cranelift's IR of one chunk, which isn't compiled: for one that Cranelift refuses.
    ///
    /// # Errors
    /// If the options ask for verification, a defect of the translation.
    pub fn translate_only(
        &mut self,
        program: &Program,
        chunk: Chunk,
    ) -> Result<String, CompileError> {
        self.translate(program, chunk, true)?;
        Ok(self.context.func.display().to_string())
    }

    /// What [`chaos`](CompilerOptions::chaos) does to a contract, in the order of the numbers.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn decisions(
        &mut self,
        code: &[u8],
        spec_id: SpecId,
    ) -> Result<Vec<Decision>, CompileError> {
        let program = self.analyze(code, spec_id)?;
        let mut decisions = Vec::new();
        for chunk in program.chunks.keys() {
            self.translate(&program, chunk, false)?;
            decisions.append(&mut self.scratch.decisions);
        }
        decisions.sort_unstable_by_key(|decision| decision.number);
        Ok(decisions)
    }

    fn compile_timed(
        &mut self,
        program: &Program,
        chunk: Chunk,
        timings: &mut CompileTimings,
    ) -> Result<Vec<u8>, CompileError> {
        if program.chunks[chunk].entries.is_empty() {
            return Ok(Vec::new());
        }
        let start = Instant::now();
        self.translate(program, chunk, false)?;
        self.clif_instructions += self.context.func.dfg.num_insts() as u32;
        timings.translate += start.elapsed();
        Ok(self.finish(place(program, chunk), timings)?.code_buffer().to_vec())
    }

    fn translate(
        &mut self,
        program: &Program,
        chunk: Chunk,
        marks: bool,
    ) -> Result<(), CompileError> {
        if self.assembler.is_some() {
            return Err(CompileError::NotTranslated);
        }
        self.context.clear();
        let target = self.isa.frontend_config();
        let func = &mut self.context.func;
        let scratch = &mut self.scratch;
        translate_chunk(program, chunk, &self.options, marks, target, func, scratch)
            .map_err(|defect| AnalysisError::from(defect).into())
    }

    /// Compiles the function in the context, and makes sure that it can be loaded anywhere. `place`
    /// is the chunk's index and pc, for errors.
    fn finish(
        &mut self,
        place: (u32, u32),
        timings: &mut CompileTimings,
    ) -> Result<cranelift_codegen::CompiledCode, CompileError> {
        let (chunk, pc) = place;
        let isa = &*self.isa;
        let start = Instant::now();
        let optimized = self.context.optimize(isa, &mut self.control_plane);
        let optimized_at = Instant::now();
        let compiled = optimized.and_then(|()| {
            let (func, domtree) = (&self.context.func, &self.context.domtree);
            isa.compile_function(func, domtree, &mut self.registers, false, &mut self.control_plane)
        });
        timings.optimize += optimized_at - start;
        timings.codegen += optimized_at.elapsed();
        let compiled = compiled.map_err(|error| CompileError::Cranelift {
            chunk,
            pc,
            message: cranelift_codegen::print_errors::pretty_error(&self.context.func, error),
        })?;
        if !compiled.buffer.relocs().is_empty() {
            return Err(CompileError::Relocation { chunk, pc });
        }
        Ok(compiled.apply_params(&self.context.func.params))
    }
}

/// The entry points of a program: those of its chunks, and those that always hand over.
fn compiled_entries(program: &Program) -> Vec<CompiledEntry> {
    let of_chunks = program.entries.values().map(|entry| CompiledEntry {
        pc: entry.pc,
        function: CompiledCode::function_of(program.blocks[entry.block].chunk.index()),
        offset: 0,
        is_jumpdest: entry.is_jumpdest,
        is_continuation: entry.is_continuation,
    });
    let absent = program.absent_targets().map(|block| CompiledEntry {
        pc: block.pc,
        function: CompiledCode::ABSENT_STUB,
        offset: 0,
        is_jumpdest: true,
        is_continuation: false,
    });
    of_chunks.chain(absent).collect()
}

/// The chunks of a program that [`Compiler::compile_start`] leaves absent.
pub fn later_chunks(program: &Program) -> impl Iterator<Item = Chunk> {
    program.chunks.keys().skip(1)
}

/// A chunk's index, and the offset of its first byte in the bytecode.
fn place(program: &Program, chunk: Chunk) -> (u32, u32) {
    let pc = program.chunk_blocks(chunk).next().map_or(0, |block| program.blocks[block].pc);
    (chunk.as_u32(), pc)
}
