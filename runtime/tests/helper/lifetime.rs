//! Helpers end when their backend does, however that ends.

use crate::{
    common::{LONG, eventually, long_code, numbered, request},
    tests,
    world::{Folder, backend, children, compile, config, kill, runs},
};
use cranevm::runtime::{JitBackend, RuntimeConfig, RuntimeTuning};
use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Names what a second process of this program does in a test.
pub(crate) const ROLE: &str = "CRANEVM_TEST_ROLE";

tests![
    helpers_end_with_the_last_handle,
    the_end_does_not_wait_for_a_helper_that_hangs,
    callers_go_on_after_the_end_of_the_background,
    helpers_end_with_their_parent,
    helpers_outlive_the_caller_that_started_them,
];

fn helpers_end_with_the_last_handle() {
    let backend = backend(config());
    (0..10).for_each(|n| backend.compile_jit(numbered(n)));
    assert!(backend.wait_idle(LONG));
    assert!(!children().is_empty());
    let start = Instant::now();
    drop(backend);
    assert!(children().is_empty());
    assert!(start.elapsed() < Duration::from_secs(3));
}

fn the_end_does_not_wait_for_a_helper_that_hangs() {
    let folder = Folder::new();
    let tuning = RuntimeTuning { shutdown_timeout: Duration::from_secs(20), ..config().tuning };
    let helper = Some(folder.fake("hangs"));
    let backend = backend(RuntimeConfig { jit_helper_path: helper, tuning, ..config() });
    backend.compile_jit(numbered(1));
    eventually("the helper has the job", || backend.stats().jit_helper_spawns == 1);
    let start = Instant::now();
    drop(backend);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(children().is_empty());
}

fn callers_go_on_after_the_end_of_the_background() {
    let backend = backend(config());
    assert!(compile(&backend, &numbered(1)));
    backend.shut_down();
    assert!(children().is_empty());
    backend.compile_jit_sync(numbered(2)).unwrap();
    assert_eq!(children().len(), 1);
}

/// A process of this program that plays a role, and what it says first.
fn player(role: &str) -> (std::process::Child, String) {
    let mut command = Command::new(env::current_exe().unwrap());
    let mut player = command.env(ROLE, role).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(player.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (player, line.trim().to_owned())
}

/// What a second process does.
pub(crate) fn play(role: &str) {
    let backend = backend(config());
    match role {
        // Started by a caller, and so told by the end of its input.
        "caller" => backend.compile_jit_sync(numbered(1)).unwrap(),
        // Started by a worker, and so told by the system.
        "worker" => assert!(compile(&backend, &numbered(1))),
        "busy" => {
            assert!(compile(&backend, &numbered(1)));
            backend.compile_jit(request(&long_code(60_000).repeat(30)));
            thread::sleep(Duration::from_millis(20));
        }
        "replaced" => return replaced(&backend),
        _ => panic!("no role {role}"),
    }
    let numbers: Vec<_> = children().iter().map(ToString::to_string).collect();
    println!("{}", numbers.join(" "));
    std::io::stdout().flush().unwrap();
    thread::sleep(LONG);
}

fn helpers_end_with_their_parent() {
    for role in ["caller", "worker", "busy"] {
        let (mut parent, line) = player(role);
        let helpers: Vec<u32> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        assert!(helpers.iter().all(|&helper| runs(helper)), "{role}: {line:?}");
        kill(parent.id());
        parent.wait().unwrap();
        eventually("a helper lives on", || !helpers.iter().any(|&helper| runs(helper)));
    }
}

/// A helper that a thread has started isn't bound to that thread.
fn helpers_outlive_the_caller_that_started_them() {
    let backend = backend(config());
    for n in 0..5 {
        thread::scope(|scope| {
            scope.spawn(|| backend.compile_jit_sync(numbered(n)).unwrap());
        });
        thread::sleep(Duration::from_millis(20));
    }
    let stats = backend.stats();
    assert_eq!((stats.jit_helper_spawns, stats.jit_helper_disconnects), (1, 0));
}

/// The file of this program was replaced while it runs; its helpers are of the same build all the
/// same.
fn replaced(backend: &JitBackend) {
    let path = env::current_exe().unwrap();
    let other = path.with_extension("new");
    fs::write(&other, "#!/bin/sh\necho of another version\n").unwrap();
    crate::world::set_mode(&other, 0o755);
    fs::rename(&other, &path).unwrap();
    let outcome = match backend.compile_jit_sync(numbered(1)) {
        Ok(()) => "compiled".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    fs::remove_file(&path).unwrap();
    let again = backend.compile_jit_sync(numbered(2)).is_ok();
    println!("{outcome} {again} {}", backend.stats().jit_helper_spawns);
}

/// Runs a copy of this program that is replaced meanwhile, and returns what it says.
pub(crate) fn upgraded_in_place() -> String {
    let folder = Folder::new();
    let copy = folder.0.join("node");
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    let output = Command::new(&copy).env(ROLE, "replaced").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
