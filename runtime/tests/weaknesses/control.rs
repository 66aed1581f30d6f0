//! Calls that control the backend: they never wait, and nothing they say is lost or late.

use crate::common::{
    LONG, SPEC, TARGET, backend, call, database, eventually, evm, held_up::HeldUp, is_resident,
    long_code, numbered, request, summing,
};
use cranevm::{
    revm_evm::JitEvm,
    runtime::{
        FrameStats, JitBackend, LookupDecision, ProgramStatus, RuntimeConfig, RuntimeError,
        RuntimeStatsSnapshot, RuntimeTuning,
    },
};
use revm::ExecuteEvm;
use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

/// Any number of calls before the first thread is there takes no time, and nothing of them is
/// carried out later.
#[test]
fn w05_control_calls_before_the_start() {
    let backend = JitBackend::new(RuntimeConfig::default()).unwrap();
    let start = Instant::now();
    for _ in 0..10_000 {
        backend.pause();
        backend.clear_all();
        backend.clear_resident();
        backend.clear_persisted();
        backend.resume();
    }
    let time = start.elapsed();
    assert!(time < Duration::from_secs(1), "{time:?}");
    backend.compile_jit_sync(request(&summing())).unwrap();
    backend.set_enabled(true).unwrap();
    backend.compile_jit(numbered(1));
    assert!(backend.wait_idle(LONG));
    assert_eq!(backend.stats().resident_entries, 2, "nothing was cleared late");
}

/// Clearing many programs leaves the time that freeing them takes to another thread, and frees
/// them.
#[test]
fn w05_a_clear_of_many_programs_returns_at_once() {
    let backend = backend(RuntimeTuning::default());
    (0..300).for_each(|n| backend.compile_jit(numbered(n)));
    assert!(backend.wait_idle(LONG));
    assert_eq!(backend.stats().resident_entries, 300);
    backend.clear_resident();
    assert_eq!(backend.stats().resident_entries, 0);
    eventually("the code is freed", || backend.stats().jit_total_bytes() == 0);
}

/// Clears while jobs are in flight: the count of pending jobs returns to zero, nothing compiled
/// before a clear is resident after it, and who waits for a program gets it.
#[test]
fn w06_clears_with_jobs_in_flight() {
    let backend = backend(RuntimeTuning::default());
    for round in 0..30 {
        let code = request(&[&long_code(8000)[..], &[round]].concat());
        backend.compile_jit(code.clone());
        thread::sleep(Duration::from_micros(u64::from(round) * 200));
        backend.clear_resident();
        // Of the new generation: it isn't released by the end of the old one's job.
        let decision = backend.lookup_blocking(code.clone());
        assert!(matches!(decision, LookupDecision::Compiled(_)), "round {round}: {decision:?}");
        assert!(is_resident(&backend, &code), "round {round}");
        assert!(backend.wait_idle(LONG));
        let stats = backend.stats();
        assert_eq!(stats.pending_jobs, 0);
        let ended = stats.compilations_succeeded + stats.compilations_failed;
        assert_eq!(stats.compilations_dispatched, ended);
        assert!(is_resident(&backend, &code), "the old job's end left it alone");
        backend.clear_resident();
    }
}

/// A synchronous call has a limit, and says what came of it.
#[test]
fn w07_synchronous_calls_end_and_tell() {
    let tuning = RuntimeTuning { jit_max_pending_jobs: 1, ..Default::default() };
    let backend = backend(tuning);
    backend.pause();
    // Saturated and paused: who asks synchronously gets its program all the same.
    (0..5).for_each(|n| backend.compile_jit(numbered(n)));
    backend.compile_jit_sync(numbered(9)).unwrap();
    assert!(is_resident(&backend, &numbered(9)));
    let error = backend.compile_jit_sync(request(&[])).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RuntimeError::Ineligible { .. })));
    let long = request(&long_code(24_000));
    let error = backend.compile_jit_sync_timeout(long.clone(), Duration::ZERO).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RuntimeError::TimedOut { .. })), "{error}");
    backend.compile_jit_sync(long).unwrap();
}

/// Pauses and resumes of several threads leave the gate as deep as they say; what was asked
/// meanwhile is compiled.
#[test]
fn w09_pauses_are_exact_and_lose_nothing() {
    let backend = JitBackend::new(RuntimeConfig::default()).unwrap();
    // Before the start, and in-process: nothing is compiled.
    backend.pause();
    backend.compile_jit(numbered(0));
    assert!(!backend.wait_idle(Duration::from_millis(50)));
    assert_eq!(backend.stats().compilations_dispatched, 0);
    thread::scope(|scope| {
        for worker in 0..4 {
            let backend = &backend;
            scope.spawn(move || {
                for n in 0..500 {
                    backend.pause();
                    if n % 50 == 0 {
                        backend.compile_jit(numbered(1 + worker * 10 + n / 50));
                    }
                    backend.resume();
                }
            });
        }
    });
    assert!(backend.is_paused());
    assert_eq!(backend.stats().compilations_dispatched, 0);
    backend.resume();
    assert!(!backend.is_paused());
    assert!(backend.wait_idle(LONG));
    assert_eq!(backend.stats().resident_entries, 41);
}

/// A callback that blocks delays neither publication nor lookups nor control calls.
#[test]
fn w10_the_callback_is_off_the_critical_path() {
    let held = Arc::<HeldUp>::default();
    let config =
        RuntimeConfig { enabled: true, on_compilation: held.callback(), ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    (0..10).for_each(|n| backend.compile_jit(numbered(n)));
    eventually("publication", || (0..10).all(|n| is_resident(&backend, &numbered(n))));
    backend.pause();
    backend.resume();
    assert!(matches!(backend.lookup(numbered(3)), LookupDecision::Compiled(_)));
    backend.clear_all();
    assert_eq!(backend.stats().resident_entries, 0);
    held.release();
    assert!(backend.wait_idle(LONG));
}

/// A disabled handle is a constant: no allocation, no thread, no shared state.
#[test]
fn w12_disabled_is_free() {
    static DISABLED: JitBackend = JitBackend::disabled();
    let start = Instant::now();
    for _ in 0..1_000_000 {
        assert!(!std::hint::black_box(JitBackend::disabled()).enabled());
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(DISABLED.stats(), RuntimeStatsSnapshot::default());
}

/// Frames on a backend that is switched off look nothing up, and count as such.
#[test]
fn w12_frames_ask_nothing_of_what_is_switched_off() {
    let backend = JitBackend::new(RuntimeConfig::default()).unwrap();
    let code = summing();
    let mut jit = JitEvm::new(evm(database(&[(TARGET, &code[..])]), SPEC), backend.clone());
    for _ in 0..100 {
        assert!(jit.transact(call()).unwrap().result.is_success());
    }
    let stats = backend.stats();
    assert_eq!(stats.frames.interpreted.disabled.frames, 100);
    let FrameStats { lookups, .. } = stats.frames;
    assert_eq!(lookups, 0);
    let others = RuntimeStatsSnapshot { frames: FrameStats::default(), ..stats };
    assert_eq!(others, RuntimeStatsSnapshot::default());
    assert!(matches!(backend.status(&request(&code).key), ProgramStatus::Unknown));
}

/// An operator may switch on what a node was started without: as with revmc, that starts a backend
/// of the default configuration, for all clones of the handle.
#[test]
fn r14_a_disabled_handle_can_be_switched_on() {
    let handle = JitBackend::disabled();
    let (earlier, other) = (handle.clone(), JitBackend::disabled());
    let code = summing();
    let mut jit = JitEvm::new(evm(database(&[(TARGET, &code[..])]), SPEC), earlier.clone());
    jit.transact(call()).unwrap();
    assert!(!earlier.enabled());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| handle.set_enabled(true).unwrap());
        }
    });
    for handle in [&handle, &earlier, &handle.clone(), jit.backend()] {
        assert!(handle.enabled());
    }
    assert!(!other.enabled() && !JitBackend::disabled().enabled());
    earlier.compile_jit_sync(request(&code)).unwrap();
    jit.transact(call()).unwrap();
    let stats = handle.stats();
    assert_eq!(stats.frames.native().frames, 1, "in an EVM that was there before");
    assert_eq!((stats.compilations_dispatched, stats.resident_entries), (1, 1));
    assert_eq!(other.stats(), RuntimeStatsSnapshot::default());
    earlier.set_enabled(false).unwrap();
    jit.transact(call()).unwrap();
    assert!(!handle.enabled());
    assert_eq!(handle.stats().frames.interpreted.disabled.frames, 1);
}

/// The same by the handle that nobody has cloned, as in an EVM.
#[test]
fn r14_a_disabled_evm_can_be_switched_on() {
    let mut jit = JitEvm::disabled(evm(database(&[(TARGET, &summing()[..])]), SPEC));
    jit.backend().set_enabled(true).unwrap();
    jit.backend().compile_jit_sync(request(&summing())).unwrap();
    jit.transact(call()).unwrap();
    assert_eq!(jit.backend().stats().frames.native().frames, 1);
}

/// Dropping the last handle interrupts the work between two chunks.
#[test]
fn w17_dropping_the_last_handle_is_quick() {
    let backend = backend(RuntimeTuning { jit_max_bytecode_len: 0, ..Default::default() });
    for n in 0..100u8 {
        backend.compile_jit(request(&[&long_code(60_000)[..], &[n]].concat()));
    }
    eventually("the first job", || backend.stats().compilations_dispatched > 0);
    let start = Instant::now();
    drop(backend);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// A handle that the callback itself holds: `shut_down` lets go of the callback, and so of it.
#[test]
fn w17_a_handle_in_the_callback_can_be_let_go() {
    let slot = Arc::new(Mutex::new(None::<JitBackend>));
    let in_callback = Arc::downgrade(&slot);
    let config = RuntimeConfig {
        enabled: true,
        on_compilation: Some(Arc::new({
            let slot = Arc::clone(&slot);
            move |_| drop(slot.lock().unwrap().clone())
        })),
        ..Default::default()
    };
    let backend = JitBackend::new(config).unwrap();
    *slot.lock().unwrap() = Some(backend.clone());
    drop(slot);
    backend.compile_jit(numbered(1));
    assert!(backend.wait_idle(LONG));
    backend.shut_down();
    assert!(in_callback.upgrade().is_none(), "the callback is gone, and the cycle with it");
    // What is resident still serves; nothing new is compiled in the background.
    assert!(matches!(backend.lookup(numbered(1)), LookupDecision::Compiled(_)));
    backend.compile_jit(numbered(2));
    assert!(backend.wait_idle(LONG));
    assert!(!is_resident(&backend, &numbered(2)));
    backend.compile_jit_sync(numbered(2)).unwrap();
}
