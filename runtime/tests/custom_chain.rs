//! Chains that aren't Ethereum: handlers, EVM types, opcodes, prices and precompiles of their own,
//! on a long-lived EVM whose contracts are hot. The outcome is always that of the same EVM without
//! a backend.

mod common;

use common::{
    CALLEE, PROBE, SPEC, StepCounter, TARGET, call, calling,
    chain::{
        ChainEvm, ChainFrame, ChainHandler, ChainInstruction, MemoryEvm, TREASURY, chain_evm,
        is_native, push_42, transact,
    },
    context, database, evm, summing,
};
use cranevm::{
    SpecId,
    context_interface::{ContextTr, cfg::GasId},
    handler::{EthPrecompiles, EvmTr, PrecompileProvider},
    inspector::InspectorHandler,
    interpreter::{
        CallInputs, Gas, InstructionExecResult, InstructionResult, InterpreterResult,
        instructions::instruction_table,
        interpreter_types::{Immediates, Jumps},
    },
    primitives::{Address, AddressSet, B256, Bytes, U256},
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use revm::{
    MainBuilder,
    bytecode::opcode::*,
    context::{ContextSetters, JournalTr, result::ResultAndState},
};

/// A backend that compiles whatever is run, with the interpreter's halt reasons.
fn exact() -> JitBackend {
    let config = RuntimeConfig { blocking: true, single_error: false, ..Default::default() };
    JitBackend::new(config).unwrap()
}

/// A backend whose halts tell who ran a frame.
fn telling() -> JitBackend {
    JitBackend::new(RuntimeConfig { blocking: true, ..Default::default() }).unwrap()
}

fn assert_same(found: ResultAndState, expected: ResultAndState) {
    assert_eq!(found.result, expected.result);
    assert_eq!(found.state, expected.state);
}

/// Runs `code` on an EVM that `change` was made to, plain and natively; both must agree, and code
/// must be compiled. The outcome, and the backend.
fn agree(code: &[u8], change: impl Fn(&mut MemoryEvm)) -> (ResultAndState, JitBackend) {
    let backend = exact();
    let mut plain = chain_evm(code, SPEC);
    let mut jit = JitEvm::new(chain_evm(code, SPEC), backend.clone());
    change(&mut plain);
    change(&mut jit);
    for _ in 0..2 {
        assert_same(transact(&mut jit, call()), transact(&mut plain, call()));
    }
    assert_eq!(backend.stats().resident_entries, 1, "interpreted");
    (transact(&mut plain, call()), backend)
}

#[test]
fn a_handler_of_its_own_gets_native_frames() {
    let contracts = [(TARGET, &calling()[..]), (CALLEE, &summing()[..])];
    let mut plain = evm(database(&contracts), SPEC);
    let mut jit = JitEvm::new(evm(database(&contracts), SPEC), exact());
    let expected = transact(&mut plain, call());
    assert_eq!(expected.state[&TREASURY].info.balance, U256::ONE, "it is the chain's handler");
    assert_same(transact(&mut jit, call()), expected);
    let mut probe = JitEvm::new(chain_evm(PROBE, SPEC), telling());
    assert!(is_native(&transact(&mut probe, call()).result));
}

#[test]
fn a_handler_of_its_own_is_inspected_step_by_step() {
    let contracts = [(TARGET, &calling()[..]), (CALLEE, &summing()[..])];
    let build =
        || context(database(&contracts), SPEC).build_mainnet_with_inspector(StepCounter::default());
    let mut plain = build();
    plain.ctx.set_tx(call());
    let expected = ChainHandler::new().inspect_run(&mut plain).unwrap();
    let mut jit = JitEvm::new(build(), exact());
    transact(&mut jit, call());
    assert_eq!(jit.inspector.0, 0, "native, and not inspected");
    jit.ctx().set_tx(call());
    assert_eq!(ChainHandler::new().inspect_run(&mut jit).unwrap(), expected);
    assert_eq!(jit.ctx().journal_mut().finalize(), plain.ctx().journal_mut().finalize());
    assert_eq!(jit.inspector.0, plain.inspector.0);
}

#[test]
fn an_evm_type_of_its_own_begins_all_frames() {
    let contracts = [(TARGET, &calling()[..]), (CALLEE, &summing()[..])];
    let build = || ChainEvm { revm: evm(database(&contracts), SPEC), frames: 0, runs: 0 };
    let (mut plain, backend) = (build(), exact());
    let mut jit = JitEvm::new(build(), backend.clone());
    for _ in 0..3 {
        assert_same(transact(&mut jit, call()), transact(&mut plain, call()));
    }
    assert_eq!(jit.frames, plain.frames);
    assert_eq!(backend.stats().resident_entries, 2);
}

/// An opcode that Ethereum doesn't have, in the middle of a hot loop, at a price of its own.
#[test]
fn an_added_opcode_is_executed() {
    // acc n; each round adds 42 times n.
    let mut code = vec![PUSH0, PUSH1, 100];
    code.extend([JUMPDEST, 0x0c, DUP2, MUL, SWAP1, SWAP2, ADD, SWAP1]); // 3
    code.extend([PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 3, JUMPI]);
    code.extend([POP, GAS, PUSH0, MSTORE, PUSH1, 32, MSTORE, PUSH1, 64, PUSH0, RETURN]);
    let (outcome, backend) = agree(&code, |evm| {
        evm.instruction.insert_instruction(0x0c, ChainInstruction::new(push_42), 7);
    });
    let sum = U256::from_be_slice(&outcome.result.output().unwrap()[32..]);
    assert_eq!(sum, U256::from(42 * 100 * 101 / 2));
    assert!(backend.hand_overs() > 0, "compiled code leaves it to the interpreter");
    // Where the chain hasn't added it, it ends the frame.
    assert!(agree(&code, |_| ()).0.result.is_halt());
}

/// Pushes the byte that follows the opcode.
fn push_immediate(frame: ChainFrame<'_>) -> InstructionExecResult {
    let byte = frame.interpreter.bytecode.read_u8();
    frame.interpreter.bytecode.relative_jump(1);
    match frame.interpreter.stack.push(U256::from(byte)) {
        true => Ok(()),
        false => Err(InstructionResult::StackOverflow),
    }
}

/// An added opcode with an immediate, which the compiler takes for opcodes of their own.
#[test]
fn an_added_opcodes_immediate_is_no_instruction() {
    for immediate in [PUSH1, PUSH2, CALL, ADD, STOP, INVALID, 0x0c] {
        // acc n; each round adds the immediate.
        let mut code = vec![PUSH0, PUSH1, 100];
        code.extend([JUMPDEST, SWAP1, 0x0c, immediate, ADD, SWAP1]); // 3
        code.extend([PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 3, JUMPI]);
        code.extend([POP, PUSH0, MSTORE, GAS, PUSH1, 32, MSTORE, PUSH1, 64, PUSH0, RETURN]);
        let (outcome, backend) = agree(&code, |evm| {
            evm.instruction.insert_instruction(0x0c, ChainInstruction::new(push_immediate), 7);
        });
        let sum = U256::from_be_slice(&outcome.result.output().unwrap()[..32]);
        assert_eq!(sum, U256::from(100 * u64::from(immediate)));
        assert!(backend.hand_overs() > 0);
    }
}

/// As revm's, for 77 gas more.
fn dear<const OPCODE: u8>(frame: ChainFrame<'_>) -> InstructionExecResult {
    if !frame.interpreter.gas.record_regular_cost(77) {
        return Err(InstructionResult::OutOfGas);
    }
    instruction_table()[usize::from(OPCODE)].execute(frame)
}

/// The word that the chain has in place of Ethereum's.
fn answer<const INPUTS: usize>(frame: ChainFrame<'_>) -> InstructionExecResult {
    let stack = &mut frame.interpreter.stack;
    for _ in 0..INPUTS {
        stack.pop()?;
    }
    let _has_room = stack.push(U256::from(0xc0ffee));
    Ok(())
}

#[test]
fn replaced_opcodes_have_their_prices_and_results() {
    let mut code = vec![PUSH1, 3, SLOAD, PUSH1, 5, SSTORE, NUMBER, PUSH1, 6, SSTORE];
    code.extend([PUSH1, 32, PUSH0, KECCAK256, PUSH1, 7, SSTORE, PUSH1, 1, BLOCKHASH]);
    code.extend([PUSH0, MSTORE, PUSH1, 9, PUSH1, 32, PUSH0, LOG1, CALLER, BALANCE, PUSH1, 64]);
    code.extend([MSTORE, GAS, PUSH1, 32, MSTORE, PUSH1, 96, PUSH0, RETURN]);
    let (usual, _) = agree(&code, |_| ());
    assert!(usual.result.is_success(), "{usual:?}");
    type Change = (u8, ChainInstruction);
    let changes: [Change; 8] = [
        (SLOAD, ChainInstruction::new(dear::<SLOAD>)),
        (SSTORE, ChainInstruction::new(dear::<SSTORE>)),
        (KECCAK256, ChainInstruction::new(dear::<KECCAK256>)),
        (LOG1, ChainInstruction::new(dear::<LOG1>)),
        (NUMBER, ChainInstruction::new(answer::<0>)),
        (BLOCKHASH, ChainInstruction::new(answer::<1>)),
        (BALANCE, ChainInstruction::new(answer::<1>)),
        (KECCAK256, ChainInstruction::new(answer::<2>)),
    ];
    for (opcode, instruction) in changes {
        let (outcome, _) = agree(&code, |evm| {
            evm.instruction.instruction_table_mut()[usize::from(opcode)] = instruction;
        });
        assert_ne!(outcome.result, usual.result, "{opcode:#x}");
    }
}

/// Where Ethereum's opcode suspends or ends the frame, the chain's may do something else.
#[test]
fn replaced_calls_may_go_on_and_replaced_ends_may_fail() {
    let call_code = |opcode: u8, arguments: usize| {
        // acc n; each round adds what the call leaves.
        let mut code = vec![PUSH0, PUSH1, 50];
        code.extend([JUMPDEST, SWAP1]); // 3
        code.extend([PUSH0].repeat(arguments));
        code.extend([opcode, ADD, SWAP1, PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 3, JUMPI]);
        code.extend([POP, PUSH0, MSTORE, GAS, PUSH1, 32, MSTORE, PUSH1, 64, PUSH0, RETURN]);
        code
    };
    let calls: [(u8, ChainInstruction, usize); 4] = [
        (CALL, ChainInstruction::new(answer::<7>), 7),
        (DELEGATECALL, ChainInstruction::new(answer::<6>), 6),
        (STATICCALL, ChainInstruction::new(answer::<6>), 6),
        (CREATE, ChainInstruction::new(answer::<3>), 3),
    ];
    for (opcode, instruction, arguments) in calls {
        let (outcome, _) = agree(&call_code(opcode, arguments), |evm| {
            evm.instruction.instruction_table_mut()[usize::from(opcode)] = instruction;
        });
        let sum = U256::from_be_slice(&outcome.result.output().unwrap()[..32]);
        assert_eq!(sum, U256::from(50 * 0xc0ffee), "{opcode:#x}");
    }
    for opcode in [RETURN, REVERT, SELFDESTRUCT] {
        let (outcome, _) = agree(&[PUSH0, PUSH0, opcode], |evm| {
            let collide = ChainInstruction::new(common::chain::collide);
            evm.instruction.instruction_table_mut()[usize::from(opcode)] = collide;
        });
        assert!(outcome.result.is_halt(), "{opcode:#x}");
    }
}

/// Makes memory dearer from here on.
fn inflate(frame: ChainFrame<'_>) -> InstructionExecResult {
    let params = &mut frame.host.cfg.gas_params;
    let price = params.get(GasId::memory_linear_cost());
    params.override_gas([(GasId::memory_linear_cost(), price + 1)]);
    Ok(())
}

/// The chain's own opcode changes the schedule in the middle of a frame, again and again.
#[test]
fn a_schedule_that_changes_within_a_frame_applies_at_once() {
    let mut code = vec![PUSH1, 60];
    code.extend([JUMPDEST, 0x0c, PUSH1, 1, MSIZE, MSTORE, PUSH1, 7, MSIZE, MSTORE8]); // 2
    code.extend([PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 2, JUMPI]);
    code.extend([GAS, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    let backend = exact();
    let build = || {
        let mut evm = chain_evm(&code, SPEC);
        evm.instruction.insert_instruction(0x0c, ChainInstruction::new(inflate), 3);
        evm
    };
    let (mut plain, mut jit) = (build(), JitEvm::new(build(), backend.clone()));
    // The second begins with the prices that the first has left.
    for _ in 0..2 {
        assert_same(transact(&mut jit, call()), transact(&mut plain, call()));
    }
    assert_eq!(backend.stats().resident_entries, 1);
    assert_ne!(jit.ctx.cfg.gas_params, chain_evm(&code, SPEC).ctx.cfg.gas_params);
}

/// The EVM promotes by itself while prices and opcodes come and go: whatever is compiled in between
/// is for the fork's own.
#[test]
fn promotion_goes_on_while_the_rules_change() {
    let code = summing();
    let tuning = RuntimeTuning { jit_hot_threshold: 2, ..Default::default() };
    let config = RuntimeConfig { enabled: true, tuning, single_error: false, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let mut plain = chain_evm(&code, SPEC);
    let mut jit = JitEvm::new(chain_evm(&code, SPEC), backend.clone());
    for round in 0..60_u16 {
        for evm in [&mut plain, &mut *jit] {
            evm.instruction.insert_gas(DUP1, 3 + round % 3 / 2);
            let own = instruction_table()[usize::from(ADD)];
            let changed = ChainInstruction::new(common::chain::multiply);
            let add = if round % 5 == 4 { changed } else { own };
            evm.instruction.insert_instruction(ADD, add, 3);
        }
        assert_same(transact(&mut jit, call()), transact(&mut plain, call()));
        if round % 10 == 9 {
            assert!(backend.wait_idle(common::LONG));
        }
    }
    assert_eq!(backend.stats().resident_entries, 1);
    assert!(backend.stats().lookup_hits > 0);
}

/// Ethereum's precompiles, and one that returns its input reversed for 500 gas.
struct Precompiles {
    ethereum: EthPrecompiles,
    addresses: AddressSet,
}

impl Precompiles {
    fn new() -> Self {
        Self { ethereum: EthPrecompiles::new(SPEC), addresses: AddressSet::default() }
    }
}

const REVERSING: Address = Address::with_last_byte(0x99);

impl<CTX: ContextTr<Cfg: cranevm::context_interface::Cfg<Spec = SpecId>>> PrecompileProvider<CTX>
    for Precompiles
{
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        let has_changed = PrecompileProvider::<CTX>::set_spec(&mut self.ethereum, spec);
        self.addresses = PrecompileProvider::<CTX>::warm_addresses(&self.ethereum).clone();
        self.addresses.insert(REVERSING);
        has_changed
    }

    fn run(
        &mut self,
        context: &mut CTX,
        inputs: &CallInputs,
    ) -> Result<Option<InterpreterResult>, String> {
        if inputs.bytecode_address != REVERSING {
            return self.ethereum.run(context, inputs);
        }
        let mut output = inputs.input.bytes(context).to_vec();
        output.reverse();
        let mut gas = Gas::new(inputs.gas_limit);
        let result = match gas.record_regular_cost(500) {
            true => InstructionResult::Return,
            false => InstructionResult::PrecompileOOG,
        };
        Ok(Some(InterpreterResult { result, output: output.into(), gas }))
    }

    fn warm_addresses(&self) -> &AddressSet {
        &self.addresses
    }
}

#[test]
fn precompiles_of_its_own_are_called() {
    // Calls the chain's, and then SHA-256 with the answer.
    let mut code = vec![PUSH2, 0x12, 0x34, PUSH0, MSTORE];
    code.extend([PUSH1, 32, PUSH1, 32, PUSH1, 32, PUSH0, PUSH0, PUSH1, 0x99, PUSH2, 2, 0, CALL]);
    code.extend([PUSH1, 32, PUSH1, 64, PUSH1, 32, PUSH1, 32, PUSH0, PUSH1, 2, GAS, CALL]);
    code.extend([ADD, PUSH0, MSTORE, PUSH1, 96, PUSH0, RETURN]);
    let build = || chain_evm(&code, SPEC).with_precompiles(Precompiles::new());
    let backend = exact();
    let (mut plain, mut jit) = (build(), JitEvm::new(build(), backend.clone()));
    for _ in 0..2 {
        let expected = transact(&mut plain, call());
        let output = expected.result.output().cloned().unwrap_or_default();
        assert_eq!(U256::from_be_slice(&output[..32]), U256::from(2), "both calls succeed");
        let mut reversed = B256::ZERO;
        reversed[..2].copy_from_slice(&[0x34, 0x12]);
        assert_eq!(Bytes::copy_from_slice(&output[32..64]), Bytes::from(reversed));
        assert_same(transact(&mut jit, call()), expected);
    }
    assert_eq!(backend.stats().resident_entries, 1);
}
