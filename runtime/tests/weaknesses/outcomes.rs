//! What is told of results.

use crate::common::{
    LONG, PROBE, SPEC, TARGET, call, database, evm, long_code, numbered, refused, request,
};
use cranevm::{
    SpecId,
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use revm::{
    ExecuteEvm,
    bytecode::opcode::*,
    context::result::{ExecutionResult, HaltReason},
};
use std::{
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::Duration,
};

/// `single_error` changes the reason of a halt and nothing else; without it the reason is the
/// interpreter's.
#[test]
fn w04_single_error_changes_the_reason_only() {
    let underflow = [CALLDATASIZE, PUSH1, 1, SSTORE, ADD];
    let bad_jump = [PUSH1, 1, PUSH1, 1, SSTORE, PUSH1, 3, JUMP];
    // Amsterdam has a second kind of gas, for state, which a failing frame gives back.
    let forks = [SPEC, SpecId::AMSTERDAM];
    let cases = [PROBE, &underflow[..], &bad_jump[..]].map(|code| forks.map(|fork| (code, fork)));
    for (code, fork) in cases.into_iter().flatten() {
        let expected = evm(database(&[(TARGET, code)]), fork).transact(call()).unwrap();
        for single_error in [true, false] {
            let config = RuntimeConfig { blocking: true, single_error, ..Default::default() };
            let backend = JitBackend::new(config).unwrap();
            let mut jit = JitEvm::new(evm(database(&[(TARGET, code)]), fork), backend);
            let found = jit.transact(call()).unwrap();
            assert_eq!(found.state, expected.state);
            assert_eq!(found.result.gas(), expected.result.gas());
            let ExecutionResult::Halt { reason, .. } = &found.result else { panic!("must halt") };
            match single_error {
                true => assert!(matches!(reason, HaltReason::OutOfGas(_)), "{reason:?}"),
                false => assert_eq!(found.result, expected.result),
            }
        }
    }
}

/// An event comes once for each attempt, and after its result can be looked up; one that came to
/// nothing says so.
#[test]
fn w14_events_tell_what_is_so() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handle = Arc::new(OnceLock::<JitBackend>::new());
    let tuning = RuntimeTuning { jit_max_bytecode_len: 0, ..Default::default() };
    let config = RuntimeConfig {
        enabled: true,
        tuning,
        on_compilation: Some(Arc::new({
            let (seen, handle) = (Arc::clone(&seen), Arc::clone(&handle));
            move |event| {
                let resident = handle
                    .get()
                    .is_some_and(|b| b.get_compiled(event.code_hash, event.spec_id).is_some());
                seen.lock().unwrap().push((event.success, resident));
            }
        })),
        ..Default::default()
    };
    let backend = JitBackend::new(config).unwrap();
    assert!(handle.set(backend.clone()).is_ok());
    let events = || {
        assert!(backend.wait_idle(LONG));
        std::mem::take(&mut *seen.lock().unwrap())
    };
    backend.compile_jit(numbered(1));
    assert_eq!(events(), [(true, true), (true, true)], "at the baseline, and optimised");
    backend.compile_jit(refused());
    assert_eq!(events(), [(false, false)]);
    backend.compile_jit_sync(numbered(2)).unwrap();
    assert_eq!(events(), [(true, true)]);
    // As many events as attempts, also of those that a clear made futile.
    let before = backend.stats().compilations_dispatched;
    let mut count = 0;
    for round in 0..10u8 {
        backend.compile_jit(request(&[&long_code(30_000)[..], &[round]].concat()));
        thread::sleep(Duration::from_millis(u64::from(round)));
        backend.clear_resident();
        count += events().len() as u64;
    }
    assert_eq!(backend.stats().compilations_dispatched - before, count);
    backend.shut_down();
}
