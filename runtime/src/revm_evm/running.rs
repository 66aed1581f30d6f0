//! Running a frame: natively, in the interpreter, and from one into the other.
//!
//! Interpretation goes on in **slices**, so that a frame can be looked at while it runs. A slice is
//! revm's own `Interpreter::step`, a bounded number of times, with the EVM's own tables; between
//! two slices the frame is in a state of revm's. A slice costs what processors have to learn anew:
//! with the loop's exit, the history by which they predict which instruction comes next is lost,
//! for some hundreds of instructions. For the same reason the loop has one call, as revm's has:
//! copies of it would be learnt one by one. Between slices,
//! - a frame without a program tells its contract's [`Cold`] what gas it has burnt, so that one
//!   long frame gets a contract compiled; and when the program is published, it goes on natively
//!   (on-stack replacement);
//! - a frame that native code has handed over looks for a way back.
//!
//! A frame that comes to a block which there is no code of yet is interpreted just up to where there
//! is code again, some times; and the blocks on the way are noted, for the next version.
//!
//! Native code is entered at JUMPDESTs that are entry points and whose code is there.

use super::{
    finder::claimed_key,
    metering::{Stretch, gas_passed_on},
    noting::Noting,
    rules::{Rules, Tables},
};
use crate::{
    allowance::Allowance,
    consult::Consultation,
    faults::Broken,
    frame_counts::{FrameCounts, FrameEvent, RunClass},
    hotness::Cold,
    learning::price,
    places::Places,
    program::{CompiledProgram, Known, ProgramEntry, Verified},
    runtime::JitBackend,
};
use alloy_primitives::Bytes;
use cranevm_codegen::{HandOver, NativeRun, Reached, collapse_halt_reason};
use revm::{
    bytecode::opcode::{JUMPDEST, JUMPI},
    interpreter::{
        GasTable, Host, InstructionExecResult, InstructionResult, InstructionTable, Interpreter,
        InterpreterAction,
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LoopControl},
    },
};
use std::sync::Arc;

/// Instructions of a slice of a frame that waits for a program: a fifth of a millisecond.
const LONG_SLICE: usize = 16_384;

/// Instructions of a slice between two stretches of native code: some microseconds.
const SHORT_SLICE: usize = 2048;

/// Times that a run of a frame goes on natively right where it can, after it came to blocks that
/// there is no code of. Each costs as much as some dozens of instructions.
const MOST_EXITS: u32 = 8;

/// Most slices between two searches for a way into native code.
const MAX_PAUSE: u32 = 16;

/// A frame's interpreter with what its instructions need.
pub(super) struct Running<'a, 'c, H> {
    pub(super) interpreter: &'a mut Interpreter<EthInterpreter>,
    pub(super) host: &'a mut H,
    pub(super) instructions: &'a InstructionTable<EthInterpreter, H>,
    pub(super) gas_table: &'a GasTable,
    /// What was found of the EVM's rules.
    pub(super) rules: &'a mut Rules,
    /// What may be compiled meanwhile.
    pub(super) allowance: &'a mut Allowance,
    /// Where to count.
    pub(super) counts: &'c FrameCounts,
    /// Who runs it.
    pub(super) stretch: Stretch<'c>,
}

/// Where a slice left a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It ended or suspended; its action is in the interpreter.
    Ended,
    /// At a JUMPDEST, where a program may be entered.
    AtJumpdest,
    /// The slice was used up.
    UsedUp,
}

/// Gas that is worth telling of where a frame ends that was counted just now.
const NOTEWORTHY_GAS: u64 = 4096;

impl<'c, H: Host> Running<'_, 'c, H> {
    /// Goes on with a frame of a program after its first stretch of native code, which ended so; or
    /// with one that native code couldn't be entered with. Says who ran its last stretch.
    ///
    /// # Errors
    /// If native code broke a rule. The frame has ended all the same.
    #[cold]
    pub(super) fn run_on(
        mut self,
        known: &Known,
        why: Option<HandOver>,
    ) -> Result<Stretch<'c>, Box<Broken>> {
        if let Some(why) = why {
            self.hand_over(why);
        }
        match known.cold().filter(|_| why != Some(HandOver::Instruction)) {
            Some(cold) => self.run_past(known, cold, why)?,
            None => self.run_to_entry(known)?,
        }
        if known.entry().has_single_error {
            collapse_halt_reason(self.interpreter.bytecode.action());
        }
        Ok(self.stretch)
    }

    /// Interprets up to where the program can be entered, and goes on so.
    fn run_to_entry(&mut self, known: &Known) -> Result<(), Box<Broken>> {
        // Most often that is the end, without a look at the program.
        let mut left = SHORT_SLICE;
        let first = self.slice_to_jumpdest(&mut left, None);
        if first == Stop::Ended {
            return Ok(());
        }
        match known.pin() {
            Some(program) => {
                let stop = self.go_to_entry(first, &mut left, &program, None);
                self.go_on_from(stop, &program)?;
            }
            // Nor is there a way back.
            None => while self.slice(LONG_SLICE) != Stop::Ended {},
        }
        Ok(())
    }

    /// The same for a frame that has come to a block which there is no code of, from native code or
    /// as it was resumed: blocks are noted, and code is entered as soon as can be.
    fn run_past(
        &mut self,
        known: &Known,
        cold: &Cold,
        why: Option<HandOver>,
    ) -> Result<(), Box<Broken>> {
        let (mut pinned, mut is_resumed) = (None, why.is_none());
        for _ in 0..MOST_EXITS {
            let gas = self.interpreter.gas.remaining();
            let stop = self.learn_to_entry(cold, known, &mut pinned, is_resumed);
            is_resumed = false;
            cold.first.note_exit(burnt_since(self.interpreter, gas).unwrap_or(0));
            let Some(program) = pinned.as_ref().filter(|_| stop == Stop::AtJumpdest) else { break };
            match self.enter(program) {
                NativeRun::Ended => return Ok(()),
                NativeRun::Faulted(fault) => return Err(Broken::new(program.key, fault)),
                NativeRun::NotEntered => break,
                NativeRun::HandedOver(why) => {
                    self.hand_over(why);
                    if why == HandOver::Instruction {
                        break;
                    }
                }
            }
        }
        if self.interpreter.bytecode.action().is_some() {
            return Ok(());
        }
        self.run_to_entry(known)
    }

    /// Interprets up to a JUMPDEST where the program can be entered, which is pinned then, at most
    /// a slice, and notes the blocks on the way.
    fn learn_to_entry(
        &mut self,
        cold: &Cold,
        known: &Known,
        pinned: &mut Option<Verified>,
        is_resumed: bool,
    ) -> Stop {
        let code = &self.interpreter.bytecode;
        let mut held = cold.first.learn();
        let mut places = held.as_deref_mut();
        if let Some(places) = &mut places {
            match is_resumed {
                true => places.note_entry(code.original_byte_slice(), code.pc()),
                false => places.note(code.original_byte_slice(), [code.pc() as u32]),
            }
        }
        let mut left = SHORT_SLICE;
        let stop = self.slice_to_jumpdest(&mut left, places.as_deref_mut());
        if stop == Stop::AtJumpdest && pinned.is_none() {
            *pinned = known.pin();
        }
        match pinned {
            Some(program) => self.go_to_entry(stop, &mut left, program, places),
            None => stop,
        }
    }

    /// Counts a hand-over: the interpreter goes on.
    fn hand_over(&mut self, why: HandOver) {
        self.counts.note(match why {
            HandOver::AbsentCode => FrameEvent::AbsentCode,
            HandOver::Instruction => FrameEvent::Instruction,
        });
        self.stretch.change(self.counts, RunClass::HandedOver, &self.interpreter.gas);
    }

    /// Runs a frame without a program, whose contract is counted by `cold`. Says who ran its last
    /// stretch.
    ///
    /// # Errors
    /// As [`run_on`](Self::run_on), of a program that came meanwhile.
    pub(super) fn watch(
        mut self,
        backend: &JitBackend,
        cold: &Arc<Cold>,
        begins: bool,
    ) -> Result<Stretch<'c>, Box<Broken>> {
        let gas = self.stretch.gas();
        match self.learn(backend, cold, true) {
            Stop::Ended => tell_of_run(backend, cold, self.interpreter, gas, begins),
            _ => self.watch_on(backend, cold, gas)?,
        }
        Ok(self.stretch)
    }

    /// Goes on after the first slice, at whose start there was so much gas.
    #[cold]
    fn watch_on(
        &mut self,
        backend: &JitBackend,
        cold: &Arc<Cold>,
        mut gas: u64,
    ) -> Result<(), Box<Broken>> {
        let spec_id = self.interpreter.runtime_flag.spec_id;
        // The answer "watch" was of this epoch or an earlier one: ask at once.
        let mut asked = None;
        loop {
            let left = self.interpreter.gas.remaining();
            let burnt = gas - left.min(gas);
            cold.heat(backend, || self.interpreter.bytecode.original_bytes(), 0, burnt);
            gas = left;
            let epoch = backend.epoch();
            if asked != Some(epoch) || cold.has_news() {
                asked = Some(epoch);
                // A chain's own instruction may have changed the code.
                let bytecode = &self.interpreter.bytecode;
                let key = claimed_key(bytecode, spec_id);
                let (program, counts) = match backend.consult(&key, bytecode, self.allowance) {
                    Consultation::Run(program) => (Some(program), None),
                    Consultation::First(program, cold) => (Some(program), Some(cold)),
                    Consultation::Watch(_) | Consultation::Interpret(_) => (None, None),
                };
                if let Some(program) = program
                    && self.is_ruled_right(backend, Some(program.entry()))
                {
                    program.touch(backend.clock());
                    self.replace(&program)?;
                    if let Some(cold) = counts {
                        tell_of_run(backend, &cold, self.interpreter, gas, true);
                    }
                    return Ok(());
                }
            }
            if self.learn(backend, cold, false) == Stop::Ended {
                tell_of_run(backend, cold, self.interpreter, gas, true);
                return Ok(());
            }
        }
    }

    /// Interprets a slice, and notes the blocks that are come to, if that is worth it; also the one
    /// that it begins with, if that is where a frame comes in.
    fn learn(&mut self, backend: &JitBackend, cold: &Cold, comes_in: bool) -> Stop {
        match cold.first.learn() {
            // What notes are revm's own instructions.
            Some(mut places) if self.is_ruled_right(backend, None) => {
                let code = &self.interpreter.bytecode;
                if comes_in {
                    places.note_entry(code.original_byte_slice(), code.pc());
                }
                self.slice_noting(&mut places)
            }
            _ => self.slice(LONG_SLICE),
        }
    }

    /// Runs init code: interpreted, until that has cost as much as making code of it would. Says who
    /// ran its last stretch.
    ///
    /// # Errors
    /// As [`run_on`](Self::run_on).
    pub(super) fn create(mut self, backend: &JitBackend) -> Result<Stretch<'c>, Box<Broken>> {
        let before = self.stretch.gas();
        if self.slice(LONG_SLICE) == Stop::Ended {
            return Ok(self.stretch);
        }
        if !self.is_ruled_right(backend, None) {
            while self.slice(LONG_SLICE) != Stop::Ended {}
            return Ok(self.stretch);
        }
        let mut places = Places::default();
        while self.slice_noting(&mut places) != Stop::Ended {
            let burnt = before.saturating_sub(self.interpreter.gas.remaining());
            let blocks = places.sorted_out(self.interpreter.bytecode.original_byte_slice());
            if let Some(blocks) = blocks.filter(|blocks| burnt >= price(blocks.bytes())) {
                self.create_on(backend, blocks)?;
                break;
            }
        }
        Ok(self.stretch)
    }

    /// Goes on with init code that is worth compiling, as far as these blocks go.
    #[cold]
    fn create_on(&mut self, backend: &JitBackend, reached: &Reached) -> Result<(), Box<Broken>> {
        let spec_id = self.interpreter.runtime_flag.spec_id;
        let program = self.is_ruled_right(backend, None).then(|| {
            let code = &self.interpreter.bytecode;
            backend.init_program(code, spec_id, reached, self.allowance)
        });
        match program.flatten() {
            Some(program) if self.is_ruled_right(backend, Some(program.entry())) => {
                let ran = self.replace(&program);
                backend.drop_later(program);
                ran
            }
            unused => {
                unused.into_iter().for_each(|program| backend.drop_later(program));
                while self.slice(LONG_SLICE) != Stop::Ended {}
                Ok(())
            }
        }
    }

    /// Whether the EVM goes by the rules that a program is compiled for, or any that there may be:
    /// who is watched may have changed them since its contract was new.
    fn is_ruled_right(&mut self, backend: &JitBackend, program: Option<&ProgramEntry>) -> bool {
        let Self { host, instructions, gas_table, rules, interpreter, .. } = self;
        let tables = Tables { instructions, static_gas: gas_table, host };
        rules.permit(backend, interpreter.runtime_flag.spec_id, program, tables)
    }

    /// Goes on with a program that came while the frame ran.
    fn replace(&mut self, program: &Verified) -> Result<(), Box<Broken>> {
        let is_entered = self.go_on_with(program)?;
        if is_entered && program.entry().has_single_error {
            collapse_halt_reason(self.interpreter.bytecode.action());
        }
        Ok(())
    }

    /// Runs the frame in slices and natively by turns, until it ends or suspends; whether any of it
    /// was native.
    ///
    /// A slice lies between any two ways into native code, so what these cost is small beside it,
    /// however often the program hands over. Where no way in turns up, looking out for one is what
    /// costs, so that is done less and less often.
    ///
    /// # Errors
    /// As [`run_on`](Self::run_on).
    #[cold]
    fn go_on_with(&mut self, program: &Verified) -> Result<bool, Box<Broken>> {
        let first = self.slice_to_entry(program);
        self.go_on_from(first, program)
    }

    /// [`go_on_with`](Self::go_on_with), after a slice that ended so.
    fn go_on_from(&mut self, first: Stop, program: &Verified) -> Result<bool, Box<Broken>> {
        let (mut stop, mut is_entered, mut pause) = (first, false, 1u32);
        loop {
            match stop {
                Stop::Ended => return Ok(is_entered),
                Stop::UsedUp => pause = (2 * pause).min(MAX_PAUSE),
                Stop::AtJumpdest => {
                    pause = 1;
                    match self.enter(program) {
                        NativeRun::NotEntered => {}
                        NativeRun::HandedOver(why) => {
                            is_entered = true;
                            self.hand_over(why);
                        }
                        NativeRun::Ended => return Ok(true),
                        NativeRun::Faulted(fault) => return Err(Broken::new(program.key, fault)),
                    }
                }
            }
            for _ in 0..pause {
                if self.slice(SHORT_SLICE) == Stop::Ended {
                    return Ok(is_entered);
                }
            }
            stop = self.slice_to_entry(program);
        }
    }

    /// Goes on natively from the entry point at the frame's pc, if there is one.
    #[inline]
    fn enter(&mut self, program: &Verified) -> NativeRun {
        let before = self.interpreter.gas;
        let run = program.go_on(self.interpreter, self.host, self.instructions, self.gas_table);
        if run != NativeRun::NotEntered {
            self.stretch.change(self.counts, program.entry().class, &before);
            self.counts.note(FrameEvent::EnteredOnStack);
        }
        run
    }

    /// Interprets a slice.
    fn slice(&mut self, instructions: usize) -> Stop {
        self.slice_by(self.instructions, instructions)
    }

    /// Interprets a slice by a table.
    // A function of its own, so that the loop's registers don't depend on where it is called.
    #[inline(never)]
    fn slice_by(
        &mut self,
        table: &InstructionTable<EthInterpreter, H>,
        instructions: usize,
    ) -> Stop {
        for _ in 0..instructions {
            if let Err(result) = self.interpreter.step(table, self.gas_table, self.host) {
                return ended(self.interpreter, result);
            }
        }
        Stop::UsedUp
    }

    /// Interprets up to a JUMPDEST where `program` can be entered, at most a slice.
    #[cold]
    fn slice_to_entry(&mut self, program: &CompiledProgram) -> Stop {
        let mut left = SHORT_SLICE;
        let stop = self.slice_to_jumpdest(&mut left, None);
        self.go_to_entry(stop, &mut left, program, None)
    }

    /// The same from where a slice was left, with as many instructions left.
    fn go_to_entry(
        &mut self,
        mut stop: Stop,
        left: &mut usize,
        program: &CompiledProgram,
        mut places: Option<&mut Places>,
    ) -> Stop {
        while stop == Stop::AtJumpdest && !program.is_enterable(self.interpreter.bytecode.pc()) {
            stop = self.slice_to_jumpdest(left, places.as_deref_mut());
        }
        stop
    }

    /// Interprets up to the next JUMPDEST, at most as many instructions as are left; blocks are
    /// noted, if that is asked for.
    // As `slice`.
    #[inline(never)]
    fn slice_to_jumpdest(&mut self, left: &mut usize, mut places: Option<&mut Places>) -> Stop {
        let mut opcode = self.interpreter.bytecode.opcode();
        while *left > 0 {
            *left -= 1;
            if let Err(result) = self.step() {
                return ended(self.interpreter, result);
            }
            let before = std::mem::replace(&mut opcode, self.interpreter.bytecode.opcode());
            if opcode != JUMPDEST && before != JUMPI {
                continue;
            }
            if let Some(places) = &mut places {
                let code = &self.interpreter.bytecode;
                places.note(code.original_byte_slice(), [code.pc() as u32]);
            }
            if opcode == JUMPDEST {
                return Stop::AtJumpdest;
            }
        }
        Stop::UsedUp
    }

    /// Interprets a slice by a table that notes the blocks that are come to.
    fn slice_noting(&mut self, places: &mut Places) -> Stop {
        let Some(noting) = Noting::begin() else { return self.slice(LONG_SLICE) };
        let table = noting.table(self.instructions);
        let stop = self.slice_by(&table, LONG_SLICE);
        noting.end(places, self.interpreter.bytecode.original_byte_slice());
        stop
    }

    /// Interprets an instruction.
    #[inline(always)]
    fn step(&mut self) -> InstructionExecResult {
        self.interpreter.step(self.instructions, self.gas_table, self.host)
    }
}

/// Tells of the gas burnt since there was so much, by a frame that ended or suspended. What a
/// nested frame gets isn't burnt, nor is what a failing one loses.
#[inline]
pub(super) fn tell_of_run(
    backend: &JitBackend,
    cold: &Arc<Cold>,
    interpreter: &mut Interpreter<EthInterpreter>,
    before: u64,
    is_counted: bool,
) {
    if let Some(burnt) = burnt_since(interpreter, before) {
        let code = || interpreter.bytecode.original_bytes();
        tell_of_gas(backend, cold, code, burnt, is_counted);
    }
}

/// Gas that a frame has burnt since there was so much. `None` where it failed, and lost it all.
#[inline]
fn burnt_since(interpreter: &mut Interpreter<EthInterpreter>, before: u64) -> Option<u64> {
    let passed_on = match interpreter.bytecode.action() {
        Some(InterpreterAction::NewFrame(frame)) => gas_passed_on(frame),
        Some(InterpreterAction::Return(result)) if result.is_halt() => return None,
        _ => 0,
    };
    let left = interpreter.gas.remaining().saturating_add(passed_on);
    Some(before.saturating_sub(left))
}

/// Tells of gas that a frame has burnt: where the frame or other gas of it was counted just now,
/// only if it is worth it.
#[inline]
pub(super) fn tell_of_gas(
    backend: &JitBackend,
    cold: &Arc<Cold>,
    code: impl FnOnce() -> Bytes,
    burnt: u64,
    is_counted: bool,
) {
    let noteworthy = if is_counted { NOTEWORTHY_GAS } else { 1 };
    if burnt >= noteworthy {
        cold.heat(backend, code, 0, burnt);
    }
}

/// The end of a run, as in revm's `Interpreter::run_plain`.
fn ended(interpreter: &mut Interpreter<EthInterpreter>, result: InstructionResult) -> Stop {
    if interpreter.bytecode.action().is_none() {
        interpreter.halt(result);
    }
    Stop::Ended
}
