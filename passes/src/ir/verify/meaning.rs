//! What blocks do, against what their bytes do: each is executed in both forms on the same words.
//!
//! Whatever the passes have folded, rewritten, forwarded, dropped, copied or redirected has one
//! reason here: nobody can tell. For some **trials**, words that a block finds (on the stack, in
//! memory, results of instructions that ask the frame or the host) are made up, the same for both
//! forms, and then must be the same:
//! - the path through the bytes: each jump inside a block leads to the segment that follows;
//! - the arguments of each instruction that isn't computed from words alone, in their order; none
//!   of these may be missing, but for loads and stores of memory;
//! - how far memory reaches, wherever growing it could be told (by gas, failure or MSIZE);
//! - memory's contents, wherever anybody may look at them: so a store that was dropped, or a load
//!   that was forwarded, had no part in it;
//! - the stack at the block's end, the condition and the target, and where the block goes on;
//! - the words that a clone takes for known, left there by the only block that leads to it.
//!
//! Words are made up at random, and as edges, zeros, repetitions and neighbours of the block's own
//! constants, where rules go wrong. That is no proof of a rule, but it needs none of them.
//!
//! Needs what `dataflow` and `source` have verified: order, uses, stack bounds. Cost: some dozen
//! nanoseconds for each instruction and trial, some microseconds for a store.

mod machine;
#[cfg(test)]
mod tests;

use super::source::{Read, read};
use super::{Defect, Entity, Source, VerifyError, ensure};
use crate::ir::entities::{Block, Inst, Value};
use crate::ir::evaluate::evaluate;
use crate::ir::implementation::Implementation;
use crate::ir::opcode::Opcode;
use crate::ir::program::{JumpTarget, Program, Terminator, ValueDef};
use crate::ir::width::{WORD_BITS, result_bits};
use alloy_primitives::U256;
use machine::{Form, MadeUp, Memory};
use std::collections::HashSet;

/// Verifies what the blocks of a finished program do.
///
/// # Errors
///
/// The first block that does something else than its bytes.
pub fn verify_meaning(program: &Program, source: &Source<'_>) -> Result<(), VerifyError> {
    let merged = program.blocks.values();
    let merged = merged.filter_map(|data| data.merged_into.expand().map(|goal| (goal, data.pc)));
    let whole =
        Whole { program, source, jumpdests: jumpdests(source.code), merged: merged.collect() };
    let mut words = vec![U256::ZERO; program.values.len()];
    let is_long = source.code.len() > LONG_CODE;
    for block in program.blocks.keys() {
        let reads = read(source, block);
        whole.check_start(block, &reads)?;
        let gas_after = gas_after(program, block, &reads);
        let constants = reads.iter().filter_map(|read| read.constant(source.code)).collect();
        for made_up in MadeUp::trials(block.as_u32(), is_long, constants) {
            let (reads, gas_after) = (&*reads, &*gas_after);
            let (memory, words) = (Memory::new(&made_up), &mut *words);
            let stack = Vec::new();
            Walk { whole: &whole, block, reads, gas_after, made_up, stack, words, memory }.run()?;
        }
    }
    Ok(())
}

/// Bytes of long code: EIP-7907's limit of init code.
const LONG_CODE: usize = 128 << 10;

/// What all blocks are looked at with.
struct Whole<'a> {
    program: &'a Program,
    source: &'a Source<'a>,
    /// By offset: whether it is a valid jump target.
    jumpdests: Vec<bool>,
    /// Blocks, with the offset of each that was merged into them.
    merged: HashSet<(Block, u32)>,
}

/// One trial of one block.
struct Walk<'a> {
    whole: &'a Whole<'a>,
    block: Block,
    reads: &'a [Read],
    /// By opcode: the static gas after it, by which its instruction is found.
    gas_after: &'a [u64],
    made_up: MadeUp,
    /// The stack as the bytes have it, from the lowest slot that the block needs; `None` where
    /// nothing has been looked at or written.
    stack: Vec<Option<U256>>,
    /// The words of values, as the program has them.
    words: &'a mut [U256],
    memory: Memory,
}

/// The offsets that a jump may lead to.
fn jumpdests(code: &[u8]) -> Vec<bool> {
    let mut found = vec![false; code.len()];
    let mut pc = 0;
    while let Some(&byte) = code.get(pc) {
        found[pc] = byte == Opcode::JUMPDEST.get();
        // EIP-8024 keeps the immediates of other opcodes from being JUMPDEST or PUSH.
        pc += match byte {
            0x60..=0x7f => usize::from(byte - 0x5e),
            _ => 1,
        };
    }
    found
}

/// Static gas of a block's opcodes after each. One that hands over isn't charged.
fn gas_after(program: &Program, block: Block, reads: &[Read]) -> Vec<u64> {
    let hands_over = matches!(program.blocks[block].terminator, Terminator::HandOver { .. });
    let mut after = vec![0; reads.len()];
    let mut gas = 0;
    for (index, read) in reads.iter().enumerate().rev() {
        after[index] = gas;
        if !(hands_over && index + 1 == reads.len()) {
            gas += read.opcode.static_gas(program.spec_id);
        }
    }
    after
}

impl Whole<'_> {
    /// Whether a jump may lead to an offset.
    fn is_target(&self, to: U256) -> bool {
        usize::try_from(to).is_ok_and(|to| self.jumpdests.get(to) == Some(&true))
    }

    /// Whether who goes on with a block goes on at an offset: the block's, or that of one which was
    /// merged into it.
    fn stands_for(&self, block: Block, pc: u32) -> bool {
        self.program.blocks[block].pc == pc || self.merged.contains(&(block, pc))
    }

    /// Whether who goes on with a block after the last opcode goes on at an offset. Behind the
    /// code, that is where the frame stops.
    fn goes_on(&self, block: Block, end: u32) -> bool {
        let data = &self.program.blocks[block];
        match end < self.program.code_len {
            true => self.stands_for(block, end),
            false => data.terminator == Terminator::Stop { pc: end },
        }
    }

    fn constants(&self, block: Block) -> &[(i16, u32)] {
        &self.source.constants[block.as_u32() as usize]
    }

    /// A block begins where it says; one that takes words for known has no way in but one edge. If
    /// that comes from another chunk, there is an entry point, but no frame begins or resumes there.
    fn check_start(&self, block: Block, reads: &[Read]) -> Result<(), VerifyError> {
        let (entity, data) = (Entity::Block(block), &self.program.blocks[block]);
        let begins = reads.first().map_or(self.program.code_len, |read| read.pc) == data.pc;
        ensure(begins, entity, Defect::OtherPath(data.pc))?;
        if let Some(&(slot, _)) = self.constants(block).first() {
            let entry = data.entry.expand().map(|entry| &self.program.entries[entry]);
            let is_open = entry.is_some_and(|entry| entry.is_jumpdest || entry.is_continuation);
            let has_one_way = data.is_clone && !is_open;
            ensure(has_one_way, entity, Defect::OtherConstant(slot))?;
        }
        Ok(())
    }
}

impl Walk<'_> {
    fn run(mut self) -> Result<(), VerifyError> {
        let program = self.whole.program;
        self.stack.resize(program.blocks[self.block].stack.needed.into(), None);
        let mut insts = program.block_insts(self.block).peekable();
        let last = self.reads.len().saturating_sub(1);
        for (index, read) in self.reads.iter().enumerate() {
            if index == last && self.ends(read) {
                break;
            }
            let inst = insts.next_if(|&inst| {
                let data = &program.insts[inst];
                data.pc == read.pc && data.gas_after == self.gas_after[index]
            });
            self.step(index, read, inst)?;
        }
        self.finish()?;
        self.check_outputs()?;
        self.check_successors()
    }

    fn at_block(&self, holds: bool, defect: Defect) -> Result<(), VerifyError> {
        ensure(holds, Entity::Block(self.block), defect)
    }

    /// The word in a slot where the block begins.
    fn at_entry(&self, slot: i16) -> U256 {
        match self.whole.constants(self.block).iter().find(|&&(at, _)| at == slot) {
            Some(&(_, offset)) => U256::from(offset),
            None => self.made_up.in_slot(slot),
        }
    }

    /// The word that a value is.
    fn word(&self, value: Value) -> U256 {
        match self.whole.program.values[value].def {
            ValueDef::Input(slot) => self.at_entry(slot),
            ValueDef::Const(word) => word,
            ValueDef::Result(_) | ValueDef::Unused => self.words[value.as_u32() as usize],
        }
    }

    /// The words that an instruction of the program takes.
    fn args(&self, inst: Inst) -> Vec<U256> {
        self.whole.program.args(inst).iter().map(|&arg| self.word(arg)).collect()
    }

    /// Whether the last opcode is how the block ends, rather than part of it.
    fn ends(&self, last: &Read) -> bool {
        match self.whole.program.blocks[self.block].terminator {
            Terminator::FallThrough(_) => false,
            Terminator::Stop { .. } => last.opcode == Opcode::STOP,
            _ => true,
        }
    }

    /// Executes an opcode as the bytes have it, and the instruction that it has become, if any.
    fn step(&mut self, index: usize, read: &Read, inst: Option<Inst>) -> Result<(), VerifyError> {
        if !read.opcode.implementation().is_instruction() {
            self.at_block(inst.is_none(), Defect::NotAnInstruction)?;
            let to = self.move_words(read);
            return self.check_path(index, to);
        }
        match inst {
            Some(inst) => self.check_memory(read.opcode, Entity::Inst(inst))?,
            None => self.check_dropped(read.opcode)?,
        }
        let (inputs, outputs) = read.opcode.info().map_or((0, 0), |i| (i.inputs, i.outputs));
        let args = self.pop(inputs);
        let outcome = self.execute(index, read.opcode, &args, Form::Bytes);
        if let Some(inst) = inst {
            self.step_inst(index, read.opcode, &args, inst)?;
        }
        self.stack.extend((outputs != 0).then_some(Some(outcome)));
        self.check_path(index, None)
    }

    /// Pops words, the top first.
    fn pop(&mut self, count: u8) -> Vec<U256> {
        let args = (1..=usize::from(count)).map(|number| self.peek(number)).collect();
        self.stack.truncate(self.stack.len().saturating_sub(count.into()));
        args
    }

    /// The word with a number from the top, which is 1.
    fn peek(&self, number: usize) -> U256 {
        let index = self.stack.len() - number;
        self.stack[index].unwrap_or_else(|| self.at_entry(self.lowest() + index as i16))
    }

    /// The lowest slot that the block needs.
    fn lowest(&self) -> i16 {
        -(self.whole.program.blocks[self.block].stack.needed as i16)
    }

    /// An opcode of which no instruction is left: it moves words, or pushes a constant. Returns
    /// where it jumps to.
    fn move_words(&mut self, read: &Read) -> Option<U256> {
        let top = self.stack.len();
        let depths = read.depths();
        match (read.opcode, depths) {
            (Opcode::POP, _) => drop(self.stack.pop()),
            (Opcode::JUMP, _) => return self.pop(1).pop(),
            (_, (_, 0)) => self.stack.extend(read.constant(self.whole.source.code).map(Some)),
            (_, (0, depth)) => self.stack.push(Some(self.peek(depth))),
            (_, (upper, lower)) => {
                let words = [upper, lower].map(|number| Some(self.peek(number)));
                [self.stack[top - lower], self.stack[top - upper]] = words;
            }
        }
        None
    }

    /// What an instruction pushes, and what it does to memory in one of the forms.
    fn execute(&mut self, index: usize, opcode: Opcode, args: &[U256], form: Form) -> U256 {
        match (opcode, args) {
            (Opcode::MLOAD, &[offset]) => return self.memory.load(form, offset),
            (Opcode::MSTORE, &[offset, word]) => {
                self.memory.store(form, offset, &word.to_be_bytes::<32>());
            }
            (Opcode::MSTORE8, &[offset, word]) => {
                self.memory.store(form, offset, &[word.byte(0)]);
            }
            _ => {}
        }
        evaluate(opcode, args).unwrap_or_else(|| {
            // Some that take no words are known to be short.
            let values = &self.whole.program.values;
            let bits = if args.is_empty() { result_bits(opcode, &[], values) } else { WORD_BITS };
            self.made_up.result(index, bits)
        })
    }

    /// Executes the instruction that an opcode has become; `args` are the opcode's.
    fn step_inst(
        &mut self,
        index: usize,
        opcode: Opcode,
        args: &[U256],
        inst: Inst,
    ) -> Result<(), VerifyError> {
        let program = self.whole.program;
        let data = &program.insts[inst];
        let found = self.args(inst);
        let is_right = match evaluate(opcode, args) {
            // Another one may be cheaper; who uses its result tells whether it is the same.
            Some(_) => evaluate(data.opcode, &found).is_some(),
            None => data.opcode == opcode && found == args,
        };
        ensure(is_right, Entity::Inst(inst), Defect::OtherThanItsBytes)?;
        let outcome = self.execute(index, data.opcode, &found, Form::Program);
        if let Some(result) = data.result.expand() {
            let bits = program.values[result].bits;
            let least = outcome.bit_len() as u16;
            ensure(least <= bits, Entity::Value(result), Defect::TooNarrow { bits, least })?;
            self.words[result.as_u32() as usize] = outcome;
        }
        Ok(())
    }

    /// Nothing may be missing that isn't computed, but for accesses that memory doesn't show.
    fn check_dropped(&self, opcode: Opcode) -> Result<(), VerifyError> {
        let is_access = matches!(opcode, Opcode::MLOAD | Opcode::MSTORE | Opcode::MSTORE8);
        let may_drop = opcode.implementation().computes() || is_access;
        self.at_block(may_drop, Defect::Dropped(opcode))
    }

    /// Memory must be the same where an instruction could tell.
    fn check_memory(&mut self, opcode: Opcode, entity: Entity) -> Result<(), VerifyError> {
        use Implementation::{Charged, Delegated, Exit, Suspend};
        let implementation = opcode.implementation();
        // These two tell how far memory reaches, or what growing it has cost.
        let tells_size = matches!(opcode, Opcode::MSIZE | Opcode::GAS);
        if implementation.computes() && !tells_size {
            return Ok(());
        }
        ensure(self.memory.reaches_alike(), entity, Defect::OtherMemory)?;
        if matches!(implementation, Charged | Delegated | Exit | Suspend) {
            ensure(self.memory.is_alike(), entity, Defect::OtherMemory)?;
            self.memory.forget();
        }
        Ok(())
    }

    /// The opcode after this one, which may have jumped, must be where execution goes.
    fn check_path(&self, index: usize, to: Option<U256>) -> Result<(), VerifyError> {
        let Some(next) = self.reads.get(index + 1) else { return Ok(()) };
        let holds = match to {
            Some(to) => self.whole.is_target(to) && to == U256::from(next.pc),
            None => self.reads[index].end() == next.pc,
        };
        self.at_block(holds, Defect::OtherPath(next.pc))
    }

    /// Checks how the block ends, and leaves the stack as it is at its end.
    fn finish(&mut self) -> Result<(), VerifyError> {
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
    fn check_outputs(&self) -> Result<(), VerifyError> {
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
    fn check_successors(&mut self) -> Result<(), VerifyError> {
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
