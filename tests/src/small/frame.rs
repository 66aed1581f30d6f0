//! One frame of a small program, without a transaction around it: on the interpreter or natively,
//! from a stack of any height, and what can be seen of it.
//!
//! A run costs about a microsecond, where a transaction costs thirty, so that each gas limit can be
//! tried.

use super::{
    host::{Asked, SmallHost},
    resume::resume,
};
use crate::rng::{Rng, mix};
use alloy_primitives::{Bytes, U256};
use cranevm_codegen::{CompileError, Compiler, NativeProgram, NativeRun, code_memory::CodeRegion};
use revm::{
    bytecode::Bytecode,
    interpreter::{
        CallInput, GasTable, InputsImpl, InstructionTable, Interpreter, InterpreterAction,
        SharedMemory,
        instructions::{gas_table_spec, instruction_table},
        interpreter::{EthInterpreter, ExtBytecode, STACK_LIMIT},
        interpreter_types::LoopControl,
    },
    primitives::hardfork::SpecId,
};
use std::sync::{Arc, LazyLock};

/// Instructions after which a trace ends: a loop without end shows nothing new after some rounds.
const MAX_STEPS: usize = 400;

/// All that a frame depends on.
#[derive(Clone, Debug)]
pub struct Frame {
    bytecode: Bytecode,
    calldata: Bytes,
    spec: SpecId,
}

/// A frame with native code of its program.
#[derive(Debug)]
pub struct NativeFrame<'f> {
    frame: &'f Frame,
    program: NativeProgram,
}

/// What can be seen of a frame that has ended or is suspended.
#[derive(Debug, PartialEq)]
pub struct Seen {
    action: InterpreterAction,
    asked: Vec<Asked>,
    /// Unless the frame failed: words at the stack's bottom that are what they were at first.
    untouched: usize,
    /// The words above.
    stack: Vec<U256>,
    memory: Vec<u8>,
}

/// An instruction that was executed.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Gas spent before it.
    pub spent: u64,
    /// Words on the stack before it.
    pub height: usize,
}

/// Runs frames; holds the tables and the host.
#[derive(Debug)]
pub struct Runner {
    host: SmallHost,
    instructions: InstructionTable<EthInterpreter, SmallHost>,
    prices: GasTable,
    spec: SpecId,
    /// Native runs that ended without the interpreter.
    pub ended_natively: u64,
}

impl Frame {
    /// A frame of a program.
    pub fn new(code: &[u8], calldata: &[u8], spec: SpecId) -> Self {
        let bytecode = Bytecode::new_legacy(Bytes::copy_from_slice(code));
        Self { bytecode, calldata: Bytes::copy_from_slice(calldata), spec }
    }

    fn begin(&self, height: usize, gas: u64) -> Interpreter<EthInterpreter> {
        let input = InputsImpl {
            input: CallInput::Bytes(self.calldata.clone()),
            call_value: U256::from(7),
            ..Default::default()
        };
        let code = ExtBytecode::new(self.bytecode.clone());
        let memory = SharedMemory::new();
        let mut interpreter = Interpreter::new(memory, code, input, false, self.spec, gas);
        interpreter.stack.data_mut().extend_from_slice(&WORDS[..height]);
        interpreter
    }
}

impl<'f> NativeFrame<'f> {
    /// Compiles a frame's program.
    ///
    /// # Errors
    /// If it can't be compiled, or a verifier found what is wrong with that.
    pub fn compile(
        frame: &'f Frame,
        compiler: &mut Compiler,
        region: &Arc<CodeRegion>,
    ) -> Result<Self, CompileError> {
        let compiled = compiler.compile(&frame.bytecode.original_bytes(), frame.spec)?;
        Ok(Self { frame, program: NativeProgram::load(&compiled, region)? })
    }
}

/// What lies on the stack at first: small words, so that they serve as offsets, slots, jump
/// targets and conditions.
static WORDS: LazyLock<Vec<U256>> = LazyLock::new(|| {
    let words = [1, 0, 3, 0, 33].map(U256::from);
    words.into_iter().cycle().take(STACK_LIMIT).collect()
});

impl Runner {
    /// A runner for a fork.
    pub fn new(spec: SpecId) -> Self {
        let (instructions, prices) = (instruction_table(), gas_table_spec(spec));
        Self { host: SmallHost::new(spec), instructions, prices, spec, ended_natively: 0 }
    }

    /// Runs a frame on the interpreter.
    pub fn interpret(&mut self, frame: &Frame, height: usize, gas: u64) -> Seen {
        self.host.reset();
        let interpreter = &mut frame.begin(height, gas);
        let mut resumed = 0;
        let action = loop {
            let action = interpreter.run_plain(&self.instructions, &self.prices, &mut self.host);
            if let Some(action) = resume(interpreter, action, &mut resumed) {
                break action;
            }
        };
        self.seen(interpreter, action)
    }

    /// Runs a frame natively. What is handed over is interpreted for a few instructions, and then
    /// goes on natively wherever it can; some frames begin on the interpreter.
    #[allow(unsafe_code)]
    pub fn run(&mut self, native: &NativeFrame<'_>, height: usize, gas: u64) -> Seen {
        self.host.reset();
        let Self { host, instructions, prices, spec, .. } = self;
        assert_eq!(native.program.spec_id(), *spec, "the tables are of one fork");
        let interpreter = &mut native.frame.begin(height, gas);
        let mut rng = Rng::new(mix(gas ^ (height as u64) << 32));
        let mut begins_interpreted = rng.percent(25);
        let (mut natively, mut resumed) = (0, 0);
        let action = loop {
            let run = if std::mem::take(&mut begins_interpreted) {
                NativeRun::NotEntered
            } else {
                // SAFETY: the program is alive for it is borrowed, and was compiled from the
                // bytecode of this very frame, for its fork. revm's instructions alone have changed
                // the frame since it began, and the tables are revm's, of the program's fork
                // (checked above).
                unsafe { native.program.func().go_on(interpreter, host, instructions, prices) }
            };
            let has_ended = match run {
                NativeRun::Ended | NativeRun::Faulted(_) => true,
                NativeRun::NotEntered | NativeRun::HandedOver(_) => {
                    let steps = rng.range(1, 5);
                    (0..steps).any(|_| step(interpreter, host, (instructions, prices)))
                }
            };
            if has_ended {
                natively += u64::from(run == NativeRun::Ended);
                let action = interpreter.take_next_action();
                if let Some(action) = resume(interpreter, action, &mut resumed) {
                    break action;
                }
            }
        };
        self.ended_natively += u64::from(natively > 0);
        self.seen(interpreter, action)
    }

    fn seen(
        &mut self,
        interpreter: &Interpreter<EthInterpreter>,
        action: InterpreterAction,
    ) -> Seen {
        let asked = std::mem::take(&mut self.host.asked);
        if action.instruction_result().is_some_and(|result| result.is_halt()) {
            // Nobody sees how far a frame that failed got with its own stack and memory.
            let (stack, memory) = (Vec::new(), Vec::new());
            return Seen { action: normal(action), asked, untouched: 0, stack, memory };
        }
        let stack = interpreter.stack.data();
        let untouched = stack.iter().zip(&*WORDS).take_while(|(word, first)| word == first).count();
        let memory = interpreter.memory.context_memory().to_vec();
        let stack = stack[untouched..].to_vec();
        Seen { action: normal(action), asked, untouched, stack, memory }
    }

    /// The instructions that the interpreter executes with gas for all of them, and the gas spent
    /// in the end.
    pub fn trace(&mut self, frame: &Frame, height: usize) -> (Vec<Step>, u64) {
        const PLENTY: u64 = 10_000_000;
        self.host.reset();
        let mut interpreter = frame.begin(height, PLENTY);
        let mut steps = Vec::new();
        while interpreter.bytecode.is_not_end() && steps.len() < MAX_STEPS {
            let spent = PLENTY - interpreter.gas.remaining();
            steps.push(Step { spent, height: interpreter.stack.len() });
            if interpreter.step(&self.instructions, &self.prices, &mut self.host).is_err() {
                break;
            }
        }
        (steps, PLENTY - interpreter.gas.remaining())
    }
}

/// Interprets an instruction. Whether the frame has ended or is suspended.
fn step(
    interpreter: &mut Interpreter<EthInterpreter>,
    host: &mut SmallHost,
    (instructions, prices): (&InstructionTable<EthInterpreter, SmallHost>, &GasTable),
) -> bool {
    let Err(result) = interpreter.step(instructions, prices, host) else { return false };
    if interpreter.bytecode.action().is_none() {
        interpreter.halt(result);
    }
    true
}

/// An action without what depends on how memory was paid for in a frame that failed.
fn normal(action: InterpreterAction) -> InterpreterAction {
    match action {
        InterpreterAction::Return(mut result) if result.result.is_halt() => {
            *result.gas.memory_mut() = Default::default();
            InterpreterAction::Return(result)
        }
        other => other,
    }
}
