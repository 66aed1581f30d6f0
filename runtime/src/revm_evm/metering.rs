//! What a run burns, and whom that is put down to.
//!
//! A run is one call of [`EvmTr::frame_run`](revm::handler::EvmTr::frame_run): from where a frame
//! begins, or goes on after a nested one, to where it ends or calls. Where the engine changes
//! within it, a new [`Stretch`] begins.

use crate::frame_counts::{FrameCounts, FrameEvent, RunClass, Runs};
use revm::{
    handler::{EthFrame, FrameInitOrResult, ItemOrResult},
    interpreter::{
        FrameInput, Gas, InstructionResult, Interpreter, interpreter::EthInterpreter,
        interpreter_types::Jumps,
    },
};

/// A part of a run, by one engine.
// Two words: one more would be copied to memory and back, with its padding, at each run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch<'a> {
    /// What it is put down to.
    runs: &'a Runs,
    /// Gas at its start.
    gas: u64,
}

impl<'a> Stretch<'a> {
    /// The first of a run, which begins a frame or goes on with one that has so much gas.
    #[inline(always)]
    pub(super) fn begin(counts: &'a FrameCounts, class: RunClass, begins: bool, gas: u64) -> Self {
        let runs = counts.of(class);
        runs.run(begins);
        Self { runs, gas }
    }

    /// The first of a run that is about to begin.
    #[inline]
    pub(super) fn begin_with(
        counts: &'a FrameCounts,
        class: RunClass,
        interpreter: &Interpreter<EthInterpreter>,
    ) -> Self {
        let begins = interpreter.bytecode.pc() == 0;
        Self::begin(counts, class, begins, interpreter.gas.remaining())
    }

    /// Takes back its run.
    #[cold]
    pub(super) fn take_back(self, begins: bool) {
        self.runs.take_back(begins);
    }

    /// Takes back its run, which native code couldn't be entered with.
    #[cold]
    pub(super) fn not_entered(self, counts: &FrameCounts, begins: bool) {
        self.take_back(begins);
        counts.note(match begins {
            true => FrameEvent::NotEnteredAtStart,
            false => FrameEvent::NotEnteredAtResume,
        });
    }

    /// Ends it where the frame has so much gas left, and begins another.
    #[cold]
    pub(super) fn change(&mut self, counts: &'a FrameCounts, class: RunClass, gas: &Gas) {
        let left = gas.remaining();
        self.end(left);
        *self = Self { runs: counts.of(class), gas: left };
    }

    /// Gas at its start.
    pub(super) const fn gas(&self) -> u64 {
        self.gas
    }

    /// Ends it where so much gas is left.
    #[inline(always)]
    pub(super) fn end(self, left: u64) {
        self.runs.burn(self.gas.wrapping_sub(left));
    }

    /// Ends it with the run, which came to `next`, and left the frame with so much gas.
    #[inline]
    pub(super) fn end_by(self, gas: &Gas, next: &FrameInitOrResult<EthFrame<EthInterpreter>>) {
        let left = match next {
            ItemOrResult::Item(nested) => {
                gas.remaining().wrapping_add(gas_passed_on(&nested.frame_input))
            }
            ItemOrResult::Result(result) => {
                let result = result.interpreter_result();
                match result.result {
                    // An error of the transaction burns none.
                    InstructionResult::FatalExternalError => self.gas,
                    halt if halt.is_halt() => 0,
                    _ => result.gas.remaining(),
                }
            }
        };
        self.end(left);
    }
}

/// The gas that a nested frame gets.
#[inline]
pub(super) fn gas_passed_on(frame: &FrameInput) -> u64 {
    match frame {
        FrameInput::Call(inputs) => inputs.gas_limit,
        FrameInput::Create(inputs) => inputs.gas_limit(),
        FrameInput::Empty => 0,
    }
}
