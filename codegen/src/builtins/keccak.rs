//! KECCAK256 of memory.

use super::{
    delegate::{caught, delegate, is_in_table},
    gas_window::{GasWindow, OUT_OF_GAS},
    hash,
    math::load,
    memo,
};
use crate::abi::EvmContext;
use revm_interpreter::{
    Host, Instruction, InstructionExecResult, InstructionResult, instructions::system,
};
use revm_primitives::U256;

/// `KECCAK256`: revm's `system::keccak256`, hashing memory in place.
///
/// # Safety
/// `context` must be a running context whose host is an `H`, and `top` one past two words of its
/// stack.
pub(crate) unsafe extern "C" fn keccak256<H: Host>(
    context: *mut EvmContext<'_>,
    top: *mut U256,
    opcode: u64,
    operand: u64,
) -> u64 {
    // SAFETY: passed on.
    unsafe {
        if !is_in_table::<H>(context, opcode, Instruction::new(system::keccak256)) {
            return delegate::<H>(context, top, opcode, operand);
        }
    }
    // SAFETY: compiled code holds no reference; the context is a running one.
    let context = unsafe { &mut *context };
    caught(context, |context| {
        let Some(mut gas) = GasWindow::open(context, operand) else { return OUT_OF_GAS };
        // SAFETY: passed on.
        let result = unsafe { hash_memory::<H>(context, top, &mut gas) };
        gas.close(context, result)
    })
}

/// # Safety
/// As [`keccak256`].
#[inline]
unsafe fn hash_memory<H: Host>(
    context: &mut EvmContext<'_>,
    top: *mut U256,
    gas: &mut GasWindow,
) -> InstructionExecResult {
    // SAFETY: the context's pointers are valid while it runs; `top` is one past two words.
    let (interpreter, host, offset, len) = unsafe {
        (&mut *context.interpreter, &*context.host.cast::<H>(), load(top.sub(1)), load(top.sub(2)))
    };
    let len = usize::try_from(len).map_err(|_| InstructionResult::InvalidOperandOOG)?;
    gas.charge(host.gas_params().keccak256_cost(len))?;
    let hash = if len == 0 {
        revm_primitives::KECCAK_EMPTY
    } else {
        let offset = usize::try_from(offset).map_err(|_| InstructionResult::InvalidOperandOOG)?;
        gas.reach(context, interpreter, host, offset, len)?;
        // SAFETY: memory reaches to `offset + len`, and nobody writes it during the call.
        let bytes = unsafe { std::slice::from_raw_parts(context.memory_base.add(offset), len) };
        match bytes.try_into() {
            Ok(bytes) => memo::keccak256_of_64(bytes),
            Err(_) => hash::keccak256(bytes),
        }
    };
    // SAFETY: the deeper of the two words.
    unsafe { *top.sub(2) = U256::from_be_bytes(hash.0) };
    Ok(())
}
