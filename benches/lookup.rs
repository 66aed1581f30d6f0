//! What finding a program costs a frame, and what a backend costs that does nothing.
//!
//! - a hit of `JitEvm`: the question that it asks before each frame, answered from its own cache;
//! - a hit of the backend: `JitBackend::lookup` of a program that is there; also with a copy of the
//!   code, which is compared: what the first meeting of a contract costs an EVM;
//! - a disabled backend: what a call of a contract that stops at once takes more than on a plain
//!   EVM;
//! - control calls: 10,000 times pause, clear and resume, on a backend that never started.
//!
//! Times of nanoseconds are lost in the noise of a busy machine. So there are many short
//! measurements, of which the least counts.

use alloy_primitives::{Address, Bytes, U256, keccak256};
use cranevm::{
    SpecId,
    revm_evm::JitEvm,
    runtime::{JitBackend, LookupDecision, LookupRequest, RuntimeCacheKey, RuntimeConfig},
};
use revm::{
    Context, ExecuteEvm, MainBuilder, MainContext, MainnetEvm,
    bytecode::{Bytecode, opcode::*},
    context::TxEnv,
    database::{CacheDB, EmptyDB},
    handler::{EvmTr, MainnetContext},
    interpreter::{
        CallInput, CallInputs, CallScheme, CallValue, FrameInput, SharedMemory,
        interpreter_action::FrameInit,
    },
    primitives::TxKind,
    state::AccountInfo,
};
use std::{error::Error, hint::black_box, sync::Barrier, thread, time::Instant};

type BenchEvm = MainnetEvm<MainnetContext<CacheDB<EmptyDB>>>;

const SPEC: SpecId = SpecId::CANCUN;
/// Calls [`CALLEE`] [`CALLS`] times.
const CALLER: Address = Address::repeat_byte(0x11);
/// Calls in a transaction.
const CALLS: u16 = 1000;
/// Stops.
const CALLEE: Address = Address::repeat_byte(0x22);

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:<26} {:>8} {:>8} {:>8}", "", "least", "median", "goal");
    hits()?;
    disabled_frames();
    control_calls()
}

/// Hits on one thread, and on two at the same time.
fn hits() -> Result<(), Box<dyn Error>> {
    let backend = JitBackend::new(RuntimeConfig { enabled: true, ..RuntimeConfig::default() })?;
    let request = request(&calling());
    backend.compile_jit_sync(request.clone())?;
    if !is_hit(&backend.lookup(request.clone())) {
        return Err("the contract isn't compiled".into());
    }
    let is_found = |evm: &mut JitEvm<BenchEvm>| evm.finds_program();
    for threads in [1, 2] {
        let samples = on_threads(threads, || {
            let mut evm = JitEvm::new(self::evm(), backend.clone());
            let begun = begin_frame(&mut evm).is_ok() && evm.finds_program();
            // Tells of a failure by times that can't be overlooked.
            if begun { sample(|| is_found(black_box(&mut evm))) } else { vec![f64::NAN] }
        });
        print(&format!("JitEvm hit, {threads} threads"), samples, "ns", Some(10.0));
    }
    for threads in [1, 2] {
        let samples =
            on_threads(threads, || sample(|| is_hit(&black_box(&backend).lookup(request.clone()))));
        print(&format!("backend hit, {threads} threads"), samples, "ns", Some(60.0));
    }
    first_meetings(&backend)
}

/// Hits with a copy of the code that was compiled, of a contract of 10 KB; and what hashing it
/// would cost.
fn first_meetings(backend: &JitBackend) -> Result<(), Box<dyn Error>> {
    let code = Bytes::from([&calling()[..], &[STOP; 10_000]].concat());
    backend.compile_jit_sync(request(&code))?;
    let copy = request(&Bytes::copy_from_slice(&code));
    if !is_hit(&backend.lookup(copy.clone())) {
        return Err("the copy isn't found".into());
    }
    let samples = sample(|| is_hit(&black_box(backend).lookup(copy.clone())));
    print("backend hit, 10 KB copy", samples, "ns", Some(1000.0));
    print("hash of 10 KB", sample(|| keccak256(black_box(&code))), "ns", None);
    Ok(())
}

/// What a frame costs more on an EVM whose backend is disabled than on a plain one.
fn disabled_frames() {
    let (mut plain_times, mut disabled_times) = (Vec::new(), Vec::new());
    // Several EVMs, for where one lies in memory matters more than what is measured; and in turn,
    // so that both kinds meet the same machine.
    for _ in 0..40 {
        let (mut plain, mut disabled) = (evm(), JitEvm::disabled(evm()));
        for _ in 0..40 {
            plain_times.push(timed(|| plain.transact(call())) / f64::from(CALLS));
            disabled_times.push(timed(|| disabled.transact(call())) / f64::from(CALLS));
        }
    }
    let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let difference = least(&disabled_times) - least(&plain_times);
    print("frame, plain", plain_times, "ns", None);
    print("frame, disabled", disabled_times, "ns", None);
    print("a disabled backend", vec![difference], "ns", Some(2.0));
}

fn control_calls() -> Result<(), Box<dyn Error>> {
    let backend = JitBackend::new(RuntimeConfig::default())?;
    let call_all = || {
        for _ in 0..10_000 {
            backend.pause();
            backend.clear_all();
            backend.resume();
        }
    };
    let samples = (0..20).map(|_| timed(call_all) / 1e6).collect();
    print("10,000 control calls", samples, "ms", Some(10.0));
    Ok(())
}

/// Prints the least and the median of some times, beside the goal.
fn print(name: &str, mut times: Vec<f64>, unit: &str, goal: Option<f64>) {
    times.sort_unstable_by(f64::total_cmp);
    let (least, median) = (times[0], times[times.len() / 2]);
    let goal = goal.map_or(String::new(), |goal| format!("{goal:.0}"));
    println!("{name:<26} {least:>8.2} {median:>8.2} {goal:>8} {unit}");
}

/// Nanoseconds that `work` takes, by many short measurements: the least of them met no other load
/// of the machine.
fn sample<T>(mut work: impl FnMut() -> T) -> Vec<f64> {
    const REPETITIONS: u32 = 500;
    let measure = |_| {
        let repeat = || (0..REPETITIONS).for_each(|_| _ = black_box(work()));
        timed(repeat) / f64::from(REPETITIONS)
    };
    (0..5000).map(measure).collect()
}

/// Nanoseconds that `work` takes once.
fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_nanos() as f64
}

/// Takes samples on so many threads at once.
fn on_threads(threads: usize, work: impl Fn() -> Vec<f64> + Sync) -> Vec<f64> {
    let barrier = Barrier::new(threads);
    let started = || {
        barrier.wait();
        work()
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(started)).collect();
        // A thread that panicked has told why.
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
    })
}

/// Pushes a frame of [`CALLER`]'s code.
fn begin_frame(evm: &mut JitEvm<BenchEvm>) -> Result<(), Box<dyn Error>> {
    let code = Bytecode::new_legacy(calling());
    let inputs = CallInputs {
        input: CallInput::Bytes(Bytes::new()),
        return_memory_offset: 0..0,
        gas_limit: 1_000_000,
        reservoir: 0,
        bytecode_address: CALLER,
        known_bytecode: (keccak256(calling()), code),
        target_address: CALLER,
        caller: Address::ZERO,
        value: CallValue::Apparent(U256::ZERO),
        scheme: CallScheme::Call,
        is_static: false,
        charged_new_account_state_gas: false,
    };
    let frame_input = FrameInput::Call(Box::new(inputs));
    evm.frame_init(FrameInit { depth: 0, memory: SharedMemory::new(), frame_input })
        .map_err(|error| format!("{error:?}"))?;
    Ok(())
}

fn is_hit(decision: &LookupDecision) -> bool {
    matches!(decision, LookupDecision::Compiled(_))
}

fn request(code: &Bytes) -> LookupRequest {
    let key = RuntimeCacheKey { code_hash: keccak256(code), spec_id: SPEC };
    LookupRequest { key, code: code.clone() }
}

fn call() -> TxEnv {
    TxEnv { kind: TxKind::Call(CALLER), gas_limit: 10_000_000, ..TxEnv::default() }
}

fn evm() -> BenchEvm {
    let mut database = CacheDB::new(EmptyDB::new());
    for (address, code) in [(CALLER, calling()), (CALLEE, Bytes::from_static(&[STOP]))] {
        let account = AccountInfo::default().with_code(Bytecode::new_legacy(code));
        database.insert_account_info(address, account);
    }
    Context::mainnet()
        .modify_cfg_chained(|cfg| {
            cfg.set_spec_and_mainnet_gas_params(SPEC);
            cfg.disable_nonce_check = true;
        })
        .with_db(database)
        .build_mainnet()
}

fn calling() -> Bytes {
    let [high, low] = CALLS.to_be_bytes();
    let mut code = vec![PUSH2, high, low, JUMPDEST]; // the loop's header at 3
    code.extend([PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, PUSH20]);
    code.extend(CALLEE);
    code.extend([GAS, CALL, POP, PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 3, JUMPI, STOP]);
    code.into()
}
