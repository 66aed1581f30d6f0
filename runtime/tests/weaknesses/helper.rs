//! Those that concern helper processes. Part of the test program `helper`, which can be one.

use crate::{
    common::{LONG, eventually, numbered},
    lifetime, tests,
    world::{Folder, SHORT, backend, children, compile, config},
};
use cranevm::runtime::{InterpretReason, LookupDecision, RuntimeConfig, RuntimeTuning};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

tests![
    w08_a_job_that_times_out_is_not_tried_again,
    w09_pausing_is_a_gate,
    w10_lookups_do_not_wait_for_helpers,
    w18_helpers_are_of_this_build_after_an_upgrade_in_place,
];

/// Code whose compilation hangs costs one time-out, and its neighbours nothing.
fn w08_a_job_that_times_out_is_not_tried_again() {
    let folder = Folder::new();
    let tuning = RuntimeTuning {
        jit_hot_threshold: 2,
        jit_timeout: SHORT,
        jit_worker_count: 1,
        ..config().tuning
    };
    let helper = Some(folder.fake("hangs"));
    let backend = backend(RuntimeConfig { jit_helper_path: helper, tuning, ..config() });
    backend.compile_jit(numbered(1));
    assert!(backend.wait_idle(LONG));
    folder.program("");
    assert!(compile(&backend, &numbered(2)), "its neighbour");
    for _ in 0..100 {
        let decision = backend.lookup(numbered(1));
        assert!(matches!(decision, LookupDecision::Interpret(InterpretReason::NotReady)));
    }
    assert!(backend.wait_idle(LONG));
    let stats = backend.stats();
    assert_eq!((stats.compilations_dispatched, stats.compilations_failed), (2, 1));
    assert_eq!(stats.upgrades_succeeded, 1, "the neighbour's");
    assert_eq!((stats.jit_helper_timeouts, stats.jit_helper_restarts), (1, 1));
    // A clear forgets.
    backend.clear_resident();
    assert!(compile(&backend, &numbered(1)));
}

/// Pausing stops no process, counts no time against a job, and can't be lost.
fn w09_pausing_is_a_gate() {
    let backend = backend(config());
    assert!(compile(&backend, &numbered(0)));
    backend.pause();
    (1..=3).for_each(|n| backend.compile_jit(numbered(n)));
    thread::sleep(Duration::from_millis(100));
    assert_eq!(backend.stats().pending_jobs, 3);
    for helper in children() {
        let stat = fs::read_to_string(format!("/proc/{helper}/stat")).unwrap();
        assert!(!stat.contains(") T "), "stopped: {stat}");
    }
    // Many at once, in any order: what counts is the depth.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| backend.pause()));
            scope.spawn(|| (0..1000).for_each(|_| backend.pause()));
        }
    });
    (0..8000).for_each(|_| backend.resume());
    assert!(backend.is_paused());
    backend.resume();
    assert!(!backend.is_paused());
    assert!(backend.wait_idle(LONG));
    let stats = backend.stats();
    assert_eq!((stats.resident_entries, stats.compilations_failed), (4, 0));
    assert_eq!((stats.jit_helper_timeouts, stats.jit_helper_disconnects), (0, 0));
    assert_eq!((stats.jit_helper_pause_requests, stats.jit_helper_pause_acknowledgements), (1, 1));
    assert_eq!(stats.jit_helper_resume_requests, 1);
    let failures = stats.jit_helper_pause_failures + stats.jit_helper_pause_timeouts;
    assert_eq!(failures + stats.jit_helper_resume_failures, 0);
}

/// A helper that doesn't start, or hangs, holds up nobody who looks up, pauses or clears.
fn w10_lookups_do_not_wait_for_helpers() {
    let folder = Folder::new();
    for mode in ["silent", "hangs"] {
        let helper = Some(folder.fake(mode));
        let backend = backend(RuntimeConfig { jit_helper_path: helper, ..config() });
        (0..4).for_each(|n| backend.compile_jit(numbered(n)));
        eventually("helpers were started", || children().len() == 2);
        let start = Instant::now();
        for n in 0..100 {
            drop(backend.lookup(numbered(n)));
            backend.pause();
            backend.resume();
            assert!(backend.stats().resident_entries == 0);
        }
        backend.clear_resident();
        backend.set_enabled(false).unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "{mode}: {:?}", start.elapsed());
    }
}

/// The program's file is replaced, and then deleted, while the program runs.
fn w18_helpers_are_of_this_build_after_an_upgrade_in_place() {
    assert_eq!(lifetime::upgraded_in_place(), "compiled true 1");
}
