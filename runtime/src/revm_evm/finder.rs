//! Finding the program of a frame: by its code and fork, if the EVM charges what the fork does.

use super::{local_cache::LocalCache, schedule::ForkSchedule};
use crate::{lookup::RuntimeCacheKey, program::CompiledProgram, runtime::JitBackend};
use revm::{
    context_interface::cfg::GasParams,
    interpreter::{GasTable, Interpreter, interpreter::EthInterpreter},
};
use std::sync::Arc;

/// What an EVM knows of programs.
#[derive(Default)]
pub(super) struct Finder {
    /// The backend's answers, valid for one epoch.
    cache: LocalCache,
    /// The prices of the fork last seen.
    schedule: Option<Box<ForkSchedule>>,
}

impl Finder {
    /// The program for a frame, on an EVM with these static and dynamic prices; `None` to interpret
    /// it.
    #[inline]
    pub(super) fn find(
        &mut self,
        backend: &JitBackend,
        interpreter: &mut Interpreter<EthInterpreter>,
        (static_gas, dynamic_gas): (&GasTable, &GasParams),
    ) -> Option<&Arc<CompiledProgram>> {
        // The fork that the frame was begun with: what the interpreter would go by.
        let spec_id = interpreter.runtime_flag.spec_id;
        let code_hash = interpreter.bytecode.get_or_calculate_hash();
        let key = RuntimeCacheKey { code_hash, spec_id };
        let code = || interpreter.bytecode.original_bytes();
        let schedule = &mut self.schedule;
        let is_priced_right = || ForkSchedule::matches(schedule, spec_id, static_gas, dynamic_gas);
        self.cache.program(backend, &key, code, is_priced_right)
    }
}
