//! An EVM's own cache of the backend's answers: no locks, no shared cache lines. The contracts that
//! run again and again cost one comparison of a hash a frame, the others a hash probe.
//!
//! Answers hold for one epoch of the backend. Anything that may change one (a publication, a clear,
//! switching on or off) begins another epoch, and the cache starts empty.

#[cfg(test)]
use crate::program::CompiledProgram;
use crate::{consult::Consultation, lookup::RuntimeCacheKey, runtime::JitBackend};
use alloy_primitives::{B256, Bytes, map::HashMap};
use revm::primitives::hardfork::SpecId;
#[cfg(test)]
use std::sync::Arc;

/// Answers kept. An EVM that sees more contracts in one epoch starts over.
const MAX_ANSWERS: usize = 4096;

/// Answers at hand. A transaction seldom calls more contracts than this in turn.
const AT_HAND: usize = 16;

/// An answer at hand, with its key's hash in words: those are compared in registers, while a copy
/// in memory would have to reach the cache before it is read in larger pieces than it was written.
struct AtHand {
    hash: [u64; 4],
    spec_id: SpecId,
    answer: Consultation,
}

/// The backend's answers of one epoch.
#[derive(Default)]
pub(super) struct LocalCache {
    epoch: u64,
    answers: HashMap<RuntimeCacheKey, Consultation>,
    /// Some of `answers`, each at the place that its code hash ends in. Allocated when first used.
    at_hand: Vec<Option<AtHand>>,
}

impl LocalCache {
    /// The program that [`answer`](Self::answer) says to run.
    #[cfg(test)]
    fn program(
        &mut self,
        backend: &JitBackend,
        key: RuntimeCacheKey,
        code: impl Fn() -> Bytes,
        is_ruled_right: impl FnMut() -> bool,
    ) -> Option<&Arc<CompiledProgram>> {
        match self.answer(backend, key, code, is_ruled_right, true) {
            Consultation::Run(program) => Some(program),
            Consultation::Watch(_) | Consultation::Interpret => None,
        }
    }

    /// How to run a frame of `key`, whose bytecode is `code`: interpreted, if `is_ruled_right`
    /// says no. Comparing rules may cost more than the rest, so that is asked before something
    /// native runs, and when a contract is new: an EVM of other rules has nothing compiled that it
    /// couldn't run. A frame that is to be watched is counted, if it `begins`.
    #[inline]
    pub(super) fn answer(
        &mut self,
        backend: &JitBackend,
        key: RuntimeCacheKey,
        code: impl Fn() -> Bytes,
        is_ruled_right: impl FnMut() -> bool,
        begins: bool,
    ) -> &Consultation {
        let hash = words(&key.code_hash);
        let place = place_of(&hash);
        if !self.is_at_hand(place, backend.epoch(), &hash, key.spec_id) {
            return self.answer_anew(backend, key, code, is_ruled_right, begins);
        }
        let Some(Some(AtHand { answer, .. })) = self.at_hand.get(place) else {
            return &Consultation::Interpret;
        };
        Self::begin(answer, backend, code, is_ruled_right, begins)
    }

    /// The answer for a key that isn't at hand.
    #[cold]
    fn answer_anew(
        &mut self,
        backend: &JitBackend,
        key: RuntimeCacheKey,
        code: impl Fn() -> Bytes,
        mut is_ruled_right: impl FnMut() -> bool,
        begins: bool,
    ) -> &Consultation {
        if !is_ruled_right() {
            return &Consultation::Interpret;
        }
        let answer = self.bring(backend, key, &code);
        Self::begin(answer, backend, code, is_ruled_right, begins)
    }

    /// Notes a use of an answer, which holds if the EVM is ruled right.
    #[inline(always)]
    fn begin<'a>(
        answer: &'a Consultation,
        backend: &JitBackend,
        code: impl Fn() -> Bytes,
        mut is_ruled_right: impl FnMut() -> bool,
        begins: bool,
    ) -> &'a Consultation {
        match answer {
            Consultation::Run(_) if !is_ruled_right() => return &Consultation::Interpret,
            Consultation::Run(program) => program.touch(backend.clock()),
            Consultation::Watch(cold) if begins => cold.heat(backend, code, 1, 0),
            Consultation::Watch(_) | Consultation::Interpret => {}
        }
        answer
    }

    /// Whether the answer for a key is at its place.
    #[inline(always)]
    fn is_at_hand(&self, place: usize, epoch: u64, hash: &[u64; 4], spec_id: SpecId) -> bool {
        let Some(Some(at_hand)) = self.at_hand.get(place) else { return false };
        epoch == self.epoch && is_same(&at_hand.hash, hash) && at_hand.spec_id == spec_id
    }

    /// Whether no answer is kept.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.at_hand.is_empty()
    }

    /// Forgets all answers.
    #[cold]
    pub(super) fn clear(&mut self) {
        self.answers.clear();
        self.at_hand.clear();
    }

    /// Brings the answer for a key to its place at hand.
    fn bring(
        &mut self,
        backend: &JitBackend,
        key: RuntimeCacheKey,
        code: impl Fn() -> Bytes,
    ) -> &Consultation {
        // Before the lookup: if the backend changes during it, the next frame sees another epoch
        // and asks again.
        let epoch = backend.epoch();
        if epoch != self.epoch {
            self.clear();
            self.epoch = epoch;
        }
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.clear();
        }
        let answer = self.answers.entry(key).or_insert_with(|| backend.consult(&key, code)).clone();
        self.at_hand.resize_with(AT_HAND, || None);
        let RuntimeCacheKey { code_hash, spec_id } = key;
        let hash = words(&code_hash);
        let at_hand = AtHand { hash, spec_id, answer };
        &self.at_hand[place_of(&hash)].insert(at_hand).answer
    }
}

/// Where the answer for a hash is kept at hand.
#[inline(always)]
fn place_of(hash: &[u64; 4]) -> usize {
    hash[3] as usize % AT_HAND
}

/// Whether two hashes are the same, by their words: arrays are compared in memory.
#[inline(always)]
fn is_same(left: &[u64; 4], right: &[u64; 4]) -> bool {
    let ([l0, l1, l2, l3], [r0, r1, r2, r3]) = (left, right);
    (l0 ^ r0) | (l1 ^ r1) | (l2 ^ r2) | (l3 ^ r3) == 0
}

/// A hash in words.
#[inline(always)]
fn words(hash: &B256) -> [u64; 4] {
    let (words, _) = hash.as_chunks();
    std::array::from_fn(|index| u64::from_le_bytes(words[index]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::RuntimeConfig;

    fn backend() -> JitBackend {
        let config = RuntimeConfig { enabled: true, blocking: true, ..RuntimeConfig::default() };
        JitBackend::new(config).unwrap()
    }

    /// Every `AT_HAND`th has the same place.
    fn key(n: usize) -> RuntimeCacheKey {
        let code_hash = B256::left_padding_from(&n.to_be_bytes());
        RuntimeCacheKey { code_hash, spec_id: SpecId::CANCUN }
    }

    fn stop() -> Bytes {
        Bytes::from_static(&[0])
    }

    #[test]
    fn contracts_that_share_a_place_keep_their_own_programs() {
        let (backend, mut cache) = (backend(), LocalCache::default());
        let mut run_all = || {
            for n in 0..3 * AT_HAND {
                for key in [key(n), RuntimeCacheKey { spec_id: SpecId::OSAKA, ..key(n) }] {
                    let program = cache.program(&backend, key, stop, || true).unwrap();
                    assert_eq!(program.key, key);
                }
            }
            backend.stats().lookup_hits
        };
        // The first round compiles, which begins epochs; the second asks for what is there.
        run_all();
        let asked = run_all();
        assert_eq!(run_all(), asked, "the answers weren't kept");
    }

    #[test]
    fn what_is_at_hand_is_of_this_epoch() {
        let (backend, mut cache) = (backend(), LocalCache::default());
        assert!(cache.program(&backend, key(1), stop, || true).is_some());
        backend.set_enabled(false).unwrap();
        assert!(cache.program(&backend, key(1), stop, || true).is_none());
        backend.set_enabled(true).unwrap();
        // Held, so that a new program can't be at its address.
        let before = backend.get_compiled(key(1).code_hash, key(1).spec_id).unwrap();
        assert!(Arc::ptr_eq(&before, cache.program(&backend, key(1), stop, || true).unwrap()));
        backend.clear_resident();
        assert!(!Arc::ptr_eq(&before, cache.program(&backend, key(1), stop, || true).unwrap()));
    }

    #[test]
    fn nothing_is_compiled_for_other_prices_nor_run() {
        let (backend, mut cache) = (backend(), LocalCache::default());
        assert!(cache.program(&backend, key(1), stop, || false).is_none());
        assert_eq!(backend.stats().compilations_dispatched, 0);
        assert!(cache.program(&backend, key(1), stop, || true).is_some());
        assert!(cache.program(&backend, key(1), stop, || true).is_some());
        assert!(cache.program(&backend, key(1), stop, || false).is_none());
        assert!(cache.program(&backend, key(1), stop, || true).is_some());
    }

    #[test]
    fn prices_do_not_matter_to_what_is_interpreted() {
        let (backend, mut cache) = (backend(), LocalCache::default());
        let refused = || Bytes::from(vec![0; 1 << 20]);
        assert!(cache.program(&backend, key(1), refused, || true).is_none());
        let asked = || panic!("compared prices for an interpreted frame");
        assert!(cache.program(&backend, key(1), refused, asked).is_none());
    }

    #[test]
    fn answers_are_bounded() {
        let (backend, mut cache) = (backend(), LocalCache::default());
        // Too long to be compiled, so cheap to be refused.
        let code = Bytes::from(vec![0; 1 << 20]);
        for n in 0..MAX_ANSWERS + 2 {
            assert!(cache.program(&backend, key(n), || code.clone(), || true).is_none());
        }
        assert!(cache.answers.len() <= MAX_ANSWERS);
    }
}
