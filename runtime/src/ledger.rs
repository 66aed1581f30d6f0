//! What becomes of each compilation, accounted in one place.
//!
//! A [`Ticket`] stands for one contract that is to be compiled, from the moment the work is
//! accepted until it has ended, however it ends. Dropping it counts the outcome, tells
//! `on_compilation`, and takes the work off the pending count; so no path, be it a panic, a clear
//! or the end of the backend, leaves the count wrong.
//!
//! Locks: that of the pending count, for an addition; that of the event queue.

use crate::{
    CompileTimings,
    config::{CompilationEvent, CompilationKind},
    events::EventQueue,
    hotness::Cold,
    locks::{lock, wait_until},
    lookup::RuntimeCacheKey,
    stats::{Counters, Outcomes},
};
use std::{
    sync::{Arc, Condvar, Mutex},
    time::Instant,
};

/// The accounts of a backend.
#[derive(Default)]
pub(crate) struct Ledger {
    /// The backend's name, for those who have several.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "a label of metrics"))]
    pub(crate) name: String,
    pub(crate) counters: Counters,
    pub(crate) pending: Pending,
    pub(crate) events: EventQueue,
}

/// Contracts accepted for compilation and not done with.
#[derive(Default)]
pub(crate) struct Pending {
    counts: Mutex<Counts>,
    none: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    all: u64,
    /// Those of them that there is a limit for.
    admitted: u64,
}

impl Pending {
    pub(crate) fn get(&self) -> u64 {
        lock(&self.counts).all
    }

    /// Whether one more would be admitted.
    pub(crate) fn has_room(&self, limit: usize) -> bool {
        lock(&self.counts).admitted < limit as u64
    }

    /// Those that there is a limit for.
    pub(crate) fn admitted(&self) -> u64 {
        lock(&self.counts).admitted
    }

    /// Takes one more, if fewer than `limit` were admitted and are pending.
    fn admit(&self, limit: usize) -> bool {
        let mut counts = lock(&self.counts);
        let has_room = counts.admitted < limit as u64;
        counts.admitted += u64::from(has_room);
        counts.all += u64::from(has_room);
        has_room
    }

    /// Takes one more, whatever their number.
    fn take(&self) {
        lock(&self.counts).all += 1;
    }

    fn leave(&self, was_admitted: bool) {
        let mut counts = lock(&self.counts);
        counts.all -= 1;
        counts.admitted -= u64::from(was_admitted);
        if counts.all == 0 {
            self.none.notify_all();
        }
    }

    /// Waits until nothing is pending; `false` if that isn't so by `deadline`.
    pub(crate) fn wait_none(&self, deadline: Instant) -> bool {
        let mut counts = lock(&self.counts);
        while counts.all > 0 {
            let Some(waited) = wait_until(&self.none, counts, deadline) else { return false };
            counts = waited;
        }
        true
    }
}

/// One contract on its way to a program.
pub(crate) struct Ticket {
    ledger: Arc<Ledger>,
    key: RuntimeCacheKey,
    kind: CompilationKind,
    /// Whether there is a program of the contract, to be made better. Clients compare compilations
    /// with contracts, so these are accounted apart, and make no event.
    is_upgrade: bool,
    /// Whether there is a limit for it.
    is_admitted: bool,
    /// When compilation began, if it did.
    begun: Option<Instant>,
    timings: CompileTimings,
    success: bool,
    /// The observer that asked; it begins to count anew when this is over.
    cold: Option<Arc<Cold>>,
}

impl Ticket {
    /// Accepts a contract, unless `limit` of these are pending already.
    pub(crate) fn admit(ledger: &Arc<Ledger>, key: RuntimeCacheKey, limit: usize) -> Option<Self> {
        ledger.pending.admit(limit).then(|| Self::new(ledger, key, true))
    }

    /// Accepts what is bounded otherwise: what the calling thread compiles at once.
    pub(crate) fn always(ledger: &Arc<Ledger>, key: RuntimeCacheKey) -> Self {
        ledger.pending.take();
        Self::new(ledger, key, false)
    }

    /// Accepts the upgrade of a resident program: there is at most one for each.
    pub(crate) fn upgrade(ledger: &Arc<Ledger>, key: RuntimeCacheKey) -> Self {
        let mut ticket = Self::always(ledger, key);
        ticket.is_upgrade = true;
        ticket
    }

    fn new(ledger: &Arc<Ledger>, key: RuntimeCacheKey, is_admitted: bool) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            key,
            kind: CompilationKind::Jit,
            is_upgrade: false,
            is_admitted,
            begun: None,
            timings: CompileTimings::default(),
            success: false,
            cold: None,
        }
    }

    /// The same ticket, for what is compiled to.
    pub(crate) fn of_kind(mut self, kind: CompilationKind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn watch(&mut self, cold: Option<Arc<Cold>>) {
        self.cold = cold;
    }

    /// The observer that asked.
    pub(crate) fn observer(&self) -> Option<&Arc<Cold>> {
        self.cold.as_ref()
    }

    /// Tells the observer that asked that its key isn't that of the code it saw; whether it didn't
    /// know that some claims are wrong.
    pub(crate) fn note_wrong_claim(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.note_wrong_claim())
    }

    /// Compilation begins. Without this the ticket ends without an event and counts for nothing.
    pub(crate) fn begin(&mut self) {
        self.begun = Some(Instant::now());
        self.outcomes().dispatched.bump();
    }

    /// Where it is accounted.
    fn outcomes(&self) -> &Outcomes {
        let counters = &self.ledger.counters;
        if self.is_upgrade { &counters.upgrades } else { &counters.compilations }
    }

    pub(crate) fn key(&self) -> RuntimeCacheKey {
        self.key
    }

    /// Adds the time that a part took.
    pub(crate) fn add_timings(&mut self, part: &CompileTimings) {
        self.timings += *part;
    }

    /// There is a program.
    pub(crate) fn succeed(&mut self) {
        self.success = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(cold) = &self.cold {
            cold.cool();
        }
        if let Some(begun) = self.begun {
            let outcomes = self.outcomes();
            let outcome = if self.success { &outcomes.succeeded } else { &outcomes.failed };
            outcome.bump();
            let event = CompilationEvent {
                code_hash: self.key.code_hash,
                spec_id: self.key.spec_id,
                duration: begun.elapsed(),
                kind: self.kind,
                success: self.success,
                timings: if self.success { self.timings } else { CompileTimings::default() },
            };
            #[cfg(feature = "metrics")]
            crate::metrics_export::guarded(|| {
                crate::metrics_export::compiled(&self.ledger.name, &event);
            });
            if !self.is_upgrade && !self.ledger.events.push(event) {
                self.ledger.counters.events_dropped.bump();
            }
        }
        // Last, so that who sees nothing pending sees the rest.
        self.ledger.pending.leave(self.is_admitted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use revm::primitives::hardfork::SpecId;
    use std::time::Duration;

    const KEY: RuntimeCacheKey = RuntimeCacheKey { code_hash: B256::ZERO, spec_id: SpecId::CANCUN };

    #[test]
    fn every_end_is_accounted() {
        let ledger = Arc::<Ledger>::default();
        let counts = || {
            let Outcomes { dispatched, succeeded, failed } = &ledger.counters.compilations;
            (ledger.pending.get(), dispatched.get(), succeeded.get(), failed.get())
        };
        let waiting = Ticket::admit(&ledger, KEY, 2).unwrap();
        let mut good = Ticket::admit(&ledger, KEY, 2).unwrap();
        assert!(Ticket::admit(&ledger, KEY, 2).is_none(), "the limit");
        good.begin();
        assert_eq!(counts(), (2, 1, 0, 0));
        good.succeed();
        drop(good);
        assert_eq!(counts(), (1, 1, 1, 0));
        let mut bad = Ticket::always(&ledger, KEY);
        bad.begin();
        assert!(Ticket::admit(&ledger, KEY, 2).is_some(), "it has no part in the limit");
        drop(bad);
        assert_eq!(counts(), (1, 2, 1, 1));
        assert!(!ledger.pending.wait_none(Instant::now() + Duration::from_millis(1)));
        drop(waiting);
        assert_eq!(counts(), (0, 2, 1, 1), "it never began");
        assert!(ledger.pending.wait_none(Instant::now()));
    }
}
