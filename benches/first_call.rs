//! The first call ever of a contract, in a fresh process, with the backend's defaults but
//! `enabled`: the interpreter begins, a worker compiles, and the running frame goes on natively.
//!
//! Each round starts one process an engine, in turn. The time is that of the transaction alone,
//! including all compilation that it waits for or competes with; `busy` is what of it the calling
//! thread spent on a processor, which other load of the machine affects less. Beside the shipped
//! contracts, this measures the fixtures named as arguments, and those in
//! `../shared/fixtures/bench` that are there. Goals, on two cores: snailtracer at most 0.75 of the
//! interpreter's time, onchain-lm at most 0.3.

use cranevm::{
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig},
};
use cranevm_benches::shipped_and;
use cranevm_cli::{Fixture, contract::Contract};
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};
use std::{
    env,
    error::Error,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Names a contract to the process that is to run it. Its value is the engine's name.
const CHILD: &str = "CRANEVM_FIRST_CALL";

/// Processes for each engine and contract.
const ROUNDS: usize = 9;

/// Contracts that are measured if they are there; relative to the workspace.
const OPTIONAL: [&str; 2] = ["snailtracer", "onchain-lm-v2"];

fn main() -> Result<(), Box<dyn Error>> {
    let named: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let Ok(engine) = env::var(CHILD) {
        let contract = named.first().ok_or("no contract named")?;
        let Times { elapsed, busy } = first_call(&engine, contract)?;
        println!("{} {}", elapsed.as_nanos(), busy.as_nanos());
        return Ok(());
    }
    let contracts = if named.is_empty() { shipped_and(&OPTIONAL) } else { named };
    println!(
        "{:<20} {:>16} {:>12} {:>7} {:>16} {:>12} {:>7}",
        "contract",
        "interpreter (ms)",
        "native (ms)",
        "ratio",
        "busy interp (ms)",
        "native (ms)",
        "ratio"
    );
    for contract in contracts {
        let (mut interpreted, mut native) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            interpreted.push(in_fresh_process("interpreter", &contract)?);
            native.push(in_fresh_process("native", &contract)?);
        }
        let name = Path::new(&contract).file_stem().unwrap_or_default().to_string_lossy();
        print!("{name:<20}");
        for time in [|times: &Times| times.elapsed, |times: &Times| times.busy] {
            let (interpreted, native) = (median(&interpreted, time), median(&native, time));
            let ratio = native / interpreted;
            print!(" {:>16.3} {:>12.3} {ratio:>7.3}", interpreted * 1e3, native * 1e3);
        }
        println!();
    }
    Ok(())
}

/// How long a transaction took.
#[derive(Clone, Copy, Debug)]
struct Times {
    elapsed: Duration,
    /// Of its thread, on a processor.
    busy: Duration,
}

fn in_fresh_process(engine: &str, contract: &str) -> Result<Times, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?).arg(contract).env(CHILD, engine).output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{contract}, {engine}: {message}").into());
    }
    let output = String::from_utf8(output.stdout)?;
    let (elapsed, busy) = output.trim().split_once(' ').ok_or("no times")?;
    let nanoseconds = |text: &str| text.parse().map(Duration::from_nanos);
    Ok(Times { elapsed: nanoseconds(elapsed)?, busy: nanoseconds(busy)? })
}

/// Runs a contract's transaction for the first time.
fn first_call(engine: &str, contract: &str) -> Result<Times, Box<dyn Error>> {
    let fixture: Fixture = Contract::resolve(contract)?.into_fixture();
    let environment = fixture.environment(fixture.default_spec());
    let evm = Context::mainnet()
        .with_block(environment.block)
        .with_cfg(environment.cfg)
        .with_db(fixture.database())
        .build_mainnet();
    let tx = environment.tx;
    let (times, result) = if engine == "interpreter" {
        let mut evm = evm;
        timed(|| evm.transact(tx))
    } else {
        let backend = JitBackend::new(RuntimeConfig { enabled: true, ..Default::default() })?;
        let mut evm = JitEvm::new(evm, backend);
        timed(|| evm.transact(tx))
    };
    let result = result?.result;
    if !result.is_success() {
        return Err(format!("the transaction fails: {result:?}").into());
    }
    Ok(times)
}

fn timed<T>(work: impl FnOnce() -> T) -> (Times, T) {
    let (start, busy) = (Instant::now(), time_on_processor());
    let result = work();
    (Times { elapsed: start.elapsed(), busy: time_on_processor().saturating_sub(busy) }, result)
}

/// Time that this thread has spent on a processor; zero where the system doesn't tell.
fn time_on_processor() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// In seconds.
fn median(times: &[Times], time: impl Fn(&Times) -> Duration) -> f64 {
    let mut times: Vec<Duration> = times.iter().map(time).collect();
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}
