//! Compilations in flight: whoever wants a program that another thread is compiling waits for that
//! thread.
//!
//! A flight belongs to a key *and* a generation of the cache, so a request made after a `clear_*`
//! never joins a compilation begun before it. Locks are held for a map operation, never during a
//! compilation.

use crate::{
    compiler_pool::lock, error::CompileFailure, lookup::RuntimeCacheKey, program::CompiledProgram,
};
use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
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
    result: Mutex<Option<Attempt>>,
    landed: Condvar,
}

/// A caller's part in a flight.
pub(crate) enum Boarding<'a> {
    /// The caller compiles, and lands the flight.
    Lead(Lead<'a>),
    /// Another thread compiles.
    Follow(Arc<Flight>),
}

/// The duty to land a flight. Dropped without, it lands with a failure, so that no one waits for
/// ever.
pub(crate) struct Lead<'a> {
    flights: &'a Flights,
    key: FlightKey,
    flight: Arc<Flight>,
    landed: bool,
}

impl Flights {
    /// Joins the flight of `key` in `generation`, or begins it.
    pub(crate) fn board(&self, key: RuntimeCacheKey, generation: u64) -> Boarding<'_> {
        let key = (key, generation);
        let mut flights = lock(&self.0);
        if let Some(flight) = flights.get(&key) {
            return Boarding::Follow(Arc::clone(flight));
        }
        let flight = Arc::<Flight>::default();
        flights.insert(key, Arc::clone(&flight));
        Boarding::Lead(Lead { flights: self, key, flight, landed: false })
    }
}

impl Flight {
    /// Waits for the flight to land.
    pub(crate) fn wait(&self) -> Attempt {
        let mut result = lock(&self.result);
        loop {
            if let Some(attempt) = &*result {
                return attempt.clone();
            }
            result = self.landed.wait(result).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Lead<'_> {
    /// Ends the flight and wakes who waits. The result must be visible to lookups by now: who comes
    /// later begins a flight of its own.
    pub(crate) fn land(mut self, attempt: Attempt) {
        self.finish(attempt);
    }

    fn finish(&mut self, attempt: Attempt) {
        self.landed = true;
        lock(&self.flights.0).remove(&self.key);
        *lock(&self.flight.result) = Some(attempt);
        self.flight.landed.notify_all();
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.landed {
            let message = "the compiling thread gave up".to_owned();
            self.finish(Err(Arc::new(CompileFailure::Panic { message })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use revm::primitives::hardfork::SpecId;
    use std::thread;

    fn key(byte: u8) -> RuntimeCacheKey {
        RuntimeCacheKey { code_hash: B256::repeat_byte(byte), spec_id: SpecId::CANCUN }
    }

    #[test]
    fn one_leads_and_others_follow() {
        let flights = Flights::default();
        let Boarding::Lead(lead) = flights.board(key(1), 0) else { panic!("must lead") };
        assert!(matches!(flights.board(key(2), 0), Boarding::Lead(_)));
        assert!(matches!(flights.board(key(1), 1), Boarding::Lead(_)), "another generation");
        let Boarding::Follow(flight) = flights.board(key(1), 0) else { panic!("must follow") };
        thread::scope(|scope| {
            let waiter = scope.spawn(move || flight.wait());
            let failure = CompileFailure::Panic { message: "as told".into() };
            lead.land(Err(Arc::new(failure)));
            let failure = waiter.join().unwrap().unwrap_err();
            assert!(failure.to_string().contains("as told"));
        });
        assert!(lock(&flights.0).is_empty());
    }

    #[test]
    fn an_abandoned_flight_lands() {
        let flights = Flights::default();
        let Boarding::Lead(lead) = flights.board(key(1), 0) else { panic!("must lead") };
        let Boarding::Follow(flight) = flights.board(key(1), 0) else { panic!("must follow") };
        drop(lead);
        assert!(flight.wait().is_err());
        assert!(matches!(flights.board(key(1), 0), Boarding::Lead(_)));
    }
}
