//! Why code memory couldn't be had.

#[cfg(feature = "cranelift")]
use cranelift_module::ModuleError;
use std::{io, sync::Arc};

/// Why machine code couldn't be placed in executable memory.
#[derive(Debug, thiserror::Error)]
pub enum CodeMemoryError {
    /// The operating system isn't one that executable memory is managed on.
    #[error("executable memory is managed on Unix systems only, not on {}", std::env::consts::OS)]
    UnsupportedSystem,
    /// There is no compiler in this build, hence nothing to load.
    #[error("this program was built without the feature `cranelift`: all code is interpreted")]
    NotBuilt,
    /// Cranelift doesn't know this machine.
    #[error("no code generator for this machine: {0}; supported are x86-64 and aarch64")]
    UnsupportedMachine(String),
    /// A region of this size can't exist.
    #[error("a code region of {bytes} bytes can't be reserved: ask for 1 page to {max} bytes")]
    InvalidReserve {
        /// The size asked for.
        bytes: usize,
        /// The largest size possible.
        max: usize,
    },
    /// The system lets no memory be executed that this process has written.
    #[error(
        "the system lets no code be executed that this process has made ({why}); allow it by \
         seccomp (memfd_create, and mmap or mprotect with PROT_EXEC), SELinux (execmem), systemd \
         (MemoryDenyWriteExecute, vm.memfd_noexec) or entitlement; until then all is interpreted"
    )]
    NotExecutable {
        /// What was tried, and what the system said.
        why: Arc<str>,
    },
    /// The region belongs to the process that this one was forked from.
    #[error(
        "this process was forked from the one that has the compiled code, and can neither use it \
         nor add to it; make a backend of its own"
    )]
    Forked,
    /// No run of free memory is long enough.
    #[error(
        "code region exhausted: {requested} bytes wanted, {largest} bytes is the largest free run, \
         {free} of {reserved} bytes are free; evict contracts or reserve a larger region"
    )]
    Exhausted {
        /// Bytes wanted.
        requested: usize,
        /// Bytes of the largest free run.
        largest: usize,
        /// Bytes free in all.
        free: usize,
        /// Bytes of the region.
        reserved: usize,
    },
    /// The operating system refused.
    #[error("can't {operation} {bytes} bytes of code memory: {source}")]
    Os {
        /// What was tried, a verb.
        operation: &'static str,
        /// Bytes concerned.
        bytes: usize,
        /// The system's answer.
        source: io::Error,
    },
    /// `cranelift-jit` panicked, and told why by the panic hook.
    #[error(
        "cranelift-jit panicked while it placed code; does /tmp take its perf-{}.map?",
        std::process::id()
    )]
    Panicked,
    /// There is no function to load.
    #[error("no functions to load")]
    NoFunctions,
    /// A function has no code.
    #[error("function {index} has no code")]
    EmptyFunction {
        /// Its place in the list.
        index: usize,
    },
    /// The functions together are beyond the address space.
    #[error("the functions are larger than the address space")]
    TooLarge,
    /// `cranelift-jit` refused the functions: an error of the loader.
    #[cfg(feature = "cranelift")]
    #[error("the loader refused the code: {0}")]
    Loader(#[source] Box<ModuleError>),
}

#[cfg(feature = "cranelift")]
impl CodeMemoryError {
    /// What is wrong with the functions.
    pub(super) fn from_module_error(error: ModuleError) -> Self {
        Self::Loader(Box::new(error))
    }
}
