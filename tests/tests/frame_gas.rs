//! What a backend counts of frames and gas, over generated programs: whoever ran the frames, there
//! are as many, and they burn as much in all, as an inspector of revm's own EVM sees.

use cranevm::{
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, Gas, InstructionResult, Interpreter,
        interpreter::EthInterpreter,
    },
    runtime::RunStats,
};
use cranevm_tests::{
    case::Case,
    engines::{Engine, NativeSettings, TestContext, inspected_evm},
    parallel,
    programs::Program,
    rng::mix,
};
use revm::{InspectEvm, Inspector, primitives::hardfork::SpecId};

/// What the frames of a transaction come to.
#[derive(Debug, Default)]
struct Frames {
    began: u64,
    /// Gas of the first frame, and what was taken of that where there was no frame: by precompiles,
    /// and by creations at addresses that were taken.
    spent: u64,
    by_no_frame: u64,
    /// Frames that had begun before each call under way.
    before: Vec<u64>,
}

impl Frames {
    fn end(&mut self, result: InstructionResult, gas: &Gas) {
        let left = if result.is_halt() { 0 } else { gas.remaining() };
        let spent = gas.limit() - left;
        if self.before.pop() == Some(self.began) {
            self.by_no_frame += spent;
        }
        if self.before.is_empty() {
            self.spent = spent;
        }
    }
}

impl Inspector<TestContext, EthInterpreter> for Frames {
    fn initialize_interp(&mut self, _: &mut Interpreter<EthInterpreter>, _: &mut TestContext) {
        self.began += 1;
    }

    fn call(&mut self, _: &mut TestContext, _: &mut CallInputs) -> Option<CallOutcome> {
        self.before.push(self.began);
        None
    }

    fn create(&mut self, _: &mut TestContext, _: &mut CreateInputs) -> Option<CreateOutcome> {
        self.before.push(self.began);
        None
    }

    fn call_end(&mut self, _: &mut TestContext, _: &CallInputs, outcome: &mut CallOutcome) {
        self.end(outcome.result.result, &outcome.result.gas);
    }

    fn create_end(&mut self, _: &mut TestContext, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.end(outcome.result.result, &outcome.result.gas);
    }
}

/// What revm's own EVM does; `None` if it refuses the transaction.
fn expected(case: &Case) -> Option<RunStats> {
    let tx = case.transactions[0].to_env(0);
    let mut evm = inspected_evm(case, Frames::default());
    evm.inspect_one_tx(tx).ok()?;
    let Frames { began, spent, by_no_frame, .. } = evm.inspector;
    Some(RunStats { frames: began, gas: spent - by_no_frame })
}

/// A program whose gas is all of one kind.
fn program(seed: u64) -> Option<Case> {
    let program = Program::generate(mix(seed));
    (program.spec < SpecId::AMSTERDAM).then(|| program.to_case())
}

#[test]
fn all_frames_and_all_gas_are_counted_once() {
    const PROGRAMS: usize = 1500;
    let settings = [
        NativeSettings::BASELINE,
        NativeSettings::OPTIMISED,
        NativeSettings::OPTIMISED.likely(),
        NativeSettings::OPTIMISED.starting(),
        NativeSettings::hand_over(1),
    ];
    let native: Vec<(u64, u64)> = parallel::for_each(
        PROGRAMS,
        || (settings.map(Engine::native), (0, 0)),
        |(engines, (native, interpreted)), index| {
            let Some(case) = program(index as u64) else { return };
            let Some(expected) = expected(&case) else { return };
            for engine in engines {
                let frames = || engine.backend().unwrap().stats().frames;
                let before = frames();
                engine.run(&case);
                let after = frames();
                let RunStats { frames, gas } = after.total();
                let seen = RunStats {
                    frames: frames - before.total().frames,
                    gas: gas - before.total().gas,
                };
                assert_eq!(seen, expected, "{}, program {index}\n{case}", engine.name());
                *native += after.native().gas - before.native().gas;
                *interpreted += after.interpreted.total().gas - before.interpreted.total().gas;
                engine.clear();
            }
        },
    )
    .into_iter()
    .map(|(_, gas)| gas)
    .collect();
    let sum = |part: fn(&(u64, u64)) -> u64| native.iter().map(part).sum::<u64>();
    let (native, interpreted) = (sum(|gas| gas.0), sum(|gas| gas.1));
    println!("{native} gas natively, {interpreted} in the interpreter");
    assert!(native > interpreted && interpreted > 0, "both engines have a part in it");
}
