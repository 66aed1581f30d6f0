//! Counters of a backend.
//!
//! Bumped with relaxed atomics where things happen, so a snapshot is current, but its fields aren't
//! read at one instant. What happens to each frame is counted by the EVMs (`frame_counts.rs`).

use crate::{artifacts::ArtifactRefusals, frame_counts::FrameSums, frame_stats::FrameStats};
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// A backend's statistics. Counters start at zero with the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeStatsSnapshot {
    /// Lookups answered with a resident program: by calls of this backend, and for each run of a
    /// frame, also where an EVM's own cache knew the answer. A frame looks when it begins and each
    /// time that it goes on after a nested call.
    pub lookup_hits: u64,
    /// Lookups of eligible code, likewise, that found no resident program, and blocking ones that
    /// had to compile.
    pub lookup_misses: u64,
    /// Hot contracts that weren't queued because the queue was full or there are no workers (they
    /// count anew), and events that `on_compilation` was too slow to hear.
    pub events_dropped: u64,
    /// Explicit requests for compilation or artifacts that were refused.
    pub commands_dropped: u64,
    /// Programs resident now.
    pub resident_entries: u64,
    /// Contracts that are called often, waiting for a worker now, and events waiting for
    /// `on_compilation`.
    pub events_queued: u64,
    /// What is more urgent, waiting for a worker now: explicit requests, contracts that burn much
    /// gas, and callers' requests for help.
    pub command_queue_len: u64,
    /// Contracts accepted for compilation or an upgrade, waiting or under way. 0 means that
    /// all is compiled that was asked for, but for upgrades that were put off: for want of memory,
    /// of a helper process, or of room in their queue. Those aren't counted until there may be
    /// some.
    pub pending_jobs: u64,
    /// Bytes of executable memory held for this backend's programs, resident or kept by callers:
    /// whole pages, which programs share.
    pub jit_code_bytes: u64,
    /// Bytes of tables held by this backend's programs, resident or kept by callers, and of the
    /// bytecode that they keep to compare others with.
    pub jit_data_bytes: u64,
    /// Programs evicted for the budget or for idleness. `clear_*` isn't eviction.
    pub evictions: u64,
    /// Times that a contract without a program was used often enough to ask for one, and got none,
    /// for the budget is taken up by such that are used as much or more. It asks again.
    pub admissions_refused: u64,
    /// Compilations begun: of contracts without a program, each once, until a clear or an eviction.
    /// Those that succeeded, those that failed, and those under way add up to this. Upgrades are
    /// counted apart.
    pub compilations_dispatched: u64,
    /// Compilations that gave a program. As long as nothing was evicted, cleared, or loaded from
    /// artifacts, these are [`resident_entries`](Self::resident_entries).
    pub compilations_succeeded: u64,
    /// Compilations that failed, or were given up because of a `clear_*`, an eviction or the end of
    /// the backend.
    pub compilations_failed: u64,
    /// Upgrades begun: compilations of contracts that run already, for better code. In the
    /// background each contract is put together from stencils first, so that it is native soon, and
    /// then at [`jit_opt_level`](crate::runtime::RuntimeTuning::jit_opt_level), unless that is the
    /// baseline; once more, if it turns out to have been guessed wrong what runs.
    pub upgrades_dispatched: u64,
    /// Upgrades that gave better code, which is in place of the other.
    pub upgrades_succeeded: u64,
    /// Upgrades that failed, or were given up as compilations are: the program stays as it was.
    pub upgrades_failed: u64,
    /// Helper processes that were started and became ready. In process, this and all other
    /// `jit_helper_*` are 0.
    pub jit_helper_spawns: u64,
    /// Helper processes that couldn't be started, or didn't become ready: missing, not executable,
    /// of another version, ended or silent before they were.
    pub jit_helper_spawn_failures: u64,
    /// Of [`jit_helper_spawns`](Self::jit_helper_spawns), those in place of one that was lost.
    pub jit_helper_restarts: u64,
    /// Helper processes killed because a job took longer than `jit_timeout`.
    pub jit_helper_timeouts: u64,
    /// Helper processes that ended unasked, or were killed because what they said isn't understood.
    pub jit_helper_disconnects: u64,
    /// Times that the gate before the helpers was closed: calls of `pause` while it was open.
    pub jit_helper_pause_requests: u64,
    /// The same number: the gate is on this side, and closed when the call returns. A helper isn't
    /// stopped; it ends the job that it is at, and gets no other.
    pub jit_helper_pause_acknowledgements: u64,
    /// Always 0: nothing is sent that could fail.
    pub jit_helper_pause_failures: u64,
    /// Always 0: nobody's answer is waited for.
    pub jit_helper_pause_timeouts: u64,
    /// Times that the gate was opened again.
    pub jit_helper_resume_requests: u64,
    /// Always 0: nothing is sent that could fail.
    pub jit_helper_resume_failures: u64,
    /// Programs loaded from artifacts. They aren't compilations.
    pub artifacts_loaded: u64,
    /// Artifacts stored.
    pub artifacts_stored: u64,
    /// Calls that the artifact store failed or panicked in.
    pub artifact_store_errors: u64,
    /// Transactions that were given up, for native code was found to have broken a rule. More than
    /// 0 is a defect of this crate, or of the machine.
    pub faults: u64,
    /// Artifacts that weren't loaded, by reason.
    pub artifact_refusals: ArtifactRefusals,
    /// What the first tier made.
    pub first_tier: FirstTierStats,
    /// How the frames of this backend's EVMs ran.
    pub frames: FrameStats,
}

/// What the first tier made: code of contracts that run, before they are worth more. None of it is
/// counted elsewhere but in bytes, evictions and frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstTierStats {
    /// Programs resident now.
    pub resident: u64,
    /// Times that a contract's code was begun to be made.
    pub dispatched: u64,
    /// Those that were made; not all are resident, for others may have come first, and init code's
    /// never are.
    pub succeeded: u64,
    /// Those that couldn't be made.
    pub failed: u64,
    /// Contracts left to a worker, for their transaction or block had had its part of compiling.
    pub put_off: u64,
    /// Time spent in making code, by whichever threads, in nanoseconds.
    pub nanoseconds: u64,
}

impl RuntimeStatsSnapshot {
    /// Bytes of code and tables held by this backend's programs.
    pub const fn jit_total_bytes(&self) -> u64 {
        self.jit_code_bytes.saturating_add(self.jit_data_bytes)
    }
}

/// A counter that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn bump(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter that threads share without sharing a cache line.
#[derive(Debug, Default)]
pub(crate) struct Striped([Stripe; STRIPES]);

const STRIPES: usize = 8;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

impl Striped {
    pub(crate) fn bump(&self) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static STRIPE: usize = THREADS.fetch_add(1, Relaxed) % STRIPES;
        }
        // A thread that is ending counts on the first stripe.
        let stripe = STRIPE.try_with(|stripe| *stripe).unwrap_or(0);
        self.0[stripe].0.fetch_add(1, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Relaxed)).sum()
    }
}

/// A quantity that grows and shrinks.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes back what was added before.
    pub(crate) fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counts releases of a resource. Who has read a count also sees what those releases freed.
#[derive(Debug, Default)]
pub(crate) struct Releases(AtomicU64);

impl Releases {
    /// To be called after the release.
    pub(crate) fn bump(&self) {
        self.0.fetch_add(1, Release);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// What became of attempts to compile.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) dispatched: Counter,
    pub(crate) succeeded: Counter,
    pub(crate) failed: Counter,
}

impl Outcomes {
    /// Those begun, and those that succeeded and failed. The ends are read before the beginnings,
    /// so that they never exceed them.
    fn get(&self) -> [u64; 3] {
        let (succeeded, failed) = (self.succeeded.get(), self.failed.get());
        [self.dispatched.get(), succeeded, failed]
    }
}

/// The counters behind a [`FirstTierStats`].
#[derive(Debug, Default)]
pub(crate) struct FirstTierCounters {
    pub(crate) outcomes: Outcomes,
    pub(crate) put_off: Counter,
    pub(crate) nanoseconds: Counter,
}

impl FirstTierCounters {
    /// The counters' values, where so many programs are resident.
    fn snapshot(&self, resident: u64) -> FirstTierStats {
        let [dispatched, succeeded, failed] = self.outcomes.get();
        let (put_off, nanoseconds) = (self.put_off.get(), self.nanoseconds.get());
        FirstTierStats { resident, dispatched, succeeded, failed, put_off, nanoseconds }
    }
}

/// The counters behind a [`RuntimeStatsSnapshot`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) lookup_hits: Striped,
    pub(crate) lookup_misses: Striped,
    /// Programs that a frame in blocking mode didn't find, and then ran.
    pub(crate) compiled_for_runs: Counter,
    pub(crate) events_dropped: Counter,
    pub(crate) commands_dropped: Counter,
    pub(crate) evictions: Counter,
    pub(crate) admissions_refused: Counter,
    pub(crate) faults: Counter,
    pub(crate) first_tier: FirstTierCounters,
    pub(crate) compilations: Outcomes,
    pub(crate) upgrades: Outcomes,
    pub(crate) jit_helper_spawns: Counter,
    pub(crate) jit_helper_spawn_failures: Counter,
    pub(crate) jit_helper_restarts: Counter,
    pub(crate) jit_helper_timeouts: Counter,
    pub(crate) jit_helper_disconnects: Counter,
    pub(crate) jit_helper_pauses: Counter,
    pub(crate) jit_helper_resumes: Counter,
}

impl Counters {
    /// The counters' values, where so many programs of the first tier are resident. Other fields
    /// that aren't counters are left at zero for the caller to fill in.
    pub(crate) fn snapshot(&self, frames: &FrameSums, first: u64) -> RuntimeStatsSnapshot {
        let [compilations_dispatched, compilations_succeeded, compilations_failed] =
            self.compilations.get();
        let [upgrades_dispatched, upgrades_succeeded, upgrades_failed] = self.upgrades.get();
        let compiled_for_runs = self.compiled_for_runs.get();
        let hits = self.lookup_hits.get() + frames.hits;
        RuntimeStatsSnapshot {
            // A program may have been compiled whose run hasn't been counted.
            lookup_hits: hits.saturating_sub(compiled_for_runs),
            lookup_misses: self.lookup_misses.get() + frames.misses + compiled_for_runs,
            frames: frames.stats,
            first_tier: self.first_tier.snapshot(first),
            events_dropped: self.events_dropped.get(),
            commands_dropped: self.commands_dropped.get(),
            evictions: self.evictions.get(),
            admissions_refused: self.admissions_refused.get(),
            faults: self.faults.get(),
            compilations_dispatched,
            compilations_succeeded,
            compilations_failed,
            upgrades_dispatched,
            upgrades_succeeded,
            upgrades_failed,
            jit_helper_restarts: self.jit_helper_restarts.get(),
            jit_helper_spawns: self.jit_helper_spawns.get(),
            jit_helper_spawn_failures: self.jit_helper_spawn_failures.get(),
            jit_helper_timeouts: self.jit_helper_timeouts.get(),
            jit_helper_disconnects: self.jit_helper_disconnects.get(),
            jit_helper_pause_requests: self.jit_helper_pauses.get(),
            jit_helper_pause_acknowledgements: self.jit_helper_pauses.get(),
            jit_helper_resume_requests: self.jit_helper_resumes.get(),
            ..Default::default()
        }
    }
}
