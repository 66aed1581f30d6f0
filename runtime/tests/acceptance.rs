//! What clients of this interface take for granted, one test for each thing: these are the
//! runtime's of the eight in the list of what users want. The first is `clients`, among the
//! workspace's tests.

mod common;

use common::{
    LONG, PROBE, SPEC, TARGET, backend, call,
    chain::{chain_evm, is_native, set_spec, transact},
    database, eventually, evm, is_resident, long_code,
    meddling::{Meddling, Read},
    numbered, request,
};
use cranevm::{
    SpecId,
    context_interface::cfg::GasId,
    revm_evm::JitEvm,
    runtime::{
        InterpretReason, JitBackend, LookupDecision, RuntimeConfig, RuntimeError, RuntimeTuning,
    },
};
use revm::{
    ExecuteEvm, InspectEvm, Inspector, MainBuilder,
    bytecode::opcode::*,
    context::{
        TxEnv,
        result::{ExecutionResult, HaltReason},
    },
    interpreter::{Interpreter, interpreter::EthInterpreter, interpreter_types::Jumps},
};
use std::{
    thread,
    time::{Duration, Instant},
};

#[path = "../../tests/src/hostile.rs"]
#[allow(dead_code, unreachable_pub, reason = "of another crate; these tests use a part")]
mod hostile;

/// Number 2. Ten thousand control calls on a backend that never started take no second; what is
/// compiled and enabled afterwards stays.
#[test]
fn acceptance_2_control_calls_before_the_start_do_nothing_later() {
    let backend = JitBackend::new(RuntimeConfig::default()).unwrap();
    let start = Instant::now();
    for _ in 0..10_000 {
        backend.pause();
        backend.clear_resident();
        backend.clear_persisted();
        backend.clear_all();
        backend.resume();
    }
    let time = start.elapsed();
    assert!(time < Duration::from_secs(1), "{time:?}");
    (0..5).for_each(|n| backend.compile_jit_sync(numbered(n)).unwrap());
    backend.set_enabled(true).unwrap();
    (5..10).for_each(|n| backend.compile_jit(numbered(n)));
    assert!(backend.wait_idle(LONG));
    assert_eq!((backend.stats().resident_entries, backend.stats().pending_jobs), (10, 0));
    let is_hit = |n| matches!(backend.lookup(numbered(n)), LookupDecision::Compiled(_));
    assert!((0..10).all(is_hit), "nothing was wiped late");
}

/// Number 3. Clears while jobs are in flight: the count of pending jobs returns to 0, and who waits
/// for a program in the new generation isn't released without it.
#[test]
fn acceptance_3_clears_with_jobs_in_flight() {
    let backend = backend(RuntimeTuning::default());
    let code = |round: u8| request(&[&long_code(8000)[..], &[round]].concat());
    for round in 0..12 {
        backend.compile_jit(code(round));
        thread::sleep(Duration::from_micros(300) * u32::from(round));
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        backend.clear_resident();
                        backend.lookup_blocking(code(round))
                    })
                })
                .collect();
            for waiter in waiters {
                let decision = waiter.join().unwrap();
                assert!(matches!(decision, LookupDecision::Compiled(_)), "{decision:?}");
            }
        });
        assert!(backend.wait_idle(LONG));
        let stats = backend.stats();
        assert_eq!(stats.pending_jobs, 0);
        let ended = stats.compilations_succeeded + stats.compilations_failed;
        assert_eq!(stats.compilations_dispatched, ended);
    }
    backend.clear_all();
    eventually("all memory is given back", || backend.stats().jit_total_bytes() == 0);
}

/// Calls itself while there is calldata, each time with a byte less; the innermost frame reads
/// storage. Each adds to what the frame below returns, and the outermost fails at the end.
fn recursive() -> Vec<u8> {
    let mut code = vec![CALLDATASIZE, PUSH1, 10, JUMPI]; // depth > 0: to 10
    code.extend([PUSH1, 3, SLOAD, PUSH1, 33, JUMP]); // 4..10: the innermost
    code.extend([JUMPDEST, PUSH1, 32, PUSH0, PUSH1, 1, CALLDATASIZE, SUB, PUSH0, PUSH0]); // 10
    code.extend([ADDRESS, GAS, CALL, POP, PUSH0, MLOAD, PUSH1, 33, JUMP]); // 23..32
    code.resize(33, STOP);
    code.extend([JUMPDEST, PUSH1, 1, ADD, PUSH0, MSTORE, CALLDATASIZE, PUSH1, 9, EQ]); // 33
    code.extend([PUSH1, 52, JUMPI, PUSH1, 32, PUSH0, RETURN]); // 44
    code.resize(52, STOP);
    code.extend([JUMPDEST, INVALID]);
    code
}

/// Number 4. One EVM object: its first call is interpreted. The program is published while ten
/// frames of the same hash are on the stack. The frames that were suspended then end as the
/// interpreter would have ended them, and each frame begun later is native.
#[test]
fn acceptance_4_one_evm_upgrades_at_its_next_frame() {
    let code = recursive();
    let backend = backend(RuntimeTuning { jit_worker_count: 0, ..Default::default() });
    let compile = || backend.compile_jit_sync(request(&code)).unwrap();
    let database = Meddling {
        database: database(&[(TARGET, &code[..])]),
        at: Read::Storage,
        countdown: 1,
        meddle: Some(Box::new(compile)),
    };
    let mut jit = JitEvm::new(evm(database, SPEC), backend.clone());
    let mut plain = chain_evm(&code, SPEC);
    let with_data = |len: usize| TxEnv { data: vec![1; len].into(), ..call() };

    assert_eq!(backend.stats().resident_entries, 0);
    let expected = plain.transact(with_data(8)).unwrap();
    let found = jit.transact(with_data(8)).unwrap();
    assert_eq!((&found.result, &found.state), (&expected.result, &expected.state));
    let sum = found.result.output().unwrap().last().copied();
    assert_eq!(sum, Some(9), "nine frames of one hash, eight of them suspended meanwhile");
    assert_eq!(backend.stats().resident_entries, 1);

    // `single_error` makes the reason tell who ran the outermost frame: natively, from now on.
    let expected = plain.transact(with_data(9)).unwrap();
    let found = jit.transact(with_data(9)).unwrap();
    let reason = |result: &ExecutionResult| match result {
        ExecutionResult::Halt { reason, .. } => reason.clone(),
        other => panic!("must halt: {other:?}"),
    };
    assert_eq!(reason(&expected.result), HaltReason::InvalidFEOpcode);
    assert!(matches!(reason(&found.result), HaltReason::OutOfGas(_)), "{:?}", found.result);
    assert_eq!(found.state, expected.state);
}

/// Number 5. A change of fork inside one EVM, through a handler of the chain's own, never runs the
/// old fork's code, nor does a host with a schedule of its own run code compiled for the fork's.
#[test]
fn acceptance_5_rules_of_the_moment_apply() {
    let config = RuntimeConfig { blocking: true, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let mut jit = JitEvm::new(chain_evm(PROBE, SPEC), backend.clone());
    for spec_id in [SPEC, SpecId::PRAGUE, SPEC, SpecId::OSAKA] {
        set_spec(&mut jit, spec_id);
        assert!(is_native(&transact(&mut jit, call()).result), "{spec_id:?}");
        jit.ctx.cfg.gas_params.override_gas([(GasId::memory_linear_cost(), 9)]);
        assert!(!is_native(&transact(&mut jit, call()).result), "{spec_id:?}");
    }
    assert_eq!(backend.stats().resident_entries, 3, "a program a fork");
    // What differs is told by results, too: PUSH0 came with Shanghai.
    let code = [PUSH0, PUSH0, MSTORE, PUSH1, 32, PUSH1, 0, RETURN];
    let mut jit = JitEvm::new(chain_evm(&code, SPEC), backend);
    for (spec_id, succeeds) in [(SPEC, true), (SpecId::MERGE, false), (SPEC, true)] {
        set_spec(&mut jit, spec_id);
        assert_eq!(transact(&mut jit, call()).result.is_success(), succeeds, "{spec_id:?}");
    }
}

/// Number 7. No channel, no worker, hostile code of 48 KiB: errors or interpretation, never a
/// panic, never a hang.
#[test]
fn acceptance_7_nothing_panics_or_hangs() {
    let tuning = RuntimeTuning {
        channel_capacity: 0,
        jit_worker_count: 0,
        jit_max_bytecode_len: 0,
        jit_hot_threshold: 0,
        ..Default::default()
    };
    let starved = backend(tuning);
    for n in 0..100 {
        starved.compile_jit(numbered(n));
        let decision = starved.lookup(numbered(n));
        assert!(matches!(decision, LookupDecision::Interpret(InterpretReason::NotReady)));
    }
    assert!(starved.wait_idle(LONG));
    assert_eq!(starved.stats().commands_dropped, 100);
    assert_eq!(starved.stats().events_dropped, 100);

    let backend = backend(RuntimeTuning { jit_max_bytecode_len: 0, ..Default::default() });
    for (n, hostile) in hostile::ALL.iter().step_by(3).enumerate() {
        let code = (hostile.code)(48 * 1024);
        let mut plain = chain_evm(&code, SPEC);
        let mut jit = JitEvm::new(chain_evm(&code, SPEC), backend.clone());
        backend.compile_jit(request(&code));
        // Some while they are compiled, and some when they are.
        if n % 3 == 0 {
            let error = backend.compile_jit_sync(request(&code)).err();
            let error = error.map(|error| error.downcast::<RuntimeError>().expect("a typed error"));
            assert!(matches!(error, None | Some(RuntimeError::TimedOut { .. })), "{error:?}");
        }
        let transaction = TxEnv { data: vec![7; 100].into(), ..call() };
        let expected = plain.transact(transaction.clone()).unwrap();
        let found = jit.transact(transaction).unwrap();
        assert_eq!(found.state, expected.state, "{}", hostile.name);
        assert_eq!(found.result.tx_gas_used(), expected.result.tx_gas_used(), "{}", hostile.name);
        assert_eq!(found.result.output(), expected.result.output(), "{}", hostile.name);
    }
    let start = Instant::now();
    drop(backend);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[derive(Default)]
struct Steps(Vec<u8>);

impl<CTX> Inspector<CTX, EthInterpreter> for Steps {
    fn step(&mut self, interpreter: &mut Interpreter<EthInterpreter>, _: &mut CTX) {
        self.0.push(interpreter.bytecode.opcode());
    }
}

/// Number 8. An inspector with step hooks sees every step, with the backend enabled and the code
/// hot.
#[test]
fn acceptance_8_an_inspector_sees_every_step() {
    let code = common::summing();
    let backend = backend(RuntimeTuning { jit_hot_threshold: 1, ..Default::default() });
    let build = || {
        let context = common::context(database(&[(TARGET, &code[..])]), SPEC);
        context.build_mainnet_with_inspector(Steps::default())
    };
    let mut jit = JitEvm::new(build(), backend.clone());
    jit.transact(call()).unwrap();
    assert!(backend.wait_idle(LONG));
    assert!(is_resident(&backend, &request(&code)), "hot");
    let mut plain = build();
    let expected = plain.inspect_tx(call()).unwrap();
    let found = jit.inspect_tx(call()).unwrap();
    assert_eq!((found.result, found.state), (expected.result, expected.state));
    assert!(plain.inspector.0.len() > 10_000);
    assert_eq!(jit.inspector.0, plain.inspector.0);
}
