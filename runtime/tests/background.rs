//! Compilation in the background: promotion, priorities of what is asked, pausing, saturation, the
//! end of the backend.

mod common;

use common::{
    LONG, PROBE, SPEC, TARGET, backend, call, database, enabled, eventually, evm, held_up::HeldUp,
    is_resident, long_code, numbered, request,
};
use cranevm::{
    OptimizationLevel,
    revm_evm::JitEvm,
    runtime::{InterpretReason, JitBackend, LookupDecision, RuntimeConfig, RuntimeTuning},
};
use revm::{ExecuteEvm, context::result::ExecutionResult};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

#[test]
fn lookups_promote_at_the_threshold() {
    let backend = backend(RuntimeTuning { jit_hot_threshold: 3, ..Default::default() });
    let request = numbered(0);
    for _ in 0..2 {
        let decision = backend.lookup(request.clone());
        assert!(matches!(decision, LookupDecision::Interpret(InterpretReason::NotReady)));
    }
    assert!(backend.wait_idle(LONG));
    assert_eq!(backend.stats().compilations_dispatched, 0);
    backend.lookup(request.clone());
    assert!(backend.wait_idle(LONG));
    assert!(matches!(backend.lookup(request), LookupDecision::Compiled(_)));
    let stats = backend.stats();
    // At the baseline, and at the level that is configured.
    assert_eq!((stats.compilations_dispatched, stats.compilations_succeeded), (1, 1));
    assert_eq!((stats.upgrades_dispatched, stats.upgrades_succeeded), (1, 1));
    assert_eq!((stats.pending_jobs, stats.compilations_failed), (0, 0));
    assert_eq!((stats.lookup_hits, stats.lookup_misses), (1, 3));
}

#[test]
fn a_baseline_level_isnt_compiled_twice() {
    for jit_opt_level in [OptimizationLevel::None, OptimizationLevel::Less] {
        let backend = backend(RuntimeTuning { jit_opt_level, ..Default::default() });
        backend.compile_jit(request(&long_code(6000)));
        assert!(backend.wait_idle(LONG));
        let stats = backend.stats();
        assert_eq!((stats.compilations_succeeded, stats.upgrades_dispatched), (1, 0));
    }
}

#[test]
fn frames_of_one_evm_promote() {
    let code = long_code(5000);
    let backend = backend(RuntimeTuning::default());
    let mut jit = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
    let expected = evm(database(&[(TARGET, &code)]), SPEC).transact(call()).unwrap().result;
    for n in 1..=8 {
        assert_eq!(jit.transact(call()).unwrap().result, expected);
        assert!(backend.wait_idle(LONG));
        assert_eq!(backend.stats().compilations_dispatched > 0, n == 8, "frame {n}");
    }
    assert_eq!(jit.transact(call()).unwrap().result, expected);
    assert_eq!(backend.hand_overs(), 0, "all chunks are there");
    let stats = backend.stats();
    assert_eq!((stats.lookup_hits, stats.lookup_misses), (1, 8));
}

#[test]
fn compiled_code_replaces_the_interpreter_in_a_live_evm() {
    let backend = backend(RuntimeTuning { jit_hot_threshold: 1, ..Default::default() });
    let mut jit = JitEvm::new(evm(database(&[(TARGET, PROBE)]), SPEC), backend.clone());
    let mut natively = || match jit.transact(call()).unwrap().result {
        ExecutionResult::Halt { reason, .. } => format!("{reason:?}").contains("OutOfGas"),
        other => panic!("must halt: {other:?}"),
    };
    assert!(!natively());
    assert!(backend.wait_idle(LONG));
    assert!(natively());
    backend.clear_resident();
    assert!(!natively());
    assert!(backend.wait_idle(LONG));
    assert!(natively(), "it is learnt again after a clear");
}

#[test]
fn explicit_requests_compile_on_a_disabled_backend() {
    let backend = JitBackend::new(RuntimeConfig::default()).unwrap();
    for n in 0..20 {
        backend.compile_jit(numbered(n));
        backend.compile_jit(numbered(n));
    }
    assert!(backend.wait_idle(LONG));
    assert_eq!(backend.stats().resident_entries, 20);
    let stats = backend.stats();
    assert_eq!((stats.compilations_dispatched, stats.upgrades_dispatched), (20, 20));
    assert!(!backend.enabled());
}

#[test]
fn paused_workers_begin_nothing_and_lose_nothing() {
    // Paused before the workers are there.
    let backend = JitBackend::new(RuntimeConfig::default()).unwrap();
    backend.pause();
    backend.pause();
    for n in 0..30 {
        backend.compile_jit(numbered(n));
    }
    backend.resume();
    assert!(!backend.wait_idle(Duration::from_millis(100)));
    let stats = backend.stats();
    assert_eq!((stats.resident_entries, stats.compilations_dispatched), (0, 0));
    assert_eq!((stats.pending_jobs, stats.command_queue_len), (30, 30));
    // Who can't wait takes its request out of the queue.
    backend.compile_jit_sync(numbered(7)).unwrap();
    assert_eq!(backend.stats().resident_entries, 1);
    backend.resume();
    assert!(backend.wait_idle(LONG));
    let stats = backend.stats();
    assert_eq!((stats.resident_entries, stats.pending_jobs, stats.command_queue_len), (30, 0, 0));
    assert_eq!((stats.compilations_dispatched, stats.upgrades_dispatched), (30, 29));
}

#[test]
fn saturation_is_counted() {
    let tuning = RuntimeTuning {
        channel_capacity: 3,
        jit_worker_count: 1,
        jit_worker_queue_capacity: 2,
        jit_hot_threshold: 1,
        ..Default::default()
    };
    let backend = backend(tuning);
    backend.pause();
    for n in 0..10 {
        backend.compile_jit(numbered(n));
        backend.lookup(numbered(100 + n));
    }
    let stats = backend.stats();
    assert_eq!((stats.command_queue_len, stats.commands_dropped), (3, 7));
    assert_eq!((stats.events_queued, stats.events_dropped), (2, 8));
    assert_eq!(stats.pending_jobs, 5);
    backend.resume();
    assert!(backend.wait_idle(LONG));
    // What was refused is counted anew, and compiled.
    backend.lookup(numbered(109));
    assert!(backend.wait_idle(LONG));
    assert!(is_resident(&backend, &numbered(109)));
    assert_eq!(backend.stats().pending_jobs, 0);
}

#[test]
fn pending_contracts_are_bounded() {
    let backend = backend(RuntimeTuning { jit_max_pending_jobs: 4, ..Default::default() });
    backend.pause();
    (0..10).for_each(|n| backend.compile_jit(numbered(n)));
    assert_eq!((backend.stats().pending_jobs, backend.stats().commands_dropped), (4, 6));
    backend.resume();
    assert!(backend.wait_idle(LONG));
    assert_eq!(backend.stats().resident_entries, 4);
}

#[test]
fn without_workers_callers_compile() {
    let backend = backend(RuntimeTuning { jit_worker_count: 0, ..Default::default() });
    backend.compile_jit(numbered(1));
    assert_eq!((backend.stats().commands_dropped, backend.stats().pending_jobs), (1, 0));
    (0..20)
        .for_each(|_| assert!(matches!(backend.lookup(numbered(2)), LookupDecision::Interpret(_))));
    assert_eq!(backend.stats().pending_jobs, 0);
    backend.compile_jit_sync(numbered(1)).unwrap();
    assert!(is_resident(&backend, &numbered(1)));
}

#[test]
fn a_synchronous_call_ends_in_time() {
    let backend = backend(RuntimeTuning { jit_max_bytecode_len: 0, ..Default::default() });
    let code = long_code(60_000);
    let start = Instant::now();
    let limit = Duration::from_millis(2);
    let error = backend.compile_jit_sync_timeout(request(&code), limit).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("within 2ms"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(5));
    // It isn't held against the code.
    backend.compile_jit_sync(request(&code)).unwrap();
    assert_eq!(backend.stats().pending_jobs, 0);
}

#[test]
fn dropping_the_last_handle_ends_the_work() {
    let backend = backend(RuntimeTuning { jit_max_bytecode_len: 0, ..Default::default() });
    for n in 0..200u8 {
        backend.compile_jit(request(&[&long_code(20_000)[..], &[n]].concat()));
    }
    let kept = Arc::new(OnceLock::new());
    eventually("the first program", || {
        (0..200u8).any(|n| {
            let key = request(&[&long_code(20_000)[..], &[n]].concat()).key;
            backend.get_compiled(key.code_hash, SPEC).is_some_and(|p| kept.set(p).is_ok())
        })
    });
    let start = Instant::now();
    drop(backend);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(kept.get().unwrap().key.spec_id, SPEC, "the program lives on with its user");
}

/// The callback holds the last handle, and lets go of it: the housekeeping thread ends the backend.
#[test]
fn the_last_handle_may_go_in_the_callback() {
    let slot = Arc::new(std::sync::Mutex::new(None::<JitBackend>));
    let ended = Arc::new(AtomicBool::new(false));
    let config = RuntimeConfig {
        on_compilation: Some(Arc::new({
            let (slot, ended) = (Arc::clone(&slot), Arc::clone(&ended));
            move |_| {
                let handle = slot.lock().unwrap().take();
                drop(handle);
                ended.store(true, Ordering::SeqCst);
            }
        })),
        ..enabled(RuntimeTuning::default())
    };
    let backend = JitBackend::new(config).unwrap();
    backend.pause();
    backend.compile_jit(numbered(1));
    *slot.lock().unwrap() = Some(backend.clone());
    backend.resume();
    drop(backend);
    eventually("the end", || ended.load(Ordering::SeqCst));
    assert!(slot.lock().unwrap().is_none());
}

#[test]
fn a_blocked_callback_harms_nothing() {
    let held = Arc::<HeldUp>::default();
    let config = RuntimeConfig {
        on_compilation: held.callback(),
        ..enabled(RuntimeTuning { channel_capacity: 4, ..Default::default() })
    };
    let backend = JitBackend::new(config).unwrap();
    backend.compile_jit_sync(numbered(0)).unwrap();
    // Its event is no longer in the queue then.
    eventually("the first call", || held.calls() == 1);
    for n in 1..20 {
        backend.compile_jit_sync(numbered(n)).unwrap();
    }
    assert_eq!(backend.stats().resident_entries, 20);
    assert_eq!(backend.stats().events_dropped + backend.stats().events_queued, 19);
    assert_eq!(backend.stats().events_queued, 4);
    held.release();
    assert!(backend.wait_idle(LONG));
    assert_eq!(held.calls(), 5);
}

#[test]
fn a_clear_with_jobs_in_flight_leaves_nothing_pending() {
    let backend = backend(RuntimeTuning::default());
    for round in 0..20 {
        for n in 0..10 {
            backend.compile_jit(numbered(round * 10 + n));
        }
        thread::sleep(Duration::from_millis(round as u64 % 4));
        backend.clear_resident();
        assert!(backend.wait_idle(LONG));
        assert_eq!(backend.stats().pending_jobs, 0);
        let stats = backend.stats();
        let ended = stats.compilations_succeeded + stats.compilations_failed;
        assert_eq!(stats.compilations_dispatched, ended);
    }
    assert_eq!(backend.stats().jit_total_bytes(), 0);
    backend.compile_jit_sync(numbered(0)).unwrap();
    assert!(is_resident(&backend, &numbered(0)));
}

/// The thread that frees what many programs hold is gone by then.
#[test]
fn a_clear_after_the_end_frees_its_programs() {
    let backend = backend(RuntimeTuning::default());
    (0..100).for_each(|n| backend.compile_jit_sync(numbered(n)).unwrap());
    backend.shut_down();
    backend.clear_resident();
    assert_eq!(backend.stats().jit_total_bytes(), 0);
}

#[test]
fn a_program_has_a_status() {
    let backend = backend(RuntimeTuning::default());
    let request = numbered(1);
    let status = || format!("{:?}", backend.status(&request.key));
    assert_eq!(status(), "Unknown");
    backend.lookup(request.clone());
    assert_eq!(status(), "Cold { misses: 1 }");
    backend.pause();
    backend.compile_jit(request.clone());
    assert_eq!(status(), "Pending");
    backend.resume();
    assert!(backend.wait_idle(LONG));
    assert_eq!(status(), "Ready");
    backend.clear_resident();
    assert_eq!(status(), "Unknown");
}

/// From the lookup that makes a contract hot to its program, with idle workers.
#[test]
fn hot_contracts_run_natively_within_milliseconds() {
    for (len, limit_ms) in [(3 * 1024, 20), (24 * 1024, 40)] {
        let backend = backend(RuntimeTuning { jit_hot_threshold: 1, ..Default::default() });
        // The machine may be busy; the best of some tells what the backend takes.
        let best = (0..10u8).map(|n| {
            let request = request(&[&long_code(len - 16)[..], &[n]].concat());
            let start = Instant::now();
            backend.lookup(request.clone());
            while !is_resident(&backend, &request) {
                assert!(start.elapsed() < LONG);
                std::hint::spin_loop();
            }
            let time = start.elapsed();
            assert!(backend.wait_idle(LONG));
            time
        });
        let best = best.min().unwrap();
        println!("{len} bytes: {best:?} from the first lookup to the program");
        assert!(best < Duration::from_millis(limit_ms), "{len} bytes: {best:?}");
    }
}
