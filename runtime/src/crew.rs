//! The threads of a backend: workers that compile, one that keeps house, and one that clears the
//! store. Started when they are first needed, ended with the backend.

use crate::{
    error::RuntimeError,
    housekeeping,
    jobs::{self, Job},
    locks::lock,
    panics::panic_message,
    pool::Station,
    service::CompileService,
    threads::Threads,
};
use cranevm_codegen::{COMPILER_STACK, mark_deep_stack};
use std::{
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// The threads of a backend.
#[derive(Default)]
pub(crate) struct Crew {
    threads: Arc<Threads>,
    /// Held by who starts threads, and for nothing else: what is logged may call the backend.
    starting: Mutex<()>,
    has_workers: AtomicBool,
    keeps_house: AtomicBool,
    /// Whether a thread clears the store, or was started to.
    is_clearing: AtomicBool,
}

impl Crew {
    /// Whether there are workers.
    pub(crate) fn has_workers(&self) -> bool {
        self.has_workers.load(Ordering::Acquire)
    }

    /// Whether there is a housekeeping thread.
    pub(crate) fn keeps_house(&self) -> bool {
        self.keeps_house.load(Ordering::Acquire)
    }
}

impl CompileService {
    /// Starts what compiles in the background, if it isn't there yet; whether there is any.
    ///
    /// # Errors
    /// If no worker can be started. It is tried again the next time.
    pub(crate) fn start_workers(self: &Arc<Self>) -> Result<bool, RuntimeError> {
        if self.crew.has_workers() {
            return Ok(true);
        }
        match self.spawn_workers() {
            (0, Some(error)) => {
                if self.has_first_tier {
                    self.start_keeping_house();
                }
                return Err(self.told(error));
            }
            (running, Some(error)) => {
                tracing::warn!(%error, running, "fewer workers than configured");
            }
            (_, None) => {}
        }
        if self.crew.has_workers() || self.has_first_tier {
            // Without it compilation goes on; what that costs is in the message.
            self.start_keeping_house();
        }
        Ok(self.crew.has_workers())
    }

    /// Starts the workers, if there are none; how many, and why no more.
    fn spawn_workers(self: &Arc<Self>) -> (usize, Option<RuntimeError>) {
        let _alone = lock(&self.crew.starting);
        let (mut running, count) = (0, self.tuning().jit_worker_count);
        if self.crew.has_workers() || self.pool.is_stopping() {
            return (0, None);
        }
        for (index, station) in Station::several(count).into_iter().enumerate() {
            let service = Arc::clone(self);
            let name = thread_name(&self.config.thread_name, index);
            let body = move || work(&service, station);
            match self.crew.threads.spawn(name, COMPILER_STACK, body) {
                Ok(()) => running += 1,
                Err(error) => {
                    self.crew.has_workers.store(running > 0, Ordering::Release);
                    return (running, Some(error));
                }
            }
        }
        self.crew.has_workers.store(running > 0, Ordering::Release);
        (running, None)
    }

    /// Starts the housekeeping thread, if it isn't there yet; alone for what callers compile
    /// themselves.
    pub(crate) fn start_keeping_house(self: &Arc<Self>) {
        if !self.crew.keeps_house()
            && let Err(error) = self.spawn_housekeeping()
        {
            self.told(error);
        }
    }

    fn spawn_housekeeping(self: &Arc<Self>) -> Result<(), RuntimeError> {
        let _alone = lock(&self.crew.starting);
        if self.crew.keeps_house() || self.pool.is_stopping() {
            return Ok(());
        }
        let service = Arc::clone(self);
        let name = self.config.thread_name.clone();
        self.crew.threads.spawn(name, 0, move || housekeeping::run(&service))?;
        self.crew.keeps_house.store(true, Ordering::Release);
        Ok(())
    }

    /// Has a thread of its own delete the artifacts: a store may take long, and a housekeeping
    /// thread that waits for it would keep events and evictions waiting. Also after the end: this
    /// may be called from within the store, which a clear waits for. Who drops the last handle
    /// waits for the thread.
    pub(crate) fn start_clearing(self: &Arc<Self>) {
        if self.crew.is_clearing.swap(true, Ordering::SeqCst) {
            return;
        }
        let service = Arc::clone(self);
        let body = move || service.clear_store();
        let name = thread_name(&self.config.thread_name, "clear");
        if let Err(error) = self.crew.threads.spawn(name, 0, body) {
            // Who needs the store next does it.
            self.crew.is_clearing.store(false, Ordering::SeqCst);
            self.told(error);
        }
    }

    /// The work of that thread: to clear the store, and once more if that was asked for meanwhile.
    fn clear_store(&self) {
        let is_clearing = &self.crew.is_clearing;
        loop {
            let is_settled = self.settle_artifacts();
            is_clearing.store(false, Ordering::SeqCst);
            // Whoever found the flag set has asked for a clear before, which is seen here. One that
            // failed is left to who needs the store next.
            let is_wanted = is_settled && self.wants_artifacts_cleared();
            if !is_wanted || is_clearing.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    fn told(&self, error: RuntimeError) -> RuntimeError {
        if self.may_log() {
            tracing::error!(%error);
        }
        error
    }

    /// Ends all background work: drops what is queued, and waits for the threads as long as
    /// configured. May be called by one of them.
    pub(crate) fn shut_down(&self) {
        self.pool.stop();
        if let Some(helpers) = &self.helpers {
            helpers.stop();
        }
        self.bell.ring();
        self.ledger.events.close();
        let timeout = self.tuning().shutdown_timeout;
        if !self.crew.threads.join_all(timeout) {
            tracing::warn!(?timeout, "background threads didn't end in time, and are left alone");
        }
    }
}

/// What a worker does until the backend ends.
fn work(service: &Arc<CompileService>, mut station: Station<Job>) {
    mark_deep_stack();
    // With helpers nothing is compiled here.
    if service.helpers.is_none()
        && let Err(failure) = service.compilers.warm_up()
    {
        tracing::debug!(%failure, "no compiler at hand yet");
    }
    while let Some(job) = service.pool.next(&mut station) {
        // Unwind safety: a job that panicked is gone, and what it shares is consistent at any
        // point, for the compilers' panics are caught further in.
        let done = catch_unwind(AssertUnwindSafe(|| jobs::run(service, &station, job)));
        match done {
            Ok(Some(rest)) => station.set_aside(rest),
            Ok(None) => {}
            Err(panic) => {
                tracing::error!(message = panic_message(&*panic), "a compilation job panicked");
            }
        }
        service.bell.ring();
    }
}

/// The threads of `revmc-backend` are `revmc-00`, `revmc-01` and so on.
fn thread_name(backend: &str, what: impl Display) -> String {
    format!("{}-{what:02}", backend.strip_suffix("-backend").unwrap_or(backend))
}
