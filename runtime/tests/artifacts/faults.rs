//! Machine code that breaks a rule, in an artifact whose hashes are right: its transaction is an
//! error, and the contract is interpreted from then on.

use crate::{
    common::{
        CALLEE, SPEC, TARGET, call, calling, database, evm,
        meddling::{Meddling, Read},
        request, summing,
    },
    world::{OwnStore, aot, backend, blocking, interpreted, kind, run},
};
use cranevm::{
    primitives::keccak256,
    revm_evm::JitEvm,
    runtime::{JitBackend, LookupRequest, ProgramStatus},
};
use revm::{
    ExecuteEvm, bytecode::opcode::*, context::result::EVMError, interpreter::InstructionResult,
};
use std::sync::Arc;

/// `mov eax, status; ret`
fn returning(status: u32) -> Vec<u8> {
    [&[0xb8][..], &status.to_le_bytes(), &[0xc3]].concat()
}

/// Stores more gas than there is where the gas is, and stops: `mov rax, gas; mov [r15], rax`.
fn making_gas() -> Vec<u8> {
    let mut code = vec![0x48, 0xb8];
    code.extend((i64::MAX as u64).to_le_bytes());
    code.extend([0x49, 0x89, 0x07]);
    code.extend(returning(InstructionResult::Stop as u32));
    code
}

/// Puts machine code in the place of the last function of a program's artifact, which is that of
/// its one chunk.
fn corrupt(store: &OwnStore, request: &LookupRequest, machine_code: &[u8]) {
    let mut bytes = store.bytes(request);
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let header_len = number(12);
    let hash_at = bytes.len() - 32;
    // Three functions, whose lengths come after the entry points and before the code.
    let is_lengths =
        |&at: &usize| at + 12 + number(at) + number(at + 4) + number(at + 8) == hash_at;
    let lengths = (header_len..hash_at - 12).find(is_lengths).expect("one chunk");
    let chunk = hash_at - number(lengths + 8);
    bytes[chunk..chunk + machine_code.len()].copy_from_slice(machine_code);
    let hash = keccak256(&bytes[..hash_at]);
    bytes[hash_at..].copy_from_slice(hash.as_slice());
    store.replace(request, &bytes, true);
}

/// A backend that has loaded such a program.
fn corrupted(code: &[u8], machine_code: &[u8]) -> (Arc<OwnStore>, JitBackend) {
    let (store, request) = (OwnStore::new(), request(code));
    backend(blocking(&store)).prepare_aot_sync(aot(&request)).unwrap();
    corrupt(&store, &request, machine_code);
    let backend = backend(blocking(&store));
    assert!(kind(&backend, &request).is_some(), "it was preloaded");
    (store, backend)
}

#[test]
fn a_fault_is_an_error_of_the_transaction_and_its_contract_is_denied() {
    let code = summing();
    for machine_code in [returning(0x7777), returning(0), making_gas()] {
        let (_store, backend) = corrupted(&code, &machine_code);
        let mut evm = JitEvm::new(evm(database(&[(TARGET, &code)]), SPEC), backend.clone());
        let Err(EVMError::Custom(message)) = evm.transact(call()) else {
            panic!("a fault went by")
        };
        assert!(message.contains("can't be believed: compiled code"), "{message}");
        assert_eq!(backend.stats().faults, 1);
        assert!(kind(&backend, &request(&code)).is_none(), "it is dropped");
        // The same EVM goes on, and so do others.
        assert_eq!(evm.transact(call()).unwrap(), interpreted(&code));
        assert_eq!(run(&backend, &code), interpreted(&code));
        assert!(backend.compile_jit_sync(request(&code)).is_err(), "it stays denied");
        assert_eq!((backend.stats().faults, backend.stats().resident_entries), (1, 0));
    }
}

/// In a nested frame, where a fatal end that nobody explains would panic.
#[test]
fn a_fault_in_a_nested_frame_is_an_error_of_the_transaction() {
    let callee = summing();
    let (_store, backend) = corrupted(&callee, &returning(0x7777));
    let world = database(&[(TARGET, &calling()), (CALLEE, &callee)]);
    let mut native = JitEvm::new(evm(world.clone(), SPEC), backend.clone());
    assert!(matches!(native.transact(call()), Err(EVMError::Custom(_))));
    assert_eq!(native.transact(call()).unwrap(), evm(world, SPEC).transact(call()).unwrap());
    assert_eq!(backend.stats().faults, 1);
}

/// Hands over at the start of the code, and makes gas and stops where it is entered again:
/// `cmp dword [r15 + 16], 0; jne +14; mov qword [r15 + 24], 0; mov eax, 0x100; ret; ...`, by the
/// ordinal in the context.
fn making_gas_later() -> Vec<u8> {
    let mut code = vec![0x41, 0x83, 0x7f, 0x10, 0x00, 0x75, 0x0e];
    code.extend([0x49, 0xc7, 0x47, 0x18, 0, 0, 0, 0]);
    code.extend(returning(0x100));
    code.extend(making_gas());
    code
}

/// Jumps to 7 plus what it reads first: a JUMPDEST behind which GAS is returned.
const JUMPING: [u8; 15] = [
    PUSH0, SLOAD, PUSH1, 7, ADD, JUMP, INVALID, JUMPDEST, GAS, PUSH0, MSTORE, PUSH1, 32, PUSH0,
    RETURN,
];

/// Native code hands over at the start, and breaks a rule where it is entered again.
#[test]
fn a_fault_in_a_later_stretch_is_an_error_of_the_transaction() {
    let (_store, backend) = corrupted(&JUMPING, &making_gas_later());
    let mut native = JitEvm::new(evm(database(&[(TARGET, &JUMPING)]), SPEC), backend.clone());
    let outcome = native.transact(call());
    assert!(matches!(outcome, Err(EVMError::Custom(_))), "{outcome:?}");
    assert_eq!((backend.stats().faults, backend.hand_overs()), (1, 0));
    assert_eq!(native.transact(call()).unwrap(), interpreted(&JUMPING));
}

/// The program isn't resident any more when its frame finds that it broke a rule.
#[test]
fn a_fault_of_a_program_that_is_gone_denies_its_contract() {
    let (_store, backend) = corrupted(&JUMPING, &making_gas_later());
    let database = Meddling {
        database: database(&[(TARGET, &JUMPING)]),
        at: Read::Storage,
        countdown: 1,
        meddle: Some(Box::new(|| backend.clear_resident())),
    };
    let mut native = JitEvm::new(evm(database, SPEC), backend.clone());
    let Err(EVMError::Custom(message)) = native.transact(call()) else { panic!("a fault went by") };
    assert!(message.contains("can't be believed: compiled code"), "{message}");
    assert_eq!(backend.stats().faults, 1);
    let status = backend.status(&request(&JUMPING).key);
    assert!(matches!(status, ProgramStatus::Failed(_)), "{status:?}");
    assert_eq!(native.transact(call()).unwrap(), interpreted(&JUMPING));
    assert_eq!((backend.stats().faults, backend.stats().resident_entries), (1, 0));
}
