//! Persistent compiled code.

mod store;

pub use store::{ArtifactKey, ArtifactManifest, ArtifactStore, BackendSelection, StoredArtifact};
