//! Native code that broke a rule: it isn't run again.
//!
//! Where compiled code is left, the entry to it checks what it can't have changed
//! ([`cranevm_codegen::Fault`]). The code has run, so the journal may hold anything: its
//! transaction fails with an error, as with a database that fails, and not as contracts do. The
//! program is dropped, and nothing is compiled or loaded for its contract until the next clear.
//!
//! No lock is held while something is told.

use crate::{
    backend::JitBackend, config::CompilationKind, error::CompileFailure, lookup::RuntimeCacheKey,
    service::CompileService, source::Source,
};
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use std::sync::Arc;

impl JitBackend {
    /// To be called where a frame of `code` ended by a fatal error that nobody has explained. If its
    /// program broke a rule, its contract is denied native code. Returns what to tell whoever runs
    /// the transaction.
    #[cold]
    pub(crate) fn deny(&self, code: &Bytecode, spec_id: SpecId) -> String {
        // What the frame claims to be may be another contract.
        let key = Source::of(code, spec_id).key();
        let RuntimeCacheKey { code_hash, .. } = key;
        let Some(failure) = self.service().and_then(|service| service.deny(key)) else {
            // An instruction of the client's said so, in the interpreter.
            return format!("code {code_hash} on {spec_id:?} failed, and nobody has said why");
        };
        tracing::error!(%code_hash, ?spec_id, %failure, "please report this");
        format!("code {code_hash} on {spec_id:?}: {failure}; no part of the transaction counts")
    }
}

impl CompileService {
    /// Denies native code to a contract, if its program broke a rule, or if that was found before.
    fn deny(&self, key: RuntimeCacheKey) -> Option<Arc<CompileFailure>> {
        let failure = match self.cache.get(&key).and_then(|program| program.fault()) {
            Some(fault) => Arc::new(CompileFailure::Faulted { fault }),
            None => self.cache.denial(&key)?,
        };
        self.ledger.counters.faults.bump();
        // First, so that nothing is published in between: see `ProgramCache::may_hold`.
        let (generation, releases) = (self.cache.generation(), self.compilers.space.releases());
        for kind in [CompilationKind::Jit, CompilationKind::Aot] {
            self.cache.remember_failure((key, kind), &failure, generation, releases);
        }
        self.free(self.cache.remove(&key).into_iter().collect());
        Some(failure)
    }
}
