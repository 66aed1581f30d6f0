//! Delegated opcodes: revm's own instruction, on the synced interpreter.

use super::{
    gas_window::{GasWindow, OUT_OF_GAS},
    own::own_table,
};
use crate::abi::{EvmContext, STATUS_FAULT, STATUS_PANICKED, gas_in};
use revm_interpreter::{Host, InstructionContext, interpreter_types::Jumps};
use revm_primitives::U256;
use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

thread_local! {
    /// Instructions that this thread has delegated.
    static DELEGATED: Cell<u64> = const { Cell::new(0) };
}

/// How many instructions compiled code has delegated to revm's own on this thread so far. Counting
/// costs a nanosecond beside some tens of the instruction.
pub fn delegated_instructions() -> u64 {
    DELEGATED.get()
}

/// Runs `body`, and turns a panic into a status; its payload is kept in the context.
#[inline]
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

/// Executes revm's instruction for `opcode`. `top` is one past its first argument.
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
    ahead: u64,
    next_pc: Option<u64>,
) -> u64 {
    DELEGATED.set(DELEGATED.get() + 1);
    caught(context, |context| {
        // SAFETY: the context's pointers are valid while it runs, and typed as `H`'s builtin table
        // was chosen for them.
        let (interpreter, host) =
            unsafe { (&mut *context.interpreter, &mut *context.host.cast::<H>()) };
        let Ok(len) = context.stack_len(top) else { return STATUS_FAULT };
        // SAFETY: `len` is at most the stack's 1024 words. The instruction's arguments are written;
        // words below them may be stale or never written, and aren't read before compiled code or a
        // hand-over has written them.
        unsafe { interpreter.stack.data_mut().set_len(len) };
        if let Some(pc) = next_pc {
            interpreter.bytecode.absolute_jump(pc as usize);
        }
        let Some(mut gas) = GasWindow::open(context, ahead) else { return OUT_OF_GAS };
        let instruction = own_table::<H>()[opcode as usize & 0xff];
        let result = gas.with_interpreter(interpreter, |interpreter| {
            let before = gas_in(interpreter);
            let result = instruction.execute(InstructionContext { interpreter, host });
            let given = gas_in(interpreter).saturating_sub(before);
            context.given = context.given.saturating_add(given);
            result
        });
        if result.is_ok() && interpreter.gas.memory().words_num as u64 * 32 != context.memory_len {
            context.refresh_memory(interpreter);
        }
        // CREATE may clear the return data and go on without suspending (EIP-8037).
        context.return_data_len = interpreter.return_data.0.len() as u64;
        gas.close(context, result)
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
    ahead: u64,
) -> u64 {
    // SAFETY: compiled code holds no reference; the rest is passed on.
    unsafe { execute::<H>(&mut *context, top, opcode, ahead, None) }
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
