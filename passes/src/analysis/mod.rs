//! Facts about a program. An analysis changes nothing.

pub mod control_flow;
pub(crate) mod likelihood;
pub mod regions;
pub mod resolve_jumps;
