//! A contract on its way from a request to its first program.

use super::{begun::Begun, upgrade::queue_upgrade};
use crate::{
    compiler_pool::Tier,
    config::CompilationKind,
    error::CompileFailure,
    flights::Lead,
    helper::Client,
    hotness::Cold,
    ledger::Ticket,
    program::{CompiledProgram, ProgramKind},
    service::CompileService,
    source::Source,
};
use alloy_primitives::Bytes;
use std::sync::Arc;

/// A contract to be compiled.
pub(crate) struct Contract {
    pub(crate) ticket: Ticket,
    pub(crate) lead: Lead,
    pub(crate) code: Bytes,
    pub(crate) generation: u64,
}

impl Contract {
    pub(super) fn run(self, service: &Arc<CompileService>) {
        let Self { mut ticket, mut lead, code, generation } = self;
        let key = ticket.key();
        // Somebody who couldn't wait may have it, or a clear may have come.
        if !lead.claim() || service.cache.generation() != generation {
            return;
        }
        if let Some(known) = service.known(&key) {
            return lead.land(known);
        }
        let _span = tracing::debug_span!("compile", code_hash = %key.code_hash,
            spec_id = ?key.spec_id, code_len = code.len())
        .entered();
        let source = match service.prove(&mut ticket, code) {
            Ok(source) => source,
            // Who sees nothing pending may ask again: so that is over first.
            Err(failure) => return lead.land(Err(Arc::new(failure))),
        };
        if service.has_stored(&key)
            && let Some(program) = service.load_stored(&source, generation)
        {
            service.give_up_beyond_budget(&source, &program, generation);
            return lead.land(Ok(program));
        }
        compile(service, ticket, lead, source, generation);
    }
}

/// Compiles and publishes a contract, and queues what makes better code of it: of one that is known
/// to run, when that is worth it.
fn compile(
    service: &Arc<CompileService>,
    mut ticket: Ticket,
    lead: Lead,
    source: Source,
    generation: u64,
) {
    ticket.begin();
    let releases = service.compilers.space.releases();
    let cold = ticket.observer().cloned();
    match start(service, &source, generation, cold.as_deref()) {
        Ok((program, begun, is_resident)) => {
            ticket.add_timings(&begun.compiled.timings);
            lead.land(Ok(Arc::clone(&program)));
            if is_resident {
                ticket.succeed();
                if cold.is_some_and(|cold| cold.first.is_promoted()) {
                    // It asks for better code when that is worth it.
                } else if begun.tier == Tier::Baseline {
                    // Of stencils there is nothing to be read; there is of what comes of this.
                    queue_upgrade(service, &program, &source, generation, Tier::Full);
                } else {
                    service.dump(&source, begun.tier, Client::Worker);
                }
            }
        }
        Err(failure) => {
            let what = (&source, CompilationKind::Jit);
            let failure = service.fail(what, failure, generation, releases);
            drop(ticket);
            lead.land(Err(Arc::clone(&failure)));
            if failure.is_explained_by_a_dump() {
                service.dump(&source, service.compilers.first_tier(), Client::Worker);
            }
        }
    }
}

/// Compiles, loads and publishes a contract; whether it is resident.
fn start(
    service: &CompileService,
    source: &Source,
    generation: u64,
    cold: Option<&Cold>,
) -> Result<(Arc<CompiledProgram>, Begun, bool), CompileFailure> {
    let known = cold.and_then(|cold| Some((cold, service.assemble_known(source, cold)?)));
    let (begun, learnt) = match known {
        Some((cold, compiled)) => {
            let (compiled, bytes) = compiled?;
            (Begun::whole(service.compilers.first_tier(), compiled), Some((cold, bytes)))
        }
        None => {
            // What EVMs run is compiled better when that is worth it, too.
            let cold = cold.filter(|cold| cold.first.has_program());
            (Begun::first(service, source)?, cold.map(|cold| (cold, source.code().len())))
        }
    };
    let tier = begun.tier;
    let load = || service.compilers.load(source, (ProgramKind::Jit, tier), &begun.compiled);
    let program = Arc::new(service.with_room(load)?);
    let is_resident = service.publish(&program, tier, generation)?;
    if let Some((cold, bytes)) = learnt.filter(|_| is_resident) {
        cold.first.note_program(bytes);
        cold.first.promote(source.code().len(), tier == Tier::Baseline);
    }
    Ok((program, begun, is_resident))
}
