//! The operating system's side of code memory: reserving, and the transitions of a block.
//!
//! The only calls of `mmap`, `mprotect` and `munmap` for code. On no transition is there a page
//! that one thread could both write to and execute.
//!
//! - `unix`: a reservation.
//! - `by_page`: pages are writable or executable, for all threads alike.
//! - `by_thread`: threads may write to code or execute it: macOS on aarch64.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(super) use unix::Reservation;

#[cfg(all(unix, not(all(target_os = "macos", target_arch = "aarch64"))))]
mod by_page;
#[cfg(all(unix, not(all(target_os = "macos", target_arch = "aarch64"))))]
use by_page as access;

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
mod by_thread;
#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
use by_thread as access;

#[cfg(not(unix))]
mod unsupported;
#[cfg(not(unix))]
pub(super) use unsupported::Reservation;
