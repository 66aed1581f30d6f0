//! [`JitEvm`]: a revm EVM whose frames run natively where a program is there.
//!
//! Only [`EvmTr::frame_run`](revm::handler::EvmTr::frame_run) differs from the wrapped EVM;
//! transaction validation, frame set-up, precompiles, the journal and custom handlers are the
//! wrapped EVM's. Native code keeps the whole state of a frame in revm's own `Interpreter`, with
//! its real pc, whenever it lets go of it. So each run of a frame, also one that goes on after a
//! nested call, decides anew how to run, and code compiled meanwhile is used at once.
//!
//! A frame is interpreted if
//! - the backend is disabled, or has no program for the frame's code and fork (yet);
//! - the EVM's static gas table or the host's dynamic gas schedule isn't the fork's own, or its
//!   instruction table has an instruction that isn't known to be revm's for an opcode that *is*
//!   native (arithmetic, stack, memory, control flow, ...): `rules.rs` says when that is looked at;
//! - it is init code, except in blocking mode: it runs once, so it is compiled only if it burns much,
//!   in its midst;
//! - it runs under an inspector (the `inspect_*` calls): the inspector sees every step.
//!
//! Instructions are told apart by the addresses of their functions. revm's are generic, so a table
//! that was made by another crate than the one which runs the EVM has other copies of all of them.
//! In such a table, instructions for opcodes that are native are tried beside revm's; those that do
//! the same to a frame are taken for revm's.
//!
//! Where the table has an instruction that isn't known to be revm's for another opcode, or one for
//! an opcode that Ethereum doesn't have, native code leaves that opcode to the table. The chain's
//! version may do to the frame whatever revm lets it.
//!
//! An EVM that isn't revm's own `Evm` runs the frames that are interpreted by its own `frame_run`.

mod execute;
mod finder;
mod inspect;
mod local_cache;
mod metering;
mod noting;
mod rules;
mod running;

use crate::{frame_counts::Tally, runtime::JitBackend};
use finder::Finder;
use std::{
    fmt,
    ops::{Deref, DerefMut},
};

/// A revm EVM that runs compiled code.
///
/// # Panics of the host
/// A panic in the host (a database, a precompile, a custom opcode) is carried out through native
/// frames to the caller. As with revm itself, an EVM that was left in this way isn't to be reused
/// before its frame stack, journal and local context are cleared. The interrupted frame isn't what
/// the interpreter would have left either: its gas is that of the last charge, and the static gas
/// of a block, or of several that are charged together, is charged at their start.
pub struct JitEvm<EVM> {
    inner: EVM,
    backend: JitBackend,
    /// Finds the program of a frame.
    finder: Finder,
    /// Counts frames, for the backend.
    tally: Tally,
}

impl<EVM> JitEvm<EVM> {
    /// Wraps `inner`, which runs what `backend` has compiled.
    pub fn new(inner: EVM, backend: JitBackend) -> Self {
        Self { inner, backend, finder: Finder::default(), tally: Tally::default() }
    }

    /// Wraps `inner`, which is left to interpret.
    pub fn disabled(inner: EVM) -> Self {
        Self::new(inner, JitBackend::disabled())
    }

    /// The wrapped EVM.
    pub const fn inner(&self) -> &EVM {
        &self.inner
    }

    /// The wrapped EVM.
    pub const fn inner_mut(&mut self) -> &mut EVM {
        self.finder.rules.doubt();
        &mut self.inner
    }

    /// The wrapped EVM, for who leaves its instructions and prices alone.
    #[cfg(feature = "alloy-evm")]
    pub(crate) const fn inner_but_tables_mut(&mut self) -> &mut EVM {
        &mut self.inner
    }

    /// Takes the wrapped EVM for revm's own `Evm`, which leaves its instructions alone, whatever
    /// its inspector is: only those of revm are known to be such by their type.
    #[cfg(feature = "alloy-evm")]
    pub(crate) fn assume_revms(mut self) -> Self {
        self.finder.rules.assume_revms();
        self
    }

    /// Unwraps the EVM.
    pub fn into_inner(self) -> EVM {
        self.inner
    }

    /// The backend.
    pub const fn backend(&self) -> &JitBackend {
        &self.backend
    }

    /// The backend, to be changed. What the old one answered is forgotten, and frames from now on
    /// are counted by the new one.
    pub fn backend_mut(&mut self) -> &mut JitBackend {
        self.finder.forget();
        self.tally.give_back();
        &mut self.backend
    }

    /// Takes the wrapped EVM's instructions for revm's own, or for such as do the same, without a
    /// look at them, from now on or not any more.
    ///
    /// For who knows better than this crate, which finds replaced instructions as described at the
    /// top of this module. What runs natively then does what revm's instructions do, whatever the
    /// EVM has in their place.
    pub fn trust_instructions(&mut self, trusts: bool) {
        self.finder.rules.trust_instructions(trusts);
    }

    /// Exchanges the backend; see [`backend_mut`](Self::backend_mut).
    pub fn set_backend(&mut self, backend: JitBackend) {
        *self.backend_mut() = backend;
    }
}

impl<EVM> Deref for JitEvm<EVM> {
    type Target = EVM;

    fn deref(&self) -> &EVM {
        &self.inner
    }
}

impl<EVM> DerefMut for JitEvm<EVM> {
    fn deref_mut(&mut self) -> &mut EVM {
        self.inner_mut()
    }
}

impl<EVM: fmt::Debug> fmt::Debug for JitEvm<EVM> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JitEvm")
            .field("inner", &self.inner)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}
