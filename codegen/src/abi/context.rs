//! The context: the memory that compiled code and builtins share during a run.
//!
//! `repr(C)`, with every offset that compiled code uses asserted in one place
//! ([`offsets`]). It lies over a revm `Interpreter` whose stack, memory and input it points
//! into; [`EvmContext::refresh_memory`] re-reads what moves when memory grows.

use super::entry_index::Granule;
use crate::builtins::{BuiltinTable, MemoryFn};
use revm_interpreter::{
    CallInput, Interpreter,
    interpreter::{EthInterpreter, InputsImpl, STACK_LIMIT},
    interpreter_types::MemoryTr,
};
use revm_primitives::U256;
use std::{any::Any, marker::PhantomData};

/// The state of one compiled run.
///
/// The first group of fields is read and written by compiled code; the offsets are part of the ABI.
#[repr(C)]
#[derive(Debug)]
pub struct EvmContext<'a> {
    /// Gas left: at entry, at exit, and around each builtin that reads or charges gas. Static gas
    /// of the rest of the running block is already taken off; below zero, that is owed.
    pub(crate) gas: i64,
    /// One past the top word of the EVM stack, at entry and at exit.
    pub(crate) stack_top: *mut U256,
    /// Ordinal of the entry point to enter, or of the absent one at exit.
    pub(crate) entry: u64,
    /// Where the interpreter goes on after a hand-over.
    pub(crate) pc: u64,
    /// First byte of this frame's memory.
    pub(crate) memory_base: *mut u8,
    /// Bytes of this frame's memory; a multiple of 32.
    pub(crate) memory_len: u64,
    /// Number of offsets at which a whole word lies within memory: `memory_len - 31`, or 0.
    pub(crate) memory_words_end: u64,
    /// First byte of the calldata.
    pub(crate) calldata_base: *const u8,
    /// Bytes of calldata.
    pub(crate) calldata_len: u64,
    /// Number of offsets at which a whole word lies within the calldata.
    pub(crate) calldata_words_end: u64,
    /// First word of the EVM stack.
    pub(crate) stack_base: *mut U256,
    /// Entry points by pc, in order: their ranks.
    pub(super) granules: *const Granule,
    /// Entry ordinal -> code address.
    pub(crate) entry_table: *const *const u8,
    /// The builtins.
    pub(crate) builtins: *const BuiltinTable,
    /// Bytes of return data of the last call.
    pub(crate) return_data_len: u64,
    /// revm's frame input: address, caller and value are read in place.
    pub(crate) input: *const InputsImpl,
    /// Blocks left to run natively, where the program counts them.
    pub(crate) block_budget: i64,
    /// The builtin that most calls are of, without the way over the table.
    pub(crate) grow_word: MemoryFn,
    /// Rank of an entry point -> its ordinal.
    pub(crate) ordinals: *const u16,
    /// The code to enter.
    pub(crate) target: *const u8,

    /// A word that a builtin hands to compiled code, in memory order.
    pub(crate) scratch: [u8; 32],
    /// The interpreter under this run.
    pub(crate) interpreter: *mut Interpreter<EthInterpreter>,
    /// The host, type-erased; the builtins in `builtins` know its type.
    pub(crate) host: *mut (),
    /// Gas that delegated instructions gave the frame.
    pub(crate) given: u64,
    /// The payload of a panic that a builtin caught.
    pub(crate) panic: Option<Box<dyn Any + Send>>,
    pub(crate) _borrows: PhantomData<&'a mut ()>,
}

/// Offsets in bytes that compiled code uses, as `i32` for Cranelift's immediates.
pub(crate) mod offsets {
    use super::{EvmContext, InputsImpl};
    use std::mem::offset_of;

    macro_rules! context_offsets {
        ($($name:ident = $field:ident @ $value:literal;)*) => {
            $(pub(crate) const $name: i32 = $value;
            const _: () = assert!(offset_of!(EvmContext<'static>, $field) == $value);)*

            /// The list, for the hash of the ABI.
            pub(crate) const DESCRIPTION: &str =
                concat!($(stringify!($field), "@", stringify!($value), " "),*);
        };
    }

    macro_rules! input_offsets {
        ($($(#[$doc:meta])* $name:ident = $field:ident;)*) => {
            $($(#[$doc])* pub(crate) const $name: i32 = offset_of!(InputsImpl, $field) as i32;)*

            /// The list, for the hash of the ABI: revm and the Rust compiler choose these.
            pub(crate) const INPUTS: &[(&str, i32)] = &[$((stringify!($field), $name)),*];
        };
    }

    context_offsets! {
        GAS = gas @ 0;
        STACK_TOP = stack_top @ 8;
        ENTRY = entry @ 16;
        PC = pc @ 24;
        MEMORY_BASE = memory_base @ 32;
        MEMORY_LEN = memory_len @ 40;
        MEMORY_WORDS_END = memory_words_end @ 48;
        CALLDATA_BASE = calldata_base @ 56;
        CALLDATA_LEN = calldata_len @ 64;
        CALLDATA_WORDS_END = calldata_words_end @ 72;
        STACK_BASE = stack_base @ 80;
        GRANULES = granules @ 88;
        ENTRY_TABLE = entry_table @ 96;
        BUILTINS = builtins @ 104;
        RETURN_DATA_LEN = return_data_len @ 112;
        INPUT = input @ 120;
        BLOCK_BUDGET = block_budget @ 128;
        GROW_WORD = grow_word @ 136;
        ORDINALS = ordinals @ 144;
        TARGET = target @ 152;
    }

    input_offsets! {
        /// `InputsImpl::target_address`: 20 bytes, big-endian.
        INPUT_TARGET = target_address;
        /// `InputsImpl::caller_address`: 20 bytes, big-endian.
        INPUT_CALLER = caller_address;
        /// `InputsImpl::call_value`: four limbs, least significant first.
        INPUT_VALUE = call_value;
    }
}

impl EvmContext<'_> {
    /// Re-reads where memory and calldata are and how long memory is. Calldata moves with memory
    /// when it is a slice of the caller's memory, for both are in one buffer.
    #[inline]
    pub(crate) fn refresh_memory(&mut self, interpreter: &mut Interpreter<EthInterpreter>) {
        let (base, len) = memory_of(interpreter);
        (self.memory_len, self.memory_words_end) = (len, words_end(len));
        if self.memory_base != base {
            self.memory_base = base;
            (self.calldata_base, self.calldata_len) = calldata_of(interpreter);
            self.calldata_words_end = words_end(self.calldata_len);
        }
    }

    /// Whether what [`refresh_memory`](Self::refresh_memory) would read is what is there.
    pub(crate) fn is_fresh(&mut self, interpreter: &mut Interpreter<EthInterpreter>) -> bool {
        let before = self.views();
        // As if memory had moved, so that the calldata is looked for as well.
        self.memory_base = std::ptr::null_mut();
        self.refresh_memory(interpreter);
        before == self.views()
    }

    /// Where memory and calldata are, and their lengths.
    fn views(&self) -> [(usize, u64, u64); 2] {
        [
            (self.memory_base as usize, self.memory_len, self.memory_words_end),
            (self.calldata_base as usize, self.calldata_len, self.calldata_words_end),
        ]
    }

    /// Words on the EVM stack when `top` is one past its last.
    ///
    /// # Errors
    /// The distance from the stack's start in bytes, if that isn't within the stack or not at a
    /// word.
    #[inline]
    pub(crate) fn stack_len(&self, top: *const U256) -> Result<usize, isize> {
        let bytes = top.addr().wrapping_sub(self.stack_base.addr());
        let len = bytes / size_of::<U256>();
        if len <= STACK_LIMIT && bytes.is_multiple_of(size_of::<U256>()) {
            Ok(len)
        } else {
            Err(bytes.cast_signed())
        }
    }
}

/// Number of offsets at which a whole word lies within so many bytes.
#[inline(always)]
pub(super) fn words_end(len: u64) -> u64 {
    len.saturating_sub(31)
}

/// Where a frame's memory is, and how long.
#[inline(always)]
pub(crate) fn memory_of(interpreter: &mut Interpreter<EthInterpreter>) -> (*mut u8, u64) {
    let mut memory = interpreter.memory.context_memory_mut();
    (memory.as_mut_ptr(), memory.len() as u64)
}

/// Whether a frame's calldata is where its input says. What is a slice of the caller's memory lies
/// before the frame's own, which a chain's own instruction may have exchanged; while compiled code
/// runs, nothing is taken away there.
#[inline(always)]
pub(super) fn has_calldata(interpreter: &Interpreter<EthInterpreter>) -> bool {
    match &interpreter.input.input {
        CallInput::Bytes(_) => true,
        CallInput::SharedBuffer(range) => {
            range.end <= interpreter.memory.local_memory_offset() || range.is_empty()
        }
    }
}

/// Where a frame's calldata is, and how long. A slice of its caller's memory is in one buffer with
/// its own, so it moves as that grows. The frame must [have](has_calldata) it: revm's memory doesn't
/// look whether a slice is there.
#[inline(always)]
pub(crate) fn calldata_of(interpreter: &Interpreter<EthInterpreter>) -> (*const u8, u64) {
    match &interpreter.input.input {
        CallInput::Bytes(bytes) => (bytes.as_ptr(), bytes.len() as u64),
        CallInput::SharedBuffer(range) if range.is_empty() => (std::ptr::null(), 0),
        CallInput::SharedBuffer(range) => {
            let data = interpreter.memory.global_slice_range(range.clone());
            (data.as_ptr(), range.len() as u64)
        }
    }
}
