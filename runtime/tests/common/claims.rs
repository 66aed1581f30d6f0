//! Databases that say what they like of their code's hash, and what a backend must make of it.

use super::{LONG, SPEC, TARGET, call, evm};
use cranevm::{
    primitives::{Address, B256, Bytes, KECCAK_EMPTY, StorageKey, StorageValue, keccak256},
    revm_evm::JitEvm,
    runtime::JitBackend,
};
use revm::{
    Database, ExecuteEvm,
    bytecode::{Bytecode, opcode::*},
    context::result::ExecutionResult,
    state::AccountInfo,
};
use std::convert::Infallible;

/// A database with a contract at [`TARGET`], and what it claims to be the code's hash.
#[derive(Clone)]
pub(crate) struct Claiming {
    pub(crate) code: Bytecode,
    pub(crate) claim: B256,
}

impl Claiming {
    pub(crate) fn new(code: &[u8], claim: B256) -> Self {
        Self { code: Bytecode::new_legacy(Bytes::copy_from_slice(code)), claim }
    }
}

impl Database for Claiming {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        let info = AccountInfo::default();
        Ok(match address == TARGET {
            true => {
                Some(AccountInfo { code_hash: self.claim, code: Some(self.code.clone()), ..info })
            }
            false => None,
        })
    }

    fn code_by_hash(&mut self, _: B256) -> Result<Bytecode, Infallible> {
        panic!("the code comes with the account")
    }

    fn storage(&mut self, _: Address, _: StorageKey) -> Result<StorageValue, Infallible> {
        Ok(StorageValue::ZERO)
    }

    fn block_hash(&mut self, _: u64) -> Result<B256, Infallible> {
        Ok(B256::ZERO)
    }
}

/// Returns `n`; all of the same length.
pub(crate) fn returning(n: u8) -> Vec<u8> {
    vec![PUSH1, n, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]
}

/// Returns `n`, of another length.
fn padded(n: u8) -> Vec<u8> {
    [&returning(n)[..], &[STOP; 7]].concat()
}

/// What a transaction to [`TARGET`] returns.
pub(crate) fn outcome(result: &ExecutionResult) -> u8 {
    match result {
        ExecutionResult::Success { output, .. } => output.data()[31],
        other => panic!("must return: {other:?}"),
    }
}

/// Runs a contract on an EVM of its own, and compares the result with the interpreter's.
pub(crate) fn run(backend: &JitBackend, world: &Claiming) {
    let expected = evm(world.clone(), SPEC).transact(call()).unwrap();
    let mut jit = JitEvm::new(evm(world.clone(), SPEC), backend.clone());
    for _ in 0..2 {
        let found = jit.transact(call()).unwrap();
        assert_eq!(found.result, expected.result, "{:?}", world.code);
        assert_eq!(found.state, expected.state);
        assert!(backend.wait_idle(LONG));
    }
}

/// Whether there is a program under this hash.
pub(crate) fn is_filed(backend: &JitBackend, hash: B256) -> bool {
    backend.get_compiled(hash, SPEC).is_some_and(|program| {
        assert_eq!(program.key.code_hash, hash);
        true
    })
}

/// Code that a simulation overrides, with the deployed contract's hash left in place: whichever
/// comes first, both run what they are, on EVMs that come and go and on ones that live on.
pub(crate) fn a_stale_hash_poisons_nobody(make: &dyn Fn() -> JitBackend) {
    let deployed = Claiming::new(&returning(1), keccak256(returning(1)));
    for code in [returning(2), padded(2)] {
        let overridden = Claiming::new(&code, deployed.claim);
        for order in [[&deployed, &overridden], [&overridden, &deployed]] {
            let backend = make();
            let mut living =
                order.map(|world| JitEvm::new(evm(world.clone(), SPEC), backend.clone()));
            for _ in 0..4 {
                order.iter().for_each(|world| run(&backend, world));
                for (jit, world) in living.iter_mut().zip(order) {
                    let found = jit.transact(call()).unwrap().result;
                    let expected = evm(world.clone(), SPEC).transact(call()).unwrap().result;
                    assert_eq!(found, expected);
                    assert!(backend.wait_idle(LONG));
                }
            }
            assert!(is_filed(&backend, deployed.claim), "the right one is native");
            assert!(is_filed(&backend, keccak256(&code)), "the other one as well");
            assert_eq!(backend.stats().resident_entries, 2);
        }
    }
}

/// Two codes of one length, and one of another, whose accounts have no hash, or that of no code.
pub(crate) fn zero_and_empty_hashes_name_nothing(make: &dyn Fn() -> JitBackend) {
    for claim in [B256::ZERO, KECCAK_EMPTY] {
        for order in [[1, 2, 3], [2, 1, 3], [3, 2, 1]] {
            let backend = make();
            let codes = order.map(|n| if n == 3 { padded(n) } else { returning(n) });
            for _ in 0..4 {
                codes.iter().for_each(|code| run(&backend, &Claiming::new(code, claim)));
            }
            assert!(!is_filed(&backend, claim));
            for code in &codes {
                assert!(is_filed(&backend, keccak256(code)), "each under its own name");
            }
        }
    }
}
