//! Facts about a program. An analysis changes nothing.

pub mod control_flow;
