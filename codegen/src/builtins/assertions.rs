//! What compiled code relies on, checked at the start of each block, and each access that nothing
//! else checks, where [`debug_assertions`](crate::CompilerOptions::debug_assertions) asks for it.
//!
//! Compiled code keeps copies of what revm's interpreter has: where the stack, the memory and the
//! calldata are, how long they are, the gas. Whatever changes the original without the copy, a
//! chain's own instruction or an error of the translator, is found here before the copy is used. A
//! violation panics, and the panic leaves compiled code like a host's: it goes on unwinding from
//! [`EvmCompilerFn::run`](crate::EvmCompilerFn::run), at the frame's edge.
//!
//! An access is checked just before it is made, against where revm has the buffer at that time. So
//! with the checks on, what is wrong in bounds, lengths or bases that compiled code has for known
//! can't reach foreign data.

use super::{delegate::caught, table::StatusAndGas};
use crate::abi::{EvmContext, STATUS_CONTINUE, calldata_of, memory_of};
use revm_interpreter::{
    Interpreter,
    interpreter::{EthInterpreter, STACK_LIMIT},
    interpreter_types::LegacyBytecode,
};
use revm_primitives::U256;

/// A broken invariant of compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Violation {
    #[error("the frame runs other bytecode, of {found} bytes instead of {compiled}")]
    Bytecode { found: usize, compiled: usize },
    #[error("the pc is beyond the code of {len} bytes")]
    Pc { len: usize },
    #[error("the stack isn't where it was")]
    StackMoved,
    #[error("the stack pointer is {offset} bytes above the stack's start")]
    StackPointer { offset: isize },
    #[error("{gas} gas are left of {limit}")]
    Gas { gas: i64, limit: u64 },
    #[error("memory or calldata aren't where, or as long, as compiled code has it")]
    Memory,
    #[error("memory has {found} bytes, and {known} are known to be there")]
    MemoryLength { found: u64, known: u64 },
    #[error("memory has {found} bytes, and gas was charged for {charged}")]
    MemoryCharged { found: u64, charged: u64 },
    #[error("the return data isn't as long as compiled code has it")]
    ReturnData,
    #[error("an access to {bytes} bytes at {offset} of the {buffer:?}, which has {len}")]
    Outside { buffer: Buffer, bytes: u64, offset: i64, len: u64 },
}

/// What compiled code accesses without a check of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffer {
    /// The EVM stack, all 1024 words of it.
    Stack,
    /// The frame's memory.
    Memory,
    /// The frame's calldata.
    Calldata,
}

impl Buffer {
    const ALL: [Self; 3] = [Self::Stack, Self::Memory, Self::Calldata];
}

/// The start of a block.
struct BlockStart {
    pc: usize,
    code_len: usize,
    stack_top: usize,
    /// Below zero, where more was charged ahead than there was.
    gas: i64,
    /// Bytes of memory that compiled code takes to be there.
    known_memory: u64,
}

/// Checks what compiled code relies on. `place` is the block's pc, and in the upper half the length
/// of the code that was compiled.
///
/// # Safety
/// `context` must be a running context.
///
/// # Panics
/// On a violation; the panic is caught, and carried out through the context.
pub(crate) unsafe extern "C" fn check_invariants(
    context: *mut EvmContext<'_>,
    stack_top: u64,
    gas: u64,
    place: u64,
    known_memory: u64,
) -> StatusAndGas {
    // SAFETY: compiled code holds no reference; the context is a running one.
    let context = unsafe { &mut *context };
    let (pc, code_len) = (place as u32 as usize, (place >> 32) as usize);
    let start = BlockStart {
        pc,
        code_len,
        stack_top: stack_top as usize,
        gas: gas.cast_signed(),
        known_memory,
    };
    let status = caught(context, |context| {
        // SAFETY: the context's interpreter is valid while it runs.
        let interpreter = unsafe { &mut *context.interpreter };
        if let Err(violation) = check(context, interpreter, &start) {
            panic!("an invariant of compiled code is broken at pc {pc:#x}: {violation}");
        }
        STATUS_CONTINUE
    });
    StatusAndGas { status, gas }
}

/// Checks that an access lies within what the frame has. `place` is the pc, and in the upper half
/// the number of the [`Buffer`].
///
/// # Safety
/// `context` must be a running context.
///
/// # Panics
/// If it doesn't, as [`check_invariants`].
pub(crate) unsafe extern "C" fn check_access(
    context: *mut EvmContext<'_>,
    address: u64,
    bytes: u64,
    place: u64,
    gas: u64,
) -> StatusAndGas {
    // SAFETY: compiled code holds no reference; the context is a running one.
    let context = unsafe { &mut *context };
    let (pc, buffer) = (place as u32, Buffer::ALL[(place >> 32) as usize % Buffer::ALL.len()]);
    let status = caught(context, |context| {
        // SAFETY: the context's interpreter is valid while it runs.
        let interpreter = unsafe { &mut *context.interpreter };
        if let Err(violation) = check_within(interpreter, buffer, address, bytes) {
            panic!("an invariant of compiled code is broken at pc {pc:#x}: {violation}");
        }
        STATUS_CONTINUE
    });
    StatusAndGas { status, gas }
}

fn check_within(
    interpreter: &mut Interpreter<EthInterpreter>,
    buffer: Buffer,
    address: u64,
    bytes: u64,
) -> Result<(), Violation> {
    let (base, len) = extent(interpreter, buffer);
    let offset = address.wrapping_sub(base);
    if offset <= len && bytes <= len - offset {
        return Ok(());
    }
    Err(Violation::Outside { buffer, bytes, offset: offset.cast_signed(), len })
}

/// Where a frame's buffer is, and how long.
fn extent(interpreter: &mut Interpreter<EthInterpreter>, buffer: Buffer) -> (u64, u64) {
    match buffer {
        Buffer::Stack => {
            let base = interpreter.stack.data().as_ptr();
            (base.addr() as u64, (STACK_LIMIT * size_of::<U256>()) as u64)
        }
        Buffer::Memory => {
            let (base, len) = memory_of(interpreter);
            (base.addr() as u64, len)
        }
        Buffer::Calldata => {
            let (base, len) = calldata_of(interpreter);
            (base.addr() as u64, len)
        }
    }
}

fn check(
    context: &mut EvmContext<'_>,
    interpreter: &mut Interpreter<EthInterpreter>,
    start: &BlockStart,
) -> Result<(), Violation> {
    let require = |holds: bool, violation| if holds { Ok(()) } else { Err(violation) };
    let (found, compiled) = (interpreter.bytecode.bytecode_len(), start.code_len);
    require(found == compiled, Violation::Bytecode { found, compiled })?;
    // The end of the code is a place like any other: the frame stops there.
    require(start.pc <= compiled, Violation::Pc { len: compiled })?;

    let base = interpreter.stack.data().as_ptr();
    require(std::ptr::eq(base, context.stack_base), Violation::StackMoved)?;
    let offset = (start.stack_top as isize).wrapping_sub(base as isize);
    let is_word = offset % size_of::<U256>() as isize == 0;
    let is_inside = (0..=(STACK_LIMIT * size_of::<U256>()) as isize).contains(&offset);
    require(is_word && is_inside, Violation::StackPointer { offset })?;

    let (gas, limit) = (start.gas, interpreter.gas.limit());
    let is_left = gas < 0 || gas.cast_unsigned() <= limit;
    require(is_left, Violation::Gas { gas, limit })?;

    require(context.is_fresh(interpreter), Violation::Memory)?;
    let found = context.memory_len;
    let known = start.known_memory;
    require(known <= found, Violation::MemoryLength { found, known })?;
    let charged = interpreter.gas.memory().words_num as u64 * 32;
    require(charged == found, Violation::MemoryCharged { found, charged })?;
    let returned = interpreter.return_data.0.len() as u64;
    require(returned == context.return_data_len, Violation::ReturnData)
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm_interpreter::{CallInput, InputsImpl, SharedMemory, interpreter::ExtBytecode};
    use revm_primitives::hardfork::SpecId;

    #[test]
    fn violations_say_what_is_wrong() {
        let text = Violation::MemoryLength { found: 32, known: 64 }.to_string();
        assert_eq!(text, "memory has 32 bytes, and 64 are known to be there");
    }

    #[test]
    fn accesses_are_within_or_violations() {
        let input = CallInput::Bytes(vec![1; 40].into());
        let input = InputsImpl { input, ..InputsImpl::default() };
        let (memory, code) = (SharedMemory::new(), ExtBytecode::default());
        let mut frame = Interpreter::new(memory, code, input, false, SpecId::OSAKA, 1000);
        frame.memory.resize(64);
        let lengths = [1024 * 32, 64, 40];
        for (buffer, len) in Buffer::ALL.into_iter().zip(lengths) {
            let (base, found) = extent(&mut frame, buffer);
            assert_eq!(found, len as u64, "{buffer:?}");
            let mut is_within = |offset: i64, bytes| {
                let address = base.wrapping_add_signed(offset);
                check_within(&mut frame, buffer, address, bytes).is_ok()
            };
            assert!([0, 1, len - 32].into_iter().all(|offset| is_within(offset, 32)));
            let outside = [-32, -1, len - 31, len, len + 1, i64::MIN];
            assert!(!outside.into_iter().any(|offset| is_within(offset, 32)), "{buffer:?}");
            assert!(is_within(len - 1, 1) && !is_within(len, 1), "{buffer:?}");
        }
        let (base, _) = extent(&mut frame, Buffer::Memory);
        let violation = check_within(&mut frame, Buffer::Memory, base - 32, 32).unwrap_err();
        assert_eq!(
            violation.to_string(),
            "an access to 32 bytes at -32 of the Memory, which has 64"
        );
    }
}
