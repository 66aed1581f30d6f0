//! Compilations in flight: whoever wants a program that is being compiled waits for it, or, where
//! nobody has begun yet, compiles it itself.
//!
//! A flight belongs to a key *and* a generation of the cache, so a request made after a `clear_*`
//! never joins a compilation begun before it. Locks are held for a map operation, never during a
//! compilation.

use crate::{
    error::CompileFailure,
    locks::{lock, wait_until},
    lookup::RuntimeCacheKey,
    program::CompiledProgram,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// What a compilation ended in.
pub(crate) type Attempt = Result<Arc<CompiledProgram>, Arc<CompileFailure>>;

type FlightKey = (RuntimeCacheKey, u64);

/// All compilations in flight.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<FlightKey, Arc<Flight>>>);

/// One compilation in flight.
#[derive(Default)]
pub(crate) struct Flight {
    /// Whether somebody has begun.
    claimed: AtomicBool,
    result: Mutex<Option<Attempt>>,
    landed: Condvar,
}

/// A caller's part in a flight.
pub(crate) enum Boarding {
    /// The caller is to compile, and lands the flight.
    Lead(Lead),
    /// Another thread is to compile, or at it.
    Follow(Arc<Flight>),
}

/// The duty to land a flight. Dropped without, it lands with a failure, so that no one waits for
/// ever, unless somebody else has claimed it.
pub(crate) struct Lead {
    flights: Arc<Flights>,
    key: FlightKey,
    flight: Arc<Flight>,
    claimed: bool,
}

impl Flights {
    /// Joins the flight of `key` in `generation`, or begins it; `now` if the caller is going to
    /// compile at once, so that nobody can take that over.
    pub(crate) fn board(
        self: &Arc<Self>,
        key: RuntimeCacheKey,
        generation: u64,
        now: bool,
    ) -> Boarding {
        let key = (key, generation);
        let mut flights = lock(&self.0);
        if let Some(flight) = flights.get(&key) {
            return Boarding::Follow(Arc::clone(flight));
        }
        let flight = Arc::new(Flight { claimed: AtomicBool::new(now), ..Flight::default() });
        flights.insert(key, Arc::clone(&flight));
        Boarding::Lead(Lead { flights: Arc::clone(self), key, flight, claimed: now })
    }

    /// Takes the lead of a flight that waits for somebody to begin.
    pub(crate) fn take_over(
        self: &Arc<Self>,
        key: RuntimeCacheKey,
        generation: u64,
        flight: &Arc<Flight>,
    ) -> Option<Lead> {
        flight.claim().then(|| Lead {
            flights: Arc::clone(self),
            key: (key, generation),
            flight: Arc::clone(flight),
            claimed: true,
        })
    }

    /// Whether `key` is in flight in `generation`.
    pub(crate) fn contains(&self, key: RuntimeCacheKey, generation: u64) -> bool {
        lock(&self.0).contains_key(&(key, generation))
    }
}

impl Flight {
    /// `true` for the one who may compile.
    fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// Waits for the flight to land; `None` if it hasn't by `deadline`.
    pub(crate) fn wait(&self, deadline: Instant) -> Option<Attempt> {
        let mut result = lock(&self.result);
        loop {
            if let Some(attempt) = &*result {
                return Some(attempt.clone());
            }
            result = wait_until(&self.landed, result, deadline)?;
        }
    }
}

impl Lead {
    /// Claims the flight; `false` if another thread has it, which lands it.
    pub(crate) fn claim(&mut self) -> bool {
        self.claimed = self.claimed || self.flight.claim();
        self.claimed
    }

    /// Ends a claimed flight and wakes who waits. The result must be visible to lookups by now: who
    /// comes later begins a flight of its own.
    pub(crate) fn land(mut self, attempt: Attempt) {
        if self.claim() {
            self.finish(attempt);
        }
    }

    fn finish(&mut self, attempt: Attempt) {
        lock(&self.flights.0).remove(&self.key);
        *lock(&self.flight.result) = Some(attempt);
        self.flight.landed.notify_all();
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let has_landed = lock(&self.flight.result).is_some();
        if !has_landed && self.claim() {
            self.finish(Err(Arc::new(CompileFailure::Abandoned)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use revm::primitives::hardfork::SpecId;
    use std::{thread, time::Duration};

    fn key(byte: u8) -> RuntimeCacheKey {
        RuntimeCacheKey { code_hash: B256::repeat_byte(byte), spec_id: SpecId::CANCUN }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn one_leads_and_others_follow() {
        let flights = Arc::<Flights>::default();
        let Boarding::Lead(lead) = flights.board(key(1), 0, false) else { panic!("must lead") };
        assert!(matches!(flights.board(key(2), 0, false), Boarding::Lead(_)));
        assert!(matches!(flights.board(key(1), 1, false), Boarding::Lead(_)), "another generation");
        let Boarding::Follow(flight) = flights.board(key(1), 0, false) else {
            panic!("must follow")
        };
        assert!(flight.wait(Instant::now()).is_none(), "in time");
        thread::scope(|scope| {
            let waiter = scope.spawn(move || flight.wait(soon()));
            let failure = CompileFailure::Panic { message: "as told".into() };
            lead.land(Err(Arc::new(failure)));
            let failure = waiter.join().unwrap().unwrap().unwrap_err();
            assert!(failure.to_string().contains("as told"));
        });
        assert!(lock(&flights.0).is_empty());
    }

    #[test]
    fn an_abandoned_flight_lands() {
        let flights = Arc::<Flights>::default();
        let Boarding::Lead(lead) = flights.board(key(1), 0, false) else { panic!("must lead") };
        let Boarding::Follow(flight) = flights.board(key(1), 0, false) else {
            panic!("must follow")
        };
        drop(lead);
        assert!(flight.wait(soon()).unwrap().is_err());
        assert!(matches!(flights.board(key(1), 0, false), Boarding::Lead(_)));
    }

    #[test]
    fn a_flight_that_waits_is_taken_over_once() {
        let flights = Arc::<Flights>::default();
        let Boarding::Lead(mut queued) = flights.board(key(1), 0, false) else {
            panic!("must lead")
        };
        let Boarding::Follow(flight) = flights.board(key(1), 0, false) else {
            panic!("must follow")
        };
        let taken = flights.take_over(key(1), 0, &flight).unwrap();
        assert!(flights.take_over(key(1), 0, &flight).is_none());
        assert!(!queued.claim());
        drop(queued);
        assert!(flight.wait(Instant::now()).is_none(), "it isn't the queued job's any more");
        taken.land(Err(Arc::new(CompileFailure::Abandoned)));
        assert!(flight.wait(soon()).is_some());
        assert!(!flights.contains(key(1), 0));
    }
}
