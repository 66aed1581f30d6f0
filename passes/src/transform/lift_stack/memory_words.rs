//! What a block knows of memory: the words at constant offsets that it has stored or loaded.
//!
//! A load of such a word needs no instruction: the access before it has grown memory. A store whose
//! word is overwritten before anything could observe it is dropped, if memory was grown that far
//! before, so that neither gas nor MSIZE tell the difference. Only accesses within the block
//! count, for each begins without knowing anything.
//!
//! What may observe or change memory without these rules knowing where ends all knowledge: every
//! instruction but those that compute on the stack. So does a store at an unknown offset; a load
//! from one observes all stores, and changes nothing.
//!
//! Cost: constant for each instruction, as only so many words are remembered.

use crate::ir::entities::Value;
use crate::ir::opcode::Opcode;
use alloy_primitives::U256;

/// Most words that are remembered. The oldest is forgotten.
const MAX_WORDS: usize = 8;

/// Offsets from here on aren't followed: gas can't buy so much memory.
const MAX_OFFSET: u64 = 1 << 32;

const WORD_BYTES: u64 = 32;

/// A word of memory.
#[derive(Clone, Copy, Debug)]
struct KnownWord {
    offset: u64,
    value: Value,
    /// The instruction of the block that stored it and can be dropped if the word is overwritten.
    store: Option<usize>,
}

/// What is known of memory.
#[derive(Debug, Default)]
pub(super) struct MemoryWords {
    words: Vec<KnownWord>,
    /// Bytes that memory has at least.
    len: u64,
}

impl MemoryWords {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.len = 0;
    }

    /// The word that a load at a constant offset finds, if it is known.
    pub(super) fn loaded(&self, offset: U256) -> Option<Value> {
        let offset = followed(offset)?;
        self.words.iter().find(|word| word.offset == offset).map(|word| word.value)
    }

    /// Notes a load that becomes an instruction with this result.
    pub(super) fn load(&mut self, offset: Option<U256>, result: Value) {
        let Some(offset) = offset.and_then(followed) else {
            self.words.iter_mut().for_each(|word| word.store = None);
            return;
        };
        for word in &mut self.words {
            if word.overlaps(offset) {
                word.store = None;
            }
        }
        self.remember(KnownWord { offset, value: result, store: None });
    }

    /// Notes a store by the instruction at an index of the block. Returns the index of an earlier
    /// one that nothing has observed and that is overwritten.
    pub(super) fn store(
        &mut self,
        offset: Option<U256>,
        value: Value,
        index: usize,
    ) -> Option<usize> {
        let Some(offset) = offset.and_then(followed) else {
            self.words.clear();
            return None;
        };
        let same = self.words.iter().find(|word| word.offset == offset);
        let dead = same.and_then(|word| word.store);
        self.words.retain(|word| !word.overlaps(offset));
        // A store that grows memory has to stay, whatever becomes of its word.
        let is_inside = offset + WORD_BYTES <= self.len;
        self.remember(KnownWord { offset, value, store: is_inside.then_some(index) });
        dead
    }

    /// Notes any other instruction.
    pub(super) fn other(&mut self, opcode: Opcode) {
        if !opcode.implementation().computes() {
            self.words.clear();
        }
    }

    fn remember(&mut self, word: KnownWord) {
        self.len = self.len.max((word.offset + WORD_BYTES).next_multiple_of(WORD_BYTES));
        if self.words.len() == MAX_WORDS {
            self.words.remove(0);
        }
        self.words.push(word);
    }
}

impl KnownWord {
    /// Whether it has bytes of the word at an offset.
    fn overlaps(&self, offset: u64) -> bool {
        self.offset.abs_diff(offset) < WORD_BYTES
    }
}

/// An offset that is small enough to be followed.
fn followed(offset: U256) -> Option<u64> {
    u64::try_from(offset).ok().filter(|&offset| offset < MAX_OFFSET)
}
