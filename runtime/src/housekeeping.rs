//! The housekeeping thread: what needn't be done where it comes up.
//!
//! It delivers events to `on_compilation`. Nobody waits for it.

use crate::{compile::CompileService, compiler_pool::lock};
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Wakes the housekeeping thread.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *lock(&self.rung) = true;
        self.heard.notify_one();
    }

    /// Waits until the bell rings, or for `timeout`.
    fn wait(&self, timeout: Duration) {
        let mut rung = lock(&self.rung);
        if !*rung {
            let waited = self.heard.wait_timeout(rung, timeout);
            rung = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *rung = false;
    }
}

/// The thread's work until the backend ends.
pub(crate) fn run(service: &Arc<CompileService>) {
    let tuning = *service.tuning();
    while !service.pool.is_stopping() {
        let events = &service.ledger.events;
        let delivered = (0..tuning.max_events_per_drain).take_while(|_| events.deliver_one());
        if delivered.count() == tuning.max_events_per_drain {
            continue;
        }
        service.bell.wait(tuning.eviction_sweep_interval);
    }
}
