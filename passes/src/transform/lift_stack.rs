//! Stack slots to values: makes the program's blocks, instructions and values.
//!
//! Each block is executed symbolically, with words that are unknown at entry as
//! [`ValueDef::Input`]s, made when first read. `PUSH`, `PC` and `CODESIZE` become constants;
//! `DUP`, `SWAP`, `EXCHANGE` and `POP` only move values and leave nothing. What remains to
//! be done to the stack in memory at the block's end is the list of slots whose content
//! changed.
//!
//! Heights, gas and chunks are left to later passes.
//!
//! Cost: linear in the instructions. A block's work on slots is proportional to the slots
//! it touches, not to how deep they lie.

use crate::analysis::control_flow::{BlockShape, ControlFlow, Ending};
use crate::decode::{Decoded, Form, Instruction};
use crate::ir::entities::{Block, Chunk, Inst, Value};
use crate::ir::opcode::Opcode;
use crate::ir::program::{
    BlockData, InstData, JumpTarget, Output, Program, Span, StackEffect, Terminator, ValueData,
    ValueDef,
};
use alloy_primitives::U256;
use cranelift_entity::{PrimaryMap, SecondaryMap, packed_option::PackedOption};
use revm_primitives::hardfork::SpecId;

/// Makes the program of `code` from its decoded instructions and block shapes.
pub(crate) fn lift_stack(
    code: &[u8],
    spec_id: SpecId,
    decoded: &Decoded,
    flow: &ControlFlow,
) -> Lifted {
    let count = decoded.instructions.len();
    let program = Program {
        spec_id,
        code_len: code.len() as u32,
        blocks: PrimaryMap::with_capacity(flow.blocks.len()),
        insts: PrimaryMap::with_capacity(count / 2),
        values: PrimaryMap::with_capacity(count),
        arg_pool: Vec::with_capacity(count),
        output_pool: Vec::with_capacity(count / 2),
        entries: PrimaryMap::new(),
        chunks: PrimaryMap::new(),
        opcode_count: count as u32,
    };
    let mut lifter = Lifter {
        code,
        decoded,
        flow,
        program,
        stack: SymbolicStack::default(),
        position: 0,
        positions: SecondaryMap::with_capacity(count / 2),
    };
    for shape in flow.blocks.values() {
        lifter.lift_block(shape);
    }
    Lifted { program: lifter.program, positions: lifter.positions }
}

/// A program, and for each of its instructions the place among its block's decoded ones.
pub(crate) struct Lifted {
    pub(crate) program: Program,
    pub(crate) positions: SecondaryMap<Inst, u32>,
}

type Values = PrimaryMap<Value, ValueData>;

/// The stack of one block while it is executed symbolically.
#[derive(Default)]
struct SymbolicStack {
    /// Contents of the slots from 0 up; as many as the stack is higher than at entry.
    above: Vec<Value>,
    /// Contents of the slots -1, -2, ... where they are known; kept between blocks, all `None`.
    below: Vec<PackedOption<Value>>,
    /// Indices of `below` that aren't `None`, each once.
    touched: Vec<u16>,
    /// Words that are popped below the height at entry and not pushed again.
    sunk: usize,
    /// Words known at entry, by index of `below`.
    known: Vec<(u16, Value)>,
}

impl SymbolicStack {
    /// Height relative to the block's entry.
    fn height(&self) -> i16 {
        self.above.len() as i16 - self.sunk as i16
    }

    fn push(&mut self, value: Value) {
        if self.sunk > 0 {
            self.sunk -= 1;
            self.set_below(self.sunk, value);
        } else {
            self.above.push(value);
        }
    }

    fn pop(&mut self, values: &mut Values) -> Value {
        if let Some(value) = self.above.pop() {
            return value;
        }
        let value = self.get_below(self.sunk, values);
        self.sunk += 1;
        value
    }

    /// Pops a word that nobody reads, so that no input is made for it.
    fn discard(&mut self) {
        if self.above.pop().is_none() {
            self.sunk += 1;
        }
    }

    /// The word at a depth from the top.
    fn peek(&mut self, depth: usize, values: &mut Values) -> Value {
        match self.above.len().checked_sub(depth + 1) {
            Some(index) => self.above[index],
            None => self.get_below(self.sunk + depth - self.above.len(), values),
        }
    }

    fn set(&mut self, depth: usize, value: Value) {
        match self.above.len().checked_sub(depth + 1) {
            Some(index) => self.above[index] = value,
            None => self.set_below(self.sunk + depth - self.above.len(), value),
        }
    }

    fn get_below(&mut self, index: usize, values: &mut Values) -> Value {
        if let Some(value) = self.below.get(index).and_then(|slot| slot.expand()) {
            return value;
        }
        let def = ValueDef::Input(slot_below(index));
        let value = values.push(ValueData { def, uses: 0 });
        self.set_below(index, value);
        value
    }

    fn set_below(&mut self, index: usize, value: Value) {
        if index >= self.below.len() {
            self.below.resize(index + 1, None.into());
        }
        if self.below[index].is_none() {
            self.touched.push(index as u16);
        }
        self.below[index] = value.into();
    }

    /// Calls `output` for each slot whose content differs from that at entry, in ascending
    /// order.
    fn changed_slots(&mut self, values: &mut Values, mut output: impl FnMut(Output, &mut Values)) {
        self.touched.sort_unstable_by(|a, b| b.cmp(a));
        for &index in &self.touched {
            let index = usize::from(index);
            let slot = slot_below(index);
            if index < self.sunk {
                break;
            }
            if let Some(value) = self.below[index].expand()
                && values[value].def != ValueDef::Input(slot)
                && !self.known.contains(&(index as u16, value))
            {
                output(Output { slot, value }, values);
            }
        }
        for (index, &value) in self.above.iter().enumerate() {
            output(Output { slot: index as i16, value }, values);
        }
    }

    /// Makes ready for the next block.
    fn clear(&mut self) {
        let Self { above, below, touched, sunk, known } = self;
        above.clear();
        known.clear();
        for index in touched.drain(..) {
            below[usize::from(index)] = None.into();
        }
        *sunk = 0;
    }
}

/// The slot of an index of [`SymbolicStack::below`].
fn slot_below(index: usize) -> i16 {
    -(index as i16) - 1
}

struct Lifter<'a> {
    code: &'a [u8],
    decoded: &'a Decoded,
    flow: &'a ControlFlow,
    program: Program,
    stack: SymbolicStack,
    /// Decoded instructions of the block before the one that is lifted.
    position: u32,
    positions: SecondaryMap<Inst, u32>,
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
        let terminator = self.lift_ending(shape, ending);
        self.program.blocks.push(BlockData {
            pc: shape.pc,
            end_pc: shape.end_pc,
            insts: Span { start: first_inst, end: self.program.insts.len() as u32 },
            outputs: Span { start: first_output, end: self.program.output_pool.len() as u32 },
            stack: StackEffect::default(),
            gas: 0,
            terminator,
            entry: None.into(),
            chunk: Chunk::from_u32(0),
            is_jumpdest: shape.is_jumpdest,
            is_clone: shape.is_clone,
            is_cold: false,
        });
        self.stack.clear();
    }

    /// Notes the words that are known at a block's entry.
    fn enter(&mut self, shape: &BlockShape) {
        for &(slot, offset) in self.flow.constants(shape) {
            let def = ValueDef::Const(U256::from(offset));
            let value = self.program.values.push(ValueData { def, uses: 0 });
            let index = -(slot + 1) as usize;
            self.stack.set_below(index, value);
            self.stack.known.push((index as u16, value));
        }
    }

    fn lift_instruction(&mut self, instruction: &Instruction) {
        match instruction.form {
            Form::Push => {
                let def = ValueDef::Const(self.constant(instruction));
                let value = self.program.values.push(ValueData { def, uses: 0 });
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
            Form::Compute => {
                self.lift_compute(instruction);
            }
            // JUMPDEST moves nothing, and the others end a block.
            _ => {}
        }
    }

    /// Pops the arguments, adds the instruction and pushes its result.
    fn lift_compute(&mut self, instruction: &Instruction) -> Inst {
        let height = self.stack.height();
        let (inputs, outputs) = arity(instruction.opcode);
        let start = self.program.arg_pool.len() as u32;
        for _ in 0..inputs {
            let value = self.stack.pop(&mut self.program.values);
            self.use_as_argument(value);
        }
        let inst = self.add_inst(instruction, start, height);
        if outputs != 0 {
            let def = ValueDef::Result(inst);
            let value = self.program.values.push(ValueData { def, uses: 0 });
            self.program.insts[inst].result = value.into();
            self.stack.push(value);
        }
        inst
    }

    fn lift_ending(&mut self, shape: &BlockShape, last: Option<Instruction>) -> Terminator {
        match (shape.ending, last) {
            (Ending::Jump, Some(_)) => {
                let target = self.stack.pop(&mut self.program.values);
                let target = self.jump_target(shape, target);
                if target != JumpTarget::Invalid {
                    self.write_outputs();
                }
                Terminator::Jump(target)
            }
            (Ending::Branch, Some(_)) => {
                let target = self.stack.pop(&mut self.program.values);
                let condition = self.stack.pop(&mut self.program.values);
                let target = self.jump_target(shape, target);
                self.program.values[condition].uses += 1;
                self.write_outputs();
                Terminator::Branch { condition, target, otherwise: next_block(shape) }
            }
            (Ending::Exit, Some(last)) => Terminator::Exit(self.lift_compute(&last)),
            (Ending::Suspend, Some(last)) => {
                let inst = self.lift_suspend(&last);
                self.write_outputs();
                Terminator::Suspend { inst, continuation: next_block(shape) }
            }
            (Ending::HandOver, Some(last)) => {
                self.write_outputs();
                Terminator::HandOver { pc: last.pc }
            }
            (Ending::FallThrough, _) => {
                self.write_outputs();
                Terminator::FallThrough(next_block(shape))
            }
            // The end of the code has no instruction; the others always have one.
            _ => Terminator::Stop,
        }
    }

    /// Adds a suspending instruction. Its arguments stay on the stack, in memory.
    fn lift_suspend(&mut self, instruction: &Instruction) -> Inst {
        let start = self.program.arg_pool.len() as u32;
        for depth in 0..arity(instruction.opcode).0 {
            let value = self.stack.peek(usize::from(depth), &mut self.program.values);
            self.use_as_argument(value);
        }
        self.add_inst(instruction, start, self.stack.height())
    }

    fn add_inst(&mut self, instruction: &Instruction, first_arg: u32, height: i16) -> Inst {
        let inst = self.program.insts.next_key();
        self.positions[inst] = self.position;
        self.program.insts.push(InstData {
            opcode: instruction.opcode,
            pc: instruction.pc,
            args: Span { start: first_arg, end: self.program.arg_pool.len() as u32 },
            result: None.into(),
            height,
            gas_after: 0,
        })
    }

    fn use_as_argument(&mut self, value: Value) {
        self.program.values[value].uses += 1;
        self.program.arg_pool.push(value);
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
        && matches!(form, Jump | Branch | Stop | Exit | Suspend | HandOver)
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
