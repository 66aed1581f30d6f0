//! Queues of jobs in order of urgency, and the workers' way of taking from them.
//!
//! A worker takes, in this order: what it has begun itself (in a deque that idle workers steal
//! from), what others wait for most ([`Band::Urgent`], then
//! [`Band::Hot`]), what it can steal, what it has set aside, and what merely gets better
//! ([`Band::Upgrade`]). Before each job it looks at the gate that `pause` closes.
//!
//! Pushing never waits. The one lock is for going to sleep and waking a sleeper, held for a few
//! loads.

use crate::locks::lock;
use crossbeam_deque::{Injector, Steal, Stealer, Worker};
use std::sync::{
    Arc, Condvar, Mutex, PoisonError,
    atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
        fence,
    },
};

/// How urgent a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Band {
    /// Asked for by name, or burning gas right now.
    Urgent,
    /// Called often.
    Hot,
    /// Native already, to be made better.
    Upgrade,
}

/// Jobs waiting for workers, the workers' bed, and the gate.
pub(crate) struct Pool<J> {
    queues: [Queue<J>; 3],
    /// Calls of `pause` without their `resume`.
    pause_depth: AtomicUsize,
    stopping: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

struct Queue<J> {
    jobs: Injector<J>,
    /// No less than what is in `jobs`.
    len: AtomicUsize,
    capacity: usize,
}

/// A worker's place: its own deque, and where to steal from.
pub(crate) struct Station<J> {
    own: Worker<J>,
    others: Arc<[Stealer<J>]>,
    /// Begun, and to be gone on with when there is nothing better to do.
    aside: Vec<J>,
}

impl<J> Station<J> {
    /// Places for `count` workers.
    pub(crate) fn several(count: usize) -> Vec<Self> {
        let own: Vec<_> = (0..count).map(|_| Worker::new_lifo()).collect();
        let others: Arc<[_]> = own.iter().map(Worker::stealer).collect();
        let station = |own| Self { own, others: Arc::clone(&others), aside: Vec::new() };
        own.into_iter().map(station).collect()
    }

    /// Adds to the worker's own jobs. The last added is the first it takes; others steal the first.
    pub(crate) fn push(&self, job: J) {
        self.own.push(job);
    }

    /// Keeps a job for when there is nothing more urgent.
    pub(crate) fn set_aside(&mut self, job: J) {
        self.aside.push(job);
    }
}

impl<J> Drop for Station<J> {
    /// Jobs left in the deque would live until the last stealer is gone.
    fn drop(&mut self) {
        while self.own.pop().is_some() {}
    }
}

impl<J> Pool<J> {
    /// A pool in which so many jobs of each band may wait.
    pub(crate) fn new(urgent: usize, hot: usize, upgrades: usize) -> Self {
        let queue = |capacity| Queue { jobs: Injector::new(), len: AtomicUsize::new(0), capacity };
        Self {
            queues: [queue(urgent), queue(hot), queue(upgrades)],
            pause_depth: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// Queues a job and wakes a worker; gives it back if the band is full or the pool has stopped.
    pub(crate) fn push(&self, band: Band, job: J) -> Result<(), J> {
        if self.stopping.load(Acquire) {
            return Err(job);
        }
        let queue = self.queue(band);
        if queue.len.fetch_add(1, AcqRel) >= queue.capacity {
            queue.len.fetch_sub(1, AcqRel);
            return Err(job);
        }
        queue.jobs.push(job);
        fence(SeqCst);
        if self.stopping.load(SeqCst) {
            // `stop` may have emptied the queue before the job came.
            self.discard_queued();
        }
        self.wake_one();
        Ok(())
    }

    /// Jobs waiting in a band.
    pub(crate) fn queued(&self, band: Band) -> usize {
        self.queue(band).len.load(Acquire)
    }

    /// Whether another job may wait in a band.
    pub(crate) fn has_room(&self, band: Band) -> bool {
        self.queued(band) < self.queue(band).capacity
    }

    /// The next job for a worker; sleeps until there is one. `None` once the pool has stopped.
    pub(crate) fn next(&self, station: &mut Station<J>) -> Option<J> {
        loop {
            if self.stopping.load(Acquire) {
                return None;
            }
            if !self.is_paused()
                && let Some(job) = self.find(station)
            {
                return Some(job);
            }
            self.sleep_unless_wanted(station);
        }
    }

    fn find(&self, station: &mut Station<J>) -> Option<J> {
        let Station { own, others, aside } = station;
        own.pop()
            .or_else(|| self.take(Band::Urgent))
            .or_else(|| self.take(Band::Hot))
            .or_else(|| others.iter().find_map(|other| repeat(|| other.steal())))
            .or_else(|| aside.pop())
            .or_else(|| self.take(Band::Upgrade))
    }

    fn take(&self, band: Band) -> Option<J> {
        let queue = self.queue(band);
        let job = repeat(|| queue.jobs.steal())?;
        queue.len.fetch_sub(1, AcqRel);
        Some(job)
    }

    fn sleep_unless_wanted(&self, station: &Station<J>) {
        let guard = lock(&self.sleep);
        self.sleepers.fetch_add(1, SeqCst);
        // Pairs with the fence of who pushes, resumes or stops: either this thread sees the change,
        // or that one sees the sleeper, and then needs the lock to wake it, which is free only
        // while this thread waits.
        fence(SeqCst);
        let wanted = self.stopping.load(SeqCst) || (!self.is_paused() && self.has_jobs(station));
        let guard = match wanted {
            true => guard,
            false => self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner),
        };
        self.sleepers.fetch_sub(1, SeqCst);
        drop(guard);
    }

    fn has_jobs(&self, station: &Station<J>) -> bool {
        self.queues.iter().any(|queue| !queue.jobs.is_empty())
            || !station.own.is_empty()
            || !station.aside.is_empty()
            || station.others.iter().any(|other| !other.is_empty())
    }

    /// Wakes a worker, if one sleeps.
    fn wake_one(&self) {
        fence(SeqCst);
        if self.sleepers.load(SeqCst) > 0 {
            let _asleep = lock(&self.sleep);
            self.wake.notify_one();
        }
    }

    /// Wakes all workers that sleep.
    fn wake_all(&self) {
        fence(SeqCst);
        if self.sleepers.load(SeqCst) > 0 {
            let _asleep = lock(&self.sleep);
            self.wake.notify_all();
        }
    }

    /// Closes the gate; whether it was open. Calls nest.
    pub(crate) fn pause(&self) -> bool {
        // Saturating, so that a caller which only ever pauses can't wrap round to running.
        let deeper = |depth: usize| Some(depth.saturating_add(1));
        self.pause_depth.fetch_update(AcqRel, Acquire, deeper) == Ok(0)
    }

    /// Takes back one `pause`; whether that opened the gate. Without one, nothing happens.
    pub(crate) fn resume(&self) -> bool {
        let shallower = |depth: usize| depth.checked_sub(1);
        let opened = self.pause_depth.fetch_update(AcqRel, Acquire, shallower) == Ok(1);
        if opened {
            self.wake_all();
        }
        opened
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.pause_depth.load(Acquire) != 0
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Drops what is queued, and lets the workers go after the job each is at.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.discard_queued();
        self.wake_all();
    }

    fn discard_queued(&self) {
        for band in [Band::Urgent, Band::Hot, Band::Upgrade] {
            while self.take(band).is_some() {}
        }
    }

    fn queue(&self, band: Band) -> &Queue<J> {
        &self.queues[band as usize]
    }
}

/// Steals until that gives an answer.
fn repeat<J>(mut steal: impl FnMut() -> Steal<J>) -> Option<J> {
    loop {
        match steal() {
            Steal::Success(job) => return Some(job),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::atomic::AtomicU64, thread, time::Duration};

    fn pool() -> Pool<u32> {
        Pool::new(usize::MAX, usize::MAX, usize::MAX)
    }

    #[test]
    fn takes_in_order_of_urgency() {
        let pool = pool();
        let mut stations = Station::several(2);
        let mut thief = stations.pop().unwrap();
        let mut owner = stations.pop().unwrap();
        pool.push(Band::Upgrade, 9).unwrap();
        pool.push(Band::Hot, 4).unwrap();
        pool.push(Band::Urgent, 3).unwrap();
        thief.set_aside(8);
        for chunk in [7, 6, 5, 2, 1] {
            owner.push(chunk);
        }
        let mut order = vec![pool.next(&mut owner).unwrap(), pool.next(&mut owner).unwrap()];
        order.extend((0..7).map(|_| pool.next(&mut thief).unwrap()));
        assert_eq!(order, [1, 2, 3, 4, 7, 6, 5, 8, 9]);
        assert_eq!([Band::Urgent, Band::Hot, Band::Upgrade].map(|b| pool.queued(b)), [0; 3]);
    }

    #[test]
    fn a_full_band_gives_back() {
        let pool = Pool::new(1, 0, usize::MAX);
        assert_eq!(pool.push(Band::Urgent, 1), Ok(()));
        assert_eq!(pool.push(Band::Urgent, 2), Err(2));
        assert_eq!(pool.push(Band::Hot, 3), Err(3));
        assert_eq!(pool.queued(Band::Urgent), 1);
    }

    #[test]
    fn a_stopped_pool_keeps_nothing() {
        let pool = Pool::new(9, 9, 9);
        let alive = Arc::new(());
        let mut station = Station::several(1).pop().unwrap();
        station.push(Arc::clone(&alive));
        pool.push(Band::Hot, Arc::clone(&alive)).unwrap();
        pool.stop();
        assert!(pool.next(&mut station).is_none());
        assert!(pool.push(Band::Hot, Arc::clone(&alive)).is_err());
        drop(station);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    /// Every job is run once, although workers fall asleep all the time and the gate opens and
    /// closes.
    #[test]
    fn no_wake_up_is_lost() {
        const JOBS: u64 = 20_000;
        let pool = pool();
        let (done, sum) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for mut station in Station::several(3) {
                let (pool, done, sum) = (&pool, &done, &sum);
                scope.spawn(move || {
                    while let Some(job) = pool.next(&mut station) {
                        sum.fetch_add(job.into(), Relaxed);
                        done.fetch_add(1, Relaxed);
                    }
                });
            }
            for job in 0..JOBS {
                let band = [Band::Urgent, Band::Hot, Band::Upgrade][job as usize % 3];
                if job % 7 == 0 {
                    pool.pause();
                }
                pool.push(band, job as u32).unwrap();
                if job % 7 == 0 {
                    pool.resume();
                }
                if job % 64 == 0 {
                    thread::sleep(Duration::from_micros(50));
                }
            }
            while done.load(Relaxed) < JOBS {
                thread::yield_now();
            }
            pool.stop();
        });
        assert_eq!(sum.load(Relaxed), JOBS * (JOBS - 1) / 2);
    }
}
