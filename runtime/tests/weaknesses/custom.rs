//! What makes an EVM another than Ethereum's, and who watches it: never bypassed.

use crate::common::{
    CALLEE, LONG, PROBE, SPEC, TARGET, call, calling,
    chain::{
        ChainFrame, ChainInstruction, MemoryEvm, chain_evm, collide, is_native, multiply, push_42,
        set_spec, transact,
    },
    context, database, request, summing,
};
use cranevm::{
    SpecId,
    context_interface::cfg::GasId,
    interpreter::{InstructionExecResult, instructions::instruction_table},
    primitives::U256,
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};
use revm::{
    ExecuteEvm, InspectEvm, Inspector, MainBuilder,
    bytecode::opcode::*,
    context::{TxEnv, result::ResultAndState},
    interpreter::{Interpreter, interpreter::EthInterpreter, interpreter_types::Jumps},
};
use std::cell::Cell;

/// A backend that compiles whatever is run.
fn blocking(single_error: bool) -> JitBackend {
    let config = RuntimeConfig { blocking: true, single_error, ..Default::default() };
    JitBackend::new(config).unwrap()
}

/// Runs `code` on an EVM that `change` was made to, plain and with `backend`; both must agree.
fn agree(
    backend: &JitBackend,
    code: &[u8],
    spec_id: SpecId,
    change: impl Fn(&mut MemoryEvm),
) -> ResultAndState {
    let mut plain = chain_evm(code, spec_id);
    change(&mut plain);
    let expected = plain.transact(call()).unwrap();
    let mut jit = JitEvm::new(chain_evm(code, spec_id), backend.clone());
    change(&mut jit);
    let found = jit.transact(call()).unwrap();
    assert_eq!(found.result, expected.result);
    assert_eq!(found.state, expected.state);
    expected
}

/// Uses what the schedule prices: memory, `EXP`, `KECCAK256`, storage, copies and logs.
fn priced() -> Vec<u8> {
    let mut code = vec![PUSH1, 7, PUSH2, 2, 0, MSTORE, PUSH2, 1, 1, PUSH1, 3, EXP];
    code.extend([PUSH1, 200, PUSH0, KECCAK256, SSTORE, PUSH1, 1, SLOAD, POP]);
    code.extend([PUSH1, 90, PUSH0, PUSH1, 9, CALLDATACOPY, PUSH1, 5, PUSH1, 64, PUSH0, LOG1]);
    code.extend([GAS, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    code
}

/// A host's own schedule applies to hot code, from the frame on in which it is there, and the
/// fork's again when it has gone.
#[test]
fn w03_the_hosts_schedule_is_never_bypassed() {
    let backend = blocking(false);
    let schedules = [
        (GasId::memory_linear_cost(), 5),
        (GasId::exp_byte_gas(), 7),
        (GasId::keccak256_per_word(), 60),
        (GasId::copy_per_word(), 30),
        (GasId::sstore_static(), 1234),
        (GasId::logdata(), 80),
        (GasId::cold_storage_cost(), 1),
    ];
    let code = priced();
    let gas_used = |outcome: &ResultAndState| outcome.result.tx_gas_used();
    let usual = agree(&backend, &code, SPEC, |_| ());
    assert!(usual.result.is_success(), "{usual:?}");
    assert_eq!(backend.stats().resident_entries, 1, "it is hot from here on");
    for change in schedules {
        let own = agree(&backend, &code, SPEC, |evm| evm.ctx.cfg.gas_params.override_gas([change]));
        assert_ne!(gas_used(&own), gas_used(&usual), "{change:?}");
    }
    // One EVM, in whose middle age the schedule changes and changes back.
    let mut plain = chain_evm(&code, SPEC);
    let mut jit = JitEvm::new(chain_evm(&code, SPEC), backend.clone());
    for change in [None, Some(schedules[0]), None, Some(schedules[5]), Some(schedules[1]), None] {
        for evm in [&mut plain, &mut *jit] {
            set_spec(evm, SPEC);
            evm.ctx.cfg.gas_params.override_gas(change);
        }
        let expected = transact(&mut plain, call());
        let found = transact(&mut jit, call());
        assert_eq!((found.result, found.state), (expected.result, expected.state), "{change:?}");
    }
}

/// Only the EVMs with another schedule are interpreted.
#[test]
fn w03_other_schedules_cost_others_nothing() {
    let backend = blocking(true);
    let mut jit = JitEvm::new(chain_evm(PROBE, SPEC), backend.clone());
    let mut other = JitEvm::new(chain_evm(PROBE, SPEC), backend);
    other.ctx.cfg.gas_params.override_gas([(GasId::memory_linear_cost(), 5)]);
    for _ in 0..3 {
        assert!(is_native(&transact(&mut jit, call()).result));
        assert!(!is_native(&transact(&mut other, call()).result));
    }
}

/// A contract that was met by the fork's rules, and gets hot within one long frame by others: what
/// is compiled while the frame runs isn't entered by it.
#[test]
fn w03_a_running_frame_enters_no_code_of_other_rules() {
    // Counts down from a number of the calldata, and returns the gas that is left.
    let mut code = vec![PUSH0, CALLDATALOAD, JUMPDEST, PUSH1, 1, SWAP1, SUB]; // the loop at 2
    code.extend([PUSH1, 0, ADD, DUP1, PUSH1, 2, JUMPI]);
    code.extend([GAS, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    let turns = |n: u64| {
        let data = U256::from(n).to_be_bytes_vec().into();
        TxEnv { data, gas_limit: 100_000_000, ..call() }
    };
    type Change = fn(&mut MemoryEvm);
    let changes: [Change; 3] = [
        |evm| evm.instruction.insert_gas(ADD, 4),
        |evm| evm.ctx.cfg.gas_params.override_gas([(GasId::memory_linear_cost(), 9)]),
        |evm| {
            let own = instruction_table()[usize::from(ADD)];
            evm.instruction.insert_instruction(ADD, ChainInstruction::new(hook::<ADD>), 3);
            evm.instruction.insert_instruction(MUL, own, 5);
        },
    ];
    for change in changes {
        let tuning = RuntimeTuning { jit_hot_threshold: 1000, ..Default::default() };
        let config = RuntimeConfig { enabled: true, tuning, ..Default::default() };
        let backend = JitBackend::new(config).unwrap();
        let mut plain = chain_evm(&code, SPEC);
        let mut jit = JitEvm::new(chain_evm(&code, SPEC), backend.clone());
        assert_eq!(jit.transact(turns(5)).unwrap(), plain.transact(turns(5)).unwrap());
        change(&mut plain);
        change(&mut jit);
        HOOKED.set(0);
        let expected = plain.transact(turns(2_500_000)).unwrap();
        let hooked = HOOKED.take();
        assert_eq!(jit.transact(turns(2_500_000)).unwrap(), expected);
        assert_eq!(HOOKED.take(), hooked);
        assert!(backend.wait_idle(LONG));
        assert_eq!(backend.stats().resident_entries, 1, "it was compiled");
    }
}

/// Each opcode in turn is replaced by one that ends the frame; wherever compiled code does without
/// the EVM's table, that is noticed.
#[test]
fn w03_each_replaced_opcode_is_executed() {
    for spec_id in [SpecId::CANCUN, SpecId::AMSTERDAM] {
        let backend = blocking(false);
        for byte in (0..=u8::MAX).filter(|&byte| byte != PUSH1) {
            // `STOP` and `JUMPDEST`: as at the top of `revm_evm`.
            if [STOP, JUMPDEST].contains(&byte) {
                continue;
            }
            let mut code = [PUSH1, 1].repeat(20);
            code.extend([byte, 0x80, STOP]);
            let gas = chain_evm(&[], spec_id).instruction.gas_table()[usize::from(byte)];
            let outcome = agree(&backend, &code, spec_id, |evm| {
                evm.instruction.insert_instruction(byte, ChainInstruction::new(collide), gas);
            });
            assert!(outcome.result.is_halt(), "{byte:#x} wasn't executed: {outcome:?}");
        }
    }
}

/// Replaced while the EVM lives on, with its code hot, by other results and not by failures.
#[test]
fn w03_an_opcode_replaced_in_mid_life_is_executed() {
    // 6 and 7, added; or multiplied.
    let code = [PUSH1, 7, PUSH1, 6, ADD, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN];
    let backend = blocking(false);
    let mut jit = JitEvm::new(chain_evm(&code, SPEC), backend);
    let own = instruction_table()[usize::from(ADD)];
    for (instruction, expected) in
        [(own, 13), (ChainInstruction::new(multiply), 42), (own, 13)].repeat(2)
    {
        jit.instruction.insert_instruction(ADD, instruction, 3);
        let result = transact(&mut jit, call()).result;
        assert_eq!(result.output().unwrap().last(), Some(&expected));
    }
}

thread_local! {
    static HOOKED: Cell<usize> = const { Cell::new(0) };
}

/// Counts, and does what revm's instruction does.
fn hook<const OPCODE: u8>(frame: ChainFrame<'_>) -> InstructionExecResult {
    HOOKED.set(HOOKED.get() + 1);
    instruction_table()[usize::from(OPCODE)].execute(frame)
}

/// Hooks of opcodes are called as often as an interpreter calls them, of one opcode and of several.
#[test]
fn w03_opcode_hooks_are_called() {
    let code = summing();
    let hook_one = |evm: &mut MemoryEvm| {
        evm.instruction.insert_instruction(ADD, ChainInstruction::new(hook::<ADD>), 3);
    };
    let hook_some = |evm: &mut MemoryEvm| {
        hook_one(evm);
        evm.instruction.insert_instruction(SUB, ChainInstruction::new(hook::<SUB>), 3);
        evm.instruction.insert_instruction(JUMPI, ChainInstruction::new(hook::<JUMPI>), 10);
    };
    let backend = blocking(false);
    backend.compile_jit_sync(request(&code)).unwrap();
    for (change, hooked) in [(&hook_one as &dyn Fn(&mut MemoryEvm), 1000), (&hook_some, 3000)] {
        HOOKED.set(0);
        agree(&backend, &code, SPEC, change);
        assert_eq!(HOOKED.get(), 2 * hooked, "on the plain EVM, and on the other");
    }
}

/// What a chain adds or replaces and compiled code asks the table for doesn't stop it from running.
#[test]
fn w03_what_is_left_to_the_table_stays_native() {
    let backend = blocking(true);
    let mut jit = JitEvm::new(chain_evm(PROBE, SPEC), backend.clone());
    jit.instruction.insert_instruction(0x0c, ChainInstruction::new(push_42), 5);
    jit.instruction.insert_instruction(NUMBER, ChainInstruction::new(push_42), 2);
    assert!(is_native(&transact(&mut jit, call()).result));
    // Both are executed: 42 + 42.
    let code = [NUMBER, 0x0c, ADD, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN];
    let outcome = agree(&backend, &code, SPEC, |evm| {
        evm.instruction.insert_instruction(0x0c, ChainInstruction::new(push_42), 5);
        evm.instruction.insert_instruction(NUMBER, ChainInstruction::new(push_42), 2);
    });
    assert_eq!(outcome.result.output().unwrap().last(), Some(&84));
}

/// What an inspector is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    steps: Vec<(usize, u64)>,
    steps_ended: usize,
}

impl<CTX> Inspector<CTX, EthInterpreter> for Seen {
    fn step(&mut self, interpreter: &mut Interpreter<EthInterpreter>, _: &mut CTX) {
        self.steps.push((interpreter.bytecode.pc(), interpreter.gas.remaining()));
    }

    fn step_end(&mut self, _: &mut Interpreter<EthInterpreter>, _: &mut CTX) {
        self.steps_ended += 1;
    }
}

/// An inspector sees each step of hot code, with its pc and gas, as it would without a backend.
#[test]
fn w03_inspectors_see_every_step_of_hot_code() {
    let (target, callee) = (calling(), summing());
    let contracts = [(TARGET, &target[..]), (CALLEE, &callee[..])];
    let build =
        || context(database(&contracts), SPEC).build_mainnet_with_inspector(Seen::default());
    let mut plain = build();
    let expected = plain.inspect_tx(call()).unwrap();
    let backend = blocking(true);
    let mut jit = JitEvm::new(build(), backend.clone());
    assert_eq!(jit.transact(call()).unwrap().result, expected.result);
    assert_eq!(jit.inspector, Seen::default(), "it ran natively");
    assert_eq!(backend.stats().resident_entries, 2, "both are hot");
    let found = jit.inspect_tx(call()).unwrap();
    assert_eq!((found.result, found.state), (expected.result, expected.state));
    assert!(plain.inspector.steps.len() > 10_000 && plain.inspector.steps_ended > 10_000);
    assert_eq!(jit.inspector, plain.inspector);
}
