//! Starting with artifacts, beside compiling the same contracts: how long it takes until 1,000
//! deployed contracts run natively.
//!
//! Both ways use all processors, in turn, in the same run. `compile` is what a node without a store
//! has to do: each contract to memory at the default level, what is unlikely to run left out.
//! `load` is [`JitBackend::new`] with a store of their artifacts, whole contracts. `make` is what
//! that store costs once. Goal: `load` at least 20 times as fast as `compile`.
//!
//! The contracts aren't part of the project: see [`cranevm_tests::fixtures`].

use cranevm::{
    SpecId,
    primitives::{Bytes, keccak256},
    runtime::{
        AotRequest, ArtifactStore, DirArtifactStore, JitBackend, LookupRequest, RuntimeCacheKey,
        RuntimeConfig, RuntimeTuning,
    },
};
use cranevm_cli::measure::{median, time};
use cranevm_tests::fixtures;
use std::{
    collections::HashSet,
    error::Error,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Contracts.
const CONTRACTS: usize = 1000;
/// Times that each way is gone.
const ROUNDS: usize = 3;
/// How often loading is to be as fast as compiling, at least.
const GOAL: f64 = 20.0;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(path) = fixtures::find("artifacts", "contracts.jsonl.xz") else { return Ok(()) };
    let requests = requests(fixtures::contracts(&path)?.into_iter().map(|c| c.bytecode));
    let bytes: usize = requests.iter().map(|request| request.code.len()).sum();
    println!("{} contracts, {bytes} bytes of bytecode, {} threads", requests.len(), threads());

    let directory = tempfile::tempdir()?;
    let store = Arc::new(DirArtifactStore::open(directory.path())?);
    let start = Instant::now();
    make(&store, &requests)?;
    println!("make       {:>12}", time(start.elapsed()));
    let artifacts = store.load_all()?;
    let artifact_bytes: usize = artifacts.iter().map(|(_, a)| a.manifest.artifact_len).sum();
    println!("artifacts  {:>10} B", artifact_bytes);

    let (mut compiled, mut loaded) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        compiled.push(measure(|| compile(&requests), requests.len())?);
        loaded.push(measure(|| load(&store), requests.len())?);
    }
    let (compiled, loaded) = (median(&compiled), median(&loaded));
    println!("compile    {:>12}", time(compiled));
    println!("load       {:>12}", time(loaded));
    let ratio = compiled.as_secs_f64() / loaded.as_secs_f64();
    println!("ratio      {ratio:>12.1}   (goal: {GOAL})");
    Ok(())
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The first contracts, each once.
fn requests(codes: impl Iterator<Item = Bytes>) -> Vec<LookupRequest> {
    let mut seen = HashSet::new();
    let request = |code: Bytes| {
        let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::OSAKA };
        LookupRequest { key, code }
    };
    let requests = codes.filter(|code| !code.is_empty()).map(request);
    requests.filter(|request| seen.insert(request.key.code_hash)).take(CONTRACTS).collect()
}

fn config() -> RuntimeConfig {
    let tuning = RuntimeTuning { jit_max_bytecode_len: 0, ..RuntimeTuning::default() };
    RuntimeConfig { enabled: true, tuning, ..RuntimeConfig::default() }
}

/// The time until all contracts are resident.
fn measure(
    start: impl FnOnce() -> cranevm::Result<JitBackend>,
    contracts: usize,
) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    let backend = start()?;
    let elapsed = begun.elapsed();
    let resident = backend.stats().resident_entries as usize;
    if resident != contracts {
        return Err(format!("{resident} of {contracts} contracts are there").into());
    }
    Ok(elapsed)
}

fn compile(requests: &[LookupRequest]) -> cranevm::Result<JitBackend> {
    let backend = JitBackend::new(config())?;
    on_all_processors(requests, |request| backend.compile_jit_sync(request.clone()))?;
    Ok(backend)
}

fn load(store: &Arc<DirArtifactStore>) -> cranevm::Result<JitBackend> {
    let store: Arc<dyn ArtifactStore> = Arc::clone(store) as _;
    JitBackend::new(RuntimeConfig { store: Some(store), ..config() })
}

fn make(store: &Arc<DirArtifactStore>, requests: &[LookupRequest]) -> cranevm::Result<()> {
    let backend = load(store)?;
    on_all_processors(requests, |LookupRequest { key, code }| {
        let RuntimeCacheKey { code_hash, spec_id } = *key;
        backend.prepare_aot_sync(AotRequest { code_hash, code: code.clone(), spec_id })
    })
}

fn on_all_processors(
    requests: &[LookupRequest],
    work: impl Fn(&LookupRequest) -> cranevm::Result<()> + Sync,
) -> cranevm::Result<()> {
    let next = AtomicUsize::new(0);
    let part = || {
        while let Some(request) = requests.get(next.fetch_add(1, Relaxed)) {
            work(request)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (1..threads()).map(|_| scope.spawn(part)).collect();
        part()?;
        parts.into_iter().try_for_each(|part| match part.join() {
            Ok(result) => result,
            Err(_) => Err(cranevm::eyre::eyre!("a thread panicked")),
        })
    })
}
