//! Copies into memory: of the calldata, the code, the return data, and memory itself.

use super::frame::{Frame, instruction_builtins, narrow_or_fail, saturated};
use revm_interpreter::{
    CallInput, Host, InstructionExecResult, InstructionResult, interpreter_types::LegacyBytecode,
};
use revm_primitives::{U256, hardfork::SpecId};

instruction_builtins! {
    /// `CALLDATACOPY`: revm's `system::calldatacopy`.
    calldatacopy => copy_calldata;
    /// `CODECOPY`: revm's `system::codecopy`.
    codecopy => copy_code;
    /// `RETURNDATACOPY`: revm's `system::returndatacopy`.
    returndatacopy => copy_return_data;
    /// `MCOPY`: revm's `memory::mcopy`.
    mcopy => copy_memory;
}

/// Charges for a copy and makes room for it; where it goes, or `None` if it is empty. revm's
/// `system::copy_cost_and_memory_resize`.
#[inline(always)]
fn make_room<H: Host>(
    frame: &mut Frame<'_, '_, H, 3>,
    to: U256,
    len: usize,
) -> Result<Option<usize>, InstructionResult> {
    frame.gas.charge(frame.host.gas_params().copy_cost(len))?;
    if len == 0 {
        return Ok(None);
    }
    let to = narrow_or_fail(to)?;
    frame.reach(to, len)?;
    Ok(Some(to))
}

#[inline(always)]
fn copy_calldata<H: Host>(frame: &mut Frame<'_, '_, H, 3>) -> InstructionExecResult {
    let [to, from, len] = frame.arguments();
    let len = narrow_or_fail(len)?;
    let Some(to) = make_room(frame, to, len)? else { return Ok(()) };
    let memory = &mut frame.interpreter.memory;
    match &frame.interpreter.input.input {
        CallInput::Bytes(bytes) => memory.set_data(to, saturated(from), len, bytes),
        CallInput::SharedBuffer(range) => {
            memory.global_to_local_set_data(to, saturated(from), len, range.clone());
        }
    }
    Ok(())
}

#[inline(always)]
fn copy_code<H: Host>(frame: &mut Frame<'_, '_, H, 3>) -> InstructionExecResult {
    let [to, from, len] = frame.arguments();
    let len = narrow_or_fail(len)?;
    let Some(to) = make_room(frame, to, len)? else { return Ok(()) };
    let code = frame.interpreter.bytecode.bytecode_slice();
    frame.interpreter.memory.set_data(to, saturated(from), len, code);
    Ok(())
}

#[inline(always)]
fn copy_return_data<H: Host>(frame: &mut Frame<'_, '_, H, 3>) -> InstructionExecResult {
    if !frame.interpreter.runtime_flag.spec_id.is_enabled_in(SpecId::BYZANTIUM) {
        return Err(InstructionResult::NotActivated);
    }
    let [to, from, len] = frame.arguments();
    let (len, from) = (narrow_or_fail(len)?, saturated(from));
    if from.saturating_add(len) > frame.interpreter.return_data.0.len() {
        return Err(InstructionResult::OutOfOffset);
    }
    let Some(to) = make_room(frame, to, len)? else { return Ok(()) };
    frame.interpreter.memory.set_data(to, from, len, &frame.interpreter.return_data.0);
    Ok(())
}

#[inline(always)]
fn copy_memory<H: Host>(frame: &mut Frame<'_, '_, H, 3>) -> InstructionExecResult {
    if !frame.interpreter.runtime_flag.spec_id.is_enabled_in(SpecId::CANCUN) {
        return Err(InstructionResult::NotActivated);
    }
    let [to, from, len] = frame.arguments();
    let len = narrow_or_fail(len)?;
    frame.gas.charge(frame.host.gas_params().mcopy_cost(len))?;
    if len == 0 {
        return Ok(());
    }
    let (to, from) = (narrow_or_fail(to)?, narrow_or_fail(from)?);
    frame.reach(to.max(from), len)?;
    frame.interpreter.memory.copy(to, from, len);
    Ok(())
}
