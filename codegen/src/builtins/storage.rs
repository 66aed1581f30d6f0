//! Storage, persistent and transient.

use super::frame::{Frame, instruction_builtins};
use revm_interpreter::{
    Host, InstructionContext, InstructionExecResult, InstructionResult, Interpreter,
    instructions::host, interpreter::EthInterpreter,
};
use revm_primitives::{U256, hardfork::SpecId};

instruction_builtins! {
    /// `SLOAD`: revm's `host::sload`.
    sload => load_slot;
    /// `SSTORE`: revm's `host::sstore`.
    sstore => store_slot;
    /// `TLOAD`: revm's `host::tload`.
    tload => load_transient;
    /// `TSTORE`: revm's `host::tstore`.
    tstore => store_transient;
}

#[inline(always)]
fn load_slot<H: Host>(frame: &mut Frame<'_, '_, H, 1>) -> InstructionExecResult {
    let [key] = frame.arguments();
    let address = frame.interpreter.input.target_address;
    let word = if frame.interpreter.runtime_flag.spec_id.is_enabled_in(SpecId::BERLIN) {
        let cold_cost = frame.host.gas_params().cold_storage_additional_cost();
        let skips_cold = frame.gas.remaining() < cold_cost;
        let slot = frame.host.sload_skip_cold_load(address, key, skips_cold)?;
        if slot.is_cold {
            frame.gas.charge(cold_cost)?;
        }
        slot.data
    } else {
        frame.host.sload(address, key).ok_or(InstructionResult::FatalExternalError)?.data
    };
    frame.set_result(word);
    Ok(())
}

#[inline(always)]
fn store_slot<H: Host>(frame: &mut Frame<'_, '_, H, 2>) -> InstructionExecResult {
    let [key, word] = frame.arguments();
    let host = &mut *frame.host;
    frame.gas.with_interpreter(frame.interpreter, |frame| store_and_charge(frame, host, key, word))
}

#[inline(always)]
fn store_and_charge<H: Host>(
    interpreter: &mut Interpreter<EthInterpreter>,
    host: &mut H,
    key: U256,
    word: U256,
) -> InstructionExecResult {
    if interpreter.runtime_flag.is_static {
        return Err(InstructionResult::StateChangeDuringStaticCall);
    }
    let address = interpreter.input.target_address;
    let (spec_id, gas) = (interpreter.runtime_flag.spec_id, &mut interpreter.gas);
    // EIP-2200: not with the stipend alone.
    if spec_id.is_enabled_in(SpecId::ISTANBUL)
        && gas.remaining() <= host.gas_params().call_stipend()
    {
        return Err(InstructionResult::ReentrancySentryOOG);
    }
    if !gas.record_regular_cost(host.gas_params().sstore_static_gas()) {
        return Err(InstructionResult::OutOfGas);
    }
    let stored = if spec_id.is_enabled_in(SpecId::BERLIN) {
        let skips_cold = gas.remaining() < host.gas_params().cold_storage_cost();
        host.sstore_skip_cold_load(address, key, word, skips_cold)?
    } else {
        host.sstore(address, key, word).ok_or(InstructionResult::FatalExternalError)?
    };
    let mut context = InstructionContext { interpreter, host };
    host::sstore_default_gas_accounting(&mut context, address, &stored)
}

#[inline(always)]
fn load_transient<H: Host>(frame: &mut Frame<'_, '_, H, 1>) -> InstructionExecResult {
    require_cancun(frame.interpreter)?;
    let [key] = frame.arguments();
    let word = frame.host.tload(frame.interpreter.input.target_address, key);
    frame.set_result(word);
    Ok(())
}

#[inline(always)]
fn store_transient<H: Host>(frame: &mut Frame<'_, '_, H, 2>) -> InstructionExecResult {
    require_cancun(frame.interpreter)?;
    if frame.interpreter.runtime_flag.is_static {
        return Err(InstructionResult::StateChangeDuringStaticCall);
    }
    let [key, word] = frame.arguments();
    frame.host.tstore(frame.interpreter.input.target_address, key, word);
    Ok(())
}

/// EIP-1153.
#[inline(always)]
fn require_cancun(interpreter: &Interpreter<EthInterpreter>) -> InstructionExecResult {
    if interpreter.runtime_flag.spec_id.is_enabled_in(SpecId::CANCUN) {
        Ok(())
    } else {
        Err(InstructionResult::NotActivated)
    }
}
