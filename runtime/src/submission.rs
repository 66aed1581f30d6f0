//! From a request to a job in the pool, and from a program that lacks something to a better one.
//! Nothing here waits.

use crate::{
    aot::Goal,
    compiler_pool::Tier,
    config::CompilationKind,
    flights::Boarding,
    helper::Helpers,
    hotness::Cold,
    jobs::{self, ArtifactJob, Contract, Job},
    ledger::Ticket,
    lookup::RuntimeCacheKey,
    pool::Band,
    program::CompiledProgram,
    service::CompileService,
};
use alloy_primitives::Bytes;
use std::sync::Arc;

/// Frames that meet a JUMPDEST which was guessed not to be jumped to, after which a contract is
/// compiled without such guesses: each costs as much as some dozens of interpreted instructions.
const WRONG_GUESSES: u32 = 32;

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

impl CompileService {
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
            // Loading takes no helper.
            Ok(true) if rests && origin != Origin::Stored => None,
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
        let releases = self.compilers.space.releases();
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

    fn count_refused(&self, origin: Origin) {
        let counters = &self.ledger.counters;
        match origin {
            Origin::Explicit | Origin::Artifact => counters.commands_dropped.bump(),
            Origin::Gas | Origin::Frames | Origin::Stored => counters.events_dropped.bump(),
        }
        if self.may_log() {
            tracing::warn!(
                pending = self.ledger.pending.get(),
                workers = self.tuning().jit_worker_count,
                "no room for another compilation; refused ones are counted, and told of once a \
                 minute"
            );
        }
    }
}
