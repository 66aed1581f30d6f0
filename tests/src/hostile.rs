//! Codes made to be costly to compile, of any length: one for each thing whose cost isn't obviously
//! in proportion to the bytes.
//!
//! Each is dense: it repeats, as often as the length allows, the shortest code that makes a pass or
//! the translator do its worst. Whether it would run far doesn't matter, for code is compiled as a
//! whole. The tests count the work that these make ([`ALL`] at two lengths), and
//! `benches/hostile.rs` measures the time. Self-contained, so that the tests of `passes` use it
//! too.

/// A way to make costly code.
#[derive(Clone, Copy, Debug)]
pub struct Hostile {
    /// What is dense in it.
    pub name: &'static str,
    /// Makes code of a length in bytes, at most a unit shorter.
    pub code: fn(usize) -> Vec<u8>,
}

const ADD: u8 = 0x01;
const MUL: u8 = 0x02;
const SIGNEXTEND: u8 = 0x0b;
const NOT: u8 = 0x19;
const CALLVALUE: u8 = 0x34;
const CALLDATALOAD: u8 = 0x35;
const CALLDATASIZE: u8 = 0x36;
const POP: u8 = 0x50;
const MLOAD: u8 = 0x51;
const MSTORE: u8 = 0x52;
const MSTORE8: u8 = 0x53;
const SLOAD: u8 = 0x54;
const JUMP: u8 = 0x56;
const JUMPI: u8 = 0x57;
const PC: u8 = 0x58;
const MSIZE: u8 = 0x59;
const GAS: u8 = 0x5a;
const JUMPDEST: u8 = 0x5b;
const PUSH0: u8 = 0x5f;
const PUSH1: u8 = 0x60;
const PUSH2: u8 = 0x61;
const PUSH3: u8 = 0x62;
const DUP1: u8 = 0x80;
const DUP2: u8 = 0x81;
const SWAP1: u8 = 0x90;
const SWAP16: u8 = 0x9f;
const CALL: u8 = 0xf1;

/// Bytes of a pushed pc, the opcode included, in code of up to 64 KiB and in longer code.
const fn label_bytes(len: usize) -> usize {
    if len <= 0x1_0000 { 3 } else { 4 }
}

/// Code under construction.
struct Code {
    bytes: Vec<u8>,
    len: usize,
}

impl Code {
    fn new(len: usize) -> Self {
        Self { bytes: Vec::with_capacity(len), len }
    }

    /// The code of units; each gets its number, its pc, and the pcs that it may push.
    fn of_units(len: usize, unit_bytes: usize, mut unit: impl FnMut(&mut Self, usize)) -> Vec<u8> {
        let mut code = Self::new(len);
        for index in 0..len / unit_bytes {
            let start = code.pc();
            unit(&mut code, index);
            debug_assert_eq!(code.pc() - start, unit_bytes, "unit {index}");
        }
        code.bytes
    }

    fn pc(&self) -> usize {
        self.bytes.len()
    }

    fn ops(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Pushes a pc in [`label_bytes`] bytes.
    fn push_label(&mut self, pc: usize) {
        let pc = (pc as u32).to_be_bytes();
        match label_bytes(self.len) {
            3 => {
                self.bytes.push(PUSH2);
                self.bytes.extend_from_slice(&pc[2..]);
            }
            _ => {
                self.bytes.push(PUSH3);
                self.bytes.extend_from_slice(&pc[1..]);
            }
        }
    }
}

fn repeat(unit: &[u8], len: usize) -> Vec<u8> {
    unit.repeat(len / unit.len())
}

/// Code that repeats a unit, as a function of the length.
macro_rules! repeated {
    ($name:literal: $($byte:expr),+) => {
        Hostile { name: $name, code: |len| repeat(&[$($byte),+], len) }
    };
}

/// A number below `end` that looks random.
fn scatter(index: usize, end: usize) -> usize {
    (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % end.max(1)
}

/// All of them.
pub const ALL: &[Hostile] = &[
    repeated!("JUMPDESTs": JUMPDEST),
    repeated!("MUL of words on the stack": MUL),
    repeated!("MUL of one word": DUP1, MUL),
    repeated!("loads at unknown offsets": MLOAD),
    repeated!("stores at unknown offsets": MSTORE),
    repeated!("stores of bytes at unknown offsets": MSTORE8),
    repeated!("stores at one unknown offset": DUP2, DUP2, MSTORE),
    repeated!("memory growth by its size": MSIZE, MLOAD),
    repeated!("words that stay on the stack": CALLVALUE),
    repeated!("words that stay over calls": CALLVALUE, MSIZE, MLOAD),
    repeated!("calldata at unknown offsets": CALLDATALOAD),
    repeated!("storage": SLOAD),
    repeated!("sign extension by a word": SIGNEXTEND),
    repeated!("sign extension by constants": PUSH1, 23, SIGNEXTEND, PUSH1, 7, SIGNEXTEND, NOT),
    repeated!("calls": CALL),
    repeated!("computed branches": JUMPI),
    repeated!("computed branches to one word": GAS, DUP2, JUMPI),
    repeated!("computed branches at JUMPDESTs": JUMPDEST, DUP1, JUMPI),
    repeated!("computed jumps at JUMPDESTs": JUMPDEST, PUSH0, CALLDATALOAD, JUMP),
    repeated!("swaps of deep words": SWAP16, DUP1, MLOAD, POP),
    Hostile { name: "memory growth by constants", code: growth },
    Hostile { name: "swaps and branches", code: swaps_and_branches },
    Hostile { name: "a chain of jumps under a deep stack", code: deep_chain },
    Hostile { name: "a table of all jump targets", code: table },
    Hostile { name: "branches to scattered targets", code: scattered_branches },
    Hostile { name: "branches at contradicting heights", code: contradicting_heights },
    Hostile { name: "cycles with two entries", code: irreducible },
    Hostile { name: "loops of one block", code: small_loops },
    Hostile { name: "nested loops", code: nested_loops },
    Hostile { name: "exits from a loop", code: loop_exits },
    Hostile { name: "calls of one short function", code: calls_of_one },
    Hostile { name: "a web of calls", code: web_of_calls },
    Hostile { name: "returns that pass on addresses", code: returns_of_returns },
    Hostile { name: "equal blocks", code: equal_blocks },
    Hostile { name: "blocks that are nearly equal", code: nearly_equal_blocks },
    Hostile { name: "many words over small blocks", code: carried_words },
];

/// Each store grows memory by a page, as no check covers the next.
fn growth(len: usize) -> Vec<u8> {
    Code::of_units(len, 6, |code, index| {
        let [.., a, b, c] = (4096 * (index as u32 + 1)).to_be_bytes();
        code.ops(&[PUSH3, a, b, c, DUP1, MSTORE]);
    })
}

/// Blocks that move all seventeen words in reach, with a branch at the end of each.
fn swaps_and_branches(len: usize) -> Vec<u8> {
    let label = label_bytes(len);
    Code::of_units(len, 16 + label + 3, |code, _| {
        let start = code.pc();
        code.ops(&[JUMPDEST]);
        (SWAP1..=SWAP16).for_each(|swap| code.ops(&[swap]));
        code.ops(&[GAS]);
        code.push_label(start);
        code.ops(&[JUMPI]);
    })
}

/// Under a thousand words, each jump leads to the next one, with a word moved in between.
fn deep_chain(len: usize) -> Vec<u8> {
    let mut code = Code::new(len);
    code.ops(&[PC; 1000]);
    let unit = label_bytes(len) + 3;
    while code.pc() + unit <= len {
        let next = code.pc() + unit - 1;
        code.ops(&[SWAP16]);
        code.push_label(next);
        code.ops(&[JUMP, JUMPDEST]);
    }
    code.bytes
}

/// Pushes the pc of each JUMPDEST, so that a computed jump may lead to any of them.
fn table(len: usize) -> Vec<u8> {
    let unit = label_bytes(len);
    let count = len / (unit + 1);
    let mut code = Code::new(len);
    let first = count * unit;
    (0..count).for_each(|index| code.push_label(first + index));
    code.ops(&vec![JUMPDEST; count]);
    code.bytes
}

/// Each block may branch to any other.
fn scattered_branches(len: usize) -> Vec<u8> {
    let unit = label_bytes(len) + 3;
    let count = len / unit;
    Code::of_units(len, unit, |code, index| {
        code.ops(&[JUMPDEST, GAS]);
        code.push_label(scatter(index, count) * unit);
        code.ops(&[JUMPI]);
    })
}

/// The same, but the stack grows by a word in each block: no two ways lead in at one height.
fn contradicting_heights(len: usize) -> Vec<u8> {
    let unit = label_bytes(len) + 4;
    let count = len / unit;
    Code::of_units(len, unit, |code, index| {
        code.ops(&[JUMPDEST, GAS, GAS]);
        code.push_label(scatter(index, count) * unit);
        code.ops(&[JUMPI]);
    })
}

/// Pairs of blocks that branch to each other, both of which are entered from the pair before.
fn irreducible(len: usize) -> Vec<u8> {
    let block = label_bytes(len) + 4;
    Code::of_units(len, 2 * block, |code, index| {
        let (a, b) = (code.pc(), code.pc() + block);
        // From each, to the other or on to the pair's second block, then to the next pair's.
        for target in [b, if index.is_multiple_of(2) { a } else { b + block }] {
            code.ops(&[JUMPDEST, SWAP1, GAS]);
            code.push_label(target);
            code.ops(&[JUMPI]);
        }
    })
}

/// Each block is a loop that carries four words.
fn small_loops(len: usize) -> Vec<u8> {
    let unit = label_bytes(len) + 6;
    Code::of_units(len, unit, |code, _| {
        let start = code.pc();
        code.ops(&[JUMPDEST, ADD, 0x92, 0x91, GAS]);
        code.push_label(start);
        code.ops(&[JUMPI]);
    })
}

/// As many loops as fit, one inside the other.
fn nested_loops(len: usize) -> Vec<u8> {
    let close = label_bytes(len) + 2;
    // One byte opens a loop: a word is read there, so that it isn't one block with the next.
    let count = len / (close + 3);
    let mut code = Code::new(len);
    for _ in 0..count {
        code.ops(&[JUMPDEST, SWAP1, ADD]);
    }
    for index in (0..count).rev() {
        code.ops(&[GAS]);
        code.push_label(3 * index);
        code.ops(&[JUMPI]);
    }
    code.bytes
}

/// Loops whose words are in registers, with as many ways out as fit: each writes them back.
fn loop_exits(len: usize) -> Vec<u8> {
    let exit = label_bytes(len) + 2;
    let unit = 9 * exit + 8;
    Code::of_units(len, unit, |code, _| {
        let (start, end) = (code.pc(), code.pc() + unit - 2);
        code.ops(&[JUMPDEST, ADD, 0x92, 0x91, 0x90]);
        for exit in 0..9 {
            code.ops(&[GAS]);
            code.push_label(if exit == 8 { start } else { end });
            code.ops(&[JUMPI]);
        }
        code.ops(&[SWAP1, JUMPDEST, NOT]);
    })
}

/// One function, as long as may be copied, and calls of it.
fn calls_of_one(len: usize) -> Vec<u8> {
    let label = label_bytes(len);
    let mut code = Code::new(len);
    code.push_label(label + 50);
    code.ops(&[JUMP]);
    let function = code.pc();
    code.ops(&[JUMPDEST]);
    code.ops(&[NOT; 40]);
    code.ops(&[SWAP1, JUMP]);
    code.ops(&vec![JUMPDEST; label + 50 - code.pc()]);
    code.ops(&[JUMPDEST]);
    let call = 2 * label + 3;
    while code.pc() + call <= len {
        let back = code.pc() + call - 1;
        code.push_label(back);
        code.ops(&[SWAP1]);
        code.push_label(function);
        code.ops(&[JUMP, JUMPDEST]);
    }
    code.bytes
}

/// Functions that each call two others before they return, so that following the calls would
/// take exponential time.
fn web_of_calls(len: usize) -> Vec<u8> {
    let label = label_bytes(len);
    let unit = 1 + 2 * (2 * label + 2) + 1;
    let count = len / unit;
    Code::of_units(len, unit, |code, index| {
        code.ops(&[JUMPDEST]);
        for callee in [index + 1, index + 2] {
            let back = code.pc() + 2 * label + 1;
            code.push_label(back);
            code.push_label((callee % count) * unit);
            code.ops(&[JUMP, JUMPDEST]);
        }
        code.ops(&[JUMP]);
    })
}

/// Each block returns to the address below the one that it pushes for the next.
fn returns_of_returns(len: usize) -> Vec<u8> {
    let label = label_bytes(len);
    let unit = 2 * label + 3;
    let count = len / unit;
    Code::of_units(len, unit, |code, index| {
        code.ops(&[JUMPDEST]);
        code.push_label(((index + 1) % count) * unit);
        code.push_label(scatter(index, count) * unit);
        code.ops(&[SWAP1, JUMP]);
    })
}

/// Blocks of which the next merges into the one before once their own targets are merged.
fn equal_blocks(len: usize) -> Vec<u8> {
    let label = label_bytes(len);
    let unit = label + 4;
    let count = len / unit;
    Code::of_units(len, unit, |code, index| {
        code.ops(&[JUMPDEST, DUP1, SLOAD]);
        let next = if index + 2 < count { index + 2 } else { 0 };
        code.push_label(next * unit);
        code.ops(&[JUMP]);
    })
}

/// Blocks that differ in one constant, entered from anywhere.
fn nearly_equal_blocks(len: usize) -> Vec<u8> {
    let label = label_bytes(len);
    Code::of_units(len, label + 6, |code, index| {
        let next = code.pc() + label + 6;
        code.ops(&[JUMPDEST, DUP1, PUSH1, (index % 251) as u8, SLOAD]);
        code.push_label(next);
        code.ops(&[JUMP]);
    })
}

/// After a block that reads many words, blocks so small that remembering them is all the work.
fn carried_words(len: usize) -> Vec<u8> {
    const BLOCKS: usize = 50;
    let block = label_bytes(len) + 2;
    Code::of_units(len, 64 + BLOCKS * block, |code, _| {
        let start = code.pc();
        (0..32).for_each(|_| code.ops(&[CALLDATASIZE, NOT]));
        for _ in 0..BLOCKS {
            code.ops(&[GAS]);
            code.push_label(start);
            code.ops(&[JUMPI]);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_length_asked_for() {
        for Hostile { name, code } in ALL {
            for len in [24 << 10, 128 << 10] {
                let found = code(len).len();
                assert!(found <= len && found + 512 > len, "{name}: {found} of {len}");
            }
        }
    }
}
