//! Entering compiled code, which costs the setup of an [`EvmContext`] (a few dozen stores) and one
//! call.

use super::{
    EvmContext, Fault, Outcome, STATUS_ABSENT_ENTRY, STATUS_PANICKED,
    context::{calldata_of, has_calldata, memory_of, words_end},
    tables::{HEADER_BYTES, ProgramHeader, ProgramTables},
};
use crate::builtins::{TableVerdicts, builtin_table};
use revm_bytecode::Bytecode;
use revm_interpreter::{
    GasTable, Host, InstructionResult, InstructionTable, Interpreter, InterpreterAction,
    instructions::{gas_table_spec, instruction_table},
    interpreter::{EthInterpreter, STACK_LIMIT},
    interpreter_types::{Jumps, LoopControl},
};
use std::{
    marker::PhantomData,
    mem::ManuallyDrop,
    panic::resume_unwind,
    ptr::{self, NonNull},
};

/// A program's trampoline: runs from the context's entry ordinal, returns a status.
pub type RawEvmCompilerFn = unsafe extern "C" fn(NonNull<EvmContext<'_>>) -> u64;

/// A compiled contract, callable. Doesn't keep the code alive: a
/// [`NativeProgram`](super::NativeProgram) does.
#[derive(Clone, Copy, Debug, Hash)]
pub struct EvmCompilerFn(RawEvmCompilerFn);

/// What [`EvmCompilerFn::go_on`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeRun {
    /// There is no code for the frame's pc; nothing was done.
    NotEntered,
    /// The frame ended or suspended, and its action is in the interpreter.
    Ended,
    /// The interpreter goes on at its pc.
    HandedOver(HandOver),
    /// Compiled code broke a rule that it can't break: its frame's state can't be believed, and
    /// what it has done to the journal can't either. The interpreter's action is a
    /// `FatalExternalError`, but nobody has set an error in the host; the caller makes the
    /// transaction fail.
    Faulted(Fault),
}

/// Why compiled code handed a frame over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// It came to code that isn't there, for it was guessed not to run, or hadn't run yet.
    AbsentCode,
    /// It came to an instruction that it leaves to the interpreter, or one that may fail.
    Instruction,
}

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
    /// suspension. What compiled code hands over goes on in revm's interpreter; all of it does if
    /// `instructions` has another instruction than revm's for an opcode that code was made for.
    ///
    /// A panic of the host is carried through compiled code and goes on unwinding here. If compiled
    /// code is found to have broken a rule (a [`Fault`]), the action is `FatalExternalError`,
    /// without an error in the host: the transaction must be given up, as for a database that
    /// failed.
    ///
    /// # Safety
    /// - The program must be alive, and its
    ///   [`NativeProgram`](super::NativeProgram) must have been made by this crate.
    /// - The interpreter's bytecode must be the one compiled, its spec the one compiled for, and
    ///   `gas_table` revm's table of that spec.
    /// - `interpreter` must be in a state that revm brings about: its pc at an instruction.
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
        let stack = interpreter.stack.data_mut();
        if stack.capacity() < STACK_LIMIT {
            // Not a stack that revm made for execution. Neither engine grows one.
            stack.reserve_exact(STACK_LIMIT - stack.len());
        }
        // SAFETY: passed on to the caller.
        let tables = unsafe { self.header().tables() };
        let foreign = TableVerdicts::of_process(instructions, tables.spec_id, host);
        let run = if (foreign & tables.opcodes).is_zero() {
            // SAFETY: passed on to the caller; the instructions are revm's.
            unsafe { self.go_on(interpreter, host, instructions, gas_table) }
        } else {
            NativeRun::NotEntered
        };
        match run {
            NativeRun::Ended | NativeRun::Faulted(_) => {}
            NativeRun::NotEntered | NativeRun::HandedOver(_) => {
                interpret(interpreter, host, instructions, gas_table);
            }
        }
        if tables.single_error {
            collapse_halt_reason(interpreter.bytecode.action());
        }
    }

    /// Goes on with a frame natively from the entry point at its pc, if there is one, until the
    /// frame ends or suspends, or something isn't native.
    ///
    /// Whatever comes out, the interpreter is in a state of revm's, from which any engine can go
    /// on: so a frame that the interpreter has begun enters code that was compiled meanwhile. Halts
    /// keep their reason; [`collapse_halt_reason`] is the caller's. So is to know that
    /// `instructions` has revm's for all opcodes that the program was compiled from: compiled code
    /// does what they do, without a look at the table, which is for opcodes that aren't compiled.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline]
    pub unsafe fn go_on<H: Host>(
        self,
        interpreter: &mut Interpreter<EthInterpreter>,
        host: &mut H,
        instructions: &InstructionTable<EthInterpreter, H>,
        gas_table: &GasTable,
    ) -> NativeRun {
        // SAFETY: passed on to the caller.
        let header = unsafe { self.header() };
        // SAFETY: the program is alive.
        let tables = || unsafe { header.tables() };
        debug_assert_eq!(tables().spec_id, interpreter.runtime_flag.spec_id);
        let Some(mut ordinal) = entry_for(tables, interpreter) else {
            return NativeRun::NotEntered;
        };
        loop {
            // SAFETY: passed on to the caller; `ordinal` is one of the program's.
            match unsafe { self.enter(header, ordinal, interpreter, host) } {
                Ok(Outcome::Ended(result)) => {
                    if interpreter.bytecode.action().is_none() {
                        interpreter.halt(result);
                    }
                    return NativeRun::Ended;
                }
                Err(fault) => return give_up(interpreter, fault),
                Ok(outcome) => {
                    match step_on(tables(), outcome, interpreter, host, instructions, gas_table) {
                        Ok(next) => ordinal = next,
                        Err(run) => return run,
                    }
                }
            }
        }
    }

    /// # Safety
    /// The program must be alive, during `'a`.
    #[inline(always)]
    unsafe fn header<'a>(self) -> &'a ProgramHeader {
        let header = (self.0 as usize).wrapping_sub(HEADER_BYTES);
        // SAFETY: `NativeProgram::load` placed the header there, and exposed that.
        unsafe { &*ptr::with_exposed_provenance(header) }
    }

    /// Enters compiled code once, and leaves the interpreter in the state at the exit.
    ///
    /// # Errors
    /// If compiled code broke a rule.
    ///
    /// # Safety
    /// As [`run`](Self::run); `ordinal` must be one of the program's.
    #[inline]
    unsafe fn enter<H: Host>(
        self,
        header: &ProgramHeader,
        ordinal: u32,
        interpreter: &mut Interpreter<EthInterpreter>,
        host: &mut H,
    ) -> Result<Outcome, Fault> {
        let before = gas_in(interpreter);
        // SAFETY: passed on to the caller.
        let target = unsafe { header.address(ordinal) };
        // Not dropped: the payload of a panic, which alone would have to be, is taken below.
        let mut context =
            ManuallyDrop::new(new_context(header, (ordinal, target), interpreter, host));
        // SAFETY: the trampoline of a live program; the context's pointers are valid during the
        // call, and no reference to what they point to is used until it returns.
        let status = unsafe { (self.0)(NonNull::from(&mut *context)) };
        let gas = u64::try_from(context.gas);
        interpreter.gas.set_remaining(gas.unwrap_or(0));
        let (before, after) = (before.saturating_add(context.given), gas_in(interpreter));
        if after > before {
            return Err(Fault::Gas { before, after });
        }
        let Some(mut outcome) = Outcome::from_status(status) else {
            return Err(Fault::of_status(status));
        };
        if gas.is_err() && outcome != Outcome::Panicked {
            // Wherever the code was left: what is owed, revm would have run out of before.
            outcome = Outcome::Ended(InstructionResult::OutOfGas);
        }
        match outcome {
            Outcome::Ended(InstructionResult::Stop) => {
                leave_at(context.pc as usize, interpreter, &context)?;
            }
            Outcome::Ended(_) => {}
            _ => {
                // SAFETY: the program is alive.
                let tables = unsafe { header.tables() };
                leave_unfinished(tables, interpreter, &mut context, outcome)?;
            }
        }
        Ok(outcome)
    }
}

/// Ends a frame that can't be believed.
#[cold]
fn give_up(interpreter: &mut Interpreter<EthInterpreter>, fault: Fault) -> NativeRun {
    // An instruction may have set one, which is worth nothing.
    if interpreter.bytecode.action().is_some() {
        drop(interpreter.take_next_action());
    }
    interpreter.halt_fatal();
    NativeRun::Faulted(fault)
}

/// Where a frame can be entered as it is, if anywhere: asked at each way into compiled code, and
/// nowhere else. Gas is signed in compiled code, so a frame that has more of it than that can tell,
/// or that may get so much back, is interpreted. The stack is written to without a look at its
/// capacity, up to 1024 words, which a chain's own instruction may have made more or less of. Nor
/// is calldata looked at again: it must be where the input says. And a frame has the memory that it
/// has paid for, unless a chain's own instruction gave it some or took some away.
#[inline(always)]
fn entry_for<'a>(
    tables: impl Fn() -> &'a ProgramTables,
    interpreter: &Interpreter<EthInterpreter>,
) -> Option<u32> {
    let stack = interpreter.stack.data();
    let is_usual = gas_in(interpreter) <= i64::MAX as u64
        && stack.len() <= STACK_LIMIT
        && stack.capacity() >= STACK_LIMIT
        && has_calldata(interpreter);
    let paid = interpreter.gas.memory().words_num.saturating_mul(32);
    let memory_len = interpreter.memory.context_memory().len();
    if !is_usual || memory_len != paid {
        return None;
    }
    match interpreter.bytecode.pc() {
        0 => Some(0),
        pc => tables().entry_in_midst(pc, memory_len),
    }
}

/// What a stretch of compiled code can't make more of: the gas left, and the state gas paid from
/// it, which may come back to it (EIP-8037).
#[inline(always)]
pub(crate) fn gas_in(interpreter: &Interpreter<EthInterpreter>) -> u64 {
    interpreter.gas.remaining().saturating_add(interpreter.gas.state_gas_spilled())
}

/// After an exit that leaves the frame in the middle: goes on unwinding, or gives the interpreter
/// the pc and the stack to go on with.
///
/// # Errors
/// If its stack can't be believed.
#[cold]
fn leave_unfinished(
    tables: &ProgramTables,
    interpreter: &mut Interpreter<EthInterpreter>,
    context: &mut EvmContext<'_>,
    outcome: Outcome,
) -> Result<(), Fault> {
    let pc = match outcome {
        Outcome::Ended(_) => return Ok(()),
        Outcome::Panicked => match context.panic.take() {
            Some(payload) => resume_unwind(payload),
            None => return Err(Fault::Status(STATUS_PANICKED)),
        },
        Outcome::AbsentEntry => {
            tables.absent_pc(context.entry).ok_or(Fault::Status(STATUS_ABSENT_ENTRY))?
        }
        Outcome::HandOver | Outcome::AbsentBlock => context.pc as usize,
    };
    tables.count_hand_over();
    leave_at(pc, interpreter, context)
}

/// Gives the interpreter the pc, and the stack that compiled code has written.
///
/// # Errors
/// If the stack's top can't be where compiled code says.
#[inline]
fn leave_at(
    pc: usize,
    interpreter: &mut Interpreter<EthInterpreter>,
    context: &EvmContext<'_>,
) -> Result<(), Fault> {
    let len = context.stack_len(context.stack_top).map_err(Fault::StackPointer)?;
    interpreter.bytecode.absolute_jump(pc);
    // SAFETY: compiled code keeps the stack within its 1024 words (each region's bounds are checked
    // before it runs, and the top's place above), and who leaves so has written all below the top.
    unsafe { interpreter.stack.data_mut().set_len(len) };
    Ok(())
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

/// A context over an interpreter. It holds pointers, not borrows: the caller enters compiled code
/// with it before it uses any of the arguments again.
#[inline(always)]
fn new_context<'a, H: Host>(
    header: &ProgramHeader,
    (ordinal, target): (u32, *const u8),
    interpreter: &mut Interpreter<EthInterpreter>,
    host: &mut H,
) -> EvmContext<'a> {
    let gas = interpreter.gas.remaining().cast_signed();
    let stack = interpreter.stack.data_mut();
    let (stack_base, stack_len) = (stack.as_mut_ptr(), stack.len());
    let (memory_base, memory_len) = memory_of(interpreter);
    let (calldata_base, calldata_len) = calldata_of(interpreter);
    let return_data_len = interpreter.return_data.0.len() as u64;
    let builtins = builtin_table::<H>();
    // Last, for the uses of the interpreter above would invalidate these.
    let interpreter = ptr::from_mut(interpreter);
    // SAFETY: a field of the interpreter just borrowed.
    let input = unsafe { &raw const (*interpreter).input };
    EvmContext {
        gas,
        stack_top: stack_base.wrapping_add(stack_len),
        entry: u64::from(ordinal),
        pc: 0,
        memory_base,
        memory_len,
        memory_words_end: words_end(memory_len),
        calldata_base,
        calldata_len,
        calldata_words_end: words_end(calldata_len),
        stack_base,
        granules: header.granules(),
        entry_table: header.addresses(),
        builtins,
        grow_word: builtins.grow_word(),
        return_data_len,
        input,
        block_budget: header.block_budget(),
        ordinals: header.ordinals(),
        target,
        scratch: [0; 32],
        interpreter,
        host: ptr::from_mut(host).cast(),
        given: 0,
        panic: None,
        _borrows: PhantomData,
    }
}

/// After a hand-over: what is to be stepped over for the frame to go on natively, and the ordinal
/// of the entry point where it does.
///
/// A foreign opcode is stepped over, by the EVM's own table. What it does to its frame is the
/// client's business, so all that compiled code relies on is looked at again.
#[cold]
fn step_on<H: Host>(
    tables: &ProgramTables,
    outcome: Outcome,
    interpreter: &mut Interpreter<EthInterpreter>,
    host: &mut H,
    instructions: &InstructionTable<EthInterpreter, H>,
    gas_table: &GasTable,
) -> Result<u32, NativeRun> {
    let is_forced = tables.force_hand_over.is_some();
    let opcode = usize::from(interpreter.bytecode.opcode());
    if !is_forced && (outcome != Outcome::HandOver || !tables.foreign.bit(opcode)) {
        let why = match outcome {
            Outcome::AbsentEntry | Outcome::AbsentBlock => HandOver::AbsentCode,
            _ => HandOver::Instruction,
        };
        return Err(NativeRun::HandedOver(why));
    }
    // Held, so that no other bytecode can be where this one is.
    let bytecode = (*interpreter.bytecode).clone();
    loop {
        if let Err(result) = interpreter.step(instructions, gas_table, host) {
            if interpreter.bytecode.action().is_none() {
                interpreter.halt(result);
            }
            return Err(NativeRun::Ended);
        }
        let entry = if is_own(tables, interpreter, &bytecode) {
            entry_for(|| tables, interpreter)
        } else {
            None
        };
        match entry {
            Some(ordinal) => return Ok(ordinal),
            None if is_forced => {}
            None => return Err(NativeRun::HandedOver(HandOver::Instruction)),
        }
    }
}

/// Whether a frame is still one of the program's: of the same bytecode and fork.
fn is_own(
    tables: &ProgramTables,
    interpreter: &Interpreter<EthInterpreter>,
    bytecode: &Bytecode,
) -> bool {
    interpreter.bytecode.bytes_slice().as_ptr_range() == bytecode.bytes_slice().as_ptr_range()
        && interpreter.runtime_flag.spec_id == tables.spec_id
}

/// Reports an exceptional halt as `OutOfGas`. A fatal error of the database isn't a halt of the
/// EVM, and stays what it is.
pub fn collapse_halt_reason(action: &mut Option<InterpreterAction>) {
    if let Some(InterpreterAction::Return(result)) = action
        && result.result.is_halt()
        && result.result != InstructionResult::FatalExternalError
    {
        result.result = InstructionResult::OutOfGas;
    }
}
