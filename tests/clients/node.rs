//! A node that configures the backend, and hands it on.

use crate::common::{self, numbered};
use cranevm as revmc;
use revm::primitives::B256;
use revmc::{
    CompileTimings,
    runtime::{
        CompilationEvent, CompilationKind, JitBackend, JitMode, RuntimeConfig,
        RuntimeStatsSnapshot, RuntimeTuning, maybe_run_jit_helper,
    },
};
use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What a node's command line says.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    pub(crate) enabled: bool,
    pub(crate) blocking: bool,
    pub(crate) hot_threshold: usize,
    pub(crate) workers: Option<usize>,
    pub(crate) max_bytecode_len: usize,
    pub(crate) cache_bytes: usize,
    pub(crate) idle_evict: Option<Duration>,
    pub(crate) dump_dir: Option<PathBuf>,
}

impl Arguments {
    /// All eighteen, with and without defaults; the type is `Copy`, so the defaults serve on.
    fn tuning(&self) -> RuntimeTuning {
        let defaults = RuntimeTuning::default();
        RuntimeTuning {
            channel_capacity: defaults.channel_capacity,
            max_events_per_drain: defaults.max_events_per_drain,
            event_drain_interval: defaults.event_drain_interval,
            shutdown_timeout: defaults.shutdown_timeout,
            jit_hot_threshold: self.hot_threshold,
            jit_max_bytecode_len: self.max_bytecode_len,
            jit_max_pending_jobs: defaults.jit_max_pending_jobs,
            jit_worker_count: self.workers.unwrap_or(defaults.jit_worker_count),
            jit_timeout: defaults.jit_timeout,
            jit_helper_memory_limit_bytes: defaults.jit_helper_memory_limit_bytes,
            jit_helper_cpu_count: defaults.jit_helper_cpu_count,
            jit_worker_queue_capacity: defaults.jit_worker_queue_capacity,
            jit_opt_level: defaults.jit_opt_level,
            aot_opt_level: defaults.aot_opt_level,
            resident_code_cache_bytes: self.cache_bytes,
            idle_evict_duration: self.idle_evict,
            eviction_sweep_interval: defaults.eviction_sweep_interval,
            compiler_recycle_threshold: defaults.compiler_recycle_threshold,
        }
    }

    /// All fifteen; some are moved out of the defaults one by one.
    fn config(&self, on_compilation: Arc<dyn Fn(CompilationEvent) + Send + Sync>) -> RuntimeConfig {
        let defaults = RuntimeConfig::default();
        RuntimeConfig {
            enabled: self.enabled,
            thread_name: defaults.thread_name,
            store: defaults.store,
            tuning: self.tuning(),
            dump_dir: self.dump_dir.clone(),
            debug_assertions: defaults.debug_assertions,
            single_error: defaults.single_error,
            no_dedup: defaults.no_dedup,
            no_dse: defaults.no_dse,
            gas_params: defaults.gas_params,
            aot: defaults.aot,
            jit_mode: JitMode::InProcess,
            jit_helper_path: defaults.jit_helper_path,
            blocking: self.blocking,
            on_compilation: Some(on_compilation),
        }
    }
}

pub(crate) fn arguments() -> Arguments {
    Arguments {
        enabled: true,
        blocking: false,
        hot_threshold: 2,
        workers: None,
        max_bytecode_len: 0,
        cache_bytes: 1 << 30,
        idle_evict: Some(Duration::from_secs(600)),
        dump_dir: None,
    }
}

/// How a node hands its backend to RPC and metrics.
pub(crate) trait JitControl: std::fmt::Debug + Send + Sync {
    fn set_enabled(&self, enabled: bool) -> revmc::eyre::Result<()>;
    fn resident(&self) -> u64;
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) backend: JitBackend,
    compiled: Arc<Mutex<Vec<(B256, bool)>>>,
}

impl JitControl for Node {
    fn set_enabled(&self, enabled: bool) -> revmc::eyre::Result<()> {
        self.backend.set_enabled(enabled)
    }

    fn resident(&self) -> u64 {
        let RuntimeStatsSnapshot { resident_entries, .. } = self.backend.stats();
        resident_entries
    }
}

impl Node {
    pub(crate) fn new(arguments: &Arguments) -> revmc::eyre::Result<Self> {
        let compiled = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&compiled);
        let config = arguments.config(Arc::new(move |event: CompilationEvent| {
            let CompilationEvent { code_hash, spec_id: _, duration, kind, success, timings } =
                event;
            let CompileTimings { parse, translate, optimize, codegen } = timings;
            assert!(parse + translate + optimize + codegen <= duration.max(Duration::from_secs(1)));
            match kind {
                CompilationKind::Jit => told.lock().unwrap().push((code_hash, success)),
                CompilationKind::Aot => {}
            }
        }));
        // Read after the configuration has gone, as nodes log it.
        let (tuning, shown) = (config.tuning, format!("{config:?}"));
        assert!(shown.contains("jit_hot_threshold"), "{shown}");
        let backend = JitBackend::new(config)?;
        assert!(tuning.should_compile(&[0]));
        Ok(Self { backend, compiled })
    }
}

/// A pause that ends with its scope.
struct Pause<'a>(&'a JitBackend);

impl<'a> Pause<'a> {
    fn new(backend: &'a JitBackend) -> Self {
        backend.pause();
        Self(backend)
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.resume();
    }
}

#[test]
fn a_node_configures_controls_and_watches_the_backend() -> revmc::eyre::Result<()> {
    if let ControlFlow::Break(()) = maybe_run_jit_helper()? {
        return Ok(());
    }
    let node = Node::new(&arguments())?;
    let control: Box<dyn JitControl> = Box::new(node.clone());
    control.set_enabled(true)?;
    {
        let _pause = Pause::new(&node.backend);
        assert!(node.backend.is_paused());
    }
    assert!(!node.backend.is_paused());
    // Warm-up as clients did it before there was `wait_idle`: ask, and poll until all is quiet.
    (0..3).for_each(|n| node.backend.compile_jit(numbered(n)));
    node.backend.compile_jit_sync(numbered(3))?;
    while node.backend.stats().pending_jobs != 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(control.resident(), 4);
    assert!(node.backend.wait_idle(common::LONG));
    assert!(node.compiled.lock().unwrap().iter().all(|(_, success)| *success));

    let stats: RuntimeStatsSnapshot = node.backend.stats();
    let counters: [u64; 14] = [
        stats.lookup_hits,
        stats.lookup_misses,
        stats.events_dropped,
        stats.commands_dropped,
        stats.resident_entries,
        stats.events_queued,
        stats.command_queue_len,
        stats.pending_jobs,
        stats.jit_code_bytes,
        stats.jit_data_bytes,
        stats.evictions,
        stats.compilations_dispatched,
        stats.compilations_succeeded,
        stats.compilations_failed,
    ];
    let of_helpers: [u64; 11] = [
        stats.jit_helper_spawns,
        stats.jit_helper_spawn_failures,
        stats.jit_helper_restarts,
        stats.jit_helper_timeouts,
        stats.jit_helper_disconnects,
        stats.jit_helper_pause_requests,
        stats.jit_helper_pause_acknowledgements,
        stats.jit_helper_pause_failures,
        stats.jit_helper_pause_timeouts,
        stats.jit_helper_resume_requests,
        stats.jit_helper_resume_failures,
    ];
    assert_eq!(counters[8] + counters[9], stats.jit_total_bytes());
    assert_eq!(of_helpers, [0; 11], "in process");
    node.backend.clear_resident();
    node.backend.clear_persisted();
    node.backend.clear_all();
    Ok(())
}

#[test]
fn jit_modes_are_parsed_and_told() {
    let parse = |text: &str| text.parse::<JitMode>();
    assert_eq!(parse("in-process"), Ok(JitMode::InProcess));
    assert_eq!(parse("out-of-process"), Ok(JitMode::OutOfProcess));
    let error: String = parse("elsewhere").unwrap_err();
    assert!(error.contains("elsewhere"));
    assert_eq!(JitMode::default(), JitMode::InProcess);
    assert!(RuntimeConfig::default().with_env_overrides().is_ok());
}

/// A node that was started without native code, whose operator asks for it later. Handles were
/// given to EVMs and to RPC before.
#[test]
fn an_operator_switches_on_what_a_node_was_started_without() -> revmc::eyre::Result<()> {
    let backend = JitBackend::disabled();
    let (for_evms, for_rpc) = (backend.clone(), backend.clone());
    assert!(!for_evms.enabled());
    for_rpc.set_enabled(true)?;
    assert!(backend.enabled() && for_evms.enabled());
    for_rpc.compile_jit_sync(numbered(1))?;
    assert_eq!(for_evms.stats().resident_entries, 1);
    for_rpc.set_enabled(false)?;
    assert!(!for_evms.enabled());
    // Another handle has nothing to do with these.
    assert!(!JitBackend::disabled().enabled());
    Ok(())
}
