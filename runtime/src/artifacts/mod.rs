//! Persistent compiled code: the interface of a store, and two stores.

mod dir_store;
mod error;
mod file;
mod manifest;
mod store;
mod temp_store;

pub use dir_store::{DirArtifactStore, StoreEntry};
pub use error::StoreError;
pub use store::{ArtifactKey, ArtifactManifest, ArtifactStore, BackendSelection, StoredArtifact};
pub use temp_store::RuntimeArtifactStore;
