//! Helpers that aren't there, aren't helpers, or do wrong: one job fails with a typed reason, code
//! is interpreted, and the time-out holds.

use crate::{
    common::{
        LONG, TARGET, call, database, eventually, evm, is_resident, log::Warnings, numbered,
        request, summing,
    },
    tests,
    world::{
        Folder, SHORT, backend, backend_of, children, config, failure, helper_error, kill,
        not_ready, runs, set_mode,
    },
};
use cranevm::{
    ArtifactError, SpecId,
    revm_evm::JitEvm,
    runtime::{CompileFailure, HelperError, JitBackend, RuntimeConfig, WireError},
};
use revm::ExecuteEvm;
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tracing::subscriber::with_default;

tests![
    a_helper_that_is_missing,
    a_helper_that_is_not_executable,
    a_helper_of_another_version,
    a_program_that_is_no_helper,
    a_helper_that_does_not_become_ready,
    a_helper_that_refuses_its_settings,
    a_helper_that_dies_at_a_job,
    a_helper_that_hangs_at_a_job,
    a_helper_that_talks_nonsense,
    code_of_something_else,
    a_helper_that_is_killed_at_a_job,
    a_helper_that_is_killed_while_idle,
    a_hundred_crashes,
    a_hundred_crashes_with_work_in_between,
];

/// The contract is interpreted, whatever ails the backend.
fn is_interpreted(backend: &JitBackend) {
    let code = summing();
    let run = |backend: JitBackend| {
        let world = database(&[(TARGET, &code)]);
        JitEvm::new(evm(world, SpecId::CANCUN), backend).transact(call()).unwrap()
    };
    assert_eq!(run(backend.clone()), run(JitBackend::disabled()));
    assert!(!is_resident(backend, &request(&code)));
}

fn a_helper_that_is_missing() {
    let backend = backend_of(PathBuf::from("/no/such/helper"));
    let errors = Arc::new(AtomicUsize::new(0));
    with_default(Warnings(Arc::clone(&errors)), || {
        for n in 0..200 {
            match helper_error(&backend, numbered(n)) {
                HelperError::Start { program, problem } => {
                    assert_eq!(program, "/no/such/helper");
                    assert!(!problem.is_empty());
                }
                HelperError::BackingOff { failures, rest } => {
                    assert!(failures > 1 && rest <= Duration::from_secs(10));
                }
                error => panic!("{error}"),
            }
        }
    });
    assert_eq!(errors.load(Ordering::SeqCst), 1, "told once");
    let stats = backend.stats();
    assert!((2..=5).contains(&stats.jit_helper_spawn_failures), "{stats:?}");
    assert_eq!((stats.jit_helper_spawns, stats.jit_helper_restarts), (0, 0));
    is_interpreted(&backend);
    // What is asked of workers meanwhile is refused and counted.
    backend.compile_jit(numbered(1));
    assert!(backend.wait_idle(LONG));
    assert_eq!(backend.stats().commands_dropped, 1);
    assert_eq!(backend.stats().pending_jobs, 0);
}

fn a_helper_that_is_not_executable() {
    let folder = Folder::new();
    let path = folder.fake("exits");
    set_mode(&path, 0o644);
    let backend = backend_of(path.clone());
    let error = helper_error(&backend, numbered(1));
    assert!(matches!(&error, HelperError::Start { problem, .. } if problem.contains("denied")));
    is_interpreted(&backend);
    // Once that is mended, helpers come back by themselves.
    fs::write(&path, "").unwrap();
    let mended = folder.program("");
    assert_eq!(mended, path);
    eventually("helpers come back", || backend.compile_jit_sync(numbered(1)).is_ok());
    assert_eq!(backend.stats().jit_helper_spawns, 1);
}

fn a_helper_of_another_version() {
    let folder = Folder::new();
    for (mode, differs) in [
        ("other-protocol", "protocol version"),
        ("other-build", "build"),
        ("other-abi", "interface of compiled code"),
    ] {
        let backend = backend_of(folder.fake(mode));
        match not_ready(&backend, numbered(1)) {
            HelperError::Mismatch { what, expected, found } => {
                assert_eq!(what, differs);
                assert_ne!(expected, found);
            }
            error => panic!("{mode}: {error}"),
        }
        is_interpreted(&backend);
        let stats = backend.stats();
        assert_eq!((stats.jit_helper_spawns, stats.jit_helper_spawn_failures), (0, 1), "{mode}");
    }
}

fn a_program_that_is_no_helper() {
    let folder = Folder::new();
    let backend = backend_of(folder.fake("chatters"));
    let error = not_ready(&backend, numbered(1));
    assert!(matches!(error, HelperError::Protocol(WireError::NoGreeting { .. })), "{error}");
    is_interpreted(&backend);
    let backend = backend_of(PathBuf::from("/bin/true"));
    let error = not_ready(&backend, numbered(1));
    assert!(matches!(&error, HelperError::Ended { status } if status.contains('0')), "{error}");
    is_interpreted(&backend);
    // It lives on with its pipes closed, and what kills it is the backend, not somebody.
    let path = folder.0.join("hangs-up");
    fs::write(&path, "#!/bin/sh\nexec sleep 600 <&- >&-\n").unwrap();
    set_mode(&path, 0o755);
    let backend = backend_of(path);
    let error = not_ready(&backend, numbered(1));
    assert!(matches!(error, HelperError::Ended { .. }), "{error}");
    is_interpreted(&backend);
}

fn a_helper_that_does_not_become_ready() {
    let folder = Folder::new();
    for mode in ["silent", "drips", "silent-at-setup"] {
        let backend = backend_of(folder.fake(mode));
        let start = Instant::now();
        let error = not_ready(&backend, numbered(1));
        assert!(matches!(error, HelperError::TimedOut { limit } if limit == SHORT), "{error}");
        assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT + Duration::from_secs(3));
        is_interpreted(&backend);
        let stats = backend.stats();
        assert_eq!((stats.jit_helper_spawn_failures, stats.jit_helper_timeouts), (1, 0), "{mode}");
    }
    for mode in ["exits", "exits-at-setup"] {
        let backend = backend_of(folder.fake(mode));
        let error = not_ready(&backend, numbered(1));
        assert!(matches!(error, HelperError::Ended { .. }), "{mode}: {error}");
        is_interpreted(&backend);
    }
}

fn a_helper_that_refuses_its_settings() {
    let folder = Folder::new();
    let backend = backend_of(folder.program("REVMC_JIT_HELPER_CPU_COUNT=several"));
    match not_ready(&backend, numbered(1)) {
        HelperError::Refused { problem } => {
            assert_eq!(problem, "REVMC_JIT_HELPER_CPU_COUNT=several is no number");
        }
        error => panic!("{error}"),
    }
    is_interpreted(&backend);
    // Too little memory to begin with.
    let mut config = config();
    config.tuning.jit_helper_memory_limit_bytes = 4096;
    let backend = crate::world::backend(config);
    assert!(matches!(helper_error(&backend, numbered(1)), HelperError::NotReady { .. }));
    is_interpreted(&backend);
}

/// Whatever becomes of a job, it costs that job: it isn't tried again, and the next has a helper.
fn costs_one_job(mode: &str, is_right: impl Fn(&HelperError) -> bool) -> JitBackend {
    let folder = Folder::new();
    let backend = backend_of(folder.fake(mode));
    let start = Instant::now();
    let error = helper_error(&backend, numbered(1));
    assert!(is_right(&error), "{mode}: {error}");
    assert!(start.elapsed() < 2 * SHORT + Duration::from_secs(3), "{mode}: {:?}", start.elapsed());
    let again = failure(&backend, numbered(1));
    assert!(matches!(&*again, CompileFailure::Helper(_)));
    assert_eq!(backend.stats().compilations_dispatched, 1, "{mode}: remembered");
    // From now on it is a good helper.
    folder.program("");
    backend.compile_jit_sync(numbered(2)).unwrap();
    is_interpreted(&backend);
    let stats = backend.stats();
    let ends = stats.jit_helper_timeouts + stats.jit_helper_disconnects;
    assert_eq!((ends, stats.jit_helper_spawns, stats.jit_helper_restarts), (1, 2, 1), "{mode}");
    assert_eq!((stats.compilations_succeeded, stats.compilations_failed), (1, 1));
    backend
}

fn a_helper_that_dies_at_a_job() {
    for mode in ["dies", "dies-in-a-reply"] {
        costs_one_job(
            mode,
            |error| matches!(error, HelperError::Ended { status } if status.contains("status: 1")),
        );
    }
    let backend = costs_one_job(
        "kills-itself",
        |error| matches!(error, HelperError::Ended { status } if status.contains("SIGABRT")),
    );
    assert_eq!(backend.stats().jit_helper_disconnects, 1);
}

fn a_helper_that_hangs_at_a_job() {
    for mode in ["hangs", "hangs-in-a-reply", "replies-slowly"] {
        let backend = costs_one_job(
            mode,
            |error| matches!(error, HelperError::TimedOut { limit } if *limit == SHORT),
        );
        assert_eq!(backend.stats().jit_helper_timeouts, 1);
    }
    // One that reads nothing, and a job that fills its pipe.
    let folder = Folder::new();
    let backend = backend_of(folder.fake("reads-nothing"));
    let start = Instant::now();
    let error = helper_error(&backend, request(&[0x5b; 2 << 20]));
    assert!(matches!(error, HelperError::TimedOut { .. }), "{error}");
    assert!(start.elapsed() < 2 * SHORT + Duration::from_secs(3));
}

fn a_helper_that_talks_nonsense() {
    costs_one_job("replies-without-end", |error| {
        matches!(error, HelperError::Protocol(WireError::TooLong { .. }))
    });
    costs_one_job("other-id", |error| {
        matches!(error, HelperError::Protocol(WireError::WrongReply { .. }))
    });
    costs_one_job("greets-again", |error| {
        matches!(error, HelperError::Protocol(WireError::Unexpected { kind: 16, .. }))
    });
}

fn code_of_something_else() {
    costs_one_job("other-contract", |error| {
        matches!(error, HelperError::Artifact(ArtifactError::Bytecode { .. }))
    });
    costs_one_job("other-spec", |error| {
        matches!(error, HelperError::Artifact(ArtifactError::Spec { .. }))
    });
    costs_one_job("garbles", |error| {
        matches!(error, HelperError::Artifact(ArtifactError::ContentHash))
    });
}

/// Nobody knows what a helper was killed for: its job has a second chance, and no third.
fn a_helper_that_is_killed_at_a_job() {
    let folder = Folder::new();
    let config = RuntimeConfig { jit_helper_path: Some(folder.fake("hangs")), ..config() };
    let backend = backend(config);
    let killed_at = |n: u64| {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| helper_error(&backend, numbered(1)));
            eventually("the helper has the job", || backend.stats().jit_helper_spawns == n);
            thread::sleep(Duration::from_millis(20));
            let start = Instant::now();
            children().into_iter().for_each(kill);
            let error = waiting.join().unwrap();
            assert!(matches!(&error, HelperError::Killed { status } if status.contains("SIGKILL")));
            assert!(start.elapsed() < Duration::from_secs(3));
        });
        assert_eq!(backend.stats().jit_helper_disconnects, n);
    };
    killed_at(1);
    killed_at(2);
    folder.program("");
    helper_error(&backend, numbered(1));
    assert_eq!(backend.stats().compilations_dispatched, 2, "remembered");
    thread::sleep(Duration::from_millis(150));
    backend.compile_jit_sync(numbered(2)).unwrap();
    // A clear forgets.
    backend.clear_resident();
    backend.compile_jit_sync(numbered(1)).unwrap();
}

fn a_helper_that_is_killed_while_idle() {
    let backend = backend(config());
    for n in 0..5 {
        backend.compile_jit_sync(numbered(n)).unwrap();
        let helpers = children();
        helpers.iter().copied().for_each(kill);
        eventually("they end", || !helpers.iter().any(|&helper| runs(helper)));
        if n % 2 == 0 {
            // By the housekeeping thread, if not by the next job.
            eventually("they are waited for", || children().is_empty());
        }
    }
    let stats = backend.stats();
    assert_eq!((stats.compilations_succeeded, stats.compilations_failed), (5, 0));
    assert_eq!((stats.jit_helper_spawns, stats.jit_helper_restarts), (5, 4));
}

/// A hundred jobs, each of which would be a crash, start few helpers.
fn a_hundred_crashes() {
    let folder = Folder::new();
    let backend = backend_of(folder.fake("dies"));
    let (mut crashes, mut refusals) = (0, 0);
    for n in 0..100 {
        match helper_error(&backend, numbered(n)) {
            HelperError::Ended { .. } => crashes += 1,
            HelperError::BackingOff { .. } => refusals += 1,
            error => panic!("{error}"),
        }
    }
    assert!((2..10).contains(&crashes) && refusals > 80, "{crashes} crashes, {refusals} refusals");
    let stats = backend.stats();
    assert_eq!((stats.jit_helper_spawns, stats.jit_helper_disconnects), (crashes, crashes));
    is_interpreted(&backend);
    folder.program("");
    // Refusals aren't held against the code.
    eventually("helpers come back", || backend.compile_jit_sync(numbered(99)).is_ok());
}

/// A hundred helpers that each do a job and then die over one: all of them are replaced.
fn a_hundred_crashes_with_work_in_between() {
    let folder = Folder::new();
    // With a time-out that isn't met by chance once in two hundred.
    let helper = Some(folder.fake("good-for-one-job"));
    let backend = backend(RuntimeConfig { jit_helper_path: helper, ..config() });
    for n in 0..100 {
        backend.compile_jit_sync(numbered(2 * n)).unwrap();
        let error = helper_error(&backend, numbered(2 * n + 1));
        assert!(matches!(error, HelperError::Ended { .. }), "{error}");
    }
    let stats = backend.stats();
    assert_eq!((stats.compilations_succeeded, stats.compilations_failed), (100, 100));
    assert_eq!((stats.jit_helper_disconnects, stats.jit_helper_restarts), (100, 99));
    assert!(children().is_empty(), "no zombies");
    is_interpreted(&backend);
}
