//! [`JitBackend`]: the handle that a node shares among its EVMs.
//!
//! Contracts that run often are compiled in the background, by workers; lookups never wait for
//! them. In blocking mode, and by [`compile_jit_sync`](JitBackend::compile_jit_sync), the calling
//! thread compiles.

use crate::{
    aot::Goal,
    config::{JitMode, RuntimeConfig},
    consult::SYNC_LIMIT,
    error::RuntimeError,
    first_tier,
    frame_counts::FrameRegistry,
    helper::MARKER,
    locks::lock,
    lookup::{
        AotRequest, InterpretReason, LookupDecision, LookupRequest, ProgramStatus, RuntimeCacheKey,
    },
    options::BackendOptions,
    program::CompiledProgram,
    service::CompileService,
    stats::RuntimeStatsSnapshot,
    submission::Origin,
};
use alloy_primitives::B256;
use cranevm_codegen::{CompilerOptions, HAS_COMPILER};
use revm::primitives::hardfork::SpecId;
use std::{
    env, fmt, mem,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

/// Compiles contracts and keeps their programs. A cheap handle: clones share everything.
///
/// In a child process that was forked and doesn't exec, a handle and its clones are off for good
/// (on Linux since 4.14; elsewhere they go on executing what there is):
/// EVMs interpret, what would compile is [`RuntimeError::Forked`], and dropping it waits for
/// nothing. The child's own backends are like any other. (A program's `func` mustn't be called
/// there, nor may a host that compiled code calls return in a child that it has forked.)
pub struct JitBackend {
    /// `None` for a handle from [`disabled`](Self::disabled), or a clone of one.
    shared: Option<Shared>,
    /// What such a handle and its clones share instead, made with the first clone.
    family: OnceLock<Arc<Family>>,
}

/// The handles that come from one call of [`JitBackend::disabled`].
#[derive(Default)]
struct Family {
    /// A default backend, once one of them was switched on.
    shared: OnceLock<Shared>,
    /// Held by who starts it.
    starting: Mutex<()>,
}

/// What all clones of a handle share.
#[derive(Clone)]
struct Shared {
    service: Arc<CompileService>,
    /// Ends the threads, which hold `service` themselves, with the last handle.
    _owner: Arc<Owner>,
}

struct Owner(Arc<CompileService>);

impl Drop for Owner {
    fn drop(&mut self) {
        if self.0.guard.is_owner() {
            return self.0.shut_down();
        }
        // A child has neither the threads nor a right to end helpers: all that is its parent's.
        mem::forget(Arc::clone(&self.0));
    }
}

impl JitBackend {
    /// A handle that compiles nothing, until it or a clone of it is switched on by
    /// [`set_enabled`](Self::set_enabled): that starts a backend of the default configuration,
    /// which all clones share then, earlier ones too. Until then it costs nothing: no environment,
    /// no thread, and no allocation but some bytes with the first clone.
    pub const fn disabled() -> Self {
        Self { shared: None, family: OnceLock::new() }
    }

    /// A backend with `config`, overridden by the environment
    /// ([`with_env_overrides`](RuntimeConfig::with_env_overrides), and
    /// [that of `BackendOptions`](BackendOptions::with_env_overrides)). If it is enabled, this
    /// loads what the store has, and starts the workers, except in blocking mode; else it starts no
    /// thread and reserves no memory.
    ///
    /// # Errors
    /// [`RuntimeError::Environment`] for an unusable environment variable;
    /// [`RuntimeError::HelperRunsTheProgram`]; if enabled, those of
    /// [`set_enabled`](Self::set_enabled).
    pub fn new(config: RuntimeConfig) -> eyre::Result<Self> {
        Self::with_options(config, BackendOptions::default())
    }

    /// [`new`](Self::new), with options that the configuration has no fields for. The environment
    /// overrides them too ([`with_env_overrides`](BackendOptions::with_env_overrides)).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(config: RuntimeConfig, options: BackendOptions) -> eyre::Result<Self> {
        let options = options.with_env_overrides()?;
        Self::with_all(config, options.has_first_tier(), |compiler| options.apply(compiler))
    }

    /// [`new`](Self::new), with any options of the compiler. For tests.
    #[doc(hidden)]
    pub fn with_compiler_options(
        config: RuntimeConfig,
        adjust: impl FnOnce(&mut CompilerOptions),
    ) -> eyre::Result<Self> {
        let options = BackendOptions::default().with_env_overrides()?;
        Self::with_all(config, options.has_first_tier(), adjust)
    }

    fn with_all(
        config: RuntimeConfig,
        may_have_first_tier: bool,
        adjust: impl FnOnce(&mut CompilerOptions),
    ) -> eyre::Result<Self> {
        let config = config.with_env_overrides()?.normalized();
        if config.jit_mode == JitMode::OutOfProcess && env::var_os(MARKER).is_some() {
            return Err(RuntimeError::HelperRunsTheProgram.into());
        }
        let mut options = config.compiler_options();
        adjust(&mut options);
        // In blocking mode whoever asks compiles: workers come with the first request for them.
        let starts = HAS_COMPILER && config.enabled && !config.blocking;
        let has_first_tier = may_have_first_tier && first_tier::is_configured(&config);
        let service = CompileService::new(config, options);
        let service = Arc::new(if has_first_tier { service.with_first_tier() } else { service });
        let _owner = Arc::new(Owner(Arc::clone(&service)));
        if service.is_enabled() {
            service.compilers.space.prepare();
            service.preload()?;
        }
        if starts {
            service.start_workers()?;
        }
        Ok(Self { shared: Some(Shared { service, _owner }), family: OnceLock::new() })
    }

    /// Starts a default backend for all handles from the same [`disabled`](Self::disabled), unless
    /// there is one.
    pub(crate) fn start_default(&self) -> eyre::Result<()> {
        let family = self.family.get_or_init(Arc::default);
        let _alone = lock(&family.starting);
        if family.shared.get().is_none() {
            let config = RuntimeConfig { enabled: true, ..RuntimeConfig::default() };
            if let Some(shared) = Self::new(config)?.shared {
                family.shared.get_or_init(|| shared);
            }
        }
        Ok(())
    }

    /// Says how to run a frame of `request`'s code. Never waits, except in
    /// [`blocking`](RuntimeConfig::blocking) mode, where it is
    /// [`lookup_blocking`](Self::lookup_blocking). A miss is counted; the one that reaches
    /// [`jit_hot_threshold`](crate::runtime::RuntimeTuning::jit_hot_threshold) asks the workers to
    /// compile the code. The program is that of the request's code, for sure: the two are compared,
    /// which costs nothing where the code is the very bytes that the program was compiled from. A
    /// request whose key isn't that of its code finds nothing, and nothing is compiled for it.
    pub fn lookup(&self, request: LookupRequest) -> LookupDecision {
        let Some(service) = self.service().filter(|service| service.is_enabled()) else {
            return LookupDecision::Interpret(InterpretReason::Disabled);
        };
        if service.config.blocking {
            return service.lookup_blocking(&request);
        }
        if !service.is_eligible(&request.key, &request.code) {
            return LookupDecision::Interpret(InterpretReason::Ineligible);
        }
        if let Some(program) = service.count(service.use_requested(&request)) {
            return LookupDecision::Compiled(program);
        }
        if !service.is_hopeless(&request.key) {
            let cold = service.watch(&request.key, || request.code.clone());
            cold.heat(self, || request.code, 1, 0);
        }
        LookupDecision::Interpret(InterpretReason::NotReady)
    }

    /// Like [`lookup`](Self::lookup), but compiles on a miss, on this thread, and waits for other
    /// threads that are at it, 30 s at most. Ignores whether the backend is enabled. Code that
    /// failed before isn't tried again until the next `clear_*`, or, if it failed for want of code
    /// memory, until a program is freed. Where somebody killed the helper process, it is tried a
    /// second time. Where the key isn't that of the code, the answer is
    /// [`JitFailed`](InterpretReason::JitFailed).
    pub fn lookup_blocking(&self, request: LookupRequest) -> LookupDecision {
        match self.owned() {
            Some(service) => service.lookup_blocking(&request),
            None => LookupDecision::Interpret(InterpretReason::Disabled),
        }
    }

    /// The resident program, if there is one: compiled from code of this hash, which is for the
    /// caller to compare with that of the code it means to run. Counts nothing and ignores whether
    /// the backend is enabled.
    pub fn get_compiled(&self, code_hash: B256, spec_id: SpecId) -> Option<Arc<CompiledProgram>> {
        self.owned()?.cache.get(&RuntimeCacheKey { code_hash, spec_id })
    }

    /// [`get_compiled`](Self::get_compiled), counted as a hit or a miss.
    pub fn get_compiled_tracked(
        &self,
        code_hash: B256,
        spec_id: SpecId,
    ) -> Option<Arc<CompiledProgram>> {
        self.owned()?.get_tracked(&RuntimeCacheKey { code_hash, spec_id })
    }

    /// Asks the workers to compile `request`, before what is merely hot. Never waits. Ignores
    /// whether the backend is enabled. Nothing happens if the program is there or in the making, or
    /// the code is ineligible or failed before, as for [`lookup_blocking`](Self::lookup_blocking).
    /// A request whose key isn't that of its code fails, as
    /// [`on_compilation`](RuntimeConfig::on_compilation) is told. Where there is no room, or there
    /// are no workers, the request is counted in
    /// [`commands_dropped`](RuntimeStatsSnapshot::commands_dropped).
    pub fn compile_jit(&self, request: LookupRequest) {
        if let Some(service) = self.owned() {
            service.submit(request.key, request.code, Origin::Explicit, None);
        }
    }

    /// Compiles on this thread, or waits for a helper process that does, if the program isn't
    /// resident; if another thread is at it, waits for that. Takes at most 30 s, and the time for
    /// one chunk of code; with [`dump_dir`](RuntimeConfig::dump_dir), the time for the files, too.
    /// Ignores whether the backend is enabled or paused. Unlike revmc, which returns `Ok` when the
    /// code is ineligible or its compilation failed, this tells so: `Ok` means that there is a
    /// program.
    ///
    /// # Errors
    /// [`RuntimeError::Ineligible`] for code that is never compiled,
    /// [`RuntimeError::CompileFailed`] with the reason, which is
    /// [`CompileFailure::WrongHash`](crate::runtime::CompileFailure::WrongHash) if the key isn't
    /// that of the code, and [`BeyondBudget`](crate::runtime::CompileFailure::BeyondBudget) if the
    /// program alone is larger than what may be resident, [`RuntimeError::TimedOut`],
    /// [`RuntimeError::NoBackend`] on a handle from [`disabled`](Self::disabled) that wasn't
    /// switched on.
    pub fn compile_jit_sync(&self, request: LookupRequest) -> eyre::Result<()> {
        self.compile_jit_sync_timeout(request, SYNC_LIMIT)
    }

    /// [`compile_jit_sync`](Self::compile_jit_sync) with a limit of the caller's own. It is looked
    /// at between chunks, so a call may take longer by the time for one of them.
    ///
    /// # Errors
    /// As [`compile_jit_sync`](Self::compile_jit_sync).
    pub fn compile_jit_sync_timeout(
        &self,
        request: LookupRequest,
        limit: Duration,
    ) -> eyre::Result<()> {
        let service = self.required()?;
        Ok(service.compile_sync(Goal::Program, &request, limit)?)
    }

    /// Asks the workers for an artifact, before what is merely hot, whether or not the backend is
    /// enabled or in [`aot`](RuntimeConfig::aot) mode. Never waits. Nothing happens if the store
    /// is known to have it (other processes may have deleted it since) and its program is resident,
    /// or the code is ineligible or failed before; if the store has it and its program isn't
    /// resident, that is loaded. Where there is no room, no worker or no
    /// [`store`](RuntimeConfig::store), the request is counted in
    /// [`commands_dropped`](RuntimeStatsSnapshot::commands_dropped).
    pub fn prepare_aot(&self, request: AotRequest) {
        self.prepare_aot_batch(vec![request]);
    }

    /// Asks for several artifacts, each as by [`prepare_aot`](Self::prepare_aot).
    pub fn prepare_aot_batch(&self, requests: Vec<AotRequest>) {
        let Some(service) = self.owned() else { return };
        if service.library.is_none() {
            let first = requests.first().map(AotRequest::key);
            return self.drop_artifact_requests(requests.len() as u64, first);
        }
        for request in requests {
            service.submit(request.key(), request.code, Origin::Artifact, None);
        }
    }

    /// Makes an artifact on this thread, unless the store has it, which is asked; if another thread
    /// is at it, waits for that. Takes at most 30 s, and the time for one chunk of code. `Ok` means
    /// that the artifact is stored and its program was published, unless that alone is larger than
    /// the budget of resident programs.
    ///
    /// # Errors
    /// [`RuntimeError::NoStore`], and those of [`compile_jit_sync`](Self::compile_jit_sync); where
    /// the store failed, the failure is
    /// [`CompileFailure::NotStored`](crate::runtime::CompileFailure::NotStored).
    pub fn prepare_aot_sync(&self, request: AotRequest) -> eyre::Result<()> {
        let service = self.required()?;
        if service.library.is_none() {
            return Err(RuntimeError::NoStore.into());
        }
        let request = LookupRequest { key: request.key(), code: request.code };
        Ok(service.compile_sync(Goal::Artifact, &request, SYNC_LIMIT)?)
    }

    /// Makes artifacts on this thread and the workers together, and waits for all of them: each as
    /// by [`prepare_aot_sync`](Self::prepare_aot_sync), and with its own 30 s. Results are in the
    /// order of the requests.
    pub fn prepare_aot_batch_sync(&self, requests: Vec<AotRequest>) -> Vec<eyre::Result<()>> {
        // What has no room in the queue is made here.
        if let Some(service) = self.owned().filter(|service| service.library.is_some()) {
            for request in &requests {
                service.submit_quietly(request.key(), request.code.clone());
            }
        }
        requests.into_iter().map(|request| self.prepare_aot_sync(request)).collect()
    }

    /// The backend's statistics.
    pub fn stats(&self) -> RuntimeStatsSnapshot {
        self.owned().map_or_else(RuntimeStatsSnapshot::default, |service| service.stats())
    }

    /// What is known of one program. Counts nothing.
    pub fn status(&self, key: &RuntimeCacheKey) -> ProgramStatus {
        self.owned().map_or(ProgramStatus::Unknown, |service| service.status(*key))
    }

    /// Runs of resident programs that compiled code handed over to the interpreter, so far. For
    /// measurements: a contract that hands over gains less than it could.
    #[doc(hidden)]
    pub fn hand_overs(&self) -> u64 {
        self.owned().map_or(0, |service| service.cache.hand_overs())
    }

    /// Where EVMs count their frames.
    pub(crate) fn frame_registry(&self) -> Option<&Arc<FrameRegistry>> {
        self.owned().map(|service| service.compilers.space.frames())
    }

    /// What this handle shares with its clones, if this is the process that made it.
    pub(crate) fn owned(&self) -> Option<&Arc<CompileService>> {
        self.service().filter(|service| service.guard.is_owner())
    }

    /// [`owned`](Self::owned), or why there is none.
    fn required(&self) -> Result<&Arc<CompileService>, RuntimeError> {
        let service = self.service().ok_or(RuntimeError::NoBackend)?;
        service.guard.is_owner().then_some(service).ok_or(RuntimeError::Forked)
    }

    /// What this handle shares with its clones, also in a child process, where it is switched off,
    /// and nothing else of it may be used.
    #[inline]
    pub(crate) fn service(&self) -> Option<&Arc<CompileService>> {
        match &self.shared {
            Some(shared) => Some(&shared.service),
            None => self.family.get()?.shared.get().map(|shared| &shared.service),
        }
    }

    /// Counts and logs requests for artifacts.
    fn drop_artifact_requests(&self, count: u64, first: Option<RuntimeCacheKey>) {
        let Some(service) = self.owned() else { return };
        service.ledger.counters.commands_dropped.add(count);
        if count > 0 && service.may_log() {
            tracing::warn!(?first, error = %RuntimeError::NoStore,
                "request for an artifact dropped; further ones are only counted");
        }
    }
}

impl Clone for JitBackend {
    fn clone(&self) -> Self {
        let family = match &self.shared {
            Some(_) => OnceLock::new(),
            None => OnceLock::from(Arc::clone(self.family.get_or_init(Arc::default))),
        };
        Self { shared: self.shared.clone(), family }
    }
}

impl fmt::Debug for JitBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JitBackend")
            .field("enabled", &self.enabled())
            .field("blocking", &self.is_blocking())
            .field("paused", &self.is_paused())
            .finish_non_exhaustive()
    }
}
