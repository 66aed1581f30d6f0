//! Clears of the store, and of what is resident, with work under way.

use crate::{
    common::{LONG, eventually, numbered},
    world::{OwnStore, aot, backend, blocking, config, kind},
};
use cranevm::runtime::{LookupDecision, ProgramKind};
use std::thread;

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

/// A clear waits for the store's calls, and one of these may be what asks for it.
#[test]
fn a_clear_after_the_end_waits_for_nothing() {
    let store = OwnStore::new();
    let backend = backend(config(&store));
    backend.shut_down();
    let clearing = backend.clone();
    *store.on_store.lock().unwrap() = Some(Box::new(move || clearing.clear_persisted()));
    let made = thread::spawn(move || backend.prepare_aot_sync(aot(&numbered(1))).is_ok());
    eventually("it is stored", || made.is_finished());
    assert!(made.join().unwrap());
    eventually("it is deleted", || store.calls("clear") == 1 && store.len() == 0);
    *store.on_store.lock().unwrap() = None;
}

/// However often it is asked for.
#[cfg(target_os = "linux")]
#[test]
fn clears_of_a_slow_store_share_a_thread() {
    use crate::common::threads;
    use cranevm::runtime::RuntimeConfig;
    use std::time::Duration;

    let store = OwnStore::new();
    let backend = backend(RuntimeConfig { thread_name: "clr-backend".into(), ..config(&store) });
    let held = store.clearing.lock().unwrap();
    backend.clear_persisted();
    eventually("the store is at it", || store.calls("clear") == 1);
    for _ in 1..50 {
        backend.clear_persisted();
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(threads("clr-clear"), ["clr-clear"]);
    drop(held);
    eventually("it is done", || threads("clr-clear").is_empty());
    // Once for what was asked for while the store was at it.
    assert_eq!(store.calls("clear"), 2);
    backend.prepare_aot_sync(aot(&numbered(1))).unwrap();
    assert_eq!(store.len(), 1, "nothing is to be cleared any more");
}
