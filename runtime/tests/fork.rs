//! A child that is forked and doesn't exec: its parent's backend is off there and ends at once, and
//! the parent notices nothing.
//!
//! A program of its own, whose tests run one by one, so that no other thread initialises anything
//! when it forks.

#![cfg(all(feature = "cranelift", target_os = "linux"))]

#[path = "common/child.rs"]
mod child;
mod common;

use child::in_a_child;
use common::{
    LONG, PROBE, SPEC, TARGET, call, database, enabled, evm, numbered, request, summing, threads,
};
use cranevm::{
    revm_evm::JitEvm,
    runtime::{
        InterpretReason, JitBackend, LookupDecision, ProgramStatus, RuntimeConfig, RuntimeError,
        RuntimeTuning,
    },
};
use revm::{
    ExecuteEvm,
    context::result::{ExecutionResult, HaltReason},
};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Held by the test that runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An EVM over the probe, whose halt tells who ran it.
fn probing(backend: &JitBackend) -> impl FnMut() -> bool + use<> {
    let mut evm = JitEvm::new(evm(database(&[(TARGET, PROBE)]), SPEC), backend.clone());
    move || match evm.transact(call()).unwrap().result {
        ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => true,
        ExecutionResult::Halt { reason: HaltReason::InvalidFEOpcode, .. } => false,
        other => panic!("{other:?}"),
    }
}

/// A backend that would wait for its threads for longer than this test does.
fn backend() -> JitBackend {
    let tuning = RuntimeTuning { shutdown_timeout: 10 * LONG, ..Default::default() };
    JitBackend::new(RuntimeConfig { single_error: true, ..enabled(tuning) }).unwrap()
}

/// All that a child may do with its parent's backend, and one of its own.
fn in_the_child(backend: JitBackend, mut ran_natively: impl FnMut() -> bool) {
    assert!(!backend.enabled() && !ran_natively(), "native code in a child");
    let request = request(PROBE);
    assert!(backend.get_compiled(request.key.code_hash, SPEC).is_none());
    let disabled = LookupDecision::Interpret(InterpretReason::Disabled);
    for decision in [backend.lookup(request.clone()), backend.lookup_blocking(request.clone())] {
        assert_eq!(format!("{decision:?}"), format!("{disabled:?}"));
    }
    for error in [backend.set_enabled(true), backend.compile_jit_sync(request.clone())] {
        assert!(matches!(error.unwrap_err().downcast_ref(), Some(RuntimeError::Forked)));
    }
    backend.set_enabled(false).unwrap();
    backend.compile_jit(numbered(1));
    backend.clear_all();
    backend.pause();
    assert!(!backend.is_paused() && backend.wait_idle(LONG));
    assert!(matches!(backend.status(&request.key), ProgramStatus::Unknown));
    backend.shut_down();
    drop((backend, ran_natively));
    let own = self::backend();
    own.compile_jit_sync(request).unwrap();
    assert!(probing(&own)());
}

#[test]
fn r13_a_child_ends_at_once_and_its_parent_runs_on() {
    let _alone = alone();
    let backend = backend();
    backend.compile_jit_sync(request(PROBE)).unwrap();
    assert!(!threads("revmc-").is_empty(), "there are threads that a child doesn't have");
    let mut ran_natively = probing(&backend);
    assert!(ran_natively());
    let before = backend.stats();
    let (handle, of_child) = (backend.clone(), probing(&backend));
    let status = in_a_child(move || in_the_child(handle, of_child));
    assert_eq!(status, Some(0), "it failed, or hangs");
    assert!(ran_natively() && backend.enabled());
    let after = backend.stats();
    assert_eq!(
        (after.jit_code_bytes, after.resident_entries),
        (before.jit_code_bytes, before.resident_entries)
    );
    // What comes next in the parent doesn't come where its old code is.
    (0..50).for_each(|n| backend.compile_jit_sync(numbered(n)).unwrap());
    backend.compile_jit_sync(request(&summing())).unwrap();
    assert!(ran_natively());
}

/// A lock that another thread had when a child was forked stays locked there.
#[test]
fn r13_no_child_waits_for_a_lock_of_its_parents() {
    let _alone = alone();
    let backend = backend();
    backend.compile_jit_sync(request(PROBE)).unwrap();
    // So many that whoever sums up what they count has the lock for some time.
    let mut evms: Vec<_> = (0..1000).map(|_| probing(&backend)).collect();
    assert!(evms.iter_mut().all(|ran_natively| ran_natively()));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    backend.stats();
                }
            });
        }
        for _ in 0..100 {
            let (handle, mut of_child) = (backend.clone(), probing(&backend));
            assert!(of_child());
            let status = in_a_child(move || {
                assert!(!of_child());
                handle.stats();
                handle.clear_all();
                drop((handle, of_child));
            });
            if status != Some(0) {
                stop.store(true, Ordering::Relaxed);
                panic!("it hangs, or failed: {status:?}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
