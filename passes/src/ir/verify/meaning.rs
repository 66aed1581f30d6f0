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
//! A block that others were merged into is executed against the bytes of each of these too: who
//! jumps to one of them finds its instructions, which must do what those bytes do. It is opcode by
//! opcode that the two are compared, so their bytes differ in what they push at most.
//!
//! And each JUMPDEST of the code has one block that begins there.
//!
//! Words are made up at random, and as edges, zeros, repetitions and neighbours of the block's own
//! constants, where rules go wrong. That is no proof of a rule, but it needs none of them.
//!
//! Needs what `dataflow` and `source` have verified: order, uses, stack bounds. Cost: some dozen
//! nanoseconds for each instruction and trial, some microseconds for a store.

mod finish;
mod machine;
#[cfg(test)]
mod tests;
mod whole;

use super::source::{Read, read};
use super::{Defect, Entity, Source, VerifyError, ensure};
use crate::ir::entities::{Block, Inst, Value};
use crate::ir::evaluate::evaluate;
use crate::ir::implementation::Implementation;
use crate::ir::opcode::Opcode;
use crate::ir::program::{Program, Terminator, ValueDef};
use crate::ir::width::{WORD_BITS, result_bits};
use alloy_primitives::U256;
use machine::{Form, MadeUp, Memory};
use whole::Whole;

/// Verifies what the blocks of a finished program do.
///
/// # Errors
///
/// The first block that does something else than its bytes.
pub fn verify_meaning(program: &Program, source: &Source<'_>) -> Result<(), VerifyError> {
    let whole = Whole::of(program, source);
    whole.check_jumpdests()?;
    let mut words = vec![U256::ZERO; program.values.len()];
    for block in program.blocks.keys() {
        let reads = read(source, block);
        whole.check_start(block, &reads)?;
        walk(&whole, block, [&reads, &reads], &mut words)?;
        if let Some(goal) = program.blocks[block].merged_into.expand() {
            // What is wrong with it isn't the goal's fault.
            let entity = Entity::Block(block);
            let own = read(source, goal);
            ensure(own.len() == reads.len(), entity, Defect::MergedInto(goal))?;
            walk(&whole, goal, [&own, &reads], &mut words)
                .map_err(|error| VerifyError { entity, ..error })?;
        }
    }
    Ok(())
}

/// Executes what has become of a block, whose opcodes are the first, against the second, which are
/// as many: its own or those of a block that is merged into it.
fn walk(
    whole: &Whole<'_>,
    block: Block,
    [own, reads]: [&[Read]; 2],
    words: &mut [U256],
) -> Result<(), VerifyError> {
    let code = whole.source.code;
    let gas_after = &*gas_after(whole.program, block, own);
    let constants = reads.iter().filter_map(|read| read.constant(code)).collect();
    for made_up in MadeUp::trials(block.as_u32(), code.len() > LONG_CODE, constants) {
        let (memory, words) = (Memory::new(&made_up), &mut *words);
        let stack = Vec::new();
        Walk { whole, block, own, reads, gas_after, made_up, stack, words, memory }.run()?;
    }
    Ok(())
}

/// Bytes of long code: EIP-7907's limit of init code.
const LONG_CODE: usize = 128 << 10;

/// One trial of one block.
struct Walk<'a> {
    whole: &'a Whole<'a>,
    block: Block,
    /// The block's opcodes, by whose offsets its instructions are found.
    own: &'a [Read],
    /// The opcodes that are executed.
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
                data.pc == self.own[index].pc && data.gas_after == self.gas_after[index]
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
}
