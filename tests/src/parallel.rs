//! Running many small jobs on all cores, with stacks deep enough for nested frames and a watchdog
//! that names the job when one hangs.

use cranevm_codegen::mark_deep_stack;
use std::{
    any::Any,
    io::{self, Write},
    panic::resume_unwind,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Stack of a worker. A compiler without optimisation uses large frames.
const STACK_BYTES: usize = 64 << 20;

/// A job that takes longer has hung: the process is ended, since the thread can't be. The longest
/// take seconds natively, and a minute in an emulator; a busy machine has a share of a core.
const JOB_LIMIT: Duration = Duration::from_secs(600);

/// Calls `run(&worker_state, job)` for every job in `0..jobs`, on as many threads as there are
/// cores. `init` makes a thread's state. Returns the states. With the environment variable
/// `CRANEVM_TRACE`, prints the index of each job before it starts, so that a crash of the process
/// can be traced to one.
///
/// # Panics
/// With the payload of the first worker that panicked. The others stop at their next job.
pub fn for_each<S: Send>(
    jobs: usize,
    init: impl Fn() -> S + Sync,
    run: impl Fn(&mut S, usize) + Sync,
) -> Vec<S> {
    for_each_within(JOB_LIMIT, jobs, init, run)
}

/// [`for_each`], of jobs of which none takes as long as `limit` unless it hangs.
///
/// # Panics
/// As [`for_each`].
pub fn for_each_within<S: Send>(
    limit: Duration,
    jobs: usize,
    init: impl Fn() -> S + Sync,
    run: impl Fn(&mut S, usize) + Sync,
) -> Vec<S> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(jobs.max(1));
    let trace = std::env::var_os("CRANEVM_TRACE").is_some();
    let next = AtomicUsize::new(0);
    let watches: Vec<Watch> = (0..workers).map(|_| Watch::default()).collect();
    let work = |watch: &Watch| {
        // Deeper: what is compiled in a test needs no other thread.
        mark_deep_stack();
        let mut state = init();
        let stop = StopOnPanic { next: &next, jobs };
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= jobs {
                break;
            }
            if trace {
                eprintln!("job {job}");
            }
            watch.start(job);
            run(&mut state, job);
            watch.stop();
        }
        drop(stop);
        state
    };
    thread::scope(|scope| {
        let handles: Vec<_> = watches
            .iter()
            .map(|watch| {
                let work = &work;
                let builder = thread::Builder::new().stack_size(STACK_BYTES);
                builder.spawn_scoped(scope, move || work(watch)).expect("a thread for the tests")
            })
            .collect();
        while handles.iter().any(|handle| !handle.is_finished()) {
            watches.iter().for_each(|watch| watch.abort_if_hung(limit));
            thread::sleep(Duration::from_millis(20));
        }
        handles.into_iter().map(|handle| handle.join().unwrap_or_else(|p| rethrow(p))).collect()
    })
}

/// Runs one closure on a thread with a deep stack, under the watchdog.
///
/// # Panics
/// With the closure's payload.
pub fn on_deep_stack(run: impl Fn() + Sync) {
    for_each(1, || (), |(), _| run());
}

fn rethrow(payload: Box<dyn Any + Send>) -> ! {
    resume_unwind(payload)
}

/// Makes the other workers run out of jobs when a worker unwinds.
struct StopOnPanic<'a> {
    next: &'a AtomicUsize,
    jobs: usize,
}

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.next.store(self.jobs, Ordering::Relaxed);
        }
    }
}

/// The job a worker is at, and since when.
#[derive(Default)]
struct Watch(Mutex<Option<(usize, Instant)>>);

impl Watch {
    fn start(&self, job: usize) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((job, Instant::now()));
    }

    fn stop(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn abort_if_hung(&self, limit: Duration) {
        if let Some((job, since)) = *self.0.lock().unwrap_or_else(PoisonError::into_inner)
            && since.elapsed() > limit
        {
            // Not by `eprintln!`, whose output the test harness keeps to itself.
            let _ = writeln!(io::stderr(), "job {job} hangs: no end after {limit:?}");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_runs_once() {
        let counts = for_each(1000, Vec::new, |done: &mut Vec<usize>, job| done.push(job));
        let mut all: Vec<_> = counts.into_iter().flatten().collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1000));
    }

    #[test]
    #[should_panic = "job 3"]
    fn a_panic_is_carried_out() {
        for_each(10, || (), |(), job| assert!(job != 3, "job 3"));
    }
}
