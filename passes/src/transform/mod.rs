//! Steps that make or change a program.

pub(crate) mod lift_stack;
mod remove_unused;
mod simplify;
