//! Simplification: each rule by what it makes of an expression, and all of them together on random
//! programs, whose words are compared with those that revm's interpreter computes.

use alloy_primitives::U256;
use cranevm_passes::ir::entities::{Block, Value};
use cranevm_passes::ir::opcode::Opcode;
use cranevm_passes::ir::program::{JumpTarget, Program, Terminator, ValueDef};
use cranevm_passes::{PassOptions, PassSet, ThreadLimits, analyze};
use programs::Random;
use programs::oracle::{Oracle, push, word};
use revm_primitives::hardfork::SpecId;
use std::iter::Peekable;
use std::str::SplitWhitespace;

mod programs;

/// Expression => what becomes of it. `x` and `y` are words of which nothing is known. Constants are
/// in hexadecimal, great ones by their negative.
const RULES: &[(&str, &str)] = &[
    // Folding.
    ("(ADD -1 2)", "1"),
    ("(MUL 3 5)", "f"),
    ("(SUB 0 1)", "-1"),
    ("(DIV 7 2)", "3"),
    ("(DIV 7 0)", "0"),
    ("(SDIV -7 2)", "-3"),
    ("(SDIV (SHL ff 1) -1)", "(SHL ff 1)"),
    ("(MOD 7 0)", "0"),
    ("(SMOD -7 4)", "-3"),
    ("(ADDMOD -1 -1 7)", "2"),
    ("(MULMOD -1 -1 c)", "9"),
    ("(SIGNEXTEND 0 80)", "-80"),
    ("(SIGNEXTEND 20 80)", "80"),
    ("(LT 1 2)", "1"),
    ("(SLT 1 -1)", "0"),
    ("(SGT 1 -1)", "1"),
    ("(NOT 0)", "-1"),
    ("(BYTE 1f 1234)", "34"),
    ("(BYTE 20 1234)", "0"),
    ("(SHL 100 1)", "0"),
    ("(SHR 1 -1)", "(NOT (SHL ff 1))"),
    ("(SAR 100 -1)", "-1"),
    ("(SAR 4 -80)", "-8"),
    ("(CLZ 1)", "ff"),
    ("(EXP 2 3)", "(EXP 2 3)"),
    // Sums.
    ("(ADD x 0)", "x"),
    ("(ADD 0 x)", "x"),
    ("(ADD (ADD x 3) 4)", "(ADD x 7)"),
    ("(ADD 4 (ADD 3 x))", "(ADD x 7)"),
    ("(ADD (SUB x 3) 4)", "(ADD x 1)"),
    ("(ADD (SUB x 3) 3)", "x"),
    ("(ADD x y)", "(ADD x y)"),
    ("(SUB x 0)", "x"),
    ("(SUB x x)", "0"),
    ("(SUB (SUB x 3) 4)", "(SUB x 7)"),
    ("(SUB (ADD x 5) 3)", "(ADD x 2)"),
    ("(SUB (ADD x 5) 5)", "x"),
    ("(SUB -1 x)", "(NOT x)"),
    ("(SUB 7 (ADD x 5))", "(SUB 2 x)"),
    ("(SUB 0 x)", "(SUB 0 x)"),
    // Products.
    ("(MUL x 0)", "0"),
    ("(MUL 1 x)", "x"),
    ("(MUL x 20)", "(SHL 5 x)"),
    ("(MUL (MUL x 3) 5)", "(MUL x f)"),
    ("(MUL (MUL x 20) 8)", "(SHL 8 x)"),
    ("(MUL x 6)", "(MUL x 6)"),
    // Quotients and remainders.
    ("(DIV x 0)", "0"),
    ("(DIV x 1)", "x"),
    ("(DIV x 20)", "(SHR 5 x)"),
    ("(DIV (DIV x 20) 8)", "(SHR 8 x)"),
    ("(DIV 0 x)", "0"),
    ("(DIV (BYTE x y) 100)", "0"),
    ("(DIV x 6)", "(DIV x 6)"),
    ("(DIV x x)", "(DIV x x)"),
    ("(SDIV x 1)", "x"),
    ("(SDIV x -1)", "(SUB 0 x)"),
    ("(SDIV x 4)", "(SDIV x 4)"),
    ("(SDIV (SHR 1 x) 4)", "(SHR 3 x)"),
    ("(MOD x 0)", "0"),
    ("(MOD x 1)", "0"),
    ("(MOD x 20)", "(AND x 1f)"),
    ("(MOD x x)", "0"),
    ("(MOD (BYTE x y) 101)", "(BYTE x y)"),
    ("(SMOD x 1)", "0"),
    ("(SMOD x -1)", "0"),
    ("(SMOD x 4)", "(SMOD x 4)"),
    ("(SMOD (SHR 1 x) 4)", "(AND (SHR 1 x) 3)"),
    ("(ADDMOD x y 1)", "0"),
    ("(ADDMOD x 0 y)", "(MOD x y)"),
    ("(ADDMOD 0 x 8)", "(AND x 7)"),
    ("(ADDMOD x 1 y)", "(ADDMOD x 1 y)"),
    ("(MULMOD x y 0)", "0"),
    ("(MULMOD x 0 y)", "0"),
    ("(MULMOD 1 x y)", "(MOD x y)"),
    ("(MULMOD x y 2)", "(MULMOD x y 2)"),
    // Logic.
    ("(AND x 0)", "0"),
    ("(AND x -1)", "x"),
    ("(AND x x)", "x"),
    ("(AND (AND x ff) 1f0)", "(AND x f0)"),
    ("(AND (AND x ff) f00)", "0"),
    ("(AND (CALLER) (SHR 60 -1))", "(CALLER)"),
    ("(AND (AND x (SHR 60 -1)) (SHR 60 -1))", "(AND x (SHR 60 -1))"),
    ("(AND (CALLER) (SHR 61 -1))", "(AND (CALLER) (SHR 61 -1))"),
    ("(AND (ORIGIN) (SHR 60 -1))", "(AND (ORIGIN) (SHR 60 -1))"),
    ("(AND (SHR e0 x) ffffffff)", "(SHR e0 x)"),
    ("(AND (SHR df x) ffffffff)", "(AND (SHR df x) ffffffff)"),
    ("(AND (SIGNEXTEND 1 x) ffff)", "(AND x ffff)"),
    ("(AND (SIGNEXTEND 0 x) ffff)", "(AND (SIGNEXTEND 0 x) ffff)"),
    ("(OR x 0)", "x"),
    ("(OR x -1)", "-1"),
    ("(OR x x)", "x"),
    ("(OR 1 (OR x 2))", "(OR x 3)"),
    ("(XOR x 0)", "x"),
    ("(XOR x -1)", "(NOT x)"),
    ("(XOR x x)", "0"),
    ("(XOR (XOR x 3) 1)", "(XOR x 2)"),
    ("(NOT (NOT x))", "x"),
    ("(NOT (XOR x -1))", "x"),
    // Comparisons.
    ("(EQ x 0)", "(ISZERO x)"),
    ("(EQ x x)", "1"),
    ("(EQ 1 (LT x y))", "(LT x y)"),
    ("(EQ 1 x)", "(EQ 1 x)"),
    ("(EQ (BYTE x y) 100)", "0"),
    ("(LT x x)", "0"),
    ("(LT x 0)", "0"),
    ("(LT x 1)", "(ISZERO x)"),
    ("(LT (BYTE x y) 100)", "1"),
    ("(LT (BYTE x y) ff)", "(LT (BYTE x y) ff)"),
    ("(LT -1 x)", "0"),
    ("(LT ff (BYTE x y))", "0"),
    ("(LT fe (BYTE x y))", "(LT fe (BYTE x y))"),
    ("(LT 0 (EQ x y))", "(EQ x y)"),
    ("(LT 0 x)", "(LT 0 x)"),
    ("(GT x -1)", "0"),
    ("(GT x 0)", "(GT x 0)"),
    ("(GT (EQ x y) 0)", "(EQ x y)"),
    ("(GT (BYTE x y) ff)", "0"),
    ("(GT (BYTE x y) fe)", "(GT (BYTE x y) fe)"),
    ("(GT 0 x)", "0"),
    ("(GT 1 x)", "(ISZERO x)"),
    ("(GT 100 (BYTE x y))", "1"),
    ("(SLT x 0)", "(SLT x 0)"),
    ("(SLT (SHR 1 x) 0)", "0"),
    ("(SLT (SHR 1 x) -5)", "0"),
    ("(SLT (SHR 1 x) 5)", "(LT (SHR 1 x) 5)"),
    ("(SGT (SHR 1 x) -5)", "1"),
    ("(SGT (SHR 1 x) (BYTE x y))", "(GT (SHR 1 x) (BYTE x y))"),
    ("(ISZERO (ISZERO x))", "(ISZERO (ISZERO x))"),
    ("(ISZERO (ISZERO (ISZERO x)))", "(ISZERO x)"),
    ("(ISZERO (ISZERO (LT x y)))", "(LT x y)"),
    // Bytes and shifts.
    ("(BYTE 20 x)", "0"),
    ("(BYTE 1f x)", "(AND x ff)"),
    ("(BYTE 0 x)", "(SHR f8 x)"),
    ("(BYTE 5 x)", "(BYTE 5 x)"),
    ("(BYTE 1e (SHR f0 x))", "(SHR f8 x)"),
    ("(BYTE 1d (SHR f0 x))", "0"),
    ("(BYTE x 0)", "0"),
    ("(SHL 0 x)", "x"),
    ("(SHL 100 x)", "0"),
    ("(SHL -1 x)", "0"),
    ("(SHL x 0)", "0"),
    ("(SHL 4 (SHL 8 x))", "(SHL c x)"),
    ("(SHL 80 (SHL 80 x))", "0"),
    ("(SHL 8 (SHR 8 x))", "(AND x (SHL 8 -1))"),
    ("(SHL 8 (SHR 9 x))", "(SHL 8 (SHR 9 x))"),
    ("(SHR 0 x)", "x"),
    ("(SHR 100 x)", "0"),
    ("(SHR 8 (BYTE x y))", "0"),
    ("(SHR 4 (SHR 8 x))", "(SHR c x)"),
    ("(SHR 80 (SHR 80 x))", "0"),
    ("(SHR 8 (SHL 8 x))", "(AND x (SHR 8 -1))"),
    ("(SHR 8 (AND x (NOT f)))", "(SHR 8 x)"),
    ("(SHR 8 (AND x (NOT fff)))", "(SHR 8 (AND x (NOT fff)))"),
    ("(SAR 0 x)", "x"),
    ("(SAR 100 x)", "(SAR 100 x)"),
    ("(SAR 4 (SAR fe x))", "(SAR ff x)"),
    ("(SAR 4 (SHR 8 x))", "(SHR c x)"),
    ("(SAR 100 (SHR 8 x))", "0"),
    ("(SAR x -1)", "-1"),
    ("(SAR x (SHR 1 y))", "(SHR x (SHR 1 y))"),
    ("(SIGNEXTEND 1f x)", "x"),
    ("(SIGNEXTEND 0 (SIGNEXTEND 1 x))", "(SIGNEXTEND 0 x)"),
    ("(SIGNEXTEND 1 (SIGNEXTEND 0 x))", "(SIGNEXTEND 0 x)"),
    ("(SIGNEXTEND 0 (AND x ff))", "(SIGNEXTEND 0 x)"),
    ("(SIGNEXTEND 0 (AND x 7f))", "(AND x 7f)"),
    ("(SIGNEXTEND 1 (AND x ff))", "(AND x ff)"),
    ("(SIGNEXTEND x 0)", "0"),
    ("(SIGNEXTEND x -1)", "-1"),
];

/// Rules that need shifts, in a fork that has none.
const RULES_WITHOUT_SHIFTS: &[(&str, &str)] = &[
    ("(MUL x 20)", "(MUL x 20)"),
    ("(DIV x 20)", "(DIV x 20)"),
    ("(MOD x 20)", "(AND x 1f)"),
    ("(BYTE 0 x)", "(BYTE 0 x)"),
    ("(BYTE 1f x)", "(AND x ff)"),
];

/// Conditions => what decides the branch.
const CONDITIONS: &[(&str, &str)] = &[
    ("(ISZERO (ISZERO x))", "x"),
    ("(ISZERO x)", "(ISZERO x)"),
    ("(ISZERO (ISZERO (ISZERO x)))", "(ISZERO x)"),
    ("(ISZERO (EQ x 0))", "x"),
    ("x", "x"),
];

type Words<'a> = Peekable<SplitWhitespace<'a>>;

/// Appends code that pushes the word of an expression, of which the first word is next. `height` is
/// that of the stack above `x`, which lies on `y`.
fn emit(words: &mut Words<'_>, height: u8, code: &mut Vec<u8>) {
    let word = words.next().expect("an expression");
    match word {
        "x" => code.push(Opcode::DUP1.get() + height),
        "y" => code.push(Opcode::DUP2.get() + height),
        "(" => {
            let name = words.next().expect("an opcode");
            let opcode = Opcode::from_name(name).expect("an opcode");
            // The last argument is pushed first.
            let mut args = Vec::new();
            while words.peek() != Some(&")") {
                args.push(words.clone());
                emit(words, 0, &mut Vec::new());
            }
            words.next();
            for (pushed, arg) in args.iter_mut().rev().enumerate() {
                emit(arg, height + pushed as u8, code);
            }
            code.push(opcode.get());
        }
        constant => push(parse_constant(constant), code),
    }
}

fn parse_constant(text: &str) -> U256 {
    let digits = text.trim_start_matches('-');
    let word = U256::from_str_radix(digits, 16).expect("a number in hexadecimal");
    if digits.len() < text.len() { word.wrapping_neg() } else { word }
}

fn code_of(expression: &str) -> Vec<u8> {
    let spaced = expression.replace('(', "( ").replace(')', " )");
    let mut code = Vec::new();
    emit(&mut spaced.split_whitespace().peekable(), 0, &mut code);
    code
}

/// A value as an expression.
fn show(program: &Program, value: Value) -> String {
    match program.values[value].def {
        ValueDef::Input(-1) => "x".into(),
        ValueDef::Input(-2) => "y".into(),
        ValueDef::Input(slot) => panic!("slot {slot}"),
        ValueDef::Const(word) => show_constant(word),
        ValueDef::Result(inst) => {
            let args: Vec<String> =
                program.args(inst).iter().map(|&arg| show(program, arg)).collect();
            let opcode = program.insts[inst].opcode;
            format!("({})", [&[opcode.to_string()], &args[..]].concat().join(" "))
        }
        ValueDef::Unused => panic!("{value} is used"),
    }
}

fn show_constant(word: U256) -> String {
    match word.bit(255) {
        true => format!("-{:x}", word.wrapping_neg()),
        false => format!("{word:x}"),
    }
}

fn analyzed(code: &[u8], spec_id: SpecId) -> Program {
    let options = PassOptions {
        thread_limits: ThreadLimits::NONE,
        spec_id,
        verify: true,
        ..PassOptions::default()
    };
    analyze(code, &options).expect("a valid program")
}

/// What becomes of an expression.
fn simplified(expression: &str, spec_id: SpecId) -> String {
    let mut code = code_of(expression);
    code.push(Opcode::JUMPDEST.get());
    let program = analyzed(&code, spec_id);
    let output = program.outputs(Block::from_u32(0))[0];
    assert_eq!(output.slot, 0, "{program}");
    show(&program, output.value)
}

/// An expected expression with its constants folded: those of it that are written as shifts.
fn folded(expression: &str) -> String {
    let mut text = expression.to_owned();
    for constant in ["(SHL ff 1)", "(NOT (SHL ff 1))", "(SHR 60 -1)", "(SHR 61 -1)", "(SHL 8 -1)"]
        .iter()
        .chain(&["(SHR 8 -1)", "(NOT f)", "(NOT fff)"])
        .rev()
    {
        if text.contains(constant) {
            text = text.replace(constant, &simplified(constant, SpecId::OSAKA));
        }
    }
    text
}

#[test]
fn rules() {
    for (expression, expected) in RULES {
        assert_eq!(simplified(expression, SpecId::OSAKA), folded(expected), "{expression}");
    }
    for (expression, expected) in RULES_WITHOUT_SHIFTS {
        assert_eq!(&simplified(expression, SpecId::BYZANTIUM), expected, "{expression}");
    }
}

#[test]
fn conditions() {
    for (expression, expected) in CONDITIONS {
        let mut code = code_of(expression);
        code.extend([0x58, 0x57]);
        let program = analyzed(&code, SpecId::OSAKA);
        let Terminator::Branch { condition, target: JumpTarget::Invalid, .. } =
            program.blocks[Block::from_u32(0)].terminator
        else {
            panic!("{program}")
        };
        assert_eq!(&show(&program, condition), expected, "{expression}");
    }
}

/// Straight-line code that computes on the stack, which must have 16 words.
fn straight_line(random: &mut Random, spec_id: SpecId, len: usize) -> Vec<u8> {
    const COMPUTE: &[u8] = &[
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0b, 0x10, 0x11, 0x12, 0x13, 0x14,
        0x15, 0x15, 0x16, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1b, 0x1c, 0x1c, 0x1d, 0x1e, 0x30,
        0x33, 0x34, 0x36,
    ];
    let (mut code, mut height) = (Vec::new(), 16i32);
    for _ in 0..len {
        let opcode = match random.below(8) {
            0..=2 => {
                push(word(random), &mut code);
                height += 1;
                continue;
            }
            3 => 0x80 + random.below(6) as u8,
            4 => 0x90 + random.below(4) as u8,
            _ => COMPUTE[random.below(COMPUTE.len())],
        };
        let info = Opcode::new(opcode).info().expect("an assigned opcode");
        if height < i32::from(info.inputs).max(8) || !info.is_active(spec_id) {
            continue;
        }
        height += i32::from(info.outputs) - i32::from(info.inputs);
        code.push(opcode);
    }
    code
}

/// Evaluates the instructions of a block, each by the interpreter; a word for each value used.
fn evaluate(program: &Program, block: Block, inputs: &[U256], oracle: &mut Oracle) -> Vec<U256> {
    let mut words: Vec<U256> = program
        .values
        .values()
        .map(|data| match data.def {
            ValueDef::Input(slot) => inputs[(inputs.len() as i32 + i32::from(slot)) as usize],
            ValueDef::Const(word) => word,
            ValueDef::Result(_) | ValueDef::Unused => U256::ZERO,
        })
        .collect();
    for inst in program.block_insts(block) {
        let args: Vec<U256> =
            program.args(inst).iter().map(|arg| words[arg.as_u32() as usize]).collect();
        let data = &program.insts[inst];
        let result = data.result.expand().expect("each opcode here has a result");
        let word = oracle.result(data.opcode, &args);
        let bits = program.values[result].bits;
        assert!(word.bit_len() <= bits.into(), "{result} is {word:#x} of {bits} bits\n{program}");
        words[result.as_u32() as usize] = word;
    }
    words
}

/// Compares a block's outputs, or the truth of its condition, with the interpreter's stack.
fn check(body: &[u8], inputs: &[U256], branches: bool, oracle: &mut Oracle, skip: PassSet) {
    let mut code = body.to_vec();
    // A branch to an invalid target, or a second block, so that the stack is observed.
    if branches {
        code.extend([0x58, 0x57])
    } else {
        code.push(0x5b)
    }
    let options = PassOptions {
        thread_limits: ThreadLimits::NONE,
        spec_id: oracle.spec_id,
        chunk_limit: 4096,
        verify: true,
        skip,
        ..PassOptions::default()
    };
    let program = analyze(&code, &options).expect("a valid program");
    let block = Block::from_u32(0);
    let words = evaluate(&program, block, inputs, oracle);
    let word_of = |value: Value| words[value.as_u32() as usize];

    let mut whole = Vec::new();
    inputs.iter().for_each(|&input| push(input, &mut whole));
    whole.extend(body);
    let mut stack = oracle.stack(whole);
    if branches {
        let Terminator::Branch { condition, .. } = program.blocks[block].terminator else {
            panic!("{program}")
        };
        let truth = stack.pop().is_some_and(|word| !word.is_zero());
        assert_eq!(!word_of(condition).is_zero(), truth, "{program}");
    }
    let mut expected = inputs.to_vec();
    expected.resize(stack.len(), U256::ZERO);
    for output in program.outputs(block) {
        expected[(inputs.len() as i32 + i32::from(output.slot)) as usize] = word_of(output.value);
    }
    assert_eq!(expected, stack, "{program}");
}

#[test]
fn random_programs_compute_what_the_interpreter_computes() {
    let (mut before, mut after) = (0, 0);
    for spec_id in [SpecId::BYZANTIUM, SpecId::OSAKA] {
        let mut oracle = Oracle::new(spec_id);
        for seed in 0..1500 {
            let mut random = Random::new(seed);
            let len = 1 + random.below(40);
            let body: Vec<u8> = straight_line(&mut random, spec_id, len);
            let inputs: Vec<U256> = (0..16).map(|_| word(&mut random)).collect();
            let branches = random.below(3) == 0;
            let skip = [PassSet::NONE, PassSet::SIMPLIFY, PassSet::REMOVE_UNUSED][random.below(3)];
            check(&body, &inputs, branches, &mut oracle, skip);
            let options = PassOptions {
                thread_limits: ThreadLimits::NONE,
                spec_id,
                ..PassOptions::default()
            };
            let plain = PassOptions { skip: PassSet::ALL, ..options.clone() };
            before += analyze(&body, &plain).expect("valid").insts.len();
            after += analyze(&body, &options).expect("valid").insts.len();
        }
    }
    assert!(after < before * 2 / 3, "{after} of {before} instructions are left");
}

/// All constants: what is folded is what the interpreter computes.
#[test]
fn folding_equals_the_interpreter() {
    let spec_id = SpecId::OSAKA;
    let mut oracle = Oracle::new(spec_id);
    for byte in 0..=Opcode::CLZ.get() {
        let opcode = Opcode::new(byte);
        let Some(info) = opcode.info().filter(|info| info.outputs != 0) else { continue };
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let args: Vec<U256> = (0..info.inputs).map(|_| word(&mut random)).collect();
            let mut code = Vec::new();
            args.iter().rev().for_each(|&arg| push(arg, &mut code));
            code.extend([byte, 0x5b]);
            let program = analyzed(&code, spec_id);
            let output = program.outputs(Block::from_u32(0))[0];
            let expected = (opcode != Opcode::EXP).then(|| oracle.result(opcode, &args));
            assert_eq!(program.as_const(output.value), expected, "{opcode} {args:x?}");
        }
    }
}
