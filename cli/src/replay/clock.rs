//! Processor time, of a thread and of the process: what other programs take of the machine isn't
//! in it.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

/// The processor time of this thread so far.
pub(super) fn thread() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// The processor time of all threads of the process so far, those that have ended included.
pub(super) fn process() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// A processor's clock begins at 0 and doesn't go back.
fn duration(time: Timespec) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}

/// Processor time of the other threads of the process from a moment on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Others {
    process: Duration,
    thread: Duration,
}

impl Others {
    /// From now on.
    pub(super) fn start() -> Self {
        Self { process: process(), thread: thread() }
    }

    /// Up to now, as seen by the thread that started it.
    pub(super) fn elapsed(&self) -> Duration {
        let own = thread().saturating_sub(self.thread);
        process().saturating_sub(self.process).saturating_sub(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    fn work() {
        let begin = thread();
        let mut sum = 0u64;
        while thread() - begin < Duration::from_millis(20) {
            sum = black_box((0..10_000).fold(sum, u64::wrapping_add));
        }
    }

    #[test]
    fn own_work_is_not_the_others() {
        let others = Others::start();
        work();
        std::thread::spawn(work).join().unwrap();
        let elapsed = others.elapsed();
        // The other threads of the test process work too.
        assert!(elapsed >= Duration::from_millis(20), "{elapsed:?}");
    }
}
