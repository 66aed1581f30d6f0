//! Who is running what: so that a stretch that doesn't end, or that crashes the process, is named.
//!
//! Gas bounds a stretch to milliseconds. Compiled code that takes seconds has got gas from nowhere,
//! and no thread can be ended: so the process is, with all that is needed to run the stretch again.
//! With `CRANEVM_TRACE` each stretch is printed before it runs, for those that crash.

use super::{
    settings::Setting,
    state::{Code, State},
};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A stretch that takes longer has no end. A busy machine has a share of a core.
const LIMIT: Duration = Duration::from_secs(30);

/// How often somebody looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// What a thread is running, and since when.
type Running = Arc<Mutex<Option<(Instant, Setting, Code, State)>>>;

/// A watch over one thread's stretches.
pub(super) struct Watch {
    running: Running,
    traces: bool,
}

impl Watch {
    /// A watch, and a thread that looks.
    ///
    /// # Panics
    /// If there is no thread to be had.
    pub(super) fn new() -> Self {
        let running = Running::default();
        let seen = Arc::downgrade(&running);
        let look = move || {
            while let Some(running) = seen.upgrade() {
                abort_if_endless(&running);
                drop(running);
                thread::sleep(INTERVAL);
            }
        };
        thread::Builder::new().spawn(look).expect("a thread for the tests");
        Self { running, traces: std::env::var_os("CRANEVM_TRACE").is_some() }
    }

    /// Runs `body`, which is the stretch of this subject, code and state.
    pub(super) fn over<T>(
        &self,
        (setting, code, state): (&Setting, &Code, &State),
        body: impl FnOnce() -> T,
    ) -> T {
        if self.traces {
            let _ = writeln!(io::stderr(), "{setting:?}\n  {code}\n  {state}");
        }
        self.set(Some((Instant::now(), setting.clone(), code.clone(), state.clone())));
        let value = body();
        self.set(None);
        value
    }

    fn set(&self, running: Option<(Instant, Setting, Code, State)>) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}

/// Ends the process if what is running has no end.
fn abort_if_endless(running: &Running) {
    if let Some((since, setting, code, state)) =
        &*running.lock().unwrap_or_else(PoisonError::into_inner)
        && since.elapsed() > LIMIT
    {
        // Not by `eprintln!`, whose output the test harness keeps to itself.
        let _ = writeln!(io::stderr(), "no end after {LIMIT:?}:\n{setting:?}\n  {code}\n  {state}");
        std::process::abort();
    }
}
