//! What is evicted, and what is accounted.

use crate::common::{
    LONG, SPEC, TARGET, backend, call, database, eventually, evm, is_resident, numbered, summing,
};
use cranevm::{
    eyre::Report,
    revm_evm::JitEvm,
    runtime::{
        CompileFailure, CompiledProgram, JitBackend, LookupDecision, ProgramStatus, RuntimeConfig,
        RuntimeError, RuntimeTuning,
    },
};
use revm::ExecuteEvm;
use std::{sync::Arc, time::Duration};

fn compile(backend: &JitBackend, n: usize) -> Arc<CompiledProgram> {
    backend.compile_jit_sync(numbered(n)).unwrap();
    backend.get_compiled(numbered(n).key.code_hash, SPEC).unwrap()
}

/// Bytes of a page: what is held of code is whole ones.
const PAGE: usize = 4096;

/// Bytes of one of the programs that these tests use. Programs take multiples of 64 bytes, so 64 of
/// them are whole pages.
fn program_bytes() -> usize {
    let backend = backend(RuntimeTuning::default());
    (0..64).for_each(|n| drop(compile(&backend, n)));
    backend.stats().jit_total_bytes() as usize / 64
}

/// Whether that is held for so many programs: and at most a page for each that others lay beside.
fn are_held(bytes: u64, programs: usize) -> bool {
    let least = programs * program_bytes();
    (least..least + (programs + 1) * PAGE).contains(&(bytes as usize))
}

/// A backend with room for 4 programs.
fn small() -> JitBackend {
    let room = 4 * program_bytes() + program_bytes() / 2;
    backend(RuntimeTuning { resident_code_cache_bytes: room, ..Default::default() })
}

/// Only as much goes as is needed, least recently used first.
#[test]
fn w11_the_least_recently_used_goes() {
    let backend = small();
    (0..4).for_each(|n| drop(compile(&backend, n)));
    assert_eq!(backend.stats().evictions, 0);
    drop(backend.lookup(numbered(0)));
    drop(compile(&backend, 4));
    let resident = |n| is_resident(&backend, &numbered(n));
    assert_eq!([0, 1, 2, 3, 4].map(resident), [true, false, true, true, true]);
    drop(compile(&backend, 5));
    assert_eq!([0, 1, 2, 3, 4, 5].map(resident), [true, false, false, true, true, true]);
    assert_eq!(backend.stats().evictions, 2);
}

/// Programs that callers hold on to are evicted in their turn, and cost no others their place.
#[test]
fn w11_held_programs_dont_empty_the_cache() {
    let backend = small();
    let held: Vec<_> = (0..20).map(|n| compile(&backend, n)).collect();
    let stats = backend.stats();
    assert_eq!((stats.resident_entries, stats.evictions), (4, 16));
    assert!(are_held(stats.jit_total_bytes(), 20), "held, hence counted: {stats:?}");
    drop(held);
    let held = backend.stats().jit_total_bytes();
    assert!(are_held(held, 4), "{held}");
}

/// Budgets that have no room for a program hold as well: it serves who asked for it, and isn't
/// kept.
#[test]
fn r9_budgets_hold_from_one_byte_on() {
    let enough = program_bytes();
    for budget in [1, 64, enough / 2, enough - 1, enough] {
        let has_room = budget == enough;
        let tuning = RuntimeTuning { resident_code_cache_bytes: budget, ..Default::default() };
        let backend = backend(tuning);
        for n in 0..3 {
            let told = backend.compile_jit_sync(numbered(n));
            let is_beyond = told.is_err_and(|error| is_beyond_budget(&error, budget));
            assert_eq!(is_beyond, !has_room, "{budget} of {enough}");
            let stats = backend.stats();
            let limit = if has_room { budget + PAGE } else { 0 };
            assert!(stats.jit_total_bytes() <= limit as u64, "{budget}: {stats:?}");
            assert_eq!(stats.resident_entries, u64::from(has_room));
        }
        // Who has to have it runs it, and holds it as long as that takes.
        let found = backend.lookup_blocking(numbered(3));
        assert!(matches!(found, LookupDecision::Compiled(_)), "{budget}");
        drop(found);
        assert!(backend.stats().jit_total_bytes() <= (budget + PAGE) as u64);
    }
}

/// In the background such a contract is compiled once, to learn how large it is.
#[test]
fn r9_what_is_larger_than_the_budget_isnt_compiled_again_and_again() {
    let tuning = RuntimeTuning { resident_code_cache_bytes: 1, ..Default::default() };
    let (backend, wanted) = (backend(tuning), numbered(1));
    let look = || {
        for _ in 0..100 {
            let found = backend.lookup(wanted.clone());
            assert!(matches!(found, LookupDecision::Interpret(_)), "{found:?}");
        }
        assert!(backend.wait_idle(LONG));
        backend.stats().compilations_dispatched
    };
    assert_eq!([look(), look()], [1, 1]);
    assert_eq!(backend.stats().jit_total_bytes(), 0);
    eventually("known as too large", || match backend.status(&wanted.key) {
        ProgramStatus::Failed(failure) => {
            matches!(*failure, CompileFailure::BeyondBudget { budget: 1, .. })
        }
        _ => false,
    });
    backend.clear_resident();
    assert_eq!([look(), look()], [2, 2]);
}

/// Frames in blocking mode are native all the same.
#[test]
fn r9_blocking_mode_needs_no_budget() {
    let tuning = RuntimeTuning { resident_code_cache_bytes: 1, ..Default::default() };
    let config = RuntimeConfig { blocking: true, tuning, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let mut jit = JitEvm::new(evm(database(&[(TARGET, &summing())]), SPEC), backend.clone());
    for _ in 0..3 {
        assert!(jit.transact(call()).unwrap().result.is_success());
    }
    let frames = backend.stats().frames;
    assert_eq!((frames.native().frames, backend.stats().resident_entries), (3, 0));
    drop(jit);
    assert_eq!(backend.stats().jit_total_bytes(), 0);
}

fn is_beyond_budget(error: &Report, budget: usize) -> bool {
    let Some(RuntimeError::CompileFailed { failure, .. }) = error.downcast_ref() else {
        return false;
    };
    matches!(**failure, CompileFailure::BeyondBudget { budget: told, .. } if told == budget as u64)
}

/// What one backend holds is no concern of another.
#[test]
fn w11_backends_have_budgets_of_their_own() {
    let (first, second) = (small(), small());
    (0..4).for_each(|n| drop(compile(&first, n)));
    (0..4).for_each(|n| drop(compile(&second, n)));
    assert_eq!((first.stats().evictions, second.stats().evictions), (0, 0));
    second.clear_resident();
    assert_eq!(second.stats().jit_total_bytes(), 0);
    assert_eq!(first.stats().resident_entries, 4);
}

/// What isn't used goes, what is stays.
#[test]
fn w11_idle_programs_go_and_others_stay() {
    let backend = backend(RuntimeTuning {
        idle_evict_duration: Some(Duration::from_millis(200)),
        eviction_sweep_interval: Duration::from_millis(10),
        ..Default::default()
    });
    drop((compile(&backend, 1), compile(&backend, 2)));
    eventually("eviction", || {
        drop(backend.lookup(numbered(1)));
        !is_resident(&backend, &numbered(2))
    });
    assert!(is_resident(&backend, &numbered(1)));
    assert_eq!(backend.stats().evictions, 1);
    assert!(backend.wait_idle(LONG));
}

/// The programs of the background, whose chunks come one by one and which are replaced by better
/// ones, are counted as well.
#[test]
fn w11_background_programs_are_within_the_budget() {
    let backend = small();
    (0..40).for_each(|n| backend.compile_jit(numbered(n)));
    assert!(backend.wait_idle(LONG));
    let stats = backend.stats();
    // Code of the first level is larger, so fewer may stay than have room in the end.
    assert!((2..=4).contains(&stats.resident_entries), "{stats:?}");
    assert!(are_held(stats.jit_total_bytes(), stats.resident_entries as usize), "{stats:?}");
    drop(backend);
}
