//! Code that nobody can find any more, until nobody executes it.
//!
//! A program that is dropped leaves its code here, for an EVM may just be executing it: EVMs keep
//! entries and no programs ([`crate::program::ProgramEntry`]), so an idle one holds nothing back,
//! and one that executes for long holds back what it executes. Who drops a program frees what it
//! can, a few programs at most: of frames only such as were the last to hold one, which had just
//! been found or made for them. Who drops many leaves them to the housekeeping thread, and so does
//! whoever finds code that is executed.
//!
//! Cost: each time that something is freed, a system call (see [`crate::barrier`]), a look at each
//! EVM, and what the memory takes. Who comes meanwhile waits for a few programs to be freed.

use crate::{
    barrier,
    frame_counts::FrameRegistry,
    housekeeping::Bell,
    locks::lock,
    program::{CompiledProgram, ProgramEntry, address},
    stats::{Gauge, Releases},
};
use cranevm_codegen::NativeProgram;
use std::{
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What the programs of a backend hold together, wherever they are.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    /// Bytes of tables and bytecode.
    pub(crate) data_bytes: Gauge,
    /// Programs dropped, each counted after its code was freed.
    pub(crate) releases: Releases,
    /// The EVMs, by what they count.
    pub(crate) frames: Arc<FrameRegistry>,
    backlog: Mutex<Backlog>,
    /// Held by who frees: who comes meanwhile may rely on what that one frees.
    reclaiming: Mutex<()>,
    /// Those who drop many programs just now.
    dropping_many: AtomicUsize,
    /// Rung for whoever frees; `None`: nobody does.
    keeper: Mutex<Option<Arc<Bell>>>,
}

/// What is to be freed.
#[derive(Debug, Default)]
struct Backlog {
    fresh: Vec<Retired>,
    /// Found to be executed: as many as there are EVMs, at most; or, should the system begin to
    /// refuse the fence, all that there are, for nothing is known of them.
    executed: Vec<Retired>,
}

/// Programs that are freed before others who free have their turn.
const FREED_AT_ONCE: usize = 64;

/// The code of a program that was dropped.
#[derive(Debug)]
pub(crate) struct Retired {
    /// Revoked. Held, so that its address is nobody else's.
    pub(crate) entry: Arc<ProgramEntry>,
    pub(crate) code: NativeProgram,
    /// Its part of [`Holdings::data_bytes`].
    pub(crate) data_bytes: u64,
}

impl Holdings {
    /// Takes what a program leaves. Its entry was revoked.
    pub(crate) fn retire(&self, retired: Retired) {
        if !self.frames.is_owned() {
            // A child executes nothing of it, nor is the memory its own. A thread that it doesn't
            // have may have had the lock when it was forked.
            return drop(retired);
        }
        lock(&self.backlog).fresh.push(retired);
        if self.dropping_many.load(Ordering::SeqCst) == 0 && self.reclaim_some() {
            self.ring();
        }
    }

    /// Drops programs that left the cache: frees few of them, and leaves more to the housekeeping
    /// thread, for freeing one takes microseconds.
    pub(crate) fn drop_all(&self, programs: Vec<Arc<CompiledProgram>>) {
        match programs.len() <= FREED_AT_ONCE {
            true => drop(programs),
            false => self.drop_later(programs),
        }
    }

    /// Drops programs, and leaves freeing them to the housekeeping thread.
    pub(crate) fn drop_later(&self, programs: Vec<Arc<CompiledProgram>>) {
        if programs.is_empty() {
            return;
        }
        {
            let _many = DroppingMany::begin(&self.dropping_many);
            drop(programs);
        }
        if !self.ring() {
            self.reclaim();
        }
    }

    /// Frees all code that nobody executes; whether some is executed, and is to be freed later.
    pub(crate) fn reclaim(&self) -> bool {
        loop {
            let is_executed = self.reclaim_some();
            if lock(&self.backlog).fresh.is_empty() {
                return is_executed;
            }
            // Who waits to free something has a turn.
            thread::yield_now();
        }
    }

    /// Frees a few programs that nobody executes; whether some are left.
    fn reclaim_some(&self) -> bool {
        let _alone = lock(&self.reclaiming);
        // Taken out: who drops a program meanwhile isn't to wait.
        let mut some = {
            let Backlog { fresh, executed } = &mut *lock(&self.backlog);
            let mut some = mem::take(executed);
            some.extend(fresh.drain(fresh.len().saturating_sub(FREED_AT_ONCE)..));
            some
        };
        if some.is_empty() {
            return false;
        }
        let executing = barrier::heavy().then(|| self.frames.executing());
        let is_executed = |retired: &mut Retired| {
            executing.as_ref().is_none_or(|all| all.contains(&address(&retired.entry)))
        };
        let executed: Vec<_> = some.extract_if(.., is_executed).collect();
        for Retired { entry, code, data_bytes } in some {
            drop(code);
            drop(entry);
            self.data_bytes.subtract(data_bytes);
            self.releases.bump();
        }
        let mut backlog = lock(&self.backlog);
        backlog.executed = executed;
        !backlog.executed.is_empty() || !backlog.fresh.is_empty()
    }

    /// From now on somebody calls [`reclaim`](Self::reclaim) when the bell rings, and again while
    /// code is executed; with `None`, nobody does but who drops programs.
    pub(crate) fn keep(&self, bell: Option<&Arc<Bell>>) {
        *lock(&self.keeper) = bell.map(Arc::clone);
        if bell.is_none() {
            // What was left to somebody. What is executed is freed with the next program.
            self.reclaim();
        }
    }

    /// Tells whoever frees, if there is anybody.
    fn ring(&self) -> bool {
        let keeper = lock(&self.keeper).clone();
        keeper.inspect(|bell| bell.ring()).is_some()
    }
}

/// Until it is dropped, also by a panic in what a client's bytecode does when it is freed.
struct DroppingMany<'a>(&'a AtomicUsize);

impl<'a> DroppingMany<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for DroppingMany<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
