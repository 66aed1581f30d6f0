//! What is made: when, by whom, and what isn't.

use crate::{
    common::{LONG, long_code, numbered, request, summing},
    world::{OwnStore, aot, backend, blocking, config, interpreted, kind, run},
};
use cranevm::{
    OptimizationLevel,
    runtime::{
        AotRequest, ArtifactStore, CompilationEvent, CompilationKind, CompileFailure,
        LookupDecision, ProgramKind, RuntimeConfig, RuntimeError, RuntimeTuning,
    },
};
use std::{
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    thread,
    time::Duration,
};

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

/// Other processes may use the store, too: it is asked.
#[test]
fn what_somebody_else_deleted_is_made_again() {
    let store = OwnStore::new();
    let backend = backend(RuntimeConfig { aot: false, ..config(&store) });
    let request = numbered(1);
    let made = |stored| {
        backend.prepare_aot_sync(aot(&request)).unwrap();
        assert_eq!((store.len() as u64, backend.stats().artifacts_stored), (1, stored));
    };
    made(1);
    made(1);
    store.clear().unwrap();
    made(2);
    made(2);
    store.clear().unwrap();
    let results = backend.prepare_aot_batch_sync(vec![aot(&request)]);
    assert!(results[0].is_ok() && store.len() == 1);
    // One that can't be looked for is stored, if that works.
    store.fail(Some("load"));
    made(4);
    store.fail(None);
    made(4);
}

/// The caller makes what no worker does.
#[test]
fn a_batch_after_the_end_is_made_by_its_caller() {
    let store = OwnStore::new();
    let backend = backend(config(&store));
    backend.shut_down();
    let results = backend.prepare_aot_batch_sync(vec![aot(&numbered(1)), aot(&numbered(2))]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let stats = backend.stats();
    assert_eq!((stats.artifacts_stored, stats.commands_dropped), (2, 0));
}
