//! Forked children that don't exec: a module of the tests that have `libc`.

use crate::common::LONG;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

/// Runs `work` in a child; its exit status, or `None` if it didn't end.
pub(crate) fn in_a_child(work: impl FnOnce()) -> Option<i32> {
    // SAFETY: the child takes no lock that another thread may have, which is what is tested.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let result = catch_unwind(AssertUnwindSafe(work));
        // SAFETY: ends the child without what its parent would do at its end.
        unsafe { libc::_exit(i32::from(result.is_err())) }
    }
    let begin = Instant::now();
    loop {
        let mut status = -1;
        // SAFETY: the child is this process's, and `status` is written to.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if ended == child {
            return Some(status);
        }
        if begin.elapsed() > LONG {
            // SAFETY: the child is this process's, and wasn't waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
