//! Facts about a program. An analysis changes nothing.

pub mod control_flow;
pub(crate) mod failure;
pub mod head_plans;
pub(crate) mod references;
pub mod regions;
pub mod resolve_jumps;
pub(crate) mod weight;
