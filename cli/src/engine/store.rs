//! The `--store` of commands that run transactions: a directory of artifacts that remembers why one
//! couldn't be stored, for the message at the end. The backend goes on without.

use crate::InputError;
use cranevm::{
    Result,
    runtime::{ArtifactKey, ArtifactManifest, ArtifactStore, DirArtifactStore, StoredArtifact},
};
use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

/// A directory of artifacts. Clones are one store.
#[derive(Clone, Debug)]
pub struct EngineStore {
    directory: Arc<DirArtifactStore>,
    /// The first failure to store.
    failure: Arc<OnceLock<String>>,
}

impl EngineStore {
    /// Opens or makes a directory.
    ///
    /// # Errors
    /// If it can't be a store.
    pub fn open(directory: &Path) -> std::result::Result<Self, InputError> {
        let directory =
            DirArtifactStore::open(directory).map_err(|error| InputError::new("--store", error))?;
        Ok(Self { directory: Arc::new(directory), failure: Arc::default() })
    }

    /// Why an artifact couldn't be stored: the first reason.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

impl ArtifactStore for EngineStore {
    fn load_all(&self) -> Result<Vec<(ArtifactKey, StoredArtifact)>> {
        self.directory.load_all()
    }

    fn load(&self, key: &ArtifactKey) -> Result<Option<StoredArtifact>> {
        self.directory.load(key)
    }

    fn store(&self, key: &ArtifactKey, manifest: &ArtifactManifest, artifact: &[u8]) -> Result<()> {
        let stored = self.directory.store(key, manifest, artifact);
        if let Err(error) = &stored {
            self.failure.get_or_init(|| error.to_string());
        }
        stored
    }

    fn delete(&self, key: &ArtifactKey) -> Result<()> {
        self.directory.delete(key)
    }

    fn clear(&self) -> Result<()> {
        self.directory.clear()
    }
}
