//! What helpers are for: programs, dumps and events, within limits.

use crate::{
    common::{
        LONG, SPEC, TARGET, call,
        chain::{ChainInstruction, chain_evm, push_42},
        database, eventually, evm, is_resident, long_code, numbered, request, summing,
    },
    tests,
    world::{Folder, backend, children, compile, config, failure, helper_error, kill, runs},
};
use cranevm::{
    OptimizationLevel, SpecId,
    revm_evm::JitEvm,
    runtime::{
        AotRequest, HelperError, JitBackend, LookupDecision, LookupRequest, ProgramKind,
        ProgramStatus, RuntimeArtifactStore, RuntimeConfig, RuntimeError, RuntimeTuning,
    },
};
use revm::{
    ExecuteEvm,
    bytecode::opcode::*,
    context_interface::cfg::{GasId, GasParams},
};
use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

tests![
    a_contract_is_compiled_and_runs_as_interpreted,
    the_background_compiles_at_both_levels,
    blocking_lookups_have_helpers_of_their_own,
    what_the_compiler_refuses_is_remembered,
    memory_and_processors_are_limited,
    who_takes_too_much_memory_dies_alone,
    dumps_are_written_where_they_are_to_go,
    other_prices_are_not_compiled_for,
    a_clear_makes_what_is_under_way_futile,
    callers_wait_no_longer_than_they_said,
    artifacts_are_made_in_helpers,
    what_found_no_helper_gets_better_later,
    helpers_leave_out_what_is_foreign_to_an_evm,
];

fn a_contract_is_compiled_and_runs_as_interpreted() {
    let backend = backend(config());
    let code = summing();
    backend.compile_jit_sync(request(&code)).unwrap();
    assert!(is_resident(&backend, &request(&code)));
    let run = |backend: JitBackend| {
        let world = database(&[(TARGET, &code)]);
        JitEvm::new(evm(world, SpecId::CANCUN), backend).transact(call()).unwrap()
    };
    assert_eq!(run(backend.clone()), run(JitBackend::disabled()));
    assert_eq!(backend.hand_overs(), 0, "it ran natively");
    assert!(backend.stats().lookup_hits > 0);
    let stats = backend.stats();
    assert_eq!((stats.jit_helper_spawns, stats.jit_helper_spawn_failures), (1, 0));
    assert_eq!((stats.compilations_succeeded, stats.compilations_failed), (1, 0));
}

fn helpers_leave_out_what_is_foreign_to_an_evm() {
    let backend = backend(RuntimeConfig { blocking: true, ..config() });
    let code = [NUMBER, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN];
    backend.compile_jit_sync(request(&code)).unwrap();
    let build = || {
        let mut evm = chain_evm(&code, SPEC);
        let table = evm.instruction.instruction_table_mut();
        table[usize::from(NUMBER)] = ChainInstruction::new(push_42);
        evm
    };
    let expected = build().transact(call()).unwrap();
    assert_eq!(expected.result.output().and_then(|output| output.last()), Some(&42));
    let mut jit = JitEvm::new(build(), backend.clone());
    for _ in 0..2 {
        assert_eq!(jit.transact(call()).unwrap(), expected);
    }
    assert_eq!(backend.hand_overs(), 2, "once for each NUMBER");
    assert_eq!(backend.stats().compilations_succeeded, 2);
}

fn the_background_compiles_at_both_levels() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&events);
    let config = RuntimeConfig {
        on_compilation: Some(Arc::new(move |event| heard.lock().unwrap().push(event))),
        ..config()
    };
    let backend = backend(config);
    for n in 0..20 {
        assert!(compile(&backend, &numbered(n)));
        assert!(matches!(backend.status(&numbered(n).key), ProgramStatus::Ready));
    }
    let events = events.lock().unwrap();
    assert_eq!(events.len(), 20);
    for event in &*events {
        assert!(event.success && event.timings.codegen > Duration::ZERO);
        assert!(event.duration >= event.timings.codegen);
    }
    let stats = backend.stats();
    assert_eq!((stats.compilations_succeeded, stats.compilations_failed), (20, 0));
    assert_eq!((stats.upgrades_succeeded, stats.upgrades_failed), (20, 0));
    assert!((1..=2).contains(&stats.jit_helper_spawns), "{stats:?}");
    assert_eq!(children().len() as u64, stats.jit_helper_spawns);
}

fn blocking_lookups_have_helpers_of_their_own() {
    let backend = backend(RuntimeConfig { blocking: true, ..config() });
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let backend = &backend;
            scope.spawn(move || {
                for n in 0..10 {
                    let decision = backend.lookup(numbered(thread * 10 + n));
                    assert!(matches!(decision, LookupDecision::Compiled(_)));
                }
            });
        }
    });
    let stats = backend.stats();
    assert_eq!((stats.resident_entries, stats.compilations_failed), (80, 0));
    // Two, for there are two workers. These weren't asked.
    assert!((1..=2).contains(&stats.jit_helper_spawns), "{stats:?}");
}

fn what_the_compiler_refuses_is_remembered() {
    let backend = backend(config());
    let refused = crate::common::refused();
    let error = helper_error(&backend, refused.clone());
    assert!(matches!(&error, HelperError::Compiler { message } if message.contains("16777217")));
    let again = failure(&backend, refused.clone());
    assert!(matches!(backend.status(&refused.key), ProgramStatus::Failed(known)
        if Arc::ptr_eq(&known, &again)));
    let stats = backend.stats();
    assert_eq!((stats.compilations_dispatched, stats.jit_helper_disconnects), (1, 0));
    // More than a helper is ever sent.
    let error = helper_error(&backend, request(&vec![0; 33 << 20]));
    assert!(matches!(error, HelperError::TooLong { .. }), "{error}");
    backend.compile_jit_sync(numbered(2)).unwrap();
    assert_eq!(backend.stats().jit_helper_spawns, 1, "the helper has seen nothing bad");
}

fn limited(memory: u64) -> RuntimeConfig {
    let mut config = config();
    config.tuning.jit_helper_memory_limit_bytes = memory;
    config.tuning.jit_helper_cpu_count = 1;
    config
}

fn memory_and_processors_are_limited() {
    let memory = 1 << 30;
    let backend = backend(limited(memory));
    backend.compile_jit_sync(numbered(1)).unwrap();
    let [helper] = children()[..] else { panic!("one helper") };
    let limits = fs::read_to_string(format!("/proc/{helper}/limits")).unwrap();
    let of_space = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
    assert_eq!(of_space.matches(&memory.to_string()).count(), 2, "{of_space}");
    let status = fs::read_to_string(format!("/proc/{helper}/status")).unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:\t")).unwrap();
    let bits: u32 =
        allowed.chars().filter_map(|digit| digit.to_digit(16)).map(u32::count_ones).sum();
    assert_eq!(bits, 1, "{allowed}");
}

fn who_takes_too_much_memory_dies_alone() {
    let backend = backend(limited(192 << 20));
    backend.compile_jit_sync(numbered(1)).unwrap();
    let large = request(&long_code(60_000).repeat(100));
    let error = helper_error(&backend, large.clone());
    assert!(
        matches!(&error, HelperError::Ended { status } if status.contains("signal")),
        "{error}"
    );
    backend.compile_jit_sync(numbered(2)).unwrap();
    assert!(matches!(backend.status(&large.key), ProgramStatus::Failed(_)));
    let stats = backend.stats();
    assert_eq!((stats.jit_helper_disconnects, stats.jit_helper_restarts), (1, 1));
    assert_eq!((stats.compilations_succeeded, stats.compilations_failed), (2, 1));
}

fn dumps_are_written_where_they_are_to_go() {
    let folder = Folder::new();
    // A name that isn't Unicode arrives as it is.
    let directory = folder.0.join(OsStr::from_bytes(b"dumps \xff\n"));
    let backend = backend(RuntimeConfig { dump_dir: Some(directory.clone()), ..config() });
    assert!(compile(&backend, &numbered(1)));
    let contract = directory.join("CANCUN").join(numbered(1).key.code_hash.to_string());
    let files: Vec<_> = fs::read_dir(&contract).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(files.len() > 5, "{files:?}");
    assert_eq!(backend.stats().compilations_failed, 0);
}

fn other_prices_are_not_compiled_for() {
    let mut params = GasParams::new_spec(SpecId::CANCUN);
    params.override_gas([(GasId::memory_linear_cost(), 4)]);
    let backend = backend(RuntimeConfig { gas_params: Some(params), ..config() });
    assert!(!compile(&backend, &numbered(1)));
    assert!(backend.compile_jit_sync(numbered(1)).is_err());
    assert_eq!(backend.stats().jit_helper_spawns, 0);
}

fn a_clear_makes_what_is_under_way_futile() {
    let backend = backend(config());
    let large = request(&long_code(60_000));
    for delay in [0, 1, 3, 10, 30] {
        backend.compile_jit(large.clone());
        std::thread::sleep(Duration::from_millis(delay));
        backend.clear_resident();
        assert!(backend.wait_idle(LONG));
        assert!(!is_resident(&backend, &large));
    }
    assert!(compile(&backend, &large));
    let stats = backend.stats();
    let ended = stats.compilations_succeeded + stats.compilations_failed;
    assert_eq!((stats.pending_jobs, stats.compilations_dispatched), (0, ended));
    assert_eq!(stats.jit_helper_disconnects + stats.jit_helper_timeouts, 0);
}

fn callers_wait_no_longer_than_they_said() {
    let tuning = RuntimeTuning { jit_opt_level: OptimizationLevel::Aggressive, ..config().tuning };
    let backend = backend(RuntimeConfig { tuning, ..config() });
    backend.compile_jit_sync(numbered(1)).unwrap();
    let large = request(&long_code(60_000));
    let start = Instant::now();
    let limit = Duration::from_millis(2);
    let error = backend.compile_jit_sync_timeout(large.clone(), limit).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RuntimeError::TimedOut { .. })), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
    // It wasn't the code's fault.
    backend.compile_jit_sync(large).unwrap();
    let stats = backend.stats();
    assert_eq!((stats.jit_helper_timeouts, stats.jit_helper_disconnects), (0, 0));
}

fn artifacts_are_made_in_helpers() {
    let store = Arc::new(RuntimeArtifactStore::new().unwrap());
    let backend = backend(RuntimeConfig { aot: true, store: Some(store.clone()), ..config() });
    let AotRequest { code_hash, code, spec_id } = aot(1);
    backend.prepare_aot_sync(AotRequest { code_hash, code, spec_id }).unwrap();
    backend.prepare_aot(aot(2));
    assert!(backend.wait_idle(LONG));
    for n in [1, 2] {
        let key = numbered(n).key;
        let program = backend.get_compiled(key.code_hash, key.spec_id).unwrap();
        assert_eq!(program.kind, ProgramKind::Aot);
    }
    assert_eq!(store.len(), 2);
    let stats = backend.stats();
    assert_eq!((stats.compilations_succeeded, stats.compilations_failed), (2, 0));
    assert!((1..=2).contains(&stats.jit_helper_spawns), "{stats:?}");
}

fn aot(n: usize) -> AotRequest {
    let LookupRequest { key, code } = numbered(n);
    AotRequest { code_hash: key.code_hash, code, spec_id: key.spec_id }
}

/// A contract at the baseline, whose upgrade finds no helper, gets its upgrade when there is one.
fn what_found_no_helper_gets_better_later() {
    let folder = Folder::new();
    let path = folder.program("");
    let tuning = RuntimeTuning { jit_worker_count: 1, ..config().tuning };
    let helper = Some(path.clone());
    let backend = backend(RuntimeConfig { jit_helper_path: helper, tuning, ..config() });
    // Large, so that the gate is closed before the upgrade begins.
    let large = request(&long_code(60_000));
    backend.compile_jit(large.clone());
    eventually("it is being compiled", || backend.stats().jit_helper_spawns == 1);
    backend.pause();
    eventually("it runs", || is_resident(&backend, &large));
    assert!(matches!(backend.status(&large.key), ProgramStatus::Baseline));
    let helpers = children();
    helpers.iter().copied().for_each(kill);
    eventually("they end", || !helpers.iter().any(|&helper| runs(helper)));
    fs::remove_file(&path).unwrap();
    backend.resume();
    assert!(backend.wait_idle(LONG));
    assert!(matches!(backend.status(&large.key), ProgramStatus::Baseline));
    let failures = || backend.stats().jit_helper_spawn_failures;
    let before = failures();
    assert!(before > 0);
    eventually("it is tried again, in vain", || {
        drop(backend.lookup(large.clone()));
        failures() > before
    });
    assert!(backend.wait_idle(LONG));
    assert!(matches!(backend.status(&large.key), ProgramStatus::Baseline));
    folder.program("");
    eventually("it gets better", || {
        drop(backend.lookup(large.clone()));
        matches!(backend.status(&large.key), ProgramStatus::Ready)
    });
}
