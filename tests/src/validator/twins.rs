//! Generated pairs of blocks that come to the same by different instructions, or by the same in
//! another order: what a pass may take for one and the same block, though they fail in different
//! places.
//!
//! Both begin with JUMPDEST and jump, and both may be jumped to: their offsets are pushed. Each is
//! a list of pieces that load and store, and of others that leave nothing, which stand elsewhere in
//! each.

use crate::{assembly::Assembly, rng::Rng};
use revm::bytecode::opcode::*;

/// What is done in both.
const PIECES: [&[u8]; 9] = [
    &[PUSH0, SLOAD, POP],
    &[PUSH1, 7, SLOAD, ADD],
    &[PUSH1, 1, TLOAD, XOR],
    &[DUP1, PUSH1, 0x60, MSTORE],
    &[PUSH1, 0x20, MLOAD, ADD],
    &[CALLER, BALANCE, POP],
    &[DUP2, PUSH1, 3, TSTORE],
    &[SWAP1],
    &[POP],
];

/// What leaves nothing, at a place of its own in each.
const FILLERS: [&[u8]; 7] = [
    &[PUSH0, POP],
    &[CALLER, POP],
    &[DUP1, POP],
    &[DUP3, POP],
    &[SWAP1, SWAP1],
    &[PUSH0, PUSH0, PUSH0, POP, POP, POP],
    &[CALLVALUE, ISZERO, POP],
];

/// Code with such a pair, or with three.
pub(super) fn twins(rng: &mut Rng) -> Vec<u8> {
    let pieces: Vec<&[u8]> = (0..rng.range(1, 5)).map(|_| rng.pick(&PIECES)).collect();
    let fillers: Vec<&[u8]> = (0..rng.range(0, 3)).map(|_| rng.pick(&FILLERS)).collect();
    let mut asm = Assembly::new();
    let labels: Vec<_> = (0..rng.range(2, 3)).map(|_| asm.new_label()).collect();
    let end = asm.new_label();
    // Where to is seen at run time only.
    asm = labels.iter().fold(asm, |asm, &label| asm.push_label(label).op(CALLDATASIZE).op(ADD));
    asm = asm.op(JUMP);
    let is_static = rng.percent(30);
    for label in labels {
        let mut block = pieces.clone();
        for filler in &fillers {
            block.insert(rng.below(block.len() + 1), filler);
        }
        asm = block.into_iter().fold(asm.label(label), |asm, piece| asm.raw(piece));
        asm = if is_static { asm.push_label(end).op(JUMP) } else { asm.op(JUMP) };
    }
    asm.label(end).op(STOP).code()
}
