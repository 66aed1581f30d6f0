//! The operating system's side of code memory: reserving, placing code, and giving pages back.
//!
//! The only calls of `mmap`, `mprotect`, `munmap` and `fallocate` for code. In none of the ways
//! below is there a page that one thread could both write to and execute.
//!
//! - `reservation`: address space for code, in the best way that the system allows.
//! - `by_file`: one mapping that is never writable; code is written to the file behind it. Linux.
//! - `by_page`: pages are writable or executable, for all threads alike.
//! - `by_thread`: threads may write to code or execute it: macOS on aarch64.
//! - `caches`: what a processor has to be told of new code.
//! - `mapping`, `wiped_page`: what the others are made of.

#[cfg(unix)]
mod caches;
#[cfg(unix)]
mod mapping;
#[cfg(unix)]
mod reservation;
#[cfg(unix)]
pub(super) use reservation::Reservation;

#[cfg(target_os = "linux")]
mod by_file;
#[cfg(all(unix, not(target_os = "linux")))]
mod no_file;
#[cfg(all(unix, not(target_os = "linux")))]
use no_file as by_file;

#[cfg(target_os = "linux")]
mod wiped_page;
#[cfg(target_os = "linux")]
pub(super) use wiped_page::WipedPage;

#[cfg(all(unix, not(all(target_os = "macos", target_arch = "aarch64"))))]
mod by_page;
#[cfg(all(unix, not(all(target_os = "macos", target_arch = "aarch64"))))]
use by_page as private;

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
mod by_thread;
#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
use by_thread as private;

#[cfg(not(unix))]
mod unsupported;
#[cfg(not(unix))]
pub(super) use unsupported::Reservation;

/// Bytes of a huge page, which a reservation is aligned to: of x86-64, and of aarch64 with pages of
/// 4 KiB. (With others the system has none of this size.)
pub(super) const UNIT: usize = 2 << 20;

/// Which ways are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The best one that the system allows.
    Any,
    /// Private memory, as where files can't be executed.
    Private,
    /// None: as where nothing can be executed.
    Refused,
}

/// Bytes of a page.
#[cfg(unix)]
fn page_size() -> std::io::Result<usize> {
    // SAFETY: `sysconf` reads a constant.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page)
        .ok()
        .filter(|page| page.is_power_of_two())
        .ok_or_else(std::io::Error::last_os_error)
}
