//! Artifacts.

use crate::common::{LONG, eventually, is_resident, numbered};
use cranevm::{
    eyre,
    runtime::{
        AotRequest, ArtifactKey, ArtifactManifest, ArtifactStore, CompilationEvent,
        CompilationKind, JitBackend, LookupRequest, ProgramKind, RuntimeArtifactStore,
        RuntimeConfig, RuntimeError, StoredArtifact,
    },
};
use std::{
    fs,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// A store that counts lookups, takes its time to clear, and refuses to list when told.
struct Watched {
    inner: RuntimeArtifactStore,
    loads: AtomicUsize,
    clears: AtomicUsize,
    refuses: AtomicBool,
}

impl Watched {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: RuntimeArtifactStore::new().unwrap(),
            loads: AtomicUsize::new(0),
            clears: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
        })
    }
}

impl ArtifactStore for Watched {
    fn load_all(&self) -> eyre::Result<Vec<(ArtifactKey, StoredArtifact)>> {
        match self.refuses.load(SeqCst) {
            true => Err(eyre::eyre!("told to refuse")),
            false => self.inner.load_all(),
        }
    }
    fn load(&self, key: &ArtifactKey) -> eyre::Result<Option<StoredArtifact>> {
        self.loads.fetch_add(1, SeqCst);
        self.inner.load(key)
    }
    fn store(&self, key: &ArtifactKey, manifest: &ArtifactManifest, b: &[u8]) -> eyre::Result<()> {
        self.inner.store(key, manifest, b)
    }
    fn delete(&self, key: &ArtifactKey) -> eyre::Result<()> {
        self.inner.delete(key)
    }
    fn clear(&self) -> eyre::Result<()> {
        thread::sleep(Duration::from_millis(100));
        self.clears.fetch_add(1, SeqCst);
        self.inner.clear()
    }
}

fn config(store: &Arc<Watched>) -> RuntimeConfig {
    let store: Arc<dyn ArtifactStore> = Arc::clone(store) as _;
    RuntimeConfig { aot: true, store: Some(store), ..Default::default() }
}

fn aot(request: &LookupRequest) -> AotRequest {
    let LookupRequest { key, code } = request.clone();
    AotRequest { code_hash: key.code_hash, code, spec_id: key.spec_id }
}

/// Clears of a backend that never ran neither wait nor strike what comes after them.
#[test]
fn w05_a_clear_deletes_what_was_there_and_nothing_later() {
    let store = Watched::new();
    let earlier = JitBackend::new(config(&store)).unwrap();
    earlier.prepare_aot_sync(aot(&numbered(1))).unwrap();
    let backend = JitBackend::new(config(&store)).unwrap();
    let start = Instant::now();
    for _ in 0..10_000 {
        backend.clear_all();
    }
    assert!(start.elapsed() < Duration::from_millis(900), "clears wait");
    // Whether or not that is done by now, the backend begins with an empty store.
    backend.set_enabled(true).unwrap();
    assert_eq!((store.inner.len(), backend.stats().resident_entries), (0, 0));
    let cleared = store.clears.load(SeqCst);
    backend.prepare_aot_sync(aot(&numbered(2))).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(store.inner.len(), 1, "what came later was wiped");
    assert!(is_resident(&backend, &numbered(2)));
    assert_eq!(store.clears.load(SeqCst), cleared);
    // One that is asked for last is done, too.
    backend.clear_persisted();
    assert!(is_resident(&backend, &numbered(2)), "programs stay");
    drop(backend);
    eventually("cleared", || store.inner.is_empty());
}

/// What is being compiled when the store is cleared isn't stored afterwards.
#[test]
fn w06_nothing_older_than_a_clear_is_stored_after_it() {
    let store = Watched::new();
    let backend = JitBackend::new(RuntimeConfig { enabled: true, ..config(&store) }).unwrap();
    for round in 0..20 {
        let request = LookupRequest { ..numbered(round) };
        backend.prepare_aot(aot(&request));
        if round % 2 == 0 {
            thread::sleep(Duration::from_micros(200 * round as u64));
        }
        backend.clear_all();
        assert!(backend.wait_idle(LONG));
        eventually("cleared", || store.inner.is_empty());
    }
    assert_eq!(backend.stats().pending_jobs, 0);
}

/// A miss asks the index, not the store; and what doesn't have its hash isn't run.
#[test]
fn w13_misses_dont_ask_the_store_and_hashes_are_verified() {
    let store = Watched::new();
    let first = JitBackend::new(RuntimeConfig { enabled: true, ..config(&store) }).unwrap();
    for n in 0..2000 {
        for _ in 0..7 {
            first.lookup(numbered(n));
        }
    }
    assert_eq!(store.loads.load(SeqCst), 0);
    first.lookup(numbered(0));
    assert!(first.wait_idle(LONG));
    assert_eq!(store.loads.load(SeqCst), 1, "once, before it is compiled");
    assert_eq!(store.inner.len(), 1);
    let (_, stored) = store.load_all().unwrap().pop().unwrap();
    let mut bytes = fs::read(&stored.dylib_path).unwrap();
    let place = stored.manifest.artifact_len / 2;
    bytes[place] ^= 1;
    fs::write(&stored.dylib_path, bytes).unwrap();
    let second = JitBackend::new(RuntimeConfig { enabled: true, ..config(&store) }).unwrap();
    let stats = second.stats();
    assert_eq!((stats.artifacts_loaded, stats.artifact_refusals.damaged), (0, 1));
    assert!(store.inner.is_empty(), "it was deleted through the store");
}

/// An artifact's event comes when it is stored and its program can be looked up.
#[test]
fn w14_an_artifacts_event_comes_after_it_is_stored_and_published() {
    let store = Watched::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handle = Arc::new(OnceLock::<JitBackend>::new());
    let on_compilation = {
        let (seen, handle, store) = (Arc::clone(&seen), Arc::clone(&handle), Arc::clone(&store));
        move |event: CompilationEvent| {
            let program = handle
                .get()
                .and_then(|backend| backend.get_compiled(event.code_hash, event.spec_id));
            let kind = program.map(|program| program.kind);
            seen.lock().unwrap().push((event.kind, event.success, kind, store.inner.len()));
        }
    };
    let on_compilation = Some(Arc::new(on_compilation) as _);
    let backend =
        JitBackend::new(RuntimeConfig { enabled: true, on_compilation, ..config(&store) }).unwrap();
    handle.set(backend.clone()).unwrap();
    backend.prepare_aot(aot(&numbered(1)));
    assert!(backend.wait_idle(LONG));
    backend.prepare_aot_sync(aot(&numbered(2))).unwrap();
    assert!(backend.wait_idle(LONG));
    let aot = (CompilationKind::Aot, true, Some(ProgramKind::Aot));
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen, [(aot.0, aot.1, aot.2, 1), (aot.0, aot.1, aot.2, 2)]);
    backend.shut_down();
}

/// A backend whose store can't be used isn't made, and isn't enabled.
#[test]
fn w15_a_store_that_cant_be_used_leaves_the_backend_off() {
    let store = Watched::new();
    store.refuses.store(true, SeqCst);
    let error = JitBackend::new(RuntimeConfig { enabled: true, ..config(&store) }).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RuntimeError::Store { .. })), "{error}");
    assert!(error.to_string().contains("told to refuse"), "{error}");
    let backend = JitBackend::new(config(&store)).unwrap();
    let error = backend.set_enabled(true).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RuntimeError::Store { .. })), "{error}");
    assert!(!backend.enabled());
    assert_eq!(backend.stats().artifact_store_errors, 1);
    store.refuses.store(false, SeqCst);
    backend.set_enabled(true).unwrap();
    assert!(backend.enabled());
}
