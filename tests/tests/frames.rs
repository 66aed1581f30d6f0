//! Nested frames: calls of all kinds, creations, reverts, self-destruction, static violations.

use alloy_primitives::{TxKind, U256};
use cranevm_tests::{
    assembly::{Assembly, Item},
    case::{Case, TARGET, Transaction, all_specs},
    check::Checker,
    parallel::on_deep_stack,
    programs::values::{DELEGATED, PEERS, delegation_to},
};
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};
use std::sync::LazyLock;

static CHECKER: LazyLock<Checker> = LazyLock::new(Checker::new);

const CALL_KINDS: [u8; 4] = [CALL, CALLCODE, DELEGATECALL, STATICCALL];

/// A call with 64 bytes in and out. `value` is for the kinds that take one.
fn call(asm: Assembly, kind: u8, to: impl Into<U256>, value: u64, gas: u64) -> Assembly {
    let asm = asm.push(64).push(0x40).push(64).push(0);
    let asm = if matches!(kind, CALL | CALLCODE) { asm.push(value) } else { asm };
    asm.push(to.into()).push(gas).op(kind)
}

fn word(address: alloy_primitives::Address) -> U256 {
    address.into_word().into()
}

/// Returns success flag, size of return data, and the output area.
fn returning_outcome(asm: Assembly) -> Vec<u8> {
    let asm = asm.push(0).op(MSTORE).op(RETURNDATASIZE).push(0x20).op(MSTORE);
    asm.push(0x80).push(0).op(RETURN).code()
}

/// Bodies that a callee may have: each does something visible and ends in another way.
fn callees() -> Vec<Vec<u8>> {
    let store = || Assembly::new().push(9).push(1).op(SSTORE);
    let log = || Assembly::new().op(ADDRESS).push(32).push(0).op(LOG1);
    let identity = [CALLER, CALLVALUE, ADDRESS, ORIGIN];
    let seen = identity
        .iter()
        .enumerate()
        .fold(Assembly::new(), |asm, (index, &opcode)| asm.op(opcode).push(32 * index).op(MSTORE));
    vec![
        vec![],
        store().op(STOP).code(),
        store().push(33).push(0).op(RETURN).code(),
        store().push(33).push(0).op(REVERT).code(),
        store().op(INVALID).code(),
        log().op(STOP).code(),
        log().push(1).push(2).op(REVERT).code(),
        seen.push(128).push(0).op(RETURN).code(),
        store().push(0xbeef).op(SELFDESTRUCT).code(),
        Assembly::new().push(5).push(0).op(TSTORE).push(0).op(TLOAD).return_top().code(),
        Assembly::new().op(POP).code(),
        vec![JUMPDEST, PUSH1, 0, JUMP],
        Assembly::new().push(0).push(0).push(0).op(CREATE).return_top().code(),
        call(Assembly::new(), CALL, word(PEERS[1]), 1, 5000).return_top().code(),
    ]
}

#[test]
fn every_kind_of_call_of_every_callee() {
    for kind in CALL_KINDS {
        for value in [0, 7, u64::MAX] {
            let code =
                returning_outcome(call(Assembly::new(), kind, word(PEERS[0]), value, 60_000));
            for callee in callees() {
                for spec in [SpecId::FRONTIER, SpecId::BYZANTIUM, SpecId::OSAKA, SpecId::AMSTERDAM]
                {
                    let case = Case::new(spec, code.clone()).contract(PEERS[0], callee.clone());
                    CHECKER.check(&case.contract(PEERS[1], vec![PUSH1, 1, PUSH1, 1, SSTORE]));
                }
            }
        }
    }
}

/// A static frame two levels down forbids every change of state, whatever is called in it.
#[test]
fn static_violations() {
    let middle = |kind| returning_outcome(call(Assembly::new(), kind, word(PEERS[1]), 1, 60_000));
    let outer = returning_outcome(call(Assembly::new(), STATICCALL, word(PEERS[0]), 0, 200_000));
    for kind in CALL_KINDS {
        for callee in callees() {
            let case = Case::new(SpecId::OSAKA, outer.clone()).contract(PEERS[0], middle(kind));
            CHECKER.check(&case.contract(PEERS[1], callee));
        }
    }
}

#[test]
fn precompiles() {
    for precompile in 0..=0x14u64 {
        for gas in [0, 100, 50_000] {
            let asm = Assembly::new().push(U256::from(0x1234)).push(0).op(MSTORE);
            let code = returning_outcome(call(asm, CALL, U256::from(precompile), 0, gas));
            for spec in [SpecId::FRONTIER, SpecId::OSAKA] {
                CHECKER.check(&Case::new(spec, code.clone()));
            }
        }
    }
    // EIP-7951's, above one byte.
    let code = returning_outcome(call(Assembly::new(), STATICCALL, U256::from(0x100), 0, 10_000));
    CHECKER.check(&Case::new(SpecId::OSAKA, code));
}

/// A contract that calls itself until the depth or the gas ends it.
#[test]
fn recursion_to_the_depth_limit() {
    on_deep_stack(|| {
        for kind in CALL_KINDS {
            let asm = call(Assembly::new(), kind, word(TARGET), 0, u64::MAX >> 8);
            let code = asm.op(GAS).op(ADD).return_top().code();
            // Before EIP-150 the depth limit of 1024 ends it.
            let specs = [SpecId::HOMESTEAD, SpecId::OSAKA];
            for spec in
                specs.into_iter().filter(|spec| kind != STATICCALL || *spec == SpecId::OSAKA)
            {
                let gas = if spec == SpecId::OSAKA { u64::MAX >> 24 } else { 1_000_000 };
                CHECKER.check(&Case::new(spec, code.clone()).gas(gas));
            }
        }
    });
}

/// Asks for all gas: what remains is 1/64 each time.
#[test]
fn recursion_with_all_gas() {
    on_deep_stack(|| {
        let asm = Assembly::new().push(0).push(0).push(0).push(0).push(0).push(word(TARGET));
        let code = asm.op(GAS).op(CALL).op(GAS).op(ADD).return_top().code();
        for gas in [100_000, 1_000_000, 1 << 40] {
            CHECKER.check(&Case::new(SpecId::OSAKA, code.clone()).gas(gas));
        }
    });
}

/// Initcodes that deploy, fail in every way, and use their frame.
fn initcodes() -> Vec<Vec<u8>> {
    vec![
        vec![],
        Assembly::new().push(1).push(0).op(RETURN).code(),
        Assembly::new().push(0x6001).push(0).op(RETURN).code(),
        Assembly::new().push(3).push(0).op(REVERT).code(),
        Assembly::new().push(0xef).push(0).op(MSTORE8).push(1).push(0).op(RETURN).code(),
        Assembly::new().push(1).push(1).op(SSTORE).op(CALLER).op(SELFDESTRUCT).code(),
        vec![INVALID],
        vec![POP],
        Assembly::new().op(CODESIZE).op(CALLDATASIZE).op(ADD).op(ADDRESS).op(SSTORE).code(),
    ]
}

#[test]
fn creations() {
    for (opcode, operands) in [(CREATE, 3), (CREATE2, 4)] {
        for initcode in initcodes().into_iter().filter(|code| !code.is_empty()) {
            let length = initcode.len();
            let mut asm = Assembly::new().item(Item::Push(initcode)).push(0).op(MSTORE);
            // Twice: CREATE2 with the same salt collides.
            for _ in 0..2 {
                asm = if operands == 4 { asm.push(77) } else { asm };
                asm = asm.push(length).push(32 - length).push(3).op(opcode);
                asm = asm.op(DUP1).op(EXTCODEHASH).op(ADD).op(RETURNDATASIZE).op(ADD);
            }
            let code = asm.op(XOR).op(GAS).op(XOR).return_top().code();
            for spec in [SpecId::FRONTIER, SpecId::PETERSBURG, SpecId::LONDON, SpecId::AMSTERDAM] {
                CHECKER.check(&Case::new(spec, code.clone()));
            }
        }
    }
}

#[test]
fn creation_transactions() {
    for initcode in initcodes() {
        for spec in all_specs() {
            let mut case = Case::new(spec, vec![STOP]);
            let transaction = Transaction::new(initcode.clone());
            case.transactions = vec![Transaction { to: TxKind::Create, ..transaction }];
            CHECKER.check(&case);
        }
    }
}

/// Return data of each call replaces that of the one before; a creation's is empty unless it
/// reverts.
#[test]
fn return_data_in_and_out_of_bounds() {
    let callee = Assembly::new().push(0xabcd).push(0).op(MSTORE).push(40).push(0).op(RETURN).code();
    for (offset, length) in [(0u64, 40u64), (0, 41), (40, 0), (41, 0), (39, 1), (u64::MAX, 1)] {
        let asm = call(Assembly::new(), CALL, word(PEERS[0]), 0, 50_000);
        let asm = asm.push(length).push(offset).push(0).op(RETURNDATACOPY);
        let code = returning_outcome(asm);
        CHECKER.check(&Case::new(SpecId::OSAKA, code).contract(PEERS[0], callee.clone()));
    }
}

#[test]
fn delegated_accounts() {
    let code = returning_outcome(call(Assembly::new(), CALL, word(DELEGATED), 5, 60_000));
    for callee in callees() {
        let case = Case::new(SpecId::PRAGUE, code.clone()).contract(PEERS[0], callee);
        CHECKER.check(&case.contract(DELEGATED, delegation_to(PEERS[0])));
    }
    // Called by the transaction itself.
    let case = Case::new(SpecId::PRAGUE, delegation_to(PEERS[0]));
    CHECKER.check(&case.contract(PEERS[0], vec![PUSH1, 3, PUSH1, 3, SSTORE]));
}

/// Transactions on one EVM object see each other's changes; transient storage and warmth end.
#[test]
fn series_of_transactions() {
    let asm = Assembly::new().push(0).op(SLOAD).push(1).op(ADD).op(DUP1).push(0).op(SSTORE);
    let asm = asm.push(0).op(TLOAD).op(ADD).push(5).push(0).op(TSTORE).op(GAS).op(ADD);
    let code = asm.return_top().code();
    for spec in [SpecId::CANCUN, SpecId::AMSTERDAM] {
        let mut case = Case::new(spec, code.clone());
        case.transactions = vec![case.transactions[0].clone(); 5];
        let seen = CHECKER.check(&case);
        assert_eq!(seen.outcomes.len(), 5);
    }
}

/// A contract destroyed and called again in the same transaction, and in the next.
#[test]
fn calls_of_the_destroyed() {
    let callee = Assembly::new().push(1).op(SLOAD).push(1).op(ADD).push(1).op(SSTORE);
    let callee = callee.op(CALLER).op(SELFDESTRUCT).code();
    let asm = call(Assembly::new(), CALL, word(PEERS[0]), 2, 60_000);
    let code = returning_outcome(call(asm, CALL, word(PEERS[0]), 2, 60_000).op(ADD));
    for spec in all_specs() {
        let mut case = Case::new(spec, code.clone()).contract(PEERS[0], callee.clone());
        case.transactions = vec![case.transactions[0].clone(); 2];
        CHECKER.check(&case);
    }
}
