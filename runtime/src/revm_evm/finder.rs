//! Finding the program of a frame: by its code and fork, if the EVM goes by the fork's rules.

use super::{
    local_cache::{Answer, Frame, LocalCache},
    rules::{Rules, Tables},
};
use crate::{
    allowance::Allowance,
    lookup::RuntimeCacheKey,
    program::{ProgramEntry, Verified},
    runtime::JitBackend,
};
use revm::{
    bytecode::Bytecode,
    interpreter::{
        Host, Interpreter,
        interpreter::{EthInterpreter, ExtBytecode},
    },
    primitives::hardfork::SpecId,
};

/// What an EVM knows of programs.
#[derive(Default)]
pub(super) struct Finder {
    /// The backend's answers.
    cache: LocalCache,
    /// Whether the EVM goes by the rules that code is compiled for.
    pub(super) rules: Rules,
    /// What may be compiled for the transaction at hand.
    pub(super) allowance: Allowance,
}

impl Finder {
    /// Forgets all answers.
    #[inline]
    pub(super) fn forget(&mut self) {
        if !self.cache.is_empty() {
            self.cache.clear();
        }
    }

    /// Forgets the answer for a bytecode, whose program was revoked.
    pub(super) fn forget_code(&mut self, code: &Bytecode) {
        self.cache.forget(code);
    }

    /// How to run a frame, on an EVM with these tables; and what was found of these, and what may
    /// be compiled, for where the frame gets native later. A frame that is to be watched was counted, if it
    /// `begins`: one that goes on after a nested one is past the call.
    #[inline]
    pub(super) fn find<H: Host>(
        &mut self,
        backend: &JitBackend,
        interpreter: &Interpreter<EthInterpreter>,
        mut tables: Tables<'_, H>,
        begins: bool,
        pinned: &mut Option<Verified>,
    ) -> (&Answer, (&mut Rules, &mut Allowance)) {
        // The fork that the frame was begun with: what the interpreter would go by.
        let spec_id = interpreter.runtime_flag.spec_id;
        let Self { cache, rules, allowance } = self;
        let asked = &mut *rules;
        // Moved: what is borrowed would have to be in memory.
        let is_ruled_right = move |program: Option<&ProgramEntry>| {
            asked.permit(backend, spec_id, program, tables.reborrow())
        };
        let frame = Frame { code: &interpreter.bytecode, spec_id };
        let found = cache.answer(backend, frame, is_ruled_right, begins, (pinned, allowance));
        (found, (rules, allowance))
    }
}

/// The key that a frame claims: the hash is the word of whoever has loaded the code.
pub(super) fn claimed_key(code: &ExtBytecode, spec_id: SpecId) -> RuntimeCacheKey {
    let code_hash = code.hash().unwrap_or_else(|| code.hash_slow());
    RuntimeCacheKey { code_hash, spec_id }
}
