//! Programs on which native code once was anything but exact: unlimited gas, memory out of bounds,
//! other loads. Each shows its kind at few limits of gas only, or in few states.

use crate::assembly::Assembly;
use revm::bytecode::opcode::*;
use std::iter;

/// A cold slot, and a byte of what is there: after the first the gas may not suffice for what comes
/// in the block, and the second, by a constant, looks at no gas.
fn owing(padding: usize) -> Assembly {
    let asm = Assembly::new().push(7).op(SLOAD).push(5).op(BYTE);
    (0..padding).fold(asm, |asm, _| asm.ops(&[PUSH0, POP]))
}

/// A debt of gas at a branch.
pub fn debt_at_branch(padding: usize) -> Vec<u8> {
    let mut asm = owing(padding);
    let end = asm.new_label();
    asm.push_label(end).op(JUMPI).op(STOP).label(end).op(STOP).code()
}

/// A debt of gas before an endless loop.
pub fn debt_before_loop() -> Vec<u8> {
    let mut asm = owing(100);
    let top = asm.new_label();
    asm.push_label(top).op(JUMPI).label(top).push_label(top).op(JUMP).code()
}

/// A debt of gas before a computed jump to a store.
pub fn debt_before_store() -> Vec<u8> {
    let mut asm = owing(130);
    let (store, end) = (asm.new_label(), asm.new_label());
    let asm = asm.push_label(store).op(ADD).op(JUMP).label(store).op(PUSH0).push_label(end);
    asm.op(JUMPI).push(1).push(1).op(SSTORE).op(STOP).label(end).op(STOP).code()
}

/// The contract's first block, which reads and writes memory where the word at its end is jumped
/// to, and is run a second time, from a path that `path` starts.
fn first_block_twice(between: &[u8], path: impl FnOnce(Assembly) -> Assembly) -> Vec<u8> {
    let mut asm = Assembly::new();
    let (start, again) = (asm.new_label(), asm.new_label());
    let asm = asm.label(start).push_label(again).op(PUSH0).op(DUP2).push(1).op(PUSH0).op(MLOAD);
    let asm = asm.op(MSTORE).ops(between).op(JUMP);
    let filled = asm.code().len();
    path(asm.raw(vec![STOP; 0x100 - filled]).label(again)).code()
}

/// Instructions that take gas, so that the head of a path can't be paid where its end can.
fn dear() -> Vec<u8> {
    iter::once(PUSH0).chain([TLOAD; 30]).chain([POP]).collect()
}

/// A store far beyond memory, with instructions before it that take much gas, or not.
pub fn far_store(is_dear: bool) -> Vec<u8> {
    let between = if is_dear { dear() } else { vec![] };
    first_block_twice(&between, |asm| {
        let asm = asm.push(7).push(0x3f00_0000).op(MSTORE);
        asm.push(0x4000_0000).op(PUSH0).op(MSTORE).op(JUMP)
    })
}

/// A load beyond memory that becomes a slot.
pub fn load_that_becomes_slot() -> Vec<u8> {
    first_block_twice(&dear(), |asm| {
        let asm = asm.push(0x1000).op(MLOAD).op(SLOAD).op(POP);
        asm.push(0x1_0000).op(PUSH0).op(MSTORE).op(JUMP)
    })
}

/// Growth of memory that a slot comes after.
pub fn growth_before_slot() -> Vec<u8> {
    first_block_twice(&dear(), |asm| {
        let asm = asm.push(7).push(0x8000).op(MSTORE).op(PUSH0).op(SLOAD).op(POP);
        asm.push(0x2_0000).op(PUSH0).op(MSTORE).op(JUMP)
    })
}

/// Code that may jump to both of two blocks, and goes to the second: `zero` is what makes a
/// computed word of zero.
pub fn to_the_second([first, second]: [&[u8]; 2], zero: &[u8], prefix: &[u8]) -> Vec<u8> {
    let mut asm = Assembly::new().raw(prefix);
    let (one, two) = (asm.new_label(), asm.new_label());
    let asm = asm.push_label(one).op(ISZERO).op(POP).push_label(two).ops(zero).op(JUMP);
    let asm = asm.raw(vec![STOP; 244]).label(one).raw(first).label(two);
    asm.raw(second).code()
}

/// Two blocks that load a slot before and after they find the stack too low.
pub const SLOT_FIRST: &[u8] = &[POP, CALLER, PUSH0, SLOAD, POP, POP, STOP];
/// See [`SLOT_FIRST`].
pub const SLOT_LAST: &[u8] = &[CALLER, POP, PUSH0, SLOAD, POP, POP, STOP];

/// Two blocks that load a slot before and after they find the stack too high.
pub fn too_high() -> [Vec<u8>; 2] {
    let slot = [PUSH0, SLOAD, POP];
    let low = [PUSH0, POP].repeat(6);
    let high = [[PUSH0; 6], [POP; 6]].concat();
    [[&low[..], &slot, &high, &[STOP]].concat(), [&high[..], &slot, &low, &[STOP]].concat()]
}

/// All of them, with names.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let adds_zero = [CALLDATASIZE, ADD];
    let [one, two] = too_high();
    let low = [SLOT_FIRST, SLOT_LAST];
    // The same, going on at the bottom word.
    let jumping = low.map(|block| [&block[..block.len() - 1], &[JUMP]].concat());
    vec![
        ("a debt at a branch", debt_at_branch(0)),
        ("a debt at a distant branch", debt_at_branch(100)),
        ("a debt before an endless loop", debt_before_loop()),
        ("a debt before a store", debt_before_store()),
        ("a store far beyond memory", far_store(false)),
        ("a store far beyond memory, dear", far_store(true)),
        ("a load that becomes a slot", load_that_becomes_slot()),
        ("growth before a slot", growth_before_slot()),
        ("the stack too low", to_the_second(low, &adds_zero, &[])),
        ("the stack too high", to_the_second([&one, &two], &adds_zero, &[CALLDATASIZE; 1020])),
        ("the stack too low, jumping", to_the_second([&jumping[0], &jumping[1]], &adds_zero, &[])),
    ]
}
