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
};
use alloy_primitives::Bytes;
use cranevm_codegen::CompileTimings;
use std::sync::{Arc, Weak};

/// Queues the compilation of a resident program's contract at a better tier; `false`, and a note in
/// the program, if there is no room for it now.
pub(crate) fn queue_upgrade(
    service: &CompileService,
    program: &Arc<CompiledProgram>,
    code: Bytes,
    generation: u64,
    tier: Tier,
) -> bool {
    let ticket = Ticket::always(&service.ledger, program.key);
    let resident = Arc::downgrade(program);
    let upgrade = Upgrade { ticket, resident, code, generation, tier, work: None };
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
    code: Bytes,
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
        let releases = service.compilers.space.releases();
        match self.advance(service) {
            Ok(false) => Some(self),
            Ok(true) => None,
            Err(failure) => {
                self.give_up(&failure, releases);
                None
            }
        }
    }

    /// Logs a failure of an attempt that began after so many releases of programs, and notes in the
    /// program what it was short of.
    fn give_up(&self, failure: &CompileFailure, releases: u64) {
        let RuntimeCacheKey { code_hash, spec_id } = self.ticket.key();
        let program = self.resident.upgrade();
        match failure {
            CompileFailure::Helper(error) if error.is_circumstantial() || error.is_excusable() => {
                if let Some(program) = program {
                    program.note_put_off();
                }
                tracing::debug!(%code_hash, ?spec_id, %failure, "the program gets better later");
            }
            shortage if shortage.is_shortage() => {
                if let Some(program) = program {
                    program.note_shortage(releases);
                }
                tracing::debug!(%code_hash, ?spec_id, %failure, "the program gets better later");
            }
            // The code has killed it: worth a line, once a contract.
            CompileFailure::Helper(_) => {
                tracing::warn!(%code_hash, ?spec_id, %failure, "the program stays as it is");
            }
            _ => tracing::debug!(%code_hash, ?spec_id, %failure, "the program stays as it is"),
        }
    }

    /// Compiles one chunk, and loads and publishes when all are there: then `true`.
    fn advance(&mut self, service: &CompileService) -> Result<bool, CompileFailure> {
        let (key, compilers) = (self.ticket.key(), &service.compilers);
        let work = match &mut self.work {
            Some(work) => {
                work.go_on(compilers)?;
                work
            }
            None => {
                self.ticket.begin();
                self.work.insert(Begun::new(service, self.tier, key, &self.code)?)
            }
        };
        if !work.is_whole() {
            return Ok(false);
        }
        let load = || compilers.space.load(key, ProgramKind::Jit, &work.compiled);
        let better = Arc::new(service.with_room_beside(&self.resident, load)?);
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
            service.keep_within_budget();
        }
        service.dump(self.ticket.key(), &self.code, self.tier, Client::Worker);
    }
}
