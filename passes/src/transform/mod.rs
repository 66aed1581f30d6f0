//! Steps that make or change a program.

pub(crate) mod lift_stack;
pub(crate) mod thread_jumps;
