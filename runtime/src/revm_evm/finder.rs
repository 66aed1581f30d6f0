//! Finding the program of a frame: by its code and fork, if the EVM charges what the fork does.

use super::{local_cache::LocalCache, schedule::ForkSchedule};
use crate::{backend::Consultation, lookup::RuntimeCacheKey, runtime::JitBackend};
use revm::{
    context_interface::cfg::GasParams,
    interpreter::{GasTable, Interpreter, interpreter::EthInterpreter},
};

/// What an EVM knows of programs.
#[derive(Default)]
pub(super) struct Finder {
    /// The backend's answers, valid for one epoch.
    cache: LocalCache,
    /// The prices of the fork last seen.
    schedule: Option<Box<ForkSchedule>>,
}

impl Finder {
    /// Lets go of all programs: an EVM that is switched off mustn't keep what was evicted since.
    #[inline]
    pub(super) fn forget(&mut self) {
        if !self.cache.is_empty() {
            self.cache.clear();
        }
    }

    /// How to run a frame, on an EVM with these static and dynamic prices. A frame that is to be
    /// watched was counted.
    #[inline]
    pub(super) fn find(
        &mut self,
        backend: &JitBackend,
        interpreter: &mut Interpreter<EthInterpreter>,
        (static_gas, dynamic_gas): (&GasTable, &GasParams),
    ) -> &Consultation {
        let key = key_of(interpreter);
        let code = || interpreter.bytecode.original_bytes();
        let schedule = &mut self.schedule;
        let spec_id = key.spec_id;
        let is_priced_right = || ForkSchedule::matches(schedule, spec_id, static_gas, dynamic_gas);
        self.cache.answer(backend, &key, code, is_priced_right)
    }
}

/// The name of a frame's program.
#[inline]
pub(super) fn key_of(interpreter: &mut Interpreter<EthInterpreter>) -> RuntimeCacheKey {
    RuntimeCacheKey {
        code_hash: interpreter.bytecode.get_or_calculate_hash(),
        // The fork that the frame was begun with: what the interpreter would go by.
        spec_id: interpreter.runtime_flag.spec_id,
    }
}
