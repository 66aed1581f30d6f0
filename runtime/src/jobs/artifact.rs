//! What a worker does to make an artifact: load it if the store has it, else compile the contract
//! one chunk at a time, and store it.
//!
//! Between two chunks the worker may be paused, or end; what is left of the job is then the first
//! that it, or another worker that has nothing to do, goes on with.

use super::{Job, begun::Begun};
use crate::{
    aot::Goal,
    compiler_pool::Tier,
    config::CompilationKind,
    error::CompileFailure,
    flights::{Attempt, Lead},
    helper::Client,
    ledger::Ticket,
    pool::Station,
    service::CompileService,
    source::Source,
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
    /// Once it is known whose code it is.
    source: Option<Source>,
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
        Box::new(Self {
            ticket,
            lead,
            code,
            goal,
            generation,
            kept_since,
            source: None,
            work: None,
        })
    }

    /// Compiles one chunk, and queues the rest; or ends the job.
    pub(super) fn run(mut self: Box<Self>, service: &Arc<CompileService>, station: &Station<Job>) {
        // Somebody who couldn't wait may have it, or a clear may have come.
        if !self.lead.claim() || service.cache.generation() != self.generation {
            return;
        }
        let source = match self.source.take() {
            Some(source) => source,
            None => match service.prove(&mut self.ticket, self.code.clone()) {
                Ok(source) => source,
                // Who sees nothing pending may ask again: so that is over first.
                Err(failure) => return self.lead.land(Err(Arc::new(failure))),
            },
        };
        if self.work.is_none()
            && let Some(known) = self.look(service, &source)
        {
            return self.lead.land(known);
        }
        let releases = service.compilers.space.releases();
        match self.advance(service, &source) {
            Ok(false) => {
                self.source = Some(source);
                station.push(Job::Artifact(self));
            }
            Ok(true) => self.finish(service, &source, releases),
            Err(failure) => {
                let Self { ticket, lead, generation, .. } = *self;
                let what = (&source, CompilationKind::Aot);
                let failure = service.fail(what, failure, generation, releases);
                drop(ticket);
                lead.land(Err(failure));
            }
        }
    }

    /// What needn't be compiled.
    fn look(&self, service: &CompileService, source: &Source) -> Option<Attempt> {
        service.known_for(self.goal, &source.key()).or_else(|| {
            let program = service.load_stored(source, self.generation)?;
            service.give_up_beyond_budget(source, &program, self.generation);
            Some(Ok(program))
        })
    }

    /// Compiles the next chunk; whether it was the last.
    fn advance(
        &mut self,
        service: &CompileService,
        source: &Source,
    ) -> Result<bool, CompileFailure> {
        let work = match &mut self.work {
            Some(work) => {
                work.go_on(&service.compilers)?;
                work
            }
            None => {
                self.ticket.begin();
                self.work.insert(Begun::new(service, Tier::Artifact, source)?)
            }
        };
        Ok(work.is_whole())
    }

    fn finish(self: Box<Self>, service: &CompileService, source: &Source, releases: u64) {
        let Self { mut ticket, lead, generation, kept_since, work, .. } = *self;
        let Some(Begun { compiled, .. }) = work else { return };
        let generations = (generation, kept_since);
        let attempt =
            service.finish_artifact(source, &compiled, generations, releases, &mut ticket);
        lead.land(attempt);
        drop(ticket);
        service.dump(source, Tier::Artifact, Client::Worker);
    }
}
