//! Wrong entries in the opcode table, one at a time, and whether running code finds each.
//!
//! The table decides on gas, stack bounds, what may fail and what is handed over, and everything
//! else believes it, the verifier too. So an entry must be found wrong by what compiled code does,
//! compared with the interpreter. A wrong one may destroy the process or never end: each has a
//! process of its own, and a minute at most.
//!
//! | file | what it is |
//! | --- | --- |
//! | `list` | which entries are wrong in which way |
//! | `suite` | the programs that should show it |
//! | `equivalent` | which ones no program can show, and why |
//!
//! `CRANEVM_MUTANTS=all` takes also those PUSH, DUP and SWAP that have a neighbour in the list.

pub mod equivalent;
pub mod list;
pub mod suite;
