//! No helper is told that code is other code, whatever hash a database or a caller gives.

use crate::{
    common::{claims, is_resident, request},
    tests,
    world::{backend, compile, config, failure},
};
use cranevm::runtime::{
    CompileFailure, JitBackend, LookupRequest, RuntimeArtifactStore, RuntimeConfig,
};
use std::sync::Arc;

tests![
    a_stale_hash_poisons_nobody_with_helpers,
    zero_and_empty_hashes_name_nothing_with_helpers,
    a_wrong_pair_gets_to_no_helper,
];

/// Blocking and in the background, where what has run once is compiled; with a store, too.
fn each_mode(check: impl Fn(&dyn Fn() -> JitBackend)) {
    let mut background = config();
    background.tuning.jit_hot_threshold = 1;
    check(&|| backend(RuntimeConfig { blocking: true, ..config() }));
    check(&|| backend(background.clone()));
    let stored = || {
        let store = Arc::new(RuntimeArtifactStore::new().unwrap());
        RuntimeConfig { store: Some(store as _), aot: true, ..background.clone() }
    };
    check(&|| backend(stored()));
}

fn a_stale_hash_poisons_nobody_with_helpers() {
    each_mode(claims::a_stale_hash_poisons_nobody);
}

fn zero_and_empty_hashes_name_nothing_with_helpers() {
    each_mode(claims::zero_and_empty_hashes_name_nothing);
}

fn a_wrong_pair_gets_to_no_helper() {
    let backend = backend(config());
    let right = request(&claims::returning(1));
    let wrong = LookupRequest { code: claims::returning(2).into(), ..right.clone() };
    let failure = failure(&backend, wrong.clone());
    assert!(matches!(*failure, CompileFailure::WrongHash { .. }), "{failure}");
    assert!(!compile(&backend, &wrong));
    assert_eq!(backend.stats().jit_helper_spawns, 0);
    assert!(compile(&backend, &right) && is_resident(&backend, &right));
}
