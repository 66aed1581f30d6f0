//! Persistent compiled code: the interface of a store, and two stores.

mod dir_store;
mod error;
mod file;
mod library;
mod manifest;
mod problem;
mod read;
mod recipe;
mod store;
mod temp_store;

pub use dir_store::{DirArtifactStore, StoreEntry};
pub use error::StoreError;
pub(crate) use library::Library;
pub(crate) use problem::ArtifactCounters;
pub use problem::{ArtifactProblem, ArtifactRefusals};
pub use recipe::{Artifact, ArtifactCompiler, ArtifactRecipe, read_header};
pub use store::{ArtifactKey, ArtifactManifest, ArtifactStore, BackendSelection, StoredArtifact};
pub use temp_store::RuntimeArtifactStore;
