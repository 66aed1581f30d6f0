//! The first tier: machine code for whole contracts in microseconds, by copying stencils.
//!
//! A **stencil** is the machine code of one opcode, or of something else that contracts consist of,
//! with holes for numbers and places. Cranelift makes all of a closed list (`key`) once in a
//! process, from the same functions from words to words as the optimising tier's (`words`); a
//! contract is then put together by copying them, or calling them where they are long (`assemble`).
//! The technique is Xu and Kjolstad's (Copy-and-Patch Compilation, OOPSLA 2021).
//!
//! Cost: making the set takes some 25 milliseconds of processor time, once; a contract, some tens
//! of nanoseconds for each opcode.

mod actions;
mod assemble;
mod blocks;
mod first_tier;
mod key;
mod layout;
mod loops;
mod machine;
mod make;
mod opcodes;
mod sample;
mod set;
mod stack;
mod stencil;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use first_tier::FirstTier;
pub(crate) use sample::sample;
