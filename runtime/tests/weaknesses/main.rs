//! What a runtime of this interface is known to get wrong, one test for each way that concerns this
//! crate. The numbers are those of the interface's specification.

#[path = "../common/mod.rs"]
mod common;

mod artifacts;
mod control;
mod custom;
mod failures;
mod hotness;
mod inspection;
mod memory;
mod outcomes;
mod working_set;
