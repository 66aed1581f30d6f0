//! `JitEvm` against a plain EVM, and that changes of the backend reach EVMs that live on.

mod common;

use common::{
    CALLEE, PROBE, SPEC, StepCounter, TARGET, TestEvm, call, calling, context, database, evm,
    meddling::{Meddling, Read},
    request, summing,
};
use cranevm::{
    SpecId,
    context_interface::cfg::GasId,
    primitives::{Bytes, TxKind},
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig},
};
use revm::{
    Database, ExecuteCommitEvm, ExecuteEvm, InspectEvm, MainBuilder, SystemCallEvm,
    bytecode::opcode::*,
    context::{
        TxEnv,
        result::{ExecutionResult, HaltReason},
    },
    database::{CacheDB, EmptyDB},
    handler::instructions::EthInstructions,
};
use std::convert::Infallible;

fn backend(blocking: bool) -> JitBackend {
    JitBackend::new(RuntimeConfig { enabled: true, blocking, ..Default::default() }).unwrap()
}

/// Runs [`PROBE`] at [`TARGET`] and tells whether compiled code did it.
fn probe_ran_natively<DB: Database<Error = Infallible>>(evm: &mut JitEvm<TestEvm<DB>>) -> bool {
    natively(halt_reason(&evm.transact(call()).unwrap().result))
}

fn halt_reason(result: &ExecutionResult) -> HaltReason {
    match result {
        ExecutionResult::Halt { reason, .. } => reason.clone(),
        other => panic!("must halt: {other:?}"),
    }
}

/// Whether compiled code stopped for this reason, with `single_error` set.
fn natively(reason: HaltReason) -> bool {
    match reason {
        HaltReason::OutOfGas(_) => true,
        HaltReason::InvalidFEOpcode => false,
        other => panic!("unexpected reason {other:?}"),
    }
}

fn probe_evm(backend: &JitBackend) -> JitEvm<TestEvm<CacheDB<EmptyDB>>> {
    JitEvm::new(evm(database(&[(TARGET, PROBE)]), SPEC), backend.clone())
}

#[test]
fn results_equal_the_interpreters() {
    let callee = summing();
    for (code, callee) in [(summing(), &callee), (calling(), &callee), (calling(), &calling())] {
        let contracts = [(TARGET, &code[..]), (CALLEE, &callee[..])];
        let plain = evm(database(&contracts), SPEC).transact(call()).unwrap();
        assert!(plain.result.is_success());
        let backend = backend(true);
        let mut jit = JitEvm::new(evm(database(&contracts), SPEC), backend.clone());
        for _ in 0..2 {
            let native = jit.transact(call()).unwrap();
            assert_eq!(native.result, plain.result);
            assert_eq!(native.state, plain.state);
        }
        assert!(backend.stats().compilations_succeeded >= 1);
        assert_eq!(backend.stats().compilations_failed, 0);
    }
}

#[test]
fn commits_and_system_calls() {
    let contracts = [(TARGET, &calling()[..]), (CALLEE, &summing()[..])];
    let mut plain = evm(database(&contracts), SPEC);
    let mut jit = JitEvm::new(evm(database(&contracts), SPEC), backend(true));
    // The second sees the first's storage, so its gas differs from the first's.
    let mut results = Vec::new();
    for _ in 0..2 {
        let expected = plain.transact_commit(call()).unwrap();
        assert_eq!(jit.transact_commit(call()).unwrap(), expected);
        results.push(expected);
    }
    assert_ne!(results[0], results[1]);
    let expected = plain.system_call(TARGET, Bytes::new()).unwrap();
    let found = jit.system_call(TARGET, Bytes::new()).unwrap();
    assert_eq!((found.result, found.state), (expected.result, expected.state));
}

#[test]
fn publication_switch_and_clear_reach_a_live_evm() {
    let backend = backend(false);
    let mut evm = probe_evm(&backend);
    assert!(!probe_ran_natively(&mut evm));
    backend.compile_jit_sync(request(PROBE)).unwrap();
    assert!(probe_ran_natively(&mut evm), "publication");
    backend.set_enabled(false).unwrap();
    assert!(!probe_ran_natively(&mut evm), "switching off");
    backend.set_enabled(true).unwrap();
    assert!(probe_ran_natively(&mut evm), "switching on");
    backend.clear_resident();
    assert!(!probe_ran_natively(&mut evm), "clear");
    assert_eq!(backend.stats().jit_total_bytes(), 0, "the EVM let go of the program");
}

#[test]
fn another_backend_is_another_world() {
    let first = backend(false);
    first.compile_jit_sync(request(PROBE)).unwrap();
    let mut evm = probe_evm(&first);
    assert!(probe_ran_natively(&mut evm));
    // The new backend is in the same epoch as the old one.
    let second = backend(false);
    second.compile_jit_sync(request(&summing())).unwrap();
    evm.set_backend(second);
    assert!(!probe_ran_natively(&mut evm));
    evm.set_backend(JitBackend::disabled());
    assert!(!probe_ran_natively(&mut evm));
    assert!(!evm.backend().enabled());
    *evm.backend_mut() = first;
    assert!(probe_ran_natively(&mut evm));
}

#[test]
fn a_program_serves_its_fork_only() {
    let backend = backend(false);
    backend.compile_jit_sync(request(PROBE)).unwrap();
    let mut evm = probe_evm(&backend);
    assert!(probe_ran_natively(&mut evm));
    // The same EVM goes on to another fork.
    evm.inner_mut().ctx.cfg.set_spec_and_mainnet_gas_params(SpecId::PRAGUE);
    evm.inner_mut().instruction = EthInstructions::new_mainnet_with_spec(SpecId::PRAGUE);
    assert!(!probe_ran_natively(&mut evm));
}

#[test]
fn other_prices_are_interpreted() {
    let backend = backend(true);
    let mut evm = probe_evm(&backend);
    evm.instruction.insert_gas(ADD, 4);
    assert!(!probe_ran_natively(&mut evm));
    evm.instruction.insert_gas(ADD, 3);
    assert!(probe_ran_natively(&mut evm));

    let mut evm = probe_evm(&backend);
    evm.ctx.cfg.gas_params.override_gas([(GasId::memory_linear_cost(), 4)]);
    assert!(!probe_ran_natively(&mut evm));
}

#[test]
fn init_code_is_compiled_in_blocking_mode_only() {
    let create = || {
        let data = Bytes::from_static(PROBE);
        TxEnv::builder().kind(TxKind::Create).data(data).gas_limit(100_000).build().unwrap()
    };
    for blocking in [false, true] {
        let backend = backend(blocking);
        backend.compile_jit_sync(request(PROBE)).unwrap();
        let result = probe_evm(&backend).transact(create()).unwrap().result;
        assert_eq!(natively(halt_reason(&result)), blocking);
    }
}

#[test]
fn inspectors_see_every_step() {
    let contracts = [(TARGET, &summing()[..])];
    let build =
        || context(database(&contracts), SPEC).build_mainnet_with_inspector(StepCounter::default());
    let mut plain = build();
    let expected = plain.inspect_tx(call()).unwrap();
    let backend = backend(true);
    backend.compile_jit_sync(request(&summing())).unwrap();
    let mut jit = JitEvm::new(build(), backend);
    let found = jit.inspect_tx(call()).unwrap();
    assert_eq!(found.result, expected.result);
    assert!(plain.inspector.0 > 1000);
    assert_eq!(jit.inner().inspector.0, plain.inspector.0);
    jit.set_inspector(StepCounter::default());
    assert_eq!(jit.inner().inspector.0, 0);
    // Without inspection it runs natively, and the inspector sees nothing.
    assert_eq!(jit.transact(call()).unwrap().result, expected.result);
    assert_eq!(jit.inner().inspector.0, 0);
}

/// Runs [`calling`] while `meddle` does something to the backend during its `CALL`, and compares
/// the outcome with a plain EVM's. Returns the halt reason, if it halts.
fn run_meddled(backend: &JitBackend, code: &[u8], meddle: impl FnOnce()) -> Option<HaltReason> {
    let contracts = [(TARGET, code), (CALLEE, &summing()[..])];
    let plain = evm(database(&contracts), SPEC).transact(call()).unwrap();
    // While the contract is in its `CALL`.
    let meddling = Meddling {
        database: database(&contracts),
        at: Read::Account(CALLEE),
        countdown: 1,
        meddle: Some(Box::new(meddle)),
    };
    let mut jit = JitEvm::new(evm(meddling, SPEC), backend.clone());
    let found = jit.transact(call()).unwrap();
    assert!(jit.ctx.journaled_state.database.meddle.is_none(), "the callee was loaded");
    if plain.result.is_halt() {
        assert_eq!(found.result.tx_gas_used(), plain.result.tx_gas_used());
        return Some(halt_reason(&found.result));
    }
    assert_eq!(found.result, plain.result);
    assert_eq!(found.state, plain.state);
    None
}

/// [`calling`] with a probe for who resumes it: `INVALID` in place of the last `RETURN`.
fn calling_and_failing() -> Vec<u8> {
    let mut code = calling();
    *code.last_mut().unwrap() = INVALID;
    code
}

#[test]
fn a_frame_begun_natively_is_resumed_by_the_interpreter() {
    for code in [calling(), calling_and_failing()] {
        let backend = backend(false);
        backend.compile_jit_sync(request(&code)).unwrap();
        let reason = run_meddled(&backend, &code, || backend.clear_resident());
        assert_eq!(reason.is_some(), code.ends_with(&[INVALID]));
        assert!(reason.is_none_or(|reason| !natively(reason)));
        assert_eq!(backend.stats().jit_total_bytes(), 0);
    }
}

#[test]
fn a_frame_begun_in_the_interpreter_is_resumed_natively() {
    for code in [calling(), calling_and_failing()] {
        let backend = backend(false);
        let reason = run_meddled(&backend, &code, || {
            backend.compile_jit_sync(request(&code)).unwrap();
        });
        assert_eq!(reason.is_some(), code.ends_with(&[INVALID]));
        assert!(reason.is_none_or(natively));
    }
}

#[test]
fn a_disabled_evm_is_the_plain_one() {
    let mut evm = JitEvm::disabled(evm(database(&[(TARGET, PROBE)]), SPEC));
    assert!(!probe_ran_natively(&mut evm));
    assert!(format!("{evm:?}").starts_with("JitEvm"));
    let plain: TestEvm<_> = evm.into_inner();
    assert_eq!(plain.ctx.cfg.spec, SPEC);
}
