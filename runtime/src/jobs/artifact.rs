//! What a worker does to make an artifact: load it if the store has it, else compile the contract
//! one chunk at a time, and store it.
//!
//! Between two chunks the worker may be paused, or end; what is left of the job is then the first
//! that it, or another worker that has nothing to do, goes on with.

use super::{Job, begun::Begun};
use crate::{
    aot::{Goal, check_hash},
    compiler_pool::Tier,
    config::CompilationKind,
    error::CompileFailure,
    flights::{Attempt, Lead},
    helper::Client,
    ledger::Ticket,
    pool::Station,
    service::CompileService,
};
use alloy_primitives::Bytes;
use std::sync::Arc;

/// A contract to be made an artifact of.
pub(crate) struct ArtifactJob {
    ticket: Ticket,
    lead: Lead,
    code: Bytes,
    goal: Goal,
    generation: u64,
    /// The library's generation when the job was queued.
    kept_since: u64,
    /// What is compiled so far.
    work: Option<Begun>,
}

impl ArtifactJob {
    pub(crate) fn new(
        ticket: Ticket,
        lead: Lead,
        code: Bytes,
        goal: Goal,
        generation: u64,
        kept_since: u64,
    ) -> Box<Self> {
        Box::new(Self { ticket, lead, code, goal, generation, kept_since, work: None })
    }

    /// Compiles one chunk, and queues the rest; or ends the job.
    pub(super) fn run(mut self: Box<Self>, service: &Arc<CompileService>, station: &Station<Job>) {
        // Somebody who couldn't wait may have it, or a clear may have come.
        if !self.lead.claim() || service.cache.generation() != self.generation {
            return;
        }
        if self.work.is_none()
            && let Some(known) = self.look(service)
        {
            return self.lead.land(known);
        }
        let releases = service.compilers.space.releases();
        match self.advance(service) {
            Ok(false) => station.push(Job::Artifact(self)),
            Ok(true) => self.finish(service, releases),
            Err(failure) => {
                let Self { ticket, lead, code, generation, .. } = *self;
                let key = ticket.key();
                let what = (key, CompilationKind::Aot);
                let failure = service.fail(what, code.len(), failure, generation, releases);
                drop(ticket);
                lead.land(Err(failure));
            }
        }
    }

    /// What needn't be compiled.
    fn look(&self, service: &CompileService) -> Option<Attempt> {
        let key = self.ticket.key();
        service.known_for(self.goal, &key).or_else(|| {
            let program = service.load_stored(key, self.code.len(), self.generation)?;
            service.keep_within_budget();
            Some(Ok(program))
        })
    }

    /// Compiles the next chunk; whether it was the last.
    fn advance(&mut self, service: &CompileService) -> Result<bool, CompileFailure> {
        let work = match &mut self.work {
            Some(work) => {
                work.go_on(&service.compilers)?;
                work
            }
            None => {
                self.ticket.begin();
                let key = self.ticket.key();
                check_hash(key, &self.code)?;
                self.work.insert(Begun::new(service, Tier::Artifact, key, &self.code)?)
            }
        };
        Ok(work.is_whole())
    }

    fn finish(self: Box<Self>, service: &CompileService, releases: u64) {
        let Self { mut ticket, lead, code, generation, kept_since, work, .. } = *self;
        let Some(Begun { compiled, .. }) = work else { return };
        let attempt =
            service.finish_artifact(&compiled, generation, kept_since, releases, &mut ticket);
        let key = ticket.key();
        lead.land(attempt);
        drop(ticket);
        service.dump(key, &code, Tier::Artifact, Client::Worker);
    }
}
