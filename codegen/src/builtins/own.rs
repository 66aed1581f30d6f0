//! Whether an EVM's instructions are those that compiled code stands for.
//!
//! Compiled code executes most opcodes by its own means, without a look at the EVM's table, so it
//! may only run where the table has revm's functions for them. Functions are told apart by address.
//! Those of revm are generic, so each crate of a program that makes a table has copies of its own,
//! and a table of another crate differs in all of them. Such a table is accepted, unless its
//! opcodes share functions as no table of revm's does. What follows:
//! - a replacement is found where the EVM is made in the crate that runs it, and any opcode is left
//!   as it was;
//! - one in a table that another crate has made isn't found, nor is a hook that has a function of
//!   its own for each opcode there is.
//!
//! Costs some 10 ns where the whole table is revm's, twice that where opcodes were added, and as
//! much again for another crate's table.

use revm_bytecode::opcode::{self, OpCode};
use revm_interpreter::{
    Host, Instruction, InstructionTable, instructions::instruction_table,
    interpreter::EthInterpreter,
};
use std::{ops::Range, ptr};

/// The opcodes that compiled code executes without the table, but for [`TINY`]. What isn't assigned
/// isn't among them: a chain may give it a meaning.
const COMPILED: [Range<usize>; 10] = [
    opcode::ADD as usize..opcode::SIGNEXTEND as usize + 1,
    opcode::LT as usize..opcode::CLZ as usize + 1,
    opcode::ADDRESS as usize..opcode::ADDRESS as usize + 1,
    opcode::CALLER as usize..opcode::CALLDATASIZE as usize + 1,
    opcode::CODESIZE as usize..opcode::CODESIZE as usize + 1,
    opcode::RETURNDATASIZE as usize..opcode::RETURNDATASIZE as usize + 1,
    opcode::POP as usize..opcode::MSTORE8 as usize + 1,
    opcode::JUMP as usize..opcode::GAS as usize + 1,
    opcode::PUSH0 as usize..opcode::SWAP16 as usize + 1,
    opcode::DUPN as usize..opcode::EXCHANGE as usize + 1,
];

/// Opcodes compiled as well, whose functions are so small that the Rust compiler makes a copy of
/// them for each of its units that mentions them.
const TINY: [u8; 2] = [opcode::STOP, opcode::JUMPDEST];

/// Another function as small, which tells whether two tables have the same copies.
const TINY_WITNESS: u8 = opcode::INVALID;

/// A table's functions by their addresses.
type Addresses = [usize; 256];

/// The first opcode that compiled code executes by its own means, and for which `table` is found to
/// have another instruction than revm's.
pub fn first_replaced<H: Host>(table: &InstructionTable<EthInterpreter, H>) -> Option<u8> {
    let own = addresses(const { &instruction_table::<EthInterpreter, H>() });
    let table = addresses(table);
    if table == own {
        return None;
    }
    let first = if COMPILED.into_iter().all(|range| table[range.clone()] == own[range]) {
        first_tiny(table, own)
    } else if compiled().any(|byte| table[byte] == own[byte]) {
        compiled().find(|&byte| table[byte] != own[byte])
    } else {
        first_shared(table)
    };
    first.map(|byte| byte as u8)
}

fn compiled() -> impl Iterator<Item = usize> {
    COMPILED.into_iter().flatten()
}

/// The first of the tiny ones that differs, where those of both tables are the same copies.
fn first_tiny(table: &Addresses, own: &Addresses) -> Option<usize> {
    let differs = |byte: u8| table[usize::from(byte)] != own[usize::from(byte)];
    let has_own_copies = !differs(TINY_WITNESS);
    TINY.into_iter().find(|&byte| has_own_copies && differs(byte)).map(usize::from)
}

/// The first opcode that shares its function with the one before; or any, if no two unassigned
/// bytes share theirs, as all of revm's do.
fn first_shared(table: &Addresses) -> Option<usize> {
    let is_shared = |&byte: &usize| table[byte] == table[byte - 1];
    let is_assigned = |byte: usize| OpCode::new(byte as u8).is_some();
    let mut unassigned =
        (1..table.len()).filter(|&byte| !is_assigned(byte) && !is_assigned(byte - 1));
    match unassigned.any(|byte| is_shared(&byte)) {
        true => compiled().find(is_shared),
        false => compiled().next(),
    }
}

fn addresses<H: Host>(table: &InstructionTable<EthInterpreter, H>) -> &Addresses {
    const { assert!(size_of::<Instruction<EthInterpreter, H>>() == size_of::<usize>()) };
    const { assert!(align_of::<Instruction<EthInterpreter, H>>() == align_of::<usize>()) };
    // SAFETY: an `Instruction` is a function pointer in the size and alignment of a `usize`
    // (asserted above), so none of its bytes is padding; the result borrows the table.
    unsafe { &*ptr::from_ref(table).cast::<Addresses>() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// revm's table in a crate whose code begins at `base`.
    fn table(base: usize) -> Addresses {
        std::array::from_fn(|byte| match OpCode::new(byte as u8) {
            Some(_) => base + 16 * (byte + 1),
            None => base,
        })
    }

    #[test]
    fn another_crates_table_is_accepted_but_not_one_hook_for_all() {
        let mut other = table(1 << 20);
        assert_eq!(first_shared(&other), None);
        // An opcode that a chain has added.
        other[0x0c] = 5;
        assert_eq!(first_shared(&other), None);
        assert_eq!(first_shared(&[7; 256]), Some(usize::from(opcode::ADD)));
        assert_eq!(first_shared(&std::array::from_fn(|byte| byte)), Some(usize::from(opcode::ADD)));
        other[usize::from(opcode::MUL)] = other[usize::from(opcode::ADD)];
        assert_eq!(first_shared(&other), Some(usize::from(opcode::MUL)));
    }

    #[test]
    fn tiny_functions_are_compared_where_they_can_be() {
        let own = table(0);
        let mut hooked = own;
        hooked[usize::from(opcode::JUMPDEST)] = 1;
        assert_eq!(first_tiny(&hooked, &own), Some(usize::from(opcode::JUMPDEST)));
        hooked[usize::from(TINY_WITNESS)] = 2;
        assert_eq!(first_tiny(&hooked, &own), None);
        assert_eq!(first_tiny(&own, &own), None);
    }
}
