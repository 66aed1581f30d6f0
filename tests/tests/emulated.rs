//! The aarch64 emulator itself, artifacts that were compiled elsewhere, and Ethereum's state tests
//! on it. The other tests run on it with `CRANEVM_ENGINE=aarch64`.

use alloy_primitives::keccak256;
use cranevm::{
    OptimizationLevel,
    runtime::{
        ArtifactRecipe, ArtifactStore, ProgramKind, RuntimeArtifactStore, RuntimeCacheKey,
        RuntimeConfig,
    },
};
use cranevm_cli::{
    Engine, EngineRunner,
    emulate::{
        self,
        EmulatedMachine::{self, Linux, MacOs},
    },
    error::panic_message,
    statetest::{Options, run_suite},
};
use cranevm_codegen::{Compiler, CompilerOptions, NativeProgram, Triple, code_memory::CodeRegion};
use cranevm_tests::{
    check::Checker,
    engines::{Engine as TestEngine, NativeSettings},
    fixtures,
    programs::Program,
};
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
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// Held by tests that count emulated runs: those of the process are counted.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn state_tests(opt: OptimizationLevel) {
    let _alone = alone();
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

/// Compiles `code` for an emulated machine; if there is a `chunk`, that is put in the place of its
/// only one.
fn load(
    machine: EmulatedMachine,
    code: &[u8],
    chunk: Option<&[u32]>,
    region: &Arc<CodeRegion>,
) -> NativeProgram {
    let emulator = Some(machine.emulator().expect("built with the emulator"));
    let options = CompilerOptions { emulator, ..Default::default() };
    let mut compiled =
        Compiler::new(options).expect("a compiler").compile(code, SPEC).expect("compiles");
    if let Some(chunk) = chunk {
        assert_eq!(compiled.chunks(), 1);
        let code = chunk.iter().flat_map(|word| word.to_le_bytes()).collect();
        // SAFETY: see `run`, which alone enters it.
        unsafe { compiled.forge_chunk(0, code) };
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
fn code_is_compiled_for_no_machine_but_the_emulated() {
    let emulator = Some(Linux.emulator().expect("built with the emulator"));
    let options = CompilerOptions { emulator, ..Default::default() };
    for (machine, is_fit) in [(Linux, true), (MacOs, false)] {
        let compiler = Compiler::for_target(options, machine.target().parse().expect("a triple"));
        assert_eq!(compiler.is_ok(), is_fit, "{compiler:?}");
    }
}

#[test]
fn code_in_the_place_of_other_code_is_translated_anew() {
    let _alone = alone();
    let region = region();
    let mut addresses = Vec::new();
    for value in 0..20 {
        let code = returning(value);
        let program = load(Linux, &code, None, &region);
        addresses.push(program.func().into_inner() as usize);
        assert_eq!(output(&run(&program, &code))[31], value);
    }
    assert_eq!(addresses[0], addresses[1], "nothing was tested: {addresses:x?}");
}

#[test]
fn what_code_must_not_do_is_found() {
    let _alone = alone();
    let broken: [(&[u32], &str); 8] = [
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
        // `pacibz; eor x30, x30, #4; autibz; ret`: an address that isn't the one that was signed.
        (&[0xd503_235f, 0xd27e_03de, 0xd503_23df, 0xd65f_03c0], "FETCH_UNMAPPED"),
        // `pacibz; ret`: a signature that isn't taken off.
        (&[0xd503_235f, 0xd65f_03c0], "FETCH_UNMAPPED"),
    ];
    let (code, region) = (returning(7), region());
    for ((chunk, expected), machine) in broken.into_iter().zip([Linux, MacOs].into_iter().cycle()) {
        let program = load(machine, &code, Some(chunk), &region);
        let payload = catch_unwind(AssertUnwindSafe(|| run(&program, &code))).expect_err(expected);
        let message = panic_message(&*payload);
        assert!(message.contains(expected), "{message}, not {expected}");
        // The next run isn't concerned.
        assert_eq!(output(&run(&load(machine, &code, None, &region), &code))[31], 7);
    }
}

/// Programs that are compiled here to artifacts of another machine.
const CROSS_COMPILED: u64 = 100;

/// Artifacts are made without an emulator, by what `cranevm aot build --target` calls, and loaded
/// by a backend of the machine that they are for: nothing of them is compiled there.
fn artifacts_run_on(machine: EmulatedMachine) {
    let _alone = alone();
    let store = Arc::new(RuntimeArtifactStore::new().expect("a temporary folder"));
    let target: Triple = machine.target().parse().expect("a triple");
    let recipe = ArtifactRecipe::new(&RuntimeConfig::default());
    let mut compiler = recipe.compiler_for(target).expect("a compiler");
    let cases: Vec<_> = (0..CROSS_COMPILED).map(|seed| Program::generate(seed).to_case()).collect();
    let mut contracts = HashSet::new();
    for case in &cases {
        for code in case.accounts.values().map(|account| &account.code) {
            let key = RuntimeCacheKey { code_hash: keccak256(code), spec_id: case.spec };
            if code.is_empty() || !contracts.insert(key) {
                continue;
            }
            let artifact = compiler.compile(key, code).expect("compiles");
            let manifest = &artifact.manifest;
            store.store(&manifest.artifact_key, manifest, &artifact.bytes).expect("stored");
        }
    }
    let settings = NativeSettings::OPTIMISED.as_artifacts().on(machine);
    let checker = Checker::of_engines([TestEngine::with_store(settings, store)]);
    let before = emulate::runs();
    for case in &cases {
        checker.check(case);
    }
    let runs = emulate::runs() - before;
    assert!(runs > CROSS_COMPILED / 2, "{runs} emulated runs");
    let backend = checker.natives()[0].backend().expect("native");
    let stats = backend.stats();
    assert_eq!(stats.artifacts_loaded, contracts.len() as u64, "{stats:?}");
    assert_eq!(stats.artifact_refusals, Default::default());
    // What is compiled is code that the programs create.
    for RuntimeCacheKey { code_hash, spec_id } in contracts {
        let program = backend.get_compiled(code_hash, spec_id).expect("resident");
        assert_eq!(program.kind, ProgramKind::Aot, "{code_hash}");
    }
}

#[test]
fn artifacts_of_linux_are_loaded_there() {
    artifacts_run_on(Linux);
}

#[test]
fn artifacts_of_macos_are_loaded_there() {
    artifacts_run_on(MacOs);
}
