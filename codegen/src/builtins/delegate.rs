//! Delegated opcodes: revm's own instruction, from the EVM's own table, on the synced interpreter.

use crate::abi::{EvmContext, STATUS_CONTINUE, STATUS_PANICKED};
use revm_interpreter::{
    Host, InstructionContext, InstructionExecResult, InstructionResult, InstructionTable,
    Interpreter, interpreter::EthInterpreter, interpreter_types::Jumps,
};
use revm_primitives::U256;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`, and turns a panic into a status; its payload is kept in the context.
pub(super) fn caught<'a>(
    context: &mut EvmContext<'a>,
    body: impl FnOnce(&mut EvmContext<'a>) -> u64,
) -> u64 {
    // Unwind safety: after a panic the run is over, and the payload goes on unwinding in the caller of
    // compiled code, which sees the same state as when revm's instruction panics.
    match catch_unwind(AssertUnwindSafe(|| body(context))) {
        Ok(status) => status,
        Err(payload) => {
            context.panic = Some(payload);
            STATUS_PANICKED
        }
    }
}

/// The exact gas at one instruction: what compiled code keeps, plus the static gas of the block's
/// instructions after it, which compiled code took off at the block's head.
pub(super) struct GasWindow {
    gas_after: u64,
}

impl GasWindow {
    /// Shows the interpreter the exact gas.
    pub(super) fn open(
        context: &EvmContext<'_>,
        interpreter: &mut Interpreter<EthInterpreter>,
        gas_after: u64,
    ) -> Self {
        interpreter.gas.set_remaining(context.gas + gas_after);
        Self { gas_after }
    }

    /// Takes what the instruction left, and decides how compiled code goes on.
    ///
    /// Where the instruction succeeded but not enough is left for the static gas after it, the
    /// frame is bound to run out of gas in this block: it does so here.
    pub(super) fn close(
        self,
        context: &mut EvmContext<'_>,
        interpreter: &mut Interpreter<EthInterpreter>,
        result: InstructionExecResult,
    ) -> u64 {
        let remaining = interpreter.gas.remaining();
        if let Err(error) = result {
            context.gas = remaining;
            return error as u64;
        }
        let Some(gas) = remaining.checked_sub(self.gas_after) else {
            context.gas = remaining;
            return InstructionResult::OutOfGas as u64;
        };
        context.gas = gas;
        if (interpreter.gas.memory().words_num * 32) as u64 != context.memory_len {
            context.refresh_memory(interpreter);
        }
        STATUS_CONTINUE
    }
}

/// Executes the instruction `opcode` of the EVM's table. `top` is one past its first argument.
///
/// # Safety
/// `context` must be a running context whose host is an `H`, and `top` a position in its stack with all
/// words below it written.
unsafe fn execute<H: Host>(
    context: &mut EvmContext<'_>,
    top: *mut U256,
    opcode: u64,
    gas_after: u64,
    next_pc: Option<u64>,
) -> u64 {
    caught(context, |context| {
        // SAFETY: the context's pointers are valid while it runs, and typed as `H`'s builtin
        // table was chosen for them.
        let (interpreter, host, instructions) = unsafe {
            (
                &mut *context.interpreter,
                &mut *context.host.cast::<H>(),
                &*context.instructions.cast::<InstructionTable<EthInterpreter, H>>(),
            )
        };
        let len = context.stack_len(top);
        // SAFETY: `top` is within the stack's 1024 words, all of them written below it.
        unsafe { interpreter.stack.data_mut().set_len(len) };
        if let Some(pc) = next_pc {
            interpreter.bytecode.absolute_jump(pc as usize);
        }
        let gas = GasWindow::open(context, interpreter, gas_after);
        let instruction = instructions[opcode as usize & 0xff];
        let result = instruction.execute(InstructionContext { interpreter, host });
        // CREATE may clear the return data and go on without suspending (EIP-8037).
        context.return_data_len = interpreter.return_data.0.len() as u64;
        gas.close(context, interpreter, result)
    })
}

/// A delegated instruction inside a block: its result is left in its slot.
///
/// # Safety
/// As [`execute`].
pub(crate) unsafe extern "C" fn delegate<H: Host>(
    context: *mut EvmContext<'_>,
    top: *mut U256,
    opcode: u64,
    gas_after: u64,
) -> u64 {
    // SAFETY: compiled code holds no reference; the rest is passed on.
    unsafe { execute::<H>(&mut *context, top, opcode, gas_after, None) }
}

/// A delegated instruction that ends its block: `CALL`, `CREATE`, `RETURN` and their kin. The
/// frame resumes at `next_pc`. No static gas comes after it.
///
/// # Safety
/// As [`execute`].
pub(crate) unsafe extern "C" fn delegate_last<H: Host>(
    context: *mut EvmContext<'_>,
    top: *mut U256,
    opcode: u64,
    next_pc: u64,
) -> u64 {
    // SAFETY: compiled code holds no reference; the rest is passed on.
    unsafe { execute::<H>(&mut *context, top, opcode, 0, Some(next_pc)) }
}
