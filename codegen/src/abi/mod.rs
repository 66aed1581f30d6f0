//! The boundary between compiled code and the rest of the program.
//!
//! A frame enters through [`EvmCompilerFn::run`], which lays an [`EvmContext`] over revm's own
//! `Interpreter` and calls the program's trampoline. The trampoline loads the three words that
//! live in registers (stack top, gas, entry ordinal) and jumps to where the frame comes in.
//! Everything else is reached through the context's pointer. Every exit from which a frame goes on leaves the
//! interpreter exactly as revm's would be at the same place, so that either engine can; after an
//! exceptional halt found in compiled code, stack and pc mean nothing.

mod context;
#[cfg(feature = "cranelift")]
#[doc(hidden)]
pub mod emulation;
mod entry;
mod entry_index;
mod outcome;
#[cfg(feature = "cranelift")]
mod program;
mod tables;
#[cfg(all(test, feature = "cranelift", target_arch = "x86_64"))]
mod tests;

pub use context::EvmContext;
pub(crate) use context::{calldata_of, memory_of, offsets};
pub(crate) use entry::gas_in;
pub use entry::{EvmCompilerFn, HandOver, NativeRun, RawEvmCompilerFn, collapse_halt_reason};
pub(crate) use entry_index::layout;
pub use outcome::{Fault, Outcome};
pub(crate) use outcome::{
    RESULTS, STATUS_ABSENT_BLOCK, STATUS_ABSENT_ENTRY, STATUS_CONTINUE, STATUS_FAULT,
    STATUS_HAND_OVER, STATUS_PANICKED, STATUSES,
};
#[cfg(feature = "cranelift")]
pub use program::NativeProgram;
