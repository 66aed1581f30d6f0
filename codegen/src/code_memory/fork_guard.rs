//! Which process something belongs to, and a switch that is off in every other.
//!
//! A child that was forked and doesn't exec has its parent's objects, but neither its threads nor,
//! as a mapping isn't inherited that the parent goes on writing to, its compiled code. What must
//! not be used there asks a guard, which is made in the process that owns it.
//!
//! On Linux the guard is in a page that the kernel wipes in a child (`MADV_WIPEONFORK`): both
//! answers are one load, so the switch may be looked at before each frame. Where the kernel doesn't
//! do that, ownership is a comparison of process ids, a system call, and the switch stays as it
//! was; then no mapping is shared with a child either.

#[cfg(all(target_os = "linux", feature = "cranelift"))]
use super::os::WipedPage as Home;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Tells the process that made it from others, and has a switch that is off in the others.
#[derive(Debug)]
pub struct ForkGuard {
    flags: Home,
    /// The process that made it.
    process: u32,
}

/// What a page of its own holds. All zeros: made by another process.
#[derive(Debug)]
pub(super) struct Flags {
    is_owner: AtomicBool,
    is_on: AtomicBool,
}

impl ForkGuard {
    /// A guard of this process.
    pub fn new(is_on: bool) -> Self {
        let flags = Flags { is_owner: AtomicBool::new(true), is_on: AtomicBool::new(is_on) };
        Self { flags: Home::new(flags), process: std::process::id() }
    }

    /// Whether this process made the guard.
    #[inline]
    pub fn is_owner(&self) -> bool {
        match self.flags.is_wiped() {
            true => self.flags.is_owner.load(Relaxed),
            false => std::process::id() == self.process,
        }
    }

    /// Whether the switch is on. Off in a child, where [`is_wiped`](Self::is_wiped).
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.flags.is_on.load(Relaxed)
    }

    /// Turns the switch; in the process that made it only. Whether that is this one.
    pub fn turn(&self, on: bool) -> bool {
        let is_owner = self.is_owner();
        if is_owner {
            self.flags.is_on.store(on, Relaxed);
        }
        is_owner
    }

    /// Whether the kernel turns the switch off in a child.
    pub fn is_wiped(&self) -> bool {
        self.flags.is_wiped()
    }
}

/// Memory like any other, where there is no page that is wiped.
#[cfg(not(all(target_os = "linux", feature = "cranelift")))]
#[derive(Debug)]
struct Home(Flags);

#[cfg(not(all(target_os = "linux", feature = "cranelift")))]
impl Home {
    const fn new(flags: Flags) -> Self {
        Self(flags)
    }

    const fn is_wiped(&self) -> bool {
        false
    }
}

#[cfg(not(all(target_os = "linux", feature = "cranelift")))]
impl std::ops::Deref for Home {
    type Target = Flags;

    fn deref(&self) -> &Flags {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_in_its_own_process() {
        let guard = ForkGuard::new(false);
        assert!(guard.is_owner() && !guard.is_on());
        assert!(guard.turn(true) && guard.is_on());
        assert!(guard.turn(false) && !guard.is_on());
        assert!(ForkGuard::new(true).is_on());
    }
}
