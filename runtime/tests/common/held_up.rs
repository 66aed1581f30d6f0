//! A callback that takes as long as a test wants.

use cranevm::runtime::CompilationEvent;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Is held up at each call until [`release`](Self::release).
#[derive(Default)]
pub(crate) struct HeldUp {
    calls: AtomicUsize,
    released: AtomicBool,
}

impl HeldUp {
    /// For `on_compilation`.
    pub(crate) fn callback(
        self: &Arc<Self>,
    ) -> Option<Arc<dyn Fn(CompilationEvent) + Send + Sync>> {
        let this = Arc::clone(self);
        Some(Arc::new(move |_| {
            this.calls.fetch_add(1, Ordering::SeqCst);
            while !this.released.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
        }))
    }

    /// Calls begun.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Lets it go on, for ever.
    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }
}
