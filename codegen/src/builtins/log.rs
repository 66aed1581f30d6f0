//! LOG0 to LOG4.

use super::frame::{Frame, instruction_builtins, narrow_or_fail};
use revm_interpreter::{Host, InstructionExecResult, InstructionResult};
use revm_primitives::{B256, Bytes, Log, LogData};

instruction_builtins! {
    /// `LOG0`: revm's `host::log`.
    log0 => log::<H, 2>;
    /// `LOG1`: revm's `host::log`.
    log1 => log::<H, 3>;
    /// `LOG2`: revm's `host::log`.
    log2 => log::<H, 4>;
    /// `LOG3`: revm's `host::log`.
    log3 => log::<H, 5>;
    /// `LOG4`: revm's `host::log`.
    log4 => log::<H, 6>;
}

#[inline(always)]
fn log<H: Host, const ARITY: usize>(frame: &mut Frame<'_, '_, H, ARITY>) -> InstructionExecResult {
    if frame.interpreter.runtime_flag.is_static {
        return Err(InstructionResult::StateChangeDuringStaticCall);
    }
    let arguments = frame.arguments();
    let [offset, len, topics @ ..] = arguments.as_slice() else {
        unreachable!("a log has an offset, a length and its topics")
    };
    let len = narrow_or_fail(*len)?;
    let params = frame.host.gas_params();
    frame.gas.charge(params.log_cost(topics.len() as u8, len as u64))?;
    let data = if len == 0 {
        Bytes::new()
    } else {
        let offset = narrow_or_fail(*offset)?;
        frame.reach(offset, len)?;
        Bytes::copy_from_slice(frame.memory(offset, len))
    };
    let topics = topics.iter().map(|&topic| B256::from(topic)).collect();
    let address = frame.interpreter.input.target_address;
    frame.host.log(Log { address, data: LogData::new_unchecked(topics, data) });
    Ok(())
}
