//! Artifacts on their way between a store and the cache.
//!
//! - **Preload**: the first time that a backend is enabled, the store's artifacts are loaded by
//!   several threads, newest first. What is large, or beyond the budget, is only noted, and loaded
//!   by a worker at its first miss.
//! - **Making**: a contract is compiled whole, at `aot_opt_level`; the artifact is stored, and then
//!   the program published. If it can't be stored, it is published all the same, as if it had been
//!   compiled to memory.
//!
//! Which of two ways a contract is compiled is a [`CompilationKind`]; whether an artifact was asked
//! for, or a program of whatever kind, is a [`Goal`].

use crate::{
    artifacts::{ArtifactKey, Library, StoredArtifact},
    compiler_pool::Tier,
    config::CompilationKind,
    error::{CompileFailure, RuntimeError},
    flights::Attempt,
    ledger::Ticket,
    lookup::RuntimeCacheKey,
    panics::contain_panic,
    program::{CompiledProgram, ProgramKind},
    service::CompileService,
    source::Source,
};
use cranevm_codegen::{CompiledCode, HAS_COMPILER};
use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

/// Bytes of artifacts that are loaded before a backend is ready: some two seconds of one
/// processor's work.
const PRELOADED_BYTES: u64 = 256 << 20;

/// Bytes of an artifact from which on it is loaded when it is needed: no deployed contract's is
/// that large.
const LARGE: usize = 2 << 20;

/// Most threads that preload. Reading is soon bounded by the disk.
const MAX_THREADS: usize = 8;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// A program, wherever it comes from.
    Program,
    /// An artifact in the store, and its program.
    Artifact,
}

impl CompileService {
    /// How a contract is compiled for who wants this.
    pub(crate) fn kind_for(&self, goal: Goal) -> CompilationKind {
        match self.library.is_some() && (goal == Goal::Artifact || self.config.aot) {
            true => CompilationKind::Aot,
            false => CompilationKind::Jit,
        }
    }

    /// What is already known about `key`, as far as it settles what is wanted.
    pub(crate) fn known_for(&self, goal: Goal, key: &RuntimeCacheKey) -> Option<Attempt> {
        match goal {
            Goal::Program => self.known(key),
            Goal::Artifact => {
                let resident = self
                    .cache
                    .get(key)
                    .filter(|program| program.kind == ProgramKind::Aot && self.has_stored(key));
                // The store may have room for what the budget hasn't.
                let failure = || {
                    let failure = self.failure(CompilationKind::Aot, key);
                    failure.filter(|failure| !failure.is_beyond_budget())
                };
                resident.map(Ok).or_else(|| failure().map(Err))
            }
        }
    }

    /// Whether the store is known to have an artifact of `key`.
    #[inline]
    pub(crate) fn has_stored(&self, key: &RuntimeCacheKey) -> bool {
        self.library.as_ref().is_some_and(|library| library.has(key))
    }

    /// Makes sure that the store has what it is known to have of `key`, for somebody who wants the
    /// artifact: other processes may have deleted it.
    pub(crate) fn look_for_stored(&self, key: &RuntimeCacheKey) {
        if let Some(library) = &self.library {
            library.look_for(key);
        }
    }

    /// Loads the program of a stored artifact, if there is one that may be loaded, and publishes
    /// it, if it isn't beyond the budget.
    pub(crate) fn load_stored(
        &self,
        source: &Source,
        generation: u64,
    ) -> Option<Arc<CompiledProgram>> {
        let library = self.library.as_ref()?;
        let key = source.key();
        let code = library.load(key, source.code().len())?;
        let load = || self.compilers.load(source, (ProgramKind::Aot, Tier::Artifact), &code);
        self.adopt(library, key, load, generation)
    }

    /// Publishes the program of an artifact that was read, which `load` places in memory.
    fn adopt(
        &self,
        library: &Library,
        key: RuntimeCacheKey,
        load: impl Fn() -> Result<CompiledProgram, CompileFailure>,
        generation: u64,
    ) -> Option<Arc<CompiledProgram>> {
        match self.with_room(load) {
            Ok(program) => {
                let program = Arc::new(program);
                self.offer(&program, Tier::Artifact, generation);
                library.counters.loaded.bump();
                Some(program)
            }
            Err(failure) => {
                let RuntimeCacheKey { code_hash, spec_id } = key;
                tracing::debug!(%code_hash, ?spec_id, %failure, "an artifact isn't loaded");
                None
            }
        }
    }

    /// Loads what the store has, the first time; see the module.
    ///
    /// # Errors
    /// [`RuntimeError::Store`] if the store can't say what it has. It is asked again the next time.
    pub(crate) fn preload(&self) -> Result<(), RuntimeError> {
        let Some(library) = self.library.as_ref().filter(|_| HAS_COMPILER) else { return Ok(()) };
        if self.compilers.space.is_refused() {
            return Ok(());
        }
        let mut preloaded = library.preloaded();
        if *preloaded {
            return Ok(());
        }
        let start = Instant::now();
        let generation = self.cache.generation();
        let mut listed =
            library.list().map_err(|problem| RuntimeError::Store { problem: Arc::new(problem) })?;
        listed.retain(|(key, _)| self.config.is_priced_as(key.runtime.spec_id));
        listed.sort_by_key(|(_, stored)| Reverse(stored.manifest.created_at_unix_secs));
        let budget = self.tuning().resident_code_cache_bytes as u64;
        let room = if budget == 0 { PRELOADED_BYTES } else { budget.min(PRELOADED_BYTES) };
        let (next, room) = (AtomicUsize::new(0), AtomicU64::new(room));
        let part = || self.preload_some(library, &listed, &next, &room, generation);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        thread::scope(|scope| {
            for _ in 1..threads.min(listed.len()) {
                // Where the system refuses a thread, this one does more.
                let _started = thread::Builder::new().spawn_scoped(scope, part);
            }
            part();
        });
        *preloaded = true;
        let (loaded, refused) = (library.counters.loaded.get(), library.counters.refusals());
        tracing::info!(
            listed = listed.len(), loaded, refused = refused.total(), ?refused,
            elapsed = ?start.elapsed(), "artifacts of the store"
        );
        Ok(())
    }

    /// One thread's part of the listed artifacts: whichever is next.
    fn preload_some(
        &self,
        library: &Library,
        listed: &[(ArtifactKey, StoredArtifact)],
        next: &AtomicUsize,
        room: &AtomicU64,
        generation: u64,
    ) {
        while let Some((key, stored)) = listed.get(next.fetch_add(1, Relaxed)) {
            // One under another key may be another configuration's: it serves if it turns out to be
            // good, and else mustn't be waited for.
            if library.recipe.is_own(key) {
                library.note(key.runtime);
            }
            let len = stored.manifest.artifact_len;
            let fits = |left: u64| left.checked_sub(len as u64);
            // Of several artifacts of a program the first that is good serves.
            let is_wanted = len <= LARGE
                && !self.is_crowded()
                && self.cache.get(&key.runtime).is_none()
                && room.fetch_update(Relaxed, Relaxed, fits).is_ok();
            if !is_wanted {
                continue;
            }
            let loaded = contain_panic(|| {
                let code = library.load_listed(key, stored);
                let key = key.runtime;
                let load = |code: &_| self.compilers.load_artifact(key, code);
                Ok(code.and_then(|code| self.adopt(library, key, || load(&code), generation)))
            });
            if let Err(failure) = loaded {
                tracing::error!(code_hash = %key.runtime.code_hash, %failure,
                    "an artifact isn't loaded");
            }
        }
    }

    /// What separates artifacts asked for before a clear of the store from those after it.
    pub(crate) fn library_generation(&self) -> u64 {
        self.library.as_ref().map_or(0, Library::generation)
    }

    /// Loads or makes the artifact of a contract, on this thread. Generations are of the cache and
    /// of the library, when it was asked for.
    pub(crate) fn attempt_artifact(
        self: &Arc<Self>,
        source: &Source,
        (generation, kept_since): (u64, u64),
        deadline: Instant,
    ) -> Attempt {
        if let Some(program) = self.load_stored(source, generation) {
            return Ok(program);
        }
        let mut ticket = Ticket::always(&self.ledger, source.key()).of_kind(CompilationKind::Aot);
        ticket.begin();
        let releases = self.compilers.space.releases();
        match self.compile_whole(Tier::Artifact, source, deadline) {
            Ok(compiled) => {
                let generations = (generation, kept_since);
                self.finish_artifact(source, &compiled, generations, releases, &mut ticket)
            }
            Err(failure) => {
                let what = (source, CompilationKind::Aot);
                Err(self.fail(what, failure, generation, releases))
            }
        }
    }

    /// Stores what was compiled whole for an artifact, and then publishes it. Generations are as
    /// for [`attempt_artifact`](Self::attempt_artifact).
    pub(crate) fn finish_artifact(
        &self,
        source: &Source,
        compiled: &CompiledCode,
        (generation, kept_since): (u64, u64),
        releases: u64,
        ticket: &mut Ticket,
    ) -> Attempt {
        let stored = self.store_artifact(source.key(), compiled, kept_since);
        let (kind, code) = match &stored {
            Ok(Some(artifact)) => (ProgramKind::Aot, artifact),
            _ => (ProgramKind::Jit, compiled),
        };
        let loaded = self.with_room(|| self.compilers.load(source, (kind, Tier::Artifact), code));
        let program = match loaded {
            Ok(program) => Arc::new(program),
            Err(failure) => {
                let what = (source, CompilationKind::Aot);
                return Err(self.fail(what, failure, generation, releases));
            }
        };
        self.offer(&program, Tier::Artifact, generation);
        ticket.add_timings(&compiled.timings);
        match stored {
            Ok(Some(_)) => {
                // Also if a clear came: there is an artifact, and who waits has the program.
                ticket.succeed();
                Ok(program)
            }
            Ok(None) => Err(Arc::new(CompileFailure::Abandoned)),
            Err(failure) => Err(Arc::new(failure)),
        }
    }

    /// Stores an artifact, and says what code it holds: read back, so that what is stored can be.
    /// `None` if the store was cleared meanwhile.
    fn store_artifact(
        &self,
        key: RuntimeCacheKey,
        compiled: &CompiledCode,
        kept_since: u64,
    ) -> Result<Option<CompiledCode>, CompileFailure> {
        let Some(library) = &self.library else { return Ok(None) };
        let identity = self.compilers.identity(key)?;
        let artifact = library.recipe.encode(key, compiled, &identity);
        let read_back = library
            .recipe
            .decode_bytes(
                key,
                Some(compiled.code_len() as usize),
                self.cache.foreign.get(),
                (&artifact.manifest, &artifact.bytes),
            )
            .inspect_err(|problem| library.tell(&artifact.manifest.artifact_key, problem))
            .map_err(CompileFailure::NotStored)?;
        let is_kept = library.keep(&artifact, kept_since).map_err(CompileFailure::NotStored)?;
        Ok(is_kept.then_some(read_back))
    }

    /// Has all artifacts deleted, without waiting for it.
    pub(crate) fn clear_artifacts(self: &Arc<Self>) {
        if let Some(library) = &self.library {
            library.request_clear();
            self.start_clearing();
        }
    }

    /// Deletes the artifacts, if that was asked for; `false` if it failed, which is logged.
    pub(crate) fn settle_artifacts(&self) -> bool {
        self.library.as_ref().is_none_or(|library| library.settle().is_ok())
    }

    /// Whether the artifacts are to be deleted.
    pub(crate) fn wants_artifacts_cleared(&self) -> bool {
        self.library.as_ref().is_some_and(Library::wants_clear)
    }
}
