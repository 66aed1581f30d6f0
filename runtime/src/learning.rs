//! When the first tier makes code of a contract, and of which of its blocks.
//!
//! Time is counted as the gas that takes as long to interpret. What interpreting a contract costs is
//! added up; when what code would have saved of it has come to what making that costs, it is made.
//! (As one rents until the rent has come to the price.) Code is made of the blocks that frames were
//! seen in ([`Reached`]), so what it costs follows from these. Leaving it, for a block that isn't
//! there, costs too: when that has come to what making it anew costs, with all blocks that were
//! reached meanwhile, there is a new **version**, which takes the place of the old one. So both are
//! bounded by what running costs, and by the number of versions, each of which costs more than the
//! last.
//!
//! Where an EVM can't be watched between two instructions, nothing is known of blocks: then code is
//! made of all.
//!
//! All counts, and no clocks: nodes with the same history decide alike.
//!
//! Lock: of the set of blocks; only ever tried, by who interprets a frame, for a stretch of it, and by
//! who makes code.

use crate::places::Places;
use cranevm_codegen::Reached;
use std::sync::{
    Mutex, MutexGuard, TryLockError,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// What making code costs: any, and for each byte of the blocks. A unit of gas takes 0.4 ns to
/// interpret, of which native code saves a half; a byte takes some 50 ns to compile, a program some
/// 5 us.
const ANY: u64 = 15_000;
const A_BYTE: u64 = 200;

/// What beginning a frame costs: interpreting one takes that much longer, and of little gas nobody
/// is told.
const A_FRAME: u64 = 1_000;

/// What leaving code and coming back costs, beside what is interpreted on the way.
const AN_EXIT: u64 = 300;

/// What a contract has cost when it is worth noting which of its blocks run.
const NOTED_FROM: u64 = 3 * A_FRAME;

/// Most times that what is waited for doubles.
const MOST_DOUBLINGS: u32 = 8;

/// Versions, and attempts at one, before that is so.
const CHEAP_ATTEMPTS: u32 = 4;

/// Gas for each byte of a contract, burnt while there was code of it, that is worth compiling it at
/// the optimising level: that takes 3 us a byte, and code of it takes a tenth of a nanosecond less
/// for a unit of gas.
const BETTER_A_BYTE: u64 = 20_000;

/// Nothing costs as much.
const NEVER: u64 = u64::MAX;

/// What code of so many bytes costs to make.
pub(crate) const fn price(bytes: usize) -> u64 {
    ANY + A_BYTE * bytes as u64
}

/// Gas burnt that is worth compiling a contract of so many bytes at the optimising level.
const fn better_worth(code_len: usize) -> u64 {
    BETTER_A_BYTE * code_len as u64
}

/// What is known of a contract to decide that by.
#[derive(Debug)]
pub(crate) struct Learning {
    /// What interpreting it has cost since it last had code, or leaving the code that it has since
    /// that was made.
    cost: AtomicU64,
    /// What that is to come to before code is thought of. [`NEVER`] if there is no first tier, and
    /// from when somebody has begun to make code.
    due_at: AtomicU64,
    /// Versions, and attempts that came to nothing.
    attempts: AtomicU32,
    has_program: AtomicBool,
    /// Whether that is the program that lookups find.
    is_promoted: AtomicBool,
    places: Mutex<Places>,
    /// Bytes of the blocks that the last version is made of.
    made_of: AtomicUsize,
    /// Gas burnt since there is code.
    burnt: AtomicU64,
    /// What that is to come to before better code is wanted.
    better_at: AtomicU64,
}

/// The blocks of a contract that are known to run: held by who notes some, or makes code of them.
pub(crate) type Held<'a> = MutexGuard<'a, Places>;

impl Learning {
    /// Of a contract that nothing is known of. Without a first tier, nothing ever comes of it.
    pub(crate) fn new(has_first_tier: bool) -> Self {
        Self {
            cost: AtomicU64::new(0),
            due_at: AtomicU64::new(if has_first_tier { price(0) } else { NEVER }),
            attempts: AtomicU32::new(0),
            has_program: AtomicBool::new(false),
            places: Mutex::default(),
            is_promoted: AtomicBool::new(false),
            made_of: AtomicUsize::new(0),
            burnt: AtomicU64::new(0),
            better_at: AtomicU64::new(NEVER),
        }
    }

    /// Notes frames that begin, and gas that frames burnt; whether better code is worth it, as of
    /// now. Of what isn't interpreted nothing is lost.
    #[inline]
    pub(crate) fn note(&self, frames: u32, gas: u64) -> bool {
        if !self.has_program() {
            self.add(u64::from(frames) * A_FRAME + gas);
            return false;
        }
        let before = if gas > 0 { self.burnt.fetch_add(gas, Relaxed) } else { return false };
        let better_at = self.better_at.load(Relaxed);
        before < better_at && before.saturating_add(gas) >= better_at
    }

    /// Notes that a frame left the code, and has burnt so much gas until it came back or ended.
    pub(crate) fn note_exit(&self, gas: u64) {
        self.add(AN_EXIT + gas.min(u64::from(u32::MAX)));
    }

    fn add(&self, cost: u64) {
        self.cost.fetch_add(cost, Relaxed);
    }

    /// Whether there is code of it.
    #[inline]
    pub(crate) fn has_program(&self) -> bool {
        self.has_program.load(Relaxed)
    }

    /// Whether there is code that lookups find.
    #[inline]
    pub(crate) fn is_promoted(&self) -> bool {
        self.is_promoted.load(Relaxed)
    }

    /// Its code is what lookups find, until it is worth compiling better, if that can be.
    pub(crate) fn promote(&self, code_len: usize, can_be_better: bool) {
        self.is_promoted.store(true, Relaxed);
        if can_be_better {
            self.better_at.store(better_worth(code_len), Relaxed);
        }
    }

    /// Better code is in the making, and no version of this is made any more.
    pub(crate) fn end_versions(&self) {
        self.due_at.store(NEVER, Relaxed);
    }

    /// Whether to think of making code.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.cost.load(Relaxed) >= self.due_at.load(Relaxed)
    }

    /// The blocks that run, to be added to, if that is worth it and nobody else is at it.
    #[inline]
    pub(crate) fn learn(&self) -> Option<Held<'_>> {
        let is_worth_it = self.has_program() || self.cost.load(Relaxed) >= NOTED_FROM;
        if is_worth_it { self.hold() } else { None }
    }

    /// The blocks that are known to run; `None` if somebody is at it.
    pub(crate) fn hold(&self) -> Option<Held<'_>> {
        match self.places.try_lock() {
            Ok(held) => Some(held),
            // Each place is noted, or it isn't.
            Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Begins to make code of a contract, whose bytes these are, if it is worth it by now and nobody
    /// else has begun: of these blocks, or of all if none are known.
    pub(crate) fn begin(&self, code: &[u8]) -> Option<Held<'_>> {
        if !self.is_due() {
            return None;
        }
        let mut held = self.hold()?;
        let bytes = held.sorted_out(code).map_or(code.len(), Reached::bytes);
        if bytes == self.made_of.load(Relaxed) {
            // It left the code for something else.
            self.wait(bytes);
            return None;
        }
        let worth = self.worth(bytes);
        if self.cost.load(Relaxed) < worth {
            self.due_at.store(worth, Relaxed);
            return None;
        }
        (self.due_at.swap(NEVER, Relaxed) != NEVER).then_some(held)
    }

    /// There is code of it, of blocks of so many bytes.
    pub(crate) fn note_program(&self, bytes: usize) {
        self.made_of.store(bytes, Relaxed);
        self.has_program.store(true, Relaxed);
        self.wait(bytes);
    }

    /// There is none any more: it has to be earned again.
    pub(crate) fn lose_program(&self) {
        if self.has_program.swap(false, Relaxed) {
            self.is_promoted.store(false, Relaxed);
            self.burnt.store(0, Relaxed);
            self.better_at.store(NEVER, Relaxed);
            let bytes = self.made_of.swap(0, Relaxed);
            self.wait(bytes);
        }
    }

    /// It comes to nothing for now: it is tried again when that costs as much once more, and twice
    /// that the next time, up to a limit.
    pub(crate) fn put_off(&self, code: &[u8]) {
        let bytes = self.hold().and_then(|mut held| held.sorted_out(code).map(Reached::bytes));
        self.wait(bytes.unwrap_or(code.len()));
    }

    /// Waits until as much is lost as making code of blocks of so many bytes costs.
    pub(crate) fn wait(&self, bytes: usize) {
        self.attempts.fetch_add(1, Relaxed);
        self.cost.store(0, Relaxed);
        self.due_at.store(self.worth(bytes), Relaxed);
    }

    /// What is to be lost before code of blocks of so many bytes is made.
    fn worth(&self, bytes: usize) -> u64 {
        let attempts = self.attempts.load(Relaxed);
        price(bytes) << attempts.saturating_sub(CHEAP_ATTEMPTS).min(MOST_DOUBLINGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: [u8; 4] = [0x5f, 0x00, 0x5b, 0x00];

    #[test]
    fn code_is_made_when_it_has_cost_as_much() {
        let learning = Learning::new(true);
        assert!(learning.learn().is_none(), "it never ran");
        learning.note(0, NOTED_FROM);
        learning.learn().unwrap().note_entry(&CODE, 0);
        learning.note(0, price(2) - NOTED_FROM - 1);
        assert!(learning.begin(&CODE).is_none());
        learning.note(0, 1);
        assert!(learning.begin(&CODE).is_some());
        assert!(learning.begin(&CODE).is_none(), "somebody has begun");
        learning.note_program(2);
        learning.note(1000, 1 << 30);
        assert!(!learning.is_due(), "it costs nothing any more");
        learning.note_exit(price(2));
        assert!(learning.begin(&CODE).is_none(), "there is nothing new");
        learning.learn().unwrap().note(&CODE, [2]);
        learning.note_exit(price(4));
        assert!(learning.begin(&CODE).is_some());
        learning.note_program(4);
        learning.lose_program();
        learning.note(0, price(4));
        assert!(learning.begin(&CODE).is_some());
    }

    #[test]
    fn better_code_is_asked_for_once() {
        let learning = Learning::new(true);
        learning.note_program(2);
        assert!(!learning.note(1, u64::from(u32::MAX)), "nobody looks it up");
        learning.promote(2, true);
        learning.burnt.store(0, Relaxed);
        assert!(!learning.note(0, better_worth(2) - 1));
        assert!(learning.note(0, 1) && !learning.note(0, 1));
    }

    #[test]
    fn versions_cost_ever_more() {
        let learning = Learning::new(true);
        let code = [0x5b; 64];
        let mut cost = 0;
        for block in 0..64 {
            learning.note(0, NOTED_FROM);
            learning.learn().unwrap().note(&code, [block]);
            let waits = std::iter::repeat_with(|| learning.note_exit(1000));
            cost = waits.take_while(|()| learning.begin(&code).is_none()).count();
            learning.note_program(block as usize + 1);
        }
        assert!(cost as u64 > price(64) / (1000 + AN_EXIT) * 200, "{cost}");
    }

    #[test]
    fn nobody_waits_and_without_a_first_tier_nothing_is_learnt() {
        let learning = Learning::new(true);
        learning.note(0, u64::from(u32::MAX));
        let held = learning.learn();
        assert!(held.is_some() && learning.learn().is_none());
        assert!(learning.begin(&CODE).is_none());
        drop(held);
        assert!(learning.begin(&CODE).is_some());
        let none = Learning::new(false);
        none.note(0, 1 << 40);
        assert!(!none.is_due() && none.begin(&CODE).is_none());
    }
}
