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
use cranevm_codegen::COMPILER_STACK;
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
    /// Which threads were started.
    started: Mutex<Started>,
    /// The same as `started.workers`, without the lock.
    has_workers: AtomicBool,
    /// Whether a thread clears the store, or was started to.
    is_clearing: AtomicBool,
}

#[derive(Default)]
struct Started {
    workers: bool,
    housekeeping: bool,
}

impl Crew {
    /// Whether there are workers.
    pub(crate) fn has_workers(&self) -> bool {
        self.has_workers.load(Ordering::Acquire)
    }

    /// Whether there is a housekeeping thread.
    pub(crate) fn keeps_house(&self) -> bool {
        lock(&self.started).housekeeping
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
        let count = self.tuning().jit_worker_count;
        let mut started = lock(&self.crew.started);
        if started.workers || count == 0 || self.pool.is_stopping() {
            return Ok(started.workers);
        }
        let mut running = 0;
        for (index, station) in Station::several(count).into_iter().enumerate() {
            let service = Arc::clone(self);
            let name = thread_name(&self.config.thread_name, index);
            let body = move || work(&service, station);
            match self.crew.threads.spawn(name, COMPILER_STACK, body) {
                Ok(()) => running += 1,
                Err(error) if running == 0 => return Err(self.told(error)),
                Err(error) => {
                    tracing::warn!(%error, running, "fewer workers than configured");
                    break;
                }
            }
        }
        started.workers = true;
        self.crew.has_workers.store(true, Ordering::Release);
        if let Err(error) = self.start_housekeeping(&mut started) {
            // Compilation goes on without; what it costs is in the message.
            self.told(error);
        }
        Ok(true)
    }

    /// Starts the housekeeping thread alone, for what callers compile themselves.
    pub(crate) fn start_keeping_house(self: &Arc<Self>) {
        if let Err(error) = self.start_housekeeping(&mut lock(&self.crew.started)) {
            self.told(error);
        }
    }

    fn start_housekeeping(self: &Arc<Self>, started: &mut Started) -> Result<(), RuntimeError> {
        if started.housekeeping || self.pool.is_stopping() {
            return Ok(());
        }
        let service = Arc::clone(self);
        let name = self.config.thread_name.clone();
        self.crew.threads.spawn(name, 0, move || housekeeping::run(&service))?;
        started.housekeeping = true;
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
        self.free_forgotten();
        let timeout = self.tuning().shutdown_timeout;
        if !self.crew.threads.join_all(timeout) {
            tracing::warn!(?timeout, "background threads didn't end in time, and are left alone");
        }
    }
}

/// What a worker does until the backend ends.
fn work(service: &Arc<CompileService>, mut station: Station<Job>) {
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
