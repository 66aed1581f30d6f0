//! Native code that broke a rule: it isn't run again.
//!
//! Where compiled code is left, the entry to it checks what it can't have changed
//! ([`cranevm_codegen::Fault`]). The code has run, so the journal may hold anything: its
//! transaction fails with an error, as with a database that fails, and not as contracts do. The
//! program is dropped, and nothing is compiled or loaded for its contract until the next clear.
//!
//! No lock is held while something is told.

use crate::{
    backend::JitBackend, config::CompilationKind, consult::Consultation, error::CompileFailure,
    lookup::RuntimeCacheKey, service::CompileService,
};
use revm::bytecode::Bytecode;
use std::sync::Arc;

impl JitBackend {
    /// Denies native code to the contract of a frame that ended by a fault. Returns what to tell
    /// whoever runs the transaction.
    #[cold]
    pub(crate) fn deny(&self, claimed: &RuntimeCacheKey, code: &Bytecode) -> String {
        let (key, fault) = match self.consult(claimed, code) {
            Consultation::Run(program) => (program.key, program.fault()),
            // Somebody else has denied it meanwhile, or better code has come.
            Consultation::Watch(_) | Consultation::Interpret => (*claimed, None),
        };
        let RuntimeCacheKey { code_hash, spec_id } = key;
        let failure = Arc::new(CompileFailure::Faulted { fault });
        tracing::error!(%code_hash, ?spec_id, %failure, "please report this");
        if let Some(service) = self.service() {
            service.deny(key, &failure);
        }
        format!("code {code_hash} on {spec_id:?}: {failure}; no part of the transaction counts")
    }
}

impl CompileService {
    fn deny(&self, key: RuntimeCacheKey, failure: &Arc<CompileFailure>) {
        self.ledger.counters.faults.bump();
        // First, so that nothing is published in between: see `ProgramCache::may_hold`.
        let (generation, releases) = (self.cache.generation(), self.compilers.space.releases());
        for kind in [CompilationKind::Jit, CompilationKind::Aot] {
            self.cache.remember_failure((key, kind), failure, generation, releases);
        }
        self.free(self.cache.remove(&key).into_iter().collect());
    }
}
