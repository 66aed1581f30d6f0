//! Artifacts in the runtime: made, stored, loaded, refused, cleared.

mod common;

use common::{
    LONG, SPEC, TARGET, call, calling, database, eventually, evm, is_resident, long_code, numbered,
    request, summing,
};
use cranevm::{
    OptimizationLevel, eyre,
    primitives::keccak256,
    revm_evm::JitEvm,
    runtime::{
        AotRequest, ArtifactKey, ArtifactManifest, ArtifactRefusals, ArtifactStore,
        BackendSelection, CompilationEvent, CompilationKind, CompileFailure, DirArtifactStore,
        JitBackend, LookupDecision, LookupRequest, ProgramKind, RuntimeConfig, RuntimeError,
        RuntimeTuning, StoredArtifact,
    },
};
use revm::{
    ExecuteEvm,
    context::result::{ExecutionResult, ResultAndState},
};
use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// A store of a client's own: only the trait, files of its own naming, manifests in memory. Counts
/// its calls, and fails or panics where it is told to.
struct OwnStore {
    directory: TempDir,
    artifacts: Mutex<HashMap<ArtifactKey, StoredArtifact>>,
    calls: Mutex<HashMap<&'static str, usize>>,
    failing: Mutex<Option<&'static str>>,
    panics: AtomicBool,
    /// Called when an artifact is stored, by the thread that does.
    on_store: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl OwnStore {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            directory: tempfile::tempdir().unwrap(),
            artifacts: Mutex::default(),
            calls: Mutex::default(),
            failing: Mutex::default(),
            panics: AtomicBool::new(false),
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

    fn calls(&self, call: &'static str) -> usize {
        self.calls.lock().unwrap().get(call).copied().unwrap_or(0)
    }

    fn fail(&self, call: Option<&'static str>) {
        *self.failing.lock().unwrap() = call;
    }

    fn len(&self) -> usize {
        self.artifacts.lock().unwrap().len()
    }

    /// The bytes of a program's artifact.
    fn bytes(&self, request: &LookupRequest) -> Vec<u8> {
        let artifacts = self.artifacts.lock().unwrap();
        let (_, stored) = artifacts.iter().find(|(key, _)| key.runtime == request.key).unwrap();
        fs::read(&stored.dylib_path).unwrap()
    }

    /// Puts other bytes in an artifact's place. The manifest tells of these if `fits`.
    fn replace(&self, request: &LookupRequest, bytes: &[u8], fits: bool) {
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
        self.called("clear")?.clear();
        Ok(())
    }
}

fn config(store: &Arc<impl ArtifactStore>) -> RuntimeConfig {
    let store: Arc<dyn ArtifactStore> = Arc::clone(store) as _;
    RuntimeConfig { enabled: true, aot: true, store: Some(store), ..Default::default() }
}

fn blocking(store: &Arc<impl ArtifactStore>) -> RuntimeConfig {
    RuntimeConfig { blocking: true, ..config(store) }
}

fn backend(config: RuntimeConfig) -> JitBackend {
    JitBackend::new(config).unwrap()
}

fn aot(request: &LookupRequest) -> AotRequest {
    let LookupRequest { key, code } = request.clone();
    AotRequest { code_hash: key.code_hash, code, spec_id: key.spec_id }
}

fn kind(backend: &JitBackend, request: &LookupRequest) -> Option<ProgramKind> {
    backend.get_compiled(request.key.code_hash, request.key.spec_id).map(|program| program.kind)
}

fn run(backend: &JitBackend, code: &[u8]) -> ResultAndState {
    JitEvm::new(evm(database(&[(TARGET, code)]), SPEC), backend.clone()).transact(call()).unwrap()
}

fn interpreted(code: &[u8]) -> ResultAndState {
    evm(database(&[(TARGET, code)]), SPEC).transact(call()).unwrap()
}

#[test]
fn what_is_compiled_is_found_by_the_next_process() {
    let store = OwnStore::new();
    let codes = [summing(), calling(), long_code(3000)];
    let first = backend(blocking(&store));
    for code in &codes {
        assert_eq!(run(&first, code), interpreted(code));
        assert_eq!(kind(&first, &request(code)), Some(ProgramKind::Aot));
    }
    let stats = first.stats();
    assert_eq!((stats.artifacts_stored, stats.artifacts_loaded), (3, 0));
    assert_eq!((stats.compilations_succeeded, stats.compilations_failed), (3, 0));

    // Found however the backend is enabled.
    let (at_once, later) =
        (backend(blocking(&store)), backend(RuntimeConfig { enabled: false, ..config(&store) }));
    assert_eq!(later.stats().resident_entries, 0);
    later.set_enabled(true).unwrap();
    for second in [at_once, later] {
        let stats = second.stats();
        assert_eq!((stats.artifacts_loaded, stats.resident_entries), (3, 3));
        for code in &codes {
            assert_eq!(run(&second, code), interpreted(code));
        }
        let stats = second.stats();
        assert_eq!((stats.compilations_dispatched, stats.artifacts_stored), (0, 0));
        assert_eq!(stats.artifact_refusals, ArtifactRefusals::default());
        assert!(stats.jit_code_bytes > 0 && stats.jit_data_bytes > 0);
        // As long as its code is, a program counts in the budget, wherever it comes from.
        second.clear_resident();
        eventually("freed", || second.stats().jit_total_bytes() == 0);
    }
}

/// Loaded programs run natively: the reason of a halt tells who ran it.
#[test]
fn what_is_loaded_runs_and_obeys_this_backends_settings() {
    let store = OwnStore::new();
    run(&backend(blocking(&store)), common::PROBE);
    for single_error in [true, false] {
        let second = backend(RuntimeConfig { single_error, ..blocking(&store) });
        assert_eq!(second.stats().artifacts_loaded, 1);
        let ExecutionResult::Halt { reason, .. } = run(&second, common::PROBE).result else {
            panic!("must halt")
        };
        assert_eq!(format!("{reason:?}").contains("OutOfGas"), single_error, "{reason:?}");
    }
}

#[test]
fn hot_contracts_become_artifacts() {
    let store = OwnStore::new();
    let backend = backend(config(&store));
    let request = request(&long_code(8000));
    for _ in 0..8 {
        assert!(matches!(backend.lookup(request.clone()), LookupDecision::Interpret(_)));
    }
    assert!(backend.wait_idle(LONG));
    assert_eq!(kind(&backend, &request), Some(ProgramKind::Aot));
    assert_eq!((store.len(), backend.stats().artifacts_stored), (1, 1));
    assert!(matches!(backend.lookup(request), LookupDecision::Compiled(_)));
}

#[test]
fn artifacts_are_made_when_asked_for() {
    let store = OwnStore::new();
    let backend = backend(RuntimeConfig { aot: false, ..config(&store) });
    let requests: Vec<_> = (0..8).map(numbered).collect();
    // What is compiled to memory gives way to its artifact.
    backend.compile_jit_sync(requests[0].clone()).unwrap();
    assert_eq!(kind(&backend, &requests[0]), Some(ProgramKind::Jit));
    assert_eq!(store.len(), 0);
    backend.prepare_aot_sync(aot(&requests[0])).unwrap();
    assert_eq!(kind(&backend, &requests[0]), Some(ProgramKind::Aot));
    backend.prepare_aot(aot(&requests[1]));
    backend.prepare_aot_batch(requests[2..4].iter().map(aot).collect());
    assert!(backend.wait_idle(LONG));
    assert_eq!(store.len(), 4);
    let results = backend.prepare_aot_batch_sync(requests[..8].iter().map(aot).collect());
    assert_eq!(results.len(), 8);
    assert!(results.iter().all(Result::is_ok));
    assert!(backend.wait_idle(LONG));
    let stats = backend.stats();
    assert_eq!((store.len(), stats.artifacts_stored), (8, 8), "none twice");
    assert_eq!((stats.commands_dropped, stats.pending_jobs), (0, 0));
    assert!(requests.iter().all(|r| kind(&backend, r) == Some(ProgramKind::Aot)));
    // The level is that of artifacts.
    let (key, _) = store.load_all().unwrap().pop().unwrap();
    assert_eq!(key.opt_level, OptimizationLevel::Default);
}

#[test]
fn an_artifact_is_made_without_workers_too() {
    let store = OwnStore::new();
    let tuning = RuntimeTuning { jit_worker_count: 0, ..Default::default() };
    let backend = backend(RuntimeConfig { tuning, aot: false, ..config(&store) });
    let requests: Vec<_> = (0..3).map(numbered).collect();
    backend.prepare_aot(aot(&requests[0]));
    assert_eq!(backend.stats().commands_dropped, 1);
    let results = backend.prepare_aot_batch_sync(requests.iter().map(aot).collect());
    assert!(results.iter().all(Result::is_ok));
    assert_eq!((store.len(), backend.stats().commands_dropped), (3, 1));
}

#[test]
fn without_a_store_code_is_compiled_to_memory() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let config = RuntimeConfig {
        aot: true,
        enabled: true,
        on_compilation: Some(Arc::new(move |event| seen.lock().unwrap().push(event))),
        ..Default::default()
    };
    let backend = backend(config);
    let request = request(&summing());
    for _ in 0..100 {
        backend.lookup(request.clone());
    }
    assert!(backend.wait_idle(LONG));
    assert_eq!(kind(&backend, &request), Some(ProgramKind::Jit));
    let error = backend.prepare_aot_sync(aot(&request)).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RuntimeError::NoStore)), "{error}");
    backend.prepare_aot(aot(&request));
    backend.prepare_aot_batch(vec![aot(&request), aot(&request)]);
    assert_eq!(backend.stats().commands_dropped, 3);
    backend.clear_all();
    let events: Vec<CompilationEvent> = std::mem::take(&mut events.lock().unwrap());
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| event.kind == CompilationKind::Jit && event.success));
}

/// What can't be stored serves until the process ends, isn't compiled again, and is told of.
#[test]
fn a_store_that_fails_costs_its_artifacts_only() {
    for panics in [false, true] {
        let store = OwnStore::new();
        store.panics.store(panics, SeqCst);
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let config = RuntimeConfig {
            on_compilation: Some(Arc::new(move |event| seen.lock().unwrap().push(event))),
            ..config(&store)
        };
        let backend = backend(config);
        store.fail(Some("store"));
        let request = request(&summing());
        for _ in 0..100 {
            backend.lookup(request.clone());
            backend.compile_jit(request.clone());
        }
        assert!(backend.wait_idle(LONG));
        assert_eq!(kind(&backend, &request), Some(ProgramKind::Jit));
        assert_eq!(run(&backend, &summing()), interpreted(&summing()));
        backend.compile_jit_sync(request.clone()).unwrap();
        let stats = backend.stats();
        assert_eq!((stats.compilations_dispatched, stats.compilations_failed), (1, 1));
        assert_eq!((stats.artifacts_stored, stats.artifact_store_errors), (0, 1));
        let events: Vec<CompilationEvent> = std::mem::take(&mut events.lock().unwrap());
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].kind, events[0].success), (CompilationKind::Aot, false));
        // Who wants the artifact itself is told why there is none.
        let error = backend.prepare_aot_sync(aot(&request)).unwrap_err();
        let Some(RuntimeError::CompileFailed { failure, .. }) = error.downcast_ref() else {
            panic!("{error}")
        };
        assert!(matches!(**failure, CompileFailure::NotStored(_)), "{failure}");
        let word = if panics { "panicked" } else { "told to fail" };
        assert!(error.to_string().contains(word), "{error}");
        // Once the store is well again, so is the artifact.
        store.fail(None);
        backend.prepare_aot_sync(aot(&request)).unwrap();
        assert_eq!((kind(&backend, &request), store.len()), (Some(ProgramKind::Aot), 1));
    }
}

#[test]
fn what_is_to_be_deleted_isnt_used_until_it_is() {
    let store = OwnStore::new();
    let backend = backend(blocking(&store));
    let (old, new) = (numbered(1), numbered(2));
    backend.prepare_aot_sync(aot(&old)).unwrap();
    store.fail(Some("clear"));
    backend.clear_all();
    let refused = backend.prepare_aot_sync(aot(&new)).unwrap_err();
    assert!(format!("{refused:#}").contains("told to fail"), "{refused:#}");
    // Compiled, and not loaded.
    assert!(matches!(backend.lookup_blocking(old.clone()), LookupDecision::Compiled(_)));
    assert_eq!(kind(&backend, &old), Some(ProgramKind::Jit));
    assert_eq!(store.len(), 1);
    store.fail(None);
    backend.clear_resident();
    backend.prepare_aot_sync(aot(&new)).unwrap();
    let stored: Vec<_> = store.artifacts.lock().unwrap().keys().map(|key| key.runtime).collect();
    assert_eq!(stored, [new.key]);
}

#[test]
fn no_artifact_is_made_under_a_wrong_hash() {
    let store = OwnStore::new();
    let backend = backend(blocking(&store));
    let right = numbered(1);
    let wrong = AotRequest { code: numbered(2).code, ..aot(&right) };
    let error = backend.prepare_aot_sync(wrong).unwrap_err();
    assert!(format!("{error:#}").contains("hash"), "{error:#}");
    assert_eq!(store.len(), 0);
    backend.prepare_aot_sync(aot(&right)).unwrap();
    assert_eq!(store.len(), 1);
}

#[test]
fn a_pause_keeps_nobody_from_compiling_what_a_worker_began() {
    let store = OwnStore::new();
    let backend = backend(config(&store));
    let request = request(&long_code(20_000));
    backend.prepare_aot(aot(&request));
    thread::sleep(Duration::from_millis(3));
    backend.pause();
    // Whether the worker was done, or at it, or hadn't begun.
    backend.prepare_aot_sync(aot(&request)).unwrap();
    assert_eq!(kind(&backend, &request), Some(ProgramKind::Aot));
    backend.resume();
}

#[test]
fn what_cant_be_deleted_keeps_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(DirArtifactStore::open_with_limit(directory.path(), 1).unwrap());
    let backend = backend(blocking(&store));
    let key = |n| ArtifactKey {
        runtime: numbered(n).key,
        backend: BackendSelection::Llvm,
        opt_level: OptimizationLevel::Default,
    };
    fs::create_dir(store.path_of(&key(1))).unwrap();
    for n in [2, 3] {
        backend.prepare_aot_sync(aot(&numbered(n))).unwrap();
    }
    assert!(!store.path_of(&key(2)).exists(), "it is beyond the limit");
    assert!(store.path_of(&key(3)).exists());
    store.clear().unwrap();
    assert!(!store.path_of(&key(3)).exists());
    assert!(store.path_of(&key(1)).is_dir(), "it isn't the store's");
}

#[cfg(unix)]
#[test]
fn a_directory_of_another_user_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    // Only root may give a directory away.
    if std::os::unix::fs::chown(directory.path(), Some(12_345), None).is_ok() {
        let error = DirArtifactStore::open(directory.path()).unwrap_err();
        assert_eq!(error.reason(), "foreign-owner", "{error}");
    }
}

#[test]
fn loading_that_fails_is_a_miss() {
    for panics in [false, true] {
        let store = OwnStore::new();
        run(&backend(blocking(&store)), &summing());
        store.panics.store(panics, SeqCst);
        store.fail(Some("load"));
        let second = backend(RuntimeConfig { enabled: false, ..config(&store) });
        second.compile_jit_sync(request(&summing())).unwrap();
        let stats = second.stats();
        assert_eq!((stats.artifacts_loaded, stats.artifact_store_errors), (0, 1));
        assert_eq!((stats.compilations_succeeded, stats.artifacts_stored), (1, 1));
    }
}

/// What is forgotten while it is stored was compiled all the same: by a caller, and by a worker.
#[test]
fn a_clear_while_an_artifact_is_stored_is_no_failure() {
    let store = OwnStore::new();
    let backend = backend(config(&store));
    let clearing = backend.clone();
    *store.on_store.lock().unwrap() = Some(Box::new(move || clearing.clear_resident()));
    backend.prepare_aot_sync(aot(&numbered(1))).unwrap();
    backend.prepare_aot(aot(&numbered(2)));
    assert!(backend.wait_idle(LONG));
    let stats = backend.stats();
    assert_eq!((stats.compilations_succeeded, stats.compilations_failed), (2, 0));
    assert_eq!((stats.artifacts_stored, stats.resident_entries), (2, 0));
    // The handle in the store would keep the backend alive.
    *store.on_store.lock().unwrap() = None;
}

/// A damaged or strange file in an artifact's place, and how it is counted.
struct Fault {
    name: &'static str,
    /// Changes the artifact's bytes. The other argument is another contract's artifact.
    change: fn(&mut Vec<u8>, &[u8]),
    reason: fn(&ArtifactRefusals) -> u64,
}

const FAULTS: [Fault; 13] = [
    Fault { name: "empty", change: |bytes, _| bytes.clear(), reason: |r| r.damaged },
    Fault { name: "one byte", change: |bytes, _| bytes.truncate(1), reason: |r| r.damaged },
    Fault { name: "half a header", change: |bytes, _| bytes.truncate(90), reason: |r| r.damaged },
    Fault {
        name: "half",
        change: |bytes, _| bytes.truncate(bytes.len() / 2),
        reason: |r| r.damaged,
    },
    Fault {
        name: "without the last byte",
        change: |bytes, _| bytes.truncate(bytes.len() - 1),
        reason: |r| r.damaged,
    },
    Fault { name: "longer", change: |bytes, _| bytes.push(0), reason: |r| r.damaged },
    Fault {
        name: "a library",
        change: |bytes, _| *bytes = b"\x7fELF\x02\x01\x01\0".repeat(100),
        reason: |r| r.foreign,
    },
    Fault { name: "a text", change: |bytes, _| *bytes = vec![b'x'; 40], reason: |r| r.foreign },
    Fault { name: "of another version", change: |bytes, _| bytes[8] += 1, reason: |r| r.format },
    Fault { name: "another ABI", change: |bytes, _| bytes[30] ^= 1, reason: |r| r.damaged },
    Fault {
        name: "flipped code",
        change: |bytes, _| {
            let middle = bytes.len() * 2 / 3;
            bytes[middle] ^= 4;
        },
        reason: |r| r.damaged,
    },
    Fault {
        name: "flipped hash",
        change: |bytes, _| *bytes.last_mut().unwrap() ^= 1,
        reason: |r| r.damaged,
    },
    Fault {
        name: "another contract's",
        change: |bytes, other| *bytes = other.to_vec(),
        reason: |r| r.misplaced,
    },
];

/// Whatever is wrong with a file: it isn't run, the reason is counted, the file deleted through the
/// store, and the contract compiled again.
#[test]
fn no_bad_file_is_run() {
    let code = long_code(1500);
    let store = OwnStore::new();
    let good = |request: &LookupRequest| {
        backend(blocking(&store)).prepare_aot_sync(aot(request)).unwrap();
        store.bytes(request)
    };
    let (request, other) = (request(&code), good(&numbered(1)));
    for Fault { name, change, reason } in FAULTS {
        for fits in [false, true] {
            if name == "longer" && !fits {
                // What follows an artifact isn't part of it.
                continue;
            }
            let mut bytes = good(&request);
            change(&mut bytes, &other);
            store.replace(&request, &bytes, fits);
            let deleted = store.calls("delete");
            let second = backend(blocking(&store));
            let stats = second.stats();
            assert_eq!(stats.artifacts_loaded, 1, "{name}: the other one");
            assert_eq!(stats.artifact_refusals.total(), 1, "{name}");
            // A manifest of another length is noticed first.
            let is_told = reason(&stats.artifact_refusals) + stats.artifact_refusals.damaged;
            assert!(is_told > 0 && (!fits || reason(&stats.artifact_refusals) == 1), "{name}");
            assert_eq!(store.calls("delete"), deleted + 1, "{name}");
            assert_eq!(run(&second, &code), interpreted(&code), "{name}");
            assert_eq!(second.stats().artifacts_stored, 1, "{name}: made again");
            assert_eq!(backend(blocking(&store)).stats().artifacts_loaded, 2, "{name}");
        }
    }
}

/// Random damage, with a manifest that fits it: results stay the interpreter's.
#[test]
fn no_random_damage_is_run() {
    let codes = [summing(), calling(), long_code(600)];
    let store = OwnStore::new();
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for round in 0..150 {
        let backend = backend(blocking(&store));
        for code in &codes {
            assert_eq!(run(&backend, code), interpreted(code), "round {round}");
            let mut bytes = store.bytes(&request(code));
            for _ in 0..=random(3) {
                let place = random(bytes.len());
                bytes[place] ^= 1 << random(8);
            }
            if random(3) == 0 {
                bytes.truncate(random(bytes.len()));
            }
            store.replace(&request(code), &bytes, true);
        }
        let refused = backend.stats().artifact_refusals.total();
        assert_eq!(refused, if round == 0 { 0 } else { codes.len() as u64 }, "round {round}");
    }
}

#[test]
fn artifacts_of_other_options_are_made_again() {
    let code = calling();
    let others: [fn(&mut RuntimeConfig); 3] = [
        |config| config.no_dedup = true,
        |config| config.no_dse = true,
        |config| config.debug_assertions = true,
    ];
    for change in others {
        let store = OwnStore::new();
        run(&backend(blocking(&store)), &code);
        let mut config = blocking(&store);
        change(&mut config);
        let second = backend(config);
        let stats = second.stats();
        assert_eq!((stats.artifacts_loaded, stats.artifact_refusals.options), (0, 1));
        assert_eq!(run(&second, &code), interpreted(&code));
        assert_eq!((store.len(), second.stats().artifacts_stored), (1, 1));
    }
}

/// Artifacts of another level have a key of their own: two configurations may share a store.
#[test]
fn artifacts_of_another_level_are_left_alone() {
    let store = OwnStore::new();
    for (aot_opt_level, stored) in [
        (OptimizationLevel::None, 1),
        (OptimizationLevel::Aggressive, 2),
        (OptimizationLevel::None, 2),
    ] {
        let tuning = RuntimeTuning { aot_opt_level, ..Default::default() };
        let backend = backend(RuntimeConfig { tuning, ..blocking(&store) });
        assert_eq!(run(&backend, &summing()), interpreted(&summing()));
        assert_eq!((store.len(), store.calls("delete")), (stored, 0));
        let key = ArtifactKey {
            runtime: request(&summing()).key,
            backend: BackendSelection::Llvm,
            opt_level: aot_opt_level,
        };
        assert!(store.load(&key).unwrap().is_some());
    }
    // What is there at other levels makes nothing hot.
    let cold = backend(RuntimeConfig { enabled: true, aot: false, ..config(&store) });
    assert!(matches!(cold.lookup(request(&summing())), LookupDecision::Interpret(_)));
    assert!(cold.wait_idle(Duration::from_secs(10)));
    assert_eq!(cold.stats().compilations_dispatched, 0);
    // A client may rebuild keys with a level that isn't the artifact's: the artifact decides.
    let mut artifacts = store.artifacts.lock().unwrap();
    artifacts.retain(|key, _| key.opt_level == OptimizationLevel::Aggressive);
    let (_, stored) = artifacts.drain().next().unwrap();
    let default = ArtifactKey {
        runtime: request(&summing()).key,
        backend: BackendSelection::Llvm,
        opt_level: OptimizationLevel::Default,
    };
    artifacts.insert(default, stored);
    drop(artifacts);
    let tuning =
        RuntimeTuning { aot_opt_level: OptimizationLevel::Aggressive, ..Default::default() };
    let backend = backend(RuntimeConfig { tuning, ..blocking(&store) });
    assert_eq!(backend.stats().artifacts_loaded, 1);
}

/// What is beyond the budget is loaded when it is first missed, by a worker, and not compiled.
#[test]
fn what_isnt_preloaded_is_loaded_when_it_is_missed() {
    let store = OwnStore::new();
    let codes = [summing(), calling()];
    for code in &codes {
        run(&backend(blocking(&store)), code);
    }
    for aot in [false, true] {
        let tuning = RuntimeTuning { resident_code_cache_bytes: 1, ..Default::default() };
        let backend = backend(RuntimeConfig { tuning, aot, ..config(&store) });
        assert_eq!(backend.stats().resident_entries, 0);
        for code in &codes {
            let request = request(code);
            assert!(matches!(backend.lookup(request.clone()), LookupDecision::Interpret(_)));
            eventually("loaded", || kind(&backend, &request) == Some(ProgramKind::Aot));
        }
        // One at a time fits; what was evicted is loaded again, also for an EVM and in a call that
        // waits.
        let stats = backend.stats();
        assert_eq!((stats.resident_entries, stats.evictions), (1, 1));
        run(&backend, &codes[0]);
        eventually("loaded", || is_resident(&backend, &request(&codes[0])));
        backend.compile_jit_sync(request(&codes[1])).unwrap();
        let stats = backend.stats();
        assert_eq!((stats.artifacts_loaded, stats.compilations_dispatched), (4, 0));
    }
}

/// The store's word for what it has holds until it turns out wrong.
#[test]
fn what_isnt_there_any_more_is_compiled() {
    let store = OwnStore::new();
    run(&backend(blocking(&store)), &summing());
    let tuning = RuntimeTuning { resident_code_cache_bytes: 1, ..Default::default() };
    let backend = backend(RuntimeConfig { tuning, ..config(&store) });
    store.clear().unwrap();
    backend.compile_jit_sync(request(&summing())).unwrap();
    assert_eq!((backend.stats().artifacts_stored, store.len()), (1, 1));
}

/// Another process may put another artifact in the place of one that was just told of.
#[test]
fn a_file_that_was_replaced_meanwhile_is_read_again() {
    struct Stale(Arc<OwnStore>, StoredArtifact);
    impl ArtifactStore for Stale {
        fn load_all(&self) -> eyre::Result<Vec<(ArtifactKey, StoredArtifact)>> {
            Ok(vec![(self.1.manifest.artifact_key.clone(), self.1.clone())])
        }
        fn load(&self, key: &ArtifactKey) -> eyre::Result<Option<StoredArtifact>> {
            self.0.load(key)
        }
        fn store(&self, k: &ArtifactKey, m: &ArtifactManifest, b: &[u8]) -> eyre::Result<()> {
            self.0.store(k, m, b)
        }
        fn delete(&self, key: &ArtifactKey) -> eyre::Result<()> {
            self.0.delete(key)
        }
        fn clear(&self) -> eyre::Result<()> {
            self.0.clear()
        }
    }
    let store = OwnStore::new();
    run(&backend(blocking(&store)), &summing());
    let (_, mut stale) = store.load_all().unwrap().pop().unwrap();
    stale.manifest.content_hash[0] ^= 1;
    let second = backend(blocking(&Arc::new(Stale(Arc::clone(&store), stale))));
    let stats = second.stats();
    assert_eq!((stats.artifacts_loaded, stats.artifact_refusals.total()), (1, 0));
    assert_eq!(store.calls("delete"), 0);
}

#[test]
fn backends_may_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = || Arc::new(DirArtifactStore::open(directory.path()).unwrap());
    let [first, second] = [backend(blocking(&store())), backend(blocking(&store()))];
    run(&first, &summing());
    // The second doesn't know, and needn't compile.
    run(&second, &summing());
    let stats = second.stats();
    assert_eq!((stats.artifacts_loaded, stats.compilations_dispatched), (1, 0));
    thread::scope(|scope| {
        for backend in [&first, &second] {
            scope.spawn(move || {
                for n in 0..40 {
                    backend.compile_jit_sync(numbered(n)).unwrap();
                }
            });
        }
    });
    for backend in [first, second] {
        let stats = backend.stats();
        assert_eq!((stats.resident_entries, stats.artifact_refusals.total()), (41, 0));
    }
    assert_eq!(store().load_all().unwrap().len(), 41);
}
