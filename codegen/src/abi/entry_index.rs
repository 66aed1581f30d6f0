//! Which entry point is at a pc: a bitmap with ranks.
//!
//! For each 64 bytes of bytecode there are the places of its entry points, as bits, and the number
//! of those before. So the *rank* of an entry point, its place in order of pc, is one line of memory
//! away, and a list by rank has its ordinal, which code knows it by. (Rank and select over bitmaps
//! are Jacobson's, "Space-efficient static trees and graphs", 1989.)
//!
//! Compiled code reads it where a jump is computed (`words/jump_target.rs`), by the
//! offsets below. It takes 24 bytes for each 64 of bytecode, and two for each entry point.

use crate::compiled::CompiledEntry;
use std::mem::offset_of;

/// The entry points in 64 bytes of bytecode.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Granule {
    /// Those at which a frame may come in.
    entries: u64,
    /// Those of them that a jump may go to; and also, where only some blocks are compiled, the valid
    /// jump targets that are no entry points.
    jumpdests: u64,
    /// Entry points before these bytes.
    before: u64,
}

/// Where compiled code finds what it reads.
pub(crate) mod layout {
    use super::{Granule, offset_of};

    /// Bytes of bytecode, as a power of two, that are looked up together.
    pub(crate) const BYTES_LOG2: u32 = 6;
    /// Size of what is known of these, in bytes.
    pub(crate) const GRANULE: usize = size_of::<Granule>();
    pub(crate) const ENTRIES: usize = offset_of!(Granule, entries);
    pub(crate) const JUMPDESTS: usize = offset_of!(Granule, jumpdests);
    pub(crate) const BEFORE: usize = offset_of!(Granule, before);

    /// All of it, for the hash of the ABI.
    pub(crate) const ALL: [usize; 5] = [BYTES_LOG2 as usize, GRANULE, ENTRIES, JUMPDESTS, BEFORE];
}

const BYTES: usize = 1 << layout::BYTES_LOG2;
const _: () = assert!(BYTES == u64::BITS as usize);

/// The entry points of a program by pc.
#[derive(Debug)]
pub(super) struct EntryIndex {
    granules: Box<[Granule]>,
    /// Ordinals by rank.
    ordinals: Box<[u16]>,
}

impl EntryIndex {
    /// The index of a program's entry points, as far as frames may come in there. `None` if two of
    /// them are at one place, or one is beyond the bytecode or has an ordinal beyond 16 bits.
    /// `jumpdests` are valid jump targets, as bits by pc, beside those that entry points are.
    pub(super) fn new(code_len: u32, entries: &[CompiledEntry], jumpdests: &[u64]) -> Option<Self> {
        let mut granules = vec![Granule::default(); code_len as usize / BYTES + 1];
        for (granule, &jumpdests) in granules.iter_mut().zip(jumpdests) {
            granule.jumpdests = jumpdests;
        }
        let mut by_pc = Vec::with_capacity(entries.len());
        for (ordinal, entry) in entries.iter().enumerate() {
            if entry.is_jumpdest || entry.is_continuation {
                let (granule, bit) = place(entry.pc as usize);
                let granule = granules.get_mut(granule).filter(|_| entry.pc <= code_len)?;
                if granule.entries & bit != 0 {
                    return None;
                }
                granule.entries |= bit;
                granule.jumpdests |= if entry.is_jumpdest { bit } else { 0 };
                by_pc.push((entry.pc, u16::try_from(ordinal).ok()?));
            }
        }
        let mut before = 0;
        for granule in &mut granules {
            granule.before = before;
            before += u64::from(granule.entries.count_ones());
        }
        if !by_pc.is_sorted() {
            by_pc.sort_unstable();
        }
        let ordinals = by_pc.into_iter().map(|(_, ordinal)| ordinal).collect();
        Some(Self { granules: granules.into_boxed_slice(), ordinals })
    }

    /// The ordinal of the entry point at a pc.
    #[inline]
    pub(super) fn ordinal_at(&self, pc: usize) -> Option<u32> {
        let (granule, bit) = place(pc);
        let granule = self.granules.get(granule)?;
        if granule.entries & bit == 0 {
            return None;
        }
        let rank = granule.before as usize + (granule.entries & (bit - 1)).count_ones() as usize;
        self.ordinals.get(rank).copied().map(u32::from)
    }

    pub(super) const fn granules(&self) -> *const Granule {
        self.granules.as_ptr()
    }

    pub(super) const fn ordinals(&self) -> *const u16 {
        self.ordinals.as_ptr()
    }

    pub(super) const fn bytes(&self) -> usize {
        size_of_val(&*self.granules) + size_of_val(&*self.ordinals)
    }
}

/// The granule of a pc, and its bit there.
const fn place(pc: usize) -> (usize, u64) {
    (pc / BYTES, 1 << (pc % BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pc: u32, is_jumpdest: bool, is_continuation: bool) -> CompiledEntry {
        CompiledEntry { pc, function: 2, offset: 0, is_jumpdest, is_continuation }
    }

    /// Against a list, with entry points at the edges of granules, in any order.
    #[test]
    fn an_entry_point_is_found_at_its_pc_alone() {
        for code_len in [0, 1, 62, 63, 64, 65, 127, 128, 200, 1000] {
            for stride in [1, 3, 7, 63, 64, 65] {
                let mut entries: Vec<_> =
                    (0..=code_len).step_by(stride).map(|pc| entry(pc, pc % 2 == 0, true)).collect();
                entries.reverse();
                // What only other chunks lead to isn't found.
                entries.insert(0, entry(0, false, false));
                let index = EntryIndex::new(code_len, &entries, &[]).unwrap();
                for pc in 0..code_len + 200 {
                    let place = entries[1..].iter().position(|entry| entry.pc == pc);
                    let expected = place.map(|place| place as u32 + 1);
                    assert_eq!(index.ordinal_at(pc as usize), expected, "{pc} of {code_len}");
                    let granule = index.granules.get(pc as usize / BYTES);
                    let is_jumpdest =
                        granule.is_some_and(|granule| granule.jumpdests >> (pc % 64) & 1 == 1);
                    assert_eq!(is_jumpdest, expected.is_some() && pc % 2 == 0);
                }
                assert_eq!(index.ordinal_at(usize::MAX), None);
            }
        }
    }

    #[test]
    fn entry_points_that_cannot_be_told_apart_are_refused() {
        assert!(EntryIndex::new(9, &[entry(3, true, false), entry(3, false, true)], &[]).is_none());
        assert!(EntryIndex::new(9, &[entry(10, false, true)], &[]).is_none());
        let many: Vec<_> = (0..=1 << 16).map(|pc| entry(pc, true, false)).collect();
        assert!(EntryIndex::new(1 << 20, &many, &[]).is_none());
        assert!(EntryIndex::new(1 << 20, &many[..1 << 16], &[]).is_some());
    }
}
