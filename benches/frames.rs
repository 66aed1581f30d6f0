//! What a frame costs beside what it executes: nanoseconds for each turn of a loop that makes a
//! call, in the interpreter, in an EVM that looks for native code and finds none, and natively.
//!
//! | row | each call |
//! | --- | --- |
//! | stops | of a contract that stops at once |
//! | returns | of a contract that stores a word and returns it |
//! | out of gas | of the caller itself, with less gas than its first instruction takes |
//!
//! Rounds of all columns alternate, and medians count. *Watched* less *interpreter* is what finding
//! a program costs. What entering and leaving cost is in the native columns, less what native code
//! saves in the loop.

#![deny(unsafe_code)]

use clap::Parser;
use cranevm::{
    SpecId,
    revm_evm::JitEvm,
    runtime::{BackendOptions, JitBackend, RuntimeConfig, RuntimeTuning},
};
use cranevm_benches::callgrind::failed;
use cranevm_cli::{CommandError, engine::NativeSettings, measure::median};
use cranevm_tests::assembly::Assembly;
use revm::{
    Context, ExecuteEvm, MainBuilder, MainContext,
    bytecode::{Bytecode, opcode::*},
    context::{CfgEnv, TxEnv, result::ExecutionResult},
    database::{CacheDB, EmptyDB},
    primitives::{Address, TxKind},
    state::AccountInfo,
};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Measure what a call costs in the interpreter and natively
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds; the medians count
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Calls in a round
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..))]
    calls: u32,
}

const CALLER: Address = Address::repeat_byte(0x11);
const CALLEE: Address = Address::repeat_byte(0x22);
const SPEC: SpecId = SpecId::CANCUN;

/// What is measured: the interpreter has no backend.
struct Column {
    name: &'static str,
    backend: Option<JitBackend>,
    times: Vec<Duration>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let mut columns = columns()?;
    let print = |name, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>13}")).collect();
        println!("{name:<12}{cells}");
    };
    print("ns a call", columns.iter().map(|column| column.name.to_owned()).collect());
    let returning = Assembly::new().push(7).push(0).op(MSTORE).push(32).push(0).op(RETURN).code();
    let cases = [
        ("stops", calling(arguments.calls, CALLEE, 1_000_000), vec![STOP]),
        ("returns", calling(arguments.calls, CALLEE, 1_000_000), returning),
        ("out of gas", calling(arguments.calls, CALLER, 2), vec![]),
    ];
    for (name, caller, callee) in cases {
        // The first round warms up.
        for round in 0..=arguments.rounds {
            for column in &mut columns {
                let time = column.run(&caller, &callee)?;
                if round == 0 {
                    column.times.clear();
                } else {
                    column.times.push(time);
                }
            }
        }
        let a_call = |column: &Column| {
            let nanoseconds = median(&column.times).as_nanos() as f64;
            format!("{:.0}", nanoseconds / f64::from(arguments.calls))
        };
        print(name, columns.iter().map(a_call).collect());
    }
    Ok(())
}

fn columns() -> Result<[Column; 4], CommandError> {
    let never = RuntimeTuning { jit_hot_threshold: usize::MAX, ..Default::default() };
    let watching = RuntimeConfig { enabled: true, tuning: never, ..Default::default() };
    let without = BackendOptions::default().first_tier(false);
    let watched = JitBackend::with_options(watching, without).map_err(failed)?;
    // Long frames would make a contract hot.
    watched.pause();
    let native = |settings: NativeSettings| settings.backend(false).map(Some).map_err(failed);
    let column = |name, backend| Column { name, backend, times: Vec::new() };
    Ok([
        column("interpreter", None),
        column("watched", Some(watched)),
        column("stencils", native(NativeSettings::BASELINE)?),
        column("optimised", native(NativeSettings::OPTIMISED)?),
    ])
}

impl Column {
    /// The time of one transaction.
    fn run(&self, caller: &[u8], callee: &[u8]) -> Result<Duration, CommandError> {
        let mut db = CacheDB::new(EmptyDB::default());
        for (address, code) in [(CALLER, caller), (CALLEE, callee)] {
            let code = Bytecode::new_legacy(code.to_vec().into());
            db.insert_account_info(address, AccountInfo::default().with_code(code));
        }
        let cfg = CfgEnv::new_with_spec(SPEC);
        let evm = Context::mainnet().with_db(db).with_cfg(cfg).build_mainnet();
        let gas_limit = u64::MAX >> 2;
        let tx = TxEnv { kind: TxKind::Call(CALLER), gas_limit, ..Default::default() };
        let (result, time) = match &self.backend {
            None => timed(evm, tx),
            Some(backend) => timed(JitEvm::new(evm, backend.clone()), tx),
        };
        match result {
            Some(result) if result.is_success() => Ok(time),
            other => Err(failed(format_args!("{}: {other:?}", self.name))),
        }
    }
}

fn timed(
    mut evm: impl ExecuteEvm<Tx = TxEnv, ExecutionResult = ExecutionResult>,
    tx: TxEnv,
) -> (Option<ExecutionResult>, Duration) {
    let start = Instant::now();
    let result = evm.transact_one(tx);
    (result.ok(), start.elapsed())
}

/// Calls a contract again and again, with so much gas.
fn calling(calls: u32, callee: Address, gas: u64) -> Vec<u8> {
    let mut code = Assembly::new();
    let head = code.new_label();
    code.push(calls)
        .label(head)
        .ops(&[PUSH0; 5])
        .push(callee.into_word())
        .push(gas)
        .ops(&[CALL, POP])
        .push(1)
        .ops(&[SWAP1, SUB, DUP1])
        .push_label(head)
        .ops(&[JUMPI, STOP])
        .code()
}
