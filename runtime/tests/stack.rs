//! Callers compile whatever stack their own threads have: the compiler gets one that suffices.

mod common;

use common::{TARGET, call, database, evm, request};
use cranevm::revm_evm::JitEvm;
use cranevm::{
    OptimizationLevel,
    runtime::{
        AotRequest, ArtifactRecipe, JitBackend, LookupRequest, RuntimeArtifactStore, RuntimeConfig,
        RuntimeTuning,
    },
};
use revm::{ExecuteEvm, primitives::hardfork::SpecId};
use std::{sync::Arc, thread};

#[path = "../../tests/src/hostile.rs"]
#[allow(dead_code, unreachable_pub, reason = "of another crate; these tests use a part")]
mod hostile;

/// Bytes of stack of the threads here: a thirty-second of what Rust's threads have. The compiler
/// takes 96 to 256 KiB, as the compiler of this library lays out its frames.
const STACK: usize = 64 << 10;

/// The same where revm runs too.
const EVM_STACK: usize = 128 << 10;

/// Bytes of code: several chunks.
const CODE: usize = 4 << 10;

/// Runs on a thread with a stack of so many bytes. An overflow ends the process.
fn on_small_stack(stack_bytes: usize, work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let small = thread::Builder::new().stack_size(stack_bytes);
        small.spawn_scoped(scope, work).unwrap().join().unwrap();
    });
}

/// A contract of 20 bytes, and those that are worst for compilers.
fn requests() -> Vec<LookupRequest> {
    let small = [0x60, 1, 0x60, 2, 0x01].repeat(4);
    let hostile = hostile::ALL.iter().map(|hostile| (hostile.code)(CODE));
    hostile.chain([small]).map(|code| request(&code)).collect()
}

const LEVELS: [OptimizationLevel; 3] =
    [OptimizationLevel::None, OptimizationLevel::Default, OptimizationLevel::Aggressive];

#[test]
fn callers_compile_on_small_stacks() {
    for jit_opt_level in LEVELS {
        let tuning = RuntimeTuning { jit_opt_level, ..Default::default() };
        let config = RuntimeConfig { tuning, ..Default::default() };
        let compiling = JitBackend::new(config.clone()).unwrap();
        let looking_up = JitBackend::new(config).unwrap();
        on_small_stack(STACK, || {
            for request in requests() {
                let outcome = compiling.compile_jit_sync(request.clone());
                assert!(outcome.is_ok(), "{request:?}: {outcome:?}");
            }
            // By whatever call, it is the same path.
            for request in requests().into_iter().rev().step_by(5) {
                drop(looking_up.lookup_blocking(request));
            }
        });
        let compiled = |backend: JitBackend| backend.stats().compilations_succeeded as usize;
        assert_eq!(compiled(compiling), requests().len());
        assert_eq!(compiled(looking_up), requests().len().div_ceil(5));
    }
}

#[test]
fn callers_make_artifacts_and_dumps_on_small_stacks() {
    let folder = tempfile::tempdir().unwrap();
    for aot_opt_level in LEVELS {
        let store = Arc::new(RuntimeArtifactStore::new().unwrap());
        let tuning = RuntimeTuning { aot_opt_level, ..Default::default() };
        let config = RuntimeConfig {
            tuning,
            aot: true,
            store: Some(Arc::clone(&store) as _),
            dump_dir: Some(folder.path().to_owned()),
            ..Default::default()
        };
        let mut compiler = ArtifactRecipe::new(&config).compiler().unwrap();
        let backend = JitBackend::new(config).unwrap();
        on_small_stack(STACK, || {
            for request in requests().into_iter().rev().step_by(5) {
                let LookupRequest { key, code } = request;
                compiler.compile(key, &code).unwrap();
                let (code_hash, spec_id) = (key.code_hash, key.spec_id);
                backend.prepare_aot_sync(AotRequest { code_hash, code, spec_id }).unwrap();
                let files = folder.path().join(format!("{:?}", key.spec_id));
                assert!(files.join(key.code_hash.to_string()).is_dir());
            }
        });
        assert!(!store.is_empty());
    }
}

#[test]
fn an_evm_compiles_what_it_calls_on_a_small_stack() {
    for jit_opt_level in LEVELS {
        let tuning = RuntimeTuning { jit_opt_level, ..Default::default() };
        let config = RuntimeConfig { enabled: true, blocking: true, tuning, ..Default::default() };
        let backend = JitBackend::new(config).unwrap();
        on_small_stack(EVM_STACK, || {
            for request in requests().into_iter().rev().step_by(5) {
                let database = database(&[(TARGET, &request.code)]);
                let mut evm = JitEvm::new(evm(database, SpecId::CANCUN), backend.clone());
                evm.transact(call()).unwrap();
                assert!(backend.get_compiled(request.key.code_hash, SpecId::CANCUN).is_some());
            }
        });
    }
}
