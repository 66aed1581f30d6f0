//! A contract on its way from a request to a program that has all its chunks, at the first tier.

use super::{Job, begun::Begun, upgrade::queue_upgrade};
use crate::{
    compiler_pool::Tier,
    config::CompilationKind,
    error::CompileFailure,
    flights::Lead,
    helper::Client,
    ledger::Ticket,
    locks::lock,
    pool::Station,
    program::{CompiledProgram, ProgramKind},
    service::CompileService,
    source::Source,
};
use alloy_primitives::Bytes;
use cranevm_codegen::{Analysed, Chunk, CompileTimings};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// A contract to be compiled.
pub(crate) struct Contract {
    pub(crate) ticket: Ticket,
    pub(crate) lead: Lead,
    pub(crate) code: Bytes,
    pub(crate) generation: u64,
}

impl Contract {
    pub(super) fn run(self, service: &Arc<CompileService>, station: &Station<Job>) {
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
        compile(service, station, ticket, lead, source, generation);
    }
}

/// Compiles and publishes what a contract needs to start, and queues the rest.
fn compile(
    service: &Arc<CompileService>,
    station: &Station<Job>,
    mut ticket: Ticket,
    lead: Lead,
    source: Source,
    generation: u64,
) {
    ticket.begin();
    let releases = service.compilers.space.releases();
    match start(service, &source, generation) {
        Ok((program, begun, is_resident)) => {
            ticket.add_timings(&begun.compiled.timings);
            lead.land(Ok(Arc::clone(&program)));
            if is_resident {
                ticket.succeed();
                let unfinished = Unfinished::new(program, begun, source, generation, ticket);
                Arc::new(unfinished).queue_chunks(service, station);
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

/// Compiles what a contract needs to start, and loads and publishes that; whether it is resident.
fn start(
    service: &CompileService,
    source: &Source,
    generation: u64,
) -> Result<(Arc<CompiledProgram>, Begun, bool), CompileFailure> {
    let begun = Begun::first(service, source)?;
    let tier = begun.tier;
    let load = || service.compilers.load(source, (ProgramKind::Jit, tier), &begun.compiled);
    let program = Arc::new(service.with_room(load)?);
    let is_resident = service.publish(&program, tier, generation)?;
    Ok((program, begun, is_resident))
}

/// A contract that runs, while its chunks come in.
struct Unfinished {
    program: Arc<CompiledProgram>,
    tier: Tier,
    /// `None` if no chunks are to come.
    analysed: Option<Analysed>,
    source: Source,
    generation: u64,
    /// Chunks to come.
    left: AtomicUsize,
    /// Those of them that nobody compiles yet, the last of the bytecode first.
    absent: Mutex<Vec<Chunk>>,
    /// Ends with the last job of the contract.
    ticket: Mutex<Ticket>,
}

impl Unfinished {
    fn new(
        program: Arc<CompiledProgram>,
        begun: Begun,
        source: Source,
        generation: u64,
        ticket: Ticket,
    ) -> Self {
        let Begun { tier, analysed, to_come, .. } = begun;
        let (left, absent) = (AtomicUsize::new(to_come.len()), Mutex::new(to_come));
        let ticket = Mutex::new(ticket);
        Self { program, tier, analysed, source, generation, left, absent, ticket }
    }

    /// Queues a job for each chunk to come.
    fn queue_chunks(self: &Arc<Self>, service: &Arc<CompileService>, station: &Station<Job>) {
        let count = self.left.load(Ordering::Acquire);
        if count == 0 {
            self.finish(service);
        }
        for _ in 0..count {
            station.push(Job::Chunk(ChunkOf { contract: Arc::clone(self) }));
        }
        if count > 1 {
            service.pool.wake_all();
        }
    }

    /// A chunk that nobody else compiles.
    fn next_chunk(&self) -> Option<Chunk> {
        take_most_missed(&mut lock(&self.absent), &self.program)
    }

    fn is_wanted(&self, service: &CompileService) -> bool {
        service.cache.holds(&Arc::downgrade(&self.program), &self.program.key)
    }

    /// All chunks are there.
    fn finish(&self, service: &CompileService) {
        if self.tier != Tier::Baseline {
            service.dump(&self.source, self.tier, Client::Worker);
        } else if self.is_wanted(service) {
            // Of stencils there is nothing to be read; there is of what comes of this.
            queue_upgrade(service, &self.program, &self.source, self.generation, Tier::Full);
        }
    }
}

/// A chunk of a contract that runs without it; which one is told when its turn comes.
pub(crate) struct ChunkOf {
    contract: Arc<Unfinished>,
}

impl ChunkOf {
    pub(super) fn run(self, service: &Arc<CompileService>) {
        let contract = &*self.contract;
        let releases = service.compilers.space.releases();
        if contract.is_wanted(service)
            && let Some(chunk) = contract.next_chunk()
            && let Err(failure) = self.compile(chunk, service)
        {
            if failure.is_shortage() {
                contract.program.note_shortage(releases);
            }
            let key = contract.program.key;
            tracing::debug!(code_hash = %key.code_hash, spec_id = ?key.spec_id,
                chunk = chunk.as_u32(), %failure, "a chunk is left to the interpreter");
        }
        if contract.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            contract.finish(service);
        }
    }

    fn compile(&self, chunk: Chunk, service: &CompileService) -> Result<(), CompileFailure> {
        let Unfinished { program, tier, analysed: Some(analysed), ticket, .. } = &*self.contract
        else {
            return Ok(());
        };
        let mut timings = CompileTimings::default();
        let code = service.compilers.chunk(*tier, analysed, chunk, &mut timings)?;
        lock(ticket).add_timings(&timings);
        let publish = || service.compilers.space.publish(program, &code);
        service.with_room_beside(&Arc::downgrade(program), publish)?;
        service.note_growth(program).inspect_err(|_| {
            let contract = &*self.contract;
            service.give_up_beyond_budget(&contract.source, program, contract.generation);
        })
    }
}

/// Takes the chunk to compile next: the one that frames have missed most, and of several such the
/// first of the bytecode. Costs a load for each chunk to come, nothing beside the compilation of
/// one.
fn take_most_missed(absent: &mut Vec<Chunk>, program: &CompiledProgram) -> Option<Chunk> {
    let missed = |&index: &usize| (program.misses(absent[index]), index);
    let index = (0..absent.len()).max_by_key(missed)?;
    Some(absent.remove(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compiler_pool::CompilerPool, teamwork::chunks_to_come};
    use cranevm_codegen::{CompilerOptions, OptimizationLevel};
    use revm::primitives::hardfork::SpecId;

    #[test]
    fn what_frames_miss_is_compiled_first() {
        let options = CompilerOptions {
            opt_level: OptimizationLevel::None,
            one_block_per_chunk: true,
            compile_all: true,
            ..CompilerOptions::default()
        };
        let compilers = CompilerPool::new(options, 0, 1 << 20);
        // STOP, and at 1, 4 and 8 blocks that nothing merges: JUMPDEST, PUSH1 n, and an end.
        let code = [0x00, 0x5b, 0x5f, 0xff, 0x5b, 0x60, 1, 0xff, 0x5b, 0x60, 2, 0x56];
        let (program, analysed) = compilers.started(&code, SpecId::OSAKA);
        let mut absent = chunks_to_come(&analysed);
        let [third, second, first] = absent[..] else { panic!("{absent:?}") };
        for pc in [4, 8, 8] {
            assert!(!program.is_enterable(pc));
        }
        let order = std::iter::from_fn(|| take_most_missed(&mut absent, &program));
        assert_eq!(order.collect::<Vec<_>>(), [third, second, first]);
    }
}
