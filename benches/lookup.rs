//! What finding a program costs a frame, and what a backend costs that does nothing.
//!
//! - `jit_evm_hit`: the question that `JitEvm` asks before each frame, answered from its own cache.
//!   Goal: 10 ns, with one thread or two.
//! - `backend_hit`: `JitBackend::lookup` of a program that is there. Goal: 60 ns, likewise.
//! - `frames`: transactions of 1000 calls of a contract that stops at once, on a plain EVM and on
//!   one with a disabled backend. Goal: a difference of 2 us, that is 2 ns a frame.
//! - `control`: 10,000 calls each of pause, resume and clear on a backend that never started.
//!   Goal: 10 ms.

use alloy_primitives::{Address, Bytes, U256, keccak256};
use cranevm::{
    SpecId,
    revm_evm::JitEvm,
    runtime::{JitBackend, LookupDecision, LookupRequest, RuntimeCacheKey, RuntimeConfig},
};
use cranevm_benches::criterion;
use criterion::Criterion;
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
use std::{
    error::Error,
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

type BenchEvm = MainnetEvm<MainnetContext<CacheDB<EmptyDB>>>;

const SPEC: SpecId = SpecId::CANCUN;
/// Calls [`CALLEE`] a thousand times.
const CALLER: Address = Address::repeat_byte(0x11);
/// Stops.
const CALLEE: Address = Address::repeat_byte(0x22);

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = criterion();
    hits(&mut criterion)?;
    disabled_frames(&mut criterion);
    control_calls(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// Hits on one thread, and on two at the same time.
fn hits(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let backend = JitBackend::new(RuntimeConfig { enabled: true, ..RuntimeConfig::default() })?;
    let request = request(&calling());
    backend.compile_jit_sync(request.clone())?;
    let mut evm = JitEvm::new(evm(), backend.clone());
    begin_frame(&mut evm)?;
    if !evm.finds_program() || !is_hit(&backend.lookup(request.clone())) {
        return Err("the contract isn't compiled".into());
    }
    let mut group = criterion.benchmark_group("lookup");
    for threads in [1, 2] {
        group.bench_function(format!("jit_evm_hit/{threads}"), |bencher| {
            bencher.iter_custom(|rounds| {
                on_threads(threads, || {
                    let mut evm = JitEvm::new(self::evm(), backend.clone());
                    let begun = begin_frame(&mut evm).is_ok() && evm.finds_program();
                    assert!(begun, "the same has worked above");
                    timed(rounds, || black_box(black_box(&mut evm).finds_program()))
                })
            });
        });
        group.bench_function(format!("backend_hit/{threads}"), |bencher| {
            bencher.iter_custom(|rounds| {
                on_threads(threads, || {
                    timed(rounds, || is_hit(&black_box(&backend).lookup(request.clone())))
                })
            });
        });
    }
    group.finish();
    Ok(())
}

/// Frames of a plain EVM, and of one whose backend is disabled.
fn disabled_frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    group.sample_size(60);
    let mut plain = evm();
    group.bench_function("plain", |bencher| bencher.iter(|| plain.transact(call())));
    let mut disabled = JitEvm::disabled(evm());
    group.bench_function("disabled", |bencher| bencher.iter(|| disabled.transact(call())));
    group.finish();
}

fn control_calls(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let backend = JitBackend::new(RuntimeConfig::default())?;
    criterion.bench_function("control/10000", |bencher| {
        bencher.iter(|| {
            for _ in 0..10_000 {
                backend.pause();
                backend.clear_all();
                backend.resume();
            }
        });
    });
    Ok(())
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

/// Time that `rounds` of `work` take.
fn timed<T>(rounds: u64, mut work: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..rounds {
        black_box(work());
    }
    start.elapsed()
}

/// Runs `work` on so many threads at once; the mean of the times that it reports.
fn on_threads(threads: u32, work: impl Fn() -> Duration + Sync) -> Duration {
    let barrier = Barrier::new(threads as usize);
    let started = || {
        barrier.wait();
        work()
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(started)).collect();
        let times = handles.into_iter().map(|handle| handle.join().unwrap_or(Duration::MAX));
        times.fold(Duration::ZERO, Duration::saturating_add) / threads
    })
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
    let mut code = vec![PUSH2, 0x03, 0xe8, JUMPDEST]; // 1000, then the loop's header at 3
    code.extend([PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, PUSH20]);
    code.extend(CALLEE);
    code.extend([GAS, CALL, POP, PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 3, JUMPI, STOP]);
    code.into()
}
