//! What workers do: start a contract, compile its other chunks, make it better.
//!
//! A contract is compiled at the baseline first. The chunk that it starts in is enough to publish
//! it; each further chunk is a job of its own, which idle workers steal, and which takes the chunk
//! that running frames have missed most. When all are there, an
//! upgrade compiles the contract again at the configured level, one chunk at a time, and replaces
//! the program. A program that turns out to leave out what runs is upgraded once more,
//! and so is one of which a part found no memory, when there may be some again. Between any
//! two chunks the worker may turn to something more urgent, be paused, or end.

use crate::{
    aot_job::ArtifactJob,
    compiler_pool::{Started, Tier, lock},
    config::CompilationKind,
    error::CompileFailure,
    flights::Lead,
    helper::{Client, Helpers},
    ledger::Ticket,
    lookup::RuntimeCacheKey,
    pool::{Band, Station},
    program::{CompiledProgram, ProgramKind},
    service::CompileService,
    teamwork::Teamwork,
};
use alloy_primitives::Bytes;
use cranevm_codegen::{Chunk, CompileTimings, CompiledCode, Program, later_chunks};
use std::{
    cmp::Reverse,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Work for a worker.
pub(crate) enum Job {
    Contract(Box<Contract>),
    Chunk(ChunkOf),
    Upgrade(Box<Upgrade>),
    /// Chunks of a contract that a caller compiles.
    Help(Weak<Teamwork>),
    Artifact(Box<ArtifactJob>),
}

/// Does a job, or a part of it: what comes back is to be gone on with.
pub(crate) fn run(service: &Arc<CompileService>, station: &Station<Job>, job: Job) -> Option<Job> {
    match job {
        Job::Contract(contract) => contract.run(service, station),
        Job::Chunk(chunk) => chunk.run(service),
        Job::Artifact(job) => job.run(service, station),
        Job::Upgrade(upgrade) => return upgrade.step(service).map(Job::Upgrade),
        Job::Help(work) => {
            // Gone if the caller is done.
            let is_going_on = work.upgrade().is_some_and(|work| work.step(&service.compilers));
            return is_going_on.then_some(Job::Help(work));
        }
    }
    None
}

/// A contract to be compiled.
pub(crate) struct Contract {
    pub(crate) ticket: Ticket,
    pub(crate) lead: Lead,
    pub(crate) code: Bytes,
    pub(crate) generation: u64,
}

impl Contract {
    fn run(self, service: &Arc<CompileService>, station: &Station<Job>) {
        let Self { mut ticket, mut lead, code, generation } = self;
        let key = ticket.key();
        // Somebody who couldn't wait may have it, or a clear may have come.
        if !lead.claim() || service.cache.generation() != generation {
            return;
        }
        if let Some(known) = service.known(&key) {
            return lead.land(known);
        }
        if service.has_stored(&key)
            && let Some(program) = service.load_stored(key, code.len(), generation)
        {
            service.keep_within_budget();
            return lead.land(Ok(program));
        }
        let _span = tracing::debug_span!("compile", code_hash = %key.code_hash,
            spec_id = ?key.spec_id, code_len = code.len())
        .entered();
        ticket.begin();
        let releases = service.compilers.releases();
        let started = match &service.helpers {
            None => service.with_room(|| service.compilers.start(key, &code)),
            Some(helpers) => start_whole(service, helpers, key, &code),
        };
        match started {
            Ok(started) => publish(service, station, started, ticket, lead, code, generation),
            Err(failure) => {
                let what = (key, CompilationKind::Jit);
                let failure = service.fail(what, code.len(), failure, generation, releases);
                drop(ticket);
                lead.land(Err(Arc::clone(&failure)));
                if failure.is_explained_by_a_dump() {
                    service.dump(key, &code, service.compilers.first_tier(), Client::Worker);
                }
            }
        }
    }
}

/// Compiles a contract in a helper, all of it: chunks don't travel alone.
fn start_whole(
    service: &CompileService,
    helpers: &Helpers,
    key: RuntimeCacheKey,
    code: &[u8],
) -> Result<Started, CompileFailure> {
    let tier = service.compilers.first_tier();
    let (program, timings) = service.compile_in(helpers, tier, key, code, Client::Worker)?;
    Ok(Started { program, analysed: None, timings })
}

/// Makes a started contract resident, and queues its other chunks.
fn publish(
    service: &Arc<CompileService>,
    station: &Station<Job>,
    started: Started,
    mut ticket: Ticket,
    lead: Lead,
    code: Bytes,
    generation: u64,
) {
    let Started { program, analysed, timings } = started;
    let program = Arc::new(program);
    ticket.add_timings(&timings);
    let resident = service.cache.publish(&program, service.compilers.first_tier(), generation);
    service.keep_within_budget();
    lead.land(Ok(Arc::clone(&program)));
    if !resident {
        return;
    }
    ticket.succeed();
    let chunks: Vec<Chunk> = analysed.iter().flat_map(later_chunks).collect();
    let count = chunks.len();
    let contract = Arc::new(Unfinished {
        program,
        analysed,
        code,
        generation,
        left: AtomicUsize::new(count),
        absent: Mutex::new(chunks),
        ticket: Mutex::new(ticket),
    });
    if count == 0 {
        contract.finish(service);
    }
    for _ in 0..count {
        station.push(Job::Chunk(ChunkOf { contract: Arc::clone(&contract) }));
    }
    if count > 1 {
        service.pool.wake_all();
    }
}

/// A contract that runs, while its chunks come in.
struct Unfinished {
    program: Arc<CompiledProgram>,
    /// `None` if no chunks are to come.
    analysed: Option<Program>,
    code: Bytes,
    generation: u64,
    /// Chunks to come.
    left: AtomicUsize,
    /// Those of them that nobody compiles yet, in the order of the bytecode.
    absent: Mutex<Vec<Chunk>>,
    /// Ends with the last job of the contract.
    ticket: Mutex<Ticket>,
}

impl Unfinished {
    /// A chunk that nobody else compiles.
    fn next_chunk(&self) -> Option<Chunk> {
        take_most_missed(&mut lock(&self.absent), &self.program)
    }

    fn is_wanted(&self, service: &CompileService) -> bool {
        service.cache.holds(&Arc::downgrade(&self.program), &self.program.key)
    }

    /// All chunks are there.
    fn finish(&self, service: &CompileService) {
        service.keep_within_budget();
        let tier = service.compilers.first_tier();
        service.dump(self.program.key, &self.code, tier, Client::Worker);
        if service.compilers.first_tier() == Tier::Baseline && self.is_wanted(service) {
            queue_upgrade(service, &self.program, self.code.clone(), self.generation, Tier::Full);
        }
    }
}

/// A chunk of a contract that runs without it; which one is told when its turn comes.
pub(crate) struct ChunkOf {
    contract: Arc<Unfinished>,
}

impl ChunkOf {
    fn run(self, service: &Arc<CompileService>) {
        let contract = &*self.contract;
        let releases = service.compilers.releases();
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
        let Unfinished { program, analysed: Some(analysed), ticket, .. } = &*self.contract else {
            return Ok(());
        };
        let mut timings = CompileTimings::default();
        let tier = service.compilers.first_tier();
        let code = service.compilers.chunk(tier, analysed, chunk, &mut timings)?;
        lock(ticket).add_timings(&timings);
        let publish = || service.compilers.publish(program, chunk, &code);
        service.with_room_beside(&Arc::downgrade(program), publish)
    }
}

/// Takes the chunk to compile next: the one that frames have missed most. Costs a load for each
/// chunk to come, nothing beside the compilation of one.
fn take_most_missed(absent: &mut Vec<Chunk>, program: &CompiledProgram) -> Option<Chunk> {
    let missed = |&index: &usize| (program.misses(absent[index]), Reverse(index));
    let index = (0..absent.len()).max_by_key(missed)?;
    Some(absent.remove(index))
}

/// Queues the compilation of a resident program's contract at a better tier.
pub(crate) fn queue_upgrade(
    service: &CompileService,
    program: &Arc<CompiledProgram>,
    code: Bytes,
    generation: u64,
    tier: Tier,
) {
    // Bounded by what is resident: each program is upgraded once.
    let ticket = Ticket::always(&service.ledger, program.key);
    let resident = Arc::downgrade(program);
    let upgrade = Upgrade { ticket, resident, code, generation, tier, work: None };
    // Refused only by a pool that has stopped.
    let _ended = service.pool.push(Band::Upgrade, Job::Upgrade(Box::new(upgrade)));
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
    work: Option<Partial>,
}

struct Partial {
    analysed: Program,
    compiled: CompiledCode,
    /// Chunks to come, the next one last.
    left: Vec<Chunk>,
}

impl Upgrade {
    /// Compiles one chunk; what is left to do, if anything.
    fn step(mut self: Box<Self>, service: &Arc<CompileService>) -> Option<Box<Self>> {
        let key = self.ticket.key();
        let is_wanted = service.cache.generation() == self.generation
            && service.cache.holds(&self.resident, &key);
        if !is_wanted {
            return None;
        }
        let releases = service.compilers.releases();
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
            CompileFailure::Helper(error) if error.is_circumstantial() => {
                if let Some(program) = program {
                    program.note_no_helper();
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

    /// Compiles one chunk, or loads and publishes when all are there: then `true`. In a helper all
    /// are compiled at once.
    fn advance(&mut self, service: &CompileService) -> Result<bool, CompileFailure> {
        let key = self.ticket.key();
        let compilers = &service.compilers;
        if let Some(helpers) = &service.helpers {
            self.ticket.begin();
            let (program, timings) =
                service.compile_in(helpers, self.tier, key, &self.code, Client::Worker)?;
            self.replace(service, Arc::new(program), &timings);
            return Ok(true);
        }
        match &mut self.work {
            None => {
                self.ticket.begin();
                let (analysed, compiled) = compilers.begin(self.tier, key, &self.code)?;
                let mut left: Vec<_> = later_chunks(&analysed).collect();
                left.reverse();
                self.work = Some(Partial { analysed, compiled, left });
            }
            Some(Partial { analysed, compiled, left }) => {
                if let Some(chunk) = left.pop() {
                    let timings = &mut compiled.timings;
                    let code = compilers.chunk(self.tier, analysed, chunk, timings)?;
                    compiled.place_chunk(chunk, code);
                }
            }
        }
        match &self.work {
            Some(Partial { compiled, left, .. }) if left.is_empty() => {
                let load = || compilers.load(key, ProgramKind::Jit, compiled);
                let better = Arc::new(service.with_room_beside(&self.resident, load)?);
                let timings = compiled.timings;
                self.replace(service, better, &timings);
                Ok(true)
            }
            _ => Ok(false),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compiler_pool::CompilerPool, lookup::RuntimeCacheKey};
    use alloy_primitives::keccak256;
    use cranevm_codegen::CompilerOptions;
    use revm::primitives::hardfork::SpecId;

    #[test]
    fn what_frames_miss_is_compiled_first() {
        let options = CompilerOptions {
            one_block_per_chunk: true,
            compile_all: true,
            ..CompilerOptions::default()
        };
        let compilers = CompilerPool::new(options, 0, 1 << 20);
        // STOP, and at 1, 4 and 8 blocks that nothing merges: JUMPDEST, PUSH1 n, and an end.
        let code = [0x00, 0x5b, 0x5f, 0xff, 0x5b, 0x60, 1, 0xff, 0x5b, 0x60, 2, 0x56];
        let key = RuntimeCacheKey { code_hash: keccak256(code), spec_id: SpecId::OSAKA };
        let Started { program, analysed, .. } = compilers.start(key, &code).unwrap();
        let mut absent: Vec<Chunk> = analysed.iter().flat_map(later_chunks).collect();
        let [first, second, third] = absent[..] else { panic!("{absent:?}") };
        for pc in [4, 8, 8] {
            assert!(!program.is_enterable(pc));
        }
        let order = std::iter::from_fn(|| take_most_missed(&mut absent, &program));
        assert_eq!(order.collect::<Vec<_>>(), [third, second, first]);
    }
}
