//! What is loaded: by the next process, when it is missed, of which configuration.

use crate::{
    common::{
        LONG, PROBE, calling, eventually, is_resident, long_code, numbered, request, summing,
    },
    world::{OwnStore, aot, backend, blocking, config, interpreted, kind, run},
};
use cranevm::{
    OptimizationLevel,
    runtime::{
        ArtifactKey, ArtifactRefusals, ArtifactStore, BackendSelection, LookupDecision,
        ProgramKind, RuntimeConfig, RuntimeTuning,
    },
};
use revm::context::result::ExecutionResult;
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

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
    run(&backend(blocking(&store)), PROBE);
    for single_error in [true, false] {
        let second = backend(RuntimeConfig { single_error, ..blocking(&store) });
        assert_eq!(second.stats().artifacts_loaded, 1);
        let ExecutionResult::Halt { reason, .. } = run(&second, PROBE).result else {
            panic!("must halt")
        };
        assert_eq!(format!("{reason:?}").contains("OutOfGas"), single_error, "{reason:?}");
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

/// What isn't resident is loaded when it is first missed, by a worker, and not compiled.
#[test]
fn what_isnt_preloaded_is_loaded_when_it_is_missed() {
    let store = OwnStore::new();
    let codes = [summing(), calling()];
    for code in &codes {
        run(&backend(blocking(&store)), code);
    }
    for aot in [false, true] {
        let backend = backend(RuntimeConfig { aot, ..config(&store) });
        assert_eq!(backend.stats().artifacts_loaded, 2);
        backend.clear_resident();
        for code in &codes {
            let request = request(code);
            assert!(matches!(backend.lookup(request.clone()), LookupDecision::Interpret(_)));
            eventually("loaded", || kind(&backend, &request) == Some(ProgramKind::Aot));
        }
        // Also for an EVM and in a call that waits.
        backend.clear_resident();
        run(&backend, &codes[0]);
        eventually("loaded", || is_resident(&backend, &request(&codes[0])));
        backend.compile_jit_sync(request(&codes[1])).unwrap();
        let stats = backend.stats();
        assert_eq!((stats.artifacts_loaded, stats.compilations_dispatched), (6, 0));
    }
}

/// What the budget has no room for isn't loaded at the start, and once in the background. The store
/// keeps it.
#[test]
fn what_is_beyond_the_budget_is_loaded_once() {
    let store = OwnStore::new();
    let wanted = request(&summing());
    run(&backend(blocking(&store)), &summing());
    let tuning = RuntimeTuning { resident_code_cache_bytes: 1, ..Default::default() };
    let backend = backend(RuntimeConfig { tuning, ..config(&store) });
    assert_eq!(backend.stats().artifacts_loaded, 0);
    for _ in 0..3 {
        assert!(matches!(backend.lookup(wanted.clone()), LookupDecision::Interpret(_)));
        assert!(backend.wait_idle(LONG));
        let stats = backend.stats();
        assert_eq!((stats.artifacts_loaded, stats.compilations_dispatched), (1, 0));
        assert_eq!((stats.jit_total_bytes(), store.len()), (0, 1));
    }
    // Who asks for the artifact by name has it.
    backend.prepare_aot_sync(aot(&wanted)).unwrap();
    assert_eq!(backend.stats().compilations_dispatched, 0);
}

/// The store's word for what it has holds until it turns out wrong.
#[test]
fn what_isnt_there_any_more_is_compiled() {
    let store = OwnStore::new();
    run(&backend(blocking(&store)), &summing());
    let backend = backend(config(&store));
    backend.clear_resident();
    store.clear().unwrap();
    backend.compile_jit_sync(request(&summing())).unwrap();
    assert_eq!((backend.stats().artifacts_stored, store.len()), (1, 1));
}

/// What another process has stored meanwhile is loaded when somebody wants it, and then known.
#[test]
fn what_another_backend_stored_is_loaded_once() {
    let store = OwnStore::new();
    let second = backend(RuntimeConfig { aot: false, ..blocking(&store) });
    let wanted = numbered(1);
    backend(blocking(&store)).prepare_aot_sync(aot(&wanted)).unwrap();
    for _ in 0..2 {
        second.prepare_aot_sync(aot(&wanted)).unwrap();
        let stats = second.stats();
        assert_eq!((stats.artifacts_loaded, stats.artifacts_stored), (1, 0));
    }
    second.clear_resident();
    assert!(matches!(second.lookup(wanted.clone()), LookupDecision::Compiled(_)));
    assert_eq!(kind(&second, &wanted), Some(ProgramKind::Aot));
    assert_eq!(second.stats().compilations_dispatched, 0);
}
