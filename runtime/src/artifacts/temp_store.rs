//! A store that lives as long as the process.

use super::{ArtifactKey, ArtifactManifest, ArtifactStore, DirArtifactStore, StoredArtifact};
use crate::compiler_pool::lock;
use std::{collections::HashSet, sync::Mutex};
use tempfile::TempDir;

/// Artifacts in a temporary directory, which is deleted with the store.
#[derive(Debug)]
pub struct RuntimeArtifactStore {
    inner: DirArtifactStore,
    keys: Mutex<HashSet<ArtifactKey>>,
    /// Dropped last.
    _directory: TempDir,
}

impl RuntimeArtifactStore {
    /// An empty store.
    ///
    /// # Errors
    /// If no temporary directory can be made.
    pub fn new() -> eyre::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cranevm-").tempdir()?;
        let inner = DirArtifactStore::open_with_limit(directory.path(), 0)?.fleeting();
        Ok(Self { inner, keys: Mutex::default(), _directory: directory })
    }

    /// Number of artifacts.
    pub fn len(&self) -> usize {
        lock(&self.keys).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ArtifactStore for RuntimeArtifactStore {
    fn load_all(&self) -> eyre::Result<Vec<(ArtifactKey, StoredArtifact)>> {
        self.inner.load_all()
    }

    fn load(&self, key: &ArtifactKey) -> eyre::Result<Option<StoredArtifact>> {
        self.inner.load(key)
    }

    fn store(
        &self,
        key: &ArtifactKey,
        manifest: &ArtifactManifest,
        artifact: &[u8],
    ) -> eyre::Result<()> {
        self.inner.store(key, manifest, artifact)?;
        lock(&self.keys).insert(key.clone());
        Ok(())
    }

    fn delete(&self, key: &ArtifactKey) -> eyre::Result<()> {
        self.inner.delete(key)?;
        lock(&self.keys).remove(key);
        Ok(())
    }

    fn clear(&self) -> eyre::Result<()> {
        self.inner.clear()?;
        lock(&self.keys).clear();
        Ok(())
    }
}
