//! Who walks the stack of a thread that executes compiled code gets through it.

#![cfg(feature = "cranelift")]

mod common;

use common::{SPEC, TARGET, call, database, evm};
use cranevm::{
    OptimizationLevel,
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use revm::{
    Database, ExecuteEvm,
    bytecode::{Bytecode, opcode::*},
    database::{CacheDB, EmptyDB},
    primitives::{Address, B256, StorageKey, StorageValue},
    state::AccountInfo,
};
use std::{backtrace::Backtrace, convert::Infallible};

/// A database that says from where it was called.
struct Telling(CacheDB<EmptyDB>, String);

impl Database for Telling {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        self.0.basic(address)
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Infallible> {
        self.0.code_by_hash(code_hash)
    }

    fn storage(&mut self, address: Address, key: StorageKey) -> Result<StorageValue, Infallible> {
        self.1 = Backtrace::force_capture().to_string();
        self.0.storage(address, key)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        self.0.block_hash(number)
    }
}

#[inline(never)]
fn who_calls_native_code(backend: &JitBackend, code: &[u8]) -> String {
    let database = Telling(database(&[(TARGET, code)]), String::new());
    let mut jit = JitEvm::new(evm(database, SPEC), backend.clone());
    assert!(jit.transact(call()).unwrap().result.is_success());
    std::mem::take(&mut jit.ctx.journaled_state.database.1)
}

/// What a host sees of its callers: through code of either tier, called by frames of others.
#[test]
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), ignore = "the unwinder isn't told")]
fn backtraces_get_through_native_code() {
    // With some words in registers, and the builtin called from a body.
    let code = [PUSH0, PUSH1, 1, PUSH1, 2, ADD, SLOAD, CALLDATASIZE, ADD, PUSH0, SLOAD, ADD, STOP];
    for jit_opt_level in [OptimizationLevel::None, OptimizationLevel::Default] {
        let tuning = RuntimeTuning { jit_opt_level, ..Default::default() };
        let config = RuntimeConfig { blocking: true, tuning, ..Default::default() };
        let backend = JitBackend::new(config).unwrap();
        let trace = who_calls_native_code(&backend, &code);
        assert_eq!(backend.stats().frames.native().frames, 1);
        assert!(trace.contains("who_calls_native_code"), "{jit_opt_level:?}: {trace}");
    }
}
