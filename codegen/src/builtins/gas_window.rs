//! The gas that a builtin sees: what compiled code has left, and what it has charged ahead.

use crate::abi::{EvmContext, STATUS_CONTINUE};
use revm_interpreter::{
    Host, InstructionExecResult, InstructionResult, Interpreter, interpreter::EthInterpreter,
};

/// Longer memory no machine has: 4 TiB. Who can't pay for it is refused by revm, with its own
/// reasons; who can is refused here, for revm would end the process, or take a wrapped length.
pub(crate) const MAX_MEMORY: u64 = 1 << 42;

/// The exact gas at one instruction: what compiled code keeps, plus the static gas of the
/// instructions after it, which compiled code has charged ahead.
///
/// **Debt.** An instruction may leave less than what is charged ahead: then the frame is bound to
/// run out of gas later in the block, but revm still runs the instructions up to there, and what
/// they load of the state can be observed (EIP-7928). So the gas goes below zero. Every instruction
/// that may charge looks at the exact gas first: if that is negative, an instruction before it has
/// run out of gas. So does every head of a block that charges, and whoever leaves compiled code
/// (`EvmCompilerFn::enter`). Nobody has to know which instruction of a block is the last.
pub(crate) struct GasWindow {
    /// Gas left, as revm counts it.
    remaining: u64,
    /// Static gas charged for what comes after the instruction.
    ahead: u64,
}

impl GasWindow {
    /// The window of an instruction after which so much static gas is charged already; `None` if a
    /// debt has come due before it.
    #[inline]
    pub(super) fn open(context: &EvmContext<'_>, ahead: u64) -> Option<Self> {
        // Gas charged ahead was there: the sum is at most what the frame was entered with.
        let remaining = u64::try_from(context.gas.wrapping_add_unsigned(ahead)).ok()?;
        Some(Self { remaining, ahead })
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
        let end = (offset as u64).saturating_add(len as u64);
        if end <= context.memory_len {
            return Ok(());
        }
        let params = host.gas_params();
        if end > MAX_MEMORY {
            let cost = params.memory_cost(end.div_ceil(32) as usize);
            if cost.saturating_sub(interpreter.gas.memory().expansion_cost) <= self.remaining {
                return Err(InstructionResult::MemoryOOG);
            }
        }
        self.with_interpreter(interpreter, |own| own.resize_memory(params, offset, len))?;
        context.refresh_memory(interpreter);
        // Whoever grows memory says so; but what is accessed unchecked from here on has to be there.
        if end <= context.memory_len { Ok(()) } else { Err(InstructionResult::MemoryOOG) }
    }

    /// Decides how compiled code goes on after an instruction with this result.
    #[inline]
    pub(super) fn close(self, context: &mut EvmContext<'_>, result: InstructionExecResult) -> u64 {
        let remaining = self.remaining.cast_signed();
        match result {
            Ok(()) => {
                context.gas = remaining.wrapping_sub_unsigned(self.ahead);
                STATUS_CONTINUE
            }
            Err(error) => {
                context.gas = remaining;
                error as u64
            }
        }
    }
}

/// The status of a frame whose debt has come due.
pub(super) const OUT_OF_GAS: u64 = InstructionResult::OutOfGas as u64;
