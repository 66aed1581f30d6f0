//! What all handles of a backend share.

use crate::{
    aot::Goal,
    artifacts::{ArtifactCounters, ArtifactRecipe, Library},
    cache::ProgramCache,
    code_space::reserve_for,
    compiler_pool::{CompilerPool, Tier},
    config::RuntimeConfig,
    crew::Crew,
    dump::Dumper,
    events::EventQueue,
    flights::Flights,
    helper::Helpers,
    hotness::ColdTable,
    housekeeping::Bell,
    jobs::Job,
    ledger::Ledger,
    log_limit::LogLimit,
    lookup::{ProgramStatus, RuntimeCacheKey},
    pool::{Band, Pool},
    stats::RuntimeStatsSnapshot,
    tuning::RuntimeTuning,
};
use cranevm_codegen::{CompilerOptions, HAS_COMPILER, code_memory::ForkGuard};
use std::{
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Instant,
};

/// Upgrades that may wait. Further ones are put off: contracts that come in all the time may keep
/// workers from all of them for long, and each holds bytecode.
const MAX_UPGRADES: usize = 4096;

/// Compiles what isn't compiled yet, once.
pub(crate) struct CompileService {
    /// Without the callback, which `ledger.events` has.
    pub(crate) config: RuntimeConfig,
    /// Of the process that all this works in; its switch is whether programs are used.
    pub(crate) guard: ForkGuard,
    pub(crate) cache: ProgramCache,
    pub(crate) compilers: CompilerPool,
    pub(crate) ledger: Arc<Ledger>,
    /// Whether contracts are native before they are hot.
    pub(crate) has_first_tier: bool,
    pub(crate) cold: ColdTable,
    pub(crate) pool: Pool<Job>,
    pub(crate) bell: Arc<Bell>,
    /// Where code is compiled; `None` means in this process.
    pub(crate) helpers: Option<Helpers>,
    /// The artifact store, if there is one.
    pub(crate) library: Option<Library>,
    pub(crate) dumper: Option<Dumper>,
    pub(crate) flights: Arc<Flights>,
    /// Those of artifacts.
    pub(crate) artifact_flights: Arc<Flights>,
    pub(crate) crew: Crew,
    /// The generation of the cache, plus 1, for which the log tells of a shortage; 0: none yet.
    pub(crate) shortage_logged: AtomicU64,
    saturation_log: LogLimit,
    /// Held by who evicts.
    pub(crate) evicting: Mutex<()>,
    pub(crate) born: Instant,
}

impl CompileService {
    /// The service of a backend without a first tier.
    pub(crate) fn new(mut config: RuntimeConfig, options: CompilerOptions) -> Self {
        let tuning = &config.tuning;
        let hot = tuning.jit_worker_count.saturating_mul(tuning.jit_worker_queue_capacity);
        let recipe = ArtifactRecipe::with_options(options, tuning.aot_opt_level);
        let artifact_options = *recipe.options();
        let cache = ProgramCache::default();
        let foreign = || Arc::clone(&cache.foreign);
        let library = config.store.clone().map(|store| Library::new(store, recipe, foreign()));
        let events = EventQueue::new(config.on_compilation.take(), tuning.channel_capacity);
        let name = config.thread_name.clone();
        let ledger = Arc::new(Ledger { name, events, ..Ledger::default() });
        let helpers = Helpers::new(&config, &ledger);
        Self {
            guard: ForkGuard::new(config.enabled),
            compilers: CompilerPool::new(
                options,
                tuning.compiler_recycle_threshold,
                reserve_for(tuning.resident_code_cache_bytes),
            )
            .with_artifact_options(artifact_options)
            .with_foreign(foreign()),
            cache,
            library,
            ledger,
            has_first_tier: false,
            cold: ColdTable::new(tuning.jit_hot_threshold),
            pool: Pool::new(tuning.channel_capacity, hot, MAX_UPGRADES),
            bell: Arc::default(),
            helpers,
            dumper: Dumper::new(&config),
            flights: Arc::default(),
            artifact_flights: Arc::default(),
            crew: Crew::default(),
            shortage_logged: AtomicU64::new(0),
            saturation_log: LogLimit::default(),
            evicting: Mutex::default(),
            born: Instant::now(),
            config,
        }
    }

    /// The same service, with a first tier.
    pub(crate) fn with_first_tier(self) -> Self {
        Self { has_first_tier: true, cold: self.cold.with_first_tier(), ..self }
    }

    pub(crate) fn tuning(&self) -> &RuntimeTuning {
        &self.config.tuning
    }

    /// Whether `code` may be compiled.
    #[inline]
    pub(crate) fn is_eligible(&self, key: &RuntimeCacheKey, code: &[u8]) -> bool {
        HAS_COMPILER && self.tuning().should_compile(code) && self.config.is_priced_as(key.spec_id)
    }

    /// Forgets all programs and failures.
    pub(crate) fn clear(&self) {
        self.compilers.space.drop_all(self.cache.clear());
    }

    /// The statistics now.
    pub(crate) fn stats(&self) -> RuntimeStatsSnapshot {
        let ledger = &self.ledger;
        let artifacts = self.library.as_ref().map(|library| &library.counters);
        let first = self.cache.first_len() as u64;
        RuntimeStatsSnapshot {
            resident_entries: (self.cache.len() as u64).saturating_sub(first),
            events_queued: (self.pool.queued(Band::Hot) + ledger.events.len()) as u64,
            command_queue_len: self.pool.queued(Band::Urgent) as u64,
            pending_jobs: ledger.pending.get(),
            jit_code_bytes: self.compilers.space.code_bytes(),
            jit_data_bytes: self.compilers.space.data_bytes(),
            artifacts_loaded: artifacts.map_or(0, |counters| counters.loaded.get()),
            artifacts_stored: artifacts.map_or(0, |counters| counters.stored.get()),
            artifact_store_errors: artifacts.map_or(0, |counters| counters.store_errors.get()),
            artifact_refusals: artifacts.map(ArtifactCounters::refusals).unwrap_or_default(),
            ..ledger.counters.snapshot(&self.compilers.space.frames().sums(), first)
        }
    }

    /// What becomes of `key`.
    pub(crate) fn status(&self, key: RuntimeCacheKey) -> ProgramStatus {
        let generation = self.cache.generation();
        let kind = self.kind_for(Goal::Program);
        match self.cache.tier(&key).filter(|tier| *tier != Tier::First) {
            Some(Tier::Baseline) => ProgramStatus::Baseline,
            Some(_) => ProgramStatus::Ready,
            None if self.is_in_flight(key, generation) => ProgramStatus::Pending,
            None => match self.failure(kind, &key) {
                Some(failure) => ProgramStatus::Failed(failure),
                None => match self.cold.frames(&key, generation) {
                    Some(misses) => ProgramStatus::Cold { misses },
                    None => ProgramStatus::Unknown,
                },
            },
        }
    }

    fn is_in_flight(&self, key: RuntimeCacheKey, generation: u64) -> bool {
        [&self.flights, &self.artifact_flights]
            .iter()
            .any(|flights| flights.contains(key, generation))
    }

    /// Whether a line about refused work may be logged now.
    pub(crate) fn may_log(&self) -> bool {
        self.saturation_log.permits()
    }
}
