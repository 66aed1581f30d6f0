//! What a backend tells of the frames that its EVMs ran: each counts once, and each gas as well.

mod common;

use common::{
    CALLEE, LONG, SPEC, StepCounter, TARGET, call, calling, context, database, evm,
    failing::Failing, request, summing,
};
use cranevm::{
    OptimizationLevel,
    context_interface::cfg::GasId,
    primitives::{TxKind, U256},
    revm_evm::JitEvm,
    runtime::{
        FrameStats, HandOverStats, InterpretedStats, JitBackend, RunStats, RuntimeConfig,
        RuntimeTuning,
    },
};
use revm::{
    ExecuteEvm, InspectEvm, MainBuilder, bytecode::opcode::*, context::TxEnv, state::AccountInfo,
};
use std::{sync::Barrier, thread};

/// Stores a word, and stops: 11 gas.
const SHORT: &[u8] = &[PUSH1, 1, PUSH0, MSTORE, STOP];
const SHORT_GAS: u64 = 11;
/// Gas of a plain transaction before its first frame.
const INTRINSIC: u64 = 21_000;

/// A backend that compiles what it is told to, at a level.
fn obedient(jit_opt_level: OptimizationLevel) -> JitBackend {
    let tuning = RuntimeTuning { jit_worker_count: 0, jit_opt_level, ..Default::default() };
    common::backend(tuning)
}

fn compiled(code: &[u8]) -> JitBackend {
    let backend = obedient(OptimizationLevel::Default);
    backend.compile_jit_sync(request(code)).unwrap();
    backend
}

fn blocking() -> JitBackend {
    JitBackend::new(RuntimeConfig { blocking: true, ..Default::default() }).unwrap()
}

/// What came of a transaction to `code`: the backend's counts, and the gas spent by its frames, as
/// the result has it.
fn run(backend: &JitBackend, code: &[u8], tx: TxEnv) -> (FrameStats, u64) {
    run_all(backend, &[(TARGET, code)], tx)
}

fn run_all(
    backend: &JitBackend,
    contracts: &[(cranevm::primitives::Address, &[u8])],
    tx: TxEnv,
) -> (FrameStats, u64) {
    let mut jit = JitEvm::new(evm(database(contracts), SPEC), backend.clone());
    let spent = jit.transact(tx).unwrap().result.gas().total_gas_spent();
    (backend.stats().frames, spent - INTRINSIC)
}

fn once(gas: u64) -> RunStats {
    RunStats { frames: 1, gas }
}

/// Statistics of nothing but this.
fn only_interpreted(interpreted: InterpretedStats) -> FrameStats {
    FrameStats { interpreted, ..FrameStats::default() }
}

#[test]
fn r12_each_frame_counts_wherever_its_evm_is_by_now() {
    const THREADS: usize = 4;
    const EVMS: usize = 50;
    const CALLS: usize = 500;
    let backend = compiled(SHORT);
    let barrier = Barrier::new(THREADS + 1);
    let run_some = || {
        let mut idle = Vec::new();
        for n in 0..EVMS {
            let mut jit = JitEvm::new(evm(database(&[(TARGET, SHORT)]), SPEC), backend.clone());
            for _ in 0..CALLS {
                assert!(jit.transact(call()).unwrap().result.is_success());
            }
            if n % 2 == 0 {
                idle.push(jit);
            }
        }
        barrier.wait();
        // What is counted is looked at.
        barrier.wait();
        drop(idle);
    };
    let expected = RunStats { frames: 100_000, gas: 100_000 * SHORT_GAS };
    assert_eq!((THREADS * EVMS * CALLS) as u64, expected.frames);
    let check = || {
        let stats = backend.stats();
        let frames = FrameStats { optimised: expected, lookups: 100_000, ..Default::default() };
        assert_eq!(stats.frames, frames);
        assert_eq!((stats.lookup_hits, stats.lookup_misses), (100_000, 0));
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|_| drop(scope.spawn(run_some)));
        barrier.wait();
        check();
        barrier.wait();
    });
    check();
}

/// A reader meets what was counted so far, and never less than before.
#[test]
fn counts_are_read_while_frames_run() {
    let backend = compiled(SHORT);
    thread::scope(|scope| {
        let runner = scope.spawn(|| {
            for _ in 0..2000 {
                run(&backend, SHORT, call());
            }
        });
        let mut last = backend.stats().frames;
        while !runner.is_finished() {
            let now = backend.stats().frames;
            assert!(now.optimised.frames >= last.optimised.frames);
            assert!(now.optimised.gas >= last.optimised.gas);
            last = now;
        }
    });
    assert_eq!(backend.stats().frames.optimised.frames, 2000);
}

#[test]
fn levels_are_told_apart() {
    for (level, optimises) in [
        (OptimizationLevel::None, false),
        (OptimizationLevel::Less, false),
        (OptimizationLevel::Default, true),
        (OptimizationLevel::Aggressive, true),
    ] {
        let backend = obedient(level);
        backend.compile_jit_sync(request(SHORT)).unwrap();
        let (frames, _) = run(&backend, SHORT, call());
        let native = [frames.baseline, frames.optimised];
        assert_eq!(native[usize::from(optimises)], once(SHORT_GAS), "{level:?}");
        assert_eq!(frames.native(), once(SHORT_GAS));
    }
}

#[test]
fn a_contract_that_gets_hot_becomes_native() {
    let backend = common::backend(RuntimeTuning { jit_hot_threshold: 2, ..Default::default() });
    let mut jit = JitEvm::new(evm(database(&[(TARGET, SHORT)]), SPEC), backend.clone());
    for _ in 0..5 {
        jit.transact(call()).unwrap();
        assert!(backend.wait_idle(LONG));
    }
    let of = |frames| RunStats { frames, gas: frames * SHORT_GAS };
    let frames = backend.stats().frames;
    assert_eq!((frames.interpreted.cold, frames.optimised, frames.total()), (of(2), of(3), of(5)));
}

#[test]
fn frames_without_a_program_are_cold() {
    let backend = obedient(OptimizationLevel::Default);
    let (frames, _) = run(&backend, SHORT, call());
    let interpreted = InterpretedStats { cold: once(SHORT_GAS), ..Default::default() };
    assert_eq!(frames, FrameStats { lookups: 1, ..only_interpreted(interpreted) });
    assert_eq!(backend.stats().lookup_misses, 1);
}

#[test]
fn what_is_never_compiled_is_ineligible() {
    let tuning = RuntimeTuning { jit_max_bytecode_len: SHORT.len() - 1, ..Default::default() };
    let backend = common::backend(tuning);
    let (frames, _) = run(&backend, SHORT, call());
    let interpreted = InterpretedStats { ineligible: once(SHORT_GAS), ..Default::default() };
    assert_eq!(frames, FrameStats { lookups: 1, ..only_interpreted(interpreted) });
    let stats = backend.stats();
    assert_eq!((stats.lookup_hits, stats.lookup_misses), (0, 0), "of eligible code");
}

#[test]
fn what_failed_says_so() {
    let tuning = RuntimeTuning { jit_max_bytecode_len: 0, ..Default::default() };
    let config = RuntimeConfig { blocking: true, tuning, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let (frames, _) = run(&backend, &common::refused().code, call());
    let interpreted = InterpretedStats { failed: once(0), ..Default::default() };
    assert_eq!(frames, FrameStats { lookups: 1, ..only_interpreted(interpreted) });
    assert_eq!(backend.stats().lookup_misses, 1);
}

/// Init code that returns [`SHORT`]-like code of two bytes.
fn creating() -> TxEnv {
    let init = vec![PUSH2, PUSH0, STOP, PUSH0, MSTORE, PUSH1, 2, PUSH1, 30, RETURN];
    TxEnv { kind: TxKind::Create, data: init.into(), ..call() }
}

#[test]
fn init_code_is_creation_and_pays_for_its_code() {
    let intrinsic = |tx: TxEnv| {
        let mut plain = evm(database(&[]), SPEC);
        plain.transact(tx).unwrap().result.gas().total_gas_spent()
    };
    let backend = compiled(SHORT);
    let (frames, _) = run(&backend, SHORT, creating());
    // PUSH2, PUSH0, MSTORE and its memory, PUSH1 twice, and 200 for each byte of code.
    let gas = 3 + 2 + 6 + 3 + 3 + 2 * 200;
    assert!(intrinsic(creating()) > gas);
    let interpreted = InterpretedStats { creation: once(gas), ..Default::default() };
    assert_eq!(frames, only_interpreted(interpreted));
    let (frames, _) = run(&blocking(), SHORT, creating());
    assert_eq!((frames.optimised, frames.total()), (once(gas), once(gas)));
}

#[test]
fn inspected_frames_are_told_apart() {
    let backend = compiled(SHORT);
    let inner = context(database(&[(TARGET, SHORT)]), SPEC)
        .build_mainnet_with_inspector(StepCounter::default());
    let mut jit = JitEvm::new(inner, backend.clone());
    jit.inspect_tx(call()).unwrap();
    let interpreted = InterpretedStats { inspected: once(SHORT_GAS), ..Default::default() };
    assert_eq!(backend.stats().frames, only_interpreted(interpreted));
}

#[test]
fn other_prices_are_other_rules() {
    let backend = compiled(SHORT);
    let mut inner = evm(database(&[(TARGET, SHORT)]), SPEC);
    inner.ctx.cfg.gas_params.override_gas([(GasId::memory_linear_cost(), 7)]);
    JitEvm::new(inner, backend.clone()).transact(call()).unwrap();
    let other_rules = once(SHORT_GAS + 4);
    let interpreted = InterpretedStats { other_rules, ..Default::default() };
    let frames = FrameStats { lookups: 1, ..only_interpreted(interpreted) };
    assert_eq!(backend.stats().frames, frames);
}

#[test]
fn switched_off_is_disabled() {
    let backend = compiled(SHORT);
    backend.set_enabled(false).unwrap();
    let (frames, _) = run(&backend, SHORT, call());
    let interpreted = InterpretedStats { disabled: once(SHORT_GAS), ..Default::default() };
    assert_eq!(frames, only_interpreted(interpreted));
    // Nobody counts for a handle without a backend.
    assert_eq!(run(&JitBackend::disabled(), SHORT, call()).0, FrameStats::default());
}

#[test]
fn frames_that_cant_be_entered_are_handed_over() {
    let backend = compiled(SHORT);
    let (frames, _) = run(&backend, SHORT, TxEnv { gas_limit: u64::MAX, ..call() });
    let handed_over = once(SHORT_GAS);
    let interpreted = InterpretedStats { handed_over, ..Default::default() };
    let hand_overs = HandOverStats { at_start: 1, ..Default::default() };
    assert_eq!(frames, FrameStats { hand_overs, lookups: 1, ..only_interpreted(interpreted) },);
    assert_eq!(backend.stats().lookup_hits, 1);
}

/// Counts down from 20,000. Each round jumps to a JUMPDEST whose offset is pushed nowhere, which
/// native code leaves to the interpreter, and back to the loop's header by an offset on the stack.
fn leaving_each_round() -> Vec<u8> {
    let mut code = vec![PUSH1, 5, PUSH2, 0x4e, 0x20];
    code.extend([JUMPDEST, PUSH1, 11, CALLDATASIZE, ISZERO, ADD, JUMP]); // 5
    code.extend([JUMPDEST, PUSH1, 1, SWAP1, SUB, DUP1, DUP3, JUMPI]); // 12
    code.push(STOP);
    code
}

#[test]
fn a_frame_that_changes_engines_counts_once_and_its_gas_where_it_was_burnt() {
    let code = leaving_each_round();
    let backend = obedient(OptimizationLevel::Default);
    backend.compile_jit_sync(request(&code)).unwrap();
    let (frames, spent) = run(&backend, &code, TxEnv { gas_limit: 10_000_000, ..call() });
    assert_eq!(frames.optimised.frames, 1);
    assert_eq!(frames.interpreted.handed_over.frames, 0);
    assert!(frames.optimised.gas > 0 && frames.interpreted.handed_over.gas > 0);
    assert_eq!(frames.total(), once(spent));
    let HandOverStats { absent_code, .. } = frames.hand_overs;
    assert_eq!(frames.hand_overs, HandOverStats { absent_code, ..Default::default() });
    // After each but the last, which the loop may end behind.
    assert!((absent_code - 1..=absent_code).contains(&frames.entered_on_stack), "{frames:?}");
    assert!(absent_code > 1);
}

#[test]
fn a_frame_that_runs_out_of_gas_burns_all_of_it() {
    let code = summing();
    let tx = TxEnv { gas_limit: INTRINSIC + 10_000, ..call() };
    let (frames, spent) = run(&compiled(&code), &code, tx);
    assert_eq!((frames.total(), spent), (once(10_000), 10_000));
    assert_eq!(frames.hand_overs, HandOverStats { instruction: 1, ..Default::default() });
    assert!(frames.interpreted.handed_over.gas < frames.optimised.gas);
}

/// Frames of one transaction, by both engines, that pass gas to each other and give some back.
#[test]
fn gas_adds_up_over_a_transaction() {
    let caller = calling();
    let ends: [&[u8]; 4] = [&[STOP], &[PUSH0, PUSH0, REVERT], &[INVALID], &[PUSH0, SLOAD, POP]];
    for end in ends {
        let callee = [&[PUSH0, SLOAD, POP][..], end].concat();
        let contracts = [(TARGET, &caller[..]), (CALLEE, &callee[..])];
        for programs in [&[][..], &[&caller[..]], &[&callee], &[&caller, &callee]] {
            let backend = obedient(OptimizationLevel::Default);
            for code in programs {
                backend.compile_jit_sync(request(code)).unwrap();
            }
            let (frames, spent) = run_all(&backend, &contracts, call());
            assert_eq!(frames.total(), RunStats { frames: 2, gas: spent });
            assert_eq!(frames.native().frames, programs.len() as u64);
            assert_eq!(frames.lookups, 3, "the caller's two runs, and the callee's");
            let stats = backend.stats();
            assert_eq!(stats.lookup_hits + stats.lookup_misses, 3);
            let expected_hits = match programs {
                [] => 0,
                [one] if one.len() == caller.len() => 2,
                [_] => 1,
                _ => 3,
            };
            assert_eq!(stats.lookup_hits, expected_hits);
        }
    }
}

/// The callee gets 2300 gas more than the caller gives it.
#[test]
fn the_stipend_counts_where_it_is_burnt() {
    let mut caller = vec![PUSH0, PUSH0, PUSH0, PUSH0, PUSH1, 1, PUSH20];
    caller.extend(CALLEE);
    caller.extend([PUSH0, CALL, STOP]);
    let contracts = [(TARGET, &caller[..]), (CALLEE, SHORT)];
    for with_callee in [false, true] {
        let backend = compiled(&caller);
        if with_callee {
            backend.compile_jit_sync(request(SHORT)).unwrap();
        }
        let tx = TxEnv { value: U256::ONE, ..call() };
        let mut database = database(&contracts);
        database.insert_account_info(tx.caller, AccountInfo::from_balance(U256::from(10)));
        let mut jit = JitEvm::new(evm(database, SPEC), backend.clone());
        let result = jit.transact(tx).unwrap().result;
        let spent = result.gas().total_gas_spent() - INTRINSIC;
        let frames = backend.stats().frames;
        assert_eq!(frames.total(), RunStats { frames: 2, gas: spent });
        let callee = if with_callee { frames.optimised } else { frames.interpreted.cold };
        assert!(callee.frames > 0 && callee.gas >= SHORT_GAS);
        assert!(!with_callee || callee == RunStats { frames: 2, gas: spent });
        assert!(with_callee || callee == once(SHORT_GAS));
    }
}

/// In blocking mode a frame's first lookup has to compile.
#[test]
fn blocking_lookups_that_compile_are_misses() {
    let backend = blocking();
    for calls in 1..=3 {
        let (frames, _) = run(&backend, SHORT, call());
        assert_eq!(frames.optimised, RunStats { frames: calls, gas: calls * SHORT_GAS });
        let stats = backend.stats();
        assert_eq!((stats.lookup_hits, stats.lookup_misses), (calls - 1, 1));
    }
}

#[test]
fn another_backend_counts_what_comes_after_it() {
    let backends = [compiled(SHORT), obedient(OptimizationLevel::Default)];
    let mut jit = JitEvm::new(evm(database(&[(TARGET, SHORT)]), SPEC), JitBackend::disabled());
    for backend in [&backends[0], &backends[1], &backends[0]] {
        jit.set_backend(backend.clone());
        jit.transact(call()).unwrap();
    }
    *jit.backend_mut() = backends[1].clone();
    jit.transact(call()).unwrap();
    jit.set_backend(JitBackend::disabled());
    jit.transact(call()).unwrap();
    let two = RunStats { frames: 2, gas: 2 * SHORT_GAS };
    let frames = backends.each_ref().map(|backend| backend.stats().frames);
    assert_eq!((frames[0].optimised, frames[0].total()), (two, two));
    assert_eq!((frames[1].interpreted.cold, frames[1].total()), (two, two));
}

/// The gas that a frame has when its database fails is nobody's, whoever ran it.
#[test]
fn an_error_of_the_transaction_burns_nothing() {
    let code = [PUSH1, 1, PUSH0, MSTORE, PUSH0, SLOAD, STOP];
    for backend in [obedient(OptimizationLevel::Default), compiled(&code)] {
        let world = Failing(database(&[(TARGET, &code[..])]));
        let mut jit = JitEvm::new(evm(world, SPEC), backend.clone());
        assert!(jit.transact(call()).is_err());
        assert_eq!(backend.stats().frames.total(), RunStats { frames: 1, gas: 0 });
    }
}
