//! Configuration of a backend, and its overrides by environment variables.
//!
//! The set of fields is fixed: clients build [`RuntimeConfig`] with exhaustive literals and move
//! single fields out of it, so it has neither more fields than these nor a `Drop`.

use crate::{CompileTimings, artifacts::ArtifactStore, error::RuntimeError, tuning::RuntimeTuning};
use alloy_primitives::B256;
use cranevm_codegen::CompilerOptions;
use revm::{context_interface::cfg::GasParams, primitives::hardfork::SpecId};
use std::{ffi::OsString, fmt::Display, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

const JIT_MODE: &str = "REVMC_JIT_MODE";
const JIT_HELPER_PATH: &str = "REVMC_JIT_HELPER_PATH";
const JIT_HELPER_MEMORY_LIMIT: &str = "REVMC_JIT_HELPER_MEMORY_LIMIT_BYTES";
const JIT_HELPER_CPU_COUNT: &str = "REVMC_JIT_HELPER_CPU_COUNT";

/// Configuration of a [`JitBackend`](crate::runtime::JitBackend).
#[derive(Clone, derive_more::Debug)]
pub struct RuntimeConfig {
    /// Whether lookups may answer with compiled code.
    ///
    /// Default: `false`. Can be changed later with
    /// [`set_enabled`](crate::runtime::JitBackend::set_enabled).
    pub enabled: bool,
    /// Name of the housekeeping thread. Workers are named after it, without `-backend` and with
    /// their number: `revmc-00`, `revmc-01` and so on. Most systems cut names off at 15 bytes. The
    /// label of this backend's metrics, too.
    ///
    /// Default: `"revmc-backend"`.
    pub thread_name: String,
    /// Where compiled code outlives the process: a
    /// [`DirArtifactStore`](crate::runtime::DirArtifactStore), say, or a store of the client's own.
    /// What it has is loaded when the backend is enabled for the first time, and after that where
    /// it is needed; with [`aot`](Self::aot) or by
    /// [`prepare_aot`](crate::runtime::JitBackend::prepare_aot), artifacts are added to it.
    ///
    /// Nothing that a store returns is run unverified: an artifact that is damaged, or of another
    /// contract, fork, compiler, processor or option than this backend's, is deleted and made
    /// again. But who can write the store's files can run code in this process.
    ///
    /// Default: `None`.
    #[debug(skip)]
    pub store: Option<Arc<dyn ArtifactStore>>,
    /// Limits, thresholds and intervals.
    pub tuning: RuntimeTuning,
    /// Directory for dumps of each compilation: bytecode, IR, machine code, control-flow graph and
    /// times go to files in `{dump_dir}/{spec_id:?}/{code_hash}/`, of a few MiB each at most. Makes
    /// each compilation several times as long. What can't be written is logged, and fails nothing;
    /// nothing is ever deleted.
    ///
    /// Default: `None`, no dumps.
    pub dump_dir: Option<PathBuf>,
    /// Check in compiled code, at the start of each basic block, what it relies on: the bounds of
    /// the stack, the pc, the gas, and that memory, calldata and return data are as the interpreter
    /// has them. A violation, which is a defect of this crate or of a chain's own instruction,
    /// panics; the panic unwinds to the caller of the frame, like one of the database. Compiled
    /// code is some times slower.
    ///
    /// Default: `false`.
    pub debug_assertions: bool,
    /// Report every failure of a compiled frame (stack underflow, bad jump, ...) as
    /// [`OutOfGas`](revm::interpreter::InstructionResult::OutOfGas). Gas, state and output don't
    /// change, nor do `STOP`, `RETURN` and `REVERT`.
    ///
    /// Default: `true`, as clients of revmc expect. Native code knows the interpreter's own reason
    /// in every case; `false` reports it.
    pub single_error: bool,
    /// Don't merge identical basic blocks.
    ///
    /// Default: `false`.
    pub no_dedup: bool,
    /// Don't eliminate stores that nothing observes.
    ///
    /// Default: `false`.
    pub no_dse: bool,
    /// The schedule of dynamic gas that the hosts of this backend have, if it isn't the fork's own.
    ///
    /// Default: `None`, the fork's. Compiled code is for the fork's schedule: where this says
    /// another one, nothing is compiled, and lookups answer that the code is ineligible. Whatever
    /// this says, [`JitEvm`](crate::revm_evm::JitEvm) compares the schedule of each frame's host,
    /// and interprets the frame if it isn't the fork's.
    pub gas_params: Option<GasParams>,
    /// Compile to artifacts, in the [`store`](Self::store), instead of to memory alone: whatever is
    /// compiled, whether it became hot or was asked for. A contract is compiled whole, at
    /// [`aot_opt_level`](RuntimeTuning::aot_opt_level), before it runs natively, so that comes
    /// later than without this; and a program that is loaded from the store needs no compilation.
    ///
    /// Without a store there is nothing to keep artifacts in: code is compiled to memory then, as
    /// with `false`, and [`JitBackend::new`](crate::runtime::JitBackend::new) logs a warning. Where
    /// the store fails, the program serves as if it had been compiled to memory.
    ///
    /// Default: `false`.
    pub aot: bool,
    /// Where code is compiled.
    ///
    /// Default: [`JitMode::InProcess`]. `REVMC_JIT_MODE` overrides it.
    pub jit_mode: JitMode,
    /// Program that is run as helper process in [`JitMode::OutOfProcess`]; `None` means this
    /// program itself, on Linux even if its file was replaced or deleted since it was started. It
    /// calls [`maybe_run_jit_helper`](crate::runtime::maybe_run_jit_helper) first in its `main`,
    /// and is of the same build of this crate: another one is refused when it is started.
    ///
    /// Default: `None`. `REVMC_JIT_HELPER_PATH` overrides it. Without effect in process.
    pub jit_helper_path: Option<PathBuf>,
    /// Compile at the first lookup, on the thread that asks, and answer when it is done. Implies
    /// [`enabled`](Self::enabled) and a [`jit_hot_threshold`](RuntimeTuning::jit_hot_threshold) of
    /// 0. Init code, which runs once, is compiled as well, and its program is kept like any other
    /// until a `clear_*`. For tests and measurements: it stops the caller for the time of a
    /// compilation.
    ///
    /// Default: `false`.
    pub blocking: bool,
    /// Called once after each attempt to compile a contract that has no program, when its result is
    /// visible to lookups. Upgrades of programs, to better code, aren't told of. It runs on the
    /// housekeeping thread: a panic in it is contained and logged, and while it blocks, up to
    /// [`channel_capacity`](RuntimeTuning::channel_capacity) events wait and further ones are
    /// dropped and counted.
    ///
    /// A call that compiles by itself (`compile_jit_sync`, `prepare_aot_sync`, blocking lookups)
    /// returns when the callback has heard of that, unless the callback takes longer than 100 ms:
    /// then it hears of it later. Nothing else waits for it.
    ///
    /// A callback that holds a handle of this backend keeps the backend alive, and so itself:
    /// see [`shut_down`](crate::runtime::JitBackend::shut_down).
    ///
    /// Default: `None`.
    #[debug(skip)]
    pub on_compilation: Option<Arc<dyn Fn(CompilationEvent) + Send + Sync>>,
}

impl RuntimeConfig {
    /// Applies the environment variables `REVMC_JIT_MODE` (`in-process` or `out-of-process`),
    /// `REVMC_JIT_HELPER_PATH` (made absolute where the file exists),
    /// `REVMC_JIT_HELPER_MEMORY_LIMIT_BYTES` and `REVMC_JIT_HELPER_CPU_COUNT` (integers). The
    /// environment wins over the configuration.
    ///
    /// # Errors
    /// [`RuntimeError::Environment`] if a value can't be parsed.
    pub fn with_env_overrides(self) -> eyre::Result<Self> {
        Ok(self.with_overrides(&|name| std::env::var_os(name))?)
    }

    /// [`with_env_overrides`](Self::with_env_overrides) with a given environment.
    pub(crate) fn with_overrides(
        mut self,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, RuntimeError> {
        if let Some(mode) = parse(env, JIT_MODE)? {
            self.jit_mode = mode;
        }
        if let Some(path) = env(JIT_HELPER_PATH).map(PathBuf::from) {
            // A helper that isn't there is reported when it is started, with this path.
            self.jit_helper_path = Some(path.canonicalize().unwrap_or(path));
        }
        if let Some(limit) = parse(env, JIT_HELPER_MEMORY_LIMIT)? {
            self.tuning.jit_helper_memory_limit_bytes = limit;
        }
        if let Some(count) = parse(env, JIT_HELPER_CPU_COUNT)? {
            self.tuning.jit_helper_cpu_count = count;
        }
        Ok(self)
    }

    /// Whether contracts of a fork can be compiled: the hosts' schedule is the fork's own.
    pub(crate) fn is_priced_as(&self, spec_id: SpecId) -> bool {
        self.gas_params.as_ref().is_none_or(|params| *params == GasParams::new_spec(spec_id))
    }

    /// The compiler options that the settings stand for.
    pub(crate) fn compiler_options(&self) -> CompilerOptions {
        CompilerOptions {
            opt_level: self.tuning.jit_opt_level,
            single_error: self.single_error,
            no_dedup: self.no_dedup,
            no_dse: self.no_dse,
            debug_assertions: self.debug_assertions,
            // A blocking caller expects native code wherever execution goes.
            compile_all: self.blocking,
            ..Default::default()
        }
    }

    /// Resolves settings that imply others.
    pub(crate) fn normalized(mut self) -> Self {
        if self.blocking {
            self.enabled = true;
            self.tuning.jit_hot_threshold = 0;
        }
        if self.aot && self.store.is_none() {
            tracing::warn!("RuntimeConfig::aot without a store: code is compiled to memory");
        }
        self.tuning = self.tuning.normalized();
        self
    }
}

/// Reads and parses an environment variable; `None` if it isn't set.
pub(crate) fn parse<T: FromStr<Err: Display>>(
    env: &dyn Fn(&str) -> Option<OsString>,
    name: &'static str,
) -> Result<Option<T>, RuntimeError> {
    let Some(value) = env(name) else { return Ok(None) };
    let problem = match value.to_str().map(str::parse) {
        Some(Ok(parsed)) => return Ok(Some(parsed)),
        Some(Err(error)) => format!("{error} (the value is {value:?})"),
        None => format!("{value:?} isn't Unicode"),
    };
    Err(RuntimeError::Environment { name, problem })
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            thread_name: "revmc-backend".into(),
            store: None,
            tuning: RuntimeTuning::default(),
            dump_dir: None,
            debug_assertions: false,
            single_error: true,
            no_dedup: false,
            no_dse: false,
            gas_params: None,
            aot: false,
            jit_mode: JitMode::default(),
            jit_helper_path: None,
            blocking: false,
            on_compilation: None,
        }
    }
}

/// Tells of one attempt to compile.
#[derive(Clone, Debug)]
pub struct CompilationEvent {
    /// Hash of the bytecode.
    pub code_hash: B256,
    /// The fork compiled for.
    pub spec_id: SpecId,
    /// Wall-clock time from the beginning of the attempt to its end, loading included, and in the
    /// background also what came between two chunks.
    pub duration: Duration,
    /// What was compiled to.
    pub kind: CompilationKind,
    /// Whether the attempt gave a program. One in the background that a `clear_*` or an eviction
    /// made futile didn't. A synchronous one that a `clear_*` overtook did: it gave the program to
    /// who waited for it, though lookups don't find it.
    pub success: bool,
    /// Time spent in each phase; zero for a failed attempt.
    pub timings: CompileTimings,
}

/// What code is compiled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompilationKind {
    /// To memory.
    Jit,
    /// To an artifact.
    Aot,
}

/// Where code is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JitMode {
    /// In this process.
    #[default]
    InProcess,
    /// In helper processes, so that a crash of the compiler, code that takes it too long, or all
    /// the memory that it may take cost one compilation: of a contract, which is interpreted until
    /// a `clear_*`. Where somebody killed the helper, it is tried a second time. There is one
    /// helper for each worker that has something to compile, and up to four for threads that
    /// compile by themselves (blocking lookups, `compile_jit_sync`), as many as there are workers.
    /// They are started when needed, and end with the backend, or with the process, however that
    /// ends. Contracts are compiled whole at each level. What a helper makes is verified before it
    /// becomes executable.
    ///
    /// Where helpers can't be started, or fail several times on end, nothing is compiled for up to
    /// ten seconds, and then it is tried again; requests meanwhile are refused and counted, or
    /// fail. The reason is logged once.
    OutOfProcess,
}

impl FromStr for JitMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "in-process" => Ok(Self::InProcess),
            "out-of-process" => Ok(Self::OutOfProcess),
            _ => Err(format!("`{text}` is no JIT mode; it is `in-process` or `out-of-process`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> Result<RuntimeConfig, RuntimeError> {
        RuntimeConfig::default()
            .with_overrides(&|asked| (asked == name).then(|| OsString::from(value)))
    }

    #[test]
    fn defaults() {
        // Exhaustive on purpose, and by move: clients do the same.
        let RuntimeConfig {
            enabled,
            thread_name,
            store,
            tuning: _,
            dump_dir,
            debug_assertions,
            single_error,
            no_dedup,
            no_dse,
            gas_params,
            aot,
            jit_mode,
            jit_helper_path,
            blocking,
            on_compilation,
        } = RuntimeConfig::default();
        assert!(!enabled);
        assert_eq!(thread_name, "revmc-backend");
        assert!(store.is_none());
        assert!(dump_dir.is_none());
        assert!(!debug_assertions);
        assert!(single_error);
        assert!(!no_dedup);
        assert!(!no_dse);
        assert!(gas_params.is_none());
        assert!(!aot);
        assert_eq!(jit_mode, JitMode::InProcess);
        assert!(jit_helper_path.is_none());
        assert!(!blocking);
        assert!(on_compilation.is_none());
    }

    #[test]
    fn environment_wins() {
        assert_eq!(with(JIT_MODE, "out-of-process").unwrap().jit_mode, JitMode::OutOfProcess);
        assert_eq!(with(JIT_MODE, "in-process").unwrap().jit_mode, JitMode::InProcess);
        let path = with(JIT_HELPER_PATH, "/no/such/helper").unwrap().jit_helper_path;
        assert_eq!(path, Some(PathBuf::from("/no/such/helper")));
        let limit = with(JIT_HELPER_MEMORY_LIMIT, "18446744073709551615").unwrap();
        assert_eq!(limit.tuning.jit_helper_memory_limit_bytes, u64::MAX);
        assert_eq!(with(JIT_HELPER_CPU_COUNT, "3").unwrap().tuning.jit_helper_cpu_count, 3);
    }

    #[test]
    fn bad_environment_is_named() {
        for (name, value) in [
            (JIT_MODE, "sideways"),
            (JIT_HELPER_MEMORY_LIMIT, "-1"),
            (JIT_HELPER_CPU_COUNT, "two"),
            (JIT_HELPER_CPU_COUNT, ""),
        ] {
            let error = with(name, value).unwrap_err();
            assert!(matches!(error, RuntimeError::Environment { name: n, .. } if n == name));
            assert!(error.to_string().contains(value), "{error}");
        }
    }

    #[test]
    fn blocking_implies_enabled() {
        let config = RuntimeConfig { blocking: true, ..Default::default() }.normalized();
        assert!(config.enabled);
        assert_eq!(config.tuning.jit_hot_threshold, 0);
        assert!(!RuntimeConfig::default().normalized().enabled);
    }
}
