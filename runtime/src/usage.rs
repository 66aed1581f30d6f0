//! How often programs, and contracts without one, were used of late: one measure for both, so that
//! they can be compared.
//!
//! A use is counted at most once in each **tick** of the backend's clock. So who runs a program
//! again and again notes that once, and reads what it shares with others otherwise. Ticks make
//! **eras**, of twice as many as there are resident programs: an era later a use counts half.
//! Nobody goes over the counters for that; who looks at one, or adds to it, does it then.
//!
//! The clock moves with what asks for room: each publication, and, where there is no room, each
//! [few frames](crate::hotness) of a contract without a program. While nobody does, nothing gets
//! older: a node that is idle between two blocks forgets nothing. Sweeps move it by a tick, so that
//! they see what was used since the last.
//!
//! Cost: a use costs a load, and two stores more if the clock has moved. Threads that count at once
//! may count one use instead of two.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Ticks of an era are the lower bits of the clock, eras the upper ones.
const ERA: u32 = 16;
const TICKS: u32 = (1 << ERA) - 1;

/// Least ticks of an era.
const MIN_TICKS: usize = 32;

/// The clock of a backend.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicU32);

impl Clock {
    #[inline]
    pub(crate) fn now(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Moves on by a tick, where so many programs are resident; the time then. A difference of
    /// times tells which was later, not how long ago that was.
    pub(crate) fn tick(&self, residents: usize) -> u32 {
        let ticks = residents.saturating_mul(2).clamp(MIN_TICKS, TICKS as usize) as u32;
        let next = |now: u32| match now & TICKS {
            tick if tick + 1 < ticks => now + 1,
            // The next era. They wrap round, after which what wasn't used since counts anew.
            _ => (now | TICKS).wrapping_add(1),
        };
        let before = self.0.fetch_update(Relaxed, Relaxed, |now| Some(next(now)));
        next(before.unwrap_or_else(|now| now))
    }
}

/// Uses of a program or a contract, and when the last was.
#[derive(Debug)]
pub(crate) struct Usage {
    last: AtomicU32,
    /// As of then.
    count: AtomicU32,
}

impl Default for Usage {
    /// Not used yet.
    fn default() -> Self {
        // No time that a clock shows for long.
        Self { last: AtomicU32::new(u32::MAX), count: AtomicU32::new(0) }
    }
}

impl Usage {
    /// Notes a use.
    #[inline]
    pub(crate) fn touch(&self, now: u32) {
        if self.last.load(Relaxed) != now {
            self.count(now);
        }
    }

    #[cold]
    fn count(&self, now: u32) {
        if self.is_later(now) {
            // Somebody who read the clock after this thread has counted.
            return;
        }
        self.count.store(self.at(now).saturating_add(1), Relaxed);
        self.last.store(now, Relaxed);
    }

    /// Whether it was used after this time, of somebody who read the clock before others did.
    fn is_later(&self, now: u32) -> bool {
        // Two eras at most: what seems later still was used long ago.
        (1..=2 << ERA).contains(&self.last().wrapping_sub(now))
    }

    /// Time since the last use.
    pub(crate) fn unused(&self, now: u32) -> u32 {
        if self.is_later(now) { 0 } else { now.wrapping_sub(self.last()) }
    }

    /// The uses, as they count now.
    pub(crate) fn at(&self, now: u32) -> u32 {
        let eras = match self.is_later(now) {
            true => 0,
            false => (now >> ERA).wrapping_sub(self.last() >> ERA) & TICKS,
        };
        self.count.load(Relaxed).checked_shr(eras).unwrap_or(0)
    }

    /// When it was last used.
    pub(crate) fn last(&self) -> u32 {
        self.last.load(Relaxed)
    }

    /// Takes over what is known of another's uses.
    pub(crate) fn inherit(&self, other: &Self) {
        self.count.store(other.count.load(Relaxed), Relaxed);
        self.last.store(other.last(), Relaxed);
    }

    /// Counts uses from before it was counted here, as they count now.
    pub(crate) fn add(&self, uses: u32, now: u32) {
        self.count.store(self.at(now).saturating_add(uses), Relaxed);
        self.last.store(now, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who looks, or counts, may have read the clock before others did: also over the start of an
    /// era.
    #[test]
    fn what_was_used_after_one_has_read_the_clock_was_used() {
        for now in [7, (1 << ERA) | 1, u32::MAX - 1] {
            let usage = Usage::default();
            usage.add(9, now);
            for before in [now.wrapping_sub(1), now.wrapping_sub(1 << ERA)] {
                assert_eq!((usage.at(before), usage.unused(before)), (9, 0));
                usage.touch(before);
                assert_eq!((usage.at(now), usage.last()), (9, now));
            }
        }
    }

    #[test]
    fn uses_count_once_a_tick_and_half_an_era_later() {
        let (clock, usage) = (Clock::default(), Usage::default());
        assert_eq!(usage.at(clock.now()), 0);
        (0..3).for_each(|_| usage.touch(clock.now()));
        assert_eq!(usage.at(clock.now()), 1);
        for uses in 2..10 {
            usage.touch(clock.tick(0));
            assert_eq!(usage.at(clock.now()), uses);
        }
        let ticks_to_come = MIN_TICKS - 9;
        for _ in 0..ticks_to_come {
            assert_eq!(usage.at(clock.tick(0)), 9);
        }
        for halved in [4, 2, 1, 0, 0] {
            assert_eq!(usage.at(clock.tick(0)), halved);
            (1..MIN_TICKS).for_each(|_| assert_eq!(usage.at(clock.tick(0)), halved));
        }
        usage.touch(clock.tick(0));
        assert_eq!(usage.at(clock.now()), 1);
    }

    #[test]
    fn eras_are_as_long_as_twice_the_residents_within_bounds() {
        for (residents, ticks) in
            [(0, MIN_TICKS), (1000, 2000), (1 << 20, TICKS as usize), (usize::MAX, TICKS as usize)]
        {
            let clock = Clock::default();
            let of_the_first = (0..1 << 17).take_while(|_| clock.tick(residents) <= TICKS).count();
            assert_eq!(of_the_first + 1, ticks);
        }
    }

    #[test]
    fn the_clock_wraps_round() {
        let clock = Clock(AtomicU32::new(u32::MAX));
        let usage = Usage::default();
        usage.add(4, u32::MAX);
        assert_eq!(clock.tick(0), 0);
        assert_eq!(usage.at(0), 2);
        assert_eq!(clock.tick(0), 1);
    }

    #[test]
    fn what_takes_a_programs_place_counts_on() {
        let [old, new] = [(); 2].map(|()| Usage::default());
        old.add(5, 7);
        new.inherit(&old);
        assert_eq!((new.at(7), new.last()), (5, 7));
        new.touch(8);
        assert_eq!(new.at(8), 6);
    }
}
