//! The opcodes that are foreign to a backend: EVMs that use it were found to have instructions for
//! them that aren't known to be revm's.
//!
//! The set only grows. Code that is made from then on leaves these opcodes to the EVM's table, so
//! it runs on all EVMs of the backend; what was made before and executes one of them is dropped,
//! and made again.

use crate::service::CompileService;
use cranevm_codegen::OpcodeSet;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A set of opcodes that only grows.
#[derive(Debug, Default)]
pub(crate) struct ForeignOpcodes([AtomicU64; 4]);

impl ForeignOpcodes {
    /// The set now.
    pub(crate) fn get(&self) -> OpcodeSet {
        OpcodeSet::from_limbs(self.0.each_ref().map(|limb| limb.load(SeqCst)))
    }

    /// Adds opcodes; whether any is new.
    pub(crate) fn extend(&self, opcodes: OpcodeSet) -> bool {
        if (opcodes & !self.get()).is_zero() {
            return false;
        }
        for (limb, more) in self.0.iter().zip(opcodes.into_limbs()) {
            limb.fetch_or(more, SeqCst);
        }
        true
    }
}

impl CompileService {
    /// Notes which opcodes are foreign to an EVM. Costs a few loads where that is known.
    pub(crate) fn meet_foreign(&self, opcodes: OpcodeSet) {
        // Before programs are dropped: see `ProgramCache::publish`.
        if self.cache.foreign.extend(opcodes) {
            tracing::info!(
                opcodes = %format_args!("{opcodes:#x}"),
                "an EVM has instructions that aren't known to be revm's; compiled code leaves these \
                 opcodes (by the bits of the number) to its table from now on"
            );
            self.compilers.space.drop_all(self.cache.drop_users(opcodes));
        }
    }
}
