//! The queue between compilations and the client's `on_compilation`.
//!
//! Whoever compiled leaves an event; the housekeeping thread calls the callback. A caller that
//! compiled for itself waits a moment until its event was heard, a worker goes on. The queue is
//! bounded, so a callback that blocks for ever costs its own events and that thread.

use crate::{
    config::CompilationEvent,
    locks::{lock, wait_until},
    panics::panic_message,
};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

pub(crate) type Callback = Arc<dyn Fn(CompilationEvent) + Send + Sync>;

/// Events on their way to the callback.
#[derive(Default)]
pub(crate) struct EventQueue {
    state: Mutex<State>,
    /// Something was heard, or nobody listens any more.
    progress: Condvar,
}

#[derive(Default)]
struct State {
    callback: Option<Callback>,
    capacity: usize,
    queue: VecDeque<CompilationEvent>,
    /// Events that were ever queued, and those of them that the callback has returned from.
    queued: u64,
    heard: u64,
    /// The call of the callback under way: on which thread, and since when.
    call: Option<(ThreadId, Instant)>,
}

impl EventQueue {
    /// A queue for `callback`; without one it stays empty.
    pub(crate) fn new(callback: Option<Callback>, capacity: usize) -> Self {
        let state = State { callback, capacity, ..State::default() };
        Self { state: Mutex::new(state), progress: Condvar::new() }
    }

    /// Events waiting.
    pub(crate) fn len(&self) -> usize {
        lock(&self.state).queue.len()
    }

    /// Leaves an event; `false` if it was lost because the queue is full.
    pub(crate) fn push(&self, event: CompilationEvent) -> bool {
        let mut state = lock(&self.state);
        if state.callback.is_none() {
            return true;
        }
        let fits = state.queue.len() < state.capacity;
        if fits {
            state.queue.push_back(event);
            state.queued += 1;
        }
        fits
    }

    /// Calls the callback for the oldest event, if there is one. Panics are contained. Only one
    /// thread does so.
    pub(crate) fn deliver_one(&self) -> bool {
        let mut state = lock(&self.state);
        let Some(callback) = state.callback.clone() else { return false };
        let Some(event) = state.queue.pop_front() else { return false };
        state.call = Some((thread::current().id(), Instant::now()));
        drop(state);
        // Unwind safety: nothing of this crate is lent to the callback.
        let called = catch_unwind(AssertUnwindSafe(|| callback(event)));
        // Dropping the callback may end the backend that it holds a handle of, which locks again.
        drop(callback);
        if let Err(panic) = called {
            tracing::error!(message = panic_message(&*panic), "on_compilation panicked");
        }
        let mut state = lock(&self.state);
        state.call = None;
        state.heard += 1;
        self.progress.notify_all();
        true
    }

    /// Lets go of the callback and of what is queued for it.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        let callback = state.callback.take();
        state.queue.clear();
        self.progress.notify_all();
        drop(state);
        // Not under the lock: it may hold handles of this backend or of others.
        drop(callback);
    }

    /// Waits until the callback has heard everything; `false` if it hasn't by `deadline`.
    pub(crate) fn wait_drained(&self, deadline: Instant) -> bool {
        let mut state = lock(&self.state);
        while !state.queue.is_empty() || state.call.is_some() {
            let Some(waited) = wait_until(&self.progress, state, deadline) else { return false };
            state = waited;
        }
        true
    }

    /// Waits until the callback has heard what is queued now, unless it takes longer than
    /// `patience` for one event, or this is called by it.
    pub(crate) fn wait_heard(&self, patience: Duration) {
        let mut state = lock(&self.state);
        let (wanted, deadline) = (state.queued, Instant::now() + patience);
        while state.callback.is_some() && state.heard < wanted {
            let is_hopeless = state.call.is_some_and(|(thread, since)| {
                thread == thread::current().id() || since.elapsed() >= patience
            });
            if is_hopeless {
                return;
            }
            let Some(waited) = wait_until(&self.progress, state, deadline) else { return };
            state = waited;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompileTimings, config::CompilationKind};
    use alloy_primitives::B256;
    use revm::primitives::hardfork::SpecId;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn event() -> CompilationEvent {
        CompilationEvent {
            code_hash: B256::ZERO,
            spec_id: SpecId::CANCUN,
            duration: Duration::ZERO,
            kind: CompilationKind::Jit,
            success: true,
            timings: CompileTimings::default(),
        }
    }

    #[test]
    fn is_bounded_and_survives_panics() {
        let calls = Arc::new(AtomicUsize::new(0));
        let callback: Callback = Arc::new({
            let calls = Arc::clone(&calls);
            move |_| {
                calls.fetch_add(1, Ordering::Relaxed);
                panic!("on purpose");
            }
        });
        let queue = EventQueue::new(Some(callback), 2);
        assert!(queue.push(event()) && queue.push(event()));
        assert!(!queue.push(event()), "full");
        assert!(!queue.wait_drained(Instant::now()));
        assert!(queue.deliver_one() && queue.deliver_one() && !queue.deliver_one());
        assert!(queue.wait_drained(Instant::now()));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        assert!(queue.push(event()));
        queue.close();
        assert_eq!((queue.len(), queue.deliver_one()), (0, false));
    }

    #[test]
    fn who_waits_is_told_and_never_held_up() {
        let long = Duration::from_secs(60);
        let queue = Arc::<Mutex<Option<Arc<EventQueue>>>>::default();
        let callback: Callback = Arc::new({
            let queue = Arc::clone(&queue);
            // By the callback itself there is nothing to wait for.
            move |_| lock(&queue).as_ref().unwrap().wait_heard(long)
        });
        let events = Arc::new(EventQueue::new(Some(callback), 2));
        *lock(&queue) = Some(Arc::clone(&events));
        events.wait_heard(long);
        assert!(events.push(event()));
        let start = Instant::now();
        events.wait_heard(Duration::from_millis(5));
        assert!(start.elapsed() >= Duration::from_millis(5), "nobody has heard it");
        thread::scope(|scope| {
            let waiter = scope.spawn(|| events.wait_heard(long));
            assert!(events.deliver_one());
            waiter.join().unwrap();
            assert!(events.push(event()));
            let waiter = scope.spawn(|| events.wait_heard(long));
            events.close();
            waiter.join().unwrap();
        });
        assert!(start.elapsed() < long);
        *lock(&queue) = None;
    }

    #[test]
    fn nobody_listens() {
        let queue = EventQueue::default();
        assert!(queue.push(event()));
        assert_eq!(queue.len(), 0);
    }
}
