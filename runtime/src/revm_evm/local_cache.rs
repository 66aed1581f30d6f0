//! An EVM's own cache of the backend's answers: no locks, no shared cache lines. The contracts that
//! run again and again cost one comparison of an address a frame, the others a hash probe.
//!
//! An answer belongs to a bytecode, by where that is: the cache holds it, so that nothing else can
//! be there. The same contract in another object, as a database makes them, is found by the hash
//! that it claims, and then compared.
//!
//! Answers hold for one epoch of the backend. Anything that may change one (a publication, a clear,
//! switching on or off) begins another epoch, and the cache starts empty.

use super::finder::claimed_key;
use crate::{
    consult::Consultation,
    frame_counts::RunClass,
    lookup::RuntimeCacheKey,
    program::{CodeId, CompiledProgram},
    runtime::JitBackend,
};
use alloy_primitives::map::HashMap;
use revm::{
    bytecode::Bytecode, interpreter::interpreter::ExtBytecode, primitives::hardfork::SpecId,
};
#[cfg(test)]
use std::sync::Arc;

/// Answers kept. An EVM that sees more contracts in one epoch starts over.
const MAX_ANSWERS: usize = 4096;

/// Bytes of bytecode that kept answers hold. One that comes to more starts over: a database may
/// make a new copy of each contract, and these are nobody else's.
const MAX_HELD: usize = 16 << 20;

/// Answers at hand. A transaction seldom calls more contracts than this in turn.
const AT_HAND: usize = 16;

/// What of a frame decides how to run it.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) code: &'a ExtBytecode,
    pub(super) spec_id: SpecId,
}

/// An answer at hand.
struct AtHand {
    id: CodeId,
    spec_id: SpecId,
    answer: Consultation,
    /// What `id` names, held for that.
    _code: Bytecode,
}

/// The backend's answers of one epoch.
#[derive(Default)]
pub(super) struct LocalCache {
    epoch: u64,
    /// By what frames claim. Those that aren't to be run natively may be another code's that
    /// claims the same: that costs speed alone.
    answers: HashMap<RuntimeCacheKey, Consultation>,
    /// Bytes of bytecode that `answers` hold.
    held: usize,
    /// Some of the answers, each at the place of its bytecode. Allocated when first used.
    at_hand: Vec<Option<AtHand>>,
    /// Times that the backend was asked.
    #[cfg(test)]
    asked: usize,
}

impl LocalCache {
    /// The program that [`answer`](Self::answer) says to run.
    #[cfg(test)]
    fn program(
        &mut self,
        backend: &JitBackend,
        frame: Frame<'_>,
        mut is_ruled_right: impl FnMut() -> bool,
    ) -> Option<&Arc<CompiledProgram>> {
        match self.answer(backend, frame, |_| is_ruled_right(), true) {
            Consultation::Run(verified) => Some(verified.program()),
            Consultation::Watch(_) | Consultation::Interpret(_) => None,
        }
    }

    /// How to run a frame: interpreted, if `is_ruled_right` says no, of a program, or of any that
    /// there may be. Comparing rules may cost more than the rest, so that is asked before something
    /// native runs, and when a contract is new: an EVM of other rules has nothing compiled that it
    /// couldn't run. A frame that is to be watched is counted, if it `begins`.
    #[inline]
    pub(super) fn answer(
        &mut self,
        backend: &JitBackend,
        frame: Frame<'_>,
        is_ruled_right: impl FnMut(Option<&CompiledProgram>) -> bool,
        begins: bool,
    ) -> &Consultation {
        let id = CodeId::of(frame.code);
        let place = id.place(AT_HAND);
        if !self.is_at_hand(place, backend.epoch(), id, frame.spec_id) {
            return self.answer_anew(backend, frame, is_ruled_right, begins);
        }
        let Some(Some(AtHand { answer, .. })) = self.at_hand.get(place) else {
            return &Consultation::Interpret(RunClass::Other);
        };
        Self::begin(answer, backend, frame, is_ruled_right, begins)
    }

    /// The answer for a bytecode that isn't at hand.
    #[cold]
    fn answer_anew(
        &mut self,
        backend: &JitBackend,
        frame: Frame<'_>,
        mut is_ruled_right: impl FnMut(Option<&CompiledProgram>) -> bool,
        begins: bool,
    ) -> &Consultation {
        if !is_ruled_right(None) {
            return &Consultation::Interpret(RunClass::OtherRules);
        }
        let answer = self.bring(backend, frame);
        Self::begin(answer, backend, frame, is_ruled_right, begins)
    }

    /// Notes a use of an answer, which holds if the EVM is ruled right.
    #[inline(always)]
    fn begin<'a>(
        answer: &'a Consultation,
        backend: &JitBackend,
        frame: Frame<'_>,
        mut is_ruled_right: impl FnMut(Option<&CompiledProgram>) -> bool,
        begins: bool,
    ) -> &'a Consultation {
        match answer {
            Consultation::Run(program) if !is_ruled_right(Some(program)) => {
                return &Consultation::Interpret(RunClass::OtherRules);
            }
            Consultation::Run(program) => program.touch(backend.clock()),
            Consultation::Watch(cold) if begins => {
                cold.heat(backend, || frame.code.original_bytes(), 1, 0);
            }
            Consultation::Watch(_) | Consultation::Interpret(_) => {}
        }
        answer
    }

    /// Whether the answer for a bytecode is at its place.
    #[inline(always)]
    fn is_at_hand(&self, place: usize, epoch: u64, id: CodeId, spec_id: SpecId) -> bool {
        let Some(Some(at_hand)) = self.at_hand.get(place) else { return false };
        epoch == self.epoch && at_hand.id == id && at_hand.spec_id == spec_id
    }

    /// Whether no answer is kept.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.at_hand.is_empty()
    }

    /// Forgets all answers.
    #[cold]
    pub(super) fn clear(&mut self) {
        self.start_over();
        self.at_hand.clear();
    }

    /// Forgets what isn't at hand.
    fn start_over(&mut self) {
        self.answers.clear();
        self.held = 0;
    }

    /// Brings the answer for a bytecode to its place at hand.
    fn bring(&mut self, backend: &JitBackend, frame: Frame<'_>) -> &Consultation {
        // Before the lookup: if the backend changes during it, the next frame sees another epoch
        // and asks again.
        let epoch = backend.epoch();
        if epoch != self.epoch {
            self.clear();
            self.epoch = epoch;
        }
        let Frame { code, spec_id } = frame;
        let claimed = claimed_key(code, spec_id);
        let answer = match self.kept(&claimed, code) {
            Some(answer) => answer,
            None => {
                #[cfg(test)]
                {
                    self.asked += 1;
                }
                backend.consult(&claimed, code)
            }
        };
        self.keep(claimed, answer.clone());
        self.at_hand.resize_with(AT_HAND, || None);
        let id = CodeId::of(code);
        let at_hand = AtHand { id, spec_id, answer, _code: Bytecode::clone(code) };
        &self.at_hand[id.place(AT_HAND)].insert(at_hand).answer
    }

    /// The answer that is kept for what is claimed, as far as it is one for `code`.
    fn kept(&self, claimed: &RuntimeCacheKey, code: &Bytecode) -> Option<Consultation> {
        match self.answers.get(claimed)? {
            Consultation::Run(program) => program.for_code(code).map(Consultation::Run),
            Consultation::Watch(cold) if !cold.is_for(claimed) => None,
            answer => Some(answer.clone()),
        }
    }

    fn keep(&mut self, claimed: RuntimeCacheKey, answer: Consultation) {
        if self.answers.len() >= MAX_ANSWERS || self.held >= MAX_HELD {
            self.start_over();
        }
        self.held += held(&answer);
        if let Some(replaced) = self.answers.insert(claimed, answer) {
            self.held -= held(&replaced);
        }
    }
}

/// Bytes of bytecode that an answer holds.
fn held(answer: &Consultation) -> usize {
    match answer {
        Consultation::Run(program) => program.code_len(),
        Consultation::Watch(_) | Consultation::Interpret(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::RuntimeConfig;
    use alloy_primitives::{B256, Bytes};

    const SPEC: SpecId = SpecId::CANCUN;

    fn backend() -> JitBackend {
        let config = RuntimeConfig { enabled: true, blocking: true, ..RuntimeConfig::default() };
        JitBackend::new(config).unwrap()
    }

    /// A frame's bytecode: PUSH1 n, STOP, in an object of its own, and its true hash.
    fn code(n: usize) -> ExtBytecode {
        ExtBytecode::new(Bytecode::new_legacy(vec![0x60, n as u8, 0x00].into()))
    }

    fn frame(code: &ExtBytecode) -> Frame<'_> {
        Frame { code, spec_id: SPEC }
    }

    /// Too long to be compiled, so cheap to be refused.
    fn refused() -> Bytecode {
        Bytecode::new_legacy(Bytes::from(vec![0; 1 << 20]))
    }

    #[test]
    fn contracts_that_share_a_place_keep_their_own_programs() {
        let (backend, mut cache) = (backend(), LocalCache::default());
        let codes: Vec<_> = (0..3 * AT_HAND).map(code).collect();
        let mut run_all = || {
            for code in &codes {
                for spec_id in [SPEC, SpecId::OSAKA] {
                    let frame = Frame { code, spec_id };
                    let program = cache.program(&backend, frame, || true).unwrap();
                    let expected = RuntimeCacheKey { code_hash: code.hash_slow(), spec_id };
                    assert_eq!(program.key, expected);
                }
            }
            cache.asked
        };
        // The first round compiles, which begins epochs; the second asks for what is there.
        run_all();
        let asked = run_all();
        assert_eq!(run_all(), asked, "the answers weren't kept");
    }

    #[test]
    fn another_object_of_the_same_code_needs_no_lookup() {
        let (backend, mut cache) = (backend(), LocalCache::default());
        for _ in 0..2 {
            assert!(cache.program(&backend, frame(&code(1)), || true).is_some());
        }
        let asked = cache.asked;
        let codes: Vec<_> = (0..100).map(|_| code(1)).collect();
        for code in &codes {
            assert!(cache.program(&backend, frame(code), || true).is_some());
        }
        assert_eq!(cache.asked, asked);
    }

    /// Both claim to be the first.
    #[test]
    fn what_claims_the_same_is_told_apart() {
        let backend = backend();
        for order in [[1, 2], [2, 1]] {
            let mut cache = LocalCache::default();
            let claimed = code(1).hash_slow();
            let [first, second] = order.map(|n| {
                let code = Bytecode::clone(&code(n));
                ExtBytecode::new_with_hash(code, claimed)
            });
            for code in [&first, &second, &first, &second] {
                let program = cache.program(&backend, frame(code), || true).unwrap();
                assert_eq!(program.key.code_hash, code.hash_slow());
            }
        }
    }

    #[test]
    fn what_is_at_hand_is_of_this_epoch() {
        let (backend, mut cache, code) = (backend(), LocalCache::default(), code(1));
        let mut program = || cache.program(&backend, frame(&code), || true).map(Arc::clone);
        assert!(program().is_some());
        backend.set_enabled(false).unwrap();
        assert!(program().is_none());
        backend.set_enabled(true).unwrap();
        // Held, so that a new program can't be at its address.
        let before = backend.get_compiled(code.hash_slow(), SPEC).unwrap();
        assert!(Arc::ptr_eq(&before, &program().unwrap()));
        backend.clear_resident();
        assert!(!Arc::ptr_eq(&before, &program().unwrap()));
    }

    #[test]
    fn nothing_is_compiled_for_other_prices_nor_run() {
        let (backend, mut cache, code) = (backend(), LocalCache::default(), code(1));
        let mut is_native = |ruled| cache.program(&backend, frame(&code), || ruled).is_some();
        assert!(!is_native(false));
        assert_eq!(backend.stats().compilations_dispatched, 0);
        for ruled in [true, true, false, true] {
            assert_eq!(is_native(ruled), ruled);
        }
    }

    #[test]
    fn prices_do_not_matter_to_what_is_interpreted() {
        let (backend, mut cache) = (backend(), LocalCache::default());
        let refused = ExtBytecode::new(refused());
        assert!(cache.program(&backend, frame(&refused), || true).is_none());
        let asked = || panic!("compared prices for an interpreted frame");
        assert!(cache.program(&backend, frame(&refused), asked).is_none());
    }

    #[test]
    fn answers_are_bounded() {
        let (backend, mut cache, refused) = (backend(), LocalCache::default(), refused());
        for n in 0..MAX_ANSWERS + 2 {
            let claimed = B256::left_padding_from(&n.to_be_bytes());
            // Another object each time, as a frame has it.
            let code = Bytecode::new_legacy(refused.original_bytes());
            let code = ExtBytecode::new_with_hash(code, claimed);
            assert!(cache.program(&backend, frame(&code), || true).is_none());
        }
        assert!(cache.answers.len() <= MAX_ANSWERS);
    }

    #[test]
    fn held_bytecode_is_bounded() {
        let (backend, mut cache) = (backend(), LocalCache::default());
        // STOP, and what never runs.
        let code = |n: usize| [&[0x00; 20_000][..], &n.to_be_bytes()].concat();
        for n in 0..MAX_HELD / 20_000 + 8 {
            let code = ExtBytecode::new(Bytecode::new_legacy(code(n).into()));
            assert!(cache.program(&backend, frame(&code), || true).is_some());
            // So that no epoch begins which would start over, either.
            cache.epoch = backend.epoch();
            let held: usize = cache.answers.values().map(held).sum();
            assert_eq!(held, cache.held);
            assert!(held <= MAX_HELD + 20_008, "{held}");
        }
    }
}
