//! How many callers may have helpers at once.

use crate::locks::{lock, wait_until};
use std::{
    sync::{Condvar, Mutex},
    time::Instant,
};

/// A bounded number of places.
#[derive(Debug)]
pub(super) struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Places {
    /// So many, all of them free.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), freed: Condvar::new() }
    }

    /// Takes a place, if one gets free before `deadline`.
    pub(super) fn enter(&self, deadline: Instant) -> Option<Place<'_>> {
        let mut free = lock(&self.free);
        while *free == 0 {
            free = wait_until(&self.freed, free, deadline)?;
        }
        *free -= 1;
        Some(Place(self))
    }
}

/// A place taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a Places);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}
