//! Native code that broke a rule: it isn't run again.
//!
//! Where compiled code is left, the entry to it checks what it can't have changed
//! ([`cranevm_codegen::Fault`]). The code has run, so the journal may hold anything: its
//! transaction fails with an error, as with a database that fails, and not as contracts do. The
//! program is dropped if it is still there, and nothing is compiled or loaded for its contract
//! until the next clear.
//!
//! No lock is held while something is told.

use crate::{
    backend::JitBackend, config::CompilationKind, error::CompileFailure, lookup::RuntimeCacheKey,
    service::CompileService, source::Source,
};
use cranevm_codegen::Fault;
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use std::sync::Arc;

/// A contract whose native code broke a rule. Told by who ran it: the program may have been
/// replaced, evicted or cleared meanwhile.
#[derive(Debug)]
pub(crate) struct Broken {
    key: RuntimeCacheKey,
    fault: Fault,
}

impl Broken {
    /// Boxed, for it is handed on where there nearly always is none.
    #[cold]
    pub(crate) fn new(key: RuntimeCacheKey, fault: Fault) -> Box<Self> {
        Box::new(Self { key, fault })
    }
}

impl JitBackend {
    /// Denies native code to a contract. Returns what to tell whoever runs the transaction.
    #[cold]
    pub(crate) fn deny(&self, broken: &Broken) -> String {
        let Broken { key, fault } = *broken;
        let RuntimeCacheKey { code_hash, spec_id } = key;
        let failure = CompileFailure::Faulted { fault };
        tracing::error!(%code_hash, ?spec_id, %failure, "please report this");
        let message = format!(
            "code {code_hash} on {spec_id:?}: {failure}; no part of the transaction counts"
        );
        if let Some(service) = self.service() {
            service.deny(key, failure);
        }
        message
    }
}

/// What to tell whoever runs a transaction in which a frame of `code` ended by a fatal error that
/// nobody has explained: an instruction of the client's said so.
#[cold]
pub(crate) fn unexplained(code: &Bytecode, spec_id: SpecId) -> String {
    // What the frame claims to be may be another contract.
    let code_hash = Source::of(code, spec_id).key().code_hash;
    format!("code {code_hash} on {spec_id:?} failed, and nobody has said why")
}

impl CompileService {
    /// Denies native code to a contract, whether or not its program is resident.
    fn deny(&self, key: RuntimeCacheKey, failure: CompileFailure) {
        self.ledger.counters.faults.bump();
        let failure = Arc::new(failure);
        // First, so that nothing is published in between: see `ProgramCache::may_hold`.
        let (generation, releases) = (self.cache.generation(), self.compilers.space.releases());
        for kind in [CompilationKind::Jit, CompilationKind::Aot] {
            self.cache.remember_failure((key, kind), &failure, generation, releases);
        }
        drop(self.cache.remove(&key));
    }
}
