//! An EVM's own cache of the backend's answers: no locks, no shared cache lines. The contracts that
//! run again and again cost one comparison of an address a frame, the others a hash probe.
//!
//! An answer belongs to a bytecode, by where that is: the cache holds it, so that nothing else can
//! be there. The same contract in another object, as a database makes them, is found by the hash
//! that it claims, and then compared.
//!
//! What it keeps of programs keeps none of them alive, and holds until the program is revoked or
//! there is something to be told. The other answers hold for one epoch of the backend: anything
//! that may change one (a publication, a clear, switching on or off) begins another, and it is
//! asked for again. What is interpreted and counted is also asked for when the count says so: the
//! first tier's programs begin no epoch.

use super::finder::claimed_key;
use crate::{
    allowance::Allowance,
    consult::Consultation,
    frame_counts::RunClass,
    hotness::Cold,
    lookup::RuntimeCacheKey,
    program::{CodeId, Known, ProgramEntry, Verified},
    runtime::JitBackend,
};
use alloy_primitives::map::HashMap;
use revm::{
    bytecode::Bytecode, interpreter::interpreter::ExtBytecode, primitives::hardfork::SpecId,
};
use std::sync::Arc;

/// Answers kept. An EVM that sees more contracts starts over.
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

/// How to run a contract.
#[derive(Clone)]
pub(super) enum Answer {
    /// Natively, by this program.
    Run(Known),
    /// In the interpreter, and to count that.
    Watch(Arc<Cold>),
    /// In the interpreter, for this reason.
    Interpret(RunClass),
}

/// An answer, and the epoch that it is of. A program says itself whether it holds.
#[derive(Clone)]
struct Dated {
    epoch: u64,
    answer: Answer,
}

impl Dated {
    /// Whether it holds in this epoch: a program does until it is revoked, or is to be made anew.
    #[inline(always)]
    fn holds(&self, epoch: u64) -> bool {
        match &self.answer {
            Answer::Run(known) => known.cold().is_none_or(|cold| !cold.first.is_due()),
            Answer::Watch(cold) => self.epoch == epoch && !cold.has_news(),
            Answer::Interpret(_) => self.epoch == epoch,
        }
    }

    /// Bytes of bytecode that it holds.
    fn held(&self) -> usize {
        match &self.answer {
            Answer::Run(known) => known.code_len(),
            Answer::Watch(_) | Answer::Interpret(_) => 0,
        }
    }
}

/// An answer at hand.
struct AtHand {
    id: CodeId,
    spec_id: SpecId,
    dated: Dated,
    /// What `id` names, held for that.
    _code: Bytecode,
}

/// The backend's answers.
#[derive(Default)]
pub(super) struct LocalCache {
    /// By what frames claim. Those that aren't to be run natively may be another code's that
    /// claims the same: that costs speed alone.
    answers: HashMap<RuntimeCacheKey, Dated>,
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
    ) -> Option<Verified> {
        let mut pinned = None;
        let allowance = &mut Allowance::default();
        match self.answer(backend, frame, |_| is_ruled_right(), true, (&mut pinned, allowance)) {
            Answer::Run(known) if known.entry().is_current() => known.pin(),
            Answer::Run(_) => {
                self.forget(frame.code);
                self.program(backend, frame, is_ruled_right)
            }
            Answer::Watch(_) | Answer::Interpret(_) => None,
        }
    }

    /// How to run a frame: interpreted, if `is_ruled_right` says no, of a program, or of any that
    /// there may be. Comparing rules may cost more than the rest, so that is asked before something
    /// native runs, and when a contract is new: an EVM of other rules has nothing compiled that it
    /// couldn't run. A frame that is to be watched is counted, if it `begins`.
    ///
    /// A program that the backend was asked for is `pinned`: it may be gone without that, for one
    /// that there is no room for is there for who asked alone. Another may have been revoked, as
    /// who enters it is told; then the answer is to be [forgotten](Self::forget).
    #[inline]
    pub(super) fn answer(
        &mut self,
        backend: &JitBackend,
        frame: Frame<'_>,
        is_ruled_right: impl FnMut(Option<&ProgramEntry>) -> bool,
        begins: bool,
        (pinned, allowance): (&mut Option<Verified>, &mut Allowance),
    ) -> &Answer {
        let id = CodeId::of(frame.code);
        let place = id.place(AT_HAND);
        if !self.is_at_hand(place, backend.epoch(), id, frame.spec_id) {
            let anew = (pinned, allowance);
            return self.answer_anew(backend, frame, is_ruled_right, begins, anew);
        }
        let Some(Some(AtHand { dated, .. })) = self.at_hand.get(place) else {
            return &Answer::Interpret(RunClass::Other);
        };
        Self::begin(&dated.answer, backend, frame, is_ruled_right, begins)
    }

    /// The answer for a bytecode that isn't at hand.
    #[cold]
    fn answer_anew(
        &mut self,
        backend: &JitBackend,
        frame: Frame<'_>,
        mut is_ruled_right: impl FnMut(Option<&ProgramEntry>) -> bool,
        begins: bool,
        (pinned, allowance): (&mut Option<Verified>, &mut Allowance),
    ) -> &Answer {
        if !is_ruled_right(None) {
            return &Answer::Interpret(RunClass::OtherRules);
        }
        let answer = self.bring(backend, frame, pinned, allowance);
        Self::begin(answer, backend, frame, is_ruled_right, begins)
    }

    /// Notes a use of an answer, which holds if the EVM is ruled right.
    #[inline(always)]
    fn begin<'a>(
        answer: &'a Answer,
        backend: &JitBackend,
        frame: Frame<'_>,
        mut is_ruled_right: impl FnMut(Option<&ProgramEntry>) -> bool,
        begins: bool,
    ) -> &'a Answer {
        match answer {
            Answer::Run(known) if !is_ruled_right(Some(known.entry())) => {
                return &Answer::Interpret(RunClass::OtherRules);
            }
            Answer::Run(known) => {
                known.entry().usage.touch(backend.clock());
                if let Some(cold) = known.cold().filter(|_| begins) {
                    cold.heat(backend, || frame.code.original_bytes(), 1, 0);
                }
            }
            Answer::Watch(cold) if begins => {
                cold.heat(backend, || frame.code.original_bytes(), 1, 0);
            }
            Answer::Watch(_) | Answer::Interpret(_) => {}
        }
        answer
    }

    /// Whether the answer for a bytecode is at its place.
    #[inline(always)]
    fn is_at_hand(&self, place: usize, epoch: u64, id: CodeId, spec_id: SpecId) -> bool {
        let Some(Some(at_hand)) = self.at_hand.get(place) else { return false };
        at_hand.id == id && at_hand.spec_id == spec_id && at_hand.dated.holds(epoch)
    }

    /// Forgets the answer at hand for a bytecode.
    pub(super) fn forget(&mut self, code: &Bytecode) {
        let id = CodeId::of(code);
        let place = self.at_hand.get_mut(id.place(AT_HAND));
        if let Some(place) = place.filter(|place| place.as_ref().is_some_and(|at| at.id == id)) {
            *place = None;
        }
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
    fn bring(
        &mut self,
        backend: &JitBackend,
        frame: Frame<'_>,
        pinned: &mut Option<Verified>,
        allowance: &mut Allowance,
    ) -> &Answer {
        // Before the lookup: if the backend changes during it, the next frame sees another epoch
        // and asks again.
        let epoch = backend.epoch();
        let Frame { code, spec_id } = frame;
        let claimed = claimed_key(code, spec_id);
        let dated = match self.kept(&claimed, code, epoch) {
            Some(dated) => dated,
            None => {
                #[cfg(test)]
                {
                    self.asked += 1;
                }
                let mut run = |program, cold| Answer::Run(Known::new(pinned.insert(program), cold));
                let answer = match backend.consult(&claimed, code, allowance) {
                    Consultation::Run(program) => run(program, None),
                    Consultation::First(program, cold) => run(program, Some(cold)),
                    Consultation::Watch(cold) => Answer::Watch(cold),
                    Consultation::Interpret(class) => Answer::Interpret(class),
                };
                Dated { epoch, answer }
            }
        };
        self.keep(claimed, dated.clone());
        self.at_hand.resize_with(AT_HAND, || None);
        let id = CodeId::of(code);
        let at_hand = AtHand { id, spec_id, dated, _code: Bytecode::clone(code) };
        &self.at_hand[id.place(AT_HAND)].insert(at_hand).dated.answer
    }

    /// The answer that is kept for what is claimed, as far as it holds and is one for `code`.
    fn kept(&self, claimed: &RuntimeCacheKey, code: &Bytecode, epoch: u64) -> Option<Dated> {
        let dated = self.answers.get(claimed).filter(|dated| dated.holds(epoch))?;
        let answer = match &dated.answer {
            Answer::Run(known) if known.entry().is_current() => {
                Answer::Run(Known::new(&known.pin()?.for_code(code)?, known.cold().cloned()))
            }
            Answer::Run(_) => return None,
            Answer::Watch(cold) if !cold.is_for(claimed) => return None,
            answer => answer.clone(),
        };
        Some(Dated { answer, ..*dated })
    }

    fn keep(&mut self, claimed: RuntimeCacheKey, dated: Dated) {
        if self.answers.len() >= MAX_ANSWERS || self.held >= MAX_HELD {
            self.start_over();
        }
        self.held += dated.held();
        if let Some(replaced) = self.answers.insert(claimed, dated) {
            self.held -= replaced.held();
        }
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
    fn a_program_is_asked_for_again_when_it_is_revoked_and_not_when_another_comes() {
        let (backend, mut cache, code) = (backend(), LocalCache::default(), code(1));
        assert!(cache.program(&backend, frame(&code), || true).is_some());
        // Held, so that a new program can't be at its address.
        let before = backend.get_compiled(code.hash_slow(), SPEC).unwrap();
        let (epoch, asked) = (backend.epoch(), cache.asked);
        assert!(LocalCache::default().program(&backend, frame(&self::code(2)), || true).is_some());
        assert_ne!(backend.epoch(), epoch, "another came");
        let again = cache.program(&backend, frame(&code), || true).unwrap();
        assert!(Arc::ptr_eq(&before, again.program()));
        assert_eq!(cache.asked, asked);
        backend.clear_resident();
        let anew = cache.program(&backend, frame(&code), || true).unwrap();
        assert!(!Arc::ptr_eq(&before, anew.program()) && cache.asked == asked + 1);
    }

    #[test]
    fn what_is_no_program_holds_for_an_epoch() {
        let (backend, mut cache, refused) = (backend(), LocalCache::default(), refused());
        let refused = ExtBytecode::new(refused);
        for asked in [1, 1, 2] {
            if asked == 2 {
                backend.clear_resident();
            }
            assert!(cache.program(&backend, frame(&refused), || true).is_none());
            assert_eq!(cache.asked, asked);
        }
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
            let held: usize = cache.answers.values().map(Dated::held).sum();
            assert_eq!(held, cache.held);
            assert!(held <= MAX_HELD + 20_008, "{held}");
        }
    }
}
