//! Frames that change engines while they run: from the interpreter into code that was compiled
//! meanwhile, and back into native code after a hand-over. Results are compared with a plain EVM's.

mod common;

use common::{
    CALLEE, SPEC, TARGET, call, database, evm,
    meddling::{Meddling, Read},
    request,
};
use cranevm::{
    OptimizationLevel,
    primitives::{Address, StorageKey, StorageValue},
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use revm::{
    ExecuteEvm,
    bytecode::opcode::*,
    context::{
        TxEnv,
        result::{ExecutionResult, HaltReason},
    },
};
use std::time::{Duration, Instant};

/// A backend that compiles nothing by itself.
fn backend() -> JitBackend {
    with_tuning(RuntimeTuning { jit_worker_count: 0, ..RuntimeTuning::default() })
}

fn with_tuning(tuning: RuntimeTuning) -> JitBackend {
    let tuning = RuntimeTuning { jit_opt_level: OptimizationLevel::None, ..tuning };
    JitBackend::new(RuntimeConfig { enabled: true, tuning, ..RuntimeConfig::default() }).unwrap()
}

fn long_call() -> TxEnv {
    TxEnv { gas_limit: 100_000_000, ..call() }
}

/// Counts down from 20,000. Each round jumps to a JUMPDEST whose offset is pushed nowhere, which
/// native code leaves to the interpreter, and back to the loop's header by an offset on the stack.
fn leaving_each_round() -> Vec<u8> {
    let mut code = vec![PUSH1, 5, PUSH2, 0x4e, 0x20];
    code.extend([JUMPDEST, PUSH1, 11, CALLDATASIZE, ISZERO, ADD, JUMP]); // 5
    code.extend([JUMPDEST, PUSH1, 1, SWAP1, SUB, DUP1, DUP3, JUMPI]); // 12
    code.extend([GAS, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    code
}

#[test]
fn a_frame_that_was_handed_over_comes_back() {
    let code = leaving_each_round();
    let contracts = [(TARGET, &code[..])];
    let expected = evm(database(&contracts), SPEC).transact(long_call()).unwrap();
    assert!(expected.result.is_success());
    let backend = JitBackend::new(RuntimeConfig { enabled: true, ..Default::default() }).unwrap();
    backend.compile_jit_sync(request(&code)).unwrap();
    let mut jit = JitEvm::new(evm(database(&contracts), SPEC), backend.clone());
    assert_eq!(jit.transact(long_call()).unwrap(), expected);
    let hand_overs = backend.hand_overs();
    assert!(hand_overs > 10, "it stayed in the interpreter: {hand_overs} hand-overs");
    assert!(hand_overs < 1000, "it changes engines too often: {hand_overs} hand-overs");
}

/// Returns the sum on the stack below a 0, and the gas left.
const RETURN_SUM: [u8; 11] = [POP, PUSH0, MSTORE, GAS, PUSH1, 32, MSTORE, PUSH1, 64, PUSH0, RETURN];

/// `sum += i + storage[i >> 8]` for `i` from 10,000 down to 1, and then `end`.
fn summing_storage(end: &[u8]) -> Vec<u8> {
    let mut code = vec![PUSH0, PUSH2, 0x27, 0x10];
    code.extend([JUMPDEST, DUP1, PUSH1, 8, SHR, SLOAD, DUP2, ADD]); // 4: sum i -> sum i i+word
    code.extend([SWAP1, SWAP2, ADD, SWAP1, PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 4, JUMPI]);
    code.extend(end);
    code
}

/// The same sum of squares, by two loops one in the other and an internal function.
fn squaring_storage(end: &[u8]) -> Vec<u8> {
    let mut code = vec![PUSH0, PUSH1, 60]; // sum i
    code.extend([JUMPDEST, PUSH1, 200]); // 3: sum i -> sum i j
    code.extend([JUMPDEST, PUSH1, 15, DUP2, DUP4, ADD, PUSH1, 45, JUMP]); // 6: call the square
    code.extend([JUMPDEST, DUP3, SLOAD, ADD, DUP4, ADD, SWAP3, POP]); // 15: sum' i j
    code.extend([PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 6, JUMPI, POP]); // 23: sum i
    code.extend([PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 3, JUMPI, PUSH1, 51, JUMP]); // 32
    code.extend([INVALID, STOP, JUMPDEST, DUP1, MUL, SWAP1, JUMP, STOP, JUMPDEST]); // 45 at 45
    code.extend(end);
    code
}

/// Sums as [`summing_storage`], and in the middle calls itself with a byte less of calldata.
fn calling_itself(end: &[u8]) -> Vec<u8> {
    let mut code = vec![PUSH0, PUSH2, 0x0b, 0xb8]; // 3000
    code.extend([JUMPDEST, DUP1, PUSH1, 6, SHR, SLOAD, DUP2, ADD]); // 4
    code.extend([SWAP1, SWAP2, ADD, SWAP1, PUSH1, 1, SWAP1, SUB]); // 12: sum i
    code.extend([DUP1, PUSH2, 0x05, 0xdc, EQ, ISZERO, CALLDATASIZE, ISZERO, OR, PUSH1, 51, JUMPI]);
    code.extend([PUSH1, 32, PUSH0, PUSH1, 1, CALLDATASIZE, SUB, PUSH0, PUSH0, ADDRESS, GAS, CALL]);
    code.extend([PUSH0, MLOAD, ADD, SWAP1, SWAP2, ADD, SWAP1]); // 45..52
    code.extend([JUMPDEST, DUP1, PUSH1, 4, JUMPI]);
    code.extend(end);
    code
}

/// Does something the `countdown`th time that storage is read, which has a word in each slot.
fn world<'a>(
    contracts: &[(Address, &[u8])],
    countdown: usize,
    meddle: Option<Box<dyn FnOnce() + 'a>>,
) -> Meddling<'a> {
    let mut database = database(contracts);
    for slot in (0..256).map(StorageKey::from) {
        database.insert_account_storage(TARGET, slot, slot + StorageValue::from(3)).unwrap();
    }
    Meddling { database, at: Read::Storage, countdown, meddle }
}

/// Runs `code` with `calldata` on a plain EVM, and on one for which the code is compiled when
/// storage is read for the `countdown`th time. Both must agree; `true` if native code was running
/// in the end, which only code that ends with `INVALID` tells.
fn ends_natively(code: &[u8], calldata: usize, countdown: usize) -> bool {
    let contracts = [(TARGET, code), (CALLEE, &[STOP][..])];
    let tx = || TxEnv { data: vec![1; calldata].into(), ..long_call() };
    let backend = backend();
    let compile = || backend.compile_jit_sync(request(code)).unwrap();
    let world = |meddle| world(&contracts, countdown, meddle);
    let expected = evm(world(None), SPEC).transact(tx()).unwrap();
    let mut jit = JitEvm::new(evm(world(Some(Box::new(compile))), SPEC), backend.clone());
    let found = jit.transact(tx()).unwrap();
    assert!(jit.ctx.journaled_state.database.meddle.is_none(), "storage was read that often");
    assert_eq!(found.state, expected.state);
    match (found.result, expected.result) {
        (ExecutionResult::Halt { reason, gas, .. }, ExecutionResult::Halt { gas: all, .. }) => {
            assert_eq!(gas, all);
            matches!(reason, HaltReason::OutOfGas(_))
        }
        (found, expected) => {
            assert!(expected.is_success(), "{expected:?}");
            assert_eq!(found, expected);
            false
        }
    }
}

#[test]
fn a_running_frame_enters_code_that_was_compiled_meanwhile() {
    for program in [summing_storage, squaring_storage] {
        for countdown in [1, 2, 3, 7, 11, 20, 33] {
            assert!(!ends_natively(&program(&RETURN_SUM), 0, countdown));
            // `single_error` makes the reason tell who ran the frame in the end.
            assert!(ends_natively(&program(&[INVALID]), 0, countdown), "{countdown}");
        }
    }
}

#[test]
fn nested_frames_of_one_contract_change_engines_wherever_they_are() {
    // Frames that have begun before, and after; suspended, running and nested ones.
    for calldata in [1, 2, 5] {
        for countdown in [1, 5, 24, 25, 26, 46, 47] {
            assert!(!ends_natively(&calling_itself(&RETURN_SUM), calldata, countdown));
            // The outermost frame, which was suspended when its code was compiled, or running.
            assert!(ends_natively(&calling_itself(&[INVALID]), calldata, countdown));
        }
    }
}

#[test]
fn one_long_call_gets_a_contract_compiled() {
    // Forever, but for gas.
    let code = [PUSH0, JUMPDEST, PUSH1, 1, ADD, PUSH1, 1, JUMP];
    let backend = with_tuning(RuntimeTuning { jit_hot_threshold: 1000, ..Default::default() });
    let mut jit = JitEvm::new(evm(database(&[(TARGET, &code[..])]), SPEC), backend.clone());
    let short = TxEnv { gas_limit: 100_000, ..call() };
    for _ in 0..5 {
        jit.transact(short.clone()).unwrap();
    }
    assert_eq!(
        backend.stats().compilations_dispatched,
        0,
        "what a failing frame loses isn't burnt"
    );
    let start = Instant::now();
    let mut calls = 0;
    while backend.stats().compilations_succeeded == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "never compiled");
        calls += 1;
        let result = jit.transact(long_call()).unwrap().result;
        assert!(matches!(result, ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. }));
    }
    assert!(calls < 1000, "by the gas of one frame, not by the number of frames");
    assert_eq!(backend.stats().compilations_dispatched, 1);
}

#[test]
fn code_that_is_withdrawn_at_once_is_not_entered() {
    let code = summing_storage(&[INVALID]);
    let withdraw: [fn(&JitBackend); 2] =
        [|backend| backend.set_enabled(false).unwrap(), JitBackend::clear_resident];
    for withdraw in withdraw {
        let backend = backend();
        let meddle = || {
            backend.compile_jit_sync(request(&code)).unwrap();
            withdraw(&backend);
        };
        let world = world(&[(TARGET, &code)], 5, Some(Box::new(meddle)));
        let result = JitEvm::new(evm(world, SPEC), backend.clone()).transact(long_call());
        let ExecutionResult::Halt { reason, .. } = result.unwrap().result else {
            panic!("must halt");
        };
        assert_eq!(reason, HaltReason::InvalidFEOpcode);
    }
}
