//! The aarch64 emulator itself, and Ethereum's state tests on it. The other tests run on it with
//! `CRANEVM_ENGINE=aarch64`.

use cranevm::OptimizationLevel;
use cranevm_cli::{
    Engine, EngineRunner, emulate,
    error::panic_message,
    statetest::{Options, run_suite},
};
use cranevm_codegen::{Compiler, CompilerOptions, NativeProgram, code_memory::CodeRegion};
use cranevm_tests::fixtures;
use revm::{
    bytecode::Bytecode,
    interpreter::{
        InputsImpl, Interpreter, InterpreterAction, SharedMemory,
        host::DummyHost,
        interpreter::{EthInterpreter, ExtBytecode},
    },
    primitives::{Bytes, hardfork::SpecId},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

const SPEC: SpecId = SpecId::OSAKA;

/// Folders of the archive that are run. The others are compute-heavy, or more of the same: the
/// program runs them by `cranevm statetest --engine aarch64`.
const FOLDERS: [&str; 6] = [
    "LegacyCancun/stRandom",
    "LegacyCancun/VMTests/vmArithmeticTest",
    "eest_state_tests/static/state_tests/VMTests",
    "eest_state_tests/cancun",
    "eest_state_tests/osaka",
    "amsterdam_regen",
];

fn state_tests(opt: OptimizationLevel) {
    let name = format!("state tests, emulated aarch64, {opt:?}");
    let Some(archive) = fixtures::find(&name, "state-tests.tar.xz") else { return };
    let folder = fixtures::unpack(&archive).expect("the archive unpacks");
    let runner = EngineRunner::new(Engine::Aarch64, opt).expect("built with the emulator");
    let before = emulate::runs();
    for part in FOLDERS.map(|part| folder.join(part)) {
        let report = run_suite(
            std::slice::from_ref(&part),
            std::slice::from_ref(&runner),
            Options::default(),
            &|_| {},
        );
        let report = report.expect("the unpacked folder is readable");
        assert!(report.is_success(), "{}: {report:?}", part.display());
        assert!(report.counts.passed > 100, "{}: {:?}", part.display(), report.counts);
        println!("{name}: {}: {:?}", part.display(), report.counts);
    }
    let compilations = runner.compilations();
    assert_eq!(compilations.failed, 0, "{compilations:?}");
    // Every compiled contract was entered, and that by the emulator.
    let runs = emulate::runs() - before;
    assert!(runs > compilations.succeeded, "{runs} emulated runs, {compilations:?}");
}

#[test]
fn state_tests_pass_on_baseline_code() {
    state_tests(OptimizationLevel::None);
}

#[test]
fn state_tests_pass_on_optimised_code() {
    state_tests(OptimizationLevel::Default);
}

fn region() -> Arc<CodeRegion> {
    CodeRegion::new(1 << 24).expect("address space")
}

/// Compiles `code` for the emulator; if there is a `chunk`, that is put in the place of its only
/// one.
fn load(code: &[u8], chunk: Option<&[u32]>, region: &Arc<CodeRegion>) -> NativeProgram {
    let emulator = Some(emulate::aarch64().expect("built with the emulator"));
    let options = CompilerOptions { emulator, ..Default::default() };
    let mut compiled =
        Compiler::new(options).expect("a compiler").compile(code, SPEC).expect("compiles");
    if let Some(chunk) = chunk {
        assert_eq!(compiled.functions.len(), 3, "a trampoline, a stub and one chunk");
        compiled.functions[2] = chunk.iter().flat_map(|word| word.to_le_bytes()).collect();
    }
    NativeProgram::load(&compiled, region).expect("loads")
}

fn run(program: &NativeProgram, code: &[u8]) -> InterpreterAction {
    let bytecode = ExtBytecode::new(Bytecode::new_legacy(Bytes::copy_from_slice(code)));
    let mut frame = Interpreter::<EthInterpreter>::new(
        SharedMemory::new(),
        bytecode,
        InputsImpl::default(),
        false,
        SPEC,
        100_000,
    );
    // SAFETY: the program is alive and of this code and fork. What stands in the place of its
    // chunk doesn't return, or returns to the trampoline having changed one register.
    unsafe { program.func().call_with_interpreter(&mut frame, &mut DummyHost::new(SPEC)) }
}

/// Returns the byte `value` in a word.
fn returning(value: u8) -> [u8; 10] {
    [0x60, value, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3]
}

fn output(action: &InterpreterAction) -> Vec<u8> {
    match action {
        InterpreterAction::Return(result) => result.output.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn code_in_the_place_of_other_code_is_translated_anew() {
    let region = region();
    let mut addresses = Vec::new();
    for value in 0..20 {
        let code = returning(value);
        let program = load(&code, None, &region);
        addresses.push(program.func().into_inner() as usize);
        assert_eq!(output(&run(&program, &code))[31], value);
    }
    assert_eq!(addresses[0], addresses[1], "nothing was tested: {addresses:x?}");
}

#[test]
fn what_code_must_not_do_is_found() {
    let broken: [(&[u32], &str); 6] = [
        // An instruction that doesn't exist.
        (&[0x0000_0000], "exception 1"),
        // `mov x18, #1; ret`: the platform's register.
        (&[0xd280_0032, 0xd65f_03c0], "X18 is 0x1"),
        // `sub sp, sp, #8`, and a call of the first builtin.
        (&[0xd100_23ff, 0xf940_36b0, 0xf940_0210, 0xd63f_0200], "isn't aligned"),
        // `mov x0, #0; ldr x0, [x0]`
        (&[0xd280_0000, 0xf940_0000], "READ_UNMAPPED"),
        // `mov x16, #1000; svc #0`
        (&[0xd280_7d10, 0xd400_0001], "builtin 1000"),
        // `mov x0, #0; br x0`
        (&[0xd280_0000, 0xd61f_0000], "stopped"),
    ];
    let (code, region) = (returning(7), region());
    for (chunk, expected) in broken {
        let program = load(&code, Some(chunk), &region);
        let payload = catch_unwind(AssertUnwindSafe(|| run(&program, &code))).expect_err(expected);
        let message = panic_message(&*payload);
        assert!(message.contains(expected), "{message}, not {expected}");
        // The next run isn't concerned.
        assert_eq!(output(&run(&load(&code, None, &region), &code))[31], 7);
    }
}
