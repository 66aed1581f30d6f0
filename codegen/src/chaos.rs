//! Chaos: a test mode in which the translator, at random from a seed, forgets what it knows, writes
//! back, reloads, and overwrites with junk what nobody may read any more.
//!
//! Correct code stays correct under each of these perturbations, so a difference from the
//! interpreter is an error in what the translator believes: which words are in SSA and which in
//! their slots, which slots are dead, how long memory is, what gas is held where. Without the mode
//! such an error shows only where stale contents happen to differ from the right ones.
//!
//! Each place where something may be done has a number that depends on the place alone, not on what
//! was done elsewhere. So whoever looks for the one decision that breaks a program takes away
//! decisions by their number, and the others stay ([`Chaos::within`]).
//!
//! What is done is in `translate/chaos.rs`; here is only what is decided. Needs nothing but the
//! seed. Costs a branch for each instruction where the mode is off.

use std::fmt;

/// Bits of a number that tell the decision within a block.
const INDEX_BITS: u32 = 20;

/// Bits of a number that tell the block within a chunk.
const BLOCK_BITS: u32 = 20;

/// Decisions at fixed indices, before those in the order of the translation.
const RESERVED: u64 = 16;

/// A seed, and which of its decisions are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chaos {
    /// What all decisions are made of.
    pub seed: u64,
    /// The number of the first decision that is carried out.
    pub from: u64,
    /// One past the number of the last.
    pub until: u64,
}

/// Something that is done to the translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Perturbation {
    /// A block becomes the leader of a region: it finds the stack in memory, and nothing is known.
    SplitRegion,
    /// A head hands over in one of eight runs, by the gas that is left.
    HandOver,
    /// A word isn't kept in SSA over an edge to a loop's next round, or to the block that kills it.
    KeepLess,
    /// A word that its slot holds too is forgotten, to be loaded again.
    ForgetWord,
    /// A word in SSA goes to a free slot, and is forgotten.
    Spill,
    /// A word that the block leaves on the stack is written as soon as it is there.
    WriteEarly,
    /// A slot is overwritten with junk, as if an instruction had used it.
    Clobber,
    /// What is above the stack that the block leaves is overwritten with junk.
    ClobberAbove,
    /// A word that loops or dead stores keep in SSA alone is written.
    WriteBack,
    /// The slot of such a word is overwritten with junk.
    ClobberUnwritten,
    /// A word that is known from the block before is forgotten.
    ForgetCarried,
    /// A word's bits beyond its known width are cleared: none may be set.
    Trim,
    /// A word's width, its constant limbs, and that it is a flag are forgotten.
    Widen,
    /// How far memory reaches is forgotten in part.
    ForgetMemory,
    /// The context's pointer, the base of memory and zeros are read again.
    Reread,
    /// The gas goes to its place in the context and comes back.
    MoveGas,
    /// A field of the context that is written before it is read is overwritten with junk.
    ClobberContext,
}

/// A decision that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Its number, by which [`Chaos::within`] takes or leaves it.
    pub number: u64,
    /// The pc of the instruction before which it was done.
    pub pc: u32,
    /// What was done.
    pub what: Perturbation,
}

impl Chaos {
    /// All decisions of a seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed, from: 0, until: u64::MAX }
    }

    /// The same decisions, of which those outside `from..until` aren't carried out.
    #[must_use]
    pub const fn within(self, from: u64, until: u64) -> Self {
        Self { from, until, ..self }
    }
}

impl Perturbation {
    /// What is done between two instructions.
    pub const BETWEEN: [Self; 13] = [
        Self::ForgetWord,
        Self::Spill,
        Self::WriteEarly,
        Self::WriteBack,
        Self::ClobberUnwritten,
        Self::Clobber,
        Self::ForgetCarried,
        Self::Trim,
        Self::Widen,
        Self::ForgetMemory,
        Self::Reread,
        Self::MoveGas,
        Self::ClobberContext,
    ];

    /// What is done elsewhere alone.
    pub const ELSEWHERE: [Self; 4] =
        [Self::SplitRegion, Self::HandOver, Self::KeepLess, Self::ClobberAbove];

    /// What is done where a block begins, and where its stack is written.
    pub(crate) const AT_EDGES: [Self; 4] =
        [Self::WriteBack, Self::ClobberUnwritten, Self::ForgetCarried, Self::ForgetMemory];

    /// In how many of a hundred places it is done, in a chunk of middling disorder.
    const fn percent(self) -> u64 {
        match self {
            Self::Clobber | Self::ClobberUnwritten | Self::ClobberAbove => 20,
            Self::ForgetWord | Self::KeepLess | Self::ForgetCarried => 15,
            Self::SplitRegion | Self::WriteEarly | Self::WriteBack | Self::Spill => 8,
            Self::Trim => 30,
            Self::Widen => 8,
            Self::HandOver | Self::ForgetMemory | Self::Reread => 5,
            Self::MoveGas | Self::ClobberContext => 4,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, pc, what } = self;
        write!(f, "decision {number:#x}, {what:?} before pc {pc:#x}")
    }
}

/// Makes the decisions of one chunk.
#[derive(Debug)]
pub(crate) struct Dice {
    chaos: Chaos,
    /// What the chunk's decisions are made of.
    salt: u64,
    /// Number of the chunk's first decision.
    chunk: u64,
    /// Position of the current block in its chunk.
    block: u64,
    /// Index of the block's next decision.
    next: u64,
    /// The pc of what is translated.
    pc: u32,
    /// What was done so far.
    done: Vec<Decision>,
}

/// A decision to do something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roll {
    number: u64,
    what: Perturbation,
    /// Random bits, to choose what it is done to.
    pub(crate) bits: u64,
}

impl Dice {
    /// The decisions of a chunk of a contract of this length.
    pub(crate) fn new(chaos: Chaos, code_len: u32, chunk: u32) -> Self {
        let salt = mix(chaos.seed ^ mix(u64::from(code_len) << 32 | u64::from(chunk)));
        let chunk = u64::from(chunk) << (BLOCK_BITS + INDEX_BITS);
        Self { chaos, salt, chunk, block: 0, next: RESERVED, pc: 0, done: Vec::new() }
    }

    /// Goes on with another block.
    pub(crate) fn begin_block(&mut self, position: usize) {
        (self.block, self.next) = (position as u64, RESERVED);
    }

    /// Goes on with another instruction.
    pub(crate) fn go_to(&mut self, pc: u32) {
        self.pc = pc;
    }

    /// The next decision; `None` if nothing is to be done.
    pub(crate) fn roll(&mut self, what: Perturbation) -> Option<Roll> {
        let index = self.next;
        self.next += 1;
        self.roll_at(what, self.block, index)
    }

    /// The decision at a fixed index, one of the first [`RESERVED`], of a block.
    pub(crate) fn roll_fixed(
        &self,
        what: Perturbation,
        position: usize,
        index: u64,
    ) -> Option<Roll> {
        debug_assert!(index < RESERVED, "the others are in the order of the translation");
        self.roll_at(what, position as u64, index)
    }

    fn roll_at(&self, what: Perturbation, block: u64, index: u64) -> Option<Roll> {
        if block >> BLOCK_BITS != 0 || index >> INDEX_BITS != 0 {
            return None;
        }
        let number = self.chunk | block << INDEX_BITS | index;
        let random = mix(self.salt ^ mix(number << 5 | what as u64));
        let is_wanted = random % 100 < self.percent(what);
        let is_within = (self.chaos.from..self.chaos.until).contains(&number);
        (is_wanted && is_within).then(|| Roll { number, what, bits: mix(random) })
    }

    /// In how many of a hundred places of the chunk something is done: chunks differ in how much is
    /// done to them, and each is spared some kinds, for kinds hide each other's effects.
    fn percent(&self, what: Perturbation) -> u64 {
        if mix(self.salt ^ (what as u64)).is_multiple_of(3) {
            return 0;
        }
        match mix(!self.salt) % 4 {
            0 => what.percent() / 3,
            1 | 2 => what.percent(),
            _ => what.percent() * 3,
        }
    }

    /// Notes that something was done.
    pub(crate) fn note(&mut self, roll: &Roll) {
        self.done.push(Decision { number: roll.number, pc: self.pc, what: roll.what });
    }

    /// What was done.
    pub(crate) fn into_done(self) -> Vec<Decision> {
        self.done
    }
}

impl Roll {
    /// What is to be done.
    pub(crate) const fn what(&self) -> Perturbation {
        self.what
    }

    /// One of several, if there are any.
    pub(crate) fn pick<T>(&self, among: impl IntoIterator<Item = T>) -> Option<T> {
        let mut among: Vec<T> = among.into_iter().collect();
        let index = self.bits.checked_rem(among.len() as u64)?;
        Some(among.swap_remove(index as usize))
    }

    /// What is written where nobody may read: no small number, and no address.
    pub(crate) fn junk(&self) -> i64 {
        (self.bits | 1 << 63 | 1).cast_signed()
    }
}

/// One step of splitmix64: a bijection that spreads neighbouring seeds far apart.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decided in some blocks, each with some instructions.
    fn decide(chaos: Chaos) -> Vec<Decision> {
        let mut done = Vec::new();
        for chunk in 0..20 {
            let mut dice = Dice::new(chaos, 1000, chunk);
            for block in 0..10 {
                dice.begin_block(block);
                for pc in 0..10 {
                    dice.go_to(pc);
                    for what in Perturbation::BETWEEN {
                        if let Some(roll) = dice.roll(what) {
                            dice.note(&roll);
                        }
                    }
                }
            }
            done.extend(dice.into_done());
        }
        done
    }

    #[test]
    fn a_seed_decides_the_same_each_time_and_seeds_differ() {
        let all = decide(Chaos::new(7));
        assert_eq!(all, decide(Chaos::new(7)));
        assert_ne!(all, decide(Chaos::new(8)));
        assert!(all.is_sorted_by(|one, next| one.number < next.number));
        let kinds = |what| all.iter().filter(|done| done.what == what).count();
        let counts = Perturbation::BETWEEN.map(kinds);
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    }

    #[test]
    fn what_is_left_out_changes_no_other_decision() {
        let all = decide(Chaos::new(3));
        let (from, until) = (all[40].number, all[90].number);
        assert_eq!(decide(Chaos::new(3).within(from, until)), all[40..90]);
        assert_eq!(decide(Chaos::new(3).within(from, from)), []);
    }

    #[test]
    fn one_of_several_is_picked_if_there_is_one() {
        let roll = Roll { number: 0, what: Perturbation::Spill, bits: 8 };
        assert_eq!(roll.pick(0..3), Some(2));
        assert_eq!(roll.pick(0..0), None);
        assert!(roll.junk() < 0);
    }
}
