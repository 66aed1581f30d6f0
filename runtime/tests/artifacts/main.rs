//! Artifacts in the runtime: made, stored, loaded, refused, cleared.

mod clearing;
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod directory;
#[cfg(target_arch = "x86_64")]
mod faults;
mod loading;
mod making;
mod world;
