//! Executable memory: where compiled contracts live, and how they leave it.
//!
//! A [`CodeRegion`] is one reservation of address space. Each contract gets a block of whole pages
//! of its own in it, which is filled while writable and then made executable, never both at once
//! (W^X). Dropping the contract's [`LoadedCode`] gives the pages back to the operating system and
//! the addresses back to the region.
//!
//! ```text
//! reserved (PROT_NONE) --allocate--> writable (RW) --seal--> executable (RX) --drop--> reserved
//! ```
//!
//! That is access by page. On macOS with aarch64 it is by thread (`os/by_thread.rs`).
//!
//! - `os`: the four transitions, the only calls of `mmap` and `mprotect` for code.
//! - `free_pages`: which pages of the reservation are free.
//! - `region`: the reservation, its blocks, and their accounting.
//! - `provider`: a block as `cranelift-jit`'s memory.
//! - `handle`: functions into a block, and the block's lifetime.
//!
//! Needs from its users: functions without relocations (the loader patches nothing), and that
//! nobody executes a function after its `LoadedCode` is dropped.
//!
//! Cost: three system calls a contract (writable, executable, reserved again; by thread the last
//! alone) plus one page fault a page. One lock, held for a few map operations, never by code that
//! only runs contracts.

mod error;
#[cfg(feature = "cranelift")]
mod free_pages;
#[cfg(feature = "cranelift")]
mod handle;
#[cfg(feature = "cranelift")]
mod os;
#[cfg(feature = "cranelift")]
mod provider;
#[cfg(feature = "cranelift")]
mod region;

#[cfg(all(test, feature = "cranelift"))]
mod tests;

#[cfg(not(feature = "cranelift"))]
pub use crate::absent::CodeRegion;
pub use error::CodeMemoryError;
#[cfg(feature = "cranelift")]
pub use handle::LoadedCode;
#[cfg(feature = "cranelift")]
pub use region::CodeRegion;
#[cfg(feature = "cranelift")]
#[doc(hidden)]
pub use region::loads;
