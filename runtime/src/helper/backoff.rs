//! When the next helper may be started: at once after one failure, later and later after several
//! on end.

use std::time::{Duration, Instant};

/// The delay after the second failure on end; each further one doubles it.
const FIRST: Duration = Duration::from_millis(100);

/// The longest delay: how late helpers come back once whatever ailed them is over.
const LONGEST: Duration = Duration::from_secs(10);

/// Failures of helpers on end, and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// Nothing is started before.
    until: Option<Instant>,
}

impl Backoff {
    /// A helper ended unasked, or didn't start.
    pub(super) fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.until = delay(self.failures).and_then(|delay| now.checked_add(delay));
    }

    /// A helper did what it was asked.
    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// Failures on end.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Time to wait before the next start; `None` if there is none.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let rest = self.until?.saturating_duration_since(now);
        (rest > Duration::ZERO).then_some(rest)
    }
}

/// The delay after so many failures on end.
fn delay(failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(2)?;
    Some(FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_free_and_delays_are_bounded() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.fail(now);
        assert_eq!(backoff.rest(now), None);
        backoff.fail(now);
        assert_eq!(backoff.rest(now), Some(FIRST));
        assert_eq!(backoff.rest(now + FIRST), None);
        backoff.fail(now);
        assert_eq!(backoff.rest(now), Some(FIRST * 2));
        (0..u32::from(u16::MAX)).for_each(|_| backoff.fail(now));
        assert_eq!(backoff.rest(now), Some(LONGEST));
        backoff.succeed();
        assert_eq!((backoff.rest(now), backoff.failures()), (None, 0));
        backoff.fail(now);
        assert_eq!(backoff.rest(now), None);
    }

    /// A hundred failures on end, each as soon as may be, take more than ten minutes.
    #[test]
    fn a_hundred_crashes_are_no_storm() {
        let start = Instant::now();
        let (mut now, mut backoff) = (start, Backoff::default());
        for _ in 0..100 {
            backoff.fail(now);
            now += backoff.rest(now).unwrap_or_default();
        }
        assert!(now - start > Duration::from_secs(600), "{:?}", now - start);
    }
}
