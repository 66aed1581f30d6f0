//! A database that fails or panics at every one of its reads: errors come out as revm's, panics
//! come out as they were raised, and the EVM can be used again.

use alloy_primitives::U256;
use cranevm_tests::{
    assembly::Assembly,
    case::Case,
    check::Checker,
    database::{Fault, FaultKind, INJECTED_PANIC, Read},
    observation::Outcome,
    parallel,
    programs::values::PEERS,
};
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};
use std::{panic, sync::Once};

/// Reads the database in every way there is, in two frames.
fn reading_everything(spec: SpecId) -> Case {
    let peer: U256 = PEERS[0].into_word().into();
    let inner =
        Assembly::new().push(1).op(SLOAD).push(2).push(2).op(SSTORE).push(0xabc).op(BALANCE);
    let asm = Assembly::new().push(5).op(SLOAD).push(990).op(BLOCKHASH).op(ADD);
    let asm = asm.push(0x777).op(BALANCE).op(ADD).push(peer).op(EXTCODESIZE).op(ADD);
    let asm = asm.push(PEERS[1].into_word()).op(EXTCODEHASH).op(ADD).push(3).push(6).op(SSTORE);
    let asm = asm.push(32).push(0).push(0).push(PEERS[1].into_word()).op(EXTCODECOPY);
    let asm = asm.push(0).push(0).push(0).push(0).push(0).push(peer).op(GAS).op(CALL).op(ADD);
    let asm = asm.push(0).push(0).push(0).op(CREATE).op(ADD).push(0x9999).op(SELFDESTRUCT);
    let mut case = Case::new(spec, asm.code()).contract(PEERS[0], inner.return_top().code());
    case = case.contract(PEERS[1], vec![PUSH1, 1, STOP]);
    // The second transaction shows whether the EVM object is still whole.
    case.transactions = vec![case.transactions[0].clone(); 2];
    case
}

/// Keeps the panics that are raised on purpose out of the test's output.
fn silence_injected_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if !text.starts_with(INJECTED_PANIC) {
                print(info);
            }
        }));
    });
}

/// Runs the case with a fault at each read of the undisturbed run. Returns what came out.
fn outcomes(kind: FaultKind, spec: SpecId) -> Vec<Outcome> {
    silence_injected_panics();
    let case = reading_everything(spec);
    let undisturbed = Checker::of([]).check(&case);
    let kinds = |pick: fn(&Read) -> bool| undisturbed.reads.iter().any(pick);
    assert!(undisturbed.all_executed());
    assert!(kinds(|read| matches!(read, Read::Storage(..))));
    assert!(kinds(|read| matches!(read, Read::BlockHash(_))));
    assert!(kinds(|read| matches!(read, Read::Code(_))));
    let faults = undisturbed.reads.len();
    let all = parallel::for_each(
        faults,
        || (Checker::new(), vec![]),
        |(checker, seen), at| {
            let disturbed = case.clone().fault(Fault { at, kind });
            seen.extend(checker.check(&disturbed).outcomes);
        },
    );
    all.into_iter().flat_map(|(_, seen)| seen).collect()
}

#[test]
fn errors_at_every_read() {
    for spec in [SpecId::PETERSBURG, SpecId::OSAKA, SpecId::AMSTERDAM] {
        let seen = outcomes(FaultKind::Error, spec);
        let errors = seen.iter().filter(|outcome| matches!(outcome, Outcome::Error(_))).count();
        // Each run has two transactions, of which the fault spoils one.
        assert_eq!(errors * 2, seen.len(), "{seen:?}");
    }
}

#[test]
fn panics_at_every_read() {
    for spec in [SpecId::PETERSBURG, SpecId::OSAKA, SpecId::AMSTERDAM] {
        let seen = outcomes(FaultKind::Panic, spec);
        let is_ours = |text: &str| text.starts_with(INJECTED_PANIC);
        let panics = seen.iter().filter(|o| matches!(o, Outcome::Panic(text) if is_ours(text)));
        assert_eq!(panics.count() * 2, seen.len(), "{seen:?}");
    }
}
