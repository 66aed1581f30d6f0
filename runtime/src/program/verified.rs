//! Programs for a bytecode that was found to be what they were compiled from, and entering them:
//! the one place of this crate that enters compiled code.
//!
//! Who has a [`Verified`] keeps the program alive. What EVMs keep is a [`Known`], which doesn't.

#![expect(unsafe_code, reason = "entering compiled code")]

use super::{CompiledProgram, Executing, ProgramEntry};
use crate::{hotness::Cold, source::Source};
use cranevm_codegen::NativeRun;
use revm::{
    bytecode::Bytecode,
    interpreter::{GasTable, Host, InstructionTable, Interpreter, interpreter::EthInterpreter},
};
use std::{
    ops::Deref,
    sync::{Arc, Weak},
};

/// Tells a bytecode from all others that are alive: where it is. Clones are one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeId(usize);

impl CodeId {
    #[inline(always)]
    pub(crate) fn of(code: &Bytecode) -> Self {
        // A part of what clones share, whose content isn't looked at here.
        Self(std::ptr::from_ref(code.bytecode()).addr())
    }

    /// One of `places`, a power of two, for what is kept by it. Allocations of one size lie at
    /// multiples of something, so more bits take part than are needed.
    #[inline(always)]
    pub(crate) const fn place(self, places: usize) -> usize {
        (self.0 >> 4 ^ self.0 >> 9) % places
    }
}

/// A program, and a bytecode that was found to be what it was compiled from.
#[derive(Clone)]
pub(crate) struct Verified {
    program: Arc<CompiledProgram>,
    /// Held, so that no other bytecode can be where this is.
    code: Bytecode,
}

impl Verified {
    /// `None` if the program was compiled from other code. Costs the comparison of
    /// [`is_of`](CompiledProgram::is_of).
    pub(crate) fn new(program: &Arc<CompiledProgram>, code: &Bytecode) -> Option<Self> {
        let hashed = || Source::of(code, program.key.spec_id);
        let is_own = code.is_legacy() && program.is_of(&code.original_bytes(), hashed);
        is_own.then(|| Self { program: Arc::clone(program), code: code.clone() })
    }

    /// The same program for `code`, if it was compiled from that as well.
    pub(crate) fn for_code(&self, code: &Bytecode) -> Option<Self> {
        match CodeId::of(&self.code) == CodeId::of(code) {
            true => Some(self.clone()),
            false => Self::new(&self.program, code),
        }
    }

    /// The program alone, without keeping it alive.
    pub(crate) fn downgrade(&self) -> Weak<CompiledProgram> {
        Arc::downgrade(&self.program)
    }

    /// The program alone.
    pub(crate) fn into_program(self) -> Arc<CompiledProgram> {
        self.program
    }

    /// The program.
    #[cfg(test)]
    pub(crate) const fn program(&self) -> &Arc<CompiledProgram> {
        &self.program
    }

    /// Goes on with a frame natively from the entry point at its pc, as
    /// [`EvmCompilerFn::go_on`](cranevm_codegen::EvmCompilerFn::go_on) does, with the EVM's own
    /// tables for what isn't native. Nothing is done if there is no such entry point, or the frame
    /// isn't one of the bytecode that was verified.
    #[inline]
    pub(crate) fn go_on<H: Host>(
        &self,
        interpreter: &mut Interpreter<EthInterpreter>,
        host: &mut H,
        instructions: &InstructionTable<EthInterpreter, H>,
        gas_table: &GasTable,
    ) -> NativeRun {
        if !fits(self.entry(), &self.code, interpreter) {
            return NativeRun::NotEntered;
        }
        // SAFETY: `self.program` keeps the code alive during the call, for `self` is borrowed. It
        // was compiled for this spec and from this bytecode: `fits` has checked that, and `new` has
        // compared `self.code` with what the program was compiled from.
        unsafe { self.func.go_on(interpreter, host, instructions, gas_table) }
    }
}

impl Deref for Verified {
    type Target = CompiledProgram;

    #[inline]
    fn deref(&self) -> &CompiledProgram {
        &self.program
    }
}

/// Whether a frame is of the fork that an entry's program was compiled for, and of this very
/// bytecode: nothing else can be where that is while it is held, and it never changes.
#[inline(always)]
fn fits(entry: &ProgramEntry, code: &Bytecode, interpreter: &Interpreter<EthInterpreter>) -> bool {
    interpreter.runtime_flag.spec_id == entry.key.spec_id
        && CodeId::of(&interpreter.bytecode) == CodeId::of(code)
}

/// What an EVM keeps of a [`Verified`] program: it may be gone.
#[derive(Clone)]
pub(crate) struct Known {
    entry: Arc<ProgramEntry>,
    program: Weak<CompiledProgram>,
    /// What counts its runs, if it is of the first tier.
    cold: Option<Arc<Cold>>,
    /// Held, so that no other bytecode can be where this is.
    code: Bytecode,
}

impl Known {
    /// What is to be known of a program, whose runs are counted by `cold`, if they are.
    pub(crate) fn new(verified: &Verified, cold: Option<Arc<Cold>>) -> Self {
        let Verified { program, code } = verified;
        Self {
            entry: Arc::clone(program.entry()),
            program: Arc::downgrade(program),
            cold,
            code: code.clone(),
        }
    }

    /// What counts its runs, if it is of the first tier.
    #[inline(always)]
    pub(crate) const fn cold(&self) -> Option<&Arc<Cold>> {
        self.cold.as_ref()
    }

    /// The way in.
    #[inline]
    pub(crate) fn entry(&self) -> &ProgramEntry {
        &self.entry
    }

    /// Bytes of the bytecode held.
    pub(crate) fn code_len(&self) -> usize {
        self.code.len()
    }

    /// Whether it is of this very program.
    #[cold]
    fn is_of(&self, program: &Verified) -> bool {
        Arc::ptr_eq(&self.entry, program.entry())
    }

    /// The program, kept alive; `None` if it is gone.
    pub(crate) fn pin(&self) -> Option<Verified> {
        Some(Verified { program: self.program.upgrade()?, code: self.code.clone() })
    }

    /// [`Verified::go_on`], for an EVM that says in `executing` that it does. `None` if the
    /// backend is to be asked again, unless this is the program that is `pinned`: nothing was done.
    #[inline]
    pub(crate) fn go_on<H: Host>(
        &self,
        (executing, pinned): (&Executing, Option<&Verified>),
        interpreter: &mut Interpreter<EthInterpreter>,
        host: &mut H,
        instructions: &InstructionTable<EthInterpreter, H>,
        gas_table: &GasTable,
    ) -> Option<NativeRun> {
        if !fits(&self.entry, &self.code, interpreter) {
            return Some(NativeRun::NotEntered);
        }
        let _executing = executing.begin(&self.entry);
        if !self.entry.is_current() && !pinned.is_some_and(|pinned| self.is_of(pinned)) {
            return None;
        }
        // SAFETY: the code is alive during the call, for `pinned` keeps it so, or for it is freed
        // only after its entry was revoked, and then only if no EVM is found to execute by it. This
        // one was said to before the entry was found not to be revoked, with the fence in between
        // that lets one of the two be seen (`crate::reclaim` has the other half). Which code it is,
        // is as in `Verified::go_on`.
        Some(unsafe { self.entry.func.go_on(interpreter, host, instructions, gas_table) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler_pool::CompilerPool;
    use alloy_primitives::Bytes;
    use cranevm_codegen::CompilerOptions;
    use revm::{
        bytecode::{Bytecode, opcode::*},
        context_interface::host::DummyHost,
        interpreter::{
            SharedMemory,
            instructions::{gas_table_spec, instruction_table},
            interpreter::{ExtBytecode, InputsImpl, STACK_LIMIT},
        },
        primitives::hardfork::SpecId,
    };

    const SPEC: SpecId = SpecId::CANCUN;
    const CODE: [u8; 4] = [PUSH1, 1, PUSH0, STOP];

    fn program() -> Arc<CompiledProgram> {
        let compilers = CompilerPool::new(CompilerOptions::default(), 0, 1 << 20);
        Arc::new(compilers.started(&CODE, SPEC).0)
    }

    fn bytecode(code: &[u8]) -> Bytecode {
        Bytecode::new_legacy(code.to_vec().into())
    }

    /// Runs a program on a frame of `code`, on a fork, with room for so many words.
    fn go_on(program: &Verified, code: &Bytecode, spec_id: SpecId, words: usize) -> NativeRun {
        let bytecode = ExtBytecode::new(code.clone());
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
        let code = bytecode(&CODE);
        let program = Verified::new(&program(), &code).unwrap();
        let go_on = |words| go_on(&program, &code, SPEC, words);
        assert_eq!(go_on(STACK_LIMIT), NativeRun::Ended);
        assert_eq!(go_on(STACK_LIMIT - 1), NativeRun::NotEntered);
        assert_eq!(go_on(0), NativeRun::NotEntered);
    }

    #[test]
    fn a_frame_of_another_contract_or_fork_isnt_entered() {
        let (program, code) = (program(), bytecode(&CODE));
        let verified = Verified::new(&program, &code).unwrap();
        assert_eq!(go_on(&verified, &code, SpecId::PRAGUE, STACK_LIMIT), NativeRun::NotEntered);
        let same_length = [PUSH1, 2, PUSH0, STOP];
        for other in [&CODE[..3], &same_length] {
            assert!(Verified::new(&program, &bytecode(other)).is_none());
            assert!(verified.for_code(&bytecode(other)).is_none());
            let other = bytecode(other);
            assert_eq!(go_on(&verified, &other, SPEC, STACK_LIMIT), NativeRun::NotEntered);
        }
        // Two objects of the same code are verified each by itself.
        let copy = bytecode(&CODE);
        assert_eq!(go_on(&verified, &copy, SPEC, STACK_LIMIT), NativeRun::NotEntered);
        let verified = verified.for_code(&copy).unwrap();
        assert_eq!(go_on(&verified, &copy, SPEC, STACK_LIMIT), NativeRun::Ended);
    }

    /// A slice of longer code begins where that does, and an EIP-7702 designator is no contract.
    #[test]
    fn what_shares_bytes_is_told_apart() {
        let long: Bytes = [&CODE[..], &[STOP, STOP]].concat().into();
        let (whole, start) = (Bytecode::new_legacy(long.clone()), long.slice(..CODE.len()));
        let start = Bytecode::new_legacy(start);
        assert_eq!(whole.bytecode_ptr(), start.bytecode_ptr(), "the test tests nothing");
        let verified = Verified::new(&program(), &start).unwrap();
        assert_eq!(go_on(&verified, &start, SPEC, STACK_LIMIT), NativeRun::Ended);
        assert_eq!(go_on(&verified, &whole, SPEC, STACK_LIMIT), NativeRun::NotEntered);
        let designator = Bytecode::new_eip7702(Default::default());
        let compilers = CompilerPool::new(CompilerOptions::default(), 0, 1 << 20);
        let (program, _) = compilers.started(designator.original_byte_slice(), SPEC);
        assert!(Verified::new(&Arc::new(program), &designator).is_none());
    }

    /// What was loaded from an artifact knows its hash alone, until it has met its code.
    #[test]
    fn a_program_without_its_bytecode_goes_by_the_codes_hash() {
        let compilers = CompilerPool::new(CompilerOptions::default(), 0, 1 << 20);
        let source = Source::hashed(Bytes::from_static(&CODE), SPEC);
        let (_, compiled) = compilers.begin(compilers.first_tier(), &source).unwrap();
        let program = Arc::new(compilers.load_artifact(source.key(), &compiled).unwrap());
        let held = compilers.space.data_bytes();
        let other = bytecode(&[PUSH1, 2, PUSH0, STOP]);
        assert!(Verified::new(&program, &other).is_none() && program.source().is_none());
        assert!(Verified::new(&program, &bytecode(&CODE)).is_some());
        assert_eq!(program.source().unwrap().code(), source.code());
        let unasked = || panic!("hashed what could be compared");
        assert!(program.is_of(source.code(), unasked));
        assert!(!program.is_of(&other.original_bytes(), unasked));
        assert_eq!(compilers.space.data_bytes(), held, "its bytecode counted from the start");
        drop(program);
        assert_eq!(compilers.space.data_bytes(), 0);
    }
}
