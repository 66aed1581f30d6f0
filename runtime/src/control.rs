//! What a handle steers: what is forgotten, whether compiled code is used, whether anything is
//! compiled in the background, and the end.

use crate::{error::RuntimeError, helper::deadline_in, runtime::JitBackend};
use cranevm_codegen::HAS_COMPILER;
use std::time::Duration;

impl JitBackend {
    /// Forgets all programs and failures, also in live EVMs from their next frame on. Code is freed
    /// at once, unless a frame executes it or somebody holds its program; where that are many
    /// programs, by the housekeeping thread.
    /// Never waits; what is queued is dropped when its turn comes,
    /// and compilations under way serve only who waits for them.
    pub fn clear_resident(&self) {
        if let Some(service) = self.owned() {
            service.clear();
        }
    }

    /// Deletes all artifacts of the store. Never waits: a thread of its own does it, or whoever is
    /// the next to need the store. What is stored or loaded after this call isn't deleted, and
    /// what was begun before isn't stored. Programs stay resident.
    pub fn clear_persisted(&self) {
        if let Some(service) = self.owned() {
            service.clear_artifacts();
        }
    }

    /// [`clear_resident`](Self::clear_resident) and [`clear_persisted`](Self::clear_persisted).
    pub fn clear_all(&self) {
        // In this order: what is loaded in between is forgotten too.
        self.clear_persisted();
        self.clear_resident();
    }

    /// Whether lookups may answer with compiled code.
    #[inline]
    pub fn enabled(&self) -> bool {
        self.service().is_some_and(|service| service.is_enabled())
    }

    /// Switches on or off. Takes effect in live EVMs at their next frame; programs stay resident,
    /// and what is queued is compiled. Switching on for the first time loads what the
    /// [`store`](crate::runtime::RuntimeConfig::store) has, and returns when that is done.
    /// Switching on a handle from [`disabled`](Self::disabled) starts a default backend.
    ///
    /// # Errors
    /// [`RuntimeError::Store`](crate::runtime::RuntimeError::Store) if the artifact store
    /// can't say what it has; [`RuntimeError::Thread`](crate::runtime::RuntimeError::Thread) if no
    /// worker can be started. The backend stays off then.
    /// [`RuntimeError::Forked`](crate::runtime::RuntimeError::Forked) in a child process. On a
    /// handle from [`disabled`](Self::disabled), those of [`new`](Self::new).
    pub fn set_enabled(&self, enabled: bool) -> eyre::Result<()> {
        if enabled && self.service().is_none() {
            self.start_default()?;
        }
        let Some(service) = self.service() else { return Ok(()) };
        if !service.guard.is_owner() {
            // Off for good.
            return if enabled { Err(RuntimeError::Forked.into()) } else { Ok(()) };
        }
        if enabled {
            service.compilers.space.prepare();
            service.preload()?;
            if HAS_COMPILER && !service.config.blocking {
                service.start_workers()?;
            }
        }
        service.guard.turn(enabled);
        service.cache.bump_epoch();
        Ok(())
    }

    /// Stops background compilation until the matching [`resume`](Self::resume). Calls nest. Never
    /// waits: each worker ends the chunk that it is at, some milliseconds of work, and stops.
    /// Requests are queued meanwhile. Holds for workers that are started later, too.
    ///
    /// Blocking lookups and [`compile_jit_sync`](Self::compile_jit_sync) compile all the same.
    /// Nothing at all happens on a handle from [`disabled`](Self::disabled) before it is switched
    /// on.
    pub fn pause(&self) {
        if let Some(service) = self.owned() {
            let closed = service.pool.pause();
            if closed && service.helpers.is_some() {
                service.ledger.counters.jit_helper_pauses.bump();
            }
        }
    }

    /// Takes back one [`pause`](Self::pause). Without one, nothing happens.
    pub fn resume(&self) {
        if let Some(service) = self.owned() {
            let opened = service.pool.resume();
            if opened && service.helpers.is_some() {
                service.ledger.counters.jit_helper_resumes.bump();
            }
        }
    }

    /// Whether there are more calls of [`pause`](Self::pause) than of [`resume`](Self::resume).
    pub fn is_paused(&self) -> bool {
        self.owned().is_some_and(|service| service.pool.is_paused())
    }

    /// Ends all background work for good, as dropping the last handle does: drops what is queued,
    /// waits for the threads [`shutdown_timeout`](crate::runtime::RuntimeTuning::shutdown_timeout)
    /// at most, and lets go of `on_compilation`. Resident programs still serve, and synchronous
    /// calls still compile.
    ///
    /// Who lets `on_compilation` hold a handle of this backend calls this when done: such a handle
    /// keeps the backend, and so the callback, alive.
    pub fn shut_down(&self) {
        if let Some(service) = self.owned() {
            service.shut_down();
        }
    }

    /// Waits until nothing is queued or compiling, at whatever level, and `on_compilation` has
    /// heard of everything; `false` if that isn't so within `timeout`. Upgrades that were put off
    /// aren't waited for: see
    /// [`pending_jobs`](crate::runtime::RuntimeStatsSnapshot::pending_jobs). While the backend is
    /// paused, queued work stays. Mustn't be called from `on_compilation`, which it would wait for.
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        let Some(service) = self.owned() else { return true };
        let deadline = deadline_in(timeout);
        let ledger = &service.ledger;
        ledger.pending.wait_none(deadline) && ledger.events.wait_drained(deadline)
    }
}
