//! Backends with helpers, and a look at what they leave behind.

use crate::{
    common::{LONG, eventually, is_resident},
    fake,
};
use cranevm::runtime::{
    CompileFailure, HelperError, JitBackend, JitMode, LookupRequest, RuntimeConfig, RuntimeError,
    RuntimeTuning,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

/// A time-out that a test can wait for, and that a good helper meets on a busy machine.
pub(crate) const SHORT: Duration = Duration::from_secs(1);

/// Runs a test, and fails unless all its children are gone and were waited for, and its descriptors
/// closed.
pub(crate) fn leaving_nothing(test: fn()) {
    let before = descriptors();
    test();
    eventually("a child is left", || children().is_empty());
    // The threads of a backend may close theirs a moment later.
    eventually("a descriptor is left", || descriptors() <= before);
}

/// Children of this process, zombies too.
pub(crate) fn children() -> Vec<u32> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    processes.filter(|&pid| stat(pid).is_some_and(|(_, parent)| parent == own)).collect()
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may contain anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process runs, or any thread of it, whosever it is.
pub(crate) fn runs(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    threads > 1 || stat(pid).is_some_and(|(state, _)| state != 'Z')
}

pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Kills a process by its number.
pub(crate) fn kill(pid: u32) {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {pid}");
}

/// A directory that is removed in the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cranevm-helper-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A program that is this one, with `settings` (`NAME=value ...`) in its environment.
    pub(crate) fn program(&self, settings: &str) -> PathBuf {
        let path = self.0.join("helper");
        let this = std::env::current_exe().unwrap();
        let script = format!("#!/bin/sh\n{settings} exec '{}'\n", this.display());
        fs::write(&path, script).unwrap();
        set_mode(&path, 0o755);
        path
    }

    /// A bad helper.
    pub(crate) fn fake(&self, mode: &str) -> PathBuf {
        self.program(&format!("{}={mode}", fake::MODE))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// With helpers, two workers, and code of any length.
pub(crate) fn config() -> RuntimeConfig {
    RuntimeConfig {
        enabled: true,
        jit_mode: JitMode::OutOfProcess,
        tuning: RuntimeTuning {
            jit_worker_count: 2,
            jit_max_bytecode_len: 0,
            jit_timeout: Duration::from_secs(30),
            ..Default::default()
        },
        ..Default::default()
    }
}

pub(crate) fn backend(config: RuntimeConfig) -> JitBackend {
    JitBackend::new(config).unwrap()
}

/// A backend whose helpers are `program`, with a short time-out.
pub(crate) fn backend_of(program: PathBuf) -> JitBackend {
    let mut config = RuntimeConfig { jit_helper_path: Some(program), ..config() };
    config.tuning.jit_timeout = SHORT;
    backend(config)
}

/// Why a synchronous compilation failed.
pub(crate) fn failure(backend: &JitBackend, request: LookupRequest) -> Arc<CompileFailure> {
    let error = backend.compile_jit_sync(request).unwrap_err();
    match error.downcast::<RuntimeError>().unwrap() {
        RuntimeError::CompileFailed { failure, .. } => failure,
        error => panic!("another error: {error}"),
    }
}

/// The helper's part in it.
pub(crate) fn helper_error(backend: &JitBackend, request: LookupRequest) -> HelperError {
    match &*failure(backend, request) {
        CompileFailure::Helper(error) => error.clone(),
        failure => panic!("another failure: {failure}"),
    }
}

/// Why a helper didn't become ready.
pub(crate) fn not_ready(backend: &JitBackend, request: LookupRequest) -> HelperError {
    match helper_error(backend, request) {
        HelperError::NotReady { cause, .. } => *cause,
        error => panic!("another error: {error}"),
    }
}

/// Compiles in the background, and waits for it.
pub(crate) fn compile(backend: &JitBackend, request: &LookupRequest) -> bool {
    backend.compile_jit(request.clone());
    assert!(backend.wait_idle(LONG));
    is_resident(backend, request)
}
