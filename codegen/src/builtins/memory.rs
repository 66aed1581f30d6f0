//! Slow paths of memory and calldata: growing memory, and reading past the end of the calldata.

use super::{
    delegate::caught,
    gas_window::{GasWindow, OUT_OF_GAS},
    table::StatusAndGas,
};
use crate::abi::EvmContext;
use revm_interpreter::{Host, InstructionResult};

/// Grows memory to hold `LEN` bytes at an offset, charging as revm's `resize_memory`.
///
/// `offset_high` is the union of the offset's upper three limbs: unless zero, the offset is
/// beyond what gas could ever buy (revm's `as_usize_or_fail`).
///
/// # Safety
/// `context` must be a running context whose host is an `H`.
unsafe fn grow<H: Host, const LEN: usize>(
    context: *mut EvmContext<'_>,
    offset: u64,
    offset_high: u64,
    gas_after: u64,
    gas: u64,
) -> StatusAndGas {
    // SAFETY: compiled code holds no reference; the context is a running one.
    let context = unsafe { &mut *context };
    context.gas = gas.cast_signed();
    let status = caught(context, |context| {
        // SAFETY: the context's pointers are valid while it runs.
        let (interpreter, host) =
            unsafe { (&mut *context.interpreter, &*context.host.cast::<H>()) };
        let Some(mut gas) = GasWindow::open(context, gas_after) else {
            return OUT_OF_GAS;
        };
        let grown = match usize::try_from(offset) {
            Ok(offset) if offset_high == 0 => gas.reach(context, interpreter, host, offset, LEN),
            _ => Err(InstructionResult::InvalidOperandOOG),
        };
        gas.close(context, grown)
    });
    StatusAndGas { status, gas: context.gas.cast_unsigned() }
}

/// Grows memory so that the word at `offset` lies within.
///
/// # Safety
/// As [`grow`].
pub(crate) unsafe extern "C" fn grow_word<H: Host>(
    context: *mut EvmContext<'_>,
    offset: u64,
    offset_high: u64,
    gas_after: u64,
    gas: u64,
) -> StatusAndGas {
    // SAFETY: passed on.
    unsafe { grow::<H, 32>(context, offset, offset_high, gas_after, gas) }
}

/// Grows memory so that the byte at `offset` lies within.
///
/// # Safety
/// As [`grow`].
pub(crate) unsafe extern "C" fn grow_byte<H: Host>(
    context: *mut EvmContext<'_>,
    offset: u64,
    offset_high: u64,
    gas_after: u64,
    gas: u64,
) -> StatusAndGas {
    // SAFETY: passed on.
    unsafe { grow::<H, 1>(context, offset, offset_high, gas_after, gas) }
}

/// A calldata word that isn't wholly within the calldata: revm's `system::calldataload`. Returns
/// its 32 bytes in memory order; they're valid until the next call.
///
/// # Safety
/// `context` must be a running context.
pub(crate) unsafe extern "C" fn calldata_word(
    context: *mut EvmContext<'_>,
    offset: u64,
    offset_high: u64,
) -> *const u8 {
    // SAFETY: compiled code holds no reference; the context is a running one.
    let context = unsafe { &mut *context };
    context.scratch = [0; 32];
    if offset_high == 0 && offset < context.calldata_len {
        let len = (context.calldata_len - offset).min(32) as usize;
        // SAFETY: `calldata_base` has `calldata_len` bytes, of which `len` follow `offset`.
        let bytes =
            unsafe { std::slice::from_raw_parts(context.calldata_base.add(offset as usize), len) };
        context.scratch[..len].copy_from_slice(bytes);
    }
    context.scratch.as_ptr()
}
