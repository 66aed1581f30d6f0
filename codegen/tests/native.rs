//! Compiled frames against revm's interpreter, one frame at a time and without state.

use cranevm_codegen::{
    Chaos, CompileError, CompileTimings, Compiler, CompilerOptions, NativeProgram, OpcodeSet,
    OptimizationLevel, code_memory::CodeRegion, later_chunks,
};
use revm_bytecode::Bytecode;
use revm_interpreter::{
    InputsImpl, Interpreter, InterpreterAction, SharedMemory,
    host::DummyHost,
    instructions::{gas_table_spec, instruction_table},
    interpreter::{EthInterpreter, ExtBytecode},
};
use revm_primitives::{Bytes, U256, hardfork::SpecId};

fn frame(code: &[u8], spec_id: SpecId, gas: u64) -> Interpreter<EthInterpreter> {
    let bytecode = Bytecode::new_legacy(Bytes::copy_from_slice(code));
    let input = InputsImpl {
        input: revm_interpreter::CallInput::Bytes((1..=40u8).collect::<Vec<_>>().into()),
        call_value: U256::from(77),
        ..Default::default()
    };
    Interpreter::new(SharedMemory::new(), ExtBytecode::new(bytecode), input, false, spec_id, gas)
}

fn run_both(code: &[u8], spec_id: SpecId, gas: u64, options: CompilerOptions) {
    let instructions = instruction_table();
    let gas_table = gas_table_spec(spec_id);
    let mut expected = frame(code, spec_id, gas);
    let expected_action =
        expected.run_plain(&instructions, &gas_table, &mut DummyHost::new(spec_id));

    let region = CodeRegion::new(1 << 24).expect("address space");
    let compiled = Compiler::new(options).expect("host").compile(code, spec_id).expect("compiles");
    let program = NativeProgram::load(&compiled, &region).expect("loads");
    let action = run_native(&program, code, gas);
    assert_same(&expected_action, &action, &format!("{options:?} {spec_id:?} gas {gas}"));
}

fn assert_same(expected: &InterpreterAction, actual: &InterpreterAction, what: &str) {
    match (expected, actual) {
        (InterpreterAction::Return(expected), InterpreterAction::Return(actual)) => {
            // How far a failing frame got with memory before it ran out of gas isn't observable.
            assert_eq!(expected.result, actual.result, "{what}");
            assert_eq!(expected.output, actual.output, "{what}");
            assert_eq!(expected.gas.tracker(), actual.gas.tracker(), "{what}");
        }
        _ => assert_eq!(expected, actual, "{what}"),
    }
}

fn run_native(program: &NativeProgram, code: &[u8], gas: u64) -> InterpreterAction {
    let spec_id = program.spec_id();
    let mut native = frame(code, spec_id, gas);
    let mut host = DummyHost::new(spec_id);
    let (instructions, gas_table) = (instruction_table(), gas_table_spec(spec_id));
    // SAFETY: the program is alive and was compiled from this code for this spec.
    unsafe { program.func().run(&mut native, &mut host, &instructions, &gas_table) }
}

fn check(code: &[u8]) {
    let base = CompilerOptions { verify: true, ..Default::default() };
    let stencils = CompilerOptions { opt_level: OptimizationLevel::None, ..base };
    for options in [
        base,
        stencils,
        CompilerOptions { one_block_per_chunk: true, ..base },
        CompilerOptions { force_hand_over: Some(0), ..base },
        CompilerOptions { force_hand_over: Some(0), ..stencils },
        CompilerOptions { force_hand_over: Some(1), ..base },
        CompilerOptions { force_hand_over: Some(1), ..stencils },
        CompilerOptions { chaos: Some(Chaos::new(1)), ..base },
        CompilerOptions { chaos: Some(Chaos::new(2)), debug_assertions: true, ..base },
        CompilerOptions { debug_assertions: true, ..stencils },
    ] {
        for spec_id in [SpecId::FRONTIER, SpecId::CANCUN, SpecId::AMSTERDAM] {
            for gas in [1_000_000, 3000, 100, 20, 3] {
                run_both(code, spec_id, gas, options);
            }
        }
    }
}

/// Counts 200 down over several blocks, each of which is a chunk, and returns what gas is left.
const MANY_CHUNKS: [u8; 33] = [
    0x60, 200, 0x5b, 0x60, 1, 0x90, 0x03, 0x80, 0x60, 14, 0x57, 0x60, 22, 0x56, // to 14 or 22
    0x5b, 0x80, 0x60, 2, 0x57, 0x60, 22, 0x56, // back to 2, or to 22
    0x5b, 0x5a, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3, 0x5b, 0x00, 0x00,
];

/// Code gets into a program from its own compilation alone.
#[test]
fn a_chunk_of_another_program_is_refused() {
    let options = CompilerOptions { one_block_per_chunk: true, ..Default::default() };
    let mut compiler = Compiler::new(options).expect("host");
    let mut start = || compiler.compile_start(&MANY_CHUNKS, SpecId::OSAKA).expect("compiles");
    let ((analysed, mut code), (_, mut other_code)) = (start(), start());
    let chunk = later_chunks(&analysed).next().expect("several chunks");
    let mut timings = CompileTimings::default();
    let made = compiler.compile_chunk(&analysed, chunk, &mut timings).expect("compiles");
    assert!(matches!(other_code.place_chunk(made), Err(CompileError::ForeignChunk)));
    let made = compiler.compile_chunk(&analysed, chunk, &mut timings).expect("compiles");
    code.place_chunk(made).expect("its own");

    let others = CompilerOptions { debug_assertions: true, ..options };
    let mut others = Compiler::new(others).expect("host");
    let refused = others.compile_chunk(&analysed, chunk, &mut timings);
    assert!(matches!(refused, Err(CompileError::ForeignChunk)), "{refused:?}");
}

/// A compiler is told of foreign opcodes at any time: a contract that was begun goes on as it was.
#[test]
fn chunks_come_whatever_became_foreign_meanwhile() {
    let options = CompilerOptions { one_block_per_chunk: true, ..Default::default() };
    let mut compiler = Compiler::new(options).expect("host");
    let expected = compiler.compile(&MANY_CHUNKS, SpecId::OSAKA).expect("compiles");
    let (analysed, mut code) =
        compiler.compile_start(&MANY_CHUNKS, SpecId::OSAKA).expect("compiles");
    for (chunk, foreign) in later_chunks(&analysed).zip(0..) {
        compiler.set_foreign(OpcodeSet::from(1) << foreign);
        let made = compiler.compile_chunk(&analysed, chunk, &mut CompileTimings::default());
        code.place_chunk(made.expect("the same compiler's")).expect("its own");
    }
    assert_eq!(code.functions(), expected.functions());
}

#[test]
fn empty_code_stops() {
    check(&[]);
}

#[test]
fn arithmetic_reaches_memory() {
    // PUSH1 7, PUSH1 5, ADD, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN
    check(&[0x60, 7, 0x60, 5, 0x01, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3]);
}

#[test]
fn a_loop_counts_down() {
    // PUSH1 100, JUMPDEST, PUSH1 1, SWAP1, SUB, DUP1, PUSH1 2, JUMPI, STOP
    check(&[0x60, 100, 0x5b, 0x60, 1, 0x90, 0x03, 0x80, 0x60, 2, 0x57, 0x00]);
}

#[test]
fn dynamic_jumps_go_anywhere() {
    // CALLDATASIZE, PUSH1 33, SWAP1, SUB (= 7), JUMP, INVALID, JUMPDEST at 7, GAS, PUSH0.. return
    check(&[
        0x36, 0x60, 33, 0x90, 0x03, 0x56, 0xfe, 0x5b, 0x5a, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3,
    ]);
}

#[test]
fn an_invalid_jump_fails() {
    check(&[0x60, 1, 0x56]);
    check(&[0x36, 0x56]);
}

#[test]
fn calldata_is_padded() {
    // CALLDATALOAD(20), CALLDATALOAD(0) xor -> memory -> return
    check(&[
        0x60, 20, 0x35, 0x5f, 0x35, 0x60, 0, 0x35, 0x18, 0x18, 0x60, 0, 0x52, 0x60, 32, 0x60, 0,
        0xf3,
    ]);
    check(&[0x60, 20, 0x35, 0x60, 0, 0x35, 0x18, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3]);
}

#[test]
fn memory_grows_or_fails() {
    // MSTORE at a dynamic offset
    check(&[
        0x36, 0x36, 0x61, 0x01, 0x00, 0x02, 0x52, 0x59, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3,
    ]);
    // MLOAD at 2^255
    check(&[0x60, 1, 0x60, 0xff, 0x1b, 0x51]);
    check(&[0x36, 0x60, 0xff, 0x0a, 0x51]);
}

#[test]
fn delegated_and_builtin_results_are_used() {
    // (CALLDATASIZE ** 3) % 7 ; NUMBER ; keccak
    check(&[
        0x60, 7, 0x60, 3, 0x36, 0x0a, 0x06, 0x43, 0x01, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0x20,
        0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3,
    ]);
}

#[test]
fn stack_bounds_are_exact() {
    check(&[0x01]);
    check(&[0x80]);
    // JUMPDEST, PUSH1 0, PUSH1 0, JUMP: overflows in the end
    check(&[0x5b, 0x60, 0, 0x60, 0, 0x56]);
}

/// A builtin's argument and result take the slot of a word that comes back to it at the block's
/// end: PUSH 5, PUSH 9, JUMPDEST, SWAP1, CALLDATALOAD-free builtin on the top, SWAP1, JUMPDEST, ...
#[test]
fn a_word_returns_to_a_slot_that_served_a_builtin() {
    // PUSH1 9, PUSH1 5, JUMPDEST, SWAP1, PUSH1 200, DUP2, EXP, (pops 200) ADD, SWAP1, JUMPDEST,
    // PUSH1 0, MSTORE, PUSH1 32, MSTORE, PUSH1 64, PUSH1 0, RETURN
    check(&[
        0x60, 9, 0x60, 5, 0x5b, 0x90, 0x36, 0x90, 0x06, 0x90, 0x5b, 0x60, 0, 0x52, 0x60, 32, 0x52,
        0x60, 64, 0x60, 0, 0xf3,
    ]);
    // SWAP1, BALANCE (delegated, in place), SWAP1
    check(&[
        0x60, 9, 0x60, 5, 0x5b, 0x90, 0x40, 0x90, 0x5b, 0x60, 0, 0x52, 0x60, 32, 0x52, 0x60, 64,
        0x60, 0, 0xf3,
    ]);
}

/// A loop whose words are in registers hands over, ends and leaves at each place.
#[test]
fn loop_words_are_written_back() {
    // PUSH1 0 (sum), PUSH1 9 (n), JUMPDEST@4, DUP1, ISZERO, PUSH1 out, JUMPI, DUP1, SWAP2, ADD,
    // SWAP1, PUSH1 1, SWAP1, SUB, PUSH1 4, JUMP, JUMPDEST@out, POP, PUSH1 0, MSTORE, PUSH1 32,
    // PUSH1 0, RETURN
    let code = [
        0x60, 0, 0x60, 9, 0x5b, 0x80, 0x15, 0x60, 21, 0x57, 0x80, 0x91, 0x01, 0x90, 0x60, 1, 0x90,
        0x03, 0x60, 4, 0x56, 0x5b, 0x50, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3,
    ];
    check(&code);
    for gas in (0..700).step_by(3) {
        for force_hand_over in [None, Some(2), Some(3), Some(5)] {
            let options = CompilerOptions { verify: true, force_hand_over, ..Default::default() };
            run_both(&code, SpecId::CANCUN, gas, options);
        }
    }
}

/// One loop falls through into the header of another: that edge is not the first one's next
/// iteration.
#[test]
fn a_loop_follows_a_loop() {
    let code = [
        0x60, 0, 0x60, 9, 0x5b, 0x80, 0x91, 0x01, 0x90, 0x60, 1, 0x90, 0x03, 0x80, 0x60, 4, 0x57,
        0x5b, 0x60, 1, 0x01, 0x80, 0x60, 5, 0x18, 0x60, 17, 0x57, 0x5b, 0x50, 0x60, 0, 0x52, 0x60,
        32, 0x60, 0, 0xf3,
    ];
    check(&code);
    for gas in (0..1000).step_by(7) {
        for force_hand_over in [None, Some(1), Some(3), Some(8)] {
            let options = CompilerOptions { verify: true, force_hand_over, ..Default::default() };
            run_both(&code, SpecId::CANCUN, gas, options);
        }
    }
}

/// The second of two loops needs more of the stack than is there.
#[test]
fn a_loop_checks_its_own_stack_bounds() {
    let mut code = [0x60, 1].repeat(1000);
    let push2 = |code: &mut Vec<u8>, target: usize| {
        code.extend([0x61, (target >> 8) as u8, target as u8]);
    };
    code.extend([0x60, 3]);
    let first = code.len();
    code.extend([0x5b, 0x60, 1, 0x90, 0x03, 0x80]);
    push2(&mut code, first);
    code.push(0x57);
    let second = code.len();
    code.extend([0x5b, 0x60, 1, 0x01, 0x80]);
    code.extend([0x80; 30]);
    code.extend([0x50; 30]);
    code.extend([0x60, 5, 0x18]);
    push2(&mut code, second);
    code.extend([0x57, 0x5b, 0x00]);
    check(&code);
}

/// A loop whose header needs words that an empty stack doesn't have.
#[test]
fn a_loop_on_an_empty_stack_underflows() {
    check(&[0x5b, 0x8f, 0x60, 0, 0x57]);
    check(&[0x5f, 0x5b, 0x90, 0x60, 1, 0x01, 0x80, 0x60, 1, 0x57]);
}

/// A builtin's result lies in a slot that gets its old word back, and stays in SSA for the loop.
#[test]
fn a_loop_keeps_a_result_from_a_slot_that_is_restored() {
    // PUSH1 1, PUSH1 0x56, PUSH1 7, JUMPDEST@6, SWAP1, BALANCE, SWAP1, SWAP2, PUSH1 1, SWAP1, SUB,
    // SWAP2, DUP3, PUSH1 6, JUMPI, POP, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN
    for op in [0x31, 0x40, 0x51] {
        check(&[
            0x60, 1, 0x60, 0x56, 0x60, 7, 0x5b, 0x90, op, 0x90, 0x91, 0x60, 1, 0x90, 0x03, 0x91,
            0x82, 0x60, 6, 0x57, 0x50, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3,
        ]);
    }
    // The same with SDIV, a builtin of two words.
    check(&[
        0x60, 1, 0x60, 0x56, 0x60, 7, 0x5b, 0x90, 0x60, 3, 0x90, 0x05, 0x90, 0x91, 0x60, 1, 0x90,
        0x03, 0x91, 0x82, 0x60, 6, 0x57, 0x50, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3,
    ]);
}

/// A loop that needs 900 words of an empty stack: its words are loaded only after the check.
#[test]
fn a_deep_loop_on_an_empty_stack_underflows() {
    let mut code = vec![0x5b];
    code.extend([0x50; 900]);
    code.push(0x15);
    code.extend([0x5f; 900]);
    code.extend([0x60, 1, 0x60, 0, 0x57, 0x00]);
    check(&code);
}

#[test]
fn memory_is_grown_on_every_way_into_a_cycle_with_two_entries() {
    // L goes to B or X, X grows memory and goes to A, B goes to A while memory is empty, A stores
    // at 0x100 and goes to B.
    check(&[
        0x60, 0x40, 0x35, 0x60, 0x15, 0x57, // L
        0x5b, 0x59, 0x15, 0x60, 0x1f, 0x57, 0x5a, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3, // B
        0x5b, 0x60, 1, 0x61, 1, 0, 0x52, 0x60, 0x1f, 0x56, // X
        0x5b, 0x60, 7, 0x61, 1, 0, 0x52, 0x60, 0x06, 0x56, // A
    ]);
}

#[test]
fn words_that_die_after_a_loop_are_stored_for_its_next_round() {
    // H moves words that it doesn't read; what follows the loop overwrites both of them.
    check(&[
        0x60, 2, 0x60, 0, 0x52, 0x60, 0xaa, 0x60, 0xbb, //
        0x5b, 0x90, 0x50, 0x60, 0, 0x51, 0x60, 1, 0x60, 0, 0x51, 0x03, 0x60, 0, 0x52, // H
        0x60, 0, 0x51, 0x60, 0x09, 0x57, //
        0x90, 0x36, 0x60, 0x26, 0x57, 0x60, 0x26, 0x56, //
        0x5b, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3,
    ]);
}

#[test]
fn words_that_die_on_one_way_out_of_a_loop_live_on_the_other() {
    // H turns six words round; one way takes all of them off, the other, T, goes back to H.
    check(&[
        0x60, 3, 0x60, 0, 0x52, 0x60, 1, 0x60, 2, 0x60, 3, 0x60, 4, 0x60, 5, 0x60, 6, //
        0x5b, 0x90, 0x91, 0x92, 0x93, 0x94, 0x60, 1, 0x60, 0, 0x51, 0x03, 0x80, 0x60, 0,
        0x52, //
        0x60, 0x2f, 0x57, 0x60, 0, 0x52, 0x50, 0x50, 0x50, 0x50, 0x50, 0x60, 0x33, 0x56, //
        0x5b, 0x60, 0x11, 0x56, 0x5b, 0x60, 32, 0x60, 0, 0xf3, 0x5b, 0x60, 0x33, 0x56,
    ]);
}

/// Cranelift instructions of `code`, whose two ways out of a branch use the word compared.
fn clif_of(code: &[u8]) -> u32 {
    let options = CompilerOptions { compile_all: true, ..CompilerOptions::default() };
    let mut compiler = Compiler::new(options).expect("a compiler for this machine");
    compiler.compile(code, SpecId::OSAKA).expect("few entries").report.clif_instructions
}

/// A word that a branch has found to be below 2^64, or equal to one that is, is computed with as
/// such: fewer instructions are made than after a test that tells nothing.
#[test]
fn branches_narrow_words() {
    // CALLDATALOAD(0), a condition on it, JUMPI to the end; then its square, returned.
    let program = |condition: &[u8]| {
        let end = 14 + condition.len() as u8;
        let rest = [0x60, end, 0x57, 0x80, 0x02, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
        [&[0x5f, 0x35, 0x80], condition, &rest, &[0x5b, 0x00]].concat()
    };
    let max = [&[0x67][..], &[0xff; 8]].concat();
    // word > 2^255 - 1, and word > 2^64 - 1: `PUSH SWAP1 GT`.
    let wide = clif_of(&program(&[&[0x7f, 0x7f][..], &[0xff; 31], &[0x90, 0x11]].concat()));
    let narrow = clif_of(&program(&[&max[..], &[0x90, 0x11]].concat()));
    assert!(narrow + 10 < wide, "{narrow} instead of {wide}");
    // word == word & (2^64 - 1), taken if not: `DUP1 PUSH AND EQ ISZERO`.
    let masked = clif_of(&program(&[&[0x80][..], &max, &[0x16, 0x14, 0x15]].concat()));
    assert!(masked + 10 < wide, "{masked} instead of {wide}");
}

/// Chaos of which no decision is carried out changes nothing, and each that is carried out is told
/// of, whatever others are.
#[test]
fn chaos_does_what_it_tells_and_no_more() {
    for opt_level in [OptimizationLevel::Default, OptimizationLevel::Aggressive] {
        let plain = CompilerOptions { opt_level, verify: true, ..Default::default() };
        let with = |chaos| CompilerOptions { chaos: Some(chaos), ..plain };
        let compiler = |options| Compiler::new(options).expect("host");
        let compile = |options| {
            let compiled = compiler(options).compile(&MANY_CHUNKS, SpecId::OSAKA);
            compiled.expect("compiles").functions().concat()
        };
        let decide = |chaos| {
            compiler(with(chaos)).decisions(&MANY_CHUNKS, SpecId::OSAKA).expect("translates")
        };
        let undisturbed = compile(plain);
        let (mut done, mut differing) = (0, 0);
        for all in (0..20).map(Chaos::new) {
            let decisions = decide(all);
            assert!(decisions.is_sorted_by(|one, next| one.number < next.number));
            assert_eq!(decide(all.within(0, 0)), []);
            assert_eq!(compile(with(all.within(0, 0))), undisturbed);
            if let Some(middle) = decisions.get(decisions.len() / 2) {
                let one = all.within(middle.number, middle.number + 1);
                assert!(decide(one).iter().all(|decision| decision == middle));
            }
            done += decisions.len();
            differing += usize::from(compile(with(all)) != undisturbed);
        }
        assert!(done > 100 && differing > 10, "{done} decisions, {differing} of 20 differ");
    }
}
