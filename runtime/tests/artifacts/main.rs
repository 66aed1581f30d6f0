//! Artifacts in the runtime: made, stored, loaded, refused, cleared.

mod clearing;
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod directory;
mod loading;
mod making;
mod world;
