//! From a request to a resident program, on the calling thread.
//!
//! Order of an attempt: compile and load, publish (or remember the failure), account and tell
//! `on_compilation`, wake who waits for it. So whoever hears of a program can look it up.

use crate::{
    aot::Goal,
    compiler_pool::Tier,
    config::CompilationKind,
    error::{CompileFailure, RuntimeError},
    flights::{Attempt, Boarding, Flights, Lead},
    helper::{Client, Work, deadline_in},
    jobs::Job,
    ledger::Ticket,
    lookup::{LookupRequest, RuntimeCacheKey},
    pool::Band,
    program::ProgramKind,
    service::CompileService,
    source::Source,
    teamwork::Teamwork,
};
use cranevm_codegen::{CompiledCode, on_deep_stack};
use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a caller waits for who compiles what it wants, before it looks whether that is paused.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a caller waits for `on_compilation` to hear of what it has compiled.
const EVENT_PATIENCE: Duration = Duration::from_millis(100);

impl CompileService {
    /// Compiles on this thread what isn't there yet.
    pub(crate) fn compile_sync(
        self: &Arc<Self>,
        goal: Goal,
        request: &LookupRequest,
        limit: Duration,
    ) -> Result<(), RuntimeError> {
        let LookupRequest { key, code } = request;
        let key = *key;
        if !self.tuning().should_compile(code) {
            let limit = self.tuning().jit_max_bytecode_len;
            return Err(RuntimeError::Ineligible { key, code_len: code.len(), limit });
        }
        if !self.config.is_priced_as(key.spec_id) {
            let what = "compilation for a RuntimeConfig::gas_params of the chain's own";
            let instead = "such code is interpreted";
            return Err(RuntimeError::Unsupported { what, instead });
        }
        let wrong = |failure| RuntimeError::CompileFailed { key, failure: Arc::new(failure) };
        let source = Source::proven(key, code.clone()).map_err(wrong)?;
        match self.program(goal, &source, deadline_in(limit)) {
            // The artifact was asked for, and is there.
            Ok(_) if goal == Goal::Artifact => Ok(()),
            Ok(program) => self.check_size(&program).map_err(wrong),
            Err(failure) if matches!(*failure, CompileFailure::TimedOut) => {
                Err(RuntimeError::TimedOut { key, limit })
            }
            Err(failure) => Err(RuntimeError::CompileFailed { key, failure }),
        }
    }

    /// The program of `source`: resident, or awaited from the thread that compiles it, or compiled
    /// here. Ends by `deadline`, but for the chunk at hand then; and tells `on_compilation` first.
    pub(crate) fn program(
        self: &Arc<Self>,
        goal: Goal,
        source: &Source,
        deadline: Instant,
    ) -> Attempt {
        let attempt = self.obtain(goal, source, deadline);
        if self.crew.keeps_house() {
            self.ledger.events.wait_heard(EVENT_PATIENCE);
        }
        attempt
    }

    fn obtain(self: &Arc<Self>, goal: Goal, source: &Source, deadline: Instant) -> Attempt {
        let key = source.key();
        let kept_since = self.library_generation();
        if goal == Goal::Artifact {
            self.look_for_stored(&key);
        }
        let (lead, generation) = match self.board(goal, key, kept_since, deadline) {
            ControlFlow::Continue(part) => part,
            ControlFlow::Break(attempt) => return attempt,
        };
        // A flight may have landed between the first look and the boarding.
        if let Some(known) = self.known_for(goal, &key) {
            if let Some(lead) = lead {
                lead.land(known.clone());
            }
            return known;
        }
        self.start_keeping_house();
        let (attempt, tier) = match self.kind_for(goal) {
            CompilationKind::Jit => (self.attempt(source, generation, deadline), Tier::Full),
            CompilationKind::Aot => {
                let generations = (generation, kept_since);
                (self.attempt_artifact(source, generations, deadline), Tier::Artifact)
            }
        };
        self.bell.ring();
        if let Some(lead) = lead {
            lead.land(attempt.clone());
        }
        if attempt.as_ref().map_or_else(|failure| failure.is_explained_by_a_dump(), |_| true) {
            let client = Client::Caller(deadline_in(self.tuning().jit_timeout));
            self.dump(source, tier, client);
        }
        self.settled_for(goal, &key, attempt)
    }

    /// Waits for who compiles `key` until `deadline`; or gives the caller the lead and the
    /// generation that it compiles in. There is no lead where a pause holds who has it.
    /// `kept_since` is the library's generation when it was asked for.
    fn board(
        &self,
        goal: Goal,
        key: RuntimeCacheKey,
        kept_since: u64,
        deadline: Instant,
    ) -> ControlFlow<Attempt, (Option<Lead>, u64)> {
        let flights = self.flights(self.kind_for(goal));
        loop {
            let generation = self.cache.generation();
            if let Some(known) = self.known_for(goal, &key) {
                return ControlFlow::Break(known);
            }
            let flight = match flights.board(key, generation, true) {
                Boarding::Lead(lead) => return ControlFlow::Continue((Some(lead), generation)),
                Boarding::Follow(flight) => flight,
            };
            // What only waits for a worker isn't worth waiting for.
            if let Some(lead) = flights.take_over(key, generation, &flight) {
                return ControlFlow::Continue((Some(lead), generation));
            }
            let landed = flight.wait(deadline.min(Instant::now() + PATIENCE));
            match landed.filter(|landed| self.settles(landed, goal, &key, kept_since)) {
                // Its leader's time was over, or it was called off: that says nothing of this one.
                Some(Err(failure)) if failure.is_circumstantial() && Instant::now() < deadline => {}
                // Its leader may be a worker that a pause holds between two chunks.
                None if self.pool.is_paused() => return ControlFlow::Continue((None, generation)),
                None if Instant::now() < deadline => {}
                landed => {
                    let attempt = landed.unwrap_or_else(timed_out);
                    return ControlFlow::Break(self.settled_for(goal, &key, attempt));
                }
            }
        }
    }

    /// Whether what another's attempt came to settles what is wanted: its leader may have wanted
    /// any program, where this one wants the artifact. A clear of the store since `kept_since`
    /// takes nothing back.
    fn settles(
        &self,
        landed: &Attempt,
        goal: Goal,
        key: &RuntimeCacheKey,
        kept_since: u64,
    ) -> bool {
        match (goal, landed) {
            (Goal::Artifact, Ok(program)) => {
                program.kind == ProgramKind::Aot
                    && (self.has_stored(key) || self.library_generation() != kept_since)
            }
            _ => true,
        }
    }

    /// What an attempt comes to: a program that couldn't be stored serves all the same.
    fn settled_for(&self, goal: Goal, key: &RuntimeCacheKey, attempt: Attempt) -> Attempt {
        match (goal, attempt) {
            (Goal::Program, Err(failure)) => self.cache.get(key).ok_or(failure),
            (_, attempt) => attempt,
        }
    }

    /// The compilations of a kind that are under way.
    pub(crate) fn flights(&self, kind: CompilationKind) -> &Arc<Flights> {
        match kind {
            CompilationKind::Jit => &self.flights,
            CompilationKind::Aot => &self.artifact_flights,
        }
    }

    /// What is already known about `key`.
    pub(crate) fn known(&self, key: &RuntimeCacheKey) -> Option<Attempt> {
        let kind = self.kind_for(Goal::Program);
        self.cache.get(key).map(Ok).or_else(|| self.failure(kind, key).map(Err))
    }

    /// Why `key` can't be compiled, if it was tried and would fail again.
    pub(crate) fn failure(
        &self,
        kind: CompilationKind,
        key: &RuntimeCacheKey,
    ) -> Option<Arc<CompileFailure>> {
        // Read before the failures: one that is remembered meanwhile is newer, and holds.
        let releases = self.compilers.space.releases();
        self.cache.failure(kind, key, releases)
    }

    /// Writes the files of a compilation, if that is configured.
    pub(crate) fn dump(&self, source: &Source, tier: Tier, client: Client) {
        if let Some(dumper) = &self.dumper {
            let helpers = self.helpers.as_ref().map(|helpers| (helpers, client));
            dumper.dump(&self.work(tier, source), helpers);
        }
    }

    /// What a helper is told of a contract.
    pub(crate) fn work<'a>(&self, tier: Tier, source: &'a Source) -> Work<'a> {
        Work { key: source.key(), options: self.compilers.options(tier), code: source.code() }
    }

    /// Compiles a whole contract for a caller, whose stack may be small: with the workers' help, or
    /// in a helper process.
    pub(crate) fn compile_whole(
        &self,
        tier: Tier,
        source: &Source,
        deadline: Instant,
    ) -> Result<CompiledCode, CompileFailure> {
        // First, so that without memory for code no time goes into making it.
        self.compilers.space.reserve()?;
        match &self.helpers {
            None => {
                let call = |work: &_| self.call_for_help(work);
                on_deep_stack(|| self.compilers.compile(tier, source, deadline, call))?
            }
            Some(helpers) => helpers.compile(&self.work(tier, source), Client::Caller(deadline)),
        }
    }

    /// Compiles and publishes.
    fn attempt(&self, source: &Source, generation: u64, deadline: Instant) -> Attempt {
        let key = source.key();
        if self.has_stored(&key)
            && let Some(program) = self.load_stored(source, generation)
        {
            return Ok(program);
        }
        let mut ticket = Ticket::always(&self.ledger, key);
        ticket.begin();
        let releases = self.compilers.space.releases();
        let made = self.compile_whole(Tier::Full, source, deadline).and_then(|compiled| {
            let load = || self.compilers.load(source, (ProgramKind::Jit, Tier::Full), &compiled);
            Ok((self.with_room(load)?, compiled.timings))
        });
        match made {
            Ok((program, timings)) => {
                let program = Arc::new(program);
                self.offer(&program, Tier::Full, generation);
                ticket.add_timings(&timings);
                ticket.succeed();
                Ok(program)
            }
            Err(failure) => {
                let what = (source, CompilationKind::Jit);
                Err(self.fail(what, failure, generation, releases))
            }
        }
    }

    /// Lets workers that have nothing more urgent take chunks of what a caller compiles. Never
    /// waits, and starts no worker.
    pub(crate) fn call_for_help(&self, work: &Arc<Teamwork>) {
        // Paused workers would leave the calls in the queue.
        if !self.crew.has_workers() || self.pool.is_paused() {
            return;
        }
        // The caller takes one itself.
        let helpers = work.left().saturating_sub(1).min(self.tuning().jit_worker_count);
        for _ in 0..helpers {
            if self.pool.push(Band::Urgent, Job::Help(Arc::downgrade(work))).is_err() {
                break;
            }
        }
    }
}

fn timed_out() -> Attempt {
    Err(Arc::new(CompileFailure::TimedOut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        artifacts::RuntimeArtifactStore, compiler_pool::CompilerPool, config::RuntimeConfig,
    };
    use alloy_primitives::Bytes;
    use cranevm_codegen::CompilerOptions;
    use revm::primitives::hardfork::SpecId;
    use std::time::Duration;

    /// A service with room for one program, [`FIRST`] or [`SECOND`].
    fn service() -> Arc<CompileService> {
        let options = CompilerOptions::default();
        let mut service = CompileService::new(RuntimeConfig::default(), options);
        let room = [FIRST, SECOND].map(CompilerPool::bytes_of).into_iter().max().unwrap();
        service.compilers = CompilerPool::new(options, 0, room);
        Arc::new(service)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn source(code: &'static [u8]) -> Source {
        Source::hashed(Bytes::from_static(code), SpecId::CANCUN)
    }

    fn key(code: &'static [u8]) -> RuntimeCacheKey {
        source(code).key()
    }

    const FIRST: &[u8] = &[0x00];
    const SECOND: &[u8] = &[0x5b, 0x00];

    #[test]
    fn a_leader_that_ran_out_of_time_takes_nobody_with_it() {
        let service = service();
        let (key, deadline) = (key(FIRST), Instant::now() + Duration::from_secs(60));
        let Boarding::Lead(lead) = service.flights.board(key, service.cache.generation(), true)
        else {
            panic!("must lead")
        };
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| service.program(Goal::Program, &source(FIRST), deadline));
            // Whether the follower waits by now or comes later, it compiles by itself.
            std::thread::sleep(Duration::from_millis(20));
            lead.land(Err(Arc::new(CompileFailure::TimedOut)));
            assert!(follower.join().unwrap().is_ok());
        });
    }

    /// Who leads may be content with a program that was compiled to memory.
    #[test]
    fn who_wants_an_artifact_isnt_content_with_a_program() {
        let store = Arc::new(RuntimeArtifactStore::new().unwrap());
        let config =
            RuntimeConfig { aot: true, store: Some(Arc::clone(&store) as _), ..Default::default() };
        let service = Arc::new(CompileService::new(config, CompilerOptions::default()));
        let program = Arc::new(service.compilers.program(key(FIRST), FIRST).unwrap());
        let generation = service.cache.generation();
        service.cache.publish(&program, Tier::Full, generation);
        let Boarding::Lead(lead) = service.artifact_flights.board(key(FIRST), generation, true)
        else {
            panic!("must lead")
        };
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| service.program(Goal::Artifact, &source(FIRST), later()));
            // Whether the follower waits by now or comes later, it makes the artifact.
            std::thread::sleep(Duration::from_millis(50));
            lead.land(Ok(program));
            let made = follower.join().unwrap().unwrap();
            assert_eq!((made.kind, store.len()), (ProgramKind::Aot, 1));
        });
        service.shut_down();
    }

    #[test]
    fn what_is_short_of_memory_is_done_again_in_the_room_made() {
        let service = service();
        // Resident, and held by nobody else.
        service.program(Goal::Program, &source(FIRST), later()).unwrap();
        let second = || service.compilers.program(key(SECOND), SECOND);
        assert!(second().is_err_and(|failure| failure.is_shortage()));
        assert!(service.with_room(second).is_ok());
        assert_eq!(service.cache.len(), 0);
        assert_eq!(service.ledger.counters.evictions.get(), 1);
    }

    #[test]
    fn a_shortage_is_remembered_until_a_program_is_freed() {
        let service = service();
        // Not through the service, whose cache would keep it.
        let first = service.compilers.program(key(FIRST), FIRST).unwrap();
        let failure = service.program(Goal::Program, &source(SECOND), later()).unwrap_err();
        assert!(failure.is_shortage(), "{failure}");
        for _ in 0..3 {
            let again = service.program(Goal::Program, &source(SECOND), later()).unwrap_err();
            assert!(Arc::ptr_eq(&again, &failure));
        }
        assert_eq!(service.ledger.counters.compilations.dispatched.get(), 1);
        drop(first);
        service.program(Goal::Program, &source(SECOND), later()).unwrap();
        assert_eq!(service.ledger.counters.compilations.dispatched.get(), 2);
        assert!(service.known(&key(SECOND)).is_some_and(|known| known.is_ok()));
    }

    #[test]
    fn a_shortage_is_forgotten_by_a_clear() {
        let service = service();
        let _first = service.compilers.program(key(FIRST), FIRST).unwrap();
        assert!(service.program(Goal::Program, &source(SECOND), later()).is_err());
        service.clear();
        assert!(service.known(&key(SECOND)).is_none());
        assert!(service.program(Goal::Program, &source(SECOND), later()).is_err());
        assert_eq!(service.ledger.counters.compilations.dispatched.get(), 2);
    }

    #[test]
    fn the_log_tells_of_the_first_shortage_of_a_generation() {
        let service = service();
        let _first = service.compilers.program(key(FIRST), FIRST).unwrap();
        let failure = CompileFailure::Panic { message: "no shortage".into() };
        service.log_failure(key(FIRST), 1, &failure, 0);
        assert!(service.is_first_shortage(0));
        assert!(!service.is_first_shortage(0));
        service.clear();
        assert!(service.program(Goal::Program, &source(SECOND), later()).is_err());
        assert!(!service.is_first_shortage(service.cache.generation()), "it was logged");
    }
}
