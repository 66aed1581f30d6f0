//! How often contracts without a program run: counted where it happens, by who runs them.
//!
//! A [`Cold`] is the counter of one contract. An EVM keeps the ones it meets, so that a frame
//! counts with two relaxed additions; the thread whose addition crosses the threshold asks for the
//! compilation itself. Where there is no room for the program, that may be [refused](Cold::refuse):
//! then the contract counts anew, and asks again, but less and less often.
//!
//! What a contract has burnt also decides when the first tier makes code of it ([`Learning`]). Whose
//! code is native then goes on to heat it.
//!
//! Beside that heat, which is what the next question needs, there are its [uses](Usage), counted as
//! those of programs are, to be compared with these. One in a few frames moves the clock that both
//! are counted by.
//!
//! The table is bounded by construction: a fixed number of buckets with a fixed number of places.
//! In a full bucket the counter with the fewest uses, and of several such the coldest, makes room,
//! and the others' heat is halved; so what ran long ago gives way to what runs now, and a flood of
//! contracts that run once displaces nothing that is used.
//! Lock: a bucket's, for a search among its places.

use crate::{
    learning::Learning, locks::lock, lookup::RuntimeCacheKey, runtime::JitBackend,
    submission::Origin, usage::Usage,
};
use alloy_primitives::{Bytes, map::DefaultHashBuilder};
use std::{
    hash::BuildHasher,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

/// Gas burnt in the interpreter that promotes a contract by itself: in one frame, or in all since
/// it was first seen. Less than a millisecond of interpretation.
pub(crate) const HOT_GAS: u64 = 500_000;

/// Frames of a contract of which one moves the clock. The contracts don't do so in step, for that
/// would leave long times without a tick.
const FRAMES_A_TICK: u32 = 8;

/// Frames between two questions of a contract that was refused: twice the first of these after its
/// first refusal, and twice as many after each further one, up to the second, where the threshold
/// isn't higher. A question takes a microsecond or two.
const FRAMES_A_QUESTION: [u32; 2] = [8, 64];

/// Buckets of the table, a power of two.
const BUCKETS: usize = 2048;
/// Counters in a bucket. So the table has 16,384, of about 100 bytes each.
const WAYS: usize = 8;

/// One frame in the heat; below are 32 bits of gas. Each thread adds at most [`HOT_GAS`] before it
/// sees the contract hot, so gas doesn't run over.
const FRAME: u64 = 1 << 32;

/// Counts the runs of a contract that has no program.
#[derive(Debug)]
pub(crate) struct Cold {
    /// What is claimed of the contract.
    key: RuntimeCacheKey,
    /// Of the cache, when counting began.
    generation: u64,
    /// Frames that make it hot, unless it was refused.
    threshold: u32,
    /// Frames in the upper half, gas in the lower.
    heat: AtomicU64,
    usage: Usage,
    /// When the first tier makes its code, and of what.
    pub(crate) first: Learning,
    /// Questions since it last had a program that were refused.
    refusals: AtomicU32,
    /// Whether code was brought under this key that isn't of its hash.
    is_doubtful: AtomicBool,
}

impl Cold {
    fn new(key: RuntimeCacheKey, generation: u64, threshold: u32, has_first_tier: bool) -> Self {
        Self {
            key,
            generation,
            threshold,
            heat: AtomicU64::new(0),
            usage: Usage::default(),
            first: Learning::new(has_first_tier),
            refusals: AtomicU32::new(0),
            is_doubtful: AtomicBool::new(false),
        }
    }

    /// Counts frames that begin, and gas that frames burnt. The call that makes the contract hot
    /// asks `backend` to compile `code`. Never waits.
    #[inline]
    pub(crate) fn heat(
        self: &Arc<Self>,
        backend: &JitBackend,
        code: impl FnOnce() -> Bytes,
        frames: u32,
        gas: u64,
    ) {
        self.usage.touch(backend.clock());
        if self.first.note(frames, gas) {
            backend.improve(self);
        }
        if self.is_hot() || self.first.is_promoted() {
            return;
        }
        let amount = u64::from(frames) * FRAME + gas.min(HOT_GAS);
        let before = self.heat.fetch_add(amount, Relaxed);
        let after = before.wrapping_add(amount);
        if frames > 0 && self.is_at_tick(after) {
            backend.note_demand();
        }
        if !self.is_hot_at(before) && self.is_hot_at(after) {
            self.promote(backend, code(), after as u32 as u64 >= HOT_GAS);
        }
    }

    /// Whether it was promoted, and nothing has come of that yet.
    #[inline]
    pub(crate) fn is_hot(&self) -> bool {
        self.is_hot_at(self.heat.load(Relaxed))
    }

    /// Whether an EVM that interprets its frames is to ask: the first tier is to make code of it, or
    /// has.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.first.has_program() || self.first.is_due()
    }

    /// What it counts.
    pub(crate) fn key(&self) -> &RuntimeCacheKey {
        &self.key
    }

    /// Begins to count anew.
    pub(crate) fn cool(&self) {
        self.heat.store(0, Relaxed);
    }

    /// How often it was used of late.
    pub(crate) fn uses(&self, now: u32) -> u32 {
        self.usage.at(now)
    }

    /// Notes that there is no room for its program, or none any more for who uses it so little.
    pub(crate) fn refuse(&self) {
        let refusals = self.refusals.load(Relaxed);
        self.refusals.store(refusals.saturating_add(1), Relaxed);
    }

    /// Notes that there is room for its program.
    pub(crate) fn admit(&self) {
        self.refusals.store(0, Relaxed);
    }

    /// Whether it was refused, and wasn't admitted since.
    pub(crate) fn is_refused(&self) -> bool {
        self.refusals.load(Relaxed) > 0
    }

    /// Whether it counts for `key`.
    #[inline]
    pub(crate) fn is_for(&self, key: &RuntimeCacheKey) -> bool {
        self.key == *key
    }

    /// Whether who claims this key may have other code.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Relaxed)
    }

    /// Notes that somebody who claims this key has other code; whether for the first time.
    pub(crate) fn note_wrong_claim(&self) -> bool {
        !self.is_doubtful.swap(true, Relaxed)
    }

    /// Frames counted.
    pub(crate) fn frames(&self) -> u32 {
        (self.heat.load(Relaxed) >> 32) as u32
    }

    #[cold]
    fn promote(self: &Arc<Self>, backend: &JitBackend, code: Bytes, by_gas: bool) {
        let origin = if by_gas { Origin::Gas } else { Origin::Frames };
        if !backend.submit(self.key, code, origin, Some(Arc::clone(self))) {
            self.cool();
        }
    }

    #[inline]
    fn is_hot_at(&self, heat: u64) -> bool {
        (heat >> 32) as u32 >= self.patience() || heat as u32 as u64 >= HOT_GAS
    }

    /// Frames that make it hot now.
    #[inline]
    fn patience(&self) -> u32 {
        match self.refusals.load(Relaxed) {
            0 => self.threshold,
            refusals => {
                let [first, last] = FRAMES_A_QUESTION;
                let last = last.max(self.threshold);
                (first << refusals.min(8)).max(self.threshold).min(last)
            }
        }
    }

    /// Whether the frame that has brought it to this heat moves the clock.
    #[inline]
    fn is_at_tick(&self, heat: u64) -> bool {
        let [.., phase] = *self.key.code_hash;
        ((heat >> 32) as u32).wrapping_add(phase.into()) % FRAMES_A_TICK == 0
    }

    fn halve(&self) {
        let heat = self.heat.load(Relaxed);
        if !self.is_hot_at(heat) {
            // What is added meanwhile may be lost; it is an estimate.
            self.heat.store((heat >> 33 << 32) | (heat as u32 as u64 / 2), Relaxed);
        }
    }
}

type Bucket = [Option<Arc<Cold>>; WAYS];

/// The counters of the contracts seen lately.
pub(crate) struct ColdTable {
    threshold: u32,
    /// Whether there is a first tier.
    has_first_tier: bool,
    hasher: DefaultHashBuilder,
    /// Allocated when the first contract is seen.
    buckets: OnceLock<Box<[Mutex<Bucket>]>>,
}

impl ColdTable {
    /// A table of contracts that get hot with `threshold` frames; 0 and 1 both mean the first.
    pub(crate) fn new(threshold: usize) -> Self {
        let threshold = u32::try_from(threshold).unwrap_or(u32::MAX).max(1);
        let hasher = DefaultHashBuilder::default();
        Self { threshold, has_first_tier: false, hasher, buckets: OnceLock::new() }
    }

    /// The same table, where there is a first tier.
    pub(crate) fn with_first_tier(self) -> Self {
        Self { has_first_tier: true, ..self }
    }

    /// The counter of `key`, made if need be. Counters of another generation are forgotten.
    pub(crate) fn get(&self, key: &RuntimeCacheKey, generation: u64, now: u32) -> Arc<Cold> {
        let mut bucket = lock(self.bucket(key));
        let is_current = |cold: &Arc<Cold>| cold.generation == generation;
        let mut current = bucket.iter().flatten().filter(|cold| is_current(cold));
        if let Some(found) = current.find(|cold| cold.key == *key) {
            return Arc::clone(found);
        }
        let place = match bucket.iter().position(|slot| !slot.as_ref().is_some_and(is_current)) {
            Some(vacant) => vacant,
            None => make_room(&bucket, now),
        };
        let cold = Cold::new(*key, generation, self.threshold, self.has_first_tier);
        let cold = Arc::new(cold);
        bucket[place] = Some(Arc::clone(&cold));
        cold
    }

    /// Frames counted for `key`, if it is being watched.
    pub(crate) fn frames(&self, key: &RuntimeCacheKey, generation: u64) -> Option<u32> {
        self.peek(key, generation, Cold::frames)
    }

    /// How often `key` was used of late, if it is being watched.
    pub(crate) fn uses(&self, key: &RuntimeCacheKey, generation: u64, now: u32) -> u32 {
        self.peek(key, generation, |cold| cold.uses(now)).unwrap_or(0)
    }

    /// Whether it is known that who claims `key` may have other code.
    pub(crate) fn doubts(&self, key: &RuntimeCacheKey, generation: u64) -> bool {
        self.peek(key, generation, Cold::is_doubtful).unwrap_or(false)
    }

    /// Looks at the counter of `key`, if there is one.
    fn peek<T>(
        &self,
        key: &RuntimeCacheKey,
        generation: u64,
        look: impl FnOnce(&Cold) -> T,
    ) -> Option<T> {
        self.buckets.get()?;
        let bucket = lock(self.bucket(key));
        let mut here = bucket.iter().flatten();
        here.find(|cold| cold.key == *key && cold.generation == generation).map(|cold| look(cold))
    }

    fn bucket(&self, key: &RuntimeCacheKey) -> &Mutex<Bucket> {
        // The hasher is seeded, so nobody can choose contracts that meet in one bucket.
        let index = self.hasher.hash_one(key) as usize % BUCKETS;
        &self.buckets.get_or_init(|| (0..BUCKETS).map(|_| Mutex::default()).collect())[index]
    }
}

/// The place of the least used in a full bucket, whose others lose half their heat.
fn make_room(bucket: &Bucket, now: u32) -> usize {
    let value = |place: &usize| {
        bucket[*place].as_ref().map_or((0, 0), |cold| (cold.uses(now), cold.heat.load(Relaxed)))
    };
    let coldest = (0..WAYS).min_by_key(value).unwrap_or(0);
    bucket.iter().flatten().for_each(|cold| cold.halve());
    coldest
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use revm::primitives::hardfork::SpecId;

    fn key(n: u64) -> RuntimeCacheKey {
        let code_hash = B256::from(alloy_primitives::U256::from(n).to_le_bytes());
        RuntimeCacheKey { code_hash, spec_id: SpecId::CANCUN }
    }

    fn no_code() -> Bytes {
        Bytes::new()
    }

    #[test]
    fn heat_is_frames_or_gas() {
        // A backend that accepts nothing, so that promotion is seen by the count starting over.
        let backend = JitBackend::disabled();
        let cold = ColdTable::new(3).get(&key(1), 0, 0);
        for frames in [1, 2, 0, 1] {
            cold.heat(&backend, no_code, 1, 10);
            assert_eq!(cold.frames(), frames);
        }
        cold.heat(&backend, no_code, 1, HOT_GAS);
        assert_eq!(cold.frames(), 0, "an expensive frame promotes by itself");
        cold.heat(&backend, no_code, 1, 0);
        cold.heat(&backend, no_code, 0, HOT_GAS - 1);
        assert_eq!(cold.frames(), 1);
        cold.heat(&backend, no_code, 0, 1);
        assert_eq!(cold.frames(), 0, "much gas in all, too");
        cold.heat(&backend, no_code, 0, u64::MAX);
        assert_eq!(cold.heat.load(Relaxed), 0);
    }

    #[test]
    fn a_contract_has_one_counter_a_generation() {
        let table = ColdTable::new(8);
        let first = table.get(&key(1), 0, 0);
        assert!(Arc::ptr_eq(&first, &table.get(&key(1), 0, 0)));
        assert!(!Arc::ptr_eq(&first, &table.get(&key(1), 1, 0)));
        assert_eq!(table.frames(&key(1), 0), None);
        assert_eq!(table.frames(&key(1), 1), Some(0));
        assert_eq!(table.frames(&key(2), 1), None);
    }

    #[test]
    fn a_flood_of_contracts_leaves_the_warm_ones_and_is_bounded() {
        let table = ColdTable::new(1000);
        let backend = JitBackend::disabled();
        let warm = table.get(&key(0), 0, 0);
        for n in 1..200_000 {
            if n % 50 == 0 {
                warm.heat(&backend, no_code, 1, 0);
            }
            table.get(&key(n), 0, 0).heat(&backend, no_code, 1, 0);
        }
        assert!(Arc::ptr_eq(&warm, &table.get(&key(0), 0, 0)));
        let held: usize =
            table.buckets.get().unwrap().iter().map(|b| lock(b).iter().flatten().count()).sum();
        assert!(held <= BUCKETS * WAYS);
        // And what comes new is still learnt.
        assert!(Arc::ptr_eq(&table.get(&key(1 << 40), 0, 0), &table.get(&key(1 << 40), 0, 0)));
    }
}
