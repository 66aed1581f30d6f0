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

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    /// The code can't be compiled, or the program is there or in the making.
    Needless,
    /// What it would displace is used more.
    Unworthy,
    /// No room, no workers, or no helper for them.
    Refused,
}

impl CompileService {
    /// Asks the pool to compile `code`; `false` if there is no need, or no room, which is counted.
    /// Never waits.
    pub(crate) fn submit(
        self: &Arc<Self>,
        key: RuntimeCacheKey,
        code: Bytes,
        origin: Origin,
        cold: Option<Arc<Cold>>,
    ) -> bool {
        let answer = self.ask_pool(key, code, origin, cold);
        if answer == Answer::Refused {
            self.count_refused(origin);
        }
        answer == Answer::Accepted
    }

    fn ask_pool(
        self: &Arc<Self>,
        key: RuntimeCacheKey,
        code: Bytes,
        origin: Origin,
        cold: Option<Arc<Cold>>,
    ) -> Answer {
        let tuning = self.tuning();
        let goal = if origin == Origin::Artifact { Goal::Artifact } else { Goal::Program };
        if !self.is_eligible(&key, &code) {
            return Answer::Needless;
        }
        if let Some(known) = self.known_for(goal, &key) {
            if let (Err(_), Some(cold)) = (known, &cold) {
                // It may be native all the same, and would ask each time that it gets hot.
                cold.refuse();
            }
            return Answer::Needless;
        }
        let kind = self.kind_for(goal);
        let kept_since = self.library_generation();
        let generation = self.cache.generation();
        if let Some(cold) = &cold
            && !self.is_worth_it(cold, origin)
        {
            let is_under_way = self.flights(kind).contains(key, generation);
            return if is_under_way { Answer::Needless } else { Answer::Unworthy };
        }
        let Boarding::Lead(lead) = self.flights(kind).board(key, generation, false) else {
            return Answer::Needless;
        };
        let rests = self.helpers.as_ref().is_some_and(Helpers::is_resting);
        let ticket = match self.start_workers() {
            // Loading takes no helper.
            Ok(true) if rests && !self.has_stored(&key) => None,
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
        if accepted { Answer::Accepted } else { Answer::Refused }
    }

    /// Whether a contract that asks because it is used gets a program; noted in its counter.
    fn is_worth_it(&self, cold: &Cold, origin: Origin) -> bool {
        let is_admitted = self.admits(cold);
        if is_admitted {
            cold.admit();
        } else {
            cold.refuse();
            self.ledger.counters.admissions_refused.bump();
            if origin == Origin::Gas {
                // Long frames don't move the clock, and count all the same.
                self.cache.tick();
            }
        }
        is_admitted
    }

    /// Asks for an artifact, for a caller who makes it if there is no room: that isn't counted.
    pub(crate) fn submit_quietly(self: &Arc<Self>, key: RuntimeCacheKey, code: Bytes) {
        let has_room = self.ledger.pending.has_room(self.tuning().jit_max_pending_jobs)
            && self.pool.has_room(Band::Urgent);
        if has_room {
            self.ask_pool(key, code, Origin::Artifact, None);
        }
    }

    /// The resident program of `key`, noted as used now, as `verify` has it: that compares it with
    /// the code that it is wanted for, for which the key is but a claim. One that leaves out what
    /// runs is compiled again: whole, if it guessed wrong what that would be.
    pub(crate) fn use_resident<T>(
        &self,
        key: &RuntimeCacheKey,
        verify: impl FnOnce(&Arc<CompiledProgram>) -> Option<T>,
    ) -> Option<T> {
        self.use_any(key, verify).filter(|(tier, _)| *tier != Tier::First).map(|(_, used)| used)
    }

    /// [`use_resident`](Self::use_resident), also of the first tier; and which tier it is.
    pub(crate) fn use_any<T>(
        &self,
        key: &RuntimeCacheKey,
        verify: impl FnOnce(&Arc<CompiledProgram>) -> Option<T>,
    ) -> Option<(Tier, T)> {
        let generation = self.cache.generation();
        let (program, tier, lacks) = self.cache.get_and_take_mark(key)?;
        let verified = verify(&program);
        if verified.is_some() {
            program.touch(self.cache.clock());
        }
        if lacks && self.crew.has_workers() {
            let better = if self.has_guessed_wrong(&program) { Tier::Complete } else { Tier::Full };
            let is_queued = program.source().is_some_and(|source| {
                jobs::queue_upgrade(self, &program, source, generation, better)
            });
            if !is_queued {
                self.cache.take_back_mark(&Arc::downgrade(&program), key);
            }
        }
        verified.map(|verified| (tier, verified))
    }

    /// Whether frames keep meeting what a program was guessed not to need.
    fn has_guessed_wrong(&self, program: &CompiledProgram) -> bool {
        self.compilers.guesses() && program.wrong_guesses() >= WRONG_GUESSES
    }

    /// Marks the programs that turned out to leave out what runs: for they guessed wrong, or for
    /// want of memory, of a helper, or of room in the queue, which there may be now.
    pub(crate) fn find_lacking(&self) {
        let releases = self.compilers.space.releases();
        let rests = self.helpers.as_ref().is_some_and(Helpers::is_resting);
        // Marks that come to nothing would be taken back, and who runs such a program looks again for
        // each.
        if rests || !self.pool.has_room(Band::Upgrade) {
            return;
        }
        let lacks = |tier, program: &CompiledProgram| {
            let is_wanted = (tier == Tier::Full && self.has_guessed_wrong(program))
                || program.may_find_memory(releases)
                || program.is_put_off();
            is_wanted && !program.is_short(releases)
        };
        self.cache.mark_lacking(lacks);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::RuntimeConfig, lookup::LookupRequest, pool::Pool, tuning::RuntimeTuning};
    use alloy_primitives::keccak256;
    use cranevm_codegen::CompilerOptions;
    use revm::primitives::hardfork::SpecId;
    use std::time::{Duration, Instant};

    /// A paused service with a worker, in whose queues so many upgrades have room.
    fn paused(jit_max_pending_jobs: usize, upgrades: usize) -> Arc<CompileService> {
        let tuning =
            RuntimeTuning { jit_max_pending_jobs, jit_worker_count: 1, ..RuntimeTuning::default() };
        let config = RuntimeConfig { tuning, ..RuntimeConfig::default() };
        let mut service = CompileService::new(config, CompilerOptions::default());
        service.pool = Pool::new(9, 9, upgrades);
        service.pool.pause();
        Arc::new(service)
    }

    fn code(n: u8) -> Bytes {
        vec![n].into()
    }

    fn key(n: u8) -> RuntimeCacheKey {
        RuntimeCacheKey { code_hash: keccak256([n]), spec_id: SpecId::CANCUN }
    }

    /// Makes a program resident that is to be upgraded; whether there was room for that.
    fn upgrade(service: &CompileService, n: u8) -> bool {
        let program = Arc::new(service.compilers.program(key(n), &code(n)).unwrap());
        let generation = service.cache.generation();
        service.cache.publish(&program, Tier::Baseline, generation);
        jobs::queue_upgrade(service, &program, program.source().unwrap(), generation, Tier::Full)
    }

    /// Looks at a resident program as who runs it does.
    fn use_resident(service: &CompileService, n: u8) -> Option<()> {
        let request = LookupRequest { key: key(n), code: code(n) };
        service.use_requested(&request).map(drop)
    }

    #[test]
    fn upgrades_are_bounded_and_put_off() {
        let service = paused(1, 1);
        assert!(service.start_workers().unwrap());
        assert_eq!([0, 1].map(|n| upgrade(&service, n)), [true, false]);
        let look = || use_resident(&service, 1);
        service.find_lacking();
        look().unwrap();
        assert_eq!(service.pool.queued(Band::Upgrade), 1, "there is still no room");
        service.pool.resume();
        let later = Instant::now() + Duration::from_secs(60);
        assert!(service.ledger.pending.wait_none(later));
        assert_eq!(service.cache.tier(&key(0)), Some(Tier::Full));
        assert_eq!(service.cache.tier(&key(1)), Some(Tier::Baseline));
        service.find_lacking();
        look().unwrap();
        assert!(service.ledger.pending.wait_none(later));
        assert_eq!(service.cache.tier(&key(1)), Some(Tier::Full));
        service.shut_down();
    }

    /// Each turn of housekeeping would make EVMs look again, and none of them find room.
    #[test]
    fn nothing_is_marked_while_there_is_no_room() {
        let service = paused(1, 1);
        assert!(upgrade(&service, 0));
        let freed = service.compilers.program(key(1), &code(1)).unwrap();
        let program = service.cache.get(&key(0)).unwrap();
        program.note_upgrade_shortage(service.compilers.space.releases());
        drop(freed);
        service.find_lacking();
        assert!(program.entry().is_current());
        service.pool.stop();
        service.find_lacking();
        assert!(!program.entry().is_current(), "there is room again");
    }

    /// A mark that came to nothing, for the queue had filled up by then, is found again.
    #[test]
    fn an_upgrade_is_put_off_more_than_once() {
        let service = paused(1, 1);
        assert!(service.start_workers().unwrap());
        assert_eq!([0, 1].map(|n| upgrade(&service, n)), [true, false]);
        let later = Instant::now() + Duration::from_secs(60);
        service.pool.resume();
        assert!(service.ledger.pending.wait_none(later));
        service.pool.pause();
        service.find_lacking();
        assert!(upgrade(&service, 2));
        use_resident(&service, 1).unwrap();
        service.pool.resume();
        assert!(service.ledger.pending.wait_none(later));
        assert_eq!(service.cache.tier(&key(1)), Some(Tier::Baseline));
        service.find_lacking();
        use_resident(&service, 1).unwrap();
        assert!(service.ledger.pending.wait_none(later));
        assert_eq!(service.cache.tier(&key(1)), Some(Tier::Full));
        service.shut_down();
    }

    #[test]
    fn upgrades_that_wait_leave_room_for_contracts() {
        let service = paused(1, 9);
        (0..3).for_each(|n| assert!(upgrade(&service, n)));
        assert_eq!(service.ledger.pending.get(), 3);
        assert!(service.submit(key(3), code(3), Origin::Explicit, None));
        assert!(!service.submit(key(4), code(4), Origin::Explicit, None), "the limit");
        assert_eq!(service.ledger.pending.get(), 4);
        service.shut_down();
        assert_eq!(service.ledger.pending.get(), 0);
    }
}
