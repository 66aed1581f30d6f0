//! Code that left the cache is freed as soon as nobody executes it, and not before.

mod common;

use common::{
    LONG, SPEC, TARGET, call, database, enabled, eventually, evm, long_code,
    meddling::{Meddling, Read},
    numbered, request, summing,
};
use cranevm::{
    OptimizationLevel,
    primitives::{Address, TxKind, U256},
    revm_evm::JitEvm,
    runtime::{JitBackend, LookupRequest, RuntimeConfig, RuntimeTuning},
};
use revm::{Database, ExecuteEvm, bytecode::opcode::*, context::TxEnv};
use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

fn blocking() -> JitBackend {
    JitBackend::new(RuntimeConfig { blocking: true, ..Default::default() }).unwrap()
}

/// The word that a transaction returned.
fn word<DB: Database<Error = Infallible>>(
    jit: &mut JitEvm<common::TestEvm<DB>>,
    tx: TxEnv,
) -> U256 {
    let result = jit.transact(tx).unwrap().result;
    U256::from_be_slice(result.output().expect("the contracts return"))
}

fn sum() -> U256 {
    U256::from(500_500)
}

/// Pooled EVMs that have run contracts keep none of their code.
#[test]
fn r2_idle_evms_hold_no_code() {
    let backend = blocking();
    let mut idle = Vec::new();
    for n in 0..40 {
        let LookupRequest { code, .. } = numbered(n);
        let mut jit = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
        assert_eq!(word(&mut jit, call()), sum());
        idle.push(jit);
    }
    assert_eq!(backend.stats().frames.native().frames, 40);
    assert_eq!(backend.stats().resident_entries, 40);
    backend.clear_resident();
    eventually("all is freed", || backend.stats().jit_total_bytes() == 0);
    // And they go on, with new code.
    for jit in &mut idle {
        assert_eq!(word(jit, call()), sum());
    }
    assert_eq!(backend.stats().frames.native().frames, 80);
}

/// What an eviction by the budget leaves in idle EVMs is freed at once.
#[test]
fn r2_the_budget_bounds_what_idle_evms_ran() {
    let budget = 128 << 10;
    let tuning = RuntimeTuning { resident_code_cache_bytes: budget, ..Default::default() };
    let config = RuntimeConfig { blocking: true, tuning, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let mut idle = Vec::new();
    for n in 0..200 {
        let LookupRequest { code, .. } = numbered(n);
        let mut jit = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
        assert_eq!(word(&mut jit, call()), sum());
        idle.push(jit);
        // Programs lie close together, in whole pages.
        let held = backend.stats().jit_total_bytes();
        assert!(held <= (budget + budget / 20 + 8192) as u64, "{held}");
    }
    assert!(backend.stats().evictions > 0, "the budget had room for all");
}

/// An EVM with [`reading`] at [`TARGET`], that knows its program, and does something while the next
/// frame reads.
fn interrupted<'a>(
    backend: &JitBackend,
    meddle: impl FnOnce() + 'a,
) -> JitEvm<common::TestEvm<Meddling<'a>>> {
    let database = database(&[(TARGET, &reading())]);
    let meddle: Box<dyn FnOnce() + 'a> = Box::new(meddle);
    let database = Meddling { database, at: Read::Storage, countdown: 2, meddle: Some(meddle) };
    let mut jit = JitEvm::new(evm(database, SPEC), backend.clone());
    assert_eq!(word(&mut jit, call()), sum());
    jit
}

/// Reads storage, and then sums in a loop.
fn reading() -> Vec<u8> {
    let mut code = vec![PUSH1, 9, SLOAD, POP];
    let base = code.len() as u8;
    let mut rest = summing();
    // The address of its loop.
    rest[15] += base;
    assert_eq!((rest[14], rest[4]), (PUSH1, JUMPDEST));
    code.extend(rest);
    code
}

/// One long frame holds back what it executes, and nothing else.
#[test]
fn an_executing_frame_keeps_its_code_alone() {
    let backend = blocking();
    let other = long_code(20_000);
    let mut jit = JitEvm::new(evm(database(&[(TARGET, &other)]), SPEC), backend.clone());
    backend.compile_jit_sync(request(&reading())).unwrap();
    let own = backend.stats().jit_code_bytes;
    assert!(jit.transact(call()).unwrap().result.is_success());
    assert!(backend.stats().jit_code_bytes > own);
    let mut jit = interrupted(&backend, || {
        backend.clear_resident();
        eventually("the other's is freed", || backend.stats().jit_code_bytes == own);
        // Longer than a turn of housekeeping: it would be freed by then.
        thread::sleep(2 * RuntimeTuning::default().event_drain_interval);
        assert_eq!(backend.stats().jit_code_bytes, own, "executed code was freed");
    });
    assert_eq!(word(&mut jit, call()), sum());
    assert_eq!(backend.stats().frames.native().frames, 3);
    assert_eq!(backend.stats().frames.hand_overs.total(), 0);
    eventually("all is freed", || backend.stats().jit_total_bytes() == 0);
}

/// So does one whose backend has ended: who drops a program frees it then.
#[test]
fn code_that_is_executed_outlives_the_backends_threads() {
    let backend = blocking();
    let mut jit = interrupted(&backend, || {
        backend.shut_down();
        backend.clear_resident();
        assert_ne!(backend.stats().jit_code_bytes, 0, "executed code was freed");
    });
    assert_eq!(word(&mut jit, call()), sum());
    assert_eq!(backend.stats().frames.native().frames, 2);
    // Nobody is there to free it but the next who drops a program.
    backend.compile_jit_sync(numbered(1)).unwrap();
    backend.clear_resident();
    assert_eq!(backend.stats().jit_total_bytes(), 0);
}

/// A host that panics leaves compiled code: its EVM executes nothing after that.
#[test]
fn a_panic_of_the_host_holds_nothing_back() {
    let backend = blocking();
    let mut jit = interrupted(&backend, || panic!("the database panics"));
    assert!(catch_unwind(AssertUnwindSafe(|| jit.transact(call()))).is_err());
    assert_eq!(backend.stats().resident_entries, 1);
    backend.clear_resident();
    eventually("all is freed", || backend.stats().jit_total_bytes() == 0);
    drop(jit);
}

/// Who holds a program keeps it, whatever the cache does.
#[test]
fn a_held_program_lives() {
    let backend = blocking();
    let contract = numbered(1);
    backend.compile_jit_sync(contract.clone()).unwrap();
    let held = backend.get_compiled(contract.key.code_hash, SPEC).unwrap();
    let bytes = backend.stats().jit_code_bytes;
    backend.clear_resident();
    thread::sleep(2 * RuntimeTuning::default().event_drain_interval);
    assert_eq!(backend.stats().jit_code_bytes, bytes);
    drop(held);
    eventually("all is freed", || backend.stats().jit_total_bytes() == 0);
}

/// Threads execute, while others compile the same contracts and clear them away.
#[test]
fn what_is_executed_is_never_freed() {
    const CONTRACTS: usize = 6;
    let tuning = RuntimeTuning { jit_hot_threshold: 1, ..Default::default() };
    let backend = JitBackend::new(enabled(tuning)).unwrap();
    let address = |n: usize| Address::repeat_byte(0x40 + n as u8);
    let codes: Vec<_> = (0..CONTRACTS).map(|n| numbered(n).code).collect();
    let contracts: Vec<_> =
        codes.iter().enumerate().map(|(n, code)| (address(n), &code[..])).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut jit = JitEvm::new(evm(database(&contracts), SPEC), backend.clone());
                let mut turn = 0;
                while !done.load(Ordering::Relaxed) {
                    let tx = TxEnv { kind: TxKind::Call(address(turn % CONTRACTS)), ..call() };
                    assert_eq!(word(&mut jit, tx), sum());
                    turn += 1;
                }
            });
        }
        for turn in 0..400 {
            backend.compile_jit_sync(numbered(turn % CONTRACTS)).unwrap();
            if turn % 3 == 0 {
                backend.clear_resident();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(backend.stats().frames.native().frames > 0);
    backend.clear_resident();
    assert!(backend.wait_idle(LONG));
    backend.clear_resident();
    eventually("all is freed", || backend.stats().jit_total_bytes() == 0);
}

/// Whether this process has huge pages of code in memory.
#[cfg(target_os = "linux")]
fn has_huge_pages() -> bool {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut of_code = maps.lines().skip_while(|line| !line.contains("/memfd:cranevm"));
    of_code
        .any(|line| line.strip_prefix("ShmemPmdMapped:").is_some_and(|size| size.trim() != "0 kB"))
}

/// Nobody asks for that: the backend looks after its memory by itself.
#[cfg(target_os = "linux")]
#[test]
fn code_that_stays_gets_huge_pages() {
    let allowed = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    if std::fs::read_to_string(allowed).map_or(true, |allowed| allowed.contains("[deny]")) {
        return eprintln!("NOT RUN: this kernel makes none of memory that is shared");
    }
    let tuning = RuntimeTuning { jit_opt_level: OptimizationLevel::None, ..Default::default() };
    let config = RuntimeConfig { blocking: true, tuning, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    for n in 0..30_u8 {
        backend.compile_jit_sync(request(&[long_code(24_000), vec![n]].concat())).unwrap();
    }
    let held = backend.stats().jit_code_bytes;
    assert!(held > 5 << 20, "{held} bytes");
    eventually("a unit that is full becomes a huge page", has_huge_pages);
    assert_eq!(backend.stats().jit_code_bytes, held, "that is no more memory");
}
