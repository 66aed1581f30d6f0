//! Going on with a frame that has called another one or created a contract, as if that had ended.

use alloy_primitives::{Bytes, U256};
use revm::interpreter::{
    Interpreter, InterpreterAction, interpreter::EthInterpreter, interpreter_action::FrameInput,
    interpreter_types::ReturnData,
};

/// After so many, a frame is left as it is: a loop of calls shows nothing new.
const MAX_RESUMED: usize = 3;

/// What a called frame returns: less than a word, so that it reaches into one.
static RETURNED: [u8; 5] = [0, 0, 0, 0x20, 7];

/// Resumes a frame, and counts that in `resumed`; or returns the action if it has ended, or shall go
/// on no further. Half of the gas that was sent comes back, every second call succeeds.
pub(super) fn resume(
    interpreter: &mut Interpreter<EthInterpreter>,
    action: InterpreterAction,
    resumed: &mut usize,
) -> Option<InterpreterAction> {
    let InterpreterAction::NewFrame(input) = &action else { return Some(action) };
    if *resumed == MAX_RESUMED {
        return Some(action);
    }
    *resumed += 1;
    // Whoever has called has popped more words than this one.
    let (word, sent, data) = match input {
        FrameInput::Call(inputs) => {
            let returned = Bytes::from_static(&RETURNED);
            let range = inputs.return_memory_offset.clone();
            let len = range.len().min(returned.len());
            interpreter.memory.set(range.start, &returned[..len]);
            (U256::from(*resumed % 2), inputs.gas_limit, returned)
        }
        FrameInput::Create(inputs) => (U256::from(9), inputs.gas_limit(), Bytes::new()),
        FrameInput::Empty => return Some(action),
    };
    interpreter.return_data.set_buffer(data);
    interpreter.gas.erase_cost(sent / 2);
    assert!(interpreter.stack.push(word), "an instruction has popped more");
    None
}
