//! Locks and waits of this crate, which a panic of another thread doesn't break.
//!
//! What these mutexes guard is whole at every point where a panic may strike, so who finds one
//! poisoned goes on.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for `signal`, or until `deadline`; `None` if that is past. Who waits looks again at what
/// it waits for, for a wait may end by itself.
pub(crate) fn wait_until<'a, T>(
    signal: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Instant,
) -> Option<MutexGuard<'a, T>> {
    let left = deadline.checked_duration_since(Instant::now())?;
    Some(wait_for(signal, guard, left))
}

/// Waits for `signal`, or as long.
pub(crate) fn wait_for<'a, T>(
    signal: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> MutexGuard<'a, T> {
    signal.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
}
