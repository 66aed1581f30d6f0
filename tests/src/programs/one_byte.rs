//! Programs around one byte of which nothing is assumed: whatever it is, what it leaves is returned.

use super::values::PEERS;
use crate::{
    assembly::{Assembly, Item, push_item},
    case::TARGET,
};
use alloy_primitives::U256;
use revm::bytecode::opcode::*;

/// Words as calldata.
pub fn calldata(values: &[U256]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes::<32>()).collect()
}

/// Stack contents, top first, for an opcode of which nothing is assumed.
pub fn operand_sets() -> [[U256; 7]; 3] {
    let peer: U256 = PEERS[0].into_word().into();
    let small = [32u64, 3, 7, 0, 5, 64, 1].map(U256::from);
    // As CALL takes them: gas, address, value, input, output.
    let call = [
        U256::from(60_000),
        peer,
        U256::from(1),
        U256::ZERO,
        U256::from(36),
        U256::from(64),
        U256::from(32),
    ];
    let self_call: U256 = TARGET.into_word().into();
    let large =
        [self_call, U256::MAX, U256::MAX, U256::ZERO, U256::ONE << 64, U256::MAX, U256::ZERO];
    [small, call, large]
}

/// Code that puts 24 words and then the operands on the stack, runs one byte with a possible
/// immediate, and returns gas, memory size and the five top words.
pub fn one_byte(byte: u8, operands: &[U256; 7], constant: bool) -> Vec<u8> {
    let mut asm = Assembly::new();
    for index in 0..24 {
        asm = asm.push(1000 + index);
    }
    for (index, operand) in operands.iter().enumerate().rev() {
        asm = if constant {
            asm.item(push_item(*operand))
        } else {
            asm.push(32 * index).op(CALLDATALOAD)
        };
    }
    asm = asm.item(Item::Raw(vec![byte]));
    // JUMPDESTs: immediates of PUSH, and harmless otherwise.
    asm = asm.raw([JUMPDEST; 33]).op(GAS).op(MSIZE);
    for index in 0..7 {
        asm = asm.push(32 * index).op(MSTORE);
    }
    asm.push(32 * 7).push(0).op(RETURN).code()
}
