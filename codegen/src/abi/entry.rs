//! Entering compiled code, and what a loaded program consists of.
//!
//! Function 0 of a program is its trampoline, with a [`ProgramHeader`] in the 64 bytes before
//! its first instruction: an [`EvmCompilerFn`] is one code address, and finds its tables there.
//! Entering costs the setup of an [`EvmContext`] (a few dozen stores) and one call.

use super::{EvmContext, Outcome};
use crate::{
    CompileError, CompiledCode, CompiledEntry,
    builtins::builtin_table,
    code_memory::{CodeRegion, LoadedCode},
};
use revm_interpreter::{
    GasTable, Host, InstructionResult, InstructionTable, Interpreter, InterpreterAction,
    instructions::{gas_table_spec, instruction_table},
    interpreter::{EthInterpreter, STACK_LIMIT},
    interpreter_types::{Jumps, LoopControl},
};
use revm_primitives::hardfork::SpecId;
use std::{
    marker::PhantomData,
    panic::resume_unwind,
    ptr::{self, NonNull},
    sync::{Arc, atomic::AtomicPtr},
};

/// A program's trampoline: runs from the context's entry ordinal, returns a status.
pub type RawEvmCompilerFn = unsafe extern "C" fn(NonNull<EvmContext<'_>>) -> u64;

/// Bytes reserved for the header before the trampoline's first instruction.
const HEADER_BYTES: usize = 64;

/// What lies before a trampoline.
#[repr(C)]
struct ProgramHeader {
    tables: *const ProgramTables,
}

const _: () = assert!(size_of::<ProgramHeader>() <= HEADER_BYTES);

/// The tables of a program. Boxed, so that the header can point to them.
#[derive(Debug)]
struct ProgramTables {
    spec_id: SpecId,
    single_error: bool,
    force_hand_over: Option<u32>,
    /// pc -> ordinal + 1 of the JUMPDEST there.
    jump_map: Box<[u16]>,
    /// Ordinal -> code address.
    addresses: Box<[AtomicPtr<u8>]>,
    entries: Box<[CompiledEntry]>,
    /// (pc, ordinal) of the entry points at which a frame begins or resumes, by pc.
    resume: Box<[(u32, u32)]>,
}

impl ProgramTables {
    fn new(code: &CompiledCode, loaded: &LoadedCode) -> Self {
        let mut jump_map = vec![0u16; code.code_len as usize].into_boxed_slice();
        let mut resume = Vec::new();
        for (ordinal, entry) in code.entries.iter().enumerate() {
            if entry.is_jumpdest {
                // The analysis bounds the number of entries to what fits.
                jump_map[entry.pc as usize] = (ordinal + 1) as u16;
            }
            if entry.is_continuation {
                resume.push((entry.pc, ordinal as u32));
            }
        }
        resume.sort_unstable();
        let addresses = code
            .entries
            .iter()
            .map(|entry| AtomicPtr::new(loaded.address(entry.function as usize).cast_mut()))
            .collect();
        Self {
            spec_id: code.spec_id,
            single_error: code.single_error,
            force_hand_over: code.force_hand_over,
            jump_map,
            addresses,
            entries: code.entries.clone().into_boxed_slice(),
            resume: resume.into_boxed_slice(),
        }
    }

    /// The ordinal of the entry point at which a frame with this pc begins or resumes.
    fn resume_ordinal(&self, pc: usize) -> Option<u32> {
        if pc == 0 {
            return Some(0);
        }
        let pc = u32::try_from(pc).ok()?;
        let index = self.resume.binary_search_by_key(&pc, |&(entry_pc, _)| entry_pc).ok()?;
        Some(self.resume[index].1)
    }

    /// The ordinal of any entry point at this pc. The stack is in memory there.
    fn any_ordinal(&self, pc: usize) -> Option<u32> {
        match self.jump_map.get(pc) {
            Some(&ordinal) if ordinal != 0 => Some(u32::from(ordinal) - 1),
            _ => self.resume_ordinal(pc),
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.jump_map)
            + size_of_val(&*self.addresses)
            + size_of_val(&*self.entries)
            + size_of_val(&*self.resume)
    }
}

/// A compiled contract in executable memory. Dropping it frees the code.
#[derive(Debug)]
pub struct NativeProgram {
    func: EvmCompilerFn,
    code: LoadedCode,
    /// Owned: from a `Box`, to which the header in `code` points too.
    tables: NonNull<ProgramTables>,
}

// SAFETY: the tables are never written after they are made, and are freed with their one owner.
unsafe impl Send for NativeProgram {}
// SAFETY: as above.
unsafe impl Sync for NativeProgram {}

impl Drop for NativeProgram {
    fn drop(&mut self) {
        // SAFETY: `tables` comes from `Box::leak` in `load` and is freed nowhere else.
        drop(unsafe { Box::from_raw(self.tables.as_ptr()) });
    }
}

impl NativeProgram {
    /// Places compiled code in executable memory.
    ///
    /// # Errors
    /// When the region is exhausted or the system refuses memory.
    pub fn load(code: &CompiledCode, region: &Arc<CodeRegion>) -> Result<Self, CompileError> {
        // The header needs the tables' address, the tables need the code's addresses: so the tables
        // are allocated first and filled afterwards.
        let tables = Box::<ProgramTables>::new_uninit();
        let address = tables.as_ptr() as usize;
        let mut trampoline = vec![0u8; HEADER_BYTES];
        trampoline[..size_of::<usize>()].copy_from_slice(&address.to_ne_bytes());
        trampoline.extend_from_slice(&code.functions[0]);
        let functions: Vec<&[u8]> = std::iter::once(trampoline.as_slice())
            .chain(code.functions[1..].iter().map(Vec::as_slice))
            .collect();
        let loaded = region.load(&functions)?;
        let tables = Box::leak(Box::write(tables, ProgramTables::new(code, &loaded)));
        let tables = NonNull::from(tables);
        // SAFETY: function 0 is the trampoline with its header before it, compiled by this crate
        // with the signature of `RawEvmCompilerFn`.
        let raw = unsafe {
            std::mem::transmute::<*const u8, RawEvmCompilerFn>(loaded.address(0).add(HEADER_BYTES))
        };
        Ok(Self { func: EvmCompilerFn(raw), code: loaded, tables })
    }

    fn tables(&self) -> &ProgramTables {
        // SAFETY: made in `load`, and valid until `self` is dropped.
        unsafe { self.tables.as_ref() }
    }

    /// The callable. Valid while `self` lives.
    pub fn func(&self) -> EvmCompilerFn {
        self.func
    }

    /// The fork the program was compiled for.
    pub fn spec_id(&self) -> SpecId {
        self.tables().spec_id
    }

    /// Bytes of bytecode that the program was compiled from.
    pub fn bytecode_len(&self) -> usize {
        self.tables().jump_map.len()
    }

    /// Bytes of executable memory held, whole pages.
    pub fn code_bytes(&self) -> usize {
        self.code.len()
    }

    /// Bytes of tables held.
    pub fn data_bytes(&self) -> usize {
        self.tables().bytes()
    }
}

/// A compiled contract, callable. Doesn't keep the code alive: a [`NativeProgram`] does.
#[derive(Clone, Copy, Debug, Hash)]
pub struct EvmCompilerFn(RawEvmCompilerFn);

impl From<RawEvmCompilerFn> for EvmCompilerFn {
    fn from(raw: RawEvmCompilerFn) -> Self {
        Self::new(raw)
    }
}

impl From<EvmCompilerFn> for RawEvmCompilerFn {
    fn from(func: EvmCompilerFn) -> Self {
        func.into_inner()
    }
}

impl EvmCompilerFn {
    /// Wraps a trampoline.
    pub const fn new(raw: RawEvmCompilerFn) -> Self {
        Self(raw)
    }

    /// The trampoline.
    pub const fn into_inner(self) -> RawEvmCompilerFn {
        self.0
    }

    /// Runs a frame like `Interpreter::run_plain` with revm's own instructions and prices.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    pub unsafe fn call_with_interpreter(
        self,
        interpreter: &mut Interpreter<EthInterpreter>,
        mut host: &mut dyn Host,
    ) -> InterpreterAction {
        let spec_id = interpreter.runtime_flag.spec_id;
        let (instructions, gas_table) = (instruction_table(), gas_table_spec(spec_id));
        // SAFETY: passed on to the caller.
        unsafe { self.run(interpreter, &mut host, &instructions, &gas_table) }
    }

    /// Runs a frame like `Interpreter::run_plain`, from the interpreter's pc to its end or
    /// suspension. What compiled code hands over goes on in revm's interpreter.
    ///
    /// A panic of the host is carried through compiled code and goes on unwinding here.
    ///
    /// # Safety
    /// - The program must be alive, and its [`NativeProgram`] must have been made by this crate.
    /// - The interpreter's bytecode must be the one compiled, its spec the one compiled for, and
    ///   `gas_table` revm's table of that spec.
    /// - `interpreter` must be in a state that revm brings about: its pc at an instruction, its
    ///   stack with room for 1024 words.
    #[inline]
    pub unsafe fn run<H: Host>(
        self,
        interpreter: &mut Interpreter<EthInterpreter>,
        host: &mut H,
        instructions: &InstructionTable<EthInterpreter, H>,
        gas_table: &GasTable,
    ) -> InterpreterAction {
        // SAFETY: passed on to the caller.
        unsafe { self.run_in_place(interpreter, host, instructions, gas_table) };
        interpreter.take_next_action()
    }

    /// [`run`](Self::run), with the action left in the interpreter, to be taken by
    /// `Interpreter::take_next_action`: it is large, and moving it costs as much as a few opcodes.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline]
    pub unsafe fn run_in_place<H: Host>(
        self,
        interpreter: &mut Interpreter<EthInterpreter>,
        host: &mut H,
        instructions: &InstructionTable<EthInterpreter, H>,
        gas_table: &GasTable,
    ) {
        // SAFETY: a live program has its header before the trampoline, pointing to its tables.
        let tables = unsafe { self.tables() };
        debug_assert_eq!(tables.spec_id, interpreter.runtime_flag.spec_id);
        let mut entry = tables.resume_ordinal(interpreter.bytecode.pc());
        loop {
            let Some(ordinal) = entry else {
                interpret(interpreter, host, instructions, gas_table);
                break;
            };
            // SAFETY: passed on to the caller; `ordinal` is one of the program's.
            match unsafe { self.enter(tables, ordinal, interpreter, host, instructions) } {
                Outcome::Ended(result) => {
                    if interpreter.bytecode.action().is_none() {
                        interpreter.halt(result);
                    }
                    break;
                }
                _ if tables.force_hand_over.is_none() => entry = None,
                _ => match step_to_entry(tables, interpreter, host, instructions, gas_table) {
                    Some(ordinal) => entry = Some(ordinal),
                    None => break,
                },
            }
        }
        if tables.single_error {
            collapse_halt_reason(interpreter.bytecode.action());
        }
    }

    /// # Safety
    /// The program must be alive.
    unsafe fn tables<'a>(self) -> &'a ProgramTables {
        let header = (self.0 as *const u8).wrapping_sub(HEADER_BYTES).cast::<ProgramHeader>();
        // SAFETY: `NativeProgram::load` placed the header there, and its tables live as long.
        unsafe { &*(*header).tables }
    }

    /// Enters compiled code once, and leaves the interpreter in the state at the exit.
    ///
    /// # Safety
    /// As [`run`](Self::run); `ordinal` must be one of the program's.
    #[inline]
    unsafe fn enter<H: Host>(
        self,
        tables: &ProgramTables,
        ordinal: u32,
        interpreter: &mut Interpreter<EthInterpreter>,
        host: &mut H,
        instructions: &InstructionTable<EthInterpreter, H>,
    ) -> Outcome {
        let mut context = new_context(tables, ordinal, interpreter, host, instructions);
        // SAFETY: the trampoline of a live program; the context's pointers are valid during the
        // call, and no reference to what they point to is used until it returns.
        let status = unsafe { (self.0)(NonNull::from(&mut context)) };
        let outcome = Outcome::from_status(status);
        interpreter.gas.set_remaining(context.gas);
        if !matches!(outcome, Outcome::Ended(_)) {
            leave_unfinished(tables, interpreter, context, outcome);
        }
        outcome
    }
}

/// After an exit that leaves the frame in the middle: goes on unwinding, or gives the interpreter
/// the pc and the stack to go on with.
#[cold]
fn leave_unfinished(
    tables: &ProgramTables,
    interpreter: &mut Interpreter<EthInterpreter>,
    mut context: EvmContext<'_>,
    outcome: Outcome,
) {
    let pc = match outcome {
        Outcome::Ended(_) => return,
        Outcome::Panicked => match context.panic.take() {
            Some(payload) => resume_unwind(payload),
            None => return,
        },
        Outcome::AbsentEntry => tables.entries[context.entry as usize].pc as usize,
        Outcome::HandOver => context.pc as usize,
    };
    interpreter.bytecode.absolute_jump(pc);
    let len = context.stack_len(context.stack_top);
    // SAFETY: compiled code keeps the stack within its 1024 words (each region's bounds are checked
    // before it runs), and a hand-over has written all below the top.
    unsafe { interpreter.stack.data_mut().set_len(len) };
}

/// Interprets to the end of the run, and leaves the action in the interpreter.
#[cold]
fn interpret<H: Host>(
    interpreter: &mut Interpreter<EthInterpreter>,
    host: &mut H,
    instructions: &InstructionTable<EthInterpreter, H>,
    gas_table: &GasTable,
) {
    let action = interpreter.run_plain(instructions, gas_table, host);
    interpreter.bytecode.set_action(action);
}

/// Lays a context over an interpreter. It holds pointers, not borrows: the caller enters compiled
/// code with it before it uses any of the arguments again.
#[inline(always)]
fn new_context<'a, H: Host>(
    tables: &ProgramTables,
    ordinal: u32,
    interpreter: &mut Interpreter<EthInterpreter>,
    host: &mut H,
    instructions: &InstructionTable<EthInterpreter, H>,
) -> EvmContext<'a> {
    let stack = interpreter.stack.data_mut();
    if stack.capacity() < STACK_LIMIT {
        // Not a stack that revm made for execution: grow it, as compiled code never does.
        stack.reserve_exact(STACK_LIMIT - stack.len());
    }
    let stack_base = stack.as_mut_ptr();
    let mut context = EvmContext {
        gas: interpreter.gas.remaining(),
        stack_top: stack_base.wrapping_add(stack.len()),
        entry: u64::from(ordinal),
        pc: 0,
        memory_base: ptr::null_mut(),
        memory_len: 0,
        memory_words_end: 0,
        calldata_base: ptr::null(),
        calldata_len: 0,
        calldata_words_end: 0,
        stack_base,
        jump_map: tables.jump_map.as_ptr(),
        entry_table: tables.addresses.as_ptr(),
        builtins: builtin_table::<H>(),
        return_data_len: interpreter.return_data.0.len() as u64,
        input: ptr::null(),
        block_budget: tables.force_hand_over.map_or(0, i64::from),
        scratch: [0; 32],
        interpreter: ptr::null_mut(),
        host: ptr::from_mut(host).cast(),
        instructions: ptr::from_ref(instructions).cast(),
        in_debt: false,
        panic: None,
        _borrows: PhantomData,
    };
    context.refresh_memory(interpreter);
    // Last, for the uses of the interpreter above would invalidate them.
    context.interpreter = ptr::from_mut(interpreter);
    // SAFETY: a field of the interpreter just borrowed.
    context.input = unsafe { &raw const (*context.interpreter).input };
    context
}

/// Interprets up to the next entry point, or to the end of the run: then the action is set.
fn step_to_entry<H: Host>(
    tables: &ProgramTables,
    interpreter: &mut Interpreter<EthInterpreter>,
    host: &mut H,
    instructions: &InstructionTable<EthInterpreter, H>,
    gas_table: &GasTable,
) -> Option<u32> {
    loop {
        if let Err(result) = interpreter.step(instructions, gas_table, host) {
            if interpreter.bytecode.action().is_none() {
                interpreter.halt(result);
            }
            return None;
        }
        if let Some(ordinal) = tables.any_ordinal(interpreter.bytecode.pc()) {
            return Some(ordinal);
        }
    }
}

/// Reports an exceptional halt as `OutOfGas`. A fatal error of the database isn't a halt of the
/// EVM, and stays what it is.
fn collapse_halt_reason(action: &mut Option<InterpreterAction>) {
    if let Some(InterpreterAction::Return(result)) = action
        && result.result.is_halt()
        && result.result != InstructionResult::FatalExternalError
    {
        result.result = InstructionResult::OutOfGas;
    }
}
