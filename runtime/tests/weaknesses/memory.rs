//! What is evicted, and what is accounted.

use crate::common::{LONG, SPEC, backend, eventually, is_resident, numbered};
use cranevm::runtime::{CompiledProgram, JitBackend, RuntimeTuning};
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
    // One that alone is beyond the budget stays until the next comes.
    let tiny = crate::common::backend(RuntimeTuning {
        resident_code_cache_bytes: 1,
        ..Default::default()
    });
    (0..3).for_each(|n| drop(compile(&tiny, n)));
    assert!(is_resident(&tiny, &numbered(2)));
    assert_eq!((tiny.stats().resident_entries, tiny.stats().evictions), (1, 2));
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
