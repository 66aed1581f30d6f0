//! Counters of frames, kept by each EVM for itself and summed by whoever reads.
//!
//! An EVM has a [`FrameCounts`] of its own, on cache lines of its own: it alone writes there, by a
//! load and a store, so a count costs what it costs in a plain field. It borrows them from its
//! backend's [`FrameRegistry`] with the first frame that it runs, and gives them back, with what
//! they say, when it is dropped; the next EVM counts on. So there are as many as there were EVMs at
//! once, and nothing is added up where an EVM ends. They also say which code the EVM executes (see
//! [`crate::reclaim`]). Lock: the registry's, to borrow, to give back, and for a sum.

use crate::{
    frame_stats::{FrameStats, HandOverStats, InterpretedStats, RunStats},
    locks::lock,
    program::Executing,
    runtime::JitBackend,
};
use cranevm_codegen::code_memory::ForkGuard;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// What a run, or a part of one, is put down to. The native ones are first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunClass {
    Optimised,
    Baseline,
    First,
    Cold,
    Ineligible,
    Failed,
    Creation,
    Inspected,
    OtherRules,
    Disabled,
    HandedOver,
    Other,
}

const CLASSES: usize = RunClass::Other as usize + 1;

/// Something that happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameEvent {
    NotEnteredAtStart,
    NotEnteredAtResume,
    AbsentCode,
    Instruction,
    EnteredOnStack,
}

const EVENTS: usize = FrameEvent::EnteredOnStack as usize + 1;

/// An EVM's counters.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct FrameCounts {
    /// Not a count, but the EVM writes it as often, and so it is here.
    pub(crate) executing: Executing,
    runs: [Runs; CLASSES],
    events: [AtomicU64; EVENTS],
}

/// The runs of one class.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// Those that went on after a nested frame, and those that began a frame.
    by_begin: [AtomicU64; 2],
    gas: AtomicU64,
}

impl Runs {
    /// Counts a run, which begins a frame or goes on with one.
    #[inline(always)]
    pub(crate) fn run(&self, begins: bool) {
        add(&self.by_begin[usize::from(begins)], 1);
    }

    /// Takes back the count of a run.
    pub(crate) fn take_back(&self, begins: bool) {
        add(&self.by_begin[usize::from(begins)], u64::MAX);
    }

    /// Counts gas.
    #[inline(always)]
    pub(crate) fn burn(&self, gas: u64) {
        add(&self.gas, gas);
    }
}

impl FrameCounts {
    /// What is put down to a class.
    #[inline(always)]
    pub(crate) fn of(&self, class: RunClass) -> &Runs {
        &self.runs[class as usize]
    }

    #[cold]
    pub(crate) fn note(&self, event: FrameEvent) {
        add(&self.events[event as usize], 1);
    }

    fn add_to(&self, sums: &mut FrameSums) {
        use RunClass::*;
        let FrameSums { stats, hits, misses } = sums;
        let FrameStats { optimised, baseline, interpreted, hand_overs, entered_on_stack, lookups } =
            stats;
        let InterpretedStats {
            cold,
            ineligible,
            failed,
            creation,
            inspected,
            other_rules,
            disabled,
            handed_over,
            other,
        } = interpreted;
        let mut first = RunStats::default();
        for (class, into) in [
            (Optimised, optimised),
            (Baseline, baseline),
            (First, &mut first),
            (Cold, cold),
            (Ineligible, ineligible),
            (Failed, failed),
            (Creation, creation),
            (Inspected, inspected),
            (OtherRules, other_rules),
            (Disabled, disabled),
            (HandedOver, handed_over),
            (Other, other),
        ] {
            let Runs { by_begin: [resumed, begun], gas } = &self.runs[class as usize];
            let (resumed, begun) = (resumed.load(Relaxed), begun.load(Relaxed));
            *into += RunStats { frames: begun, gas: gas.load(Relaxed) };
            let runs = begun.wrapping_add(resumed);
            match class {
                Creation | Inspected | Disabled => continue,
                Optimised | Baseline | HandedOver => *hits += runs,
                // No lookup finds the first tier's programs.
                First | Cold | Failed => *misses += runs,
                Ineligible | OtherRules | Other => {}
            }
            *lookups += runs;
        }
        *baseline += first;
        let HandOverStats { at_start, at_resume, absent_code, instruction } = hand_overs;
        for (event, into) in [
            (FrameEvent::NotEnteredAtStart, at_start),
            (FrameEvent::NotEnteredAtResume, at_resume),
            (FrameEvent::AbsentCode, absent_code),
            (FrameEvent::Instruction, instruction),
            (FrameEvent::EnteredOnStack, entered_on_stack),
        ] {
            *into += self.events[event as usize].load(Relaxed);
        }
    }
}

/// Adds to what this thread alone writes.
#[inline(always)]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

/// All counters of a backend's EVMs.
#[derive(Debug)]
pub(crate) struct FrameRegistry {
    registered: Mutex<Registered>,
    /// Of the process that counts.
    guard: ForkGuard,
}

impl Default for FrameRegistry {
    fn default() -> Self {
        Self { registered: Mutex::default(), guard: ForkGuard::new(false) }
    }
}

#[derive(Debug, Default)]
struct Registered {
    all: Vec<Arc<FrameCounts>>,
    /// Those of them that no EVM has.
    idle: Vec<Arc<FrameCounts>>,
}

/// What frames ran, and what came of looking for their programs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameSums {
    pub(crate) stats: FrameStats,
    /// Searches that found a program.
    pub(crate) hits: u64,
    /// Searches for eligible code that didn't.
    pub(crate) misses: u64,
}

impl FrameRegistry {
    fn lend(&self) -> Arc<FrameCounts> {
        let mut registered = lock(&self.registered);
        registered.idle.pop().unwrap_or_else(|| {
            let counts = Arc::<FrameCounts>::default();
            registered.all.push(Arc::clone(&counts));
            counts
        })
    }

    fn take_back(&self, counts: Arc<FrameCounts>) {
        // A thread that a child doesn't have may have had the lock when it was forked.
        if self.is_owned() {
            lock(&self.registered).idle.push(counts);
        }
    }

    /// Whether this is the process that counts.
    pub(crate) fn is_owned(&self) -> bool {
        self.guard.is_owner()
    }

    /// The sums of all counters. Nobody waits for them to be read.
    pub(crate) fn sums(&self) -> FrameSums {
        let all = lock(&self.registered).all.clone();
        let mut sums = FrameSums::default();
        all.iter().for_each(|counts| counts.add_to(&mut sums));
        sums
    }

    /// The addresses of the entries that EVMs execute by.
    pub(crate) fn executing(&self) -> Vec<usize> {
        let all = lock(&self.registered).all.clone();
        all.iter().map(|counts| counts.executing.get()).filter(|&entry| entry != 0).collect()
    }

    /// Counters that were made.
    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.registered).all.len()
    }
}

/// An EVM's hold on its counters: nothing, until it runs its first frame.
#[derive(Debug, Default)]
pub(crate) struct Tally(Option<Lent>);

#[derive(Debug)]
struct Lent {
    counts: Arc<FrameCounts>,
    registry: Arc<FrameRegistry>,
}

impl Tally {
    /// The counters, borrowed from `backend` if there are none yet; `None` if it has none, for it
    /// was never switched on.
    #[inline(always)]
    pub(crate) fn counts(&mut self, backend: &JitBackend) -> Option<&FrameCounts> {
        if self.0.is_none() {
            self.borrow_from(backend);
        }
        self.lent()
    }

    /// The counters, if they were borrowed.
    #[inline(always)]
    pub(crate) fn lent(&self) -> Option<&FrameCounts> {
        self.0.as_ref().map(|lent| &*lent.counts)
    }

    /// Gives the counters back: what comes is another backend's to count.
    pub(crate) fn give_back(&mut self) {
        if let Some(Lent { counts, registry }) = self.0.take() {
            registry.take_back(counts);
        }
    }

    #[cold]
    fn borrow_from(&mut self, backend: &JitBackend) {
        self.0 = backend.frame_registry().map(|registry| {
            let registry = Arc::clone(registry);
            Lent { counts: registry.lend(), registry }
        });
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::RuntimeConfig;

    #[test]
    fn there_are_as_many_as_there_were_evms_at_once() {
        let backend = JitBackend::new(RuntimeConfig::default()).unwrap();
        let registry = Arc::clone(backend.frame_registry().unwrap());
        for _ in 0..1000 {
            let (mut first, mut second, _never_ran) =
                (Tally::default(), Tally::default(), Tally::default());
            first.counts(&backend).unwrap().of(RunClass::Cold).run(true);
            second.counts(&backend).unwrap().of(RunClass::Cold).burn(3);
        }
        assert_eq!(registry.len(), 2);
        let RunStats { frames, gas } = registry.sums().stats.interpreted.cold;
        assert_eq!((frames, gas), (1000, 3000));
        assert_eq!(registry.sums().stats.total(), RunStats { frames, gas });
    }

    #[test]
    fn nothing_is_counted_twice_or_left_out() {
        use RunClass::*;
        let counts = FrameCounts::default();
        let classes = [
            Optimised, Baseline, First, Cold, Ineligible, Failed, Creation, Inspected, OtherRules,
            Disabled, HandedOver, Other,
        ];
        assert_eq!(classes.len(), CLASSES);
        for (index, class) in classes.into_iter().enumerate() {
            assert_eq!(class as usize, index);
            let runs = counts.of(class);
            runs.run(true);
            runs.run(false);
            runs.run(true);
            runs.take_back(true);
            runs.burn(1 << index);
        }
        let mut sums = FrameSums::default();
        counts.add_to(&mut sums);
        let sum = sums.stats;
        assert_eq!(sum.total(), RunStats { frames: 12, gas: (1 << CLASSES) - 1 });
        assert_eq!(sum.native(), RunStats { frames: 3, gas: 7 });
        assert_eq!(sum.baseline, RunStats { frames: 2, gas: 6 });
        assert_eq!(sum.interpreted.other, RunStats { frames: 1, gas: 1 << (CLASSES - 1) });
        assert_eq!(sum.lookups, 18);
    }
}
