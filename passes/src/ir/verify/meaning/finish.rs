//! How a block ends: where it goes on, and the stack that it leaves.

use super::Walk;
use crate::ir::entities::Inst;
use crate::ir::opcode::Opcode;
use crate::ir::program::{JumpTarget, Terminator};
use crate::ir::verify::source::Read;
use crate::ir::verify::{Defect, Entity, VerifyError, ensure};
use crate::ir::width::WORD_BITS;
use alloy_primitives::U256;

impl Walk<'_> {
    /// Checks how the block ends, and leaves the stack as it is at its end.
    pub(super) fn finish(&mut self) -> Result<(), VerifyError> {
        let is_alike = self.memory.reaches_alike() && self.memory.is_alike();
        self.at_block(is_alike, Defect::OtherMemory)?;
        let program = self.whole.program;
        let data = &program.blocks[self.block];
        let last = self.reads.last();
        let (pc, opcode) = last.map_or((data.pc, Opcode::STOP), |last| (last.pc, last.opcode));
        let end = last.map_or(data.pc, Read::end);
        let is_right = match data.terminator {
            Terminator::FallThrough(next) => self.whole.goes_on(next, end),
            Terminator::Stop { pc: stop } => match last.filter(|last| self.ends(last)) {
                Some(last) => last.pc == stop,
                // One without opcodes stops where those stop that lead to it.
                None => stop == end || last.is_none() && stop >= program.code_len,
            },
            Terminator::HandOver { pc: out, .. } => out == pc,
            Terminator::Jump(target) => {
                let to = self.pop(1);
                opcode == Opcode::JUMP && self.leads_to(target, to[0])
            }
            Terminator::Branch { condition, target, otherwise } => {
                let words = self.pop(2);
                opcode == Opcode::JUMPI
                    && self.word(condition).is_zero() == words[1].is_zero()
                    && self.leads_to(target, words[0])
                    && self.whole.goes_on(otherwise, end)
            }
            Terminator::Exit(inst) => self.is_last(inst, pc, opcode),
            Terminator::Suspend { inst, continuation } => {
                self.is_last(inst, pc, opcode) && self.whole.goes_on(continuation, end)
            }
        };
        self.at_block(is_right, Defect::OtherEnd)
    }

    /// Whether a jump to an offset goes where the program says.
    fn leads_to(&self, target: JumpTarget, to: U256) -> bool {
        match target {
            JumpTarget::Block(block) => {
                let pc = u32::try_from(to).unwrap_or(u32::MAX);
                self.whole.is_target(to) && self.whole.stands_for(block, pc)
            }
            JumpTarget::Dynamic(value) => self.word(value) == to,
            JumpTarget::Invalid => !self.whole.is_target(to),
        }
    }

    /// Whether the last instruction is the last opcode, whose arguments are on the stack still.
    fn is_last(&self, inst: Inst, pc: u32, opcode: Opcode) -> bool {
        let data = &self.whole.program.insts[inst];
        let args = self.args(inst);
        let found = (1..=args.len()).map(|number| self.peek(number));
        data.pc == pc && data.opcode == opcode && found.eq(args.iter().copied())
    }

    /// The stack that the block leaves must be the one that the program writes.
    pub(super) fn check_outputs(&self) -> Result<(), VerifyError> {
        let program = self.whole.program;
        let outputs = program.outputs(self.block);
        let mut written = outputs.iter().peekable();
        for (slot, word) in (self.lowest()..).zip(&self.stack) {
            let output = written.next_if(|output| output.slot == slot);
            if output.is_none() && word.is_none() {
                continue;
            }
            let expected = word.unwrap_or_else(|| self.at_entry(slot));
            let found = match output {
                Some(output) => self.word(output.value),
                None => self.at_entry(slot),
            };
            self.at_block(found == expected, Defect::OtherStack(slot))?;
        }
        match written.next() {
            Some(output) => self.at_block(false, Defect::OtherStack(output.slot)),
            None => Ok(()),
        }
    }

    /// The words that a successor takes for known must be there.
    pub(super) fn check_successors(&mut self) -> Result<(), VerifyError> {
        let program = self.whole.program;
        let terminator = &program.blocks[self.block].terminator;
        if let Terminator::Suspend { inst, .. } = *terminator {
            self.pop(program.insts[inst].args.len() as u8);
            let result = self.made_up.result(self.reads.len(), WORD_BITS);
            self.stack.push(Some(result));
        }
        for to in [terminator.static_target(), terminator.next_block()].into_iter().flatten() {
            for &(slot, offset) in self.whole.constants(to) {
                let number = usize::from(slot.unsigned_abs());
                let word = match self.stack.len().checked_sub(number) {
                    Some(_) => self.peek(number),
                    None => self.at_entry(self.lowest() + self.stack.len() as i16 + slot),
                };
                let holds = word == U256::from(offset);
                ensure(holds, Entity::Block(to), Defect::OtherConstant(slot))?;
            }
        }
        Ok(())
    }
}
