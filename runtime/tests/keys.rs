//! No program runs for other code than it was compiled from, whatever hash a database, an account
//! or a caller gives.

mod common;

use common::{
    LONG, SPEC, call,
    claims::{self, Claiming, outcome, returning, run},
    enabled, eventually, evm, request,
};
use cranevm::{
    eyre,
    primitives::{B256, Bytes, KECCAK_EMPTY, TxKind, keccak256},
    revm_evm::JitEvm,
    runtime::{
        AotRequest, ArtifactRecipe, ArtifactStore, CompileFailure, InterpretReason, JitBackend,
        LookupDecision, LookupRequest, ProgramKind, RuntimeArtifactStore, RuntimeCacheKey,
        RuntimeConfig, RuntimeError, RuntimeTuning,
    },
};
use revm::{
    ExecuteEvm,
    bytecode::{Bytecode, opcode::*},
    context::TxEnv,
};
use std::{collections::HashSet, sync::Arc, time::Duration};

fn make(config: RuntimeConfig) -> JitBackend {
    JitBackend::new(config).unwrap()
}

fn blocking() -> RuntimeConfig {
    RuntimeConfig { blocking: true, ..Default::default() }
}

/// Compiles what has run once.
fn background() -> RuntimeConfig {
    enabled(RuntimeTuning { jit_hot_threshold: 1, ..Default::default() })
}

fn stored(store: &Arc<RuntimeArtifactStore>, config: RuntimeConfig) -> RuntimeConfig {
    let store: Arc<dyn ArtifactStore> = Arc::clone(store) as _;
    RuntimeConfig { store: Some(store), aot: true, ..config }
}

fn store() -> Arc<RuntimeArtifactStore> {
    Arc::new(RuntimeArtifactStore::new().unwrap())
}

/// Blocking and in the background, without a store and with one.
fn each_mode(check: impl Fn(&dyn Fn() -> JitBackend)) {
    for config in [blocking(), background()] {
        check(&|| make(config.clone()));
        check(&|| make(stored(&store(), config.clone())));
    }
}

#[test]
fn a_stale_hash_poisons_nobody() {
    each_mode(claims::a_stale_hash_poisons_nobody);
}

#[test]
fn zero_and_empty_hashes_name_nothing() {
    each_mode(claims::zero_and_empty_hashes_name_nothing);
}

/// Not what a backend makes of code that comes under a wrong name, but what it has made of the
/// right one.
#[test]
fn a_program_isnt_run_for_code_that_claims_its_hash() {
    each_mode(|make| {
        let backend = make();
        backend.compile_jit_sync(request(&returning(1))).unwrap();
        run(&backend, &Claiming::new(&returning(2), keccak256(returning(1))));
        run(&backend, &Claiming::new(&returning(1), keccak256(returning(1))));
    });
}

/// What was loaded before anybody brought the bytecode.
#[test]
fn a_stored_program_isnt_run_for_code_that_claims_its_hash() {
    let store = store();
    let right = request(&returning(1));
    make(stored(&store, blocking())).compile_jit_sync(right.clone()).unwrap();
    assert_eq!(store.len(), 1);
    let claim = right.key.code_hash;
    let [own, other] = [1, 2].map(|n| Claiming::new(&returning(n), claim));
    // Loaded at the start, or when it is first missed.
    for (config, is_missed) in
        [blocking(), background()].into_iter().flat_map(|c| [(c.clone(), false), (c, true)])
    {
        for order in [[&own, &other, &own], [&other, &own, &other]] {
            // Without `aot`, so that the other code isn't stored.
            let config = RuntimeConfig { aot: false, ..stored(&store, config.clone()) };
            let backend = make(config);
            if is_missed {
                backend.clear_resident();
            }
            for _ in 0..3 {
                order.iter().for_each(|world| run(&backend, world));
            }
            run(&backend, &own);
            let program = backend.get_compiled(claim, SPEC);
            let program = program.unwrap_or_else(|| panic!("{:?}", backend.stats()));
            assert_eq!(program.kind, ProgramKind::Aot);
            assert!(backend.stats().artifacts_loaded > 0);
        }
    }
}

fn wrong_pairs() -> impl Iterator<Item = LookupRequest> {
    let right = request(&returning(1));
    [B256::ZERO, KECCAK_EMPTY, keccak256(returning(2)), keccak256([STOP])].into_iter().map(
        move |code_hash| LookupRequest {
            key: RuntimeCacheKey { code_hash, ..right.key },
            code: right.code.clone(),
        },
    )
}

fn aot(LookupRequest { key, code }: LookupRequest) -> AotRequest {
    AotRequest { code_hash: key.code_hash, code, spec_id: key.spec_id }
}

fn is_wrong_hash(result: eyre::Result<()>) -> bool {
    let error = result.unwrap_err().downcast::<RuntimeError>().unwrap();
    let RuntimeError::CompileFailed { failure, .. } = error else { panic!("{error}") };
    matches!(*failure, CompileFailure::WrongHash { found } if found == keccak256(returning(1)))
}

fn interpreted(decision: LookupDecision) -> InterpretReason {
    match decision {
        LookupDecision::Interpret(reason) => reason,
        LookupDecision::Compiled(program) => panic!("{program:?} for other code"),
    }
}

/// Puts a wrong pair to every call that takes a key and its code.
fn call_all(backend: &JitBackend, has_store: bool, wrong: &LookupRequest) {
    assert!(is_wrong_hash(backend.compile_jit_sync(wrong.clone())));
    let limit = Duration::from_secs(9);
    assert!(is_wrong_hash(backend.compile_jit_sync_timeout(wrong.clone(), limit)));
    assert_eq!(interpreted(backend.lookup_blocking(wrong.clone())), InterpretReason::JitFailed);
    for _ in 0..9 {
        interpreted(backend.lookup(wrong.clone()));
        assert!(backend.wait_idle(LONG));
    }
    backend.compile_jit(wrong.clone());
    assert!(backend.wait_idle(LONG));
    if has_store {
        assert!(is_wrong_hash(backend.prepare_aot_sync(aot(wrong.clone()))));
        for result in backend.prepare_aot_batch_sync(vec![aot(wrong.clone()); 2]) {
            assert!(is_wrong_hash(result));
        }
        backend.prepare_aot(aot(wrong.clone()));
        backend.prepare_aot_batch(vec![aot(wrong.clone()); 2]);
        assert!(backend.wait_idle(LONG));
    }
    assert_eq!(backend.stats().pending_jobs, 0);
}

#[test]
fn no_call_takes_code_under_a_wrong_key() {
    for wrong in wrong_pairs() {
        for mode in [blocking(), background()] {
            for store in [None, Some(store())] {
                let backend = make(match &store {
                    Some(store) => stored(store, mode.clone()),
                    None => mode.clone(),
                });
                call_all(&backend, store.is_some(), &wrong);
                assert_eq!(backend.stats().resident_entries, 0);
                assert!(store.is_none_or(|store| store.is_empty()));
            }
        }
    }
}

/// Whose key is another contract's that is native already.
#[test]
fn no_call_gives_a_program_of_other_code() {
    let (right, other) = (request(&returning(2)), request(&returning(1)).code);
    let wrong = LookupRequest { key: right.key, code: other };
    for mode in [blocking(), background()] {
        let store = store();
        let backend = make(stored(&store, mode));
        backend.compile_jit_sync(right.clone()).unwrap();
        call_all(&backend, true, &wrong);
        assert!(matches!(backend.lookup(right.clone()), LookupDecision::Compiled(_)));
        assert_eq!((backend.stats().resident_entries, store.len()), (1, 1));
        run(&backend, &Claiming::new(&right.code, right.key.code_hash));
    }
}

/// One that waits for a worker doesn't stand in for the right one.
#[test]
fn a_wrong_pair_under_way_holds_nobody_up() {
    let right = request(&returning(2));
    let wrong = LookupRequest { code: request(&returning(1)).code, ..right.clone() };
    for config in [background(), stored(&store(), background())] {
        let backend = make(config);
        backend.pause();
        backend.compile_jit(wrong.clone());
        backend.compile_jit_sync(right.clone()).unwrap();
        backend.resume();
        assert!(backend.wait_idle(LONG));
        assert_eq!(backend.stats().resident_entries, 1);
        run(&backend, &Claiming::new(&right.code, right.key.code_hash));
    }
}

#[test]
fn no_artifact_is_made_for_other_code() {
    let mut compiler = ArtifactRecipe::new(&RuntimeConfig::default()).compiler().unwrap();
    for LookupRequest { key, code } in wrong_pairs() {
        let failure = compiler.compile(key, &code).unwrap_err();
        assert!(matches!(failure, CompileFailure::WrongHash { .. }), "{failure}");
    }
    let LookupRequest { key, code } = request(&returning(1));
    assert!(compiler.compile(key, &code).is_ok());
}

/// Deploys [`STOP`]-filled code of `n` bytes; of one length all.
fn deploying(n: u8) -> Vec<u8> {
    vec![PUSH1, n, PUSH0, RETURN]
}

/// Initcodes of one length, in creation transactions and by CREATE2, whose hash revm tells.
#[test]
fn each_initcode_runs_as_itself() {
    let create = |n: u8| {
        let code = Bytes::from(deploying(n));
        TxEnv::builder().kind(TxKind::Create).data(code).gas_limit(1_000_000).build().unwrap()
    };
    // Copies its calldata to memory, and creates from that.
    let mut factory = vec![CALLDATASIZE, PUSH0, PUSH0, CALLDATACOPY];
    factory.extend([PUSH0, CALLDATASIZE, PUSH0, PUSH0, CREATE2]);
    factory.extend([EXTCODESIZE, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    let backend = make(blocking());
    let world = || Claiming::new(&factory, B256::ZERO);
    let mut jit = JitEvm::new(evm(world(), SPEC), backend.clone());
    for n in [1, 2, 1, 3, 2] {
        let plain = |tx| evm(world(), SPEC).transact(tx).unwrap().result;
        assert_eq!(jit.transact(create(n)).unwrap().result, plain(create(n)));
        let tx = TxEnv { data: deploying(n).into(), ..call() };
        let found = jit.transact(tx.clone()).unwrap().result;
        assert_eq!(found, plain(tx));
        assert_eq!(outcome(&found), n);
    }
    // The factory, and three initcodes.
    assert_eq!(backend.stats().resident_entries, 4);
}

/// An EVM knows bytecode by its address. Objects come and go, and the allocator gives the place of
/// one to the next; but not of one that the EVM knows.
#[test]
fn a_freed_and_reused_allocation_fools_nobody() {
    const CODES: u8 = 40;
    let backend = make(background());
    // Long, as contracts are, and compiled before, so that the epoch stays.
    let code = |n: u8| [&returning(n)[..], &[STOP; 5000]].concat();
    let contracts: Vec<_> = (0..CODES).map(|n| request(&code(n))).collect();
    contracts.iter().for_each(|c| backend.compile_jit_sync(c.clone()).unwrap());
    assert!(backend.wait_idle(LONG));
    let mut jit = JitEvm::new(evm(Claiming::new(&code(0), B256::ZERO), SPEC), backend.clone());
    let (mut addresses, mut reused) = (HashSet::new(), 0);
    for turn in 0..2000u32 {
        let n = (turn.wrapping_mul(7) % u32::from(CODES)) as u8;
        let bytecode = Bytecode::new_legacy(Bytes::from(contracts[usize::from(n)].code.to_vec()));
        reused += u32::from(!addresses.insert(std::ptr::from_ref(bytecode.bytecode()).addr()));
        let world = Claiming { code: bytecode, claim: contracts[usize::from(n)].key.code_hash };
        // The one before is dropped here.
        jit.ctx.journaled_state.database = world;
        assert_eq!(outcome(&jit.transact(call()).unwrap().result), n, "turn {turn}");
    }
    assert!(reused > 100, "{reused} of 2000: the test tests nothing");
    assert_eq!(backend.stats().frames.native().frames, 2000);
}

/// What is retained to compare with is shared, counts, and goes with its program.
#[test]
fn retained_code_counts() {
    let backend = make(blocking());
    let code = [&returning(1)[..], &[STOP; 20_000]].concat();
    backend.compile_jit_sync(request(&returning(1))).unwrap();
    let short = backend.stats().jit_data_bytes;
    backend.compile_jit_sync(request(&code)).unwrap();
    let both = backend.stats().jit_data_bytes;
    assert!(both - short >= 20_000, "{short} {both}");
    backend.clear_resident();
    eventually("nothing is held", || backend.stats().jit_data_bytes == 0);
}

#[test]
fn retained_code_is_within_the_budget() {
    let budget = 1 << 20;
    let tuning = RuntimeTuning { resident_code_cache_bytes: budget, ..Default::default() };
    let backend = make(RuntimeConfig { tuning, ..blocking() });
    for n in 0..80 {
        let code = [&returning(n)[..], &[STOP; 20_000]].concat();
        backend.compile_jit_sync(request(&code)).unwrap();
        assert!(backend.stats().jit_total_bytes() <= budget as u64);
    }
    // Without the bytecode there would be room for twice as many.
    let resident = backend.stats().resident_entries;
    assert!((30..=38).contains(&resident), "{resident}");
}

/// A database that is right costs its EVMs no hash: the code's own is never computed.
#[test]
fn right_claims_are_compared_and_not_hashed() {
    let backend = make(background());
    backend.compile_jit_sync(request(&returning(1))).unwrap();
    let world = Claiming::new(&returning(1), keccak256(returning(1)));
    for _ in 0..3 {
        run(&backend, &world);
    }
    assert!(format!("{:?}", world.code).contains("hash: OnceLock(<uninit>)"), "{:?}", world.code);
}
