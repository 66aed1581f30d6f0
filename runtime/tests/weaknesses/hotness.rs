//! What is counted, and whom it reaches.

use crate::common::{
    CALLEE, LONG, PROBE, SPEC, TARGET, backend, call,
    chain::{chain_evm, set_spec, transact},
    database, evm, is_resident, numbered, request,
};
use cranevm::{
    SpecId,
    primitives::U256,
    revm_evm::JitEvm,
    runtime::{
        JitBackend, LookupDecision, LookupRequest, ProgramStatus, RuntimeCacheKey, RuntimeConfig,
        RuntimeTuning,
    },
};
use revm::{
    ExecuteEvm,
    bytecode::opcode::*,
    context::{TxEnv, result::ExecutionResult},
    handler::instructions::EthInstructions,
};
use std::time::{Duration, Instant};

/// Runs [`PROBE`]; whether compiled code did.
fn natively<DB>(jit: &mut JitEvm<crate::common::TestEvm<DB>>) -> bool
where
    DB: revm::Database<Error = std::convert::Infallible>,
{
    match jit.transact(call()).unwrap().result {
        ExecutionResult::Halt { reason, .. } => format!("{reason:?}").contains("OutOfGas"),
        other => panic!("must halt: {other:?}"),
    }
}

/// Frames count, not EVMs: one EVM alone makes a contract hot, and runs its code from then on.
#[test]
fn w01_one_long_lived_evm_promotes_and_upgrades() {
    let backend = backend(RuntimeTuning { jit_hot_threshold: 20, ..Default::default() });
    let mut jit = JitEvm::new(evm(database(&[(TARGET, PROBE)]), SPEC), backend.clone());
    for frame in 1..=20 {
        assert!(!natively(&mut jit), "frame {frame}");
        if frame < 20 {
            assert!(backend.wait_idle(LONG));
            assert_eq!(backend.stats().resident_entries, 0, "frame {frame}");
        }
    }
    assert!(backend.wait_idle(LONG));
    assert!(natively(&mut jit));
}

/// EVMs that live a frame only make a contract hot as well.
#[test]
fn w01_many_short_lived_evms_promote_together() {
    let backend = backend(RuntimeTuning { jit_hot_threshold: 20, ..Default::default() });
    for _ in 0..20 {
        let mut jit = JitEvm::new(evm(database(&[(TARGET, PROBE)]), SPEC), backend.clone());
        assert!(!natively(&mut jit));
    }
    assert!(backend.wait_idle(LONG));
    assert!(is_resident(&backend, &request(PROBE)));
}

/// A frame counts once, however often it goes on after a nested one; what it burns counts as well.
#[test]
fn w01_a_frame_that_is_resumed_counts_once() {
    // Calls n times, n from the calldata.
    let mut code = vec![PUSH0, CALLDATALOAD, JUMPDEST, PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, PUSH20];
    code.extend(CALLEE);
    code.extend([PUSH2, 0xff, 0xff, CALL, POP]);
    code.extend([PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 2, JUMPI, STOP]);
    let callee = [PUSH1, 1, PUSH1, 2, ADD, POP, STOP];
    let backend = backend(RuntimeTuning { jit_hot_threshold: 30, ..Default::default() });
    let contracts = [(TARGET, &code[..]), (CALLEE, &callee[..])];
    let mut jit = JitEvm::new(evm(database(&contracts), SPEC), backend.clone());
    let mut call_often = |n: u64| {
        let data = U256::from(n).to_be_bytes_vec().into();
        let transaction = TxEnv { data, gas_limit: 100_000_000, ..call() };
        assert!(jit.transact(transaction).unwrap().result.is_success());
        assert!(backend.wait_idle(LONG));
        backend.status(&request(&code).key)
    };
    for frames in 1..=3 {
        let status = call_often(20);
        assert!(matches!(status, ProgramStatus::Cold { misses } if misses == frames), "{status:?}");
    }
    assert!(is_resident(&backend, &request(&callee)), "sixty frames");
    // A call costs its caller a hundred gas and more.
    assert!(matches!(call_often(8000), ProgramStatus::Baseline | ProgramStatus::Ready));
}

/// Switching off, clearing and evicting reach an EVM at its next frame, and it lets go of the code.
#[test]
fn w01_changes_reach_live_evms() {
    let tuning = RuntimeTuning {
        idle_evict_duration: Some(Duration::from_millis(30)),
        eviction_sweep_interval: Duration::from_millis(5),
        ..Default::default()
    };
    let backend = backend(tuning);
    let mut jit = JitEvm::new(evm(database(&[(TARGET, PROBE)]), SPEC), backend.clone());
    for change in [
        (|backend: &JitBackend| backend.set_enabled(false).unwrap()) as fn(&JitBackend),
        |backend| backend.clear_resident(),
        |backend| {
            let evicted = || backend.stats().evictions > 0;
            crate::common::eventually("eviction", evicted);
        },
    ] {
        backend.set_enabled(true).unwrap();
        backend.compile_jit_sync(request(PROBE)).unwrap();
        assert!(natively(&mut jit));
        change(&backend);
        assert!(!natively(&mut jit));
    }
    assert_eq!(backend.stats().jit_total_bytes(), 0, "the EVM let go of it");
    // Also one that is switched off when its programs go.
    backend.compile_jit_sync(request(PROBE)).unwrap();
    assert!(natively(&mut jit));
    backend.set_enabled(false).unwrap();
    backend.clear_all();
    assert!(!natively(&mut jit));
    assert_eq!(backend.stats().jit_total_bytes(), 0, "the EVM let go of it, switched off");
}

/// What one EVM runs again and again, out of its own cache, counts as used.
#[test]
fn w01_uses_by_a_live_evm_keep_a_program() {
    let backend = backend(RuntimeTuning {
        idle_evict_duration: Some(Duration::from_secs(1)),
        eviction_sweep_interval: Duration::from_millis(10),
        ..Default::default()
    });
    backend.compile_jit_sync(request(PROBE)).unwrap();
    backend.compile_jit_sync(numbered(1)).unwrap();
    let mut jit = JitEvm::new(evm(database(&[(TARGET, PROBE)]), SPEC), backend.clone());
    assert!(natively(&mut jit));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) || backend.stats().evictions == 0 {
        assert!(start.elapsed() < LONG && natively(&mut jit));
    }
    assert!(!is_resident(&backend, &numbered(1)), "nobody used it");
    assert!(is_resident(&backend, &request(PROBE)));
}

/// The fork is part of a program's name, also within one EVM that goes on to another fork.
#[test]
fn w02_a_program_is_of_one_fork() {
    let backend = backend(RuntimeTuning::default());
    let probe = request(PROBE);
    backend.compile_jit_sync(probe.clone()).unwrap();
    let prague = RuntimeCacheKey { spec_id: SpecId::PRAGUE, ..probe.key };
    let decision = backend.lookup(LookupRequest { key: prague, code: probe.code });
    assert!(matches!(decision, LookupDecision::Interpret(_)));
    let mut jit = JitEvm::new(evm(database(&[(TARGET, PROBE)]), SPEC), backend.clone());
    assert!(natively(&mut jit));
    let inner = jit.inner_mut();
    inner.ctx.cfg.set_spec_and_mainnet_gas_params(SpecId::PRAGUE);
    inner.instruction = EthInstructions::new_mainnet_with_spec(SpecId::PRAGUE);
    assert!(!natively(&mut jit));
}

/// The fork may change under a handler that never passes through `ExecuteEvm`: what a program of
/// one fork would do on another is never done.
#[test]
fn w02_a_change_of_fork_under_a_handler_of_a_chains_own() {
    // Before Shanghai, the second PUSH0 fails; before Istanbul, SELFBALANCE does. Prices differ.
    let code = [PUSH1, 3, SLOAD, CALLER, BALANCE, SELFBALANCE, PUSH0, PUSH0, MSTORE, GAS, STOP];
    let config = RuntimeConfig { blocking: true, single_error: false, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let mut plain = chain_evm(&code, SPEC);
    let mut jit = JitEvm::new(chain_evm(&code, SPEC), backend.clone());
    let forks = [
        SpecId::CANCUN,
        SpecId::MERGE,
        SpecId::PRAGUE,
        SpecId::FRONTIER,
        SpecId::AMSTERDAM,
        SpecId::PETERSBURG,
    ];
    for round in 0..2 {
        let mut gas = Vec::new();
        for spec_id in forks {
            set_spec(&mut plain, spec_id);
            set_spec(&mut jit, spec_id);
            for _ in 0..2 {
                let expected = transact(&mut plain, call());
                gas.push(expected.result.tx_gas_used());
                let found = transact(&mut jit, call());
                assert_eq!(found.result, expected.result, "{spec_id:?}, round {round}");
                assert_eq!(found.state, expected.state, "{spec_id:?}, round {round}");
            }
        }
        gas.dedup();
        assert!(gas.len() >= 4, "the forks differ: {gas:?}");
    }
    assert_eq!(backend.stats().resident_entries, forks.len() as u64, "a program a fork");
}

/// However many contracts are seen once, with idle eviction off, new ones are still learnt.
#[test]
fn w11_a_flood_of_contracts_doesnt_end_learning() {
    let tuning =
        RuntimeTuning { jit_hot_threshold: 4, idle_evict_duration: None, ..Default::default() };
    let backend = backend(tuning);
    for n in 0..60_000 {
        backend.lookup(numbered(n));
    }
    assert_eq!(backend.stats().compilations_dispatched, 0);
    (0..4).for_each(|_| drop(backend.lookup(numbered(1_000_000))));
    assert!(backend.wait_idle(LONG));
    assert!(is_resident(&backend, &numbered(1_000_000)));
}

/// Contracts that aren't hot cost a counter each, and don't keep their bytecode.
#[test]
fn w11_cold_contracts_keep_no_bytecode() {
    let backend = backend(RuntimeTuning::default());
    let codes: Vec<_> = (0..1000).map(|n| numbered(n).code).collect();
    for (n, code) in codes.iter().enumerate() {
        let request = LookupRequest { code: code.clone(), ..numbered(n) };
        (0..3).for_each(|_| drop(backend.lookup(request.clone())));
    }
    assert_eq!(backend.stats().lookup_misses, 3000);
    assert!(codes.iter().all(|code| code.0.is_unique()));
}
