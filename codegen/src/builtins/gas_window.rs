//! The gas that a builtin sees: what compiled code has left, and what it has charged ahead.

use crate::abi::{EvmContext, STATUS_CONTINUE};
use revm_interpreter::{
    Host, InstructionExecResult, InstructionResult, Interpreter, interpreter::EthInterpreter,
};

/// The exact gas at one instruction: what compiled code keeps, plus the static gas of the
/// instructions after it, which compiled code has charged ahead.
///
/// **Debt.** An instruction may leave less than what is charged ahead: then the frame is bound to
/// run out of gas later in the block, but revm still runs the instructions up to there, and what
/// they load of the state can be observed (EIP-7928). So where more such instructions follow, the
/// gas goes below zero, and the one at which the exact gas is negative ends the frame. The block's
/// last one never leaves a debt.
pub(crate) struct GasWindow {
    /// Gas left, as revm counts it.
    remaining: u64,
    gas_after: u64,
    may_owe: bool,
}

impl GasWindow {
    /// Set in the operand of a builtin where a later instruction of the block settles a debt.
    pub(crate) const MAY_OWE: u64 = 1 << 63;

    /// The window of the instruction with this operand; `None`, and no gas left, if a debt has come
    /// due before it.
    #[inline]
    pub(super) fn open(context: &mut EvmContext<'_>, operand: u64) -> Option<Self> {
        let (gas_after, may_owe) = (operand & !Self::MAY_OWE, operand & Self::MAY_OWE != 0);
        let remaining = context.gas.wrapping_add(gas_after);
        if context.in_debt && remaining.cast_signed() < 0 {
            context.gas = 0;
            return None;
        }
        Some(Self { remaining, gas_after, may_owe })
    }

    /// Gas left, as revm counts it.
    #[inline]
    pub(super) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Takes `cost`: revm's `gas!`.
    #[inline]
    pub(super) fn charge(&mut self, cost: u64) -> InstructionExecResult {
        self.remaining = self.remaining.checked_sub(cost).ok_or(InstructionResult::OutOfGas)?;
        Ok(())
    }

    /// Lets `body` charge the interpreter's own gas.
    #[inline]
    pub(super) fn with_interpreter<T>(
        &mut self,
        interpreter: &mut Interpreter<EthInterpreter>,
        body: impl FnOnce(&mut Interpreter<EthInterpreter>) -> T,
    ) -> T {
        interpreter.gas.set_remaining(self.remaining);
        let result = body(interpreter);
        self.remaining = interpreter.gas.remaining();
        result
    }

    /// Makes memory reach to `offset + len`, charging for what it grows by: revm's `resize_memory`.
    #[inline]
    pub(super) fn reach<H: Host>(
        &mut self,
        context: &mut EvmContext<'_>,
        interpreter: &mut Interpreter<EthInterpreter>,
        host: &H,
        offset: usize,
        len: usize,
    ) -> InstructionExecResult {
        let end = (offset as u64).checked_add(len as u64);
        if end.is_some_and(|end| end <= context.memory_len) {
            return Ok(());
        }
        let params = host.gas_params();
        self.with_interpreter(interpreter, |own| own.resize_memory(params, offset, len))?;
        context.refresh_memory(interpreter);
        Ok(())
    }

    /// Decides how compiled code goes on after an instruction with this result.
    #[inline]
    pub(super) fn close(self, context: &mut EvmContext<'_>, result: InstructionExecResult) -> u64 {
        if let Err(error) = result {
            context.gas = self.remaining;
            return error as u64;
        }
        let (gas, owes) = self.remaining.overflowing_sub(self.gas_after);
        if owes && !self.may_owe {
            context.gas = self.remaining;
            return OUT_OF_GAS;
        }
        context.in_debt = owes;
        context.gas = gas;
        STATUS_CONTINUE
    }
}

/// The status of a frame whose debt has come due.
pub(super) const OUT_OF_GAS: u64 = InstructionResult::OutOfGas as u64;
