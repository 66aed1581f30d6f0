//! Frames that change engines while they run: from the interpreter into code that was compiled
//! meanwhile, and back into native code after a hand-over. Results are compared with a plain EVM's.

mod common;

use common::{SPEC, TARGET, call, database, evm, request};
use cranevm::{
    OptimizationLevel,
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use revm::{ExecuteEvm, bytecode::opcode::*, context::TxEnv};

fn backend() -> JitBackend {
    let tuning =
        RuntimeTuning { jit_opt_level: OptimizationLevel::None, ..RuntimeTuning::default() };
    JitBackend::new(RuntimeConfig { enabled: true, tuning, ..RuntimeConfig::default() }).unwrap()
}

fn long_call() -> TxEnv {
    TxEnv { gas_limit: 16_000_000, ..call() }
}

/// Counts down from 20,000. Each round jumps to a JUMPDEST whose offset is pushed nowhere, which
/// native code leaves to the interpreter, and back to the loop's header.
fn leaving_each_round() -> Vec<u8> {
    let mut code = vec![PUSH2, 0x4e, 0x20];
    code.extend([JUMPDEST, PUSH1, 9, CALLDATASIZE, ISZERO, ADD, JUMP]); // 3
    code.extend([JUMPDEST, PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 3, JUMPI]); // 10
    code.extend([GAS, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    code
}

#[test]
fn a_frame_that_was_handed_over_comes_back() {
    let code = leaving_each_round();
    let contracts = [(TARGET, &code[..])];
    let expected = evm(database(&contracts), SPEC).transact(long_call()).unwrap();
    assert!(expected.result.is_success());
    let backend = backend();
    backend.compile_jit_sync(request(&code)).unwrap();
    let mut jit = JitEvm::new(evm(database(&contracts), SPEC), backend.clone());
    assert_eq!(jit.transact(long_call()).unwrap(), expected);
    let hand_overs = backend.hand_overs();
    assert!(hand_overs > 10, "it stayed in the interpreter: {hand_overs} hand-overs");
    assert!(hand_overs < 1000, "it changes engines too often: {hand_overs} hand-overs");
}
