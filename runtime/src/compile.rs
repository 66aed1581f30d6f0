//! What all handles of a backend share, and the two ways from a request to a resident program: on
//! the calling thread ([`CompileService::program`]), and through the pool
//! ([`CompileService::submit`]).
//!
//! Order of an attempt: compile and load, publish (or remember the failure), wake who waits for it,
//! then account and tell `on_compilation`. So whoever hears of a program can look it up.

use crate::{
    aot::Goal,
    aot_job::ArtifactJob,
    artifacts::{ArtifactCounters, ArtifactRecipe, Library},
    cache::ProgramCache,
    compiler_pool::{CompilerPool, Tier, lock, reserve_for},
    config::{CompilationKind, RuntimeConfig},
    crew::Crew,
    dump::Dumper,
    error::CompileFailure,
    events::EventQueue,
    flights::{Attempt, Boarding, Flights},
    helper::{Client, Helpers, Work, deadline_in},
    hotness::{Cold, ColdTable},
    housekeeping::Bell,
    jobs::{self, Contract, Job},
    ledger::{Ledger, Ticket},
    log_limit::LogLimit,
    lookup::{ProgramStatus, RuntimeCacheKey},
    pool::{Band, Pool},
    program::{CompiledProgram, ProgramKind},
    stats::RuntimeStatsSnapshot,
    teamwork::Teamwork,
    tuning::RuntimeTuning,
};
use alloy_primitives::Bytes;
use cranevm_codegen::{CompileTimings, CompilerOptions, HAS_COMPILER};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Frames that meet a JUMPDEST which was guessed not to be jumped to, after which a contract is
/// compiled without such guesses: each costs as much as some dozens of interpreted instructions.
const WRONG_GUESSES: u32 = 32;

/// How long a caller waits for who compiles what it wants, before it looks whether that is paused.
const PATIENCE: Duration = Duration::from_millis(100);

/// Programs that a clear frees by itself.
const FREED_AT_ONCE: usize = 64;

/// Why a contract is to be compiled in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody asked for it.
    Explicit,
    /// It burnt much gas in the interpreter.
    Gas,
    /// It ran often.
    Frames,
    /// It runs, and the store has its artifact.
    Stored,
    /// Somebody asked for its artifact.
    Artifact,
}

/// Compiles what isn't compiled yet, once.
pub(crate) struct CompileService {
    /// Without the callback, which `ledger.events` has.
    pub(crate) config: RuntimeConfig,
    pub(crate) enabled: AtomicBool,
    pub(crate) cache: ProgramCache,
    pub(crate) compilers: CompilerPool,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) cold: ColdTable,
    pub(crate) pool: Pool<Job>,
    pub(crate) bell: Bell,
    /// Where code is compiled; `None` means in this process.
    pub(crate) helpers: Option<Helpers>,
    /// The artifact store, if there is one.
    pub(crate) library: Option<Library>,
    dumper: Option<Dumper>,
    flights: Arc<Flights>,
    /// Those of artifacts.
    artifact_flights: Arc<Flights>,
    pub(crate) crew: Crew,
    /// The generation of the cache, plus 1, for which the log tells of a shortage; 0: none yet.
    shortage_logged: AtomicU64,
    saturation_log: LogLimit,
    /// Programs that a clear left to be freed.
    forgotten: Mutex<Vec<Arc<CompiledProgram>>>,
    /// Held by who evicts.
    pub(crate) evicting: Mutex<()>,
    pub(crate) born: Instant,
}

impl CompileService {
    pub(crate) fn new(mut config: RuntimeConfig, options: CompilerOptions) -> Self {
        let tuning = &config.tuning;
        let hot = tuning.jit_worker_count.saturating_mul(tuning.jit_worker_queue_capacity);
        let recipe = ArtifactRecipe::with_options(options, tuning.aot_opt_level);
        let artifact_options = *recipe.options();
        let library = config.store.clone().map(|store| Library::new(store, recipe));
        let events = EventQueue::new(config.on_compilation.take(), tuning.channel_capacity);
        let name = config.thread_name.clone();
        let ledger = Arc::new(Ledger { name, events, ..Ledger::default() });
        let helpers = Helpers::new(&config, &ledger);
        Self {
            enabled: AtomicBool::new(config.enabled),
            cache: ProgramCache::default(),
            compilers: CompilerPool::new(
                options,
                tuning.compiler_recycle_threshold,
                reserve_for(tuning.resident_code_cache_bytes),
            )
            .with_artifact_options(artifact_options),
            library,
            ledger,
            cold: ColdTable::new(tuning.jit_hot_threshold),
            pool: Pool::new(tuning.channel_capacity, hot, usize::MAX),
            bell: Bell::default(),
            helpers,
            dumper: Dumper::new(&config),
            flights: Arc::default(),
            artifact_flights: Arc::default(),
            crew: Crew::default(),
            shortage_logged: AtomicU64::new(0),
            saturation_log: LogLimit::default(),
            forgotten: Mutex::default(),
            evicting: Mutex::default(),
            born: Instant::now(),
            config,
        }
    }

    pub(crate) fn tuning(&self) -> &RuntimeTuning {
        &self.config.tuning
    }

    /// Whether `code` may be compiled.
    #[inline]
    pub(crate) fn is_eligible(&self, key: &RuntimeCacheKey, code: &[u8]) -> bool {
        HAS_COMPILER && self.tuning().should_compile(code) && self.config.is_priced_as(key.spec_id)
    }

    /// The program of `key`: resident, or awaited from the thread that compiles it, or compiled
    /// here from `code`. Ends by `deadline`, but for the chunk at hand then.
    pub(crate) fn program(
        self: &Arc<Self>,
        goal: Goal,
        key: RuntimeCacheKey,
        code: &[u8],
        deadline: Instant,
    ) -> Attempt {
        let kind = self.kind_for(goal);
        let flights = self.flights(kind);
        let kept_since = self.library_generation();
        let (lead, generation) = loop {
            let generation = self.cache.generation();
            if let Some(known) = self.known_for(goal, &key) {
                return known;
            }
            let flight = match flights.board(key, generation, true) {
                Boarding::Lead(lead) => break (Some(lead), generation),
                Boarding::Follow(flight) => flight,
            };
            // What only waits for a worker isn't worth waiting for.
            if let Some(lead) = flights.take_over(key, generation, &flight) {
                break (Some(lead), generation);
            }
            match flight.wait(deadline.min(Instant::now() + PATIENCE)) {
                // Its leader's time was over, or it was called off: that says nothing of this one.
                Some(Err(failure)) if failure.is_circumstantial() && Instant::now() < deadline => {}
                // Its leader may be a worker that a pause holds between two chunks.
                None if self.pool.is_paused() => break (None, generation),
                None if Instant::now() < deadline => {}
                landed => return self.settled_for(goal, &key, landed.unwrap_or_else(timed_out)),
            }
        };
        // A flight may have landed between the first look and the boarding.
        if let Some(known) = self.known_for(goal, &key) {
            if let Some(lead) = lead {
                lead.land(known.clone());
            }
            return known;
        }
        self.start_keeping_house();
        let (attempt, tier) = match kind {
            CompilationKind::Jit => (self.attempt(key, code, generation, deadline), Tier::Full),
            CompilationKind::Aot => {
                let generations = (generation, kept_since);
                (self.attempt_artifact(key, code, generations, deadline), Tier::Artifact)
            }
        };
        self.bell.ring();
        if let Some(lead) = lead {
            lead.land(attempt.clone());
        }
        if attempt.as_ref().map_or_else(|failure| failure.is_explained_by_a_dump(), |_| true) {
            let client = Client::Caller(deadline_in(self.tuning().jit_timeout));
            self.dump(key, code, tier, client);
        }
        self.settled_for(goal, &key, attempt)
    }

    /// What an attempt comes to: a program that couldn't be stored serves all the same.
    fn settled_for(&self, goal: Goal, key: &RuntimeCacheKey, attempt: Attempt) -> Attempt {
        match (goal, attempt) {
            (Goal::Program, Err(failure)) => self.cache.get(key).ok_or(failure),
            (_, attempt) => attempt,
        }
    }

    /// The compilations of a kind that are under way.
    fn flights(&self, kind: CompilationKind) -> &Arc<Flights> {
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
        let releases = self.compilers.releases();
        self.cache.failure(kind, key, releases)
    }

    /// Forgets all programs and failures. Frees few programs here, and leaves more of them to the
    /// housekeeping thread, for freeing one takes microseconds.
    pub(crate) fn clear(&self) {
        let forgotten = self.cache.clear();
        if forgotten.len() > FREED_AT_ONCE && self.crew.keeps_house() {
            lock(&self.forgotten).extend(forgotten);
            self.bell.ring();
        }
    }

    /// Frees the programs that a clear left to this thread.
    pub(crate) fn free_forgotten(&self) {
        // Taken out first: who clears meanwhile isn't to wait.
        let forgotten = std::mem::take(&mut *lock(&self.forgotten));
        drop(forgotten);
    }

    /// The statistics now.
    pub(crate) fn stats(&self) -> RuntimeStatsSnapshot {
        let ledger = &self.ledger;
        let artifacts = self.library.as_ref().map(|library| &library.counters);
        RuntimeStatsSnapshot {
            resident_entries: self.cache.len() as u64,
            events_queued: (self.pool.queued(Band::Hot) + ledger.events.len()) as u64,
            command_queue_len: self.pool.queued(Band::Urgent) as u64,
            pending_jobs: ledger.pending.get(),
            jit_code_bytes: self.compilers.code_bytes(),
            jit_data_bytes: self.compilers.data_bytes(),
            artifacts_loaded: artifacts.map_or(0, |counters| counters.loaded.get()),
            artifacts_stored: artifacts.map_or(0, |counters| counters.stored.get()),
            artifact_store_errors: artifacts.map_or(0, |counters| counters.store_errors.get()),
            artifact_refusals: artifacts.map(ArtifactCounters::refusals).unwrap_or_default(),
            ..ledger.counters.snapshot()
        }
    }

    /// What becomes of `key`.
    pub(crate) fn status(&self, key: RuntimeCacheKey) -> ProgramStatus {
        let generation = self.cache.generation();
        let kind = self.kind_for(Goal::Program);
        match self.cache.tier(&key) {
            Some(Tier::Baseline) => ProgramStatus::Baseline,
            Some(Tier::Full | Tier::Complete | Tier::Artifact) => ProgramStatus::Ready,
            None if self.flights(kind).contains(key, generation) => ProgramStatus::Pending,
            None => match self.failure(kind, &key) {
                Some(failure) => ProgramStatus::Failed(failure),
                None => match self.cold.frames(&key, generation) {
                    Some(misses) => ProgramStatus::Cold { misses },
                    None => ProgramStatus::Unknown,
                },
            },
        }
    }

    /// Writes the files of a compilation, if that is configured.
    pub(crate) fn dump(&self, key: RuntimeCacheKey, code: &[u8], tier: Tier, client: Client) {
        if let Some(dumper) = &self.dumper {
            let work = Work { key, options: self.compilers.options(tier), code };
            dumper.dump(&work, self.helpers.as_ref().map(|helpers| (helpers, client)));
        }
    }

    /// Compiles a whole contract in a helper and loads it.
    pub(crate) fn compile_in(
        &self,
        helpers: &Helpers,
        tier: Tier,
        key: RuntimeCacheKey,
        code: &[u8],
        client: Client,
    ) -> Result<(CompiledProgram, CompileTimings), CompileFailure> {
        let work = Work { key, options: self.compilers.options(tier), code };
        let compiled = helpers.compile(&work, client)?;
        let kind = ProgramKind::Jit;
        let program = self.with_room(|| self.compilers.load(key, kind, &compiled))?;
        Ok((program, compiled.timings))
    }

    /// Compiles and publishes, on this thread with the workers' help.
    fn attempt(
        self: &Arc<Self>,
        key: RuntimeCacheKey,
        code: &[u8],
        generation: u64,
        deadline: Instant,
    ) -> Attempt {
        if self.has_stored(&key)
            && let Some(program) = self.load_stored(key, code.len(), generation)
        {
            self.keep_within_budget();
            return Ok(program);
        }
        let mut ticket = Ticket::always(&self.ledger, key);
        ticket.begin();
        let releases = self.compilers.releases();
        let compile =
            || self.compilers.compile(key, code, deadline, |work| self.call_for_help(work));
        let compiled = match &self.helpers {
            None => self.with_room(compile),
            Some(helpers) => {
                self.compile_in(helpers, Tier::Full, key, code, Client::Caller(deadline))
            }
        };
        match compiled {
            Ok((program, timings)) => {
                let program = Arc::new(program);
                self.cache.publish(&program, Tier::Full, generation);
                self.keep_within_budget();
                ticket.add_timings(&timings);
                ticket.succeed();
                Ok(program)
            }
            Err(failure) => {
                let what = (key, CompilationKind::Jit);
                Err(self.fail(what, code.len(), failure, generation, releases))
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

    /// The resident program, noted as used now. One that leaves out what runs is compiled again
    /// from `code`: whole, if it guessed wrong what that would be.
    pub(crate) fn use_resident(
        &self,
        key: &RuntimeCacheKey,
        code: impl FnOnce() -> Bytes,
    ) -> Option<Arc<CompiledProgram>> {
        let generation = self.cache.generation();
        let (program, lacks) = self.cache.get_and_take_mark(key)?;
        program.touch(self.cache.clock());
        if lacks && self.crew.has_workers() {
            let tier = if self.has_guessed_wrong(&program) { Tier::Complete } else { Tier::Full };
            jobs::queue_upgrade(self, &program, code(), generation, tier);
        }
        Some(program)
    }

    /// Whether frames keep meeting what a program was guessed not to need.
    fn has_guessed_wrong(&self, program: &CompiledProgram) -> bool {
        self.compilers.guesses() && program.wrong_guesses() >= WRONG_GUESSES
    }

    /// Marks the programs that turned out to leave out what runs: for they guessed wrong, or for
    /// want of memory or of a helper, which there may be now.
    pub(crate) fn find_lacking(&self) {
        let releases = self.compilers.releases();
        let may_help = self.helpers.as_ref().is_some_and(|helpers| !helpers.is_resting());
        let lacks = |tier, program: &CompiledProgram| {
            (tier == Tier::Full && self.has_guessed_wrong(program))
                || program.may_find_memory(releases)
                || (may_help && program.found_no_helper())
        };
        if self.cache.mark_lacking(lacks) {
            // So that EVMs look again, and bring the bytecode.
            self.cache.bump_epoch();
        }
    }

    /// Asks the pool to compile `code`; `false` if there is no need or no room. Never waits.
    pub(crate) fn submit(
        self: &Arc<Self>,
        key: RuntimeCacheKey,
        code: Bytes,
        origin: Origin,
        cold: Option<Arc<Cold>>,
    ) -> bool {
        let tuning = self.tuning();
        let goal = if origin == Origin::Artifact { Goal::Artifact } else { Goal::Program };
        if !self.is_eligible(&key, &code) || self.known_for(goal, &key).is_some() {
            return false;
        }
        let kind = self.kind_for(goal);
        let kept_since = self.library_generation();
        let generation = self.cache.generation();
        let Boarding::Lead(lead) = self.flights(kind).board(key, generation, false) else {
            return false;
        };
        let rests = self.helpers.as_ref().is_some_and(Helpers::is_resting);
        let ticket = match self.start_workers() {
            Ok(true) if rests => None,
            Ok(true) => Ticket::admit(&self.ledger, key, tuning.jit_max_pending_jobs),
            // A thread that couldn't be started was logged.
            Ok(false) | Err(_) => None,
        };
        let accepted = ticket.is_some_and(|mut ticket| {
            ticket.watch(cold);
            let ticket = ticket.of_kind(kind);
            let job = match kind {
                CompilationKind::Jit => {
                    Job::Contract(Box::new(Contract { ticket, lead, code, generation }))
                }
                CompilationKind::Aot => Job::Artifact(ArtifactJob::new(
                    ticket, lead, code, goal, generation, kept_since,
                )),
            };
            let band = match origin {
                Origin::Explicit | Origin::Artifact | Origin::Gas => Band::Urgent,
                Origin::Frames | Origin::Stored => Band::Hot,
            };
            self.pool.push(band, job).is_ok()
        });
        if !accepted {
            self.count_refused(origin);
        }
        accepted
    }

    /// Asks for an artifact, for a caller who makes it if there is no room. Isn't counted then.
    pub(crate) fn submit_quietly(self: &Arc<Self>, key: RuntimeCacheKey, code: Bytes) {
        let has_room = self.ledger.pending.get() < self.tuning().jit_max_pending_jobs as u64
            && self.pool.queued(Band::Urgent) < self.tuning().channel_capacity;
        if has_room && self.tuning().jit_worker_count > 0 {
            self.submit(key, code, Origin::Artifact, None);
        }
    }

    /// Whether a line about refused work may be logged now.
    pub(crate) fn may_log(&self) -> bool {
        self.saturation_log.permits()
    }

    fn count_refused(&self, origin: Origin) {
        let counters = &self.ledger.counters;
        match origin {
            Origin::Explicit | Origin::Artifact => counters.commands_dropped.bump(),
            Origin::Gas | Origin::Frames | Origin::Stored => counters.events_dropped.bump(),
        }
        if self.saturation_log.permits() {
            tracing::warn!(
                pending = self.ledger.pending.get(),
                workers = self.tuning().jit_worker_count,
                "no room for another compilation; refused ones are counted, and told of once a \
                 minute"
            );
        }
    }

    /// Accounts for a failure that befell the compilation of `key` to this kind. The other isn't
    /// barred by it: it takes other work.
    pub(crate) fn fail(
        &self,
        (key, kind): (RuntimeCacheKey, CompilationKind),
        code_len: usize,
        failure: CompileFailure,
        generation: u64,
        releases: u64,
    ) -> Arc<CompileFailure> {
        self.log_failure(key, code_len, &failure, generation);
        let failure = Arc::new(failure);
        if !failure.is_circumstantial() {
            self.cache.remember_failure((key, kind), &failure, generation, releases);
        }
        failure
    }

    /// Warns of a failure. A shortage of code memory strikes every contract from then on: the log
    /// tells of the first between two clears.
    fn log_failure(
        &self,
        key: RuntimeCacheKey,
        code_len: usize,
        failure: &CompileFailure,
        generation: u64,
    ) {
        let RuntimeCacheKey { code_hash, spec_id } = key;
        if failure.is_circumstantial() {
            // Whatever ails the helpers was told once, where it came up.
            tracing::debug!(%code_hash, ?spec_id, code_len, %failure, "not compiled this time");
        } else if !failure.is_shortage() {
            tracing::warn!(%code_hash, ?spec_id, code_len, %failure,
                "compilation failed; the code is interpreted");
        } else if self.is_first_shortage(generation) {
            tracing::warn!(%code_hash, ?spec_id, code_len, %failure,
                "no memory for compiled code; this and further code is interpreted until programs \
                 are freed; further failures of this kind are only counted");
        }
    }

    /// Whether a shortage wasn't asked about in this generation before.
    fn is_first_shortage(&self, generation: u64) -> bool {
        self.shortage_logged.swap(generation + 1, Ordering::Relaxed) != generation + 1
    }
}

fn timed_out() -> Attempt {
    Err(Arc::new(CompileFailure::TimedOut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use revm::primitives::hardfork::SpecId;
    use std::time::Duration;

    /// A service with one page for code.
    fn service() -> Arc<CompileService> {
        let options = CompilerOptions::default();
        let service = CompileService::new(RuntimeConfig::default(), options);
        Arc::new(CompileService { compilers: CompilerPool::new(options, 0, 1), ..service })
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn key(code: &[u8]) -> RuntimeCacheKey {
        RuntimeCacheKey { code_hash: keccak256(code), spec_id: SpecId::CANCUN }
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
            let follower = scope.spawn(|| service.program(Goal::Program, key, FIRST, deadline));
            // Whether the follower waits by now or comes later, it compiles by itself.
            std::thread::sleep(Duration::from_millis(20));
            lead.land(Err(Arc::new(CompileFailure::TimedOut)));
            assert!(follower.join().unwrap().is_ok());
        });
    }

    #[test]
    fn what_is_short_of_memory_is_done_again_in_the_room_made() {
        let service = service();
        // Resident, and held by nobody else.
        service.program(Goal::Program, key(FIRST), FIRST, later()).unwrap();
        let second = || service.compilers.compile(key(SECOND), SECOND, later(), |_| {});
        assert!(second().is_err_and(|failure| failure.is_shortage()));
        assert!(service.with_room(second).is_ok());
        assert_eq!(service.cache.len(), 0);
        assert_eq!(service.ledger.counters.evictions.get(), 1);
    }

    #[test]
    fn a_shortage_is_remembered_until_a_program_is_freed() {
        let service = service();
        // Not through the service, whose cache would keep it.
        let (first, _) = service.compilers.compile(key(FIRST), FIRST, later(), |_| {}).unwrap();
        let failure = service.program(Goal::Program, key(SECOND), SECOND, later()).unwrap_err();
        assert!(failure.is_shortage(), "{failure}");
        for _ in 0..3 {
            let again = service.program(Goal::Program, key(SECOND), SECOND, later()).unwrap_err();
            assert!(Arc::ptr_eq(&again, &failure));
        }
        assert_eq!(service.ledger.counters.compilations_dispatched.get(), 1);
        drop(first);
        service.program(Goal::Program, key(SECOND), SECOND, later()).unwrap();
        assert_eq!(service.ledger.counters.compilations_dispatched.get(), 2);
        assert!(service.known(&key(SECOND)).is_some_and(|known| known.is_ok()));
    }

    #[test]
    fn a_shortage_is_forgotten_by_a_clear() {
        let service = service();
        let _first = service.compilers.compile(key(FIRST), FIRST, later(), |_| {}).unwrap();
        assert!(service.program(Goal::Program, key(SECOND), SECOND, later()).is_err());
        service.clear();
        assert!(service.known(&key(SECOND)).is_none());
        assert!(service.program(Goal::Program, key(SECOND), SECOND, later()).is_err());
        assert_eq!(service.ledger.counters.compilations_dispatched.get(), 2);
    }

    #[test]
    fn the_log_tells_of_the_first_shortage_of_a_generation() {
        let service = service();
        let _first = service.compilers.compile(key(FIRST), FIRST, later(), |_| {}).unwrap();
        let failure = CompileFailure::Panic { message: "no shortage".into() };
        service.log_failure(key(FIRST), 1, &failure, 0);
        assert!(service.is_first_shortage(0));
        assert!(!service.is_first_shortage(0));
        service.clear();
        assert!(service.program(Goal::Program, key(SECOND), SECOND, later()).is_err());
        assert!(!service.is_first_shortage(service.cache.generation()), "it was logged");
    }
}
