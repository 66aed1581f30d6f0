//! The backend's threads: started with typed errors, and waited for no longer than allowed.

use crate::{
    error::RuntimeError,
    locks::{lock, wait_for},
};
use std::{
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle, ThreadId},
    time::{Duration, Instant},
};

/// The threads of one backend. They hold what they work on, never this backend's handle.
#[derive(Default)]
pub(crate) struct Threads {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// Threads whose body hasn't ended.
    live: Vec<ThreadId>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts a thread; 0 is the system's own stack size.
    ///
    /// # Errors
    /// [`RuntimeError::Thread`] if the system refuses.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: String,
        stack_bytes: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), RuntimeError> {
        // A name with a zero in it would be a panic of the standard library.
        let mut builder = thread::Builder::new().name(name.replace('\0', "?"));
        if stack_bytes > 0 {
            builder = builder.stack_size(stack_bytes);
        }
        let mut state = lock(&self.state);
        let threads = Arc::clone(self);
        let spawned = builder.spawn(move || {
            // Dropped last: what the body held is gone when the end is told.
            let _end = End(threads);
            body();
        });
        match spawned {
            Ok(handle) => {
                state.live.push(handle.thread().id());
                state.handles.retain(|handle| !handle.is_finished());
                state.handles.push(handle);
                Ok(())
            }
            Err(error) => Err(RuntimeError::Thread { name, problem: error.to_string() }),
        }
    }

    /// Waits until all threads but the calling one have ended; `false` if they haven't within
    /// `timeout`, and then they are left to themselves.
    pub(crate) fn join_all(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = lock(&self.state);
        let own = thread::current().id();
        while state.live.iter().any(|&id| id != own) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            // A timeout beyond what the clock can tell is none.
            state = wait_for(&self.ended, state, left.unwrap_or(Duration::MAX / 4));
        }
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles.into_iter().filter(|handle| handle.thread().id() != own) {
            // It has ended but for its last steps. A panic was reported by the panic hook.
            let _ended = handle.join();
        }
        true
    }
}

/// Tells that a thread has ended.
struct End(Arc<Threads>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        // The thread that started this one held the lock until this one was listed.
        let own = thread::current().id();
        state.live.retain(|&id| id != own);
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_refused_thread_is_a_typed_error_and_isnt_waited_for() {
        let threads = Arc::<Threads>::default();
        // More stack than there is address space.
        let error = threads.spawn("huge".into(), 1 << 60, || ()).unwrap_err();
        assert!(matches!(&error, RuntimeError::Thread { name, .. } if name == "huge"), "{error}");
        assert!(threads.join_all(Duration::ZERO));
    }

    #[test]
    fn waits_no_longer_than_allowed() {
        let threads = Arc::<Threads>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let until_stopped = {
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        };
        threads.spawn("a\0b".into(), 0, until_stopped).unwrap();
        assert!(!threads.join_all(Duration::from_millis(10)));
        stop.store(true, Ordering::Relaxed);
        assert!(threads.join_all(Duration::MAX));
    }

    #[test]
    fn a_thread_may_wait_for_the_others() {
        let threads = Arc::<Threads>::default();
        let joined = Arc::new(AtomicBool::new(false));
        threads.spawn("other".into(), 0, || thread::sleep(Duration::from_millis(20))).unwrap();
        let body = {
            let (threads, joined) = (Arc::clone(&threads), Arc::clone(&joined));
            move || {
                // Also the second time, when there is no handle left.
                let both = [0, 1].map(|_| threads.join_all(Duration::from_secs(60)));
                joined.store(both == [true; 2], Ordering::SeqCst);
            }
        };
        threads.spawn("waiting".into(), 0, body).unwrap();
        let start = Instant::now();
        while !joined.load(Ordering::SeqCst) {
            assert!(start.elapsed() < Duration::from_secs(60));
            thread::yield_now();
        }
    }
}
