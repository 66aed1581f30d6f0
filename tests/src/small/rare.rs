//! Random programs of the shapes that passes treat specially, each made to do what programs of
//! compilers hardly ever do:
//!
//! - [`Shape::Graph`]: blocks that lead to each other at random, so at different heights, into the
//!   middles of loops, back to the start;
//! - [`Shape::Start`]: the contract's first block, of which all others take memory for granted,
//!   once more in paths that jump to it, and entered from everywhere;
//! - [`Shape::Functions`]: internal functions, short and nested, called from several places, which
//!   `thread_jumps` copies, with failing branches;
//! - [`Shape::Twins`]: blocks that are equal but for one instruction, or its place, and ways to
//!   both;
//! - [`Shape::Debts`]: something that charges by its operands, a tail that is long to pay, and an
//!   end.
//!
//! A program is a function of its seed.

use super::{Effort, Plan, Summary, run_all};
use crate::{
    assembly::{Assembly, Item, Label, assemble},
    rng::{Rng, mix},
};
use revm::bytecode::opcode::*;

/// What is special about a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Blocks in any order.
    Graph,
    /// The contract's first block, more than once.
    Start,
    /// Internal calls.
    Functions,
    /// Blocks that are almost equal.
    Twins,
    /// Gas that is owed at the end of a block.
    Debts,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Graph, Self::Start, Self::Functions, Self::Twins, Self::Debts];

    /// A program of the shape.
    pub fn program(self, seed: u64) -> Vec<u8> {
        let mut maker =
            Maker { rng: Rng::new(mix(seed ^ (self as u64) << 56)), asm: Assembly::new() };
        match self {
            Self::Graph => maker.graph(),
            Self::Start => maker.start(),
            Self::Functions => maker.functions(),
            Self::Twins => maker.twins(),
            Self::Debts => maker.debts(),
        }
        maker.asm.code()
    }

    /// Runs some hundred programs of the shape, or as many times as the plan says.
    pub fn run(self, plan: Plan, programs: usize) -> Summary {
        let effort = Effort { low: 4, limits: 90, always: 2 };
        run_all(plan, programs * plan.times, effort, |index| self.program(index as u64))
    }
}

/// Offsets of this many bytes and more count as those of functions, whose blocks computed jumps may
/// lead to.
const FUNCTIONS_FROM: usize = 0x100;

struct Maker {
    rng: Rng,
    asm: Assembly,
}

impl Maker {
    fn op(&mut self, opcode: u8) {
        self.asm.items.push(Item::Op(opcode));
    }

    fn ops(&mut self, opcodes: &[u8]) {
        opcodes.iter().for_each(|&opcode| self.op(opcode));
    }

    fn push(&mut self, word: usize) {
        let bytes = word.to_be_bytes();
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count().min(bytes.len() - 1);
        self.asm.items.push(Item::Push(bytes[zeros..].to_vec()));
    }

    fn push_label(&mut self, label: Label) {
        self.asm.items.push(Item::PushLabel(label));
    }

    fn place(&mut self, label: Label) {
        self.asm.items.push(Item::Label(label));
    }

    fn labels(&mut self, count: usize) -> Vec<Label> {
        (0..count).map(|_| self.asm.new_label()).collect()
    }

    /// Fills up with STOP, so that what follows has offsets that count as functions'.
    fn pad(&mut self) {
        let missing = FUNCTIONS_FROM.saturating_sub(assemble(&self.asm.items).len());
        self.asm.items.push(Item::Raw(vec![STOP; missing]));
    }

    /// Makes a computed word of the constant on top of the stack.
    fn hide(&mut self) {
        match self.rng.below(3) {
            // Of three bytes of calldata.
            0 => self.ops(&[CALLDATASIZE, ADD, PUSH0, CALLDATASIZE, SUB, SWAP1, SUB]),
            1 => self.ops(&[RETURNDATASIZE, ADD]),
            _ => self.ops(&[RETURNDATASIZE, XOR]),
        }
    }

    /// A condition: constant, computed, or what is on the stack.
    fn condition(&mut self) {
        match self.rng.below(6) {
            0 => self.op(PUSH0),
            1 => self.op(CALLDATASIZE),
            2 => self.op(RETURNDATASIZE),
            3 => self.op(DUP1),
            4 => self.ops(&[PUSH0, CALLDATALOAD, DUP2, LT]),
            _ => {}
        }
    }

    /// A constant offset of memory: those of neighbouring words, and a far one.
    fn memory_offset(&mut self) -> usize {
        self.rng.pick(&[0, 0, 1, 0x20, 0x20, 0x40, 0x60, 0x400])
    }

    /// An instruction, perhaps with a constant operand.
    fn instruction(&mut self) {
        match self.rng.below(22) {
            0..=2 => self.op(POP),
            3..=4 => self.op(PUSH0),
            5 => self.ops(&[PUSH1, 3]),
            6..=7 => {
                let opcode = self.rng.pick(&[DUP1, DUP2, DUP3, SWAP1, SWAP1, SWAP2]);
                self.op(opcode);
            }
            8 => {
                let opcode = self.rng.pick(&[CALLDATASIZE, MSIZE, GAS, CALLER, PC]);
                self.op(opcode);
            }
            9..=11 => {
                let offset = self.memory_offset();
                self.push(offset);
                let opcode = self.rng.pick(&[MLOAD, MSTORE, MSTORE, MSTORE8]);
                self.op(opcode);
            }
            12 => {
                let opcode = self.rng.pick(&[MLOAD, MSTORE, MSTORE8]);
                self.op(opcode);
            }
            13..=14 => self.charging(),
            15 => self.ops(&[ISZERO]),
            16 => {
                let opcode = self.rng.pick(&[ADD, SUB, AND, LT, EQ, BYTE, SHR, DIV]);
                self.op(opcode);
            }
            17 => self.neutral(),
            18 => self.ops(&[PUSH1, 1, AND]),
            19 => self.ops(&[PUSH1, 0x1f, BYTE]),
            _ => self.seldom(),
        }
    }

    /// What contracts do less often: calls, copies, exchanges of deep words (EIP-8024).
    fn seldom(&mut self) {
        match self.rng.below(14) {
            0 => self.ops(&[PUSH1, 5, PUSH0, PUSH0, RETURNDATACOPY]),
            1 => self.ops(&[PUSH1, 0x21, PUSH1, 0x20, PUSH1, 1, MCOPY]),
            2 => self.ops(&[CALLDATASIZE, PUSH1, 0x40, PUSH0, MCOPY]),
            3 => self.ops(&[CALLDATASIZE, PUSH0, PUSH1, 0x20, CALLDATACOPY]),
            4 => {
                self.ops(&[PUSH1, 0x20, PUSH0, PUSH1, 0x20, PUSH0, PUSH0, CALLER, GAS, CALL]);
            }
            5 => {
                self.ops(&[PUSH1, 5, PUSH1, 0x40, PUSH0, PUSH0, ADDRESS, PUSH2, 1, 0, STATICCALL]);
            }
            6 => self.ops(&[PUSH0, PUSH0, PUSH0, CREATE]),
            7 => self.ops(&[CALLDATASIZE, CALLDATASIZE, PUSH0, DELEGATECALL]),
            // The seventeenth word, the sixteenth below the first, the first and second below it.
            8 => self.ops(&[DUPN, 0x80]),
            9 => self.ops(&[SWAPN, 0x80]),
            10 => self.ops(&[EXCHANGE, 0x8e]),
            11 => self.ops(&[EXCHANGE, 0x8f]),
            12 => self.ops(&[CALLER, BALANCE]),
            _ => self.op(CLZ),
        }
    }

    fn instructions(&mut self, most: usize) {
        for _ in 0..self.rng.below(most + 1) {
            self.instruction();
        }
    }

    /// Something that charges by its operands or by the state, with operands of its own or those
    /// on the stack.
    fn charging(&mut self) {
        match self.rng.below(8) {
            0 => self.ops(&[PUSH0, SLOAD]),
            1 => self.op(SLOAD),
            2 => self.ops(&[CALLDATASIZE, SSTORE]),
            3 => self.ops(&[CALLDATASIZE, EXP]),
            4 => self.ops(&[PUSH1, 0x40, PUSH0, KECCAK256]),
            5 => self.ops(&[PUSH0, TLOAD]),
            6 => self.ops(&[PUSH1, 33, PUSH0, CALLDATASIZE, CALLDATACOPY]),
            _ => self.ops(&[CALLDATASIZE, PUSH0, LOG0]),
        }
    }

    /// Instructions that come to nothing, but may fail.
    fn neutral(&mut self) {
        match self.rng.below(5) {
            0 => self.ops(&[CALLER, POP]),
            1 => self.ops(&[PUSH0, POP]),
            2 => self.ops(&[DUP2, POP]),
            3 => self.ops(&[SWAP1, SWAP1]),
            _ => self.ops(&[PUSH0, PUSH0, PUSH0, POP, POP, POP]),
        }
    }

    /// Ends a block, whose successor in order comes next.
    fn end(&mut self, targets: &[Label]) {
        let target = self.rng.pick(targets);
        match self.rng.below(16) {
            0..=3 => {
                self.push_label(target);
                self.op(JUMP);
            }
            4..=7 => {
                self.condition();
                self.push_label(target);
                self.op(JUMPI);
            }
            8 => {
                self.push_label(target);
                self.hide();
                self.op(JUMP);
            }
            9 => {
                self.condition();
                self.push_label(target);
                self.hide();
                self.op(JUMPI);
            }
            10 => {
                // To where the last word says, with an offset left for others.
                self.push_label(target);
                self.ops(&[SWAP1, JUMP]);
            }
            11 => {
                self.push(0);
                let opcode = self.rng.pick(&[JUMP, JUMPI]);
                self.op(opcode);
            }
            12 => {
                let opcode = self.rng.pick(&[STOP, JUMP, INVALID]);
                self.op(opcode);
            }
            13 => {
                let offset = self.memory_offset();
                self.push(0x20);
                self.push(offset);
                let opcode = self.rng.pick(&[RETURN, REVERT]);
                self.op(opcode);
            }
            _ => {}
        }
    }

    fn graph(&mut self) {
        let count = self.rng.range(2, 6);
        let blocks = self.labels(count);
        if self.rng.percent(70) {
            self.instructions(4);
            self.end(&blocks);
        }
        for &block in &blocks {
            self.place(block);
            self.instructions(4);
            self.end(&blocks);
        }
    }

    /// The first block accesses memory, and ends by a jump to where the stack or memory says; a
    /// path makes memory say something, and goes to the first block by a constant.
    fn start(&mut self) {
        let labels = self.labels(3);
        let &[path, other, end] = labels.as_slice() else { unreachable!("three") };
        let is_jumpdest = self.rng.percent(85);
        if is_jumpdest {
            self.op(JUMPDEST);
        }
        let first = self.rng.pick(&[path, path, other]);
        self.push_label(first);
        for _ in 0..self.rng.range(1, 3) {
            let offset = self.memory_offset();
            match self.rng.below(4) {
                0 => {
                    self.push(offset);
                    self.ops(&[MLOAD, POP]);
                }
                // Stores where a word of memory says.
                1 => {
                    self.ops(&[DUP1, PUSH1, 1]);
                    self.push(offset);
                    self.ops(&[MLOAD, MSTORE]);
                }
                2 => {
                    self.op(DUP1);
                    self.push(offset);
                    self.op(MSTORE);
                }
                _ => self.instruction(),
            }
        }
        self.dear();
        match self.rng.below(4) {
            0 => {
                let offset = self.memory_offset();
                self.push(offset);
                self.ops(&[MLOAD, JUMP]);
            }
            1 => self.ops(&[DUP1, JUMP]),
            _ => self.op(JUMP),
        }
        self.pad();
        for block in [path, other, end] {
            self.place(block);
            self.instructions(2);
            let offset = self.rng.pick(&[0x80, 0x400, 0x1000, 0x8000]);
            if self.rng.percent(60) {
                self.push(7);
                self.push(offset);
                self.op(MSTORE);
            }
            if self.rng.percent(60) {
                let at = self.rng.pick(&[0, 0, 0x20]);
                self.push(offset + 32);
                self.push(at);
                self.op(MSTORE);
            }
            match self.rng.below(5) {
                0..=1 => self.op(JUMP),
                2 => self.ops(&[PUSH0, JUMP]),
                3 => {
                    self.condition();
                    self.ops(&[PUSH0, JUMPI]);
                }
                _ => self.end(&[path, other, end]),
            }
        }
    }

    /// Instructions that take gas and leave the stack as it was.
    fn dear(&mut self) {
        match self.rng.below(4) {
            0 => self.ops(&[PUSH0, TLOAD, TLOAD, TLOAD, POP]),
            1 => (0..8).for_each(|_| self.ops(&[CALLER, POP])),
            _ => {}
        }
    }

    fn functions(&mut self) {
        let count = self.rng.range(1, 3);
        let functions = self.labels(count);
        for _ in 0..self.rng.range(1, 3) {
            self.instructions(3);
            self.call(&functions);
            if self.rng.percent(20) {
                self.fail_perhaps();
            }
        }
        self.instructions(2);
        self.op(STOP);
        if self.rng.percent(70) {
            self.pad();
        }
        for (index, &function) in functions.iter().enumerate() {
            self.place(function);
            self.instructions(3);
            if self.rng.percent(40) {
                self.fail_perhaps();
            }
            if self.rng.percent(25) && index + 1 < functions.len() {
                self.call(&functions[index + 1..]);
                self.instructions(2);
            }
            if self.rng.percent(25) {
                self.loop_back(function);
            }
            // The return address is wherever the body left it.
            match self.rng.below(4) {
                0 => self.op(JUMP),
                1 => self.ops(&[SWAP1, JUMP]),
                2 => self.ops(&[SWAP2, SWAP1, POP, JUMP]),
                _ => self.ops(&[POP, JUMP]),
            }
        }
    }

    /// Calls a function: with a return address below some words.
    fn call(&mut self, functions: &[Label]) {
        let back = self.asm.new_label();
        let function = self.rng.pick(functions);
        self.push_label(back);
        for _ in 0..self.rng.below(3) {
            let opcode = self.rng.pick(&[PUSH0, CALLDATASIZE, DUP2]);
            self.op(opcode);
        }
        self.push_label(function);
        self.op(JUMP);
        self.place(back);
    }

    /// A branch of which one way fails.
    fn fail_perhaps(&mut self) {
        let go_on = self.asm.new_label();
        self.condition();
        self.push_label(go_on);
        self.op(JUMPI);
        if self.rng.percent(50) {
            self.ops(&[PUSH0, PUSH0, REVERT]);
        } else {
            self.op(INVALID);
        }
        self.place(go_on);
    }

    fn loop_back(&mut self, to: Label) {
        self.condition();
        self.push_label(to);
        self.op(JUMPI);
    }

    /// Two blocks of the same instructions but for one, or for where a neutral one stands, and a
    /// way to each.
    fn twins(&mut self) {
        let labels = self.labels(4);
        let &[one, two, three, end] = labels.as_slice() else { unreachable!("four") };
        let second = self.rng.pick(&[two, two, three]);
        if self.rng.percent(50) {
            // Offsets of which something is computed may be jumped to.
            self.push_label(one);
            self.ops(&[ISZERO, POP]);
        } else {
            self.condition();
            self.push_label(one);
            self.op(JUMPI);
        }
        self.instructions(2);
        self.push_label(second);
        if self.rng.percent(60) {
            self.hide();
        }
        self.op(JUMP);
        self.pad();
        let body = self.twin_body();
        let places = [0; 3].map(|_| self.rng.below(body.len() + 1));
        let from = self.rng.next();
        let last = self.rng.below(4);
        for (block, place) in [one, two, three].into_iter().zip(places) {
            self.place(block);
            self.asm.items.extend_from_slice(&body[..place]);
            // The same in each, from the same seed.
            let rng = std::mem::replace(&mut self.rng, Rng::new(from));
            self.neutral();
            self.rng = rng;
            self.asm.items.extend_from_slice(&body[place..]);
            if self.rng.percent(10) {
                self.instruction();
            }
            match last {
                0 => self.op(JUMP),
                1 => self.ops(&[PUSH0, JUMP]),
                2 => self.op(STOP),
                _ => {
                    self.push_label(end);
                    self.op(JUMP);
                }
            }
        }
        self.place(end);
        self.instructions(2);
    }

    /// Some instructions, of which some can be seen from outside.
    fn twin_body(&mut self) -> Vec<Item> {
        let before = self.asm.items.len();
        for _ in 0..self.rng.range(1, 4) {
            match self.rng.below(5) {
                0..=1 => self.op(POP),
                2 => self.ops(&[PUSH0, SLOAD, POP]),
                3 => self.neutral(),
                _ => self.instruction(),
            }
        }
        self.asm.items.split_off(before)
    }

    /// A charge, cheap instructions, and an end, of which several follow each other.
    fn debts(&mut self) {
        let labels = self.labels(3);
        for &label in &labels {
            if self.rng.percent(40) {
                self.place(label);
            }
            self.instructions(1);
            self.charging();
            for _ in 0..self.rng.pick(&[0, 0, 1, 3, 12]) {
                self.neutral();
            }
            if self.rng.percent(50) {
                self.instruction();
            }
            self.end(&labels);
        }
        for label in labels {
            self.place(label);
            let opcode = self.rng.pick(&[GAS, POP, PUSH0]);
            self.op(opcode);
        }
    }
}
