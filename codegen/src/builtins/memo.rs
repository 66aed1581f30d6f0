//! The slots of mappings and arrays, remembered.
//!
//! At each access Solidity hashes 64 bytes, a key and the mapping's own slot, or 32, the array's
//! own slot: a token's transfer hashes the same two inputs twice each, and the next transfer often
//! one of them again; a loop over an array hashes one input all the time. A thread remembers the
//! last such hashes in a table of 16 KiB. A hit costs 17 ns, where the hash takes 246; a miss adds
//! 18.
//!
//! A remembered hash is used only for the whole same input, so what is in the table changes no
//! result. Inputs made to collide in it cost what they cost without it.

use super::hash::keccak256;
use revm_primitives::B256;
use std::cell::RefCell;

/// Hashes remembered; a power of two.
const ENTRIES: usize = 128;

#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
struct Entry {
    /// Padded with zeros.
    input: [u64; 8],
    hash: B256,
    /// Bytes of the input; 0 in an entry that holds none.
    len: u8,
}

thread_local! {
    static MEMO: RefCell<[Entry; ENTRIES]> =
        const { RefCell::new([Entry { input: [0; 8], hash: B256::ZERO, len: 0 }; ENTRIES]) };
}

/// The Keccak-256 hash of `LEN` bytes: 32 or 64.
#[inline]
pub(super) fn keccak256_of<const LEN: usize>(bytes: &[u8; LEN]) -> B256 {
    const { assert!(LEN == 32 || LEN == 64) };
    let mut input = [0; 8];
    for (word, &bytes) in input.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(bytes);
    }
    MEMO.with_borrow_mut(|entries| {
        let entry = &mut entries[index(&input[..LEN / 8])];
        if !(entry.len == LEN as u8 && entry.input == input) {
            *entry = Entry { input, hash: keccak256(bytes), len: LEN as u8 };
        }
        entry.hash
    })
}

/// Where an input belongs: products of its words, folded, so that every bit counts.
#[inline]
fn index(input: &[u64]) -> usize {
    // Odd numbers without pattern: the fraction of the golden ratio, and of the root of two.
    const A: u64 = 0x9e37_79b9_7f4a_7c15;
    const B: u64 = 0x6a09_e667_f3bc_c909;
    let mixed = input.as_chunks().0.iter().fold(0, |mixed: u64, &[low, high]| {
        let product = u128::from(low ^ A) * u128::from(high ^ B);
        mixed.rotate_left(9) ^ product as u64 ^ (product >> 64) as u64
    });
    (mixed.wrapping_mul(A) >> (u64::BITS - ENTRIES.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_starts_empty() {
        // All entries start with this input.
        assert_eq!(keccak256_of(&[0; 64]), alloy_primitives::keccak256([0; 64]));
        assert_eq!(keccak256_of(&[0; 32]), alloy_primitives::keccak256([0; 32]));
    }

    #[test]
    fn a_word_is_not_its_padding() {
        for key in 0..2000_u32 {
            let mut padded = [0_u8; 64];
            padded[28..32].copy_from_slice(&key.to_be_bytes());
            let word: &[u8; 32] = padded.first_chunk().unwrap();
            assert_eq!(keccak256_of(word), alloy_primitives::keccak256(word));
            assert_eq!(keccak256_of(&padded), alloy_primitives::keccak256(padded));
            assert_eq!(keccak256_of(word), alloy_primitives::keccak256(word));
        }
    }

    #[test]
    fn hits_and_misses_equal_alloys() {
        let mut input = [0_u8; 64];
        for round in 0..40_000_usize {
            // Each input comes again after 1 and after 500 rounds, when it may have been replaced.
            input[12..16].copy_from_slice(&((round / 2 % 250) as u32).to_be_bytes());
            input[63] = (round % 3) as u8;
            assert_eq!(keccak256_of(&input), alloy_primitives::keccak256(input), "{round}");
        }
    }

    #[test]
    fn inputs_of_one_entry_replace_each_other() {
        let inputs = (0..=u16::MAX).map(|key| {
            let mut input = [0_u8; 64];
            input[..2].copy_from_slice(&key.to_be_bytes());
            input
        });
        let of = |input: &[u8; 64]| {
            let words: [u64; 8] = std::array::from_fn(|word| {
                u64::from_le_bytes(std::array::from_fn(|byte| input[8 * word + byte]))
            });
            index(&words)
        };
        let same: Vec<_> = inputs.filter(|input| of(input) == 7).take(4).collect();
        assert_eq!(same.len(), 4);
        for input in same.iter().chain(&same).chain(same.iter().rev()) {
            assert_eq!(keccak256_of(input), alloy_primitives::keccak256(input));
        }
    }

    #[test]
    fn slots_of_mappings_spread_over_the_table() {
        let mut entries = std::collections::HashSet::new();
        for key in 0..ENTRIES as u64 {
            entries.insert(index(&[0, 0, 0, key.swap_bytes(), 0, 0, 0, 3 << 56]));
        }
        // As many as of random ones: 1 - 1/e of them.
        assert!(entries.len() > ENTRIES / 2, "{} of {ENTRIES}", entries.len());
    }
}
