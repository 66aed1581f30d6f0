//! A backend's dealings with its store.
//!
//! - Every call is contained: a client's store may fail or panic, and costs no more than its
//!   artifacts.
//! - The **index** holds the keys that the store is known to have, so that a miss costs one look
//!   into a map and no call of the store.
//! - A **clear** is noted by who asks for it, and done by a thread of its own, or by whoever is the
//!   next to need the store: so nothing that comes after it is wiped, and what was begun before
//!   it isn't stored after it.
//!
//! Locks: `preloaded`, held while the store's artifacts are looked at, and then `gate`, held shared
//! during calls of the store, and alone during its `clear`.

use super::{
    Artifact, ArtifactKey, ArtifactProblem, ArtifactStore, StoredArtifact,
    problem::ArtifactCounters, recipe::ArtifactRecipe,
};
use crate::{
    foreign::ForeignOpcodes, locks::lock, log_limit::LogLimit, lookup::RuntimeCacheKey,
    panics::panic_message,
};
use alloy_primitives::map::DefaultHashBuilder;
use cranevm_codegen::CompiledCode;
use dashmap::DashMap;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

/// A store, and what is known of it.
pub(crate) struct Library {
    store: Arc<dyn ArtifactStore>,
    pub(crate) recipe: ArtifactRecipe,
    pub(crate) counters: ArtifactCounters,
    /// Programs that the store has an artifact of, as far as is known, each with the number of the
    /// note that says so.
    index: DashMap<RuntimeCacheKey, u64, DefaultHashBuilder>,
    notes: AtomicU64,
    gate: RwLock<()>,
    /// Grows with each clear.
    generation: AtomicU64,
    clear_wanted: AtomicBool,
    /// Whether the store's artifacts were looked at. Held during that.
    preloaded: Mutex<bool>,
    log: LogLimit,
    /// Artifacts that execute any of these aren't used.
    foreign: Arc<ForeignOpcodes>,
}

impl Library {
    pub(crate) fn new(
        store: Arc<dyn ArtifactStore>,
        recipe: ArtifactRecipe,
        foreign: Arc<ForeignOpcodes>,
    ) -> Self {
        Self {
            store,
            recipe,
            counters: ArtifactCounters::default(),
            index: DashMap::default(),
            notes: AtomicU64::new(0),
            gate: RwLock::default(),
            generation: AtomicU64::new(0),
            clear_wanted: AtomicBool::new(false),
            preloaded: Mutex::default(),
            log: LogLimit::default(),
            foreign,
        }
    }

    /// Whether the artifacts were looked at; the lock is held by who does.
    pub(crate) fn preloaded(&self) -> MutexGuard<'_, bool> {
        lock(&self.preloaded)
    }

    /// Whether the store is known to have an artifact of `key`.
    pub(crate) fn has(&self, key: &RuntimeCacheKey) -> bool {
        self.index.contains_key(key)
    }

    /// Notes that the store has an artifact of `key`.
    pub(crate) fn note(&self, key: RuntimeCacheKey) {
        self.index.insert(key, self.notes.fetch_add(1, SeqCst));
    }

    /// The newest note of `key`.
    fn noted(&self, key: &RuntimeCacheKey) -> Option<u64> {
        self.index.get(key).map(|note| *note)
    }

    /// Forgets a note, but none that came since: another thread may have stored the artifact.
    fn forget(&self, key: &RuntimeCacheKey, note: Option<u64>) {
        self.index.remove_if(key, |_, newest| Some(*newest) == note);
    }

    /// What a clear separates: see [`keep`](Self::keep).
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// All artifacts of the store.
    ///
    /// # Errors
    /// What the store said.
    pub(crate) fn list(&self) -> Result<Vec<(ArtifactKey, StoredArtifact)>, ArtifactProblem> {
        let _open = self.open()?;
        let listed = self.ask("load_all", |store| store.load_all());
        listed.inspect_err(|problem| self.counters.count(problem))
    }

    /// The code of a program's artifact, if the store has one that may be loaded. One that may not
    /// is counted, logged and deleted.
    pub(crate) fn load(&self, key: RuntimeCacheKey, code_len: usize) -> Option<CompiledCode> {
        let artifact_key = self.recipe.key(key);
        // What is to be deleted mustn't be loaded.
        let _open = self.open().ok()?;
        let note = self.noted(&key);
        match self.ask("load", |store| store.load(&artifact_key)) {
            Ok(Some(stored)) => {
                let code = self.decode(&artifact_key, Some(code_len), &stored);
                // Another process may have stored it. Within the gate: a clear comes after.
                code.inspect(|_| self.note(key))
            }
            Ok(None) => {
                self.forget(&key, note);
                None
            }
            Err(problem) => {
                self.tell(&artifact_key, &problem);
                None
            }
        }
    }

    /// Asks the store whether it still has what it is known to have of `key`. If it hasn't, or
    /// can't tell, that isn't known any more.
    pub(crate) fn look_for(&self, key: &RuntimeCacheKey) {
        let Some(note) = self.noted(key) else { return };
        let artifact_key = self.recipe.key(*key);
        let Ok(_open) = self.open() else { return };
        match self.ask("load", |store| store.load(&artifact_key)) {
            Ok(Some(_)) => return,
            Ok(None) => {}
            Err(problem) => self.tell(&artifact_key, &problem),
        }
        self.forget(key, Some(note));
    }

    /// [`load`](Self::load) of an artifact that [`list`](Self::list) told of.
    pub(crate) fn load_listed(
        &self,
        key: &ArtifactKey,
        stored: &StoredArtifact,
    ) -> Option<CompiledCode> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.decode(key, None, stored)
    }

    fn decode(
        &self,
        key: &ArtifactKey,
        code_len: Option<usize>,
        stored: &StoredArtifact,
    ) -> Option<CompiledCode> {
        let foreign = self.foreign.get();
        let mut problem = match self.recipe.decode(key.runtime, code_len, foreign, stored) {
            Ok(code) => return Some(code),
            Err(problem) => problem,
        };
        // Another process may have replaced it since the store told of it.
        if let Ok(Some(now)) = self.ask("load", |store| store.load(key))
            && now.manifest.content_hash != stored.manifest.content_hash
        {
            problem = match self.recipe.decode(key.runtime, code_len, foreign, &now) {
                Ok(code) => return Some(code),
                Err(problem) => problem,
            };
        }
        self.tell(key, &problem);
        // One of another configuration says nothing of this one's.
        if self.recipe.is_own(key) {
            self.index.remove(&key.runtime);
        }
        if self.recipe.may_delete(key, &problem)
            && let Err(problem) = self.ask("delete", |store| store.delete(key))
        {
            self.tell(key, &problem);
        }
        None
    }

    /// Stores an artifact, unless the store was cleared since `generation`: then `false`.
    ///
    /// # Errors
    /// What the store said. It is counted and logged.
    pub(crate) fn keep(
        &self,
        artifact: &Artifact,
        generation: u64,
    ) -> Result<bool, ArtifactProblem> {
        let key = &artifact.manifest.artifact_key;
        let _open = self.open()?;
        if self.generation() != generation {
            return Ok(false);
        }
        let stored =
            self.ask("store", |store| store.store(key, &artifact.manifest, &artifact.bytes));
        match &stored {
            Ok(()) => {
                self.counters.stored.bump();
                self.note(key.runtime);
            }
            Err(problem) => self.tell(key, problem),
        }
        stored.map(|()| true)
    }

    /// Opens the gate for one call, once no clear is asked for.
    fn open(&self) -> Result<RwLockReadGuard<'_, ()>, ArtifactProblem> {
        loop {
            self.settle()?;
            let open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            // Another clear may have been asked for, or one have failed, before the gate was open.
            if !self.clear_wanted.load(SeqCst) {
                return Ok(open);
            }
        }
    }

    /// Notes that all artifacts are to be deleted. Doesn't wait: [`settle`](Self::settle) does it.
    pub(crate) fn request_clear(&self) {
        self.generation.fetch_add(1, SeqCst);
        self.clear_wanted.store(true, SeqCst);
        self.index.clear();
    }

    /// Whether all artifacts are to be deleted, and aren't yet.
    pub(crate) fn wants_clear(&self) -> bool {
        self.clear_wanted.load(SeqCst)
    }

    /// Deletes all artifacts, if that was asked for. Where it fails it stays asked for, and until
    /// it is done nothing is loaded or stored.
    ///
    /// # Errors
    /// What the store said.
    pub(crate) fn settle(&self) -> Result<(), ArtifactProblem> {
        if !self.clear_wanted.load(SeqCst) {
            return Ok(());
        }
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        // Whoever finds this unset before the gate is free again waits for the gate.
        if !self.clear_wanted.swap(false, SeqCst) {
            return Ok(());
        }
        let cleared = self.ask("clear", |store| store.clear());
        // What was stored since the clear was asked for, and before this thread had the gate.
        self.index.clear();
        if let Err(problem) = &cleared {
            self.clear_wanted.store(true, SeqCst);
            self.counters.count(problem);
            if self.log.permits() {
                tracing::error!(%problem, "artifacts aren't deleted yet; until then none is used");
            }
        }
        cleared
    }

    /// Calls the store.
    fn ask<T>(
        &self,
        call: &'static str,
        question: impl FnOnce(&dyn ArtifactStore) -> eyre::Result<T>,
    ) -> Result<T, ArtifactProblem> {
        // Unwind safety: nothing of this crate is lent to the store.
        match catch_unwind(AssertUnwindSafe(|| question(&*self.store))) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ArtifactProblem::Store { call, message: format!("{error:#}") }),
            Err(panic) => {
                Err(ArtifactProblem::StorePanicked { call, message: panic_message(&*panic) })
            }
        }
    }

    /// Counts and logs what went wrong with an artifact: one warning a minute, the rest for those
    /// who want to know.
    pub(crate) fn tell(&self, key: &ArtifactKey, problem: &ArtifactProblem) {
        self.counters.count(problem);
        let RuntimeCacheKey { code_hash, spec_id } = key.runtime;
        let reason = problem.reason();
        if self.log.permits() {
            tracing::warn!(%code_hash, ?spec_id, reason, %problem,
                "an artifact isn't used; further ones are only counted, and told of once a minute");
        } else {
            tracing::debug!(%code_hash, ?spec_id, reason, %problem, "an artifact isn't used");
        }
    }
}
