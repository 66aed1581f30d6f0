//! A client's own store of artifacts.

use crate::common::numbered;
use cranevm as revmc;
use revmc::{
    OptimizationLevel,
    runtime::{
        ArtifactKey, ArtifactManifest, ArtifactStore, BackendSelection, RuntimeCacheKey,
        RuntimeConfig, StoredArtifact,
    },
};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// How stores name files.
const fn opt_level_name(level: OptimizationLevel) -> &'static str {
    match level {
        OptimizationLevel::None => "none",
        OptimizationLevel::Less => "less",
        OptimizationLevel::Default => "default",
        OptimizationLevel::Aggressive => "aggressive",
    }
}

const fn backend_name(backend: BackendSelection) -> &'static str {
    match backend {
        BackendSelection::Auto => "auto",
        BackendSelection::Llvm => "llvm",
    }
}

/// A client's own store: in memory, with an error type of its own inside `eyre`.
#[derive(Debug, Default)]
struct MemoryStore {
    artifacts: Mutex<HashMap<ArtifactKey, StoredArtifact>>,
}

impl ArtifactStore for MemoryStore {
    fn load_all(&self) -> revmc::eyre::Result<Vec<(ArtifactKey, StoredArtifact)>> {
        let artifacts = self.artifacts.lock().map_err(|_| revmc::eyre::eyre!("poisoned"))?;
        Ok(artifacts.iter().map(|(key, stored)| (key.clone(), stored.clone())).collect())
    }

    fn load(&self, key: &ArtifactKey) -> revmc::eyre::Result<Option<StoredArtifact>> {
        Ok(self.artifacts.lock().unwrap().get(key).cloned())
    }

    fn store(
        &self,
        key: &ArtifactKey,
        manifest: &ArtifactManifest,
        dylib: &[u8],
    ) -> revmc::eyre::Result<()> {
        if manifest.artifact_len != dylib.len() {
            revmc::eyre::bail!("{} bytes of {}", dylib.len(), manifest.artifact_len);
        }
        let dylib_path = PathBuf::from(self.file_name(key));
        let stored = StoredArtifact { manifest: manifest.clone(), dylib_path };
        self.artifacts.lock().unwrap().insert(key.clone(), stored);
        Ok(())
    }

    fn delete(&self, key: &ArtifactKey) -> revmc::eyre::Result<()> {
        self.artifacts.lock().unwrap().remove(key);
        Ok(())
    }

    fn clear(&self) -> revmc::eyre::Result<()> {
        self.artifacts.lock().unwrap().clear();
        Ok(())
    }
}

impl MemoryStore {
    fn file_name(&self, key: &ArtifactKey) -> String {
        let ArtifactKey { runtime: RuntimeCacheKey { code_hash, spec_id }, backend, opt_level } =
            key;
        let (backend, opt_level) = (backend_name(*backend), opt_level_name(*opt_level));
        format!("{code_hash:x}_{spec_id:?}_{backend}_{opt_level}.so")
    }
}

#[test]
fn a_client_has_a_store_of_its_own() -> revmc::Result<()> {
    let store = Arc::new(MemoryStore::default());
    let backend = BackendSelection::Llvm;
    let key =
        ArtifactKey { runtime: numbered(1).key, backend, opt_level: OptimizationLevel::default() };
    let manifest = ArtifactManifest {
        artifact_key: key.clone(),
        symbol_name: "aot".into(),
        bytecode_len: 1,
        artifact_len: 2,
        created_at_unix_secs: 3,
        content_hash: [0; 32],
    };
    assert!(store.store(&key, &manifest, &[0]).is_err());
    store.store(&key, &manifest, &[0, 1])?;
    let stored = store.load(&key)?.expect("it was stored");
    assert!(stored.dylib_path.ends_with(store.file_name(&key)));
    assert_eq!(store.load_all()?.len(), 1);
    store.delete(&key)?;
    store.clear()?;
    assert_eq!(BackendSelection::default(), BackendSelection::Auto);
    // As a trait object in a configuration.
    let config = RuntimeConfig { store: Some(store), ..Default::default() };
    assert!(config.store.is_some());
    Ok(())
}
