//! Delegated opcodes: revm's own instruction, from the EVM's own table, on the synced interpreter.

use crate::abi::{EvmContext, STATUS_CONTINUE, STATUS_PANICKED};
use revm_interpreter::{
    Host, InstructionContext, InstructionExecResult, InstructionResult, InstructionTable,
    Interpreter, interpreter::EthInterpreter, interpreter_types::Jumps,
};
use revm_primitives::U256;
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs `body`, and turns a panic into a status; its payload is kept in the context.
pub(super) fn caught<'a>(
    context: &mut EvmContext<'a>,
    body: impl FnOnce(&mut EvmContext<'a>) -> u64,
) -> u64 {
    // Unwind safety: after a panic the run is over, and the payload goes on unwinding in the caller
    // of compiled code, which sees the same state as when revm's instruction panics.
    match catch_unwind(AssertUnwindSafe(|| body(context))) {
        Ok(status) => status,
        Err(payload) => keep_panic(context, payload),
    }
}

#[cold]
fn keep_panic(context: &mut EvmContext<'_>, payload: Box<dyn Any + Send>) -> u64 {
    context.panic = Some(payload);
    STATUS_PANICKED
}

/// The exact gas at one instruction: what compiled code keeps, plus the static gas of the
/// instructions after it, which compiled code has charged ahead.
///
/// **Debt.** An instruction may leave less than what is charged ahead: then the frame is bound to
/// run out of gas later in the block, but revm still runs the instructions up to there, and what
/// they load of the state can be observed (EIP-7928). So where more such instructions follow, the
/// gas goes below zero, and the one at which the exact gas is negative ends the frame. The block's
/// last one never leaves a debt.
pub(crate) struct GasWindow {
    gas_after: u64,
    may_owe: bool,
}

impl GasWindow {
    /// Set in the operand of a builtin where a later instruction of the block settles a debt.
    pub(crate) const MAY_OWE: u64 = 1 << 63;

    /// Shows the interpreter the exact gas; `None` if it has run out before this instruction.
    #[inline]
    pub(super) fn open(
        context: &mut EvmContext<'_>,
        interpreter: &mut Interpreter<EthInterpreter>,
        operand: u64,
    ) -> Option<Self> {
        let (gas_after, may_owe) = (operand & !Self::MAY_OWE, operand & Self::MAY_OWE != 0);
        let exact = context.gas.wrapping_add(gas_after);
        if context.in_debt && exact.cast_signed() < 0 {
            context.gas = 0;
            return None;
        }
        interpreter.gas.set_remaining(exact);
        Some(Self { gas_after, may_owe })
    }

    /// Takes what the instruction left, and decides how compiled code goes on.
    #[inline]
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
        let (gas, owes) = remaining.overflowing_sub(self.gas_after);
        if owes && !self.may_owe {
            context.gas = remaining;
            return OUT_OF_GAS;
        }
        context.in_debt = owes;
        context.gas = gas;
        if (interpreter.gas.memory().words_num * 32) as u64 != context.memory_len {
            context.refresh_memory(interpreter);
        }
        STATUS_CONTINUE
    }
}

/// The status of a frame whose debt has come due.
pub(super) const OUT_OF_GAS: u64 = InstructionResult::OutOfGas as u64;

/// Executes the instruction `opcode` of the EVM's table. `top` is one past its first argument.
///
/// # Safety
/// `context` must be a running context whose host is an `H`, and `top` a position in its stack, the
/// instruction's arguments written below it. Deeper words may be stale: an instruction reads its
/// arguments only.
#[inline(always)]
unsafe fn execute<H: Host>(
    context: &mut EvmContext<'_>,
    top: *mut U256,
    opcode: u64,
    gas_after: u64,
    next_pc: Option<u64>,
) -> u64 {
    // SAFETY: the context's pointers are valid while it runs, and typed as `H`'s builtin table was
    // chosen for them.
    let (interpreter, host, instructions) = unsafe {
        (
            &mut *context.interpreter,
            &mut *context.host.cast::<H>(),
            &*context.instructions.cast::<InstructionTable<EthInterpreter, H>>(),
        )
    };
    let len = context.stack_len(top);
    // SAFETY: `top` is within the stack's 1024 words. The instruction's arguments are written;
    // words below them may be stale or never written, and aren't read before compiled code or a
    // hand-over has written them.
    unsafe { interpreter.stack.data_mut().set_len(len) };
    if let Some(pc) = next_pc {
        interpreter.bytecode.absolute_jump(pc as usize);
    }
    let Some(gas) = GasWindow::open(context, interpreter, gas_after) else {
        return OUT_OF_GAS;
    };
    let instruction = instructions[opcode as usize & 0xff];
    // Only the instruction reaches the host. Catching around it alone keeps all else in one function.
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        instruction.execute(InstructionContext { interpreter: &mut *interpreter, host })
    }));
    let result = match attempt {
        Ok(result) => result,
        Err(payload) => return keep_panic(context, payload),
    };
    // CREATE may clear the return data and go on without suspending (EIP-8037).
    context.return_data_len = interpreter.return_data.0.len() as u64;
    gas.close(context, interpreter, result)
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
