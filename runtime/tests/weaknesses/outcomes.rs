//! What is told of results.

use crate::common::{
    LONG, PROBE, SPEC, TARGET, call, database, evm, long_code, numbered, refused, request,
};
use cranevm::{
    SpecId,
    revm_evm::JitEvm,
    runtime::{JitBackend, ProgramStatus, RuntimeConfig, RuntimeTuning},
};
use revm::{
    ExecuteEvm,
    bytecode::opcode::*,
    context::result::{ExecutionResult, HaltReason},
};
use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
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
    assert_eq!(events(), [(true, true)], "once, and not again for better code");
    backend.compile_jit(refused());
    assert_eq!(events(), [(false, false)]);
    backend.compile_jit_sync(numbered(2)).unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1, "heard when the call returns");
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

/// A hot contract is one compilation, one event and one resident program, however often its code is
/// made better.
#[test]
fn r15_a_hot_contract_counts_once() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let tuning = RuntimeTuning { jit_hot_threshold: 1, ..Default::default() };
    let config = RuntimeConfig {
        enabled: true,
        tuning,
        on_compilation: Some(Arc::new({
            let heard = Arc::clone(&heard);
            move |event| heard.lock().unwrap().push((event.code_hash, event.success))
        })),
        ..Default::default()
    };
    let backend = JitBackend::new(config).unwrap();
    let requests: Vec<_> = (0..10).map(numbered).collect();
    for request in &requests {
        backend.lookup(request.clone());
    }
    assert!(backend.wait_idle(LONG));
    let stats = backend.stats();
    assert_eq!(
        [stats.compilations_dispatched, stats.compilations_succeeded, stats.resident_entries],
        [10; 3],
    );
    assert_eq!([stats.upgrades_dispatched, stats.upgrades_succeeded], [10; 2]);
    assert_eq!((stats.compilations_failed, stats.upgrades_failed, stats.pending_jobs), (0, 0, 0));
    let mut heard = std::mem::take(&mut *heard.lock().unwrap());
    heard.sort_unstable();
    let mut expected: Vec<_> =
        requests.iter().map(|request| (request.key.code_hash, true)).collect();
    expected.sort_unstable();
    assert_eq!(heard, expected);
    for request in &requests {
        assert!(matches!(backend.status(&request.key), ProgramStatus::Ready));
    }
}

/// Who compiles and waits for it needn't wait for the event as well.
#[test]
fn r15_the_event_is_heard_when_a_synchronous_call_returns() {
    let heard = Arc::new(AtomicUsize::new(0));
    let tuning = RuntimeTuning { jit_max_bytecode_len: 0, ..Default::default() };
    let config = RuntimeConfig {
        enabled: true,
        tuning,
        on_compilation: Some(Arc::new({
            let heard = Arc::clone(&heard);
            move |_| {
                thread::sleep(Duration::from_millis(5));
                heard.fetch_add(1, Ordering::SeqCst);
            }
        })),
        ..Default::default()
    };
    let backend = JitBackend::new(config).unwrap();
    for n in 0..10 {
        backend.compile_jit_sync(numbered(2 * n)).unwrap();
        assert_eq!(heard.load(Ordering::SeqCst), 2 * n + 1);
        backend.lookup_blocking(numbered(2 * n + 1));
        assert_eq!(heard.load(Ordering::SeqCst), 2 * n + 2);
    }
    assert!(backend.compile_jit_sync(refused()).is_err());
    assert_eq!(heard.load(Ordering::SeqCst), 21);
}
