//! A store that lives as long as the process.

use super::{ArtifactKey, ArtifactManifest, ArtifactStore, DirArtifactStore, StoredArtifact};
use tempfile::TempDir;

/// Artifacts in a temporary directory, which is deleted with the store.
#[derive(Debug)]
pub struct RuntimeArtifactStore {
    inner: DirArtifactStore,
    /// Dropped last.
    _directory: TempDir,
}

impl RuntimeArtifactStore {
    /// An empty store.
    ///
    /// # Errors
    /// If no temporary directory can be made.
    pub fn new() -> eyre::Result<Self> {
        Self::with_limit(0)
    }

    /// An empty store of at most so many bytes, beyond which the least recently used artifacts are
    /// deleted; 0 is no limit.
    ///
    /// # Errors
    /// If no temporary directory can be made.
    pub fn with_limit(limit_bytes: u64) -> eyre::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cranevm-").tempdir()?;
        let inner = DirArtifactStore::open_with_limit(directory.path(), limit_bytes)?.fleeting();
        Ok(Self { inner, _directory: directory })
    }

    /// Number of artifacts; none if somebody else deleted the directory.
    pub fn len(&self) -> usize {
        self.inner.len().unwrap_or(0)
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
        self.inner.store(key, manifest, artifact)
    }

    fn delete(&self, key: &ArtifactKey) -> eyre::Result<()> {
        self.inner.delete(key)
    }

    fn clear(&self) -> eyre::Result<()> {
        self.inner.clear()
    }
}
