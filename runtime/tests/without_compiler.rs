//! The crate built without the feature `cranelift`: the same API, and every lookup says to
//! interpret.

#![cfg(not(feature = "cranelift"))]

use alloy_primitives::{Bytes, keccak256};
use cranevm::{
    SpecId,
    revm_evm::JitEvm,
    runtime::{
        InterpretReason, JitBackend, LookupDecision, LookupRequest, ProgramStatus, RuntimeCacheKey,
        RuntimeConfig, RuntimeTuning,
    },
};
use revm::{
    Context, ExecuteEvm, MainBuilder, MainContext,
    bytecode::Bytecode,
    context::TxEnv,
    database::{CacheDB, EmptyDB},
    primitives::{TxKind, address},
    state::AccountInfo,
};
use std::time::Duration;

/// `PUSH1 42 PUSH0 MSTORE PUSH1 32 PUSH0 RETURN`
const CODE: [u8; 8] = [0x60, 42, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3];

fn config() -> RuntimeConfig {
    let tuning = RuntimeTuning { jit_hot_threshold: 0, ..RuntimeTuning::default() };
    RuntimeConfig { enabled: true, tuning, ..RuntimeConfig::default() }
}

fn request() -> LookupRequest {
    let key = RuntimeCacheKey { code_hash: keccak256(CODE), spec_id: SpecId::OSAKA };
    LookupRequest { key, code: Bytes::from_static(&CODE) }
}

fn interprets(decision: LookupDecision) -> bool {
    matches!(decision, LookupDecision::Interpret(InterpretReason::Ineligible))
}

#[test]
fn lookups_say_to_interpret() {
    for blocking in [false, true] {
        let backend = JitBackend::new(RuntimeConfig { blocking, ..config() }).unwrap();
        for _ in 0..20 {
            assert!(interprets(backend.lookup(request())));
            assert!(interprets(backend.lookup_blocking(request())));
        }
        backend.compile_jit(request());
        assert!(backend.wait_idle(Duration::from_secs(10)));
        assert!(backend.get_compiled(request().key.code_hash, SpecId::OSAKA).is_none());
        assert!(matches!(
            backend.status(&request().key),
            ProgramStatus::Unknown | ProgramStatus::Cold { .. }
        ));
        let stats = backend.stats();
        assert_eq!((stats.compilations_dispatched, stats.pending_jobs), (0, 0));
    }
}

#[test]
fn asking_for_code_is_a_typed_error() {
    let backend = JitBackend::new(config()).unwrap();
    let error = backend.compile_jit_sync(request()).unwrap_err();
    assert!(format!("{error:#}").contains("feature `cranelift`"), "{error:#}");
}

#[test]
fn control_calls_do_nothing_and_fail_nothing() {
    let backend = JitBackend::new(config()).unwrap();
    backend.pause();
    assert!(backend.is_paused());
    backend.resume();
    backend.clear_all();
    backend.set_enabled(false).unwrap();
    backend.set_enabled(true).unwrap();
    assert!(backend.enabled());
    backend.shut_down();
}

#[test]
fn frames_are_interpreted() {
    let contract = address!("0x00000000000000000000000000000000000c0de0");
    let mut db = CacheDB::new(EmptyDB::new());
    let code = Bytecode::new_raw(Bytes::from_static(&CODE));
    db.insert_account_info(contract, AccountInfo::default().with_code(code));
    let backend = JitBackend::new(config()).unwrap();
    let mut evm = JitEvm::new(Context::mainnet().with_db(db).build_mainnet(), backend);
    let tx = TxEnv::builder().kind(TxKind::Call(contract)).gas_limit(100_000).build_fill();
    let result = evm.transact(tx).unwrap().result;
    assert!(result.is_success());
    assert_eq!(result.output().map(|output| output[31]), Some(42));
}
