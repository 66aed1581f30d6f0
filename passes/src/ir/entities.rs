//! Typed keys of the entities of a [`Program`](super::program::Program).
//!
//! Each is a `u32` index into one of the program's maps; `Display` prints the form that
//! the text syntax uses.

use cranelift_entity::entity_impl;

/// A basic block: straight-line bytecode entered only at its first instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block(u32);
entity_impl!(Block, "b");

/// An instruction that computes or has an effect; stack shuffling isn't one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inst(u32);
entity_impl!(Inst, "i");

/// A 256-bit value: a block's stack input, a constant, or an instruction's result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(u32);
entity_impl!(Value, "v");

/// An entry point: a place where execution can enter compiled code. Its index is the
/// ordinal in the program's entry table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry(u32);
entity_impl!(Entry, "e");

/// A unit of compilation: blocks that become one machine-code function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chunk(u32);
entity_impl!(Chunk, "c");
