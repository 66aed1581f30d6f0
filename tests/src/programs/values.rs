//! Operands of generated programs: constants at the edges of what instructions distinguish.

use crate::{case::SENDER, rng::Rng};
use alloy_primitives::{Address, Bytes, U256, address};

/// Contracts that generated code calls besides itself.
pub const PEERS: [Address; 2] = [Address::repeat_byte(0xc1), Address::repeat_byte(0xc2)];

/// An account without code before Prague, and delegated to the first peer since (EIP-7702).
pub const DELEGATED: Address = Address::repeat_byte(0xd7);

/// An account that doesn't exist.
const NOBODY: Address = address!("0x00000000000000000000000000000000deadbeef");

/// Numbers where some instruction changes its behaviour: word, byte and limb boundaries, signs,
/// shift and index limits, address width, powers of two.
pub fn edges() -> Vec<U256> {
    let one = U256::ONE;
    let small = [0u64, 1, 2, 3, 4, 5, 7, 8, 15, 16, 30, 31, 32, 33, 63, 64, 65, 127, 128, 129];
    let middle = [223u64, 224, 254, 255, 256, 257, 1023, 1024, 0x7fff, 0xffff, 0x1_0000];
    let large = [u32::MAX as u64, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX - 31, u64::MAX];
    let mut edges: Vec<U256> =
        [&small[..], &middle, &large].concat().into_iter().map(U256::from).collect();
    for bit in [64, 65, 96, 127, 128, 129, 159, 160, 191, 192, 193, 224, 254, 255] {
        edges.extend([(one << bit) - one, one << bit, (one << bit) + one]);
    }
    // MIN / -1 overflows; sign extension of a byte and of a limb; alternating limbs.
    edges.extend([U256::MAX, U256::MAX - one, !U256::from(0x7f), !U256::from(0xff)]);
    edges.push(U256::from_limbs([u64::MAX, 0, u64::MAX, 0]));
    edges.push(U256::from_limbs([0, u64::MAX, 0, u64::MAX]));
    edges
}

/// A few of the [`edges`], for tests that take every combination.
pub fn few_edges() -> Vec<U256> {
    let one = U256::ONE;
    let small = [0u64, 1, 2, 31, 32, 255, 256, u64::MAX].map(U256::from);
    let large = [one << 64, one << 128, one << 255, (one << 255) - one, U256::MAX];
    small.into_iter().chain(large).collect()
}

/// A word: mostly an edge, else small, random, or a random word cut to a random width.
pub fn word(rng: &mut Rng) -> U256 {
    match rng.weighted(&[45, 25, 15, 15]) {
        0 => {
            let edges = edges();
            rng.pick(&edges)
        }
        1 => U256::from(rng.below(40)),
        2 => rng.word(),
        _ => rng.word() >> rng.below(256),
    }
}

/// A memory offset or length: nearly always affordable.
pub fn offset(rng: &mut Rng) -> U256 {
    match rng.weighted(&[70, 20, 8, 2]) {
        0 => U256::from(rng.below(16) * 32),
        1 => U256::from(rng.below(600)),
        2 => U256::from(rng.below(20_000)),
        _ => word(rng),
    }
}

/// A length of a copy.
pub fn length(rng: &mut Rng) -> U256 {
    match rng.weighted(&[20, 50, 27, 3]) {
        0 => U256::ZERO,
        1 => U256::from(rng.below(70)),
        2 => U256::from(rng.below(500)),
        _ => word(rng),
    }
}

/// An address as a word: contracts, precompiles, accounts without code, garbage above 160 bits.
pub fn address_word(rng: &mut Rng) -> U256 {
    let known = [PEERS[0], PEERS[1], DELEGATED, crate::case::TARGET, SENDER, NOBODY];
    match rng.weighted(&[75, 20, 5]) {
        0 => rng.pick(&known).into_word().into(),
        1 => U256::from(rng.range(1, 18)),
        _ => rng.word(),
    }
}

/// A gas amount for a call.
pub fn call_gas(rng: &mut Rng) -> U256 {
    match rng.weighted(&[10, 25, 45, 15, 5]) {
        0 => U256::ZERO,
        1 => U256::from(rng.below(3_000)),
        2 => U256::from(rng.below(100_000)),
        3 => U256::MAX,
        _ => word(rng),
    }
}

/// The delegation designator of EIP-7702.
pub fn delegation_to(address: Address) -> Bytes {
    [&[0xef, 0x01, 0x00], address.as_slice()].concat().into()
}
