//! Statements that compute and that move words on the stack.

use super::{
    opcodes::{NULLARY, OF_ADDRESS, PURE},
    values,
    writer::Writer,
};
use crate::assembly::Item;
use alloy_primitives::U256;
use revm::bytecode::opcode::*;

impl Writer<'_> {
    /// Pushes one word from any source: constant, copy of a stack word, calldata, memory,
    /// environment.
    pub(super) fn operand(&mut self) {
        let reachable = self.height.min(16);
        match self.rng.weighted(&[45, if reachable > 0 { 25 } else { 0 }, 10, 8, 12]) {
            0 => {
                let word = values::word(self.rng);
                self.push(word);
            }
            1 => {
                let depth = self.rng.below(reachable);
                self.apply(DUP1 + depth as u8, 0, 1);
            }
            2 => {
                let offset = self.rng.below(5) * 32;
                self.push(U256::from(offset));
                self.apply(CALLDATALOAD, 1, 1);
            }
            3 => {
                let offset = values::offset(self.rng);
                self.push(offset);
                self.apply(MLOAD, 1, 1);
            }
            _ => self.environment(),
        }
    }

    /// An opcode on fresh or existing operands, leaving one word.
    pub(super) fn expression(&mut self) {
        if self.rng.percent(8) {
            let (opcode, _) = self.rng.pick(&OF_ADDRESS);
            let address = values::address_word(self.rng);
            self.push(address);
            return self.apply(if self.has(opcode) { opcode } else { BALANCE }, 1, 1);
        }
        let (opcode, operands, fork) = self.rng.pick(&PURE);
        // An opcode of a later fork ends the frame: rare, but it must be met.
        let enabled = self.spec.is_enabled_in(fork) || self.rng.percent(1);
        let (opcode, operands) = if enabled { (opcode, operands) } else { (ADD, 2) };
        let existing = if self.rng.percent(40) { self.free().min(operands) } else { 0 };
        if existing < operands {
            self.first_operand(opcode);
            for _ in existing + 1..operands {
                self.operand();
            }
            if self.rng.percent(30) {
                self.apply(SWAP1, 2, 2);
            }
        }
        self.apply(opcode, operands, 1);
        // A chain of operations on the result lets values live in registers for longer.
        if self.rng.percent(30) && self.free() >= 2 {
            let opcode = self.rng.pick(&[ADD, SUB, MUL, AND, OR, XOR, LT, GT, EQ, DIV]);
            self.apply(opcode, 2, 1);
        }
    }

    /// Storage keys and block numbers from small ranges, so that they mean something.
    fn first_operand(&mut self, opcode: u8) {
        match opcode {
            SLOAD | TLOAD | BLOBHASH => {
                let key = self.rng.below(4);
                self.push(U256::from(key));
            }
            BLOCKHASH => {
                let number = self.rng.range(740, 1002);
                self.push(U256::from(number));
            }
            _ => self.operand(),
        }
    }

    fn environment(&mut self) {
        let (opcode, fork) = self.rng.pick(&NULLARY);
        let enabled = self.spec.is_enabled_in(fork) || self.rng.percent(1);
        self.apply(if enabled { opcode } else { ADDRESS }, 0, 1);
    }

    /// A stack instruction, mostly within the stack's height.
    pub(super) fn shuffle(&mut self) {
        if self.rng.percent(1) {
            // Underflow, or anything.
            let opcode = self.rng.range(POP.into(), SWAP16.into()) as u8;
            return self.op(opcode);
        }
        let reachable = self.height.min(16);
        let free = self.free().min(16);
        match self.rng.below(6) {
            0 | 1 if reachable > 0 => {
                let depth = self.rng.below(reachable);
                self.apply(DUP1 + depth as u8, 0, 1);
            }
            2 | 3 if free > 1 => {
                let depth = self.rng.below(free - 1);
                self.op(SWAP1 + depth as u8);
            }
            4 if free > 1 => self.apply(POP, 1, 0),
            5 if self.has(DUPN) && self.floor == 0 => self.deep_shuffle(),
            _ => self.operand(),
        }
    }

    /// DUPN, SWAPN or EXCHANGE (EIP-8024) with any immediate, undecodable ones included.
    fn deep_shuffle(&mut self) {
        let opcode = self.rng.pick(&[DUPN, SWAPN, EXCHANGE]);
        // 0x80 is 17, the shallowest of DUPN and SWAPN; most immediates need a deep stack.
        let immediate = if self.rng.percent(80) { 0x80 } else { self.rng.next() as u8 };
        if self.rng.percent(80) {
            while self.height < 40 {
                self.apply(PC, 0, 1);
            }
        }
        self.items.push(Item::Raw(vec![opcode, immediate]));
        self.height += usize::from(opcode == DUPN);
    }
}
