//! Functions that compiled code calls.
//!
//! **The stack-call convention.** A builtin that takes words finds them in the EVM stack's own
//! memory: `top` points one past the top word, argument 0 is `top[-1]`, argument 1 `top[-2]`, and
//! the result is left where it is the top after the arguments are popped. So a word that is already
//! in its slot isn't copied, and a result needs no store.
//!
//! Builtins never unwind: what may panic (everything that reaches the host) runs under
//! `catch_unwind`, and the payload travels in the context. They are called through the table in
//! the context, so compiled code has no addresses in it.

mod assertions;
mod copy;
mod delegate;
mod exponent;
mod frame;
mod gas_window;
mod hash;
mod keccak;
mod log;
mod math;
mod memo;
mod memory;
mod own;
mod prove;
mod shift;
mod storage;
mod table;

#[cfg(feature = "cranelift")]
pub(crate) use assertions::Buffer;
pub use delegate::delegated_instructions;
pub(crate) use gas_window::MAX_MEMORY;
pub use own::{TableVerdicts, native_opcodes};
#[cfg(feature = "cranelift")]
pub(crate) use table::BuiltinResults;
pub(crate) use table::{
    Builtin, BuiltinTable, MemoryFn, Signature, builtin_signatures, builtin_table,
};
