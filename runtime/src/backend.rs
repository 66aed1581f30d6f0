//! [`JitBackend`]: the handle that a node shares among its EVMs.
//!
//! This version compiles on the thread that asks: in blocking mode, or on
//! [`compile_jit_sync`](JitBackend::compile_jit_sync). Other threads that ask for the same program
//! meanwhile wait for it; lookups outside blocking mode never wait. What would need background
//! threads or artifacts is refused: [`JitBackend::new`] returns a typed error, and calls that can't
//! return one count a dropped command and log it.

use crate::{
    cache::ProgramCache,
    compile::CompileService,
    config::RuntimeConfig,
    error::{CompileFailure, RuntimeError},
    lookup::{AotRequest, InterpretReason, LookupDecision, LookupRequest, RuntimeCacheKey},
    program::CompiledProgram,
    stats::{Counters, RuntimeStatsSnapshot},
};
use alloy_primitives::B256;
use cranevm_codegen::CompilerOptions;
use revm::primitives::hardfork::SpecId;
use std::{
    fmt,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Environment variable that marks a helper process.
const HELPER_MARKER: &str = "REVMC_JIT_HELPER";

/// Compiles contracts and keeps their programs. A cheap handle: clones share everything.
#[derive(Clone)]
pub struct JitBackend {
    /// `None` for a handle that is disabled for good.
    inner: Option<Arc<Inner>>,
}

/// What all clones of a handle share.
struct Inner {
    config: RuntimeConfig,
    enabled: AtomicBool,
    /// Calls of `pause` without their `resume`.
    pause_depth: AtomicUsize,
    /// Whether the log already tells that commands are dropped.
    drop_logged: AtomicBool,
    service: CompileService,
}

impl JitBackend {
    /// A backend that compiles nothing, for ever. Costs nothing: no allocation, no environment, no
    /// thread. To switch on later, make a backend with [`new`](Self::new) and `enabled: false`.
    pub const fn disabled() -> Self {
        Self { inner: None }
    }

    /// A backend with `config`, overridden by the environment
    /// ([`with_env_overrides`](RuntimeConfig::with_env_overrides)). Starts no thread and reserves
    /// no memory before the first compilation.
    ///
    /// # Errors
    /// [`RuntimeError::Environment`] for an unusable environment variable;
    /// [`RuntimeError::Unsupported`] for [`aot`](RuntimeConfig::aot), a
    /// [`store`](RuntimeConfig::store), a [`dump_dir`](RuntimeConfig::dump_dir) and
    /// [`JitMode::OutOfProcess`](crate::runtime::JitMode::OutOfProcess).
    pub fn new(config: RuntimeConfig) -> eyre::Result<Self> {
        Self::with_compiler_options(config, |_| {})
    }

    /// [`new`](Self::new), with compiler options that the configuration has no field for. For
    /// tests.
    #[doc(hidden)]
    pub fn with_compiler_options(
        config: RuntimeConfig,
        adjust: impl FnOnce(&mut CompilerOptions),
    ) -> eyre::Result<Self> {
        let config = config.with_env_overrides()?.normalized();
        config.check_supported()?;
        let mut options = CompilerOptions {
            opt_level: config.tuning.jit_opt_level,
            single_error: config.single_error,
            no_dedup: config.no_dedup,
            no_dse: config.no_dse,
            debug_assertions: config.debug_assertions,
            // A blocking caller expects native code wherever execution goes.
            compile_all: config.blocking,
            ..Default::default()
        };
        adjust(&mut options);
        let inner = Inner {
            enabled: AtomicBool::new(config.enabled),
            pause_depth: AtomicUsize::new(0),
            drop_logged: AtomicBool::new(false),
            service: CompileService::new(&config, options),
            config,
        };
        Ok(Self { inner: Some(Arc::new(inner)) })
    }

    /// Says how to run a frame of `request`'s code. Never waits, except in
    /// [`blocking`](RuntimeConfig::blocking) mode, where it is
    /// [`lookup_blocking`](Self::lookup_blocking).
    ///
    /// Outside blocking mode this version compiles only what
    /// [`compile_jit_sync`](Self::compile_jit_sync) asks for; everything else stays
    /// [`NotReady`](InterpretReason::NotReady).
    pub fn lookup(&self, request: LookupRequest) -> LookupDecision {
        let Some(inner) = self.inner.as_deref().filter(|inner| inner.enabled()) else {
            return LookupDecision::Interpret(InterpretReason::Disabled);
        };
        if inner.config.blocking {
            return inner.lookup_blocking(&request);
        }
        if !inner.config.tuning.should_compile(&request.code) {
            return LookupDecision::Interpret(InterpretReason::Ineligible);
        }
        match inner.get_tracked(&request.key) {
            Some(program) => LookupDecision::Compiled(program),
            None => LookupDecision::Interpret(InterpretReason::NotReady),
        }
    }

    /// Like [`lookup`](Self::lookup), but compiles on a miss, on this thread, and waits for other
    /// threads that are at it. Ignores whether the backend is enabled. Code that failed before
    /// isn't tried again until the next `clear_*`, or, if it failed for want of code memory, until
    /// a program is freed.
    pub fn lookup_blocking(&self, request: LookupRequest) -> LookupDecision {
        match &self.inner {
            Some(inner) => inner.lookup_blocking(&request),
            None => LookupDecision::Interpret(InterpretReason::Disabled),
        }
    }

    /// The resident program, if there is one. Counts nothing and ignores whether the backend is
    /// enabled.
    pub fn get_compiled(&self, code_hash: B256, spec_id: SpecId) -> Option<Arc<CompiledProgram>> {
        self.inner.as_ref()?.cache().get(&RuntimeCacheKey { code_hash, spec_id })
    }

    /// [`get_compiled`](Self::get_compiled), counted as a hit or a miss.
    pub fn get_compiled_tracked(
        &self,
        code_hash: B256,
        spec_id: SpecId,
    ) -> Option<Arc<CompiledProgram>> {
        self.inner.as_ref()?.get_tracked(&RuntimeCacheKey { code_hash, spec_id })
    }

    /// Asks for a program to be compiled in the background. This version has no background: the
    /// request is dropped and counted in
    /// [`commands_dropped`](RuntimeStatsSnapshot::commands_dropped), and the first one is logged.
    /// Use [`compile_jit_sync`](Self::compile_jit_sync).
    pub fn compile_jit(&self, request: LookupRequest) {
        self.drop_commands("compile_jit", 1, Some(request.key));
    }

    /// Compiles on this thread, if the program isn't resident. Ignores whether the backend is
    /// enabled. Unlike revmc, which returns `Ok` when the code is ineligible or its compilation
    /// failed, this tells so: `Ok` means that there is a program.
    ///
    /// # Errors
    /// [`RuntimeError::Ineligible`] for code that is never compiled,
    /// [`RuntimeError::CompileFailed`] with the reason, [`RuntimeError::NoBackend`] on a handle
    /// from [`disabled`](Self::disabled).
    pub fn compile_jit_sync(&self, request: LookupRequest) -> eyre::Result<()> {
        let inner = self.inner.as_ref().ok_or(RuntimeError::NoBackend)?;
        let LookupRequest { key, code } = request;
        if !inner.config.tuning.should_compile(&code) {
            let limit = inner.config.tuning.jit_max_bytecode_len;
            return Err(RuntimeError::Ineligible { key, code_len: code.len(), limit }.into());
        }
        match inner.service.program(key, &code) {
            Ok(_) => Ok(()),
            Err(failure) => Err(RuntimeError::CompileFailed { key, failure }.into()),
        }
    }

    /// Asks for an artifact. This version has none: the request is dropped, counted and logged as
    /// [`compile_jit`](Self::compile_jit) says.
    pub fn prepare_aot(&self, request: AotRequest) {
        self.drop_commands("prepare_aot", 1, Some(request.key()));
    }

    /// Asks for several artifacts; each is dropped as by [`prepare_aot`](Self::prepare_aot).
    pub fn prepare_aot_batch(&self, requests: Vec<AotRequest>) {
        let first = requests.first().map(AotRequest::key);
        self.drop_commands("prepare_aot_batch", requests.len() as u64, first);
    }

    /// Forgets all programs and failures, also in live EVMs from their next frame on. Code frees
    /// when its last user lets go of it. Never waits; compilations under way end, and serve only
    /// who waits for them.
    pub fn clear_resident(&self) {
        if let Some(inner) = &self.inner {
            inner.cache().clear();
        }
    }

    /// Deletes all artifacts. There are none in this version, for [`new`](Self::new) refuses a
    /// store.
    pub fn clear_persisted(&self) {}

    /// [`clear_resident`](Self::clear_resident) and [`clear_persisted`](Self::clear_persisted).
    pub fn clear_all(&self) {
        self.clear_resident();
        self.clear_persisted();
    }

    /// Whether lookups may answer with compiled code.
    #[inline]
    pub fn enabled(&self) -> bool {
        self.inner.as_deref().is_some_and(Inner::enabled)
    }

    /// Switches on or off. Takes effect in live EVMs at their next frame; programs stay resident.
    ///
    /// # Errors
    /// [`RuntimeError::NoBackend`] for switching on a handle from [`disabled`](Self::disabled).
    pub fn set_enabled(&self, enabled: bool) -> eyre::Result<()> {
        match &self.inner {
            Some(inner) => {
                inner.enabled.store(enabled, Ordering::Relaxed);
                inner.cache().bump_epoch();
                Ok(())
            }
            None if enabled => Err(RuntimeError::NoBackend.into()),
            None => Ok(()),
        }
    }

    /// Stops background compilation until the matching [`resume`](Self::resume). Calls nest. Never
    /// waits.
    ///
    /// This version has no background compilation, so the only effect is that
    /// [`is_paused`](Self::is_paused) says so; blocking lookups and
    /// [`compile_jit_sync`](Self::compile_jit_sync) compile all the same. Nothing at all happens on
    /// a handle from [`disabled`](Self::disabled).
    pub fn pause(&self) {
        if let Some(inner) = &self.inner {
            // Saturating, so that a caller which only ever pauses can't wrap round to running.
            let deeper = |depth: usize| Some(depth.saturating_add(1));
            let _previous =
                inner.pause_depth.fetch_update(Ordering::AcqRel, Ordering::Acquire, deeper);
        }
    }

    /// Takes back one [`pause`](Self::pause). Without one, nothing happens.
    pub fn resume(&self) {
        if let Some(inner) = &self.inner {
            let _refused_at_zero =
                inner.pause_depth.fetch_update(Ordering::AcqRel, Ordering::Acquire, |depth| {
                    depth.checked_sub(1)
                });
        }
    }

    /// Whether there are more calls of [`pause`](Self::pause) than of [`resume`](Self::resume).
    pub fn is_paused(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.pause_depth.load(Ordering::Acquire) != 0)
    }

    /// The backend's statistics.
    pub fn stats(&self) -> RuntimeStatsSnapshot {
        let Some(inner) = &self.inner else { return RuntimeStatsSnapshot::default() };
        let service = &inner.service;
        RuntimeStatsSnapshot {
            resident_entries: service.cache.len() as u64,
            jit_code_bytes: service.pool.code_bytes(),
            jit_data_bytes: service.pool.data_bytes(),
            ..service.counters.snapshot()
        }
    }

    /// Runs of resident programs that compiled code handed over to the interpreter, so far. For
    /// measurements: a contract that hands over gains less than it could.
    #[doc(hidden)]
    pub fn hand_overs(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.cache().hand_overs())
    }

    /// Validates an EVM's own cache; see [`ProgramCache::epoch`].
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.cache().epoch())
    }

    /// Whether a lookup may compile.
    #[inline]
    pub(crate) fn is_blocking(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.config.blocking)
    }

    /// Counts and logs commands that can't be carried out.
    fn drop_commands(&self, call: &'static str, count: u64, first: Option<RuntimeCacheKey>) {
        let Some(inner) = &self.inner else { return };
        inner.service.counters.commands_dropped.add(count);
        if count > 0 && !inner.drop_logged.swap(true, Ordering::Relaxed) {
            let what = "background compilation and artifacts";
            let error = RuntimeError::Unsupported { what, instead: "use compile_jit_sync" };
            tracing::warn!(call, ?first, %error, "request dropped; further ones are only counted");
        }
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

impl Inner {
    #[inline]
    fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    fn cache(&self) -> &ProgramCache {
        &self.service.cache
    }

    fn counters(&self) -> &Counters {
        &self.service.counters
    }

    fn get_tracked(&self, key: &RuntimeCacheKey) -> Option<Arc<CompiledProgram>> {
        let program = self.cache().get(key);
        match program {
            Some(_) => self.counters().lookup_hits.bump(),
            None => self.counters().lookup_misses.bump(),
        }
        program
    }

    fn lookup_blocking(&self, request: &LookupRequest) -> LookupDecision {
        if !self.config.tuning.should_compile(&request.code) {
            return LookupDecision::Interpret(InterpretReason::Ineligible);
        }
        if let Some(program) = self.get_tracked(&request.key) {
            return LookupDecision::Compiled(program);
        }
        let attempt: Result<_, Arc<CompileFailure>> =
            self.service.program(request.key, &request.code);
        match attempt {
            Ok(program) => LookupDecision::Compiled(program),
            // Logged where it happened, once.
            Err(_) => LookupDecision::Interpret(InterpretReason::JitFailed),
        }
    }
}

/// Serves as helper process if this process was started as one: to be called first in `main`.
/// `Break` means that it was, has served, and is to exit; `Continue`, that this is an ordinary
/// process.
///
/// # Errors
/// [`RuntimeError::Unsupported`] in a process started as a helper: this version has no helper
/// process.
pub fn maybe_run_jit_helper() -> eyre::Result<ControlFlow<()>> {
    match std::env::var_os(HELPER_MARKER) {
        None => Ok(ControlFlow::Continue(())),
        Some(_) => Err(RuntimeError::Unsupported {
            what: "the compilation helper process (REVMC_JIT_HELPER is set)",
            instead: "unset the variable and use JitMode::InProcess",
        }
        .into()),
    }
}
