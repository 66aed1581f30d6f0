//! Steps that make or change a program.

pub(crate) mod dedup;
pub(crate) mod lift_stack;
mod remove_unused;
mod simplify;
pub(crate) mod thread_jumps;
