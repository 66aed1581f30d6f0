//! A chain's instructions and prices may change at any time, by every way to them: what an EVM has
//! compiled and run before is interpreted from the next frame on that has others.
//!
//! [`adding`] calls [`summing`] and adds by itself, so result and gas tell which instruction either
//! had for ADD, and at which prices.

#[path = "../common/mod.rs"]
mod common;
mod evm_type;
mod handler;

use common::{
    CALLEE, SPEC, TARGET, TestContext, call, calling,
    chain::{ChainInstruction, MemoryEvm, multiply, transact},
    context, database, summing,
};
use cranevm::{
    handler::{
        EthPrecompiles, EvmTr,
        instructions::{EthInstructions, InstructionProvider},
    },
    inspector::InspectorEvmTr,
    interpreter::{GasTable, InstructionTable, interpreter::EthInterpreter},
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig},
};
use revm::{
    Inspector, MainBuilder,
    bytecode::opcode::*,
    context::{Evm, result::ResultAndState},
    database::{CacheDB, EmptyDB},
    inspector::NoOpInspector,
};
use std::{cell::Cell, mem, rc::Rc};

type MemoryContext = TestContext<CacheDB<EmptyDB>>;
type MemoryInstructions = EthInstructions<EthInterpreter, MemoryContext>;

/// A change of the rules that [`summing`] shows.
type Change = fn(&mut MemoryInstructions);

/// Each in place, so that the tables stay where they are.
const CHANGES: [Change; 4] = [
    |own| own.insert_instruction(ADD, ChainInstruction::new(multiply), 3),
    |own| own.instruction_table_mut()[usize::from(ADD)] = ChainInstruction::new(multiply),
    |own| own.insert_gas(JUMPDEST, 2),
    |own| own.gas_table_mut()[usize::from(ADD)] = 4,
];

/// A backend that compiles whatever is run, with the interpreter's halt reasons.
fn exact() -> JitBackend {
    let config = RuntimeConfig { blocking: true, single_error: false, ..Default::default() };
    JitBackend::new(config).unwrap()
}

/// [`calling`], which adds once more before it returns.
fn adding() -> Vec<u8> {
    let mut code = calling();
    code.truncate(code.len() - [PUSH1, 96, PUSH0, RETURN].len());
    code.extend([JUMPDEST, PUSH1, 3, PUSH1, 4, ADD, PUSH1, 96, MSTORE, PUSH1, 128, PUSH0, RETURN]);
    code
}

fn memory_context() -> MemoryContext {
    context(database(&[(TARGET, &adding()[..]), (CALLEE, &summing()[..])]), SPEC)
}

fn memory_evm() -> MemoryEvm {
    memory_context().build_mainnet()
}

/// What the transaction does by the fork's rules.
fn usual() -> ResultAndState {
    transact(&mut memory_evm(), call())
}

/// An EVM that has run the transaction natively.
fn hot() -> JitEvm<MemoryEvm> {
    let backend = exact();
    let mut jit = JitEvm::new(memory_evm(), backend.clone());
    assert_eq!(transact(&mut jit, call()), usual());
    assert_eq!(backend.stats().resident_entries, 2);
    jit
}

/// What the transaction does after a change.
fn changed(change: Change) -> ResultAndState {
    let mut plain = memory_evm();
    change(&mut plain.instruction);
    let outcome = transact(&mut plain, call());
    assert_ne!(outcome.result, usual().result, "the change shows");
    outcome
}

#[test]
fn rules_that_an_evm_is_made_with_are_its_own() {
    for change in CHANGES {
        let mut instructions = MemoryInstructions::new_mainnet_with_spec(SPEC);
        change(&mut instructions);
        let mut evm = memory_evm();
        evm.instruction = instructions;
        let mut jit = JitEvm::new(evm, exact());
        for _ in 0..2 {
            assert_eq!(transact(&mut jit, call()), changed(change));
        }
    }
}

#[test]
fn a_client_changes_the_rules_between_transactions() {
    type Way = fn(&mut JitEvm<MemoryEvm>, Change);
    let ways: [Way; 6] = [
        |jit, change| change(&mut jit.instruction),
        |jit, change| change(&mut jit.inner_mut().instruction),
        |jit, change| change(jit.all_mut().1),
        |jit, change| change(jit.ctx_instructions().1),
        // A new table, which may well be where the old one was.
        |jit, change| {
            let mut instructions = MemoryInstructions::new_mainnet_with_spec(SPEC);
            change(&mut instructions);
            jit.instruction = instructions;
        },
        |jit, change| {
            let mut other = JitEvm::new(memory_evm(), jit.backend().clone());
            change(&mut other.instruction);
            mem::swap(jit, &mut other);
        },
    ];
    for way in ways {
        for change in CHANGES {
            let mut jit = hot();
            way(&mut jit, change);
            assert_eq!(transact(&mut jit, call()), changed(change));
            // And back.
            jit.instruction = MemoryInstructions::new_mainnet_with_spec(SPEC);
            assert_eq!(transact(&mut jit, call()), usual());
        }
    }
}

/// Changes the rules with the inspector of an EVM that has one.
fn change_beside<INSP: Inspector<MemoryContext> + Default>(change: Change) {
    let context = memory_context();
    let mut jit = JitEvm::new(context.build_mainnet_with_inspector(INSP::default()), exact());
    for _ in 0..2 {
        assert_eq!(transact(&mut jit, call()), usual());
    }
    assert_eq!(jit.backend().stats().resident_entries, 2);
    change(jit.all_mut_inspector().1);
    assert_eq!(transact(&mut jit, call()), changed(change));
}

#[derive(Default)]
struct OwnInspector;

impl Inspector<MemoryContext> for OwnInspector {}

#[test]
fn a_client_changes_the_rules_beside_an_inspector() {
    for change in CHANGES {
        change_beside::<NoOpInspector>(change);
        change_beside::<OwnInspector>(change);
    }
}

/// Hands out one of two tables, without anybody's mutable access.
struct Switching {
    tables: [MemoryInstructions; 2],
    is_second: Rc<Cell<bool>>,
}

impl Switching {
    fn current(&self) -> &MemoryInstructions {
        &self.tables[usize::from(self.is_second.get())]
    }
}

impl InstructionProvider for Switching {
    type Context = MemoryContext;
    type InterpreterTypes = EthInterpreter;

    fn instruction_table(&self) -> &InstructionTable<EthInterpreter, MemoryContext> {
        self.current().instruction_table()
    }

    fn gas_table(&self) -> &GasTable {
        self.current().gas_table()
    }
}

/// revm's own EVM type, with a provider that needs no mutable access to change its mind.
#[test]
fn a_provider_hands_out_another_table() {
    for change in CHANGES {
        let is_second = Rc::new(Cell::new(false));
        let mut tables = [(); 2].map(|()| MemoryInstructions::new_mainnet_with_spec(SPEC));
        change(&mut tables[1]);
        let instruction = Switching { tables, is_second: Rc::clone(&is_second) };
        let evm = Evm::new(memory_context(), instruction, EthPrecompiles::new(SPEC));
        let mut jit = JitEvm::new(evm, exact());
        for second in [false, true, false, true, true, false] {
            is_second.set(second);
            let expected = if second { changed(change) } else { usual() };
            assert_eq!(transact(&mut jit, call()), expected);
        }
    }
}
