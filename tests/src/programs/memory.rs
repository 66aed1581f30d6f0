//! Statements on memory, storage and logs.

use super::{values, writer::Writer};
use alloy_primitives::U256;
use revm::bytecode::opcode::*;

impl Writer<'_> {
    pub(super) fn push_offset(&mut self) {
        let offset = values::offset(self.rng);
        self.push(offset);
    }

    pub(super) fn push_length(&mut self) {
        let length = values::length(self.rng);
        self.push(length);
    }

    pub(super) fn memory_statement(&mut self) {
        match self.rng.below(9) {
            0..=2 => {
                self.operand();
                self.push_offset();
                self.apply(MSTORE, 2, 0);
            }
            3 => {
                self.operand();
                self.push_offset();
                self.apply(MSTORE8, 2, 0);
            }
            4 => {
                self.push_offset();
                self.apply(MLOAD, 1, 1);
            }
            5 => {
                self.push_length();
                self.push_offset();
                self.apply(KECCAK256, 2, 1);
            }
            _ => self.copy(),
        }
    }

    /// A copy of calldata, code, memory, return data or another account's code.
    fn copy(&mut self) {
        let opcode = self.rng.pick(&[CALLDATACOPY, CODECOPY, EXTCODECOPY, RETURNDATACOPY, MCOPY]);
        let opcode = if self.has(opcode) { opcode } else { CODECOPY };
        if opcode == RETURNDATACOPY && self.rng.percent(60) {
            // In bounds whatever the last call returned.
            self.apply(RETURNDATASIZE, 0, 1);
            self.push(U256::ZERO);
        } else {
            self.push_length();
            self.push_offset();
        }
        self.push_offset();
        if opcode == EXTCODECOPY {
            let address = values::address_word(self.rng);
            self.push(address);
            return self.apply(opcode, 4, 0);
        }
        self.apply(opcode, 3, 0);
    }

    pub(super) fn storage_statement(&mut self) {
        let key = if self.rng.percent(90) {
            U256::from(self.rng.below(4))
        } else {
            values::word(self.rng)
        };
        let transient = self.has(TLOAD) && self.rng.percent(30);
        let (load, store) = if transient { (TLOAD, TSTORE) } else { (SLOAD, SSTORE) };
        if self.rng.percent(40) {
            self.push(key);
            return self.apply(load, 1, 1);
        }
        // Zero and the original values often: refunds depend on them.
        if self.rng.percent(30) {
            self.push(U256::ZERO);
        } else {
            self.operand();
        }
        self.push(key);
        self.apply(store, 2, 0);
    }

    pub(super) fn log(&mut self) {
        let topics = self.rng.below(5);
        for _ in 0..topics {
            self.operand();
        }
        self.push_length();
        self.push_offset();
        self.apply(LOG0 + topics as u8, 2 + topics, 0);
    }
}
