//! Bytecode for tests: seeded, so that a failure can be repeated.

#![allow(dead_code, reason = "each test binary uses a part")]

use revm_primitives::hardfork::SpecId;

pub(crate) mod oracle;

/// All forks.
pub(crate) fn specs() -> impl Iterator<Item = SpecId> {
    (0..=SpecId::NEXT as u8).filter_map(SpecId::try_from_u8)
}

/// A xorshift generator; deterministic and good enough to spread over the opcodes.
pub(crate) struct Random(u64);

impl Random {
    /// A generator of its own sequence for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }

    /// Bytes of any value.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Instructions of which few end a block, with jumps to likely targets.
    pub(crate) fn instructions(&mut self, len: usize) -> Vec<u8> {
        const STRAIGHT: &[u8] = &[
            0x01, 0x0a, 0x15, 0x16, 0x1e, 0x30, 0x35, 0x37, 0x38, 0x50, 0x50, 0x51, 0x52, 0x54,
            0x55, 0x58, 0x5a, 0x5e, 0x5f, 0x60, 0x61, 0x80, 0x81, 0x84, 0x8f, 0x90, 0x91, 0x95,
            0x9f, 0xa2, 0xe6, 0xe7, 0xe8,
        ];
        const ENDS: &[u8] = &[0x00, 0x0c, 0x56, 0x57, 0x5b, 0x5b, 0xf0, 0xf1, 0xf3, 0xfa, 0xfd];
        let mut code = Vec::with_capacity(len + 4);
        while code.len() < len {
            match self.below(16) {
                0 => code.push(ENDS[self.below(ENDS.len())]),
                1 => {
                    let target = self.below(len) as u16;
                    code.push(0x61);
                    code.extend(target.to_be_bytes());
                    code.push(0x56 + (self.below(2) as u8));
                }
                2 => code.extend(self.bytes(1)),
                _ => code.push(STRAIGHT[self.below(STRAIGHT.len())]),
            }
        }
        code.truncate(len);
        code
    }
}
