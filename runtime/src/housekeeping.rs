//! The housekeeping thread: what needn't be done where it comes up.
//!
//! It makes what the first tier needs, and then delivers events to `on_compilation`, frees code, has the system use huge pages for code that
//! stays, evicts idle programs, and looks for programs that leave out what runs. Nobody waits for it, and while nothing is resident it sleeps.

use crate::{
    code_space::CodeSpace,
    helper::Helpers,
    locks::{lock, wait_for},
    service::CompileService,
};
use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

/// Wakes the housekeeping thread.
#[derive(Debug, Default)]
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
            rung = wait_for(&self.heard, rung, timeout);
        }
        *rung = false;
    }
}

/// Resident programs that a turn looks at; with more, turns are that much rarer.
const LOOKED_AT: u32 = 1000;

/// The thread's work until the backend ends.
pub(crate) fn run(service: &Arc<CompileService>) {
    let tuning = *service.tuning();
    let mut last_turn = Instant::now();
    let mut last_sweep = last_turn;
    #[cfg(feature = "metrics")]
    crate::metrics_export::guarded(crate::metrics_export::describe);
    let space = &service.compilers.space;
    let _keeping = Keeping::begin(space, &service.bell);
    if service.has_first_tier {
        service.compilers.make_assembler();
    }
    while !service.pool.is_stopping() {
        let events = &service.ledger.events;
        let delivered =
            (0..tuning.max_events_per_drain).take_while(|_| events.deliver_one()).count();
        let is_executed = space.reclaim();
        let residents = service.cache.len() as u32;
        let turn = tuning.event_drain_interval.saturating_mul(1 + residents / LOOKED_AT);
        if last_turn.elapsed() >= turn {
            last_turn = Instant::now();
            service.find_lacking();
            space.merge_pages();
            if let Some(helpers) = &service.helpers {
                helpers.tend();
            }
            #[cfg(feature = "metrics")]
            crate::metrics_export::guarded(|| {
                crate::metrics_export::export(&service.ledger.name, &service.stats());
            });
        }
        if let Some(idle) = tuning.idle_evict_duration
            && last_sweep.elapsed() >= tuning.eviction_sweep_interval
        {
            last_sweep = Instant::now();
            service.evict_idle(idle, service.born.elapsed());
        }
        if delivered < tuning.max_events_per_drain {
            let sweep = tuning.idle_evict_duration.map(|_| tuning.eviction_sweep_interval);
            let next = sweep.map_or(turn, |sweep| sweep.min(turn));
            // Without programs and helpers there is nothing to look at until the bell rings.
            let has_helpers = service.helpers.as_ref().is_some_and(Helpers::has_idle);
            let watches = residents > 0 || has_helpers || is_executed || cfg!(feature = "metrics");
            service.bell.wait(if watches { next } else { NEVER });
        }
    }
}

/// Until it is dropped, also by a panic of a log's subscriber, this thread frees code.
struct Keeping<'a>(&'a CodeSpace);

impl<'a> Keeping<'a> {
    fn begin(space: &'a CodeSpace, bell: &Arc<Bell>) -> Self {
        space.keep(Some(bell));
        Self(space)
    }
}

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        self.0.keep(None);
    }
}

/// Longer than anything; the bell rings earlier.
const NEVER: Duration = Duration::from_secs(3600);
