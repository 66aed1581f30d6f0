//! Each field of the configuration does what its documentation says: a test for each that fails if
//! the field is ignored. Fields that only say something to the compiler (`single_error`,
//! `debug_assertions`, `no_dedup`, `no_dse`) are checked in `backend.rs`, those of artifacts in
//! `artifacts.rs`, and those of helper processes in `helper/`.

mod common;

#[cfg(target_os = "linux")]
use common::threads;
use common::{
    LONG, PROBE, SPEC, TARGET, backend, call, database, enabled, eventually, evm, held_up::HeldUp,
    is_resident, long_code, numbered, request,
};
use cranevm::{
    OptimizationLevel, SpecId,
    context_interface::cfg::{GasId, GasParams},
    revm_evm::JitEvm,
    runtime::{InterpretReason, JitBackend, LookupDecision, RuntimeConfig, RuntimeTuning},
};
use revm::{ExecuteEvm, bytecode::opcode::*};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

fn reason(decision: LookupDecision) -> Option<InterpretReason> {
    match decision {
        LookupDecision::Compiled(_) => None,
        LookupDecision::Interpret(reason) => Some(reason),
    }
}

#[test]
fn enabled_opens_lookups() {
    for (on, expected) in [(false, InterpretReason::Disabled), (true, InterpretReason::NotReady)] {
        let config = RuntimeConfig { enabled: on, ..Default::default() };
        let backend = JitBackend::new(config).unwrap();
        assert_eq!(reason(backend.lookup(numbered(1))), Some(expected));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn threads_bear_the_configured_name_and_are_as_many_as_configured() {
    let tuning = RuntimeTuning { jit_worker_count: 3, ..Default::default() };
    let config = RuntimeConfig { thread_name: "fld-backend".into(), ..enabled(tuning) };
    let backend = JitBackend::new(config).unwrap();
    let expected = ["fld-00", "fld-01", "fld-02", "fld-backend"];
    eventually("four threads", || threads("fld-") == expected);
    drop(backend);
    eventually("none", || threads("fld-").is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_disabled_backend_has_no_threads() {
    let config = RuntimeConfig { thread_name: "off-backend".into(), ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    backend.lookup(numbered(1));
    backend.pause();
    backend.clear_all();
    assert!(threads("off-").is_empty());
    backend.set_enabled(true).unwrap();
    eventually("threads", || !threads("off-").is_empty());
}

#[test]
fn dump_dir_gets_files() {
    let directory = std::env::temp_dir().join(format!("cranevm-fields-{}", std::process::id()));
    let config = RuntimeConfig { dump_dir: Some(directory.clone()), ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let request = numbered(1);
    backend.compile_jit_sync(request.clone()).unwrap();
    let folder = directory.join(format!("{SPEC:?}")).join(request.key.code_hash.to_string());
    let files = fs::read_dir(&folder).unwrap().count();
    fs::remove_dir_all(&directory).unwrap();
    assert!(files > 3, "{files} files");
}

#[test]
fn gas_params_of_a_chains_own_arent_compiled_for() {
    let mut own = GasParams::new_spec(SPEC);
    own.override_gas([(GasId::memory_linear_cost(), 4)]);
    for (params, compiles) in [(GasParams::new_spec(SPEC), true), (own, false)] {
        let config = RuntimeConfig { gas_params: Some(params), ..enabled(Default::default()) };
        let backend = JitBackend::new(config).unwrap();
        assert_eq!(backend.compile_jit_sync(numbered(1)).is_ok(), compiles);
        backend.compile_jit(numbered(2));
        assert!(backend.wait_idle(LONG));
        assert_eq!(backend.stats().resident_entries, if compiles { 2 } else { 0 });
        let expected = (!compiles).then_some(InterpretReason::Ineligible);
        assert_eq!(reason(backend.lookup(numbered(1))), expected);
        assert_eq!(reason(backend.lookup_blocking(numbered(1))), expected);
    }
    // The schedule is that of one fork.
    let params = Some(GasParams::new_spec(SpecId::FRONTIER));
    let config = RuntimeConfig { gas_params: params, ..enabled(Default::default()) };
    assert!(JitBackend::new(config).unwrap().compile_jit_sync(numbered(1)).is_err());
}

#[test]
fn blocking_compiles_at_the_first_lookup() {
    let config = RuntimeConfig { blocking: true, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    assert_eq!(reason(backend.lookup(numbered(1))), None);
}

#[test]
fn channel_capacity_bounds_requests_and_events() {
    let held = Arc::<HeldUp>::default();
    let config = RuntimeConfig {
        on_compilation: held.callback(),
        ..enabled(RuntimeTuning { channel_capacity: 5, ..Default::default() })
    };
    let backend = JitBackend::new(config).unwrap();
    backend.pause();
    (0..8).for_each(|n| backend.compile_jit(numbered(n)));
    assert_eq!((backend.stats().command_queue_len, backend.stats().commands_dropped), (5, 3));
    (100..120).for_each(|n| backend.compile_jit_sync(numbered(n)).unwrap());
    eventually("one call, five waiting", || backend.stats().events_queued == 5);
    assert_eq!(backend.stats().events_dropped, 14);
    held.release();
}

/// A slow callback doesn't keep the thread from evicting, if it is to look up after each event.
#[test]
fn max_events_per_drain_bounds_a_go() {
    const EVENTS: usize = 60;
    let calls = Arc::new(AtomicUsize::new(0));
    let tuning = RuntimeTuning {
        max_events_per_drain: 1,
        idle_evict_duration: Some(Duration::from_millis(20)),
        eviction_sweep_interval: Duration::from_millis(5),
        ..Default::default()
    };
    let config = RuntimeConfig {
        on_compilation: Some(Arc::new({
            let calls = Arc::clone(&calls);
            move |_| {
                thread::sleep(Duration::from_millis(20));
                calls.fetch_add(1, Ordering::SeqCst);
            }
        })),
        ..enabled(tuning)
    };
    let backend = JitBackend::new(config).unwrap();
    (0..EVENTS).for_each(|n| backend.compile_jit(numbered(n)));
    eventually("eviction", || backend.stats().evictions > 0);
    assert!(calls.load(Ordering::SeqCst) < EVENTS, "only after all events");
}

/// A turn of housekeeping finds the program that leaves out what runs.
#[test]
fn event_drain_interval_is_the_time_between_turns() {
    // Jumps to 6, which is pushed nowhere.
    let code = [PUSH1, 5, CALLDATASIZE, ISZERO, ADD, JUMP, JUMPDEST, STOP];
    for (event_drain_interval, found) in
        [(Duration::from_millis(2), true), (Duration::from_secs(3600), false)]
    {
        let backend = backend(RuntimeTuning { event_drain_interval, ..Default::default() });
        backend.compile_jit(request(&code));
        assert!(backend.wait_idle(LONG));
        let before = backend.stats().upgrades_dispatched;
        let mut jit = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
        let mut run = || assert!(jit.transact(call()).unwrap().result.is_success());
        let start = Instant::now();
        while backend.stats().upgrades_dispatched == before
            && start.elapsed() < if found { LONG } else { Duration::from_millis(200) }
        {
            run();
        }
        assert!(backend.hand_overs() > 0 || found, "guessed right");
        assert!(backend.wait_idle(LONG));
        assert_eq!(backend.stats().upgrades_succeeded, before + u64::from(found));
        if found {
            // Nothing is left out any more.
            (0..5).for_each(|_| run());
            assert_eq!(backend.hand_overs(), 0);
        }
    }
}

#[test]
fn shutdown_timeout_bounds_the_wait() {
    for (shutdown_timeout, least, most) in [(30, 30, 3000), (700, 700, 5000)] {
        let held = Arc::<HeldUp>::default();
        let config = RuntimeConfig {
            on_compilation: held.callback(),
            ..enabled(RuntimeTuning {
                shutdown_timeout: Duration::from_millis(shutdown_timeout),
                ..Default::default()
            })
        };
        let backend = JitBackend::new(config).unwrap();
        backend.compile_jit_sync(numbered(1)).unwrap();
        eventually("the callback", || held.calls() > 0);
        let start = Instant::now();
        drop(backend);
        let time = start.elapsed();
        held.release();
        let range = Duration::from_millis(least)..Duration::from_millis(most);
        assert!(range.contains(&time), "{time:?}");
    }
}

#[test]
fn jit_hot_threshold_counts_misses() {
    for (jit_hot_threshold, misses) in [(0, 1), (1, 1), (5, 5)] {
        let backend = backend(RuntimeTuning { jit_hot_threshold, ..Default::default() });
        for n in 1..=misses {
            assert_eq!(backend.stats().compilations_dispatched, 0);
            backend.lookup(numbered(1));
            assert!(backend.wait_idle(LONG));
            assert_eq!(is_resident(&backend, &numbered(1)), n == misses, "miss {n}");
        }
    }
}

#[test]
fn jit_max_bytecode_len_is_a_limit() {
    let code = long_code(1000);
    for (jit_max_bytecode_len, eligible) in [(code.len(), true), (code.len() - 1, false), (0, true)]
    {
        let backend = backend(RuntimeTuning { jit_max_bytecode_len, ..Default::default() });
        let expected =
            if eligible { InterpretReason::NotReady } else { InterpretReason::Ineligible };
        assert_eq!(reason(backend.lookup(request(&code))), Some(expected));
        assert_eq!(backend.compile_jit_sync(request(&code)).is_ok(), eligible);
    }
}

#[test]
fn jit_max_pending_jobs_is_a_limit() {
    let backend = backend(RuntimeTuning { jit_max_pending_jobs: 3, ..Default::default() });
    backend.pause();
    (0..9).for_each(|n| backend.compile_jit(numbered(n)));
    assert_eq!((backend.stats().pending_jobs, backend.stats().commands_dropped), (3, 6));
}

#[test]
fn jit_worker_queue_capacity_is_a_limit_for_each_worker() {
    let tuning = RuntimeTuning {
        jit_hot_threshold: 1,
        jit_worker_count: 2,
        jit_worker_queue_capacity: 3,
        ..Default::default()
    };
    let backend = backend(tuning);
    backend.pause();
    (0..20).for_each(|n| drop(backend.lookup(numbered(n))));
    assert_eq!((backend.stats().events_queued, backend.stats().events_dropped), (6, 14));
}

#[test]
fn jit_opt_level_is_reached() {
    for (jit_opt_level, upgrades) in [
        (OptimizationLevel::None, 0),
        (OptimizationLevel::Default, 1),
        (OptimizationLevel::Aggressive, 1),
    ] {
        let backend = backend(RuntimeTuning { jit_opt_level, ..Default::default() });
        backend.compile_jit(numbered(1));
        assert!(backend.wait_idle(LONG));
        let stats = backend.stats();
        assert_eq!((stats.compilations_succeeded, stats.upgrades_succeeded), (1, upgrades));
    }
}

#[test]
fn resident_code_cache_bytes_is_a_budget() {
    // Programs take multiples of 64 bytes, so so many are whole pages.
    const PROGRAMS: usize = 64;
    let compile = |resident_code_cache_bytes| {
        let backend = backend(RuntimeTuning { resident_code_cache_bytes, ..Default::default() });
        let made = (0..PROGRAMS).filter(|n| backend.compile_jit_sync(numbered(*n)).is_ok()).count();
        let stats = backend.stats();
        (made, stats.evictions, stats.jit_total_bytes() as usize)
    };
    let (made, evictions, all) = compile(0);
    assert_eq!((made, evictions), (PROGRAMS, 0), "no limit");
    let one = all / PROGRAMS;
    let (made, evictions, held) = compile(one);
    assert_eq!((made, evictions), (PROGRAMS, PROGRAMS as u64 - 1));
    assert!((one..one + 4096).contains(&held), "{held}, for {one}");
    assert_eq!(compile(one - 1), (0, 0, 0), "none has room");
}

#[test]
fn idle_eviction_is_as_configured() {
    let quick = Duration::from_millis(5);
    for (idle_evict_duration, eviction_sweep_interval, evicted) in [
        (Some(quick), quick, true),
        (None, quick, false),
        (Some(LONG), quick, false),
        (Some(quick), LONG, false),
    ] {
        let tuning =
            RuntimeTuning { idle_evict_duration, eviction_sweep_interval, ..Default::default() };
        let backend = backend(tuning);
        backend.compile_jit_sync(request(PROBE)).unwrap();
        match evicted {
            true => eventually("eviction", || backend.stats().evictions == 1),
            false => thread::sleep(Duration::from_millis(100)),
        }
        assert_eq!(is_resident(&backend, &request(PROBE)), !evicted);
    }
}
