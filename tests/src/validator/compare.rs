//! Where a stretch ended, and whether the interpreter comes to the same point.
//!
//! **Handed over.** The interpreter must come by a point with the same gas left, and there have the
//! same pc, stack, memory, gas in all its parts, return data, and have asked the same of the host.
//! Gas falls with each instruction, so there is at most one such point. The one thing that may
//! differ is the pc of a merged block: who jumps there is handed over at the pc of the block it is
//! merged into. Then both go on in the interpreter, each at its pc, and must come to the same end.
//!
//! **Ended or suspended.** The action must be the same, with the whole of its contents, and the
//! host must have been asked the same. A frame that is suspended, and one that ends by STOP,
//! RETURN, REVERT or SELFDESTRUCT, has revm's pc, stack and memory too; one that halts
//! exceptionally has not, nor the price of its memory (README, limits).

use super::{
    host::{Event, RecordingHost},
    oracle::Oracle,
    state::{Frame, State},
};
use alloy_primitives::{U256, hex};
use revm::interpreter::{
    InstructionResult, InterpreterAction,
    interpreter_types::{Jumps, LoopControl},
};
use std::fmt::{Debug, Write as _};

/// How a subject left a stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It can't go on from that state, and did nothing.
    NotEntered,
    /// The frame ended or was suspended; its action is in it.
    Ended,
    /// The interpreter goes on with the frame.
    HandedOver,
    /// Something was found that can't be.
    Broken(String),
}

/// What a subject has made of a state.
pub struct Outcome {
    /// How it left.
    pub exit: Exit,
    /// The frame it left.
    pub frame: Frame,
    /// The host it used.
    pub host: RecordingHost,
}

/// Compares a subject's outcome with what the interpreter makes of the state: the number of
/// instructions up to where it was left. `is_merged`
/// tells whether a block at the first pc is merged into one at the second.
///
/// # Errors
/// The differences.
pub fn compare(
    oracle: &Oracle,
    state: &State,
    outcome: &mut Outcome,
    is_merged: impl Fn(usize, usize) -> bool,
) -> Result<u64, String> {
    let (mut frame, mut host) = oracle.begin(state);
    let mut differences = Differences::default();
    let mut steps = 0;
    match &outcome.exit {
        Exit::Broken(what) => differences.note("broken", what),
        Exit::NotEntered => compare_points(&mut differences, (&frame, &host), outcome),
        Exit::Ended => {
            steps += oracle.finish(&mut frame, &mut host);
            compare_ends(&mut differences, (&mut frame, &host), outcome);
        }
        Exit::HandedOver => {
            let wanted = Point::of(&outcome.frame, &outcome.host);
            loop {
                let point = Point::of(&frame, &host);
                let is_there = point.pc == wanted.pc || is_merged(point.pc, wanted.pc);
                if is_there && (point.gas, point.asked) == (wanted.gas, wanted.asked) {
                    break;
                }
                steps += 1;
                if oracle.step(&mut frame, &mut host) {
                    differences.note("handed over", wanted);
                    differences.note("never there: it ended so", frame.bytecode.action());
                    return differences.finish(steps);
                }
            }
            compare_points(&mut differences, (&frame, &host), outcome);
            if frame.bytecode.pc() != outcome.frame.bytecode.pc() {
                oracle.finish(&mut frame, &mut host);
                oracle.finish(&mut outcome.frame, &mut outcome.host);
                compare_ends(&mut differences, (&mut frame, &host), outcome);
            }
        }
    }
    differences.finish(steps)
}

/// What tells the points of a run apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    pc: usize,
    gas: u64,
    asked: usize,
}

impl Point {
    fn of(frame: &Frame, host: &RecordingHost) -> Self {
        let (pc, gas) = (frame.bytecode.pc(), frame.gas.remaining());
        Self { pc, gas, asked: host.trace.len() }
    }
}

/// Compares all that a frame in the middle is, but for the pc.
fn compare_points(
    differences: &mut Differences,
    (frame, host): (&Frame, &RecordingHost),
    outcome: &Outcome,
) {
    compare_insides(differences, frame, &outcome.frame);
    differences.compare("return data", &frame.return_data.0, &outcome.frame.return_data.0);
    differences.compare_traces(&host.trace, &outcome.host.trace);
}

/// Compares the stack, memory, and the gas in all its parts.
fn compare_insides(differences: &mut Differences, expected: &Frame, found: &Frame) {
    differences.compare("gas", &expected.gas, &found.gas);
    differences.compare_stacks(expected.stack.data(), found.stack.data());
    let memories = [expected, found].map(|frame| frame.memory.context_memory());
    differences.compare_memories(&memories[0], &memories[1]);
}

/// Compares the ends of two frames.
fn compare_ends(
    differences: &mut Differences,
    (frame, host): (&mut Frame, &RecordingHost),
    outcome: &mut Outcome,
) {
    differences.compare_traces(&host.trace, &outcome.host.trace);
    let found = outcome.frame.bytecode.action().clone();
    let expected = frame.bytecode.action().clone();
    match (&expected, &found) {
        (Some(InterpreterAction::Return(one)), Some(InterpreterAction::Return(other))) => {
            differences.compare("result", &one.result, &other.result);
            differences.compare("output", &one.output, &other.output);
            differences.compare("gas at the end", one.gas.tracker(), other.gas.tracker());
            use InstructionResult::{Return, Revert, SelfDestruct, Stop};
            if !matches!(one.result, Stop | Return | Revert | SelfDestruct) {
                return;
            }
        }
        _ => differences.compare("action", &expected, &found),
    }
    differences.compare("pc", &frame.bytecode.pc(), &outcome.frame.bytecode.pc());
    compare_insides(differences, frame, &outcome.frame);
}

/// Differences, as text: first what the interpreter has.
#[derive(Debug, Default)]
struct Differences(String);

impl Differences {
    /// Instructions that the interpreter has executed, unless something differs.
    fn finish(self, steps: u64) -> Result<u64, String> {
        if self.0.is_empty() { Ok(steps) } else { Err(self.0) }
    }

    fn note(&mut self, what: &str, value: impl Debug) {
        let _ = writeln!(self.0, "  {what}: {value:?}");
    }

    fn compare<T: PartialEq + Debug>(&mut self, what: &str, expected: &T, found: &T) {
        if expected != found {
            let _ = writeln!(self.0, "  {what}: {expected:?}\n    found {found:?}");
        }
    }

    fn compare_stacks(&mut self, expected: &[U256], found: &[U256]) {
        self.compare("height of the stack", &expected.len(), &found.len());
        let mut different = expected.iter().zip(found).enumerate().filter(|(_, (a, b))| a != b);
        if let Some((slot, (expected, found))) = different.next() {
            let more = different.count();
            let _ = writeln!(
                self.0,
                "  stack slot {slot}: {expected:x}\n    found {found:x} (and {more} more)"
            );
        }
    }

    fn compare_memories(&mut self, expected: &[u8], found: &[u8]) {
        self.compare("length of memory", &expected.len(), &found.len());
        let mut words = expected.chunks(32).zip(found.chunks(32)).enumerate();
        if let Some((word, (expected, found))) = words.find(|(_, (a, b))| a != b) {
            let [expected, found] = [expected, found].map(hex::encode);
            let offset = word * 32;
            let _ = writeln!(self.0, "  memory at {offset:#x}: {expected}\n    found {found}");
        }
    }

    fn compare_traces(&mut self, expected: &[Event], found: &[Event]) {
        if expected != found {
            let at = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
            let [expected, found] = [expected, found].map(|trace| (trace.len(), trace.get(at)));
            let _ = writeln!(self.0, "  asked of the host: {expected:?}\n    found {found:?}");
        }
    }
}
