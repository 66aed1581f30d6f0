//! Words that are made up, and the memory that both forms of a block work on.

use alloy_primitives::U256;
use std::collections::HashMap;

/// Trials of a block, and of one in code that is longer than any fork's contracts.
const TRIALS: [u64; 2] = [7, 1];

/// Words that rules are likely to go wrong at: lengths, signs, limbs, and offsets near the memory
/// that compilers of contracts use.
const EDGES: [u64; 16] = [0, 1, 2, 3, 31, 32, 33, 63, 64, 65, 96, 128, 255, 256, 1 << 63, u64::MAX];

/// The words of one trial that don't come from the block: the same whenever asked for.
pub(super) struct MadeUp {
    trial: u64,
    seed: u64,
    /// The constants of the block.
    constants: Vec<U256>,
}

impl MadeUp {
    /// All trials of a block with these constants.
    pub(super) fn trials(
        seed: u32,
        is_long: bool,
        constants: Vec<U256>,
    ) -> impl Iterator<Item = Self> {
        let seed = u64::from(seed);
        (0..TRIALS[usize::from(is_long)]).map(move |trial| Self {
            trial,
            seed,
            constants: constants.clone(),
        })
    }

    /// The word in a stack slot where the block begins.
    pub(super) fn in_slot(&self, slot: i16) -> U256 {
        self.word(slot.cast_unsigned().into())
    }

    /// The result of the opcode at an index of the block, of at most so many bits.
    pub(super) fn result(&self, index: usize, bits: u16) -> U256 {
        let word = self.word(1 << 32 | index as u64);
        match 256 - usize::from(bits) {
            256 => U256::ZERO,
            missing => word << missing >> missing,
        }
    }

    fn word(&self, key: u64) -> U256 {
        let key = mixed(key ^ mixed(self.seed ^ mixed(self.trial)));
        let random = U256::from_limbs([1, 2, 3, 4].map(|limb| mixed(key ^ limb)));
        let edge = U256::from(EDGES[key as usize % EDGES.len()]);
        let choice = key >> 32;
        match self.trial {
            0 => random,
            1 => U256::ZERO,
            // Equal to each other.
            2 => U256::from(mixed(self.seed)),
            3 => U256::from(choice % 3),
            4 if choice.is_multiple_of(2) => edge,
            4 => edge.wrapping_neg(),
            // Of any length.
            5 => random >> (choice % 256) as usize,
            _ => match self.constants.get(choice as usize % self.constants.len().max(1)) {
                Some(&constant) => constant.wrapping_add(edge >> 59).wrapping_sub(U256::from(15)),
                None => edge,
            },
        }
    }
}

/// Mixes all bits (the finalizer of SplitMix64).
fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Which of the two is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The opcodes as the bytes have them.
    Bytes,
    /// The instructions of the program.
    Program,
}

/// Bytes of a word.
const WORD: usize = 32;

/// Memory as both forms have it.
pub(super) struct Memory {
    seed: u64,
    /// Words that were written to since all was forgotten, by their numbers, in both forms.
    words: HashMap<U256, [[u8; WORD]; 2]>,
    /// How many of them aren't the same.
    differing: usize,
    /// How far the accesses of each form reach, in words.
    reach: [U256; 2],
}

impl Memory {
    pub(super) fn new(made_up: &MadeUp) -> Self {
        let seed = mixed(made_up.seed ^ made_up.trial);
        Self { seed, words: HashMap::new(), differing: 0, reach: [U256::ZERO; 2] }
    }

    pub(super) fn load(&mut self, form: Form, offset: U256) -> U256 {
        self.extend(form, offset, WORD);
        let (index, first) = place(offset);
        let known = |index| match self.words.get(&index) {
            Some(both) => both[form as usize],
            None => unwritten(self.seed, index),
        };
        let mut bytes = known(index);
        if first != 0 {
            bytes.copy_within(first.., 0);
            bytes[WORD - first..].copy_from_slice(&known(following(index))[..first]);
        }
        U256::from_be_bytes(bytes)
    }

    /// Stores at most a word.
    pub(super) fn store(&mut self, form: Form, offset: U256, bytes: &[u8]) {
        self.extend(form, offset, bytes.len());
        let (index, first) = place(offset);
        let (low, high) = bytes.split_at(bytes.len().min(WORD - first));
        self.write(form, index, first, low);
        if !high.is_empty() {
            self.write(form, following(index), 0, high);
        }
    }

    /// Writes to a part of a word.
    fn write(&mut self, form: Form, index: U256, first: usize, bytes: &[u8]) {
        let seed = self.seed;
        let both = self.words.entry(index).or_insert_with(|| [unwritten(seed, index); 2]);
        self.differing -= usize::from(both[0] != both[1]);
        both[form as usize][first..first + bytes.len()].copy_from_slice(bytes);
        self.differing += usize::from(both[0] != both[1]);
    }

    /// Whether both forms have the same bytes everywhere.
    pub(super) const fn is_alike(&self) -> bool {
        self.differing == 0
    }

    /// Whether both forms have grown memory equally far.
    pub(super) fn reaches_alike(&self) -> bool {
        self.reach[0] == self.reach[1]
    }

    /// Memory of which both forms know equally little, after an instruction that writes to it.
    pub(super) fn forget(&mut self) {
        self.words.clear();
        self.seed = mixed(self.seed);
    }

    fn extend(&mut self, form: Form, offset: U256, len: usize) {
        let end = offset.saturating_add(U256::from(len + WORD - 1)) >> 5;
        let reach = &mut self.reach[form as usize];
        *reach = (*reach).max(end);
    }
}

/// The word in which an offset is, and where in it.
fn place(offset: U256) -> (U256, usize) {
    (offset >> 5, offset.as_limbs()[0] as usize % WORD)
}

/// The word after another, the first after the last.
fn following(index: U256) -> U256 {
    (index + U256::from(1)) << 5 >> 5
}

/// A word that the block hasn't written.
fn unwritten(seed: u64, index: U256) -> [u8; WORD] {
    let key = mixed(index.as_limbs()[0] ^ seed);
    U256::from_limbs([1, 2, 3, 4].map(|limb| mixed(key ^ limb))).to_be_bytes()
}
