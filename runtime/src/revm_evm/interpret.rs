//! revm's interpreter loop in slices, so that a frame can be looked at while it runs.
//!
//! A slice is revm's own `Interpreter::step`, a bounded number of times, with the EVM's own tables.
//! Between two slices the frame is in a state of revm's, and its caller may do what it likes: count
//! what was spent, look for a program, enter it. Counting costs one decrement per [`UNROLLED`]
//! instructions; the loop is unrolled that often by hand, as compilers don't unroll loops of calls.

use crate::program::CompiledProgram;
use cranevm_codegen::NativeRun;
use revm::{
    bytecode::opcode::JUMPDEST,
    interpreter::{
        GasTable, Host, InstructionResult, InstructionTable, Interpreter,
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LoopControl},
    },
};

/// Instructions of a slice: some microseconds.
const SLICE: usize = 2048;

/// Instructions in the body of a slice's loop.
const UNROLLED: usize = 8;

/// Most slices between two of [`Running::slice_to_entry`].
const MAX_PAUSE: u32 = 16;

/// A frame's interpreter with what its instructions need.
pub(super) struct Running<'a, H> {
    pub(super) interpreter: &'a mut Interpreter<EthInterpreter>,
    pub(super) host: &'a mut H,
    pub(super) instructions: &'a InstructionTable<EthInterpreter, H>,
    pub(super) gas_table: &'a GasTable,
}

/// Where a slice left a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It ended or suspended; its action is in the interpreter.
    Ended,
    /// At an instruction where the program that was asked for can be entered.
    AtEntry,
    /// The slice was used up.
    UsedUp,
}

impl<H: Host> Running<'_, H> {
    /// Interprets a slice.
    // A function of its own, so that the loop's registers don't depend on where it is called.
    #[inline(never)]
    pub(super) fn slice(&mut self) -> Stop {
        let Self { interpreter, host, instructions, gas_table } = self;
        let (interpreter, host) = (&mut **interpreter, &mut **host);
        let (instructions, gas_table) = (*instructions, *gas_table);
        macro_rules! step {
            () => {
                if let Err(result) = interpreter.step(instructions, gas_table, host) {
                    return ended(interpreter, result);
                }
            };
        }
        for _ in 0..SLICE / UNROLLED {
            step!();
            step!();
            step!();
            step!();
            step!();
            step!();
            step!();
            step!();
        }
        Stop::UsedUp
    }

    /// Interprets up to where `program` can be entered, at most a slice.
    #[cold]
    pub(super) fn slice_to_entry(&mut self, program: &CompiledProgram) -> Stop {
        for _ in 0..SLICE {
            let bytecode = &self.interpreter.bytecode;
            if bytecode.opcode() == JUMPDEST && program.is_enterable(bytecode.pc()) {
                return Stop::AtEntry;
            }
            let step = self.interpreter.step(self.instructions, self.gas_table, self.host);
            if let Err(result) = step {
                return ended(self.interpreter, result);
            }
        }
        Stop::UsedUp
    }

    /// Runs the frame natively and in slices by turns, after `program` has handed over or had no
    /// entry point at the frame's pc, until the frame ends or suspends.
    ///
    /// A slice lies between any two ways into native code, so what these cost is small beside it,
    /// however often the program hands over. Where no way in turns up, looking out for one is what
    /// costs, so that is done less and less often.
    #[cold]
    #[inline(never)]
    pub(super) fn go_on_with(&mut self, program: &CompiledProgram) {
        let mut pause = 1u32;
        loop {
            for _ in 0..pause {
                if self.slice() == Stop::Ended {
                    return;
                }
            }
            match self.slice_to_entry(program) {
                Stop::Ended => return,
                Stop::UsedUp => pause = (2 * pause).min(MAX_PAUSE),
                Stop::AtEntry => {
                    pause = 1;
                    if self.enter(program) == NativeRun::Ended {
                        return;
                    }
                }
            }
        }
    }

    /// Goes on natively from the entry point at the frame's pc, if there is one.
    #[inline]
    pub(super) fn enter(&mut self, program: &CompiledProgram) -> NativeRun {
        program.go_on(self.interpreter, self.host, self.instructions, self.gas_table)
    }
}

/// The end of a run, as in revm's `Interpreter::run_plain`.
fn ended(interpreter: &mut Interpreter<EthInterpreter>, result: InstructionResult) -> Stop {
    if interpreter.bytecode.action().is_none() {
        interpreter.halt(result);
    }
    Stop::Ended
}
