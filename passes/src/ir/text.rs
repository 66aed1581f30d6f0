//! The text form of a program: `Display` prints it, [`parse`] reads it back.
//!
//! ```text
//! program spec=OSAKA code=8 opcodes=6
//!
//! chunk c0 opcodes=6
//!   entry e0 b0 pc=0 continuation
//!   entry e1 b1 pc=6 jumpdest
//!
//! block b0 pc=0..6 chunk=c0 entry=e0
//!   stack needed=1 growth=1 delta=0
//!   gas 17
//!   v0 = const 0x2
//!   v1 = input -1
//!   i0 pc=2 height=1 after=11: v2 = ADD v0, v1
//!   v3 = const 0x6
//!   output -1 v2
//!   jump b1
//!
//! block b1 pc=6..8 chunk=c0 entry=e1 jumpdest
//!   stack needed=0 growth=0 delta=0
//!   gas 1
//!   stop
//! ```
//!
//! An instruction tells its pc, the height before it and the block's gas after it. A value stands
//! where it is first needed, and a bound on its bits, if there is one below 256, behind its name
//! where it is defined: `v3:160`. The number of uses of a value isn't written, for it follows from
//! the rest, nor are the places in the pools: what is read back lies in the order of the text. So a
//! program that passes [`verify`](super::verify::verify) comes back equal.
//!
//! Parsing checks syntax and numbering, not the invariants: verify what was parsed.

mod parse;
mod print;

pub use parse::{ParseError, ParseErrorKind, parse};
