//! KECCAK256 of memory, in place.

use super::{
    frame::{Frame, instruction_builtins, narrow_or_fail},
    hash, memo,
};
use revm_interpreter::{Host, InstructionExecResult};
use revm_primitives::{KECCAK_EMPTY, U256};

instruction_builtins! {
    /// `KECCAK256`: revm's `system::keccak256`.
    keccak256 => hash_memory;
}

#[inline(always)]
fn hash_memory<H: Host>(frame: &mut Frame<'_, '_, H, 2>) -> InstructionExecResult {
    let [offset, len] = frame.arguments();
    let len = narrow_or_fail(len)?;
    frame.gas.charge(frame.host.gas_params().keccak256_cost(len))?;
    let hash = if len == 0 {
        KECCAK_EMPTY
    } else {
        let offset = narrow_or_fail(offset)?;
        frame.reach(offset, len)?;
        let bytes = frame.memory(offset, len);
        if let Ok(bytes) = <&[u8; 64]>::try_from(bytes) {
            memo::keccak256_of(bytes)
        } else if let Ok(bytes) = <&[u8; 32]>::try_from(bytes) {
            memo::keccak256_of(bytes)
        } else {
            hash::keccak256(bytes)
        }
    };
    frame.set_result(U256::from_be_bytes(hash.0));
    Ok(())
}
