//! aarch64 on any machine: compiled code runs in an emulator inside this process.
//!
//! The emulated processor has this process's memory at the same addresses, so code, contexts and
//! contracts' memory are where they always are. Entering a program calls `machine`, which runs the
//! aarch64 trampoline; builtins are the process's own, called on the emulated code's
//! behalf. What is proven is the machine code with its calling convention: the operating system's
//! side (mapping code, flushing instruction caches) isn't emulated.
//!
//! Needs the feature `emulate`, and a backend in blocking mode: a chunk that appears while a frame
//! runs could be met as the code that was at its address before. Costs some 20 to 50 times the time
//! of native code, and a millisecond for each thread's first run.

#[cfg(feature = "emulate")]
#[expect(unsafe_code, reason = "shares this process's memory with an emulated processor")]
mod machine;
#[cfg(feature = "emulate")]
mod registers;
#[cfg(feature = "emulate")]
mod stubs;

use cranevm_codegen::abi::emulation::Emulator;
use std::fmt;

/// There is no emulator in this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this program was built without the emulator of aarch64: build it with `cargo build --release \
     --workspace --features cranevm-cli/emulate`, which needs a C compiler and CMake"
)]
pub struct NoEmulator;

/// What is emulated. The processor is the same; the code isn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmulatedMachine {
    /// aarch64 with Linux.
    Linux,
    /// aarch64 with macOS, whose code signs return addresses.
    MacOs,
}

impl EmulatedMachine {
    /// Its target triple.
    pub const fn target(self) -> &'static str {
        match self {
            Self::Linux => "aarch64-unknown-linux-gnu",
            Self::MacOs => "aarch64-apple-darwin",
        }
    }

    /// What runs its code here, for
    /// [`CompilerOptions::emulator`](cranevm_codegen::CompilerOptions::emulator).
    ///
    /// # Errors
    /// Without the feature `emulate`.
    pub fn emulator(self) -> Result<Emulator, NoEmulator> {
        #[cfg(feature = "emulate")]
        return Ok(Emulator { target: self.target(), enter: machine::enter });
        #[cfg(not(feature = "emulate"))]
        return Err(NoEmulator);
    }
}

/// A short name: `aarch64` or `aarch64-macos`.
impl fmt::Display for EmulatedMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linux => "aarch64",
            Self::MacOs => "aarch64-macos",
        })
    }
}

/// How often emulated code was entered so far, in this process.
pub fn runs() -> u64 {
    #[cfg(feature = "emulate")]
    return machine::runs();
    #[cfg(not(feature = "emulate"))]
    return 0;
}
