//! The intermediate representation: a program of blocks whose stack is lifted to values.

pub mod entities;
pub mod evaluate;
pub mod implementation;
pub mod opcode;
pub mod program;
pub mod text;
pub mod verify;
pub mod width;
