//! A chain's instructions and prices may change at any time, by every way to them: what an EVM has
//! compiled and run before is interpreted from the next frame on that has others.
//!
//! [`adding`] calls [`summing`] and adds by itself, so result and gas tell which instruction either
//! had for ADD, and at which prices.

mod common;

use common::{
    CALLEE, PROBE, SPEC, TARGET, TestContext, call, calling,
    chain::{ChainEvm, ChainHandler, ChainInstruction, MemoryEvm, is_native, multiply, transact},
    context, database, evm, summing,
};
use cranevm::{
    context_interface::ContextTr,
    handler::{
        EthFrame, EthPrecompiles, EvmTr, FrameInitOrResult, FrameResult, FrameTr, Handler,
        ItemOrResult,
        evm::{ContextDbError, FrameInitResult},
        instructions::{EthInstructions, InstructionProvider},
    },
    inspector::InspectorEvmTr,
    interpreter::{
        GasTable, InstructionTable,
        instructions::{gas_table_spec, instruction_table},
        interpreter::EthInterpreter,
        interpreter_action::FrameInit,
    },
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig},
};
use revm::{
    Inspector, MainBuilder,
    bytecode::opcode::*,
    context::{
        ContextSetters, Evm, FrameStack, JournalTr,
        result::{EVMError, HaltReason, InvalidTransaction, ResultAndState},
    },
    database::{CacheDB, EmptyDB},
    inspector::NoOpInspector,
};
use std::{cell::Cell, convert::Infallible, mem, rc::Rc};

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

/// A handler that changes the rules after so many steps of its loop.
struct Meddling {
    change: Change,
    after: usize,
    uses_all_mut: bool,
}

impl Meddling {
    fn meddle<EVM: EvmTr<Instructions = MemoryInstructions>>(&self, evm: &mut EVM, step: usize) {
        if step == self.after {
            (self.change)(match self.uses_all_mut {
                true => evm.all_mut().1,
                false => evm.ctx_instructions().1,
            });
        }
    }
}

/// [`ChainHandler`] with its loop.
struct MeddlingHandler<EVM>(ChainHandler<EVM>, Meddling);

impl<EVM> Handler for MeddlingHandler<EVM>
where
    EVM: EvmTr<
            Context = MemoryContext,
            Frame = EthFrame<EthInterpreter>,
            Instructions = MemoryInstructions,
        >,
{
    type Evm = EVM;
    type Error = EVMError<Infallible, InvalidTransaction>;
    type HaltReason = HaltReason;

    fn run_exec_loop(
        &mut self,
        evm: &mut EVM,
        first: <EthFrame as FrameTr>::FrameInit,
    ) -> Result<FrameResult, Self::Error> {
        let mut steps = 0..;
        let mut meddle = |evm: &mut EVM| self.1.meddle(evm, steps.next().unwrap_or(0));
        let mut next: FrameInitOrResult<EthFrame> = ItemOrResult::Item(first);
        loop {
            meddle(evm);
            let result = match next {
                ItemOrResult::Item(init) => match evm.frame_init(init)? {
                    ItemOrResult::Item(_) => None,
                    ItemOrResult::Result(result) => Some(result),
                },
                ItemOrResult::Result(result) => Some(result),
            };
            meddle(evm);
            if let Some(result) = result
                && let Some(result) = evm.frame_return_result(result)?
            {
                return Ok(result);
            }
            meddle(evm);
            next = evm.frame_run()?;
        }
    }

    fn reward_beneficiary(
        &self,
        evm: &mut EVM,
        result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        self.0.reward_beneficiary(evm, result)
    }
}

fn transact_meddling<EVM>(evm: &mut EVM, meddling: Meddling) -> ResultAndState
where
    EVM: EvmTr<
            Context = MemoryContext,
            Frame = EthFrame<EthInterpreter>,
            Instructions = MemoryInstructions,
        >,
{
    evm.ctx().set_tx(call());
    let result = MeddlingHandler(ChainHandler::new(), meddling).run(evm).unwrap();
    ResultAndState::new(result, evm.ctx().journal_mut().finalize())
}

#[test]
fn a_handler_changes_the_rules_between_frames() {
    let mut that_show = 0;
    for change in CHANGES {
        // Two frames that begin, and one that goes on: nine places, and one that isn't reached.
        for after in 0..10 {
            for uses_all_mut in [true, false] {
                let meddling = || Meddling { change, after, uses_all_mut };
                let (mut plain, mut jit) = (memory_evm(), hot());
                for _ in 0..2 {
                    let expected = transact_meddling(&mut plain, meddling());
                    assert_eq!(transact_meddling(&mut jit, meddling()), expected, "{after}");
                    that_show += usize::from(expected.result != usual().result);
                }
            }
        }
    }
    assert!(that_show > 8 * CHANGES.len(), "{that_show}");
}

/// A method of an EVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Ctx,
    CtxMut,
    CtxPrecompiles,
    FrameStack,
    FrameInit,
    FrameReturnResult,
}

/// A chain's EVM that changes its rules, in place, when one of its methods is called for the n-th
/// time, and changes them back at the next call.
struct Fickle {
    revm: MemoryEvm,
    method: Method,
    change: Change,
    /// Calls of the method until the change, and how many there were.
    countdown: usize,
    calls: usize,
}

impl Fickle {
    fn new(method: Method, change: Change) -> Self {
        Self { revm: memory_evm(), method, change, countdown: usize::MAX, calls: 0 }
    }

    fn called(&mut self, method: Method) {
        if method != self.method {
            return;
        }
        self.calls += 1;
        let own = &mut self.revm.instruction;
        if self.calls == self.countdown {
            (self.change)(own);
        } else {
            *own.instruction_table_mut() = instruction_table();
            *own.gas_table_mut() = gas_table_spec(SPEC);
        }
    }
}

impl EvmTr for Fickle {
    type Context = MemoryContext;
    type Instructions = MemoryInstructions;
    type Precompiles = EthPrecompiles;
    type Frame = EthFrame<EthInterpreter>;

    fn all(&self) -> (&MemoryContext, &MemoryInstructions, &EthPrecompiles, &FrameStack<EthFrame>) {
        self.revm.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut MemoryContext, &mut MemoryInstructions, &mut EthPrecompiles, &mut FrameStack<EthFrame>)
    {
        self.revm.all_mut()
    }

    fn ctx(&mut self) -> &mut MemoryContext {
        self.called(Method::Ctx);
        self.revm.ctx()
    }

    fn ctx_mut(&mut self) -> &mut MemoryContext {
        self.called(Method::CtxMut);
        self.revm.ctx_mut()
    }

    fn ctx_precompiles(&mut self) -> (&mut MemoryContext, &mut EthPrecompiles) {
        self.called(Method::CtxPrecompiles);
        self.revm.ctx_precompiles()
    }

    fn frame_stack(&mut self) -> &mut FrameStack<EthFrame> {
        self.called(Method::FrameStack);
        self.revm.frame_stack()
    }

    fn frame_init(
        &mut self,
        init: FrameInit,
    ) -> Result<FrameInitResult<'_, EthFrame>, ContextDbError<MemoryContext>> {
        self.called(Method::FrameInit);
        self.revm.frame_init(init)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<EthFrame>, ContextDbError<MemoryContext>> {
        self.revm.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<MemoryContext>> {
        self.called(Method::FrameReturnResult);
        self.revm.frame_return_result(result)
    }
}

#[test]
fn an_evm_type_of_its_own_changes_the_rules_in_any_method() {
    use Method::*;
    for method in [Ctx, CtxMut, CtxPrecompiles, FrameStack, FrameInit, FrameReturnResult] {
        for change in CHANGES {
            let (mut plain, backend) = (Fickle::new(method, change), exact());
            let mut jit = JitEvm::new(Fickle::new(method, change), backend.clone());
            assert_eq!(transact(&mut jit, call()), transact(&mut plain, call()));
            assert_eq!(backend.stats().resident_entries, 2);
            let (calls, mut that_show) = (plain.calls, 0);
            assert!(calls > 0, "{method:?} is never called");
            for countdown in 1..=calls {
                for evm in [&mut plain, &mut *jit] {
                    (evm.countdown, evm.calls) = (countdown, 0);
                }
                let expected = transact(&mut plain, call());
                let found = transact(&mut jit, call());
                assert_eq!(found, expected, "{method:?}, call {countdown} of {calls}");
                assert_eq!((jit.calls, plain.calls), (calls, calls));
                that_show += usize::from(expected.result != usual().result);
            }
            let is_between_frames = matches!(method, FrameInit | FrameReturnResult);
            assert!(that_show > 0 || !is_between_frames, "{method:?}: no change shows");
        }
    }
}

#[test]
fn frames_of_evm_types_of_their_own_are_native() {
    let config = RuntimeConfig { blocking: true, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let probe = || evm(database(&[(TARGET, PROBE)]), SPEC);
    let mut jit = JitEvm::new(ChainEvm { revm: probe(), frames: 0 }, backend);
    for _ in 0..2 {
        assert!(is_native(&transact(&mut jit, call()).result));
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
