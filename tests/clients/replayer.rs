//! A program that replays blocks in batches: it warms up a list of contracts and waits until all is
//! quiet, polls the statistics while it works, and runs each block on threads with EVMs of their
//! own.

use crate::common::{LONG, TARGET, call, database, evm, numbered};
use cranevm as revmc;
use revm::{ExecuteEvm, context::result::ResultAndState};
use revmc::{
    revm_evm::JitEvm,
    runtime::{CompilationEvent, JitBackend, LookupRequest, RuntimeConfig},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// Compiles a list, and says when it is done.
fn warm_up(backend: &JitBackend, contracts: &[LookupRequest]) {
    for request in contracts {
        backend.compile_jit(request.clone());
    }
    let start = Instant::now();
    while backend.stats().pending_jobs != 0 {
        assert!(start.elapsed() < LONG, "{:?}", backend.stats());
        thread::sleep(Duration::from_millis(1));
    }
}

fn replay(backend: &JitBackend, contract: &LookupRequest) -> ResultAndState {
    let inner = evm(database(&[(TARGET, &contract.code)]), contract.key.spec_id);
    JitEvm::new(inner, backend.clone()).transact(call()).unwrap()
}

#[test]
fn blocks_are_replayed_on_threads_after_a_warm_up() {
    const CONTRACTS: usize = 12;
    let heard = Arc::new(AtomicUsize::new(0));
    let config = RuntimeConfig {
        enabled: true,
        on_compilation: Some(Arc::new({
            let heard = Arc::clone(&heard);
            move |event: CompilationEvent| {
                assert!(event.success);
                heard.fetch_add(1, SeqCst);
            }
        })),
        ..Default::default()
    };
    let backend = JitBackend::new(config).unwrap();
    let contracts: Vec<_> = (0..CONTRACTS).map(numbered).collect();
    warm_up(&backend, &contracts);
    assert!(backend.wait_idle(LONG), "upgrades too");
    let off = JitBackend::disabled();
    let expected: Vec<_> = contracts.iter().map(|contract| replay(&off, contract)).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (contract, expected) in contracts.iter().zip(&expected) {
                    assert_eq!(&replay(&backend, contract), expected);
                }
            });
        }
    });
    let stats = backend.stats();
    assert_eq!(stats.resident_entries, CONTRACTS as u64);
    assert_eq!(stats.compilations_succeeded, stats.resident_entries);
    assert!(stats.lookup_hits >= 4 * CONTRACTS as u64, "{stats:?}");
    assert_eq!(stats.commands_dropped + stats.events_dropped, 0);
    assert_eq!(heard.load(SeqCst), CONTRACTS, "one event each");
}
