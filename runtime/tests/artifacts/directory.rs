//! Stores in directories that others use, too.

use crate::{
    common::{numbered, summing},
    world::{OwnStore, aot, backend, blocking, run},
};
use cranevm::{
    OptimizationLevel, eyre,
    runtime::{
        ArtifactKey, ArtifactManifest, ArtifactStore, BackendSelection, DirArtifactStore,
        StoredArtifact,
    },
};
use std::{fs, sync::Arc, thread};

#[test]
fn what_cant_be_deleted_keeps_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(DirArtifactStore::open_with_limit(directory.path(), 1).unwrap());
    let backend = backend(blocking(&store));
    let key = |n| ArtifactKey {
        runtime: numbered(n).key,
        backend: BackendSelection::Llvm,
        opt_level: OptimizationLevel::Default,
    };
    fs::create_dir(store.path_of(&key(1))).unwrap();
    for n in [2, 3] {
        backend.prepare_aot_sync(aot(&numbered(n))).unwrap();
    }
    assert!(!store.path_of(&key(2)).exists(), "it is beyond the limit");
    assert!(store.path_of(&key(3)).exists());
    store.clear().unwrap();
    assert!(!store.path_of(&key(3)).exists());
    assert!(store.path_of(&key(1)).is_dir(), "it isn't the store's");
}

#[cfg(unix)]
#[test]
fn a_directory_of_another_user_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    // Only root may give a directory away.
    if std::os::unix::fs::chown(directory.path(), Some(12_345), None).is_ok() {
        let error = DirArtifactStore::open(directory.path()).unwrap_err();
        assert_eq!(error.reason(), "foreign-owner", "{error}");
    }
}

/// Another process may put another artifact in the place of one that was just told of.
#[test]
fn a_file_that_was_replaced_meanwhile_is_read_again() {
    struct Stale(Arc<OwnStore>, StoredArtifact);
    impl ArtifactStore for Stale {
        fn load_all(&self) -> eyre::Result<Vec<(ArtifactKey, StoredArtifact)>> {
            Ok(vec![(self.1.manifest.artifact_key.clone(), self.1.clone())])
        }
        fn load(&self, key: &ArtifactKey) -> eyre::Result<Option<StoredArtifact>> {
            self.0.load(key)
        }
        fn store(&self, k: &ArtifactKey, m: &ArtifactManifest, b: &[u8]) -> eyre::Result<()> {
            self.0.store(k, m, b)
        }
        fn delete(&self, key: &ArtifactKey) -> eyre::Result<()> {
            self.0.delete(key)
        }
        fn clear(&self) -> eyre::Result<()> {
            self.0.clear()
        }
    }
    let store = OwnStore::new();
    run(&backend(blocking(&store)), &summing());
    let (_, mut stale) = store.load_all().unwrap().pop().unwrap();
    stale.manifest.content_hash[0] ^= 1;
    let second = backend(blocking(&Arc::new(Stale(Arc::clone(&store), stale))));
    let stats = second.stats();
    assert_eq!((stats.artifacts_loaded, stats.artifact_refusals.total()), (1, 0));
    assert_eq!(store.calls("delete"), 0);
}

#[test]
fn backends_may_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = || Arc::new(DirArtifactStore::open(directory.path()).unwrap());
    let [first, second] = [backend(blocking(&store())), backend(blocking(&store()))];
    run(&first, &summing());
    // The second doesn't know, and needn't compile.
    run(&second, &summing());
    let stats = second.stats();
    assert_eq!((stats.artifacts_loaded, stats.compilations_dispatched), (1, 0));
    thread::scope(|scope| {
        for backend in [&first, &second] {
            scope.spawn(move || {
                for n in 0..40 {
                    backend.compile_jit_sync(numbered(n)).unwrap();
                }
            });
        }
    });
    for backend in [first, second] {
        let stats = backend.stats();
        assert_eq!((stats.resident_entries, stats.artifact_refusals.total()), (41, 0));
    }
    assert_eq!(store().load_all().unwrap().len(), 41);
}
