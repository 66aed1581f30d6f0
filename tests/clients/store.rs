//! A client's own store of artifacts.

use crate::common::numbered;
use cranevm as revmc;
use revmc::{
    OptimizationLevel,
    primitives::keccak256,
    runtime::{
        AotRequest, ArtifactKey, ArtifactManifest, ArtifactStore, BackendSelection, JitBackend,
        LookupRequest, RuntimeCacheKey, RuntimeConfig, StoredArtifact,
    },
};
use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;

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

/// A client's own store: files of its own naming, checked by itself when they are loaded.
#[derive(Debug)]
struct FileStore {
    directory: TempDir,
    index: Mutex<HashMap<ArtifactKey, StoredArtifact>>,
}

impl FileStore {
    fn new() -> revmc::Result<Self> {
        Ok(Self { directory: tempfile::tempdir()?, index: Mutex::default() })
    }

    fn path(&self, key: &ArtifactKey) -> PathBuf {
        let ArtifactKey { runtime: RuntimeCacheKey { code_hash, spec_id }, backend, opt_level } =
            key;
        let (backend, opt_level) = (backend_name(*backend), opt_level_name(*opt_level));
        self.directory.path().join(format!("{code_hash:x}_{spec_id:?}_{backend}_{opt_level}.so"))
    }
}

impl ArtifactStore for FileStore {
    fn load_all(&self) -> revmc::eyre::Result<Vec<(ArtifactKey, StoredArtifact)>> {
        let keys: Vec<_> = {
            let index = self.index.lock().map_err(|_| revmc::eyre::eyre!("poisoned"))?;
            index.keys().cloned().collect()
        };
        let mut artifacts = Vec::new();
        for key in keys {
            if let Some(stored) = self.load(&key)? {
                artifacts.push((key, stored));
            }
        }
        Ok(artifacts)
    }

    fn load(&self, key: &ArtifactKey) -> revmc::eyre::Result<Option<StoredArtifact>> {
        let Some(stored) = self.index.lock().unwrap().get(key).cloned() else { return Ok(None) };
        let bytes = fs::read(&stored.dylib_path)?;
        if keccak256(bytes) != stored.manifest.content_hash {
            self.delete(key)?;
            return Ok(None);
        }
        Ok(Some(stored))
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
        let dylib_path = self.path(key);
        fs::write(&dylib_path, dylib)?;
        let stored = StoredArtifact { manifest: manifest.clone(), dylib_path };
        self.index.lock().unwrap().insert(key.clone(), stored);
        Ok(())
    }

    fn delete(&self, key: &ArtifactKey) -> revmc::eyre::Result<()> {
        if let Some(stored) = self.index.lock().unwrap().remove(key) {
            fs::remove_file(stored.dylib_path)?;
        }
        Ok(())
    }

    fn clear(&self) -> revmc::eyre::Result<()> {
        let artifacts: Vec<_> = self.index.lock().unwrap().drain().collect();
        artifacts.iter().try_for_each(|(_, stored)| Ok(fs::remove_file(&stored.dylib_path)?))
    }
}

#[test]
fn a_client_has_a_store_of_its_own() -> revmc::Result<()> {
    let store = Arc::new(FileStore::new()?);
    let backend = BackendSelection::Llvm;
    let key =
        ArtifactKey { runtime: numbered(1).key, backend, opt_level: OptimizationLevel::default() };
    let manifest = ArtifactManifest {
        artifact_key: key.clone(),
        symbol_name: "aot".into(),
        bytecode_len: 1,
        artifact_len: 2,
        created_at_unix_secs: 3,
        content_hash: keccak256([0, 1]).0,
    };
    assert!(store.store(&key, &manifest, &[0]).is_err());
    store.store(&key, &manifest, &[0, 1])?;
    let stored = store.load(&key)?.expect("it was stored");
    assert_eq!(stored.dylib_path, store.path(&key));
    assert_eq!(store.load_all()?.len(), 1);
    store.delete(&key)?;
    store.clear()?;
    assert_eq!(BackendSelection::default(), BackendSelection::Auto);
    // As a trait object in a configuration.
    let config = RuntimeConfig { store: Some(store), ..Default::default() };
    assert!(config.store.is_some());
    Ok(())
}

/// The next start finds what this one has made, but for what the client's own check refuses.
#[test]
fn a_clients_own_store_serves_the_next_start() -> revmc::Result<()> {
    const CONTRACTS: usize = 3;
    let store = Arc::new(FileStore::new()?);
    let start = || {
        let store: Arc<dyn ArtifactStore> = Arc::clone(&store) as _;
        let store = Some(store);
        JitBackend::new(RuntimeConfig { enabled: true, aot: true, store, ..Default::default() })
    };
    let first = start()?;
    let requests = (0..CONTRACTS).map(numbered).map(|LookupRequest { key, code }| AotRequest {
        code_hash: key.code_hash,
        code,
        spec_id: key.spec_id,
    });
    for made in first.prepare_aot_batch_sync(requests.collect()) {
        made?;
    }
    // As clients rebuild keys by hand.
    let key = ArtifactKey {
        runtime: numbered(0).key,
        backend: BackendSelection::Llvm,
        opt_level: OptimizationLevel::Default,
    };
    let path = store.load(&key)?.expect("it was made").dylib_path;
    let mut bytes = fs::read(&path)?;
    bytes[100] ^= 1;
    fs::write(&path, bytes)?;

    let second = start()?;
    let stats = second.stats();
    assert_eq!((stats.resident_entries, stats.artifacts_loaded), (2, 2));
    second.compile_jit_sync(numbered(0))?;
    let stats = second.stats();
    assert_eq!((stats.compilations_succeeded, stats.artifacts_stored), (1, 1));
    assert!(store.load(&key)?.is_some());
    Ok(())
}
