//! The interface of an artifact store, and what it stores.
//!
//! A store keeps bytes under keys. What the bytes are is verified by who loads them: a store may
//! return what is stale, foreign or damaged, and nothing wrong is run.

use super::manifest::Record;
use crate::{OptimizationLevel, lookup::RuntimeCacheKey};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The compiler that an artifact comes from, as far as a store's key tells.
///
/// The variants are those that clients match exhaustively; which compiler really made a file is
/// written in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendSelection {
    /// Whatever the runtime chooses.
    #[default]
    Auto,
    /// The value that keys carry, kept for stores that rebuild keys from it.
    Llvm,
}

/// Names an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArtifactKey {
    /// The program.
    pub runtime: RuntimeCacheKey,
    /// The compiler.
    pub backend: BackendSelection,
    /// How much work went into the code.
    pub opt_level: OptimizationLevel,
}

/// Describes an artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Record", into = "Record")]
pub struct ArtifactManifest {
    /// The artifact's name.
    pub artifact_key: ArtifactKey,
    /// Name of the contract's entry, which also tells format and target.
    pub symbol_name: String,
    /// Bytes of bytecode.
    pub bytecode_len: usize,
    /// Bytes of the artifact.
    pub artifact_len: usize,
    /// Seconds from 1970 to the writing of the artifact.
    pub created_at_unix_secs: u64,
    /// Keccak-256 of the artifact's bytes; zeros if that isn't known.
    pub content_hash: [u8; 32],
}

/// An artifact in a store.
#[derive(Clone, Debug)]
pub struct StoredArtifact {
    /// Its description.
    pub manifest: ArtifactManifest,
    /// The file that begins with its bytes, of which there are as many as
    /// [`artifact_len`](ArtifactManifest::artifact_len) says.
    pub dylib_path: PathBuf,
}

/// Keeps artifacts. Calls may come from any thread, several at once.
pub trait ArtifactStore: Send + Sync + 'static {
    /// Everything in the store.
    fn load_all(&self) -> eyre::Result<Vec<(ArtifactKey, StoredArtifact)>>;

    /// One artifact, or `None` if it isn't in the store.
    fn load(&self, key: &ArtifactKey) -> eyre::Result<Option<StoredArtifact>>;

    /// Stores `artifact` under `key`, in place of what was there.
    fn store(
        &self,
        key: &ArtifactKey,
        manifest: &ArtifactManifest,
        artifact: &[u8],
    ) -> eyre::Result<()>;

    /// Deletes one artifact. It is no error if it isn't there.
    fn delete(&self, key: &ArtifactKey) -> eyre::Result<()>;

    /// Deletes everything.
    fn clear(&self) -> eyre::Result<()>;
}
