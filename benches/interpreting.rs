//! What interpreting through `JitEvm` costs over revm's own loop: a backend that is enabled and
//! paused has no program for anything, so every frame is counted, looked up and interpreted.
//!
//! Both EVMs run in one process, by turns, and the least time of each counts: what is measured is
//! the code, not the machine's other load. Beside the shipped contracts, this measures the
//! fixtures named as arguments, and those in `../shared/fixtures/bench` that are there. Goal: at
//! most 1.03; a frame by itself costs some 20 ns more, so contracts that do little else than call
//! cost more.

use cranevm::{
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig},
};
use cranevm_benches::shipped_and;
use cranevm_cli::contract::Contract;
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};
use std::{
    env,
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

/// Runs of each contract on each engine.
const ROUNDS: usize = 40;

/// Contracts that are measured if they are there; relative to the workspace.
const OPTIONAL: [&str; 2] = ["snailtracer", "erc20_transfer"];

fn main() -> Result<(), Box<dyn Error>> {
    let named: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let contracts = if named.is_empty() { shipped_and(&OPTIONAL) } else { named };
    println!("{:<20} {:>12} {:>12} {:>7}", "contract", "revm (ms)", "JitEvm (ms)", "ratio");
    for contract in contracts {
        let (revm, jit) = measure(&contract)?;
        let name = Path::new(&contract).file_stem().unwrap_or_default().to_string_lossy();
        let ratio = jit.as_secs_f64() / revm.as_secs_f64();
        let [revm, jit] = [revm, jit].map(|time| time.as_secs_f64() * 1e3);
        println!("{name:<20} {revm:>12.3} {jit:>12.3} {ratio:>7.3}");
    }
    Ok(())
}

/// The least time of a transaction on revm, and through a `JitEvm` that has no program for it.
fn measure(contract: &str) -> Result<(Duration, Duration), Box<dyn Error>> {
    let fixture = Contract::resolve(contract)?.into_fixture();
    let environment = fixture.environment(fixture.default_spec());
    let evm = || {
        Context::mainnet()
            .with_block(environment.block.clone())
            .with_cfg(environment.cfg.clone())
            .with_db(fixture.database())
            .build_mainnet()
    };
    let backend = JitBackend::new(RuntimeConfig { enabled: true, ..Default::default() })?;
    backend.pause();
    let (mut revm, mut jit) = (evm(), JitEvm::new(evm(), backend.clone()));
    let mut least = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        revm.transact(environment.tx.clone())?;
        least.0 = least.0.min(start.elapsed());
        let start = Instant::now();
        jit.transact(environment.tx.clone())?;
        least.1 = least.1.min(start.elapsed());
    }
    match backend.stats().compilations_succeeded {
        0 => Ok(least),
        compiled => Err(format!("{compiled} contracts were compiled while paused").into()),
    }
}
