//! Executable memory: where compiled contracts live, and how they leave it.
//!
//! A [`CodeRegion`] is one reservation of address space. Each contract gets a block of its own in
//! it, of granules of 64 bytes, beside those of others. No memory is writable and executable at
//! once (W^X). Dropping the contract's [`LoadedCode`] gives the granules back to the region, and
//! the pages on which nothing is left to the operating system.
//!
//! ```text
//! functions --cranelift-jit--> staging memory (heap) --place--> block (executable) --drop--> free
//! ```
//!
//! Placing is up to the system. On Linux the region is one mapping of a file in memory, never
//! writable, and code is written to the file (`os/by_file.rs`); where that isn't allowed, and on
//! other Unixes, pages are made writable and then executable (`os/by_page.rs`), and granules are
//! pages. On macOS with aarch64 threads are what may write or execute (`os/by_thread.rs`).
//!
//! - `os`: reserving, placing, giving back: the only calls of `mmap` and the like for code.
//! - `free_runs`: free units, found by size.
//! - `space`: which granules are free, and which pages hold something.
//! - `units`: which parts are worth a huge page.
//! - `unwind`: how backtraces get through.
//! - `region`: the reservation, its blocks, and their accounting.
//! - `staging`: what `cranelift-jit` takes for its memory.
//! - `handle`: functions into a block, and the block's lifetime.
//! - `fork_guard`: tells a child process, which has no part in any of this.
//!
//! Needs from its users: functions without relocations (the loader patches nothing), and that
//! nobody executes a function after its `LoadedCode` is dropped, nor in a child process.
//!
//! Cost of a load: one write, and a call to have new pages at hand. Of a drop: a write over what
//! stays in a page, and a call to give pages back. One lock, held for a few map operations and no
//! system call, never by code that only runs contracts.

mod error;
mod fork_guard;
#[cfg(feature = "cranelift")]
mod free_runs;
#[cfg(feature = "cranelift")]
mod handle;
#[cfg(feature = "cranelift")]
mod os;
#[cfg(feature = "cranelift")]
mod region;
#[cfg(feature = "cranelift")]
mod space;
#[cfg(feature = "cranelift")]
mod staging;
#[cfg(feature = "cranelift")]
mod units;
#[cfg(feature = "cranelift")]
mod unwind;

#[cfg(all(test, feature = "cranelift"))]
mod tests;

#[cfg(not(feature = "cranelift"))]
pub use crate::absent::CodeRegion;
pub use error::CodeMemoryError;
pub use fork_guard::ForkGuard;
#[cfg(feature = "cranelift")]
pub use handle::LoadedCode;
#[cfg(feature = "cranelift")]
pub use region::CodeRegion;
#[cfg(feature = "cranelift")]
#[doc(hidden)]
pub use {os::Way, region::loads};
