//! Stores of artifacts: what they keep, and what they survive.
//!
//! Some tests run this program again as a child, to be killed or to lack what it needs.

use alloy_primitives::{B256, keccak256};
use cranevm::{
    OptimizationLevel, SpecId,
    runtime::{
        ArtifactKey, ArtifactManifest, ArtifactStore, BackendSelection, DirArtifactStore,
        RuntimeArtifactStore, RuntimeCacheKey, StoreError, StoredArtifact,
    },
};
use std::{
    array, env, fs,
    fs::{File, FileTimes},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};
use tempfile::TempDir;

fn key(byte: u8) -> ArtifactKey {
    ArtifactKey {
        runtime: RuntimeCacheKey { code_hash: B256::repeat_byte(byte), spec_id: SpecId::CANCUN },
        backend: BackendSelection::Llvm,
        opt_level: OptimizationLevel::Default,
    }
}

fn manifest(key: &ArtifactKey, artifact: &[u8]) -> ArtifactManifest {
    ArtifactManifest {
        artifact_key: key.clone(),
        symbol_name: "symbol".into(),
        bytecode_len: 7,
        artifact_len: artifact.len(),
        created_at_unix_secs: 1,
        content_hash: keccak256(artifact).0,
    }
}

fn put(store: &dyn ArtifactStore, key: &ArtifactKey, artifact: &[u8]) {
    store.store(key, &manifest(key, artifact), artifact).unwrap();
}

/// The artifact's bytes, which must be those that the manifest tells of.
fn read(stored: &StoredArtifact) -> Vec<u8> {
    let mut bytes = fs::read(&stored.dylib_path).unwrap();
    bytes.truncate(stored.manifest.artifact_len);
    assert_eq!(keccak256(&bytes).0, stored.manifest.content_hash);
    bytes
}

fn store_in(directory: &TempDir) -> DirArtifactStore {
    DirArtifactStore::open(directory.path()).unwrap()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn check_store(store: &dyn ArtifactStore) {
    assert!(store.load(&key(1)).unwrap().is_none());
    store.delete(&key(1)).unwrap();
    put(store, &key(1), b"first");
    put(store, &key(2), b"second");
    put(store, &key(1), b"better");
    let stored = store.load(&key(1)).unwrap().unwrap();
    assert_eq!(read(&stored), b"better");
    assert_eq!(stored.manifest.artifact_key, key(1));
    let mut all = store.load_all().unwrap();
    all.sort_by_key(|(key, _)| key.runtime.code_hash);
    assert_eq!(all.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key(1), key(2)]);
    assert_eq!(read(&all[1].1), b"second");
    store.delete(&key(1)).unwrap();
    assert!(store.load(&key(1)).unwrap().is_none());
    store.clear().unwrap();
    assert!(store.load_all().unwrap().is_empty());
}

#[test]
fn stores_keep_and_delete() {
    check_store(&store_in(&directory()));
    let store = RuntimeArtifactStore::new().unwrap();
    check_store(&store);
    assert!(store.is_empty());
    put(&store, &key(1), b"x");
    put(&store, &key(1), b"y");
    assert_eq!(store.len(), 1);
    let path = store.load(&key(1)).unwrap().unwrap().dylib_path;
    drop(store);
    assert!(!path.exists(), "a temporary store leaves nothing behind");
}

#[test]
fn another_process_finds_what_was_stored() {
    let directory = directory();
    put(&store_in(&directory), &key(1), b"kept");
    let again = store_in(&directory);
    assert_eq!(read(&again.load(&key(1)).unwrap().unwrap()), b"kept");
    // Only its owner may read or write, and it is readable without this crate.
    let path = again.path_of(&key(1));
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
    let text = String::from_utf8(fs::read(path).unwrap()["kept".len()..].to_vec());
    let text = text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    assert!(text.contains(r#""spec":"Cancun""#) && text.contains(r#""artifact_len":4"#), "{text}");
}

#[test]
fn a_manifest_must_be_the_artifacts() {
    let directory = directory();
    let store = store_in(&directory);
    let error = store.store(&key(1), &manifest(&key(2), b"x"), b"x").unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(StoreError::Mismatch { .. })), "{error}");
    let error = store.store(&key(1), &manifest(&key(1), b"x"), b"xx").unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(StoreError::Mismatch { .. })), "{error}");
    assert!(store.load_all().unwrap().is_empty());
}

/// A damaged file keeps its key, so that whoever loads it can say what is wrong and delete it.
#[test]
fn damaged_files_are_found_by_their_name() {
    let directory = directory();
    let store = store_in(&directory);
    put(&store, &key(1), b"whole");
    let path = store.path_of(&key(1));
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let stored = store.load(&key(1)).unwrap().unwrap();
        assert_eq!(stored.manifest.artifact_len, len);
        let (found, _) = store.load_all().unwrap().pop().unwrap();
        assert_eq!(found, key(1));
        let entry = store.entries().unwrap().pop().unwrap();
        assert!(matches!(entry.artifact, Err(StoreError::Manifest { .. })), "{len}");
    }
    // A manifest that says it is longer than the file.
    let mut lying = whole.clone();
    let place = lying.len() - 8;
    lying[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    fs::write(&path, lying).unwrap();
    assert_eq!(store.load(&key(1)).unwrap().unwrap().manifest.bytecode_len, 0);
    store.delete_entry(&store.entries().unwrap()[0]).unwrap();
    assert!(store.entries().unwrap().is_empty());
}

#[test]
fn other_files_are_left_alone() {
    let directory = directory();
    let store = store_in(&directory);
    let (note, odd) = (directory.path().join("README"), directory.path().join("x.cranevm"));
    fs::write(&note, "not ours").unwrap();
    fs::write(&odd, "named like ours, but not by us").unwrap();
    assert!(store.load_all().unwrap().is_empty());
    let entries = store.entries().unwrap();
    assert_eq!(entries.len(), 1);
    assert!(matches!(entries[0].artifact, Err(StoreError::Name { .. })));
    store.clear().unwrap();
    assert!(note.exists() && !odd.exists());
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_refused() {
    let directory = directory();
    let store = store_in(&directory);
    let outside = tempfile::NamedTempFile::new().unwrap();
    put(&store, &key(1), b"whole");
    fs::copy(store.path_of(&key(1)), outside.path()).unwrap();
    fs::remove_file(store.path_of(&key(1))).unwrap();
    std::os::unix::fs::symlink(outside.path(), store.path_of(&key(1))).unwrap();
    std::os::unix::fs::symlink("/no/such/file", store.path_of(&key(2))).unwrap();
    fs::create_dir(store.path_of(&key(3))).unwrap();
    let pipe = store.path_of(&key(4));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for byte in 1..=4 {
        let error = store.load(&key(byte)).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(StoreError::NotAFile { .. })), "{error}");
    }
    assert!(store.load_all().unwrap().is_empty());
    assert_eq!(store.entries().unwrap().len(), 4);
    // Stored in their place, and deleted, without a look at what they lead to.
    put(&store, &key(1), b"mine");
    assert_eq!(read(&store.load(&key(1)).unwrap().unwrap()), b"mine");
    store.delete(&key(2)).unwrap();
    store.delete(&key(4)).unwrap();
    assert!(fs::read(outside.path()).unwrap().starts_with(b"whole"));
}

#[test]
fn the_least_recently_used_go_first() {
    let directory = directory();
    let store = DirArtifactStore::open_with_limit(directory.path(), 10_000).unwrap();
    let hours_ago = |hours| SystemTime::now() - Duration::from_secs(3600 * hours);
    let age = |byte, hours| {
        let times = FileTimes::new().set_accessed(hours_ago(hours)).set_modified(hours_ago(hours));
        let file = File::options().write(true).open(store.path_of(&key(byte))).unwrap();
        file.set_times(times).unwrap();
    };
    for byte in 1..=4 {
        put(&store, &key(byte), &[byte; 2000]);
        age(byte, 10 - u64::from(byte));
    }
    // The first is the oldest, but is used now.
    assert!(store.load(&key(1)).unwrap().is_some());
    put(&store, &key(5), &[5; 2000]);
    let left: Vec<_> = (1..=5).filter(|&byte| store.load(&key(byte)).unwrap().is_some()).collect();
    assert_eq!(left, [1, 4, 5], "down to nine tenths of the limit");
    // One that alone is too much is kept, and another process goes on from what is there.
    let again = DirArtifactStore::open_with_limit(directory.path(), 10_000).unwrap();
    put(&again, &key(6), &[6; 20_000]);
    assert_eq!(again.load_all().unwrap().len(), 1);
}

#[cfg(unix)]
#[test]
fn a_directory_that_everybody_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = directory();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = DirArtifactStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::WorldWritable { .. }), "{error}");
    assert!(error.to_string().contains("chmod o-w"), "{error}");
}

#[test]
fn a_directory_that_cant_be_used_is_told() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = DirArtifactStore::open(file.join("store")).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    let store = DirArtifactStore::open(directory.path().join("gone")).unwrap();
    put(&store, &key(1), b"x");
    fs::remove_dir_all(store.directory()).unwrap();
    assert!(store.load(&key(1)).unwrap().is_none());
    assert!(store.load_all().is_err());
    let error = store.store(&key(1), &manifest(&key(1), b"x"), b"x").unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(StoreError::Io { .. })), "{error}");
}

#[test]
fn what_was_left_unfinished_is_deleted_when_old() {
    let directory = directory();
    let [old, young] =
        ["old", "young"].map(|name| directory.path().join(format!(".unfinished-{name}")));
    for path in [&old, &young] {
        fs::write(path, "half").unwrap();
    }
    let day_ago = SystemTime::now() - Duration::from_secs(24 * 3600);
    let times = FileTimes::new().set_modified(day_ago);
    File::options().write(true).open(&old).unwrap().set_times(times).unwrap();
    let store = store_in(&directory);
    assert!(!old.exists() && young.exists(), "somebody may be writing the young one");
    assert!(store.load_all().unwrap().is_empty());
}

/// What a child process is to do, and where.
const ROLE: &str = "CRANEVM_TEST_ROLE";
const PLACE: &str = "CRANEVM_TEST_PLACE";
/// The number of a writer, of less than [`WRITERS`].
const WRITER: &str = "CRANEVM_TEST_WRITER";
/// How many processes write at once.
const WRITERS: usize = 2;

/// Not a test by itself: what a child does.
#[test]
fn child() {
    let (Ok(role), Some(place)) = (env::var(ROLE), env::var_os(PLACE)) else { return };
    let store = DirArtifactStore::open(PathBuf::from(place)).unwrap();
    match role.as_str() {
        // Until killed; far longer than a test takes.
        "write" => {
            let writer = env::var(WRITER).unwrap().parse().unwrap();
            (0..usize::MAX).for_each(|round| put(&store, &key(1), &artifact(writer, round)));
        }
        "write full" => {
            let artifact = vec![1; 1 << 20];
            let error = store.store(&key(1), &manifest(&key(1), &artifact), &artifact).unwrap_err();
            assert!(matches!(error.downcast_ref(), Some(StoreError::Io { .. })), "{error}");
            println!("refused: {error}");
        }
        other => panic!("unknown role {other}"),
    }
}

/// One of many artifacts for the same key. No two writers and no two rounds (of 800,000 that follow
/// each other) make the same: a reader takes an artifact that came back for one that never left.
fn artifact(writer: usize, round: usize) -> Vec<u8> {
    let length = 200_000 + round * 7919 % 50_000 * WRITERS + writer;
    vec![round as u8; length]
}

fn child_command(role: &str, place: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(ROLE, role).env(PLACE, place);
    command
}

fn spawn_writer(place: &Path, number: usize) -> Child {
    let mut command = child_command("write", place);
    command.env(WRITER, number.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Reads what is there, which must be whole; `false` if there is nothing, or another artifact took
/// its place between the two looks.
fn check_whole(store: &DirArtifactStore) -> bool {
    let Some(stored) = store.load(&key(1)).unwrap() else { return false };
    let mut bytes = fs::read(&stored.dylib_path).unwrap();
    bytes.truncate(stored.manifest.artifact_len);
    if keccak256(&bytes).0 != stored.manifest.content_hash {
        let now = store.load(&key(1)).unwrap().unwrap();
        assert_ne!(now.manifest.content_hash, stored.manifest.content_hash, "it is damaged");
        return false;
    }
    assert!(bytes.iter().all(|&byte| byte == bytes[0]), "half of two");
    true
}

#[test]
fn a_writer_may_be_killed_at_any_time() {
    let directory = directory();
    let store = store_in(&directory);
    let (mut kills, mut left) = (0u64, 0);
    while kills < 40 {
        let mut writer = spawn_writer(directory.path(), 0);
        thread::sleep(Duration::from_micros(5_000 + kills * 1_937));
        writer.kill().unwrap();
        writer.wait().unwrap();
        kills += 1;
        if let Some(stored) = store.load(&key(1)).unwrap() {
            let bytes = read(&stored);
            assert!(bytes.iter().all(|&byte| byte == bytes[0]), "half of two");
        }
        left = fs::read_dir(directory.path()).unwrap().count();
    }
    assert!(store.load(&key(1)).unwrap().is_some(), "no writer came to an end");
    assert!(left > 1, "no writer was killed while it wrote: the test shows nothing");
}

#[test]
fn two_processes_may_write_the_same_key() {
    let directory = directory();
    let store = store_in(&directory);
    let mut writers: [Child; WRITERS] =
        array::from_fn(|number| spawn_writer(directory.path(), number));
    let (start, mut seen) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(700)
        || (seen < 20 && start.elapsed().as_secs() < 60)
    {
        seen += u32::from(check_whole(&store));
    }
    for writer in &mut writers {
        assert!(writer.try_wait().unwrap().is_none(), "a writer failed");
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    assert!(seen >= 20);
    read(&store.load(&key(1)).unwrap().unwrap());
}

/// A limit on the size of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_directory_is_told_and_leaves_nothing() {
    let directory = directory();
    let child = child_command("write full", directory.path());
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 64; trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(child.get_program())
        .args(child.get_args())
        .env(ROLE, "write full")
        .env(PLACE, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("refused: "), "{text}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
