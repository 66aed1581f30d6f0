//! Stack slots to values: makes the program's blocks, instructions and values.
//!
//! Each block is executed symbolically, with words that are unknown at entry as
//! [`ValueDef::Input`]s, made when first read. `PUSH`, `PC` and `CODESIZE` become constants;
//! `DUP`, `SWAP`, `EXCHANGE` and `POP` only move values and leave nothing. What remains to
//! be done to the stack in memory at the block's end is the list of slots whose content
//! changed.
//!
//! Each instruction is simplified as it is lifted, and those whose result turned out unused are
//! dropped at the block's end, unless the options leave that out.
//!
//! What threading knows to be on the stack at a clone's entry is a constant there. Each
//! instruction's [`gas_after`](InstData::gas_after) is its place among the block's decoded ones
//! until the gas is summed.
//!
//! Stack bounds, gas and chunks are left to later passes, which look at the bytecode again: what
//! vanishes here is still charged for.
//!
//! Cost: linear in the instructions.

mod memory_words;
mod symbolic_stack;

use crate::analysis::control_flow::{BlockShape, ControlFlow, Ending};
use crate::decode::{Decoded, Form, Instruction};
use crate::ir::entities::{Block, Chunk, Inst, Value};
use crate::ir::opcode::Opcode;
use crate::ir::program::{
    BlockData, InstData, JumpTarget, Program, Span, StackEffect, Terminator, ValueData, ValueDef,
};
use crate::ir::width::{constant_bits, result_bits};
use crate::pass_set::PassSet;
use crate::transform::remove_unused::{drop_inst, mark_unused, remove_dropped};
use crate::transform::simplify::{Facts, Operand, Simplified, simplify, simplify_condition};
use alloy_primitives::U256;
use cranelift_entity::PrimaryMap;
use memory_words::MemoryWords;
use revm_primitives::hardfork::SpecId;
use symbolic_stack::SymbolicStack;

/// Most words that an opcode pops.
const MAX_INPUTS: usize = 7;

/// Makes the program of `code` from its decoded instructions and block shapes, without the passes
/// in `skip`.
pub(crate) fn lift_stack(
    code: &[u8],
    spec_id: SpecId,
    decoded: &Decoded,
    flow: &ControlFlow,
    skip: PassSet,
) -> Program {
    let count = decoded.instructions.len();
    let program = Program {
        spec_id,
        code_len: code.len() as u32,
        blocks: PrimaryMap::with_capacity(flow.blocks.len()),
        insts: PrimaryMap::with_capacity(count / 2),
        values: PrimaryMap::with_capacity(count),
        arg_pool: Vec::with_capacity(count),
        output_pool: Vec::with_capacity(count / 2),
        target_pool: Vec::new(),
        entries: PrimaryMap::new(),
        chunks: PrimaryMap::new(),
        opcode_count: count as u32,
    };
    let mut lifter = Lifter {
        code,
        decoded,
        flow,
        simplifies: !skip.contains(PassSet::SIMPLIFY),
        removes_unused: !skip.contains(PassSet::REMOVE_UNUSED),
        forwards_memory: !skip.contains(PassSet::FORWARD_MEMORY),
        drops_stores: !skip.contains(PassSet::DEAD_STORES),
        has_shifts: Opcode::SHL.is_active(spec_id),
        program,
        stack: SymbolicStack::default(),
        memory: MemoryWords::default(),
        insts: Vec::new(),
        position: 0,
        dropped: Vec::new(),
    };
    for shape in flow.blocks.values() {
        lifter.lift_block(shape);
    }
    lifter.program
}

struct Lifter<'a> {
    code: &'a [u8],
    decoded: &'a Decoded,
    flow: &'a ControlFlow,
    simplifies: bool,
    removes_unused: bool,
    forwards_memory: bool,
    drops_stores: bool,
    has_shifts: bool,
    program: Program,
    stack: SymbolicStack,
    /// The instructions of the block, which aren't in the program yet.
    insts: Vec<InstData>,
    /// Decoded instructions of the block before the one that is lifted.
    position: u64,
    /// For each of them, whether it is dropped.
    dropped: Vec<bool>,
    memory: MemoryWords,
}

impl Lifter<'_> {
    fn lift_block(&mut self, shape: &BlockShape) {
        let first_inst = self.program.insts.len() as u32;
        self.enter(shape);
        let flow = self.flow;
        let mut instructions = flow.instructions(self.decoded, shape).peekable();
        let mut ending = None;
        self.position = 0;
        while let Some(instruction) = instructions.next() {
            if instructions.peek().is_none() && ends_block(shape.ending, instruction.form) {
                ending = Some(*instruction);
                break;
            }
            self.lift_instruction(instruction);
            self.position += 1;
        }
        let first_output = self.program.output_pool.len() as u32;
        let mut terminator = self.lift_ending(shape, ending);
        let Program { values, arg_pool, .. } = &mut self.program;
        if self.removes_unused {
            mark_unused(&self.insts, &mut self.dropped, values, arg_pool);
        }
        remove_dropped(&mut self.insts, &self.dropped, first_inst, values, arg_pool);
        self.dropped.clear();
        for inst in self.insts.drain(..) {
            self.program.insts.push(inst);
        }
        if let Terminator::Exit(inst) | Terminator::Suspend { inst, .. } = &mut terminator {
            // Still the last, whatever was dropped before it.
            *inst = Inst::from_u32(self.program.insts.len() as u32 - 1);
        }
        self.program.blocks.push(BlockData {
            pc: shape.pc,
            end_pc: shape.end_pc,
            insts: Span { start: first_inst, end: self.program.insts.len() as u32 },
            outputs: Span { start: first_output, end: self.program.output_pool.len() as u32 },
            likely_targets: Span::default(),
            stack: StackEffect::default(),
            gas: 0,
            terminator,
            entry: None.into(),
            chunk: Chunk::from_u32(0),
            is_jumpdest: shape.is_jumpdest,
            is_clone: shape.is_clone,
            is_cold: false,
            merged_into: None.into(),
        });
        self.stack.clear();
        self.memory.clear();
    }

    /// Notes the words that are known at a block's entry.
    fn enter(&mut self, shape: &BlockShape) {
        for &(slot, offset) in self.flow.constants(shape) {
            let value = self.add_constant(U256::from(offset));
            self.stack.know(slot, value);
        }
    }

    fn lift_instruction(&mut self, instruction: &Instruction) {
        match instruction.form {
            Form::Push => {
                let value = self.add_constant(self.constant(instruction));
                self.stack.push(value);
            }
            // A jump from segment to segment has a target that is known.
            Form::Pop | Form::Jump => self.stack.discard(),
            Form::Dup(depth) => {
                let value = self.stack.peek(usize::from(depth), &mut self.program.values);
                self.stack.push(value);
            }
            Form::Exchange(upper, lower) => {
                let (upper, lower) = (usize::from(upper), usize::from(lower));
                let upper_value = self.stack.peek(upper, &mut self.program.values);
                let lower_value = self.stack.peek(lower, &mut self.program.values);
                self.stack.set(upper, lower_value);
                self.stack.set(lower, upper_value);
            }
            Form::Compute => self.lift_compute(instruction),
            // JUMPDEST moves nothing, and the others end a block.
            _ => {}
        }
    }

    /// Pops the arguments, adds what the instruction becomes, if anything, and pushes its result.
    fn lift_compute(&mut self, instruction: &Instruction) {
        let height = self.stack.height();
        let (inputs, outputs) = arity(instruction.opcode);
        let mut args = [Value::from_u32(0); MAX_INPUTS];
        let args = &mut args[..usize::from(inputs)];
        for arg in args.iter_mut() {
            *arg = self.stack.pop(&mut self.program.values);
        }
        let Instruction { pc, opcode, .. } = *instruction;
        match self.simplify(opcode, args) {
            None => {
                self.add_inst(pc, opcode, args, height);
                if outputs != 0 {
                    self.push_result(opcode, args);
                }
                self.note_memory_access();
            }
            Some(Simplified::Known(operand)) => {
                let value = self.materialize(operand);
                self.stack.push(value);
            }
            Some(Simplified::Inst(opcode, operands, count)) => {
                // The result's slot is the same as before if arguments fall away.
                let height = height - (args.len() - count) as i16;
                let args = &mut args[..count];
                for (arg, operand) in args.iter_mut().zip(operands) {
                    *arg = self.materialize(operand);
                }
                self.add_inst(pc, opcode, args, height);
                self.push_result(opcode, args);
            }
        }
    }

    /// What an instruction becomes, if anything else.
    fn simplify(&self, opcode: Opcode, args: &[Value]) -> Option<Simplified> {
        match (opcode, args) {
            (Opcode::MLOAD, &[offset]) if self.forwards_memory => {
                let word = self.memory.loaded(self.program.as_const(offset)?)?;
                Some(Simplified::Known(Operand::Value(word)))
            }
            _ if self.simplifies => simplify(self.facts(), opcode, args),
            _ => None,
        }
    }

    /// Notes what the instruction just added does to memory, and drops the store that it makes
    /// useless.
    fn note_memory_access(&mut self) {
        let Some(inst) = self.insts.last() else { return };
        let args = &self.program.arg_pool[inst.args.start as usize..inst.args.end as usize];
        match (inst.opcode, args, inst.result.expand()) {
            (Opcode::MLOAD, &[offset], Some(result)) => {
                self.memory.load(self.program.as_const(offset), result);
            }
            (Opcode::MSTORE, &[offset, value], _) => {
                let offset = self.program.as_const(offset);
                let dead = self.memory.store(offset, value, self.insts.len() - 1);
                if let Some(dead) = dead.filter(|_| self.drops_stores) {
                    let Program { values, arg_pool, .. } = &mut self.program;
                    drop_inst(&self.insts[dead], values, arg_pool);
                    self.dropped[dead] = true;
                }
            }
            (opcode, ..) => self.memory.other(opcode),
        }
    }

    /// The value of an operand, made if it is a new constant.
    fn materialize(&mut self, operand: Operand) -> Value {
        match operand {
            Operand::Value(value) => value,
            Operand::Const(word) => self.add_constant(word),
        }
    }

    /// Pushes the result of the instruction just added.
    fn push_result(&mut self, opcode: Opcode, args: &[Value]) {
        let bits = result_bits(opcode, args, &self.program.values);
        let def = ValueDef::Result(self.last_inst());
        let value = self.program.values.push(ValueData { def, uses: 0, bits });
        if let Some(inst) = self.insts.last_mut() {
            inst.result = value.into();
        }
        self.stack.push(value);
    }

    fn add_constant(&mut self, word: U256) -> Value {
        let def = ValueDef::Const(word);
        self.program.values.push(ValueData { def, uses: 0, bits: constant_bits(word) })
    }

    /// The number of the instruction just added.
    fn last_inst(&self) -> Inst {
        Inst::from_u32((self.program.insts.len() + self.insts.len() - 1) as u32)
    }

    /// What rules look at.
    fn facts(&self) -> Facts<'_> {
        Facts {
            values: &self.program.values,
            insts: &self.insts,
            first_inst: self.program.insts.len() as u32,
            arg_pool: &self.program.arg_pool,
            has_shifts: self.has_shifts,
        }
    }

    fn lift_ending(&mut self, shape: &BlockShape, last: Option<Instruction>) -> Terminator {
        match (shape.ending, last) {
            (Ending::Jump, Some(_)) => {
                let target = self.stack.pop(&mut self.program.values);
                let target = self.jump_target(shape, target);
                self.write_outputs();
                Terminator::Jump(target)
            }
            (Ending::Branch, Some(_)) => {
                let target = self.stack.pop(&mut self.program.values);
                let mut condition = self.stack.pop(&mut self.program.values);
                if self.simplifies {
                    condition = simplify_condition(self.facts(), condition);
                }
                let target = self.jump_target(shape, target);
                self.program.values[condition].uses += 1;
                self.write_outputs();
                Terminator::Branch { condition, target, otherwise: next_block(shape) }
            }
            (Ending::Exit, Some(last)) => {
                self.lift_last(&last);
                self.write_outputs();
                Terminator::Exit(self.last_inst())
            }
            (Ending::Suspend, Some(last)) => {
                self.lift_last(&last);
                self.write_outputs();
                Terminator::Suspend { inst: self.last_inst(), continuation: next_block(shape) }
            }
            (Ending::HandOver | Ending::Foreign, Some(last)) => {
                self.write_outputs();
                Terminator::HandOver { pc: last.pc, continuation: shape.next }
            }
            (Ending::FallThrough, _) => {
                self.write_outputs();
                Terminator::FallThrough(next_block(shape))
            }
            // The end of the code has no instruction; the others always have one.
            (_, last) => {
                self.write_outputs();
                // A chain's own PUSH may be back from where its bytes are missing.
                let is_back = shape.is_continuation && shape.pc == shape.end_pc;
                let end = if is_back { shape.pc } else { self.decoded.end };
                Terminator::Stop { pc: last.map_or(end, |last| last.pc) }
            }
        }
    }

    /// Adds an instruction that ends or suspends the frame. Its arguments stay on the stack, in
    /// memory.
    fn lift_last(&mut self, instruction: &Instruction) {
        let mut args = [Value::from_u32(0); MAX_INPUTS];
        let args = &mut args[..usize::from(arity(instruction.opcode).0)];
        for (depth, arg) in args.iter_mut().enumerate() {
            *arg = self.stack.peek(depth, &mut self.program.values);
        }
        self.add_inst(instruction.pc, instruction.opcode, args, self.stack.height());
    }

    /// Adds an instruction without a result to the block.
    fn add_inst(&mut self, pc: u32, opcode: Opcode, args: &[Value], height: i16) {
        let Program { values, arg_pool, .. } = &mut self.program;
        let start = arg_pool.len() as u32;
        for &arg in args {
            values[arg].uses += 1;
        }
        arg_pool.extend_from_slice(args);
        let args = Span { start, end: arg_pool.len() as u32 };
        let result = None.into();
        let gas_after = self.position;
        self.insts.push(InstData { opcode, pc, args, result, height, gas_after });
        self.dropped.push(false);
    }

    fn write_outputs(&mut self) {
        let Program { values, output_pool, .. } = &mut self.program;
        self.stack.changed_slots(values, |output, values| {
            values[output.value].uses += 1;
            output_pool.push(output);
        });
    }

    fn jump_target(&mut self, shape: &BlockShape, target: Value) -> JumpTarget {
        if let Some(clone) = shape.target.expand() {
            return JumpTarget::Block(clone);
        }
        let ValueDef::Const(word) = self.program.values[target].def else {
            self.program.values[target].uses += 1;
            return JumpTarget::Dynamic(target);
        };
        let pc = usize::try_from(word).unwrap_or(usize::MAX);
        match self.decoded.jumpdests.number(pc) {
            Some(number) => JumpTarget::Block(self.flow.jumpdest_blocks[number]),
            None => JumpTarget::Invalid,
        }
    }

    /// The word pushed by an instruction of [`Form::Push`].
    fn constant(&self, instruction: &Instruction) -> U256 {
        match instruction.opcode {
            Opcode::PC => U256::from(instruction.pc),
            Opcode::CODESIZE => U256::from(self.code.len()),
            opcode => {
                let len = usize::from(opcode.get() - Opcode::PUSH0.get());
                let start = instruction.pc as usize + 1;
                let present = &self.code[start..self.code.len().min(start + len)];
                push_word(present, len)
            }
        }
    }
}

/// The block that a block goes on with.
fn next_block(shape: &BlockShape) -> Block {
    shape.next.expand().expect("a block that goes on has a next one")
}

/// Whether a block's last instruction is how it ends.
fn ends_block(ending: Ending, form: Form) -> bool {
    use Form::*;
    ending != Ending::FallThrough
        && matches!(form, Jump | Branch | Stop | Exit | Suspend | HandOver | Foreign)
}

/// The word of a `PUSH` of `len` bytes of which the code still has those in `present`; the
/// missing ones are zeros on the right.
fn push_word(present: &[u8], len: usize) -> U256 {
    let mut word = [0; 32];
    let start = 32 - len;
    word[start..start + present.len()].copy_from_slice(present);
    U256::from_be_bytes(word)
}

/// Words popped and pushed by an instruction that computes.
fn arity(opcode: Opcode) -> (u8, u8) {
    opcode.info().map_or((0, 0), |info| (info.inputs, info.outputs))
}
