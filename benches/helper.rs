//! Throughput of compilation in helper processes, beside that in process: every so many of the
//! contracts of `../shared/fixtures/contracts.jsonl.xz` (as the argument says; 5 if there is none),
//! by the same number of workers, from the first request to the last program. In the background
//! each contract is compiled twice, at the baseline and at the default level; `none` is the
//! baseline alone.
//!
//! The two take turns, and the median of the rounds counts. Goal: at least 0.8 of the throughput in
//! process. The last two lines tell what a request and its reply take: the time that a caller waits
//! for a contract with next to nothing to compile.

use cranevm::{
    OptimizationLevel, SpecId,
    primitives::keccak256,
    runtime::{
        JitBackend, JitMode, LookupRequest, RuntimeCacheKey, RuntimeConfig, RuntimeTuning,
        maybe_run_jit_helper,
    },
};
use cranevm_tests::fixtures;
use std::{
    error::Error,
    num::NonZero,
    time::{Duration, Instant},
};

/// Rounds of each mode.
const ROUNDS: usize = 3;

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(600);

/// Contracts of three bytes, for the cost of a round trip.
const TINY: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    if maybe_run_jit_helper()?.is_break() {
        return Ok(());
    }
    let step = std::env::args()
        .nth(1)
        .map_or(Ok(5), |step| step.parse::<NonZero<usize>>().map(NonZero::get))?;
    let Some(path) = fixtures::find("contracts", "contracts.jsonl.xz") else { return Ok(()) };
    let contracts = fixtures::contracts(&path)?;
    let chosen = contracts.iter().step_by(step);
    let requests: Vec<_> = chosen.map(|contract| request(contract.bytecode.to_vec())).collect();
    let bytes: usize = requests.iter().map(|request| request.code.len()).sum();
    println!("{} contracts, {bytes} bytes", requests.len());
    println!("workers  level    in process (s)  helpers (s)  throughput");
    for workers in [1, 2] {
        for level in [OptimizationLevel::None, OptimizationLevel::Default] {
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (times, mode) in
                    times.iter_mut().zip([JitMode::InProcess, JitMode::OutOfProcess])
                {
                    times.push(compile_all(&requests, mode, level, workers)?);
                }
            }
            let [local, helped] = times.map(median);
            let ratio = local.as_secs_f64() / helped.as_secs_f64();
            let (local, helped) = (local.as_secs_f64(), helped.as_secs_f64());
            let level = format!("{level:?}").to_lowercase();
            println!("{workers:>7}  {level:<7}  {local:>14.3}  {helped:>11.3}  {ratio:>10.2}");
        }
    }
    for mode in [JitMode::InProcess, JitMode::OutOfProcess] {
        println!("a contract of three bytes, {mode:?}: {:.1?}", round_trip(mode)?);
    }
    Ok(())
}

fn request(code: Vec<u8>) -> LookupRequest {
    let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::OSAKA };
    LookupRequest { key, code: code.into() }
}

/// The median time that a caller waits for a contract of next to nothing.
fn round_trip(jit_mode: JitMode) -> Result<Duration, Box<dyn Error>> {
    let backend = JitBackend::new(RuntimeConfig { jit_mode, ..RuntimeConfig::default() })?;
    let mut times = Vec::new();
    for n in 0..TINY {
        let request = request(vec![0x60, n as u8, (n >> 8) as u8]);
        let start = Instant::now();
        backend.compile_jit_sync(request)?;
        times.push(start.elapsed());
    }
    Ok(median(times))
}

/// The time to compile all in the background, with compilers and helpers that have begun to work.
fn compile_all(
    requests: &[LookupRequest],
    jit_mode: JitMode,
    jit_opt_level: OptimizationLevel,
    jit_worker_count: usize,
) -> Result<Duration, Box<dyn Error>> {
    let tuning = RuntimeTuning {
        channel_capacity: usize::MAX,
        jit_max_pending_jobs: usize::MAX,
        jit_max_bytecode_len: 0,
        jit_worker_count,
        jit_opt_level,
        resident_code_cache_bytes: 0,
        ..RuntimeTuning::default()
    };
    let config = RuntimeConfig { enabled: true, jit_mode, tuning, ..RuntimeConfig::default() };
    let backend = JitBackend::new(config)?;
    for byte in 0..8 {
        backend.compile_jit(request(vec![0x5b, byte]));
    }
    if !backend.wait_idle(LONG) {
        return Err("no worker began".into());
    }
    let before = backend.stats();
    let start = Instant::now();
    for request in requests {
        backend.compile_jit(request.clone());
    }
    let is_done = backend.wait_idle(LONG);
    let elapsed = start.elapsed();
    let stats = backend.stats();
    if !is_done || stats.compilations_failed > 0 || stats.compilations_succeeded == 0 {
        return Err(format!("not all was compiled: {stats:?}").into());
    }
    if stats.resident_entries - before.resident_entries < requests.len() as u64 / 2 {
        return Err(format!("too few programs: {stats:?}").into());
    }
    Ok(elapsed)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
