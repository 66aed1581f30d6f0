//! Which opcodes a fork has, by what they need from the generator.
//!
//! The activation forks are those of the EIPs. They are listed here again rather than taken
//! from the product's table, so that an error of the table can't hide itself.

use revm::{
    bytecode::opcode::*,
    primitives::hardfork::SpecId::{self, *},
};

/// Opcodes with operands and one result, and the fork that activates each: `(opcode, operands,
/// fork)`. They have no effect beyond their result.
pub const PURE: [(u8, usize, SpecId); 31] = [
    (ADD, 2, FRONTIER),
    (MUL, 2, FRONTIER),
    (SUB, 2, FRONTIER),
    (DIV, 2, FRONTIER),
    (SDIV, 2, FRONTIER),
    (MOD, 2, FRONTIER),
    (SMOD, 2, FRONTIER),
    (ADDMOD, 3, FRONTIER),
    (MULMOD, 3, FRONTIER),
    (EXP, 2, FRONTIER),
    (SIGNEXTEND, 2, FRONTIER),
    (LT, 2, FRONTIER),
    (GT, 2, FRONTIER),
    (SLT, 2, FRONTIER),
    (SGT, 2, FRONTIER),
    (EQ, 2, FRONTIER),
    (ISZERO, 1, FRONTIER),
    (AND, 2, FRONTIER),
    (OR, 2, FRONTIER),
    (XOR, 2, FRONTIER),
    (NOT, 1, FRONTIER),
    (BYTE, 2, FRONTIER),
    (SHL, 2, PETERSBURG),
    (SHR, 2, PETERSBURG),
    (SAR, 2, PETERSBURG),
    (CLZ, 1, OSAKA),
    (CALLDATALOAD, 1, FRONTIER),
    (BLOCKHASH, 1, FRONTIER),
    (BLOBHASH, 1, CANCUN),
    (SLOAD, 1, FRONTIER),
    (TLOAD, 1, CANCUN),
];

/// Opcodes without operands and with one result.
pub const NULLARY: [(u8, SpecId); 22] = [
    (ADDRESS, FRONTIER),
    (ORIGIN, FRONTIER),
    (CALLER, FRONTIER),
    (CALLVALUE, FRONTIER),
    (CALLDATASIZE, FRONTIER),
    (CODESIZE, FRONTIER),
    (GASPRICE, FRONTIER),
    (COINBASE, FRONTIER),
    (TIMESTAMP, FRONTIER),
    (NUMBER, FRONTIER),
    (DIFFICULTY, FRONTIER),
    (GASLIMIT, FRONTIER),
    (PC, FRONTIER),
    (MSIZE, FRONTIER),
    (GAS, FRONTIER),
    (RETURNDATASIZE, BYZANTIUM),
    (CHAINID, ISTANBUL),
    (SELFBALANCE, ISTANBUL),
    (BASEFEE, LONDON),
    (PUSH0, SHANGHAI),
    (BLOBBASEFEE, CANCUN),
    (SLOTNUM, AMSTERDAM),
];

/// Opcodes that take an address and push one result.
pub const OF_ADDRESS: [(u8, SpecId); 3] =
    [(BALANCE, FRONTIER), (EXTCODESIZE, FRONTIER), (EXTCODEHASH, PETERSBURG)];

/// Call opcodes: whether they take a value, and the fork.
pub const CALLS: [(u8, bool, SpecId); 4] = [
    (CALL, true, FRONTIER),
    (CALLCODE, true, FRONTIER),
    (DELEGATECALL, false, HOMESTEAD),
    (STATICCALL, false, BYZANTIUM),
];

/// The fork that activates an opcode of no list above; `None` if all forks lack it.
pub fn activation(opcode: u8) -> Option<SpecId> {
    let pure = PURE.iter().find(|entry| entry.0 == opcode).map(|entry| entry.2);
    let nullary = NULLARY.iter().chain(&OF_ADDRESS).find(|entry| entry.0 == opcode).map(|e| e.1);
    let call = CALLS.iter().find(|entry| entry.0 == opcode).map(|entry| entry.2);
    pure.or(nullary).or(call).or(match opcode {
        RETURNDATACOPY | REVERT => Some(BYZANTIUM),
        CREATE2 => Some(PETERSBURG),
        TSTORE | MCOPY => Some(CANCUN),
        DUPN | SWAPN | EXCHANGE => Some(AMSTERDAM),
        _ => OpCode::new(opcode).map(|_| FRONTIER),
    })
}

/// Whether a fork has an opcode.
pub fn available(opcode: u8, spec: SpecId) -> bool {
    activation(opcode).is_some_and(|fork| spec.is_enabled_in(fork))
}
