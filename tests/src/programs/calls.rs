//! Statements that make frames or end them.

use super::{opcodes::CALLS, values, writer::Writer};
use crate::assembly::Item;
use alloy_primitives::U256;
use revm::bytecode::opcode::*;

impl Writer<'_> {
    pub(super) fn call_statement(&mut self) {
        match self.rng.weighted(&[75, 25]) {
            0 => self.call(),
            _ => self.create(),
        }
    }

    fn call(&mut self) {
        self.bare_call();
        self.after_call();
    }

    /// A call; its result is on top of the stack.
    fn bare_call(&mut self) {
        let (opcode, has_value, fork) = self.rng.pick(&CALLS);
        let enabled = self.spec.is_enabled_in(fork);
        let (opcode, has_value) = if enabled { (opcode, has_value) } else { (CALL, true) };
        for _ in 0..2 {
            self.push_length();
            self.push_offset();
        }
        if has_value {
            let value =
                if self.rng.percent(70) { U256::ZERO } else { U256::from(self.rng.below(99)) };
            let value = if self.rng.percent(2) { U256::MAX } else { value };
            self.push(value);
        }
        let address = values::address_word(self.rng);
        self.push(address);
        if self.rng.percent(20) {
            self.apply(GAS, 0, 1);
        } else {
            let gas = values::call_gas(self.rng);
            self.push(gas);
        }
        self.apply(opcode, if has_value { 7 } else { 6 }, 1);
    }

    /// A call or creation after whose opcode nothing is appended.
    pub(super) fn bare_frame(&mut self) {
        if self.rng.percent(50) { self.bare_call() } else { self.bare_create() }
    }

    /// What often follows a call: its return data, or memory growth (which moves the memory that
    /// calldata is a view of).
    fn after_call(&mut self) {
        match self.rng.below(4) {
            0 if self.has(RETURNDATASIZE) => {
                self.apply(RETURNDATASIZE, 0, 1);
                self.push(U256::ZERO);
                self.push_offset();
                self.apply(RETURNDATACOPY, 3, 0);
            }
            1 => {
                self.operand();
                let offset = self.rng.below(3000);
                self.push(U256::from(offset));
                self.apply(MSTORE, 2, 0);
                self.push(U256::ZERO);
                self.apply(CALLDATALOAD, 1, 1);
            }
            _ => {}
        }
    }

    fn create(&mut self) {
        self.bare_create();
        if self.rng.percent(60) {
            self.call_created();
        }
    }

    /// A creation; its result is on top of the stack.
    fn bare_create(&mut self) {
        let initcode = self.initcode();
        // At most one word, right-aligned by MSTORE.
        let length = initcode.len();
        self.items.push(Item::Push(initcode));
        self.height += 1;
        self.push(U256::ZERO);
        self.apply(MSTORE, 2, 0);
        let salted = self.has(CREATE2) && self.rng.percent(50);
        if salted {
            let salt = self.rng.below(3);
            self.push(U256::from(salt));
        }
        if self.rng.percent(10) {
            self.push_length();
            self.push_offset();
        } else {
            self.push(U256::from(length));
            self.push(U256::from(32 - length));
        }
        // Now and then more than the contract has: since EIP-8037 no frame is made then.
        let value = if self.rng.percent(10) { 5_000_000 } else { self.rng.below(3) };
        self.push(U256::from(value));
        if salted {
            self.apply(CREATE2, 4, 1);
        } else {
            self.apply(CREATE, 3, 1);
        }
    }

    /// Calls the address on top of the stack.
    fn call_created(&mut self) {
        for _ in 0..5 {
            self.push(U256::ZERO);
        }
        self.op(DUP6);
        self.height += 1;
        self.push(U256::from(30_000));
        self.apply(CALL, 7, 1);
    }

    /// Up to 32 bytes of initcode: it deploys a few bytes, stores, reverts, or is soup.
    fn initcode(&mut self) -> Vec<u8> {
        let mut code = match self.rng.below(6) {
            // Deploys `ADDRESS SELFDESTRUCT`, or code that stores.
            0 => vec![PUSH2, ADDRESS, SELFDESTRUCT, PUSH1, 0, MSTORE, PUSH1, 2, PUSH1, 30, RETURN],
            1 => vec![PUSH4, PC, PC, SSTORE, STOP, PUSH1, 0, MSTORE, PUSH1, 4, PUSH1, 28, RETURN],
            2 => vec![PUSH1, 1, PUSH1, 1, SSTORE, CALLVALUE, PUSH1, 2, SSTORE],
            3 => vec![PUSH1, 7, PUSH1, 31, REVERT],
            // EIP-3541: code that begins with 0xef.
            4 => vec![PUSH1, 0xef, PUSH1, 0, MSTORE8, PUSH1, 1, PUSH1, 0, RETURN],
            _ => {
                let len = self.rng.range(1, 20);
                self.rng.bytes(len)
            }
        };
        code.truncate(32);
        code
    }

    /// An end of the frame, behind a branch most of the time so that the code after it runs.
    pub(super) fn unlikely_end(&mut self) {
        if self.rng.percent(15) {
            return self.end_of_frame();
        }
        let over = self.new_label();
        self.operand();
        self.push_label(over);
        self.apply(JUMPI, 2, 0);
        self.end_of_frame();
        self.place(over);
    }

    /// RETURN, REVERT, STOP, SELFDESTRUCT, INVALID or an undefined byte.
    pub(super) fn end_of_frame(&mut self) {
        match self.rng.below(8) {
            0 | 1 => {
                self.push_length();
                self.push_offset();
                self.apply(RETURN, 2, 0);
            }
            2..=4 => {
                self.push_length();
                self.push_offset();
                self.apply(REVERT, 2, 0);
            }
            5 => self.op(STOP),
            6 => {
                let heir = values::address_word(self.rng);
                self.push(heir);
                self.apply(SELFDESTRUCT, 1, 0);
            }
            _ => {
                let opcode = self.rng.pick(&[INVALID, 0x0c, 0x21, 0xef, 0xb0]);
                self.op(opcode);
            }
        }
    }
}
