//! The backend without an EVM: lookups, compilation, failures, life of code, statistics.

mod common;

use common::{PROBE, SPEC, request, summing};
use cranevm::{
    OptimizationLevel, SpecId,
    primitives::{B256, Bytes, keccak256},
    revm_evm::JitEvm,
    runtime::{
        AotRequest, BackendOptions, CompilationKind, InterpretReason, JitBackend, JitMode,
        LookupDecision, LookupRequest, ProgramKind, RuntimeCacheKey, RuntimeConfig, RuntimeError,
        RuntimeStatsSnapshot, RuntimeTuning, maybe_run_jit_helper,
    },
};
use revm::{ExecuteEvm, bytecode::opcode::*};
use std::{
    ops::ControlFlow,
    process::Command,
    sync::{Arc, Barrier, Mutex, atomic::AtomicUsize, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

fn backend(config: RuntimeConfig) -> JitBackend {
    JitBackend::new(config).unwrap()
}

fn enabled() -> RuntimeConfig {
    RuntimeConfig { enabled: true, ..Default::default() }
}

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(60);

/// Code that no compiler takes: longer than the analysis can index.
fn refused() -> (RuntimeConfig, LookupRequest) {
    let tuning = RuntimeTuning { jit_max_bytecode_len: 0, ..Default::default() };
    let code = Bytes::from(vec![0; (1 << 24) + 1]);
    let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SPEC };
    (RuntimeConfig { tuning, ..enabled() }, LookupRequest { key, code })
}

fn reason(decision: &LookupDecision) -> Option<InterpretReason> {
    match decision {
        LookupDecision::Compiled(_) => None,
        LookupDecision::Interpret(reason) => Some(*reason),
    }
}

fn typed(error: &eyre::Report) -> &RuntimeError {
    error.downcast_ref().expect("a typed error")
}

/// Clients write these literals, with every field: a field more or less breaks them.
#[test]
fn exhaustive_literals_compile() {
    let tuning = RuntimeTuning {
        channel_capacity: 0,
        max_events_per_drain: 0,
        event_drain_interval: Duration::ZERO,
        shutdown_timeout: Duration::ZERO,
        jit_hot_threshold: 0,
        jit_max_bytecode_len: 0,
        jit_max_pending_jobs: 0,
        jit_worker_count: 0,
        jit_timeout: Duration::ZERO,
        jit_helper_memory_limit_bytes: 0,
        jit_helper_cpu_count: 0,
        jit_worker_queue_capacity: 0,
        jit_opt_level: OptimizationLevel::None,
        aot_opt_level: OptimizationLevel::None,
        resident_code_cache_bytes: 0,
        idle_evict_duration: None,
        eviction_sweep_interval: Duration::ZERO,
        compiler_recycle_threshold: 0,
    };
    let config = RuntimeConfig {
        enabled: true,
        thread_name: String::new(),
        store: None,
        tuning,
        dump_dir: None,
        debug_assertions: false,
        single_error: false,
        no_dedup: true,
        no_dse: true,
        gas_params: None,
        aot: false,
        jit_mode: JitMode::InProcess,
        jit_helper_path: None,
        blocking: false,
        on_compilation: None,
    };
    // Every limit at zero: nothing panics, and code compiles.
    let backend = backend(config);
    backend.compile_jit_sync(request(&summing())).unwrap();
    assert!(backend.get_compiled(request(&summing()).key.code_hash, SPEC).is_some());
}

#[test]
fn handles_are_what_clients_need() {
    fn assert<T: Clone + std::fmt::Debug + Send + Sync + 'static>() {}
    assert::<JitBackend>();
    static DISABLED: JitBackend = JitBackend::disabled();
    assert!(!DISABLED.enabled());
}

#[test]
fn lookup_order() {
    let off = backend(RuntimeConfig::default());
    // Disabled goes before eligibility.
    assert_eq!(reason(&off.lookup(request(&[]))), Some(InterpretReason::Disabled));
    off.compile_jit_sync(request(&summing())).unwrap();
    assert_eq!(reason(&off.lookup(request(&summing()))), Some(InterpretReason::Disabled));
    assert_eq!(reason(&off.lookup_blocking(request(&summing()))), None);

    let on = backend(enabled());
    assert_eq!(reason(&on.lookup(request(&[]))), Some(InterpretReason::Ineligible));
    let long = vec![0; 24 * 1024 + 1];
    assert_eq!(reason(&on.lookup(request(&long))), Some(InterpretReason::Ineligible));
    assert_eq!(reason(&on.lookup(request(&summing()))), Some(InterpretReason::NotReady));
    on.compile_jit_sync(request(&summing())).unwrap();
    let LookupDecision::Compiled(program) = on.lookup(request(&summing())) else {
        panic!("compiled, but not found")
    };
    assert_eq!(program.key, request(&summing()).key);
    assert_eq!(program.kind, ProgramKind::Jit);
    // Of the other fork there is none.
    assert!(on.get_compiled(program.key.code_hash, SpecId::PRAGUE).is_none());

    let blocking = backend(RuntimeConfig { blocking: true, ..Default::default() });
    assert!(blocking.enabled());
    assert_eq!(reason(&blocking.lookup(request(&[]))), Some(InterpretReason::Ineligible));
    assert_eq!(reason(&blocking.lookup(request(&summing()))), None);
    blocking.set_enabled(false).unwrap();
    assert_eq!(reason(&blocking.lookup(request(&summing()))), Some(InterpretReason::Disabled));
}

#[test]
fn failures_are_remembered() {
    let (config, refused) = refused();
    let backend = backend(config);
    for _ in 0..3 {
        let decision = backend.lookup_blocking(refused.clone());
        assert_eq!(reason(&decision), Some(InterpretReason::JitFailed));
    }
    let error = backend.compile_jit_sync(refused.clone()).unwrap_err();
    assert!(
        matches!(typed(&error), RuntimeError::CompileFailed { key, .. } if *key == refused.key)
    );
    assert_eq!(backend.stats().compilations_dispatched, 1, "tried once");
    assert_eq!(backend.stats().compilations_failed, 1);
    assert_eq!(backend.stats().pending_jobs, 0);
    // A plain lookup never says so.
    assert_eq!(reason(&backend.lookup(refused.clone())), Some(InterpretReason::NotReady));
    backend.clear_resident();
    backend.lookup_blocking(refused);
    assert_eq!(backend.stats().compilations_dispatched, 2, "tried again after a clear");
}

#[test]
fn ineligible_code_has_a_typed_error() {
    let error = backend(enabled()).compile_jit_sync(request(&[])).unwrap_err();
    assert!(matches!(typed(&error), RuntimeError::Ineligible { code_len: 0, limit: 24_576, .. }));
}

#[test]
fn events_tell_of_each_attempt_after_publication() {
    let (mut config, refused) = refused();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handle = Arc::new(Mutex::new(JitBackend::disabled()));
    config.on_compilation = Some(Arc::new({
        let (seen, handle) = (Arc::clone(&seen), Arc::clone(&handle));
        move |event| {
            let backend = handle.lock().unwrap().clone();
            let resident = backend.get_compiled(event.code_hash, event.spec_id).is_some();
            seen.lock().unwrap().push((event, resident));
        }
    }));
    let backend = backend(config);
    *handle.lock().unwrap() = backend.clone();
    backend.compile_jit_sync(request(&summing())).unwrap();
    backend.compile_jit_sync(request(&summing())).unwrap();
    assert!(backend.compile_jit_sync(refused).is_err());
    assert!(backend.wait_idle(LONG));
    let seen = seen.lock().unwrap();
    let [(good, true), (bad, false)] = &seen[..] else { panic!("two events: {seen:?}") };
    assert!(good.success && !bad.success);
    assert_eq!((good.kind, good.spec_id), (CompilationKind::Jit, SPEC));
    assert_eq!(good.code_hash, request(&summing()).key.code_hash);
    let timings = good.timings;
    let phases = timings.parse + timings.translate + timings.optimize + timings.codegen;
    assert!(phases > Duration::ZERO && phases <= good.duration, "{good:?}");
}

#[test]
fn a_panicking_callback_is_contained() {
    let calls = Arc::new(AtomicUsize::new(0));
    let config = RuntimeConfig {
        on_compilation: Some(Arc::new({
            let calls = Arc::clone(&calls);
            move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
                panic!("on purpose");
            }
        })),
        ..enabled()
    };
    let backend = backend(config);
    backend.compile_jit_sync(request(&summing())).unwrap();
    backend.compile_jit_sync(request(PROBE)).unwrap();
    assert!(backend.wait_idle(LONG));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(backend.stats().resident_entries, 2);
}

#[test]
fn threads_share_one_compilation() {
    const THREADS: usize = 8;
    let backend = backend(enabled());
    for round in 0..20 {
        // Different code each round.
        let code = [&summing()[..], &[round; 64]].concat();
        let barrier = Barrier::new(THREADS);
        let programs: Vec<_> = thread::scope(|scope| {
            let ask = || {
                barrier.wait();
                match backend.lookup_blocking(request(&code)) {
                    LookupDecision::Compiled(program) => program,
                    LookupDecision::Interpret(reason) => panic!("{reason:?}"),
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(programs.iter().all(|program| Arc::ptr_eq(program, &programs[0])));
        assert_eq!(backend.stats().compilations_dispatched, u64::from(round) + 1);
    }
}

#[test]
fn code_lives_as_long_as_its_last_user() {
    let backend = backend(enabled());
    let other = JitBackend::new(enabled()).unwrap();
    assert_eq!(backend.stats(), RuntimeStatsSnapshot::default());
    backend.compile_jit_sync(request(&summing())).unwrap();
    let stats = backend.stats();
    assert!(stats.jit_code_bytes > 0 && stats.jit_data_bytes > 0);
    assert_eq!(stats.jit_total_bytes(), stats.jit_code_bytes + stats.jit_data_bytes);
    assert_eq!(other.stats().jit_total_bytes(), 0, "accounted per backend");

    let program = backend.get_compiled(request(&summing()).key.code_hash, SPEC).unwrap();
    backend.clear_all();
    assert_eq!(backend.stats().resident_entries, 0);
    assert_eq!(backend.stats().jit_total_bytes(), stats.jit_total_bytes(), "held by a caller");
    drop(program);
    assert_eq!(backend.stats().jit_total_bytes(), 0);
    assert_eq!(backend.stats().evictions, 0);
}

#[test]
fn hits_and_misses_are_counted() {
    let backend = backend(enabled());
    let request = request(&summing());
    let key = request.key;
    let counts = || (backend.stats().lookup_hits, backend.stats().lookup_misses);
    backend.lookup(request.clone());
    assert_eq!(counts(), (0, 1));
    backend.lookup_blocking(request.clone());
    assert_eq!(counts(), (0, 2));
    backend.lookup(request.clone());
    backend.lookup_blocking(request);
    assert_eq!(counts(), (2, 2));
    backend.get_compiled(key.code_hash, key.spec_id).unwrap();
    assert_eq!(counts(), (2, 2));
    backend.get_compiled_tracked(key.code_hash, key.spec_id).unwrap();
    assert!(backend.get_compiled_tracked(B256::ZERO, key.spec_id).is_none());
    assert_eq!(counts(), (3, 3));
}

#[test]
fn pauses_nest_and_saturate() {
    let backend = backend(RuntimeConfig::default());
    backend.resume();
    assert!(!backend.is_paused());
    backend.pause();
    backend.clone().pause();
    backend.resume();
    assert!(backend.is_paused());
    backend.resume();
    assert!(!backend.is_paused());
}

#[test]
fn control_calls_never_block() {
    let backend = backend(RuntimeConfig::default());
    let start = Instant::now();
    for _ in 0..10_000 {
        backend.pause();
        backend.resume();
        backend.clear_resident();
        backend.clear_persisted();
        backend.clear_all();
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_disabled_handle_says_so() {
    let backend = JitBackend::disabled();
    assert!(backend.set_enabled(false).is_ok());
    let error = backend.compile_jit_sync(request(&summing())).unwrap_err();
    assert!(matches!(typed(&error), RuntimeError::NoBackend));
    let decision = backend.lookup_blocking(request(&summing()));
    assert_eq!(reason(&decision), Some(InterpretReason::Disabled));
    backend.pause();
    assert!(!backend.is_paused());
    backend.clear_all();
    assert_eq!(backend.stats(), RuntimeStatsSnapshot::default());
}

#[test]
fn what_is_not_supported_is_refused() {
    assert!(matches!(maybe_run_jit_helper(), Ok(ControlFlow::Continue(()))));
}

#[test]
fn what_is_dropped_is_counted() {
    let backend = backend(enabled());
    let request = request(&summing());
    let aot = AotRequest { code_hash: request.key.code_hash, code: request.code, spec_id: SPEC };
    backend.prepare_aot(aot.clone());
    backend.prepare_aot_batch(vec![aot.clone(), aot]);
    backend.prepare_aot_batch(Vec::new());
    assert_eq!(backend.stats().commands_dropped, 3);
    assert_eq!(backend.stats().compilations_dispatched, 0);
}

#[test]
fn the_configuration_reaches_the_compiler() {
    let options_of = |config| {
        let mut seen = None;
        JitBackend::with_compiler_options(config, |options| seen = Some(*options)).unwrap();
        seen.unwrap()
    };
    for jit_opt_level in [OptimizationLevel::None, OptimizationLevel::Aggressive] {
        let tuning = RuntimeTuning { jit_opt_level, ..Default::default() };
        let options = options_of(RuntimeConfig { tuning, ..enabled() });
        assert_eq!(options.opt_level, jit_opt_level);
        assert!(options.single_error);
        assert!(!options.no_dedup && !options.no_dse && !options.debug_assertions);
    }
    assert!(!options_of(RuntimeConfig { single_error: false, ..enabled() }).single_error);
    assert!(options_of(RuntimeConfig { no_dedup: true, ..enabled() }).no_dedup);
    assert!(options_of(RuntimeConfig { no_dse: true, ..enabled() }).no_dse);
    assert!(options_of(RuntimeConfig { debug_assertions: true, ..enabled() }).debug_assertions);
}

/// Runs itself in a process with the environment set, for a process shares one among its threads.
#[test]
fn the_environment_reaches_the_backend() {
    const CHILD: &str = "CRANEVM_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let error = JitBackend::new(RuntimeConfig::default()).unwrap_err();
        let RuntimeError::Environment { name, .. } = typed(&error) else { panic!("{error}") };
        assert_eq!(*name, "REVMC_JIT_MODE");
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_environment_reaches_the_backend"])
        .envs([(CHILD, "1"), ("REVMC_JIT_MODE", "sideways")])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

/// What the configuration has no field for: code that is guessed not to run is compiled at once.
#[test]
fn options_reach_the_compiler() {
    // Jumps to 6, which is pushed nowhere.
    let code = [PUSH1, 5, CALLDATASIZE, ISZERO, ADD, JUMP, JUMPDEST, STOP];
    for (compile_all, hand_overs) in [(false, 1), (true, 0)] {
        let options = BackendOptions::default().verify(true).compile_all(compile_all);
        let backend = JitBackend::with_options(enabled(), options).unwrap();
        backend.compile_jit_sync(request(&code)).unwrap();
        let evm = common::evm(common::database(&[(common::TARGET, &code)]), SPEC);
        let mut jit = JitEvm::new(evm, backend.clone());
        assert!(jit.transact(common::call()).unwrap().result.is_success());
        assert_eq!(backend.stats().frames.hand_overs.absent_code, hand_overs);
    }
}
