//! What a run burns, and whom that is put down to.
//!
//! A run is one call of [`EvmTr::frame_run`](revm::handler::EvmTr::frame_run): from where a frame
//! begins, or goes on after a nested one, to where it ends or calls. Where the engine changes
//! within it, a new [`Stretch`] begins.

use crate::frame_counts::{FrameCounts, RunClass};
use revm::{
    handler::{EthFrame, FrameInitOrResult, ItemOrResult},
    interpreter::{
        FrameInput, Gas, InstructionResult, Interpreter, interpreter::EthInterpreter,
        interpreter_types::Jumps,
    },
};

/// A part of a run, by one engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// What it is put down to.
    pub(super) class: RunClass,
    /// Gas at its start.
    pub(super) gas: u64,
}

impl Stretch {
    /// The first of a run, which begins a frame or goes on with one that has so much gas.
    #[inline(always)]
    pub(super) fn begin(
        counts: Option<&FrameCounts>,
        (class, begins): (RunClass, bool),
        gas: u64,
    ) -> Self {
        if let Some(counts) = counts {
            counts.run(class, begins);
        }
        Self { class, gas }
    }

    /// The first of a run that is about to begin.
    #[inline]
    pub(super) fn begin_with(
        counts: &FrameCounts,
        class: RunClass,
        interpreter: &Interpreter<EthInterpreter>,
    ) -> Self {
        let begins = interpreter.bytecode.pc() == 0;
        Self::begin(Some(counts), (class, begins), interpreter.gas.remaining())
    }

    /// Ends it where the frame has so much gas left, and begins another.
    #[cold]
    pub(super) fn change(&mut self, counts: Option<&FrameCounts>, class: RunClass, gas: &Gas) {
        let left = gas.remaining();
        if let Some(counts) = counts {
            self.end(counts, left);
        }
        *self = Self { class, gas: left };
    }

    /// Ends it where so much gas is left.
    #[inline(always)]
    pub(super) fn end(self, counts: &FrameCounts, left: u64) {
        counts.burn(self.class, self.gas.wrapping_sub(left));
    }

    /// What is left of a frame's gas by a halt: nothing, but an error of the transaction burns
    /// none.
    pub(super) fn left_by_halt(self, result: InstructionResult) -> u64 {
        match result {
            InstructionResult::FatalExternalError => self.gas,
            _ => 0,
        }
    }

    /// Ends it with the run, which came to `next`, and left the frame with so much gas.
    #[inline]
    pub(super) fn end_by(
        self,
        counts: &FrameCounts,
        gas: &Gas,
        next: &FrameInitOrResult<EthFrame<EthInterpreter>>,
    ) {
        let left = match next {
            ItemOrResult::Item(nested) => {
                gas.remaining().wrapping_add(gas_passed_on(&nested.frame_input))
            }
            ItemOrResult::Result(result) => {
                let result = result.interpreter_result();
                match result.result.is_halt() {
                    true => self.left_by_halt(result.result),
                    false => result.gas.remaining(),
                }
            }
        };
        self.end(counts, left);
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
