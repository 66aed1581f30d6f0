//! Where a client's own instructions and EVM types meet native code. What an instruction of the
//! client's does to its frame is the client's business: the outcome is always that of the same EVM
//! without a backend.

mod common;

use common::{
    CALLEE, LONG, PROBE, SPEC, TARGET, call, calling,
    chain::{
        ChainEvm, ChainFrame, ChainInstruction, MemoryEvm, chain_evm, is_native, multiply, push_42,
        transact,
    },
    database, evm, request, summing,
};
use cranevm::{
    interpreter::{
        CallInput, InstructionExecResult, InstructionResult, SharedMemory,
        instructions::instruction_table, interpreter::ExtBytecode, interpreter_types::Jumps,
    },
    primitives::U256,
    revm_evm::JitEvm,
    runtime::{BackendOptions, JitBackend, RuntimeArtifactStore, RuntimeConfig, RuntimeTuning},
};
use revm::{
    ExecuteEvm,
    bytecode::{Bytecode, opcode::*},
    context::{
        TxEnv,
        result::{EVMError, ExecutionResult},
    },
    handler::instructions::EthInstructions,
};
use std::{cell::RefCell, sync::Arc};

/// A backend that compiles whatever is run, with the interpreter's halt reasons or telling ones.
fn blocking(single_error: bool) -> JitBackend {
    let config = RuntimeConfig { blocking: true, single_error, ..Default::default() };
    JitBackend::new(config).unwrap()
}

/// Runs `code` where `opcode` is replaced, plain and with backends of all kinds; all must agree,
/// and native code must have run.
fn agree(code: &[u8], opcode: u8, instruction: ChainInstruction) -> ExecutionResult {
    let build = || {
        let mut evm = chain_evm(code, SPEC);
        evm.instruction.instruction_table_mut()[usize::from(opcode)] = instruction;
        evm
    };
    agree_on(code, build)
}

fn agree_on(code: &[u8], build: impl Fn() -> MemoryEvm) -> ExecutionResult {
    let tx = || TxEnv { data: vec![9; 40].into(), ..call() };
    let expected = transact(&mut build(), tx());
    let tuning = RuntimeTuning { jit_hot_threshold: 1, ..Default::default() };
    let background =
        RuntimeConfig { enabled: true, single_error: false, tuning, ..Default::default() };
    let store = Arc::new(RuntimeArtifactStore::new().unwrap());
    let aot = RuntimeConfig { aot: true, store: Some(store as _), ..background.clone() };
    let backends =
        [blocking(false), JitBackend::new(background).unwrap(), JitBackend::new(aot).unwrap()];
    for backend in &backends {
        // Also what was made for revm's own instructions, before the chain's are met.
        backend.compile_jit_sync(request(code)).unwrap();
        let mut jit = JitEvm::new(build(), backend.clone());
        for _ in 0..4 {
            let found = transact(&mut jit, tx());
            assert_eq!(found.result, expected.result);
            assert_eq!(found.state, expected.state);
            assert!(backend.wait_idle(LONG));
        }
        assert_eq!(backend.stats().resident_entries, 1, "it isn't compiled");
        assert!(backend.hand_overs() > 0, "native code never came to the chain's instruction");
    }
    expected.result
}

fn word(result: &ExecutionResult, number: usize) -> U256 {
    U256::from_be_slice(&result.output().unwrap()[32 * number..][..32])
}

/// Leaves a word in place of an address.
fn answer(frame: ChainFrame<'_>, word: u64) -> InstructionExecResult {
    frame.interpreter.stack.pop()?;
    let _has_room = frame.interpreter.stack.push(U256::from(word));
    Ok(())
}

/// Stores 1, asks for a balance, stores 7, and returns that and the size of memory.
const STORING: &[u8] = &[
    PUSH1, 1, PUSH0, MSTORE, PUSH0, BALANCE, POP, PUSH1, 7, PUSH0, MSTORE, //
    MSIZE, PUSH1, 32, MSTORE, PUSH1, 64, PUSH0, RETURN,
];

/// EVMs with and without the chain's instruction share a backend, in whichever order they come, and
/// each has its own results natively.
#[test]
fn evms_of_different_tables_share_a_backend() {
    let code = [NUMBER, PUSH0, MSTORE, GAS, PUSH1, 32, MSTORE, PUSH1, 64, PUSH0, RETURN];
    let number = (NUMBER, ChainInstruction::new(push_42));
    let exponent = (EXP, ChainInstruction::new(multiply));
    let tables: [&[(u8, ChainInstruction)]; 4] = [&[], &[number], &[exponent], &[number, exponent]];
    let build = |replaced: &[(u8, ChainInstruction)]| {
        let mut evm = chain_evm(&code, SPEC);
        let table = evm.instruction.instruction_table_mut();
        replaced.iter().for_each(|&(opcode, own)| table[usize::from(opcode)] = own);
        evm
    };
    for first in 0..tables.len() {
        let backend = blocking(false);
        let mut evms: Vec<_> = (first..first + tables.len())
            .map(|at| tables[at % tables.len()])
            .map(|table| (build(table), JitEvm::new(build(table), backend.clone())))
            .collect();
        for _ in 0..3 {
            for (plain, jit) in &mut evms {
                assert_eq!(transact(jit, call()), transact(plain, call()));
            }
        }
        let before = backend.hand_overs();
        evms.iter_mut().for_each(|(_, jit)| drop(transact(jit, call())));
        assert_eq!(
            backend.hand_overs(),
            before + 4,
            "each steps over NUMBER, and over nothing else"
        );
        assert_eq!(backend.stats().resident_entries, 1);
    }
}

/// The buffer that memory is in moves, and nothing that gas is charged by tells of it.
#[test]
fn a_memory_may_move_unseen() {
    fn moving(frame: ChainFrame<'_>) -> InstructionExecResult {
        let memory = &mut frame.interpreter.memory;
        memory.new_child_context().resize(1 << 20);
        memory.free_child_context();
        answer(frame, 3)
    }
    let result = agree(STORING, BALANCE, ChainInstruction::new(moving));
    assert_eq!([0, 1].map(|n| word(&result, n)), [7, 32].map(U256::from));
}

/// Memory grows that nobody has paid for: the next who pays for less takes it away again.
#[test]
fn a_memory_may_grow_unpaid() {
    fn growing(frame: ChainFrame<'_>) -> InstructionExecResult {
        frame.interpreter.memory.resize(1 << 12);
        answer(frame, 3)
    }
    let code = [
        PUSH1, 1, PUSH0, MSTORE, PUSH0, BALANCE, POP, PUSH1, 7, PUSH1, 32, MSTORE, //
        MSIZE, PUSH0, MSTORE, PUSH1, 64, PUSH0, RETURN,
    ];
    let result = agree(&code, BALANCE, ChainInstruction::new(growing));
    assert_eq!([0, 1].map(|n| word(&result, n)), [64, 7].map(U256::from));
}

/// The same, and the frame begins anew, where no memory has to be there yet.
#[test]
fn a_memory_may_grow_unpaid_before_the_frame_begins_anew() {
    fn growing(frame: ChainFrame<'_>) -> InstructionExecResult {
        frame.interpreter.memory.resize(1 << 12);
        Ok(())
    }
    const ADDED: u8 = 0x0c;
    // Stores at 0; the second time, loads from far beyond and returns what is left.
    let mut code = vec![JUMPDEST, PUSH1, 7, PUSH0, MSTORE, PUSH1, 1, SLOAD, PUSH1, 19, JUMPI];
    code.extend([PUSH1, 1, PUSH1, 1, SSTORE, ADDED, PUSH0, JUMP, JUMPDEST]);
    code.extend([
        PUSH2, 3, 0, MLOAD, POP, MSIZE, GAS, ADD, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN,
    ]);
    assert!(agree(&code, ADDED, ChainInstruction::new(growing)).is_success());
}

/// The input is another one afterwards, and the calldata with it.
#[test]
fn b_input_may_be_assigned() {
    fn assigning(frame: ChainFrame<'_>) -> InstructionExecResult {
        let input = &mut frame.interpreter.input;
        input.input = CallInput::Bytes(vec![5; 100].into());
        input.call_value = U256::from(77);
        answer(frame, 3)
    }
    let mut code = vec![CALLDATASIZE, CALLVALUE, ADD, PUSH0, BALANCE, ADD];
    code.extend([CALLDATASIZE, ADD, CALLVALUE, ADD, PUSH1, 90, CALLDATALOAD, ADD]);
    code.extend([PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    let result = agree(&code, BALANCE, ChainInstruction::new(assigning));
    let data = U256::from_be_slice(&[vec![5; 10], vec![0; 22]].concat());
    assert_eq!(word(&result, 0), data + U256::from(40 + 3 + 100 + 77));
}

/// The memory is another one afterwards, and the calldata, a slice of the caller's, isn't there any
/// more. As the contract doesn't read it, the interpreter doesn't mind; native code isn't entered.
#[test]
fn b_memory_may_be_exchanged_below_the_calldata() {
    fn exchanging(frame: ChainFrame<'_>) -> InstructionExecResult {
        frame.interpreter.memory = SharedMemory::new();
        answer(frame, 3)
    }
    let callee = [PUSH0, BALANCE, POP, CALLDATASIZE, PUSH0, BALANCE, SSTORE, STOP];
    let mut caller = vec![PUSH0, PUSH0, PUSH2, 1, 0, PUSH0, PUSH0, PUSH20];
    caller.extend(CALLEE);
    caller.extend([GAS, CALL, PUSH0, MSTORE, GAS, PUSH1, 32, MSTORE, PUSH1, 64, PUSH0, RETURN]);
    let build = || {
        let mut evm = evm(database(&[(TARGET, &caller), (CALLEE, &callee)]), SPEC);
        let table = evm.instruction.instruction_table_mut();
        table[usize::from(BALANCE)] = ChainInstruction::new(exchanging);
        evm
    };
    let expected = transact(&mut build(), call());
    assert_eq!(word(&expected.result, 0), U256::ONE);
    let backend = blocking(false);
    let found = transact(&mut JitEvm::new(build(), backend.clone()), call());
    assert_eq!((found.result, found.state), (expected.result, expected.state));
    assert_eq!(backend.stats().resident_entries, 2);
    assert_eq!(backend.hand_overs(), 1, "from the first on it is interpreted");
}

thread_local! {
    static SEEN: RefCell<Vec<(usize, Vec<U256>)>> = const { RefCell::new(Vec::new()) };
}

/// It sees its pc and the whole stack.
#[test]
fn b_the_pc_and_the_whole_stack_are_seen() {
    fn seeing(frame: ChainFrame<'_>) -> InstructionExecResult {
        let (pc, stack) = (frame.interpreter.bytecode.pc(), frame.interpreter.stack.data());
        SEEN.with_borrow_mut(|seen| seen.push((pc, stack.clone())));
        answer(frame, 3)
    }
    let instruction = ChainInstruction::new(seeing);
    agree(&[PUSH1, 42, PUSH1, 1, BALANCE, POP, POP, STOP], BALANCE, instruction);
    let seen = SEEN.take();
    assert!(seen.len() > 4);
    for seen in seen {
        assert_eq!(seen, (5, vec![U256::from(42), U256::from(1)]));
    }
}

/// It has the room above its arguments for itself.
#[test]
fn b_words_above_the_arguments_are_free() {
    fn pushing(frame: ChainFrame<'_>) -> InstructionExecResult {
        let stack = &mut frame.interpreter.stack;
        for _ in 0..9 {
            let _has_room = stack.push(U256::from(0xdead));
        }
        for _ in 0..9 {
            stack.pop()?;
        }
        answer(frame, 3)
    }
    // Words that are used above and below, before and after.
    let mut code = vec![CALLDATASIZE, PUSH1, 3, ADD, DUP1, DUP1, MUL, DUP2, DUP2, SUB];
    code.extend([PUSH0, BALANCE, DUP3, DUP3, ADD, ADD, XOR, ADD, ADD, MSIZE, ADD]);
    code.extend([PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    agree(&code, BALANCE, ChainInstruction::new(pushing));
}

/// It pushes more words than there may be. With that many a frame is interpreted: right behind it,
/// at a JUMPDEST where native code could be entered, and where it is resumed after a call.
#[test]
fn b_more_words_than_the_limit_are_interpreted() {
    const ADDED: u8 = 0x0c;
    fn heaping(frame: ChainFrame<'_>) -> InstructionExecResult {
        frame.interpreter.stack.data_mut().extend([U256::ZERO; 2000]);
        Ok(())
    }
    fn clearing(frame: ChainFrame<'_>) -> InstructionExecResult {
        frame.interpreter.stack.data_mut().clear();
        Ok(())
    }
    for ways_in in [&[POP, POP][..], &[POP, JUMPDEST], &[CALL, POP]] {
        // Two JUMPDESTs are pushed, and jumped to by an offset that is computed: at 12 and 16.
        let mut code = vec![PUSH1, 16, POP, CALLDATASIZE, PUSH1, 40, SUB, PUSH1, 12, ADD, JUMP];
        code.extend([INVALID, JUMPDEST, PUSH0, BALANCE]);
        code.extend(ways_in);
        code.extend([ADDED, MSIZE, GAS, ADD, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
        let build = || {
            let mut evm = chain_evm(&code, SPEC);
            evm.instruction.insert_instruction(ADDED, ChainInstruction::new(clearing), 3);
            let table = evm.instruction.instruction_table_mut();
            table[usize::from(BALANCE)] = ChainInstruction::new(heaping);
            evm
        };
        assert!(agree_on(&code, build).is_success());
    }
}

/// It goes elsewhere: backwards, forwards, into what isn't a JUMPDEST, and into other code.
#[test]
fn b_the_frame_may_go_on_elsewhere() {
    fn skipping(frame: ChainFrame<'_>) -> InstructionExecResult {
        frame.interpreter.bytecode.relative_jump(2);
        answer(frame, 3)
    }
    fn exchanging(frame: ChainFrame<'_>) -> InstructionExecResult {
        // As long as the contract's, and another one.
        let code: Vec<u8> = STORING.iter().map(|&byte| if byte == 7 { 8 } else { byte }).collect();
        let pc = frame.interpreter.bytecode.pc();
        frame.interpreter.bytecode = ExtBytecode::new(Bytecode::new_legacy(code.into()));
        frame.interpreter.bytecode.absolute_jump(pc);
        answer(frame, 3)
    }
    let code = [PUSH0, BALANCE, PUSH1, 9, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN];
    let result = agree(&code, BALANCE, ChainInstruction::new(skipping));
    assert_eq!(word(&result, 0), U256::from(3));
    let result = agree(STORING, BALANCE, ChainInstruction::new(exchanging));
    assert_eq!(word(&result, 0), U256::from(8));
}

/// Where Ethereum's opcode ends the frame, the chain's lets it go on.
#[test]
fn c_an_end_may_go_on() {
    fn popping<const WORDS: usize>(frame: ChainFrame<'_>) -> InstructionExecResult {
        for _ in 0..WORDS {
            frame.interpreter.stack.pop()?;
        }
        Ok(())
    }
    let tail = [PUSH1, 7, PUSH0, MSTORE, PUSH1, 32, PUSH0];
    let ends: [(u8, ChainInstruction, usize, u8); 3] = [
        (SELFDESTRUCT, ChainInstruction::new(popping::<1>), 1, RETURN),
        (REVERT, ChainInstruction::new(popping::<2>), 2, RETURN),
        (RETURN, ChainInstruction::new(popping::<2>), 2, REVERT),
    ];
    for (opcode, instruction, words, end) in ends {
        let code = [&[PUSH0].repeat(words)[..], &[opcode], &tail, &[end]].concat();
        let result = agree(&code, opcode, instruction);
        assert_eq!(word(&result, 0), U256::from(7), "{opcode:#x}");
        assert_eq!(result.is_success(), end == RETURN);
        // In a loop, between words that are kept.
        let mut code = vec![PUSH0, PUSH1, 50, JUMPDEST, SWAP1, PUSH1, 3, ADD, SWAP1]; // 3
        code.extend([PUSH0].repeat(words));
        code.extend([opcode, PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 3, JUMPI]);
        code.extend([POP, PUSH0, MSTORE, PUSH1, 32, PUSH0, end]);
        assert_eq!(word(&agree(&code, opcode, instruction), 0), U256::from(150), "{opcode:#x}");
    }
}

/// Where Ethereum's opcode goes on, the chain's ends the frame: in success, too.
#[test]
fn c_a_frame_may_end_anywhere() {
    fn ending(frame: ChainFrame<'_>) -> InstructionExecResult {
        frame.interpreter.return_with_output(vec![1, 2, 3].into());
        Err(InstructionResult::Return)
    }
    let result = agree(STORING, BALANCE, ChainInstruction::new(ending));
    assert_eq!(result.output().unwrap().to_vec(), [1, 2, 3]);
}

/// A fatal end that says nothing is an error of the transaction, and no fault of native code.
#[test]
fn c_a_fatal_end_is_an_error_of_the_transaction() {
    fn failing(_: ChainFrame<'_>) -> InstructionExecResult {
        Err(InstructionResult::FatalExternalError)
    }
    let watching = JitBackend::new(RuntimeConfig { enabled: true, ..Default::default() }).unwrap();
    for backend in [blocking(false), watching] {
        let mut evm = chain_evm(&[PUSH1, 1, POP, 0x0c, STOP], SPEC);
        evm.instruction.insert_instruction(0x0c, ChainInstruction::new(failing), 0);
        let outcome = JitEvm::new(evm, backend.clone()).transact(call());
        assert!(matches!(outcome, Err(EVMError::Custom(_))), "{outcome:?}");
        assert_eq!(backend.stats().faults, 0);
    }
}

/// An EVM type of a client's runs the frames that aren't native itself.
#[test]
fn e_the_wrapped_evm_runs_what_is_interpreted() {
    let contracts = [(TARGET, &calling()[..]), (CALLEE, &summing()[..])];
    let tuning = RuntimeTuning { jit_hot_threshold: 3, ..Default::default() };
    let config = RuntimeConfig { enabled: true, tuning, ..Default::default() };
    // Without the first tier, which would run the second of a contract's frames.
    let options = BackendOptions::default().first_tier(false);
    let backend = JitBackend::with_options(config, options).unwrap();
    let build = || ChainEvm { revm: evm(database(&contracts), SPEC), frames: 0, runs: 0 };
    let (mut plain, mut jit) = (build(), JitEvm::new(build(), backend.clone()));
    // The caller runs twice: before its call, and after.
    for round in 1..=2 {
        let expected = transact(&mut plain, call());
        assert_eq!(transact(&mut jit, call()), expected);
        assert_eq!((plain.runs, jit.runs), (3 * round, 3 * round));
    }
    // Frames and the gas that they burn are counted all the same, so both get native.
    let is_native = |jit: &mut JitEvm<ChainEvm<MemoryEvm>>| {
        let before = jit.runs;
        transact(jit, call());
        assert!(backend.wait_idle(LONG));
        jit.runs == before
    };
    assert!((0..10).any(|_| is_native(&mut jit)));
    assert_eq!(backend.stats().resident_entries, 2);
    backend.set_enabled(false).unwrap();
    assert!(!is_native(&mut jit));
}

/// One long frame heats its contract, also where the client's EVM runs it.
#[test]
fn e_the_gas_of_the_wrapped_evms_frames_counts() {
    let code = summing();
    let tuning = RuntimeTuning { jit_hot_threshold: 1000, ..Default::default() };
    let config = RuntimeConfig { enabled: true, tuning, ..Default::default() };
    let backend = JitBackend::new(config).unwrap();
    let revm = evm(database(&[(TARGET, &code[..])]), SPEC);
    let mut jit = JitEvm::new(ChainEvm { revm, frames: 0, runs: 0 }, backend.clone());
    let runs = (1..100).find(|_| {
        transact(&mut jit, call());
        assert!(backend.wait_idle(LONG));
        backend.stats().resident_entries == 1
    });
    assert!(runs.is_some_and(|runs| runs > 3), "{runs:?}");
}

/// An opcode that the chain adds takes memory away that the contract's first block has made.
#[test]
fn f_an_added_opcode_may_reset_memory() {
    fn resetting(frame: ChainFrame<'_>) -> InstructionExecResult {
        frame.interpreter.memory.resize(0);
        *frame.interpreter.gas.memory_mut() = Default::default();
        Ok(())
    }
    let mut code = vec![PUSH1, 7, PUSH1, 64, MSTORE, PUSH1, 5]; // n
    code.extend([JUMPDEST, 0x0c, PUSH1, 12, JUMP, JUMPDEST]); // 7, 12
    code.extend([PUSH1, 64, MLOAD, PUSH1, 1, SSTORE, PUSH1, 1, SWAP1, SUB, DUP1, PUSH1, 7, JUMPI]);
    code.extend([MSIZE, GAS, ADD, PUSH0, MSTORE, PUSH1, 32, PUSH0, RETURN]);
    agree(&code, 0x0c, ChainInstruction::new(resetting));
}

/// Does what revm's instruction does, from an address of its own: a table of these is one that
/// another crate has made.
#[inline(never)]
fn copy<const OPCODE: u8>(frame: ChainFrame<'_>) -> InstructionExecResult {
    instruction_table()[usize::from(OPCODE)].execute(frame)
}

macro_rules! copies {
    ($high:literal: $($low:literal)*) => {
        [$(ChainInstruction::new(copy::<{ 16 * $high + $low }>)),*]
    };
    ($($high:literal)*) => {
        [$(copies!($high: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)),*]
    };
}

/// An EVM whose table another crate has made, with these opcodes replaced.
fn foreign_evm(code: &[u8], replaced: &[(u8, ChainInstruction)]) -> MemoryEvm {
    let mut evm = chain_evm(code, SPEC);
    let rows = copies!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    let gas = *evm.instruction.gas_table();
    let mut table: [ChainInstruction; 256] = std::array::from_fn(|byte| rows[byte / 16][byte % 16]);
    replaced.iter().for_each(|&(opcode, instruction)| table[usize::from(opcode)] = instruction);
    evm.instruction = EthInstructions::new(table, gas, SPEC);
    evm
}

/// Whether a run of [`PROBE`] is native.
fn runs_natively(evm: MemoryEvm) -> bool {
    let mut jit = JitEvm::new(evm, blocking(true));
    (0..3).map(|_| is_native(&transact(&mut jit, call()).result)).last() == Some(true)
}

/// As revm's, for 7 gas more.
fn dear<const OPCODE: u8>(frame: ChainFrame<'_>) -> InstructionExecResult {
    if !frame.interpreter.gas.record_regular_cost(7) {
        return Err(InstructionResult::OutOfGas);
    }
    copy::<OPCODE>(frame)
}

/// A table that another crate has made runs natively; what asks the host is stepped over.
#[test]
fn tables_of_another_crate_run_natively() {
    assert!(runs_natively(foreign_evm(PROBE, &[])));
    // A rollup's table has more than Ethereum's.
    assert!(runs_natively(foreign_evm(PROBE, &[(0x0c, ChainInstruction::new(multiply))])));
    for code in [summing(), calling(), STORING.to_vec()] {
        let expected = transact(&mut chain_evm(&code, SPEC), call());
        let mut jit = JitEvm::new(foreign_evm(&code, &[]), blocking(false));
        for _ in 0..2 {
            let found = transact(&mut jit, call());
            assert_eq!(
                (found.result, found.state),
                (expected.result.clone(), expected.state.clone())
            );
        }
        assert_eq!(jit.backend().stats().resident_entries, 1);
    }
}

/// A replaced opcode is found in such a table by what it does.
#[test]
fn replacements_are_found_in_tables_of_another_crate() {
    let add: [(u8, ChainInstruction); 2] =
        [(ADD, ChainInstruction::new(multiply)), (ADD, ChainInstruction::new(dear::<ADD>))];
    let code =
        [PUSH1, 7, PUSH1, 6, ADD, PUSH0, MSTORE, GAS, PUSH1, 32, MSTORE, PUSH1, 64, PUSH0, RETURN];
    for replaced in add {
        assert!(!runs_natively(foreign_evm(PROBE, &[replaced])));
        let expected = transact(&mut foreign_evm(&code, &[replaced]), call());
        let mut jit = JitEvm::new(foreign_evm(&code, &[replaced]), blocking(false));
        for _ in 0..2 {
            assert_eq!(transact(&mut jit, call()), expected);
        }
    }
    // What isn't native by itself is left to the table.
    let hash = (KECCAK256, ChainInstruction::new(dear::<KECCAK256>));
    assert!(runs_natively(foreign_evm(PROBE, &[hash])));
    let code = [
        PUSH1, 40, PUSH0, KECCAK256, PUSH0, MSTORE, GAS, PUSH1, 32, MSTORE, PUSH1, 64, PUSH0,
        RETURN,
    ];
    let dear = agree_on(&code, || foreign_evm(&code, &[hash]));
    let usual = transact(&mut chain_evm(&code, SPEC), call()).result;
    assert_eq!(word(&dear, 0), word(&usual, 0));
    assert_ne!(word(&dear, 1), word(&usual, 1));
}

/// What a client vouches for isn't looked at: its instructions are taken for revm's.
#[test]
fn who_vouches_for_a_table_runs_revms_instructions() {
    let mut jit = JitEvm::new(foreign_evm(STORING, &[]), blocking(true));
    jit.trust_instructions(true);
    let expected = transact(&mut chain_evm(STORING, SPEC), call());
    for _ in 0..2 {
        assert_eq!(jit.transact(call()).unwrap().result, expected.result);
    }
    assert_eq!(jit.backend().hand_overs(), 0);
}
