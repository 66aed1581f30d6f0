//! Checks and charges combined for a whole block.

pub(crate) mod gas;
pub mod stack;
