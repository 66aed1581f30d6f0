//! Better code for a contract that runs already.

use super::{Job, begun::Begun};
use crate::{
    compiler_pool::Tier,
    error::CompileFailure,
    helper::Client,
    ledger::Ticket,
    lookup::RuntimeCacheKey,
    pool::Band,
    program::{CompiledProgram, ProgramKind},
    service::CompileService,
    source::Source,
};
use cranevm_codegen::CompileTimings;
use std::sync::{Arc, Weak};

/// Queues the compilation of a resident program's contract, `source`, at a better tier; `false`,
/// and a note in the program, if there is no room for it now.
pub(crate) fn queue_upgrade(
    service: &CompileService,
    program: &Arc<CompiledProgram>,
    source: &Source,
    generation: u64,
    tier: Tier,
) -> bool {
    let ticket = Ticket::upgrade(&service.ledger, program.key);
    let resident = Arc::downgrade(program);
    let source = source.clone();
    let upgrade = Upgrade { ticket, resident, source, generation, tier, work: None };
    let is_queued = service.pool.push(Band::Upgrade, Job::Upgrade(Box::new(upgrade))).is_ok();
    if !is_queued {
        program.note_put_off();
    }
    is_queued
}

/// A resident program's contract to be compiled again, better.
pub(crate) struct Upgrade {
    ticket: Ticket,
    /// To be replaced.
    resident: Weak<CompiledProgram>,
    source: Source,
    generation: u64,
    tier: Tier,
    /// What is compiled so far.
    work: Option<Begun>,
}

impl Upgrade {
    /// Compiles one chunk; what is left to do, if anything.
    pub(super) fn step(mut self: Box<Self>, service: &Arc<CompileService>) -> Option<Box<Self>> {
        let key = self.ticket.key();
        let is_wanted = service.cache.generation() == self.generation
            && service.cache.holds(&self.resident, &key);
        if !is_wanted {
            return None;
        }
        match self.advance(service) {
            Ok(false) => Some(self),
            Ok(true) => None,
            Err(failure) => {
                self.give_up(service, &failure);
                None
            }
        }
    }

    /// Logs a failure. Where it says nothing of the code, it is noted in the program, which may
    /// then be marked once more; if a helper was killed, only the first time.
    fn give_up(&self, service: &CompileService, failure: &CompileFailure) {
        let key = self.ticket.key();
        let RuntimeCacheKey { code_hash, spec_id } = key;
        let program = self.resident.upgrade();
        let program = program.as_deref();
        let is_put_off = match failure {
            CompileFailure::Helper(error) => {
                error.is_circumstantial()
                    || (error.is_excusable() && program.is_none_or(CompiledProgram::note_kill))
            }
            _ => false,
        };
        if let Some(program) = program {
            if is_put_off {
                program.note_put_off();
            }
            if failure.is_shortage() {
                // As of now: what the attempt itself evicted wasn't enough.
                program.note_upgrade_shortage(service.compilers.space.releases());
            }
        }
        if is_put_off || failure.is_shortage() {
            // After the notes, which say when it may be marked.
            service.cache.take_back_mark(&self.resident, &key);
            tracing::debug!(%code_hash, ?spec_id, %failure, "the program gets better later");
        } else if matches!(failure, CompileFailure::Helper(_)) {
            // The code has killed it: worth a line, once a contract.
            tracing::warn!(%code_hash, ?spec_id, %failure, "the program stays as it is");
        } else {
            tracing::debug!(%code_hash, ?spec_id, %failure, "the program stays as it is");
        }
    }

    /// Compiles one chunk, and loads and publishes when all are there: then `true`.
    fn advance(&mut self, service: &CompileService) -> Result<bool, CompileFailure> {
        let compilers = &service.compilers;
        let work = match &mut self.work {
            Some(work) => {
                work.go_on(compilers)?;
                work
            }
            None => {
                self.ticket.begin();
                self.work.insert(Begun::new(service, self.tier, &self.source)?)
            }
        };
        if !work.is_whole() {
            return Ok(false);
        }
        let load = || compilers.load(&self.source, (ProgramKind::Jit, self.tier), &work.compiled);
        let better = Arc::new(service.with_room_beside(&self.resident, load)?);
        service.check_size(&better)?;
        let timings = work.compiled.timings;
        self.replace(service, better, &timings);
        Ok(true)
    }

    /// Makes the better program resident, if the other one still is.
    fn replace(
        &mut self,
        service: &CompileService,
        better: Arc<CompiledProgram>,
        timings: &CompileTimings,
    ) {
        self.ticket.add_timings(timings);
        if service.cache.replace(&self.resident, &better, self.tier) {
            self.ticket.succeed();
            service.keep_within_budget(&better);
        }
        service.dump(&self.source, self.tier, Client::Worker);
    }
}
