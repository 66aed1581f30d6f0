//! What a builtin that stands for one of revm's instructions sees of its frame.
//!
//! Such a builtin does what revm's instruction does, without the interpreter's stack in between: it
//! reads its arguments limb by limb, as compiled code has just written them, so that the processor
//! can forward them. (revm's instructions copy whole words, and wait some 15 cycles for the limbs
//! to reach the cache.)

use super::{
    delegate::caught,
    gas_window::{GasWindow, OUT_OF_GAS},
    math::load,
};
use crate::abi::EvmContext;
use revm_interpreter::{
    Host, InstructionExecResult, InstructionResult, Interpreter, interpreter::EthInterpreter,
};
use revm_primitives::U256;

/// A running frame at an instruction with `ARITY` arguments.
pub(super) struct Frame<'a, 'c, H, const ARITY: usize> {
    context: &'a mut EvmContext<'c>,
    pub(super) interpreter: &'a mut Interpreter<EthInterpreter>,
    pub(super) host: &'a mut H,
    pub(super) gas: GasWindow,
    /// One past the arguments, words of the EVM stack.
    top: *mut U256,
}

impl<H: Host, const ARITY: usize> Frame<'_, '_, H, ARITY> {
    /// The arguments, that on top of the stack first.
    #[inline(always)]
    pub(super) fn arguments(&self) -> [U256; ARITY] {
        // SAFETY: `top` is one past `ARITY` words of the stack, as `in_place_of` was promised.
        std::array::from_fn(|index| unsafe { load(self.top.sub(index + 1)) })
    }

    /// Leaves the result where the top of the stack will be.
    #[inline(always)]
    pub(super) fn set_result(&mut self, word: U256) {
        const { assert!(ARITY > 0, "the slot of the last argument takes the result") };
        // SAFETY: as above.
        unsafe { *self.top.sub(ARITY) = word };
    }

    /// Makes memory reach to `offset + len`: revm's `resize_memory`.
    #[inline(always)]
    pub(super) fn reach(&mut self, offset: usize, len: usize) -> InstructionExecResult {
        self.gas.reach(self.context, self.interpreter, self.host, offset, len)
    }

    /// The bytes of memory from `offset` on, which memory reaches to.
    #[inline(always)]
    pub(super) fn memory(&self, offset: usize, len: usize) -> &[u8] {
        debug_assert!((offset + len) as u64 <= self.context.memory_len);
        let memory = self.context.memory_base;
        // SAFETY: `reach` has been called for the range, so it is within memory, which nobody
        // writes while the frame is borrowed.
        unsafe { std::slice::from_raw_parts(memory.add(offset), len) }
    }
}

/// Does `body` in place of revm's instruction.
///
/// # Safety
/// `context` must be a running context whose host is an `H`, and `top` one past `ARITY` words of
/// its stack, the instruction's arguments.
#[inline(always)]
pub(super) unsafe fn in_place_of<H: Host, const ARITY: usize>(
    (context, top, operand): (*mut EvmContext<'_>, *mut U256, u64),
    body: impl FnOnce(&mut Frame<'_, '_, H, ARITY>) -> InstructionExecResult,
) -> u64 {
    // SAFETY: compiled code holds no reference; the context is a running one.
    let context = unsafe { &mut *context };
    caught(context, move |context| {
        let Some(gas) = GasWindow::open(context, operand) else { return OUT_OF_GAS };
        // SAFETY: the context's pointers are valid while it runs, and typed as for `H`.
        let (interpreter, host) =
            unsafe { (&mut *context.interpreter, &mut *context.host.cast::<H>()) };
        let mut frame = Frame { context, interpreter, host, gas, top };
        let result = body(&mut frame);
        let Frame { gas, context, .. } = frame;
        gas.close(context, result)
    })
}

/// A word as an offset or a length: revm's `as_usize_or_fail!`.
#[inline(always)]
pub(super) fn narrow_or_fail(word: U256) -> Result<usize, InstructionResult> {
    usize::try_from(word).map_err(|_| InstructionResult::InvalidOperandOOG)
}

/// A word as an offset into data: revm's `as_usize_saturated!`.
#[inline(always)]
pub(super) fn saturated(word: U256) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

/// Defines builtins that stand for an instruction of revm's, with a function of the frame for each.
macro_rules! instruction_builtins {
    ($($(#[$doc:meta])* $name:ident => $body:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `context` must be a running context whose host is an `H`, and `top` one past the
        /// instruction's arguments on its stack.
        pub(crate) unsafe extern "C" fn $name<H: revm_interpreter::Host>(
            context: *mut crate::abi::EvmContext<'_>,
            top: *mut revm_primitives::U256,
            _opcode: u64,
            operand: u64,
        ) -> u64 {
            // SAFETY: passed on.
            unsafe { $crate::builtins::frame::in_place_of::<H, _>((context, top, operand), $body) }
        }
    )*};
}

pub(super) use instruction_builtins;
