//! A store of a client's own, and backends with it.

use crate::common::{SPEC, TARGET, call, database, evm};
use cranevm::{
    eyre,
    primitives::keccak256,
    revm_evm::JitEvm,
    runtime::{
        AotRequest, ArtifactKey, ArtifactManifest, ArtifactStore, JitBackend, LookupRequest,
        ProgramKind, RuntimeConfig, StoredArtifact,
    },
};
use revm::{ExecuteEvm, context::result::ResultAndState};
use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};
use tempfile::TempDir;

/// A store of a client's own: only the trait, files of its own naming, manifests in memory. Counts
/// its calls, and fails or panics where it is told to.
pub(crate) struct OwnStore {
    directory: TempDir,
    pub(crate) artifacts: Mutex<HashMap<ArtifactKey, StoredArtifact>>,
    calls: Mutex<HashMap<&'static str, usize>>,
    failing: Mutex<Option<&'static str>>,
    pub(crate) panics: AtomicBool,
    /// Taken by a clear: who holds it holds that up.
    pub(crate) clearing: Mutex<()>,
    /// Called when an artifact is stored, by the thread that does.
    pub(crate) on_store: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl OwnStore {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            directory: tempfile::tempdir().unwrap(),
            artifacts: Mutex::default(),
            calls: Mutex::default(),
            failing: Mutex::default(),
            panics: AtomicBool::new(false),
            clearing: Mutex::default(),
            on_store: Mutex::default(),
        })
    }

    fn called(
        &self,
        call: &'static str,
    ) -> eyre::Result<MutexGuard<'_, HashMap<ArtifactKey, StoredArtifact>>> {
        *self.calls.lock().unwrap().entry(call).or_default() += 1;
        let fails = *self.failing.lock().unwrap() == Some(call);
        assert!(!fails || !self.panics.load(SeqCst), "told to panic");
        if fails { Err(eyre::eyre!("told to fail")) } else { Ok(self.artifacts.lock().unwrap()) }
    }

    pub(crate) fn calls(&self, call: &'static str) -> usize {
        self.calls.lock().unwrap().get(call).copied().unwrap_or(0)
    }

    pub(crate) fn fail(&self, call: Option<&'static str>) {
        *self.failing.lock().unwrap() = call;
    }

    pub(crate) fn len(&self) -> usize {
        self.artifacts.lock().unwrap().len()
    }

    /// The bytes of a program's artifact.
    pub(crate) fn bytes(&self, request: &LookupRequest) -> Vec<u8> {
        let artifacts = self.artifacts.lock().unwrap();
        let (_, stored) = artifacts.iter().find(|(key, _)| key.runtime == request.key).unwrap();
        fs::read(&stored.dylib_path).unwrap()
    }

    /// Puts other bytes in an artifact's place. The manifest tells of these if `fits`.
    pub(crate) fn replace(&self, request: &LookupRequest, bytes: &[u8], fits: bool) {
        let mut artifacts = self.artifacts.lock().unwrap();
        let (_, stored) = artifacts.iter_mut().find(|(key, _)| key.runtime == request.key).unwrap();
        fs::write(&stored.dylib_path, bytes).unwrap();
        if fits {
            stored.manifest.artifact_len = bytes.len();
            stored.manifest.content_hash = keccak256(bytes).0;
        }
    }
}

impl ArtifactStore for OwnStore {
    fn load_all(&self) -> eyre::Result<Vec<(ArtifactKey, StoredArtifact)>> {
        let artifacts = self.called("load_all")?;
        Ok(artifacts.iter().map(|(key, stored)| (key.clone(), stored.clone())).collect())
    }

    fn load(&self, key: &ArtifactKey) -> eyre::Result<Option<StoredArtifact>> {
        Ok(self.called("load")?.get(key).cloned())
    }

    fn store(&self, key: &ArtifactKey, manifest: &ArtifactManifest, b: &[u8]) -> eyre::Result<()> {
        let mut artifacts = self.called("store")?;
        let dylib_path = self.directory.path().join(artifacts.len().to_string());
        fs::write(&dylib_path, b)?;
        artifacts.insert(key.clone(), StoredArtifact { manifest: manifest.clone(), dylib_path });
        if let Some(on_store) = &*self.on_store.lock().unwrap() {
            on_store();
        }
        Ok(())
    }

    fn delete(&self, key: &ArtifactKey) -> eyre::Result<()> {
        self.called("delete")?.remove(key);
        Ok(())
    }

    fn clear(&self) -> eyre::Result<()> {
        let mut artifacts = self.called("clear")?;
        drop(self.clearing.lock());
        artifacts.clear();
        Ok(())
    }
}

pub(crate) fn config(store: &Arc<impl ArtifactStore>) -> RuntimeConfig {
    let store: Arc<dyn ArtifactStore> = Arc::clone(store) as _;
    RuntimeConfig { enabled: true, aot: true, store: Some(store), ..Default::default() }
}

pub(crate) fn blocking(store: &Arc<impl ArtifactStore>) -> RuntimeConfig {
    RuntimeConfig { blocking: true, ..config(store) }
}

pub(crate) fn backend(config: RuntimeConfig) -> JitBackend {
    JitBackend::new(config).unwrap()
}

pub(crate) fn aot(request: &LookupRequest) -> AotRequest {
    let LookupRequest { key, code } = request.clone();
    AotRequest { code_hash: key.code_hash, code, spec_id: key.spec_id }
}

pub(crate) fn kind(backend: &JitBackend, request: &LookupRequest) -> Option<ProgramKind> {
    backend.get_compiled(request.key.code_hash, request.key.spec_id).map(|program| program.kind)
}

pub(crate) fn run(backend: &JitBackend, code: &[u8]) -> ResultAndState {
    JitEvm::new(evm(database(&[(TARGET, code)]), SPEC), backend.clone()).transact(call()).unwrap()
}

pub(crate) fn interpreted(code: &[u8]) -> ResultAndState {
    evm(database(&[(TARGET, code)]), SPEC).transact(call()).unwrap()
}
