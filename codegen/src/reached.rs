//! The basic blocks of a contract that frames were seen in: what is worth compiling of it.
//!
//! A block begins where frames come in (the contract's start, behind a call), at a JUMPDEST, and
//! behind a JUMPI that isn't taken. Code is laid out in the order in which they were first seen.
//!
//! It is a guess at what will run, and nothing rests on it: code of any set of blocks, and of what
//! isn't even a block, does what the interpreter does, and hands over where it ends.
//!
//! Cost: a bit for each byte of the contract, and four bytes for each block; a look at a bit where a
//! block begins, and for each new one a walk over it. The first who compiles them has the contract
//! searched for its jump targets.

use revm_bytecode::opcode;
use std::sync::OnceLock;

/// A set of basic blocks, in the order in which they were first seen.
#[derive(Clone, Debug)]
pub struct Reached {
    /// Whether a block that begins at a pc is in the set.
    blocks: Box<[u64]>,
    /// Valid jump targets, once somebody has asked for them.
    jumpdests: OnceLock<Box<[u64]>>,
    /// Where blocks of the set begin, but for those that are come to by an untaken branch alone.
    heads: Vec<u32>,
    /// Bytes of the set's blocks.
    bytes: usize,
    /// Bytes of the contract.
    code_len: usize,
}

impl Reached {
    /// The block that a contract begins with.
    pub fn new(code: &[u8]) -> Self {
        let mut reached = Self {
            blocks: vec![0; words(code)].into(),
            jumpdests: OnceLock::new(),
            heads: Vec::new(),
            bytes: 0,
            code_len: code.len(),
        };
        reached.enter(code, 0);
        reached
    }

    /// A frame came to a JUMPDEST, or came in here. `code` is the contract's.
    #[inline]
    pub fn enter(&mut self, code: &[u8], pc: usize) {
        if !self.contains(pc) && self.add(code, pc) {
            self.heads.push(pc as u32);
        }
    }

    /// A frame came here by a JUMPI that wasn't taken. `code` is the contract's.
    #[inline]
    pub fn fall(&mut self, code: &[u8], pc: usize) {
        if code.get(pc) == Some(&opcode::JUMPDEST) {
            self.enter(code, pc);
        } else if !self.contains(pc) {
            self.add(code, pc);
        }
    }

    /// Adds a block; `false` if there can't be one more.
    #[cold]
    fn add(&mut self, code: &[u8], pc: usize) -> bool {
        if code.len() != self.code_len || pc >= code.len() {
            return false;
        }
        // Blocks don't overlap. What does isn't one, and there may be any number of such.
        let bytes = self.bytes + block_len(&code[pc..]);
        if bytes > self.code_len {
            return false;
        }
        self.bytes = bytes;
        set(&mut self.blocks, pc);
        true
    }

    /// Whether the block that begins at a pc is in the set.
    #[inline]
    pub fn contains(&self, pc: usize) -> bool {
        self.blocks.get(pc / 64).is_some_and(|word| word >> (pc % 64) & 1 != 0)
    }

    /// Where blocks of the set begin, but for those that are come to by an untaken branch alone, in
    /// the order in which they were first seen.
    pub fn heads(&self) -> &[u32] {
        &self.heads
    }

    /// The valid jump targets of the contract, as bits by pc. `code` is the contract's.
    pub fn jumpdests(&self, code: &[u8]) -> &[u64] {
        self.jumpdests.get_or_init(|| jumpdests(code))
    }

    /// Bytes of the blocks.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the contract.
    pub const fn code_len(&self) -> usize {
        self.code_len
    }
}

/// Words of a bit for each pc.
const fn words(code: &[u8]) -> usize {
    code.len() / 64 + 1
}

/// As revm's `analyze_legacy` finds them.
fn jumpdests(code: &[u8]) -> Box<[u64]> {
    let mut jumpdests = vec![0; words(code)];
    let mut pc = 0;
    while let Some(&byte) = code.get(pc) {
        if byte == opcode::JUMPDEST {
            set(&mut jumpdests, pc);
        }
        pc += 1 + immediate_len(byte);
    }
    jumpdests.into()
}

fn set(bits: &mut [u64], pc: usize) {
    bits[pc / 64] |= 1 << (pc % 64);
}

/// Bytes behind an opcode that aren't one.
fn immediate_len(byte: u8) -> usize {
    usize::from(byte.wrapping_sub(opcode::PUSH0)) * usize::from(is_push(byte))
}

const fn is_push(byte: u8) -> bool {
    byte >= opcode::PUSH1 && byte <= opcode::PUSH32
}

/// Bytes of the block that code begins with. Of opcodes that forks may not have it takes for granted
/// that they do.
fn block_len(code: &[u8]) -> usize {
    use opcode::{
        CALL, CALLCODE, CREATE, CREATE2, DELEGATECALL, INVALID, JUMP, JUMPDEST, JUMPI, RETURN,
        REVERT, SELFDESTRUCT, STATICCALL, STOP,
    };
    let mut pc = 0;
    while let Some(&byte) = code.get(pc) {
        if byte == JUMPDEST && pc > 0 {
            return pc;
        }
        pc += 1 + immediate_len(byte);
        if matches!(
            byte,
            STOP | JUMP
                | JUMPI
                | CREATE
                | CALL
                | CALLCODE
                | RETURN
                | DELEGATECALL
                | CREATE2
                | STATICCALL
                | REVERT
                | INVALID
                | SELFDESTRUCT
        ) {
            break;
        }
    }
    pc.min(code.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PUSH1 JUMPDEST JUMPI PUSH0 STOP JUMPDEST CALL POP
    const CODE: [u8; 8] = [0x60, 0x5b, 0x57, 0x5f, 0x00, 0x5b, 0xf1, 0x50];

    #[test]
    fn blocks_are_kept_in_their_order() {
        let mut reached = Reached::new(&CODE);
        assert_eq!((reached.heads(), reached.bytes()), (&[0][..], 3));
        assert_eq!(reached.jumpdests(&CODE), [1 << 5]);
        reached.enter(&CODE, 7);
        reached.fall(&CODE, 3);
        reached.enter(&CODE, 5);
        reached.enter(&CODE, 5);
        assert_eq!((reached.heads(), reached.bytes()), (&[0, 7, 5][..], 8));
        assert_eq!(
            [0, 3, 5, 7, 1, 4].map(|pc| reached.contains(pc)),
            [true, true, true, true, false, false]
        );
    }

    #[test]
    fn what_is_no_block_is_bounded() {
        let code = [0x5f; 100];
        let mut reached = Reached::new(&code);
        (0..200).for_each(|pc| reached.enter(&code, pc));
        assert_eq!((reached.heads(), reached.bytes()), (&[0][..], 100));
        reached.enter(&CODE, 5);
        assert!(!reached.contains(5), "it is another contract's");
        assert_eq!(Reached::new(&[]).heads(), []);
    }
}
