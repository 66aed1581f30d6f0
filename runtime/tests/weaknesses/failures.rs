//! Failures: remembered, contained, and told without flooding.

use crate::common::{LONG, backend, log::Warnings, long_code, numbered, refused, request};
use cranevm::runtime::{
    InterpretReason, JitBackend, LookupDecision, RuntimeConfig, RuntimeError, RuntimeTuning,
};
#[cfg(target_os = "linux")]
use std::{env, fs};
use std::{
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tracing::subscriber::with_default;

/// Code that fails to compile is tried once, however often it is looked up.
#[test]
fn w08_failures_are_remembered() {
    let tuning =
        RuntimeTuning { jit_max_bytecode_len: 0, jit_hot_threshold: 2, ..Default::default() };
    let backend = backend(tuning);
    for _ in 0..100 {
        let decision = backend.lookup(refused());
        assert!(matches!(decision, LookupDecision::Interpret(InterpretReason::NotReady)));
        assert!(backend.wait_idle(LONG));
    }
    backend.compile_jit(refused());
    assert!(backend.wait_idle(LONG));
    let stats = backend.stats();
    assert_eq!((stats.compilations_dispatched, stats.compilations_failed), (1, 1));
    // Other code isn't affected.
    backend.compile_jit(numbered(1));
    assert!(backend.wait_idle(LONG));
    assert_eq!(backend.stats().resident_entries, 1);
    // A clear forgets.
    backend.clear_resident();
    backend.compile_jit(refused());
    assert!(backend.wait_idle(LONG));
    assert_eq!(backend.stats().compilations_failed, 2);
}

/// Limits of zero and names that the system doesn't take are clamped or refused; nothing panics.
#[test]
fn w15_odd_configurations_work_or_are_refused() {
    let nothing = RuntimeTuning {
        channel_capacity: 0,
        max_events_per_drain: 0,
        event_drain_interval: Duration::ZERO,
        shutdown_timeout: Duration::ZERO,
        jit_hot_threshold: 0,
        jit_max_pending_jobs: 0,
        jit_worker_count: 0,
        jit_worker_queue_capacity: 0,
        resident_code_cache_bytes: 1,
        idle_evict_duration: Some(Duration::ZERO),
        eviction_sweep_interval: Duration::ZERO,
        compiler_recycle_threshold: 1,
        ..Default::default()
    };
    for jit_worker_count in [0, 2] {
        for thread_name in ["", "a\0b", "a name that is longer than threads can have"] {
            let config = RuntimeConfig {
                enabled: true,
                thread_name: thread_name.into(),
                tuning: RuntimeTuning { jit_worker_count, ..nothing },
                on_compilation: Some(Arc::new(|_| ())),
                ..Default::default()
            };
            let backend = JitBackend::new(config).unwrap();
            for n in 0..10 {
                backend.lookup(numbered(n));
                backend.compile_jit(numbered(n));
            }
            // There is no room for it, which it says.
            assert!(backend.compile_jit_sync(numbered(0)).is_err());
            assert!(backend.wait_idle(LONG));
            let stats = backend.stats();
            assert_eq!((stats.pending_jobs, stats.jit_total_bytes()), (0, 0));
        }
    }
    let everything = RuntimeTuning {
        channel_capacity: usize::MAX,
        max_events_per_drain: usize::MAX,
        event_drain_interval: Duration::MAX,
        shutdown_timeout: Duration::MAX,
        jit_hot_threshold: usize::MAX,
        jit_max_pending_jobs: usize::MAX,
        jit_worker_queue_capacity: usize::MAX,
        resident_code_cache_bytes: usize::MAX,
        idle_evict_duration: Some(Duration::MAX),
        eviction_sweep_interval: Duration::MAX,
        compiler_recycle_threshold: usize::MAX,
        ..Default::default()
    };
    let backend = backend(everything);
    backend.compile_jit(numbered(1));
    assert!(backend.wait_idle(LONG));
    assert_eq!(backend.stats().resident_entries, 1);
    // A handle without machinery says so.
    let disabled = JitBackend::disabled();
    let error = disabled.compile_jit_sync(numbered(1)).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RuntimeError::NoBackend)));
    assert!(!disabled.enabled());
}

/// A thread that can't be started is an error, leaves the backend off, and is tried again.
#[cfg(target_os = "linux")]
#[test]
fn w15_a_thread_that_cant_be_started_is_tried_again() {
    const CHILD: &str = "CRANEVM_TEST_CONFINED";
    if env::var_os(CHILD).is_some() {
        let backend = JitBackend::new(RuntimeConfig::default()).unwrap();
        // Leaves room for less than a worker's stack.
        let mut ballast = Vec::new();
        while let Some(block) = reserve(8 << 20) {
            ballast.push(block);
        }
        assert!(ballast.len() > 1, "the address space is limited");
        let outcome = backend.set_enabled(true);
        let is_enabled = backend.enabled();
        drop(ballast);
        let error = outcome.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(RuntimeError::Thread { .. })), "{error}");
        assert!(!is_enabled);
        backend.set_enabled(true).unwrap();
        backend.compile_jit(numbered(1));
        assert!(backend.wait_idle(LONG));
        assert!(matches!(backend.lookup(numbered(1)), LookupDecision::Compiled(_)));
        return;
    }
    let name = "failures::w15_a_thread_that_cant_be_started_is_tried_again";
    let output = process::Command::new("sh")
        .args(["-c", "ulimit -v 1000000 && exec \"$0\" --exact \"$1\""])
        .arg(env::current_exe().unwrap())
        .arg(name)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

/// So many bytes of address space.
#[cfg(target_os = "linux")]
fn reserve(bytes: usize) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    block.try_reserve_exact(bytes).ok().map(|()| block)
}

/// Workers compile what is hard on the stack.
#[test]
fn w16_workers_have_room() {
    let backend = backend(RuntimeTuning { jit_max_bytecode_len: 0, ..Default::default() });
    let size = 24 * 1024;
    let jumpdests = vec![0x5b; size];
    let pushes = [0x60, 0x01].repeat(500);
    let expression = [&pushes[..], &[0x01; 499]].concat().repeat(size / 1500);
    let dups = [&[0x36][..], &[0x80, 0x01].repeat(size / 2)].concat();
    for code in [jumpdests, expression, dups, long_code(48_000)] {
        backend.compile_jit(request(&code));
    }
    assert!(backend.wait_idle(LONG));
    let stats = backend.stats();
    assert_eq!((stats.resident_entries, stats.compilations_failed), (4, 0));
    // Nor is anything written for a profiler that nobody runs.
    assert!(!Path::new(&format!("/tmp/perf-{}.map", process::id())).exists());
}

/// For a profiler that somebody runs, a file is written; where it can't be, nothing panics.
#[cfg(target_os = "linux")]
#[test]
fn w16_a_profilers_file_that_cant_be_written_costs_a_failure() {
    const CHILD: &str = "CRANEVM_TEST_PROFILED";
    if env::var_os(CHILD).is_some() {
        let file = format!("/tmp/perf-{}.map", process::id());
        fs::create_dir(&file).unwrap();
        let backend = backend(RuntimeTuning::default());
        let outcome = backend.compile_jit_sync(numbered(1));
        backend.compile_jit(numbered(2));
        let is_idle = backend.wait_idle(LONG);
        let decision = backend.lookup_blocking(numbered(3));
        fs::remove_dir(&file).unwrap();
        let error = outcome.unwrap_err();
        assert!(
            matches!(error.downcast_ref(), Some(RuntimeError::CompileFailed { .. })),
            "{error}"
        );
        assert!(matches!(decision, LookupDecision::Interpret(InterpretReason::JitFailed)));
        assert!(is_idle && backend.stats().compilations_failed == 3);
        assert_eq!(backend.stats().jit_total_bytes(), 0, "what was placed is given back");
        return;
    }
    let name = "failures::w16_a_profilers_file_that_cant_be_written_costs_a_failure";
    let output = process::Command::new(env::current_exe().unwrap())
        .args(["--exact", name])
        .envs([(CHILD, "1"), ("PERF_BUILDID_DIR", "/tmp")])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

/// Saturation is counted each time and logged once; what was refused is hot again soon.
#[test]
fn w20_saturation_is_counted_and_told_once() {
    let tuning = RuntimeTuning {
        jit_hot_threshold: 1,
        jit_worker_count: 1,
        jit_worker_queue_capacity: 1,
        ..Default::default()
    };
    let backend = backend(tuning);
    backend.pause();
    let warnings = Arc::new(AtomicUsize::new(0));
    with_default(Warnings(Arc::clone(&warnings)), || {
        (0..1000).for_each(|n| drop(backend.lookup(numbered(n))));
    });
    assert_eq!(warnings.load(Ordering::SeqCst), 1);
    assert_eq!(backend.stats().events_dropped, 999);
    backend.resume();
    assert!(backend.wait_idle(LONG));
    backend.lookup(numbered(999));
    assert!(backend.wait_idle(LONG));
    assert!(matches!(backend.lookup(numbered(999)), LookupDecision::Compiled(_)));
}
