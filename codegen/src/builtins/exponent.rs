//! EXP: the one arithmetic opcode that charges by its operand.

use super::{
    delegate::caught,
    gas_window::{GasWindow, OUT_OF_GAS},
    math,
};
use crate::abi::EvmContext;
use revm_interpreter::Host;
use revm_primitives::U256;

/// `EXP`: revm's `arithmetic::exp`, with fast paths for small operands.
///
/// # Safety
/// `context` must be a running context whose host is an `H`, and `top` one past two words of its
/// stack.
pub(crate) unsafe extern "C" fn exp<H: Host>(
    context: *mut EvmContext<'_>,
    top: *mut U256,
    _opcode: u64,
    gas_after: u64,
) -> u64 {
    // SAFETY: compiled code holds no reference; the context is a running one.
    let context = unsafe { &mut *context };
    caught(context, |context| {
        // SAFETY: the context's pointers are valid while it runs; the exponent is on its stack.
        let (host, exponent) = unsafe { (&*context.host.cast::<H>(), math::load(top.sub(2))) };
        let Some(mut gas) = GasWindow::open(context, gas_after) else {
            return OUT_OF_GAS;
        };
        let charged = gas.charge(host.gas_params().exp_cost(exponent));
        // SAFETY: `top` is one past two words.
        unsafe { math::exp(top) };
        gas.close(context, charged)
    })
}
