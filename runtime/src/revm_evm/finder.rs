//! Finding the program of a frame: by its code and fork, if the EVM goes by the fork's rules.

use super::{
    local_cache::LocalCache,
    rules::{Rules, Tables},
};
use crate::{consult::Consultation, lookup::RuntimeCacheKey, runtime::JitBackend};
use revm::interpreter::{Host, Interpreter, interpreter::EthInterpreter, interpreter_types::Jumps};

/// What an EVM knows of programs.
#[derive(Default)]
pub(super) struct Finder {
    /// The backend's answers, valid for one epoch.
    cache: LocalCache,
    /// Whether the EVM goes by the rules that code is compiled for.
    pub(super) rules: Rules,
}

impl Finder {
    /// Lets go of all programs: an EVM that is switched off mustn't keep what was evicted since.
    #[inline]
    pub(super) fn forget(&mut self) {
        if !self.cache.is_empty() {
            self.cache.clear();
        }
    }

    /// How to run a frame, on an EVM with these tables; and what was found of these, for where the
    /// frame gets native later. A frame that is to be watched was counted, if it begins.
    #[inline]
    pub(super) fn find<H: Host>(
        &mut self,
        backend: &JitBackend,
        interpreter: &mut Interpreter<EthInterpreter>,
        tables: Tables<'_, H>,
    ) -> (&Consultation, &mut Rules) {
        let key = key_of(interpreter);
        let code = || interpreter.bytecode.original_bytes();
        // A frame that goes on after a nested one is past the call.
        let begins = interpreter.bytecode.pc() == 0;
        let Self { cache, rules } = self;
        let asked = &mut *rules;
        // Moved, as is the key: what is borrowed would have to be in memory.
        let is_ruled_right = move || asked.are_of_fork(key.spec_id, tables);
        (cache.answer(backend, key, code, is_ruled_right, begins), rules)
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
