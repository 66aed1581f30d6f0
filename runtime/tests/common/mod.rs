//! A small world for tests: contracts in a database, transactions to them, and requests for their
//! programs.

#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod chain;
pub(crate) mod claims;
pub(crate) mod failing;
pub(crate) mod held_up;
pub(crate) mod log;
pub(crate) mod meddling;

use cranevm::{
    SpecId,
    primitives::{Address, Bytes, TxKind, keccak256},
    runtime::{JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig, RuntimeTuning},
};
use revm::{
    Context, Inspector, MainBuilder, MainContext, MainnetEvm,
    bytecode::{Bytecode, opcode::*},
    context::{BlockEnv, CfgEnv, Journal, TxEnv},
    database::{CacheDB, EmptyDB},
    interpreter::{Interpreter, interpreter::EthInterpreter},
    state::AccountInfo,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// The fork of tests that don't care.
pub(crate) const SPEC: SpecId = SpecId::CANCUN;
/// Where the contract under test lives.
pub(crate) const TARGET: Address = Address::repeat_byte(0x11);
/// Where a contract that it calls lives.
pub(crate) const CALLEE: Address = Address::repeat_byte(0x22);

pub(crate) type TestContext<DB> = Context<BlockEnv, TxEnv, CfgEnv, DB, Journal<DB>>;
pub(crate) type TestEvm<DB, INSP = ()> = MainnetEvm<TestContext<DB>, INSP>;

/// Fails at its first instruction. `single_error` makes the reason tell who ran it: `OutOfGas`
/// comes from compiled code, `InvalidFEOpcode` from the interpreter.
pub(crate) const PROBE: &[u8] = &[INVALID];

/// Adds 1 to 1000 in a loop, and returns the sum.
pub(crate) fn summing() -> Vec<u8> {
    vec![
        PUSH0, PUSH2, 0x03, 0xe8,     // sum i
        JUMPDEST, // 4
        DUP1, SWAP2, ADD, SWAP1, // sum+i i
        PUSH1, 1, SWAP1, SUB, // sum i-1
        DUP1, PUSH1, 4, JUMPI, //
        POP, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN,
    ]
}

/// Stores 7 in slot 1, calls [`CALLEE`], and returns the success flag, the first returned word, and
/// slot 1.
pub(crate) fn calling() -> Vec<u8> {
    let mut code = vec![PUSH1, 7, PUSH1, 1, SSTORE];
    code.extend([PUSH1, 32, PUSH1, 32, PUSH0, PUSH0, PUSH0, PUSH20]);
    code.extend(CALLEE);
    code.extend([PUSH3, 1, 0, 0, CALL, PUSH0, MSTORE]);
    code.extend([PUSH1, 1, SLOAD, PUSH1, 64, MSTORE, PUSH1, 96, PUSH0, RETURN]);
    code
}

/// An enabled backend's configuration.
pub(crate) fn enabled(tuning: RuntimeTuning) -> RuntimeConfig {
    RuntimeConfig { enabled: true, tuning, ..Default::default() }
}

/// An enabled backend.
pub(crate) fn backend(tuning: RuntimeTuning) -> JitBackend {
    JitBackend::new(enabled(tuning)).unwrap()
}

/// A database with contracts.
pub(crate) fn database(contracts: &[(Address, &[u8])]) -> CacheDB<EmptyDB> {
    let mut database = CacheDB::new(EmptyDB::new());
    for (address, code) in contracts {
        let code = Bytecode::new_legacy(Bytes::copy_from_slice(code));
        database.insert_account_info(*address, AccountInfo::default().with_code(code));
    }
    database
}

/// A plain EVM over `database`.
pub(crate) fn evm<DB: revm::Database>(database: DB, spec_id: SpecId) -> TestEvm<DB> {
    context(database, spec_id).build_mainnet()
}

/// A context over `database`.
pub(crate) fn context<DB: revm::Database>(database: DB, spec_id: SpecId) -> TestContext<DB> {
    Context::mainnet()
        .modify_cfg_chained(|cfg| {
            cfg.set_spec_and_mainnet_gas_params(spec_id);
            cfg.disable_nonce_check = true;
        })
        .with_db(database)
}

/// A transaction to [`TARGET`].
pub(crate) fn call() -> TxEnv {
    TxEnv::builder().kind(TxKind::Call(TARGET)).gas_limit(1_000_000).build().unwrap()
}

/// A request for `code` on [`SPEC`].
pub(crate) fn request(code: &[u8]) -> LookupRequest {
    let key = RuntimeCacheKey { code_hash: keccak256(code), spec_id: SPEC };
    LookupRequest { key, code: Bytes::copy_from_slice(code) }
}

/// Longer than anything takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A request for different code for each `n`: [`summing`], and something unreachable.
pub(crate) fn numbered(n: usize) -> LookupRequest {
    request(&[&summing()[..], &n.to_be_bytes()].concat())
}

/// About `len` bytes of code, at most 64 KiB, that all runs: many blocks that each add to a word.
pub(crate) fn long_code(len: usize) -> Vec<u8> {
    let mut code = vec![PUSH0, PUSH0];
    while code.len() + 10 < len {
        let next = (code.len() + 8) as u16;
        code.extend([PUSH1, 7, ADD, CALLDATASIZE, PUSH2]);
        code.extend(next.to_be_bytes());
        code.extend([JUMPI, JUMPDEST]);
    }
    code.extend([PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    code
}

/// Waits for something that other threads bring about.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Names of this process's threads that begin with `prefix`.
#[cfg(target_os = "linux")]
pub(crate) fn threads(prefix: &str) -> Vec<String> {
    use std::fs;

    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut names: Vec<_> =
        names.map(|n| n.trim().to_owned()).filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

/// Counts the instructions that an inspector is shown.
#[derive(Default)]
pub(crate) struct StepCounter(pub(crate) usize);

impl<CTX> Inspector<CTX, EthInterpreter> for StepCounter {
    fn step(&mut self, _: &mut Interpreter<EthInterpreter>, _: &mut CTX) {
        self.0 += 1;
    }
}

/// Whether there is a program.
pub(crate) fn is_resident(backend: &JitBackend, request: &LookupRequest) -> bool {
    backend.get_compiled(request.key.code_hash, request.key.spec_id).is_some()
}

/// Code that no compiler takes: longer than the analysis can index. Needs
/// `jit_max_bytecode_len: 0`.
pub(crate) fn refused() -> LookupRequest {
    request(&vec![0; (1 << 24) + 1])
}
