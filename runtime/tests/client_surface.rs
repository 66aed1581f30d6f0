//! The interface as clients of revmc's runtime use it: a node that configures the backend from its
//! command line, one that keeps it in types of its own, one with a store of its own, one that warms
//! up a list of contracts. What matters is that this compiles with the crate under revmc's name:
//! each line is one that a field, a variant, a bound or a `const` less would break.

mod common;

use common::{SPEC, TARGET, call, database, evm, numbered, request, summing};
use cranevm as revmc;
use revm::{
    ExecuteEvm,
    context::{Evm, TxEnv},
    database::{CacheDB, EmptyDB},
    handler::{EthFrame, EthPrecompiles, instructions::EthInstructions},
    interpreter::interpreter::EthInterpreter,
    primitives::{B256, Bytes, hardfork::SpecId},
};
use revmc::{
    CompileTimings, OptimizationLevel,
    revm_evm::JitEvm,
    runtime::{
        AotRequest, ArtifactKey, ArtifactManifest, ArtifactStore, BackendSelection,
        CompilationEvent, CompilationKind, CompiledProgram, InterpretReason, JitBackend, JitMode,
        LookupDecision, LookupRequest, ProgramKind, RuntimeCacheKey, RuntimeConfig,
        RuntimeStatsSnapshot, RuntimeTuning, StoredArtifact, maybe_run_jit_helper,
    },
};
use std::{
    collections::HashMap,
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What a node's command line says.
#[derive(Debug, Clone)]
struct Arguments {
    enabled: bool,
    blocking: bool,
    hot_threshold: usize,
    workers: Option<usize>,
    max_bytecode_len: usize,
    cache_bytes: usize,
    idle_evict: Option<Duration>,
    dump_dir: Option<PathBuf>,
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

fn arguments() -> Arguments {
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
trait JitControl: std::fmt::Debug + Send + Sync {
    fn set_enabled(&self, enabled: bool) -> revmc::eyre::Result<()>;
    fn resident(&self) -> u64;
}

#[derive(Debug, Clone)]
struct Node {
    backend: JitBackend,
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
    fn new(arguments: &Arguments) -> revmc::eyre::Result<Self> {
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

/// How a client shows a decision: exhaustively.
fn label(decision: &LookupDecision) -> &'static str {
    match decision {
        LookupDecision::Compiled(program) => match program.kind {
            ProgramKind::Jit => "jit",
            ProgramKind::Aot => "aot",
        },
        LookupDecision::Interpret(reason) => match reason {
            InterpretReason::Disabled => "disabled",
            InterpretReason::Ineligible => "ineligible",
            InterpretReason::NotReady => "not ready",
            InterpretReason::JitFailed => "failed",
        },
    }
}

/// How stores name files.
const fn opt_level_name(level: OptimizationLevel) -> &'static str {
    match level {
        OptimizationLevel::None => "none",
        OptimizationLevel::Less => "less",
        OptimizationLevel::Default => "default",
        OptimizationLevel::Aggressive => "aggressive",
    }
}

const fn backend_name(backend: BackendSelection) -> &'static str {
    match backend {
        BackendSelection::Auto => "auto",
        BackendSelection::Llvm => "llvm",
    }
}

#[test]
fn decisions_are_matched_and_programs_looked_into() {
    let node = Node::new(&Arguments { enabled: false, ..arguments() }).unwrap();
    let request = request(&summing());
    assert_eq!(label(&node.backend.lookup(request.clone())), "disabled");
    assert_eq!(label(&node.backend.lookup_blocking(request.clone())), "jit");
    node.backend.set_enabled(true).unwrap();
    assert_eq!(label(&node.backend.lookup(common::request(&[]))), "ineligible");
    assert_eq!(label(&node.backend.lookup(numbered(1))), "not ready");
    let RuntimeCacheKey { code_hash, spec_id } = request.key;
    let program: Arc<CompiledProgram> = node.backend.get_compiled(code_hash, spec_id).unwrap();
    let func: revmc::EvmCompilerFn = program.func;
    let raw: revmc::RawEvmCompilerFn = func.into_inner();
    assert_eq!(revmc::EvmCompilerFn::new(raw).into_inner() as usize, raw as usize);
    assert_eq!(program.key, request.key);
    assert!(node.backend.get_compiled_tracked(B256::ZERO, SpecId::CANCUN).is_none());
    // Keys are what clients put into maps.
    let map: HashMap<RuntimeCacheKey, LookupRequest> = [(request.key, request)].into();
    assert_eq!(map.len(), 1);
    let aot = AotRequest { code_hash, code: Bytes::from(summing()), spec_id };
    assert_eq!(aot.clone().code_hash, code_hash);
}

/// A client's own store: in memory, with an error type of its own inside `eyre`.
#[derive(Debug, Default)]
struct MemoryStore {
    artifacts: Mutex<HashMap<ArtifactKey, StoredArtifact>>,
}

impl ArtifactStore for MemoryStore {
    fn load_all(&self) -> revmc::eyre::Result<Vec<(ArtifactKey, StoredArtifact)>> {
        let artifacts = self.artifacts.lock().map_err(|_| revmc::eyre::eyre!("poisoned"))?;
        Ok(artifacts.iter().map(|(key, stored)| (key.clone(), stored.clone())).collect())
    }

    fn load(&self, key: &ArtifactKey) -> revmc::eyre::Result<Option<StoredArtifact>> {
        Ok(self.artifacts.lock().unwrap().get(key).cloned())
    }

    fn store(
        &self,
        key: &ArtifactKey,
        manifest: &ArtifactManifest,
        dylib: &[u8],
    ) -> revmc::eyre::Result<()> {
        if manifest.artifact_len != dylib.len() {
            revmc::eyre::bail!("{} bytes of {}", dylib.len(), manifest.artifact_len);
        }
        let dylib_path = PathBuf::from(self.file_name(key));
        let stored = StoredArtifact { manifest: manifest.clone(), dylib_path };
        self.artifacts.lock().unwrap().insert(key.clone(), stored);
        Ok(())
    }

    fn delete(&self, key: &ArtifactKey) -> revmc::eyre::Result<()> {
        self.artifacts.lock().unwrap().remove(key);
        Ok(())
    }

    fn clear(&self) -> revmc::eyre::Result<()> {
        self.artifacts.lock().unwrap().clear();
        Ok(())
    }
}

impl MemoryStore {
    fn file_name(&self, key: &ArtifactKey) -> String {
        let ArtifactKey { runtime: RuntimeCacheKey { code_hash, spec_id }, backend, opt_level } =
            key;
        let (backend, opt_level) = (backend_name(*backend), opt_level_name(*opt_level));
        format!("{code_hash:x}_{spec_id:?}_{backend}_{opt_level}.so")
    }
}

#[test]
fn a_client_has_a_store_of_its_own() -> revmc::Result<()> {
    let store = Arc::new(MemoryStore::default());
    let backend = BackendSelection::Llvm;
    let key =
        ArtifactKey { runtime: numbered(1).key, backend, opt_level: OptimizationLevel::default() };
    let manifest = ArtifactManifest {
        artifact_key: key.clone(),
        symbol_name: "aot".into(),
        bytecode_len: 1,
        artifact_len: 2,
        created_at_unix_secs: 3,
        content_hash: [0; 32],
    };
    assert!(store.store(&key, &manifest, &[0]).is_err());
    store.store(&key, &manifest, &[0, 1])?;
    let stored = store.load(&key)?.expect("it was stored");
    assert!(stored.dylib_path.ends_with(store.file_name(&key)));
    assert_eq!(store.load_all()?.len(), 1);
    store.delete(&key)?;
    store.clear()?;
    assert_eq!(BackendSelection::default(), BackendSelection::Auto);
    // As a trait object in a configuration.
    let config = RuntimeConfig { store: Some(store), ..Default::default() };
    assert!(config.store.is_some());
    Ok(())
}

/// The EVM as stratus keeps it: one for all transactions, in a type of its own.
type NodeEvm = JitEvm<
    Evm<
        common::TestContext<CacheDB<EmptyDB>>,
        (),
        EthInstructions<EthInterpreter, common::TestContext<CacheDB<EmptyDB>>>,
        EthPrecompiles,
        EthFrame<EthInterpreter>,
    >,
>;

#[derive(Debug)]
struct Executor {
    evm: NodeEvm,
}

impl Executor {
    /// `const fn`s over the wrapper's.
    const fn backend(&self) -> &JitBackend {
        self.evm.backend()
    }

    const fn chain_spec(&self) -> SpecId {
        self.evm.inner().ctx.cfg.spec
    }

    fn execute(&mut self, transaction: TxEnv) -> revmc::Result<u64> {
        Ok(self.evm.transact(transaction)?.result.tx_gas_used())
    }
}

#[test]
fn an_executor_keeps_one_evm_for_ever() -> revmc::Result<()> {
    let node = Node::new(&arguments())?;
    let inner = evm(database(&[(TARGET, &summing()[..])]), SPEC);
    let mut executor = Executor { evm: JitEvm::new(inner, node.backend.clone()) };
    assert_eq!(executor.chain_spec(), SPEC);
    let first = executor.execute(call())?;
    for _ in 0..20 {
        assert_eq!(executor.execute(call())?, first);
    }
    assert!(executor.backend().wait_idle(common::LONG));
    assert_eq!(node.resident(), 1);
    executor.evm.set_backend(JitBackend::disabled());
    assert!(!executor.backend().enabled());
    *executor.evm.backend_mut() = node.backend;
    executor.evm.inner_mut().ctx.block.number = revmc::U256::from(7);
    // Dereferences to the wrapped EVM.
    assert_eq!(executor.evm.ctx.block.number, revmc::U256::from(7));
    let plain = JitEvm::disabled(executor.evm.into_inner()).into_inner();
    assert_eq!(plain.ctx.cfg.spec, revmc::SpecId::CANCUN);
    Ok(())
}

/// The crates that clients reach through this one.
#[test]
fn revm_is_reached_through_the_crate() {
    use revmc::{
        context_interface::Cfg, handler::EvmTr, inspector::NoOpInspector, interpreter::Gas,
        primitives::Address, revm_bytecode::opcode::STOP,
    };
    fn is_an_evm<T: EvmTr>() {}
    fn is_a_cfg<T: Cfg>() {}
    is_an_evm::<NodeEvm>();
    is_a_cfg::<revm::context::CfgEnv>();
    let _inspector = NoOpInspector {};
    assert_eq!((Gas::new(7).limit(), STOP, Address::ZERO[0]), (7, 0, 0));
    let error: revmc::Error = revmc::eyre::eyre!("{}", 1);
    assert_eq!(error.to_string(), "1");
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

/// World Chain's and reth's factories: `const fn`s over ours, in types that derive what it has.
#[cfg(feature = "alloy-evm")]
mod factory {
    use super::{Arguments, JitBackend, Node, arguments};
    use cranevm::alloy_evm::{JitEvm, JitEvmFactory};

    #[derive(Debug, Clone)]
    struct NodeFactory {
        inner: JitEvmFactory,
    }

    impl NodeFactory {
        const fn new(backend: JitBackend) -> Self {
            Self { inner: JitEvmFactory::new(backend) }
        }

        const fn disabled() -> Self {
            Self::new(JitBackend::disabled())
        }

        const fn backend(&self) -> &JitBackend {
            self.inner.backend()
        }
    }

    #[test]
    fn a_factory_is_wrapped_by_const_functions() {
        use ::alloy_evm::{EvmEnv, EvmFactory};
        static OFF: NodeFactory = NodeFactory::disabled();
        assert!(!OFF.backend().enabled());
        let node = Node::new(&Arguments { blocking: true, ..arguments() }).unwrap();
        let factory = NodeFactory::new(node.backend);
        let evm: JitEvm<_, _> =
            factory.clone().inner.create_evm(super::database(&[]), EvmEnv::default());
        assert!(evm.backend().enabled() && factory.backend().enabled());
        let _all: fn(JitBackend) -> NodeFactory = NodeFactory::new;
    }
}

/// Features of revmc's manifest are accepted, and change nothing.
#[test]
fn features_of_revmc_are_in_the_manifest() {
    let manifest = include_str!("../Cargo.toml");
    for feature in ["llvm", "llvm-prefer-static", "llvm-prefer-dynamic", "alloy-evm", "asm-keccak"]
    {
        assert!(manifest.contains(&format!("\n{feature} = ")), "{feature}");
    }
}
