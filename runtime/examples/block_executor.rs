//! A small Ethereum node over alloy-evm: executes blocks of mixed transactions on an in-memory
//! state, on several threads, with revm's interpreter and with compiled code, and compares.
//!
//! ```text
//! cargo run --release -p cranevm --example block_executor --features alloy-evm -- --help
//! ```
//!
//! `--engine` picks what runs; without the cargo feature `cranelift` there is only the interpreter.
//! Each kind of block is executed from genesis `--rounds` times by each engine in turn, and the
//! quickest round counts: *cold* with a backend that knows no contract, *warm* with the same one
//! after its compilations are done. The program fails if state roots or gas differ.

#[path = "block_executor/blocks.rs"]
mod blocks;
#[path = "block_executor/contracts.rs"]
mod contracts;
#[path = "block_executor/node.rs"]
mod node;
#[path = "block_executor/report.rs"]
mod report;

use alloy_evm::EvmFactory;
use blocks::{Block, Kind, Size};
use clap::{Parser, ValueEnum};
use cranevm::{
    SpecId,
    alloy_evm::JitEvmFactory,
    primitives::B256,
    runtime::{JitBackend, RuntimeConfig},
};
use node::{Executed, Node};
use report::{Line, Phase};
use revm::context::{BlockEnv, TxEnv, result::HaltReason};
use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// Executes blocks with and without compiled code.
#[derive(Parser)]
struct Arguments {
    /// What executes the contracts.
    #[arg(long, default_value_t = Engine::DEFAULT, value_enum)]
    engine: Engine,
    /// Kinds of blocks [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    kind: Vec<Kind>,
    /// Threads that execute transactions.
    #[arg(long, default_value_t = default_threads())]
    threads: usize,
    /// Sets of accounts whose transactions touch no others.
    #[arg(long, default_value_t = 4)]
    lanes: usize,
    /// Blocks from genesis.
    #[arg(long, default_value_t = 10)]
    blocks: usize,
    /// Transactions of a lane in each block.
    #[arg(long, default_value_t = 16)]
    transactions: usize,
    /// How often everything is executed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What executes the contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// revm's interpreter.
    Interpreter,
    /// Compiled code, where it is there.
    Jit,
    /// Both, compared.
    Both,
}

impl Engine {
    const DEFAULT: Self = if cfg!(feature = "cranelift") { Self::Both } else { Self::Interpreter };
}

fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn main() -> eyre::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.engine != Engine::Interpreter && !cfg!(feature = "cranelift") {
        eyre::bail!("built without the compiler: use --engine interpreter, or enable `cranelift`");
    }
    let kinds = if arguments.kind.is_empty() { &Kind::ALL[..] } else { &arguments.kind };
    let mut lines = Vec::new();
    let mut agree = true;
    for &kind in kinds {
        agree &= measure(kind, &arguments, &mut lines)?;
    }
    if arguments.json {
        report::print_json(&lines, agree)?
    } else {
        report::print_table(&lines)
    }
    if !agree {
        eprintln!("error: the engines don't agree");
    }
    Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Executes the blocks of a kind with each engine, and adds the quickest rounds to `lines`. `false`
/// if they don't agree.
fn measure(kind: Kind, arguments: &Arguments, lines: &mut Vec<Line>) -> eyre::Result<bool> {
    let Arguments { engine, lanes, blocks, transactions, threads, rounds, .. } = *arguments;
    let size = Size { lanes, blocks, transactions };
    let blocks = blocks::blocks(kind, size);
    let threads = threads.max(1);
    let mut outcomes = Vec::new();
    let mut best: [Option<Line>; 3] = [const { None }; 3];
    let mut note = |phase: Phase, executed: Executed, root: B256, backend: &JitBackend| {
        outcomes.push((executed.gas, root));
        let line = Line { kind, phase, executed, stats: backend.stats() };
        let best = &mut best[phase as usize];
        if best.as_ref().is_none_or(|best| executed.time < best.executed.time) {
            *best = Some(line);
        }
    };
    for _ in 0..rounds.max(1) {
        if engine != Engine::Jit {
            let backend = JitBackend::disabled();
            let (executed, root) = run(&backend, size, &blocks, threads)?;
            note(Phase::Interpreter, executed, root, &backend);
        }
        if engine != Engine::Interpreter {
            let backend = JitBackend::new(RuntimeConfig { enabled: true, ..Default::default() })?;
            let (executed, root) = run(&backend, size, &blocks, threads)?;
            note(Phase::Cold, executed, root, &backend);
            await_compilations(&backend);
            let (executed, root) = run(&backend, size, &blocks, threads)?;
            note(Phase::Warm, executed, root, &backend);
        }
    }
    lines.extend(best.into_iter().flatten());
    Ok(outcomes.windows(2).all(|pair| pair[0] == pair[1]))
}

/// Executes blocks from genesis on.
fn run(
    backend: &JitBackend,
    size: Size,
    blocks: &[Block],
    threads: usize,
) -> eyre::Result<(Executed, B256)> {
    run_with(JitEvmFactory::new(backend.clone()), size, blocks, threads)
}

/// Executes blocks from genesis on, with any factory that a node may be built with.
fn run_with<F>(
    factory: F,
    size: Size,
    blocks: &[Block],
    threads: usize,
) -> eyre::Result<(Executed, B256)>
where
    F: EvmFactory<Spec = SpecId, BlockEnv = BlockEnv, Tx = TxEnv, HaltReason = HaltReason> + Sync,
{
    let node = Node::new(factory, size);
    let mut sum = Executed::default();
    for (number, block) in (1..).zip(blocks) {
        sum.add(node.execute(number, block, threads)?);
    }
    if sum.failed > 0 {
        eyre::bail!("{} of {} transactions failed", sum.failed, sum.transactions);
    }
    Ok((sum, node.state_root()))
}

/// Waits until the backend has nothing to compile, half a minute at most.
fn await_compilations(backend: &JitBackend) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while backend.stats().pending_jobs > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}
