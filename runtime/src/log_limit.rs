//! At most one log line a minute, from whichever thread comes first.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// Guards one kind of log line.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    start: OnceLock<Instant>,
    /// When the next line may come: seconds since `start`.
    next: AtomicU64,
}

impl LogLimit {
    /// Whether a line may be written now.
    pub(crate) fn permits(&self) -> bool {
        let now = self.start.get_or_init(Instant::now).elapsed().as_secs();
        let next = self.next.load(Relaxed);
        let then = now + INTERVAL.as_secs();
        now >= next && self.next.compare_exchange(next, then, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_one_of_many() {
        let limit = LogLimit::default();
        assert_eq!((0..1000).filter(|_| limit.permits()).count(), 1);
    }
}
