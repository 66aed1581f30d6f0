//! A system that lets no code be executed that a program has made.
//!
//! Each test has a process of its own, which forbids itself to map or make anything executable
//! (seccomp), as services are forbidden to.

#![cfg(all(feature = "cranelift", target_os = "linux"))]

mod common;

use common::{LONG, TARGET, call, database, enabled, evm, log::Warnings, numbered, summing};
use cranevm::{
    revm_evm::JitEvm,
    runtime::{CompileFailure, JitBackend, RuntimeConfig, RuntimeError, RuntimeTuning},
};
use cranevm_codegen::{CompileError, code_memory::CodeMemoryError};
use revm::{ExecuteEvm, primitives::U256};
use std::{
    env,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tracing::subscriber::with_default;

const CHILD: &str = "CRANEVM_TEST_NO_EXECUTABLE_MEMORY";

/// From now on nothing that isn't executable becomes so, in this thread and those that it starts.
fn forbid_executable_memory() {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let jump = |test, jt, jf, k| step(libc::BPF_JMP | test | libc::BPF_K, jt, jf, k);
    let answer = |value| step(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    // Of `seccomp_data`: the call's number, and the low half of its third argument.
    let (number, protection) = (0, 32);
    let mut filter = [
        load(number),
        jump(libc::BPF_JEQ, 2, 0, libc::SYS_mmap as u32),
        jump(libc::BPF_JEQ, 1, 0, libc::SYS_mprotect as u32),
        answer(libc::SECCOMP_RET_ALLOW),
        load(protection),
        jump(libc::BPF_JSET, 0, 1, libc::PROT_EXEC as u32),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes a privilege away from this process.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: reads `program`, which is whole.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0, "NOT RUN: the kernel takes no filter");
}

/// Whether this is a process of the test's own; else runs it in one.
fn is_child(test: &str) -> bool {
    if env::var_os(CHILD).is_some() {
        forbid_executable_memory();
        return true;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
    false
}

/// That a call failed for this very reason.
fn assert_refused(result: eyre::Result<()>) {
    let error = result.unwrap_err();
    let Some(RuntimeError::CompileFailed { failure, .. }) = error.downcast_ref() else {
        panic!("{error}");
    };
    let CompileFailure::Compiler(CompileError::CodeMemory(failure)) = &**failure else {
        panic!("{failure}");
    };
    assert!(matches!(failure, CodeMemoryError::NotExecutable { .. }), "{failure}");
}

/// It is told once, when the backend is made; whoever asks for code has the reason; nothing is
/// compiled in vain.
#[test]
fn r11_it_is_told_once_and_typed() {
    if !is_child("r11_it_is_told_once_and_typed") {
        return;
    }
    let told = Arc::new(AtomicUsize::new(0));
    // Of this thread alone: the filter is heard by nobody else.
    let warnings = || told.load(Ordering::SeqCst);
    with_default(Warnings(Arc::clone(&told)), || {
        let config = RuntimeConfig { blocking: true, ..enabled(RuntimeTuning::default()) };
        let backend = JitBackend::new(config).unwrap();
        assert_eq!(warnings(), 1, "at `new`");
        (0..250).for_each(|n| assert_refused(backend.compile_jit_sync(numbered(n))));
        // Nor is it one of the shortages that pass.
        backend.clear_resident();
        assert_refused(backend.compile_jit_sync(numbered(0)));
        assert_eq!(warnings(), 1, "once");
        let stats = backend.stats();
        assert_eq!((stats.compilations_succeeded, stats.jit_total_bytes()), (0, 0));
    });
}

/// Contracts run as ever.
#[test]
fn r11_contracts_are_interpreted() {
    if !is_child("r11_contracts_are_interpreted") {
        return;
    }
    let tuning = RuntimeTuning { jit_hot_threshold: 1, ..Default::default() };
    let backend = JitBackend::new(enabled(tuning)).unwrap();
    let database = database(&[(TARGET, &summing())]);
    let mut evm = JitEvm::new(evm(database, common::SPEC), backend.clone());
    for _ in 0..20 {
        let result = evm.transact(call()).unwrap().result;
        assert_eq!(U256::from_be_slice(result.output().unwrap()), U256::from(500_500));
        assert!(backend.wait_idle(LONG));
    }
    assert_eq!(backend.stats().compilations_failed, 1, "and isn't tried again");
}
