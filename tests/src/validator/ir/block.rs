//! A block's instructions, values and outputs.

use super::{Exit, Run, Violation, ensure};
use alloy_primitives::U256;
use cranevm_passes::ir::{
    entities::{Inst, Value},
    program::ValueDef,
};
use revm::interpreter::{InstructionContext, InstructionResult, interpreter_types::LoopControl};

impl Run<'_> {
    /// A word: what lies in the slot where the block began, a constant, or a result.
    pub(super) fn word(&self, value: Value, height: usize) -> Result<U256, Violation> {
        let data = &self.program.values[value];
        let word = match data.def {
            ValueDef::Input(slot) => {
                let needed = i32::from(self.program.blocks[self.block].stack.needed);
                let is_inside = slot < 0 && -i32::from(slot) <= needed;
                ensure(is_inside, || format!("{value} is in slot {slot}, needed are {needed}"))?;
                self.frame.stack.data()[height - usize::from(slot.unsigned_abs())]
            }
            ValueDef::Const(word) => word,
            ValueDef::Result(_) => {
                let (word, when) = self.scratch.values[value.as_u32() as usize];
                ensure(when == self.scratch.count, || format!("{value} isn't computed yet"))?;
                word
            }
            ValueDef::Unused => return Err(Violation(format!("{value} was dropped"))),
        };
        let bits = word.bit_len();
        let allowed = usize::from(data.bits);
        ensure(bits <= allowed, || format!("{value} has {bits} bits of {allowed}: {word:#x}"))?;
        Ok(word)
    }

    /// Static gas that is charged already for what comes after an instruction.
    pub(super) fn gas_after(&self, inst: Inst) -> i64 {
        let ahead = self.heads.charged_ahead(self.program, self.block);
        self.program.insts[inst].gas_after as i64 + ahead
    }

    /// Executes an instruction after which the block goes on, unless it ends the frame.
    pub(super) fn instruction(
        &mut self,
        inst: Inst,
        height: usize,
    ) -> Result<Option<Exit>, Violation> {
        let data = &self.program.insts[inst];
        let mut arguments = std::mem::take(&mut self.scratch.arguments);
        arguments.clear();
        for &value in self.program.args(inst).iter().rev() {
            arguments.push(self.word(value, height)?);
        }
        let charges = data.opcode.implementation().charges();
        let ahead = self.gas_after(inst);
        let exact = self.gas + ahead;
        if charges && exact < 0 {
            self.scratch.arguments = arguments;
            self.gas = exact;
            self.end(InstructionResult::OutOfGas);
            return Ok(Some(Exit::Ended));
        }
        // What doesn't charge may see less than nothing of a frame that is bound to run out.
        self.frame.gas.set_remaining(exact as u64);
        std::mem::swap(self.frame.stack.data_mut(), &mut arguments);
        let instruction = self.oracle.instructions()[usize::from(data.opcode.get())];
        let context = InstructionContext { interpreter: &mut *self.frame, host: &mut *self.host };
        let result = instruction.execute(context);
        std::mem::swap(self.frame.stack.data_mut(), &mut arguments);
        let left = (arguments.len(), arguments.last().copied());
        self.scratch.arguments = arguments;

        let remaining = self.frame.gas.remaining();
        ensure(charges || remaining == exact as u64 && result.is_ok(), || {
            format!("{inst} charges or fails, which {} can't: {result:?}", data.opcode)
        })?;
        if let Err(error) = result {
            if self.frame.bytecode.action().is_none() {
                self.frame.halt(error);
            }
            return Ok(Some(Exit::Ended));
        }
        self.gas = remaining as i64 - ahead;
        let expected = usize::from(data.result.is_some());
        ensure(left.0 == expected, || format!("{inst} leaves {} words", left.0))?;
        if let (Some(result), Some(word)) = (data.result.expand(), left.1) {
            self.scratch.values[result.as_u32() as usize] = (word, self.scratch.count);
            // Tells whether it is as narrow as it is said to be, used or not.
            if !matches!(self.program.values[result].def, ValueDef::Unused) {
                self.word(result, height)?;
            }
        }
        Ok(None)
    }

    /// Writes what the block leaves on the stack.
    pub(super) fn write_outputs(&mut self, height: usize) -> Result<(), Violation> {
        let bounds = self.program.blocks[self.block].stack;
        let (needed, growth, delta) =
            (i32::from(bounds.needed), i32::from(bounds.growth), i32::from(bounds.delta));
        ensure(-needed <= delta && delta <= growth, || format!("it ends at height {delta}"))?;
        let outputs = self.program.outputs(self.block);
        let words = outputs.iter().map(|output| self.word(output.value, height));
        let words = words.collect::<Result<Vec<_>, _>>()?;
        let stack = self.frame.stack.data_mut();
        stack.resize(height.strict_add_signed(delta as isize), U256::ZERO);
        for (output, word) in outputs.iter().zip(words) {
            let slot = i32::from(output.slot);
            ensure(-needed <= slot && slot < delta, || format!("it writes slot {slot}"))?;
            stack[height.strict_add_signed(slot as isize)] = word;
        }
        Ok(())
    }
}
