//! The first tier's compiler: stencils and entry for one machine, shared by all who compile for it.

use super::{
    assemble::{AssembleError, Assembled, Settings, assemble},
    key::{Action, Key, Leave},
    machine::Machine,
    make::Maker,
    set::StencilSet,
    stencil::{Link, LinkKind, StencilError},
    writer,
};
use crate::{
    CompileError, CompilerOptions, Reached, Stencils,
    isa::stencil_isa,
    translate::entry::{EnterBy, absent_stub, trampoline},
};
use cranelift_codegen::{Context, control::ControlPlane, isa::TargetIsa};
use cranelift_frontend::FunctionBuilderContext;
use cranevm_passes::{AnalysisError, MAX_CODE_LEN};
use revm_primitives::hardfork::SpecId;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, TryLockError},
    thread,
};

/// Longest stencil that is copied in place of being called, in bytes. Copies run quicker where they
/// run often, and take more room in caches where they don't. With 24, 32, 40 and 48 deployed
/// contracts become 11.4, 11.7, 11.9 and 13.1 bytes of code for each byte of bytecode.
const MOST_COPIED: usize = 40;

/// The same in loops, where it is worth more bytes: all but exchanges with deep words, and accesses
/// to memory.
const MOST_COPIED_IN_LOOPS: usize = 88;

/// Puts contracts together for one machine.
pub(crate) struct FirstTier {
    set: StencilSet,
    /// How a program is entered from Rust: sets up the frame that all stencils run in.
    entry: Vec<u8>,
    /// What stands for chunks that aren't there, in every program; no entry leads to it.
    absent_stub: Vec<u8>,
}

impl fmt::Debug for FirstTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstTier").field("machine", &self.set.machine).finish_non_exhaustive()
    }
}

/// What has been made in this process, by machine and what its processor has: as many as there are
/// machines that somebody compiles for.
static MADE: Mutex<Made> = Mutex::new(Vec::new());

type Made = Vec<(String, Arc<FirstTier>)>;

/// Tries for a moment: in a child that was forked, whoever held the lock isn't there. Who doesn't
/// get it makes a set of its own.
fn try_lock_made() -> Option<MutexGuard<'static, Made>> {
    for _ in 0..100 {
        match MADE.try_lock() {
            Ok(made) => return Some(made),
            Err(TryLockError::Poisoned(made)) => return Some(made.into_inner()),
            Err(TryLockError::WouldBlock) => thread::yield_now(),
        }
    }
    None
}

impl FirstTier {
    /// The first tier for the machine of a code generator. The first time it is made, which takes
    /// some 25 ms.
    ///
    /// # Errors
    /// If the machine isn't known, or Cranelift's code for it isn't of the shape that stencils
    /// have.
    pub(crate) fn of(isa: &dyn TargetIsa) -> Result<Arc<Self>, CompileError> {
        let flags: Vec<_> = isa.isa_flags().into_iter().map(|flag| flag.to_string()).collect();
        let name = format!("{} {}", isa.triple(), flags.join(" "));
        let known = |made: &Made| made.iter().find(|(known, _)| *known == name).cloned();
        if let Some((_, known)) = try_lock_made().and_then(|made| known(&made)) {
            return Ok(known);
        }
        let machine = Machine::of(isa.triple())
            .ok_or_else(|| CompileError::UnsupportedTarget(isa.triple().to_string()))?;
        let stencils = |error: StencilError| CompileError::Stencils(error.to_string());
        let [inner, frames] = [stencil_isa(isa, false)?, stencil_isa(isa, true)?];
        let set = StencilSet::make(&*inner, &*frames, machine).map_err(stencils)?;
        let entry = make_entry(&*frames, machine).map_err(stencils)?;
        let absent_stub = make_absent_stub(&*frames).map_err(stencils)?;
        let new = Arc::new(Self { set, entry, absent_stub });
        if let Some(mut made) = try_lock_made() {
            if let Some((_, known)) = known(&made) {
                // Another thread was quicker.
                return Ok(known);
            }
            made.push((name, Arc::clone(&new)));
        }
        Ok(new)
    }

    /// Puts a contract together: whole, or what was reached of it.
    ///
    /// # Errors
    /// If the bytecode is beyond a limit of the analysis, or a branch doesn't reach its target.
    pub(crate) fn compile(
        &self,
        code: &[u8],
        reached: Option<&Reached>,
        spec_id: SpecId,
        options: &CompilerOptions,
    ) -> Result<Assembled, CompileError> {
        if code.len() > MAX_CODE_LEN {
            let (found, limit) = (code.len(), MAX_CODE_LEN);
            return Err(AnalysisError::CodeTooLong { found, limit }.into());
        }
        let (most_copied, most_copied_in_loops) = match options.stencils {
            Stencils::ByLength | Stencils::Sampled(_) => (MOST_COPIED, MOST_COPIED_IN_LOOPS),
            Stencils::Copied => (usize::MAX, usize::MAX),
            Stencils::Called => (0, 0),
        };
        let settings = Settings {
            spec_id,
            foreign: options.foreign,
            counts_blocks: options.force_hand_over.is_some(),
            asserts: options.debug_assertions,
            most_copied,
            most_copied_in_loops,
        };
        // On aarch64 not all branches reach over a mebibyte: then in as few bytes as can be.
        let called = Settings { most_copied: 0, most_copied_in_loops: 0, ..settings };
        let assembled = match assemble(&self.set, code, reached, settings) {
            Err(AssembleError::TooFar(_)) => assemble(&self.set, code, reached, called),
            assembled => assembled,
        };
        assembled.map_err(|error| match error {
            AssembleError::Analysis(error) => error.into(),
            AssembleError::TooFar(error) => CompileError::Stencils(error.to_string()),
        })
    }

    /// The functions of a program whose contract's code is this.
    pub(crate) fn functions(&self, code: Vec<u8>) -> Vec<Vec<u8>> {
        vec![self.entry.clone(), self.absent_stub.clone(), code]
    }
}

/// The stub of chunks that aren't there, as the optimising tier's programs have it.
fn make_absent_stub(frames: &dyn TargetIsa) -> Result<Vec<u8>, StencilError> {
    let (mut context, mut scratch) = (Context::new(), FunctionBuilderContext::new());
    absent_stub(frames.frontend_config(), &mut context.func, &mut scratch);
    let compiled = context
        .compile(frames, &mut ControlPlane::default())
        .map_err(|error| StencilError::Cranelift { key: STATUS, error: error.inner })?;
    Ok(compiled.code_buffer().to_vec())
}

/// What code that isn't a stencil is told of by, where it can't be made.
const STATUS: Key = Key { action: Action::Leave(Leave::Status), top: Leave::Status.top() };

/// The entry from Rust: calls what sets up the frame and jumps to a block.
fn make_entry(frames: &dyn TargetIsa, machine: Machine) -> Result<Vec<u8>, StencilError> {
    let key = STATUS;
    let shape = |what| StencilError::Shape { key, what };
    let mut context = Context::new();
    let mut scratch = FunctionBuilderContext::new();
    let enter = EnterBy::Call(writer::signature(Leave::Status.top()));
    trampoline(frames.frontend_config(), enter, &mut context.func, &mut scratch);
    let compiled = context
        .compile(frames, &mut ControlPlane::default())
        .map_err(|error| StencilError::Cranelift { key, error: error.inner })?;
    let mut code = compiled.code_buffer().to_vec();
    let [relocation] = compiled.buffer.relocs() else {
        return Err(shape("the entry calls something else than the frame's begin"));
    };
    let link = Link { at: relocation.offset, kind: LinkKind::Far };
    code.resize(code.len().next_multiple_of(machine.alignment()), 0);
    let begin = code.len();
    code.extend(Maker::new(frames, machine).prologue(key)?);
    machine.jump_to_top(&mut code);
    machine.link(&mut code, link, begin).map_err(|_| shape("the entry is too long"))?;
    Ok(code)
}
