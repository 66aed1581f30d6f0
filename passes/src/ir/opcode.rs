//! The opcode table: arity, immediates, activation, static gas, and how compiled code does every
//! opcode.
//!
//! This is the only place that states these facts; every pass, the verifier and the translator read
//! them from here. The facts follow revm: arity and immediates
//! `revm_bytecode::opcode::OPCODE_INFO`, static gas
//! `revm_interpreter::instructions::gas_table_spec`, activation the `check!` at the head of each of
//! its instructions; the tests compare all of them for all bytes and forks.
//!
//! A look-up is one load from a table that is built at compile time.

#[cfg(feature = "overrides")]
pub mod overrides;

use super::implementation::Implementation;
use alloy_primitives::U256;
use core::fmt;
use revm_primitives::hardfork::SpecId;

/// An opcode byte, known or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(u8);

/// What is known of an opcode, whatever the fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpcodeInfo {
    /// The mnemonic.
    pub name: &'static str,
    /// Words that the opcode needs on the stack. `DUP` and `SWAP` count every word down to
    /// the deepest one they touch; for `DUPN`, `SWAPN` and `EXCHANGE` it is zero, as the
    /// depth is in the immediate.
    pub inputs: u8,
    /// Words left in place of `inputs`.
    pub outputs: u8,
    /// Bytes after the opcode that belong to it.
    pub immediate: u8,
    /// The first fork that has the opcode.
    pub since: SpecId,
    /// How compiled code does it, in the forks that have it.
    pub implementation: Implementation,
    /// Estimated instructions of Cranelift's IR, of operands of which nothing is known, from counts
    /// of translated code.
    pub weight: u32,
    /// Static gas before any of `gas_changes`.
    base_gas: u16,
    /// Later static gas, by the fork that brought it, oldest first.
    gas_changes: &'static [(SpecId, u16)],
}

impl OpcodeInfo {
    /// Static gas in a fork. The value is defined, as in revm's gas table, also for a fork
    /// that doesn't have the opcode.
    pub const fn static_gas(&self, spec: SpecId) -> u16 {
        let mut gas = self.base_gas;
        let mut index = 0;
        while index < self.gas_changes.len() {
            let (since, changed) = self.gas_changes[index];
            if spec.is_enabled_in(since) {
                gas = changed;
            }
            index += 1;
        }
        gas
    }

    /// Whether a fork has the opcode.
    pub const fn is_active(&self, spec: SpecId) -> bool {
        spec.is_enabled_in(self.since)
    }
}

impl Opcode {
    /// The opcode of a byte; any byte will do.
    #[inline]
    pub const fn new(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte.
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The opcode's facts, or `None` for a byte that no fork has assigned.
    #[inline]
    pub fn info(self) -> Option<&'static OpcodeInfo> {
        #[cfg(feature = "overrides")]
        if let Some(info) = overrides::info(self) {
            return Some(info);
        }
        TABLE[self.0 as usize].as_ref()
    }

    /// The opcode of a mnemonic.
    pub fn from_name(name: &str) -> Option<Self> {
        (0..=u8::MAX).map(Self).find(|opcode| opcode.info().is_some_and(|info| info.name == name))
    }

    /// Static gas in a fork; zero for an unassigned byte.
    #[inline]
    pub fn static_gas(self, spec: SpecId) -> u64 {
        u64::from(gas_table(spec)[self.0 as usize])
    }

    /// Whether a fork has the opcode.
    #[inline]
    pub fn is_active(self, spec: SpecId) -> bool {
        self.info().is_some_and(|info| info.is_active(spec))
    }

    /// How compiled code does it, in the forks that have it. An unassigned byte is interpreted.
    #[inline]
    pub fn implementation(self) -> Implementation {
        self.info().map_or(Implementation::HandOver, |info| info.implementation)
    }

    /// Estimated instructions of Cranelift's IR.
    #[inline]
    pub fn weight(self) -> u32 {
        self.info().map_or(UNASSIGNED_WEIGHT, |info| info.weight)
    }
}

/// The mnemonic, or the byte in hexadecimal if it has none.
impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info() {
            Some(info) => f.write_str(info.name),
            None => write!(f, "0x{:02x}", self.0),
        }
    }
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Weight of a byte that no fork has assigned: a hand-over.
const UNASSIGNED_WEIGHT: u32 = 14;

/// A set of opcodes: the bit whose index is the opcode's byte tells whether it is in the set.
pub type OpcodeSet = U256;

/// Number of forks.
const SPECS: usize = SpecId::NEXT as usize + 1;

/// Static gas of all opcodes in a fork, by byte; zero for an unassigned byte.
#[inline]
pub fn gas_table(spec: SpecId) -> &'static [u16; 256] {
    #[cfg(feature = "overrides")]
    if let Some(table) = overrides::gas_table(spec) {
        return table;
    }
    &GAS[spec as usize]
}

static GAS: [[u16; 256]; SPECS] = {
    let mut gas = [[0; 256]; SPECS];
    let mut spec_byte = 0;
    while spec_byte < SPECS {
        let mut byte = 0;
        while byte < 256 {
            if let (Some(spec), Some(info)) = (SpecId::try_from_u8(spec_byte as u8), &TABLE[byte]) {
                gas[spec_byte][byte] = info.static_gas(spec);
            }
            byte += 1;
        }
        spec_byte += 1;
    }
    gas
};

macro_rules! opcodes {
    ($($byte:literal $name:ident: $inputs:literal => $outputs:literal,
        immediate $immediate:literal, since $since:ident,
        gas $gas:literal $([$($fork:ident $changed:literal),*])?,
        $implementation:ident weight $weight:literal;)*) => {
        /// The assigned opcodes.
        impl Opcode {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub const $name: Self = Self($byte);
            )*
        }

        const TABLE: &[Option<OpcodeInfo>; 256] = &{
            let mut table = [None; 256];
            $(
                table[$byte] = Some(OpcodeInfo {
                    name: stringify!($name),
                    inputs: $inputs,
                    outputs: $outputs,
                    immediate: $immediate,
                    since: SpecId::$since,
                    implementation: Implementation::$implementation,
                    weight: $weight,
                    base_gas: $gas,
                    gas_changes: &[$($((SpecId::$fork, $changed)),*)?],
                });
            )*
            table
        };
    };
}

// name: words needed => words left, immediate bytes, first fork, static gas [changes], how compiled
// code does it, weight
opcodes! {
    0x00 STOP: 0 => 0, immediate 0, since FRONTIER, gas 0, Stop weight 14;
    0x01 ADD: 2 => 1, immediate 0, since FRONTIER, gas 3, Native weight 14;
    0x02 MUL: 2 => 1, immediate 0, since FRONTIER, gas 5, Native weight 48;
    0x03 SUB: 2 => 1, immediate 0, since FRONTIER, gas 3, Native weight 14;
    0x04 DIV: 2 => 1, immediate 0, since FRONTIER, gas 5, Words weight 14;
    0x05 SDIV: 2 => 1, immediate 0, since FRONTIER, gas 5, Words weight 14;
    0x06 MOD: 2 => 1, immediate 0, since FRONTIER, gas 5, Words weight 14;
    0x07 SMOD: 2 => 1, immediate 0, since FRONTIER, gas 5, Words weight 14;
    0x08 ADDMOD: 3 => 1, immediate 0, since FRONTIER, gas 8, Words weight 14;
    0x09 MULMOD: 3 => 1, immediate 0, since FRONTIER, gas 8, Words weight 14;
    0x0A EXP: 2 => 1, immediate 0, since FRONTIER, gas 10, Charged weight 14;
    0x0B SIGNEXTEND: 2 => 1, immediate 0, since FRONTIER, gas 5, Words weight 20;
    0x10 LT: 2 => 1, immediate 0, since FRONTIER, gas 3, Native weight 14;
    0x11 GT: 2 => 1, immediate 0, since FRONTIER, gas 3, Native weight 14;
    0x12 SLT: 2 => 1, immediate 0, since FRONTIER, gas 3, Native weight 14;
    0x13 SGT: 2 => 1, immediate 0, since FRONTIER, gas 3, Native weight 14;
    0x14 EQ: 2 => 1, immediate 0, since FRONTIER, gas 3, Native weight 6;
    0x15 ISZERO: 1 => 1, immediate 0, since FRONTIER, gas 3, Native weight 6;
    0x16 AND: 2 => 1, immediate 0, since FRONTIER, gas 3, Native weight 6;
    0x17 OR: 2 => 1, immediate 0, since FRONTIER, gas 3, Native weight 6;
    0x18 XOR: 2 => 1, immediate 0, since FRONTIER, gas 3, Native weight 6;
    0x19 NOT: 1 => 1, immediate 0, since FRONTIER, gas 3, Native weight 6;
    0x1A BYTE: 2 => 1, immediate 0, since FRONTIER, gas 3, Words weight 20;
    0x1B SHL: 2 => 1, immediate 0, since PETERSBURG, gas 3, Words weight 20;
    0x1C SHR: 2 => 1, immediate 0, since PETERSBURG, gas 3, Words weight 20;
    0x1D SAR: 2 => 1, immediate 0, since PETERSBURG, gas 3, Words weight 20;
    0x1E CLZ: 1 => 1, immediate 0, since OSAKA, gas 5, Native weight 24;
    0x20 KECCAK256: 2 => 1, immediate 0, since FRONTIER, gas 30, Charged weight 14;
    0x30 ADDRESS: 0 => 1, immediate 0, since FRONTIER, gas 2, Native weight 14;
    0x31 BALANCE: 1 => 1, immediate 0, since FRONTIER, gas 20 [TANGERINE 400, ISTANBUL 700, BERLIN 100], Delegated weight 14;
    0x32 ORIGIN: 0 => 1, immediate 0, since FRONTIER, gas 2, Delegated weight 14;
    0x33 CALLER: 0 => 1, immediate 0, since FRONTIER, gas 2, Native weight 14;
    0x34 CALLVALUE: 0 => 1, immediate 0, since FRONTIER, gas 2, Native weight 14;
    0x35 CALLDATALOAD: 1 => 1, immediate 0, since FRONTIER, gas 3, Native weight 24;
    0x36 CALLDATASIZE: 0 => 1, immediate 0, since FRONTIER, gas 2, Native weight 2;
    0x37 CALLDATACOPY: 3 => 0, immediate 0, since FRONTIER, gas 3, Charged weight 14;
    0x38 CODESIZE: 0 => 1, immediate 0, since FRONTIER, gas 2, Stack weight 1;
    0x39 CODECOPY: 3 => 0, immediate 0, since FRONTIER, gas 3, Charged weight 14;
    0x3A GASPRICE: 0 => 1, immediate 0, since FRONTIER, gas 2, Delegated weight 14;
    0x3B EXTCODESIZE: 1 => 1, immediate 0, since FRONTIER, gas 20 [TANGERINE 700, BERLIN 100, AMSTERDAM 200], Delegated weight 14;
    0x3C EXTCODECOPY: 4 => 0, immediate 0, since FRONTIER, gas 20 [TANGERINE 700, BERLIN 100, AMSTERDAM 200], Delegated weight 14;
    0x3D RETURNDATASIZE: 0 => 1, immediate 0, since BYZANTIUM, gas 2, Native weight 2;
    0x3E RETURNDATACOPY: 3 => 0, immediate 0, since BYZANTIUM, gas 3, Charged weight 14;
    0x3F EXTCODEHASH: 1 => 1, immediate 0, since PETERSBURG, gas 400 [ISTANBUL 700, BERLIN 100], Delegated weight 14;
    0x40 BLOCKHASH: 1 => 1, immediate 0, since FRONTIER, gas 20, Delegated weight 14;
    0x41 COINBASE: 0 => 1, immediate 0, since FRONTIER, gas 2, Delegated weight 14;
    0x42 TIMESTAMP: 0 => 1, immediate 0, since FRONTIER, gas 2, Delegated weight 14;
    0x43 NUMBER: 0 => 1, immediate 0, since FRONTIER, gas 2, Delegated weight 14;
    0x44 DIFFICULTY: 0 => 1, immediate 0, since FRONTIER, gas 2, Delegated weight 14;
    0x45 GASLIMIT: 0 => 1, immediate 0, since FRONTIER, gas 2, Delegated weight 14;
    0x46 CHAINID: 0 => 1, immediate 0, since ISTANBUL, gas 2, Delegated weight 14;
    0x47 SELFBALANCE: 0 => 1, immediate 0, since ISTANBUL, gas 5, Delegated weight 14;
    0x48 BASEFEE: 0 => 1, immediate 0, since LONDON, gas 2, Delegated weight 14;
    0x49 BLOBHASH: 1 => 1, immediate 0, since CANCUN, gas 3, Delegated weight 14;
    0x4A BLOBBASEFEE: 0 => 1, immediate 0, since CANCUN, gas 2, Delegated weight 14;
    0x4B SLOTNUM: 0 => 1, immediate 0, since AMSTERDAM, gas 2, Delegated weight 14;
    0x50 POP: 1 => 0, immediate 0, since FRONTIER, gas 2, Stack weight 1;
    0x51 MLOAD: 1 => 1, immediate 0, since FRONTIER, gas 3, Memory weight 40;
    0x52 MSTORE: 2 => 0, immediate 0, since FRONTIER, gas 3, Memory weight 32;
    0x53 MSTORE8: 2 => 0, immediate 0, since FRONTIER, gas 3, Memory weight 24;
    0x54 SLOAD: 1 => 1, immediate 0, since FRONTIER, gas 50 [TANGERINE 200, ISTANBUL 800, BERLIN 100], Charged weight 14;
    0x55 SSTORE: 2 => 0, immediate 0, since FRONTIER, gas 0, Charged weight 14;
    0x56 JUMP: 1 => 0, immediate 0, since FRONTIER, gas 8, Jump weight 6;
    0x57 JUMPI: 2 => 0, immediate 0, since FRONTIER, gas 10, Branch weight 40;
    0x58 PC: 0 => 1, immediate 0, since FRONTIER, gas 2, Stack weight 1;
    0x59 MSIZE: 0 => 1, immediate 0, since FRONTIER, gas 2, Native weight 2;
    0x5A GAS: 0 => 1, immediate 0, since FRONTIER, gas 2, Native weight 2;
    0x5B JUMPDEST: 0 => 0, immediate 0, since FRONTIER, gas 1, Stack weight 6;
    0x5C TLOAD: 1 => 1, immediate 0, since CANCUN, gas 100, Charged weight 14;
    0x5D TSTORE: 2 => 0, immediate 0, since CANCUN, gas 100, Charged weight 14;
    0x5E MCOPY: 3 => 0, immediate 0, since CANCUN, gas 3, Charged weight 14;
    0x5F PUSH0: 0 => 1, immediate 0, since SHANGHAI, gas 2, Stack weight 2;
    0x60 PUSH1: 0 => 1, immediate 1, since FRONTIER, gas 3, Stack weight 2;
    0x61 PUSH2: 0 => 1, immediate 2, since FRONTIER, gas 3, Stack weight 2;
    0x62 PUSH3: 0 => 1, immediate 3, since FRONTIER, gas 3, Stack weight 2;
    0x63 PUSH4: 0 => 1, immediate 4, since FRONTIER, gas 3, Stack weight 2;
    0x64 PUSH5: 0 => 1, immediate 5, since FRONTIER, gas 3, Stack weight 2;
    0x65 PUSH6: 0 => 1, immediate 6, since FRONTIER, gas 3, Stack weight 2;
    0x66 PUSH7: 0 => 1, immediate 7, since FRONTIER, gas 3, Stack weight 2;
    0x67 PUSH8: 0 => 1, immediate 8, since FRONTIER, gas 3, Stack weight 2;
    0x68 PUSH9: 0 => 1, immediate 9, since FRONTIER, gas 3, Stack weight 2;
    0x69 PUSH10: 0 => 1, immediate 10, since FRONTIER, gas 3, Stack weight 2;
    0x6A PUSH11: 0 => 1, immediate 11, since FRONTIER, gas 3, Stack weight 2;
    0x6B PUSH12: 0 => 1, immediate 12, since FRONTIER, gas 3, Stack weight 2;
    0x6C PUSH13: 0 => 1, immediate 13, since FRONTIER, gas 3, Stack weight 2;
    0x6D PUSH14: 0 => 1, immediate 14, since FRONTIER, gas 3, Stack weight 2;
    0x6E PUSH15: 0 => 1, immediate 15, since FRONTIER, gas 3, Stack weight 2;
    0x6F PUSH16: 0 => 1, immediate 16, since FRONTIER, gas 3, Stack weight 2;
    0x70 PUSH17: 0 => 1, immediate 17, since FRONTIER, gas 3, Stack weight 2;
    0x71 PUSH18: 0 => 1, immediate 18, since FRONTIER, gas 3, Stack weight 2;
    0x72 PUSH19: 0 => 1, immediate 19, since FRONTIER, gas 3, Stack weight 2;
    0x73 PUSH20: 0 => 1, immediate 20, since FRONTIER, gas 3, Stack weight 2;
    0x74 PUSH21: 0 => 1, immediate 21, since FRONTIER, gas 3, Stack weight 2;
    0x75 PUSH22: 0 => 1, immediate 22, since FRONTIER, gas 3, Stack weight 2;
    0x76 PUSH23: 0 => 1, immediate 23, since FRONTIER, gas 3, Stack weight 2;
    0x77 PUSH24: 0 => 1, immediate 24, since FRONTIER, gas 3, Stack weight 2;
    0x78 PUSH25: 0 => 1, immediate 25, since FRONTIER, gas 3, Stack weight 2;
    0x79 PUSH26: 0 => 1, immediate 26, since FRONTIER, gas 3, Stack weight 2;
    0x7A PUSH27: 0 => 1, immediate 27, since FRONTIER, gas 3, Stack weight 2;
    0x7B PUSH28: 0 => 1, immediate 28, since FRONTIER, gas 3, Stack weight 2;
    0x7C PUSH29: 0 => 1, immediate 29, since FRONTIER, gas 3, Stack weight 2;
    0x7D PUSH30: 0 => 1, immediate 30, since FRONTIER, gas 3, Stack weight 2;
    0x7E PUSH31: 0 => 1, immediate 31, since FRONTIER, gas 3, Stack weight 2;
    0x7F PUSH32: 0 => 1, immediate 32, since FRONTIER, gas 3, Stack weight 2;
    0x80 DUP1: 1 => 2, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x81 DUP2: 2 => 3, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x82 DUP3: 3 => 4, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x83 DUP4: 4 => 5, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x84 DUP5: 5 => 6, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x85 DUP6: 6 => 7, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x86 DUP7: 7 => 8, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x87 DUP8: 8 => 9, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x88 DUP9: 9 => 10, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x89 DUP10: 10 => 11, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x8A DUP11: 11 => 12, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x8B DUP12: 12 => 13, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x8C DUP13: 13 => 14, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x8D DUP14: 14 => 15, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x8E DUP15: 15 => 16, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x8F DUP16: 16 => 17, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x90 SWAP1: 2 => 2, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x91 SWAP2: 3 => 3, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x92 SWAP3: 4 => 4, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x93 SWAP4: 5 => 5, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x94 SWAP5: 6 => 6, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x95 SWAP6: 7 => 7, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x96 SWAP7: 8 => 8, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x97 SWAP8: 9 => 9, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x98 SWAP9: 10 => 10, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x99 SWAP10: 11 => 11, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x9A SWAP11: 12 => 12, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x9B SWAP12: 13 => 13, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x9C SWAP13: 14 => 14, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x9D SWAP14: 15 => 15, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x9E SWAP15: 16 => 16, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0x9F SWAP16: 17 => 17, immediate 0, since FRONTIER, gas 3, Stack weight 2;
    0xA0 LOG0: 2 => 0, immediate 0, since FRONTIER, gas 375, Charged weight 14;
    0xA1 LOG1: 3 => 0, immediate 0, since FRONTIER, gas 375, Charged weight 14;
    0xA2 LOG2: 4 => 0, immediate 0, since FRONTIER, gas 375, Charged weight 14;
    0xA3 LOG3: 5 => 0, immediate 0, since FRONTIER, gas 375, Charged weight 14;
    0xA4 LOG4: 6 => 0, immediate 0, since FRONTIER, gas 375, Charged weight 14;
    0xE6 DUPN: 0 => 1, immediate 1, since AMSTERDAM, gas 3, Stack weight 2;
    0xE7 SWAPN: 0 => 0, immediate 1, since AMSTERDAM, gas 3, Stack weight 2;
    0xE8 EXCHANGE: 0 => 0, immediate 1, since AMSTERDAM, gas 3, Stack weight 2;
    0xF0 CREATE: 3 => 1, immediate 0, since FRONTIER, gas 0, Suspend weight 28;
    0xF1 CALL: 7 => 1, immediate 0, since FRONTIER, gas 40 [TANGERINE 700, BERLIN 100], Suspend weight 28;
    0xF2 CALLCODE: 7 => 1, immediate 0, since FRONTIER, gas 40 [TANGERINE 700, BERLIN 100], Suspend weight 28;
    0xF3 RETURN: 2 => 0, immediate 0, since FRONTIER, gas 0, Exit weight 14;
    0xF4 DELEGATECALL: 6 => 1, immediate 0, since HOMESTEAD, gas 40 [TANGERINE 700, BERLIN 100], Suspend weight 28;
    0xF5 CREATE2: 4 => 1, immediate 0, since PETERSBURG, gas 0, Suspend weight 28;
    0xFA STATICCALL: 6 => 1, immediate 0, since BYZANTIUM, gas 40 [TANGERINE 700, BERLIN 100], Suspend weight 28;
    0xFD REVERT: 2 => 0, immediate 0, since BYZANTIUM, gas 0, Exit weight 14;
    0xFE INVALID: 0 => 0, immediate 0, since FRONTIER, gas 0, HandOver weight 14;
    0xFF SELFDESTRUCT: 1 => 0, immediate 0, since FRONTIER, gas 0 [TANGERINE 5000], Exit weight 14;
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm_bytecode::opcode::OPCODE_INFO;
    use revm_interpreter::instructions::gas_table_spec;

    fn specs() -> impl Iterator<Item = SpecId> {
        (0..SPECS as u8).map(|byte| SpecId::try_from_u8(byte).expect("numbered without gaps"))
    }

    #[test]
    fn static_gas_equals_the_interpreters() {
        for spec in specs() {
            let expected = gas_table_spec(spec);
            for byte in 0..=u8::MAX {
                let opcode = Opcode::new(byte);
                let found = opcode.static_gas(spec);
                assert_eq!(found, u64::from(expected[byte as usize]), "{opcode} in {spec:?}");
            }
        }
    }

    #[test]
    fn arity_and_names_equal_the_interpreters() {
        for byte in 0..=u8::MAX {
            let found = Opcode::new(byte).info();
            let expected = OPCODE_INFO[byte as usize];
            assert_eq!(found.is_some(), expected.is_some(), "0x{byte:02x}");
            let (Some(found), Some(expected)) = (found, expected) else { continue };
            assert_eq!(found.name, expected.name());
            assert_eq!(found.inputs, expected.inputs(), "{}", found.name);
            assert_eq!(found.outputs, expected.outputs(), "{}", found.name);
            assert_eq!(found.immediate, expected.immediate_size(), "{}", found.name);
            if byte != Opcode::SELFDESTRUCT.get() {
                use Implementation::{Exit, HandOver, Stop};
                let ends_frame = matches!(found.implementation, Stop | Exit | HandOver);
                assert_eq!(ends_frame, expected.is_terminating(), "{}", found.name);
            }
        }
    }

    /// Runs each opcode once in each fork on the interpreter and looks at whether it was refused.
    #[test]
    fn activation_equals_the_interpreters() {
        use revm_bytecode::Bytecode;
        use revm_interpreter::{
            InstructionResult, Interpreter, SharedMemory,
            host::DummyHost,
            instructions::instruction_table,
            interpreter::{EthInterpreter, ExtBytecode, InputsImpl},
        };

        let instructions = instruction_table::<EthInterpreter, DummyHost>();
        for spec in specs() {
            let gas = gas_table_spec(spec);
            let mut host = DummyHost::new(spec);
            // From the merge on the dummy host has no answer to DIFFICULTY, which every fork has.
            let has_answer = |byte: &u8| *byte != Opcode::DIFFICULTY.get();
            for byte in (0..=u8::MAX).filter(has_answer) {
                // Zeros enough for any opcode, so that nothing but the opcode decides.
                let mut code = [Opcode::PUSH1.get(), 0].repeat(20);
                code.push(byte);
                let mut interpreter = Interpreter::<EthInterpreter>::new(
                    SharedMemory::new(),
                    ExtBytecode::new(Bytecode::new_raw(code.into())),
                    InputsImpl::default(),
                    false,
                    spec,
                    10_000_000,
                );
                let action = interpreter.run_plain(&instructions, &gas, &mut host);
                let refused = matches!(
                    action.instruction_result(),
                    Some(InstructionResult::NotActivated | InstructionResult::OpcodeNotFound)
                );
                let opcode = Opcode::new(byte);
                assert_eq!(opcode.is_active(spec), !refused, "{opcode} in {spec:?}");
            }
        }
    }

    #[test]
    fn names_lead_back_to_opcodes() {
        for byte in 0..=u8::MAX {
            let opcode = Opcode::new(byte);
            let expected = opcode.info().map(|_| opcode);
            assert_eq!(Opcode::from_name(&opcode.to_string()), expected);
        }
    }
}
