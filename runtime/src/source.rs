//! A contract's bytecode under its true name.
//!
//! What a database, an account or a caller says the hash of some code is, is a *claim*: it may find
//! a program, and proves nothing. A [`Source`] is a proof. All that compiles or loads code takes
//! one, so nothing is filed under the name of other code. Cost: one Keccak-256 of the code, some 3
//! ns a byte, where compiling takes microseconds.

use crate::{
    error::CompileFailure, ledger::Ticket, lookup::RuntimeCacheKey, service::CompileService,
};
use alloy_primitives::{Bytes, keccak256};
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};

/// Bytecode, and the key whose hash is that of the bytecode.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    key: RuntimeCacheKey,
    code: Bytes,
}

impl Source {
    /// Some code, by its hash.
    pub(crate) fn hashed(code: Bytes, spec_id: SpecId) -> Self {
        let code_hash = keccak256(&code);
        Self { key: RuntimeCacheKey { code_hash, spec_id }, code }
    }

    /// A frame's code, whatever anybody says its hash is.
    pub(crate) fn of(code: &Bytecode, spec_id: SpecId) -> Self {
        // A `Bytecode` keeps the hash once it has computed it of its contents, which never change;
        // there is no other way to set that.
        let code_hash = code.hash_slow();
        Self { key: RuntimeCacheKey { code_hash, spec_id }, code: code.original_bytes() }
    }

    /// The code of `claimed`, if it is that.
    ///
    /// # Errors
    /// [`CompileFailure::WrongHash`] if the code has another hash.
    pub(crate) fn proven(claimed: RuntimeCacheKey, code: Bytes) -> Result<Self, CompileFailure> {
        let source = Self::hashed(code, claimed.spec_id);
        match source.key == claimed {
            true => Ok(source),
            false => Err(CompileFailure::WrongHash { found: source.key.code_hash }),
        }
    }

    /// The true key.
    pub(crate) const fn key(&self) -> RuntimeCacheKey {
        self.key
    }

    /// The bytecode.
    pub(crate) const fn code(&self) -> &Bytes {
        &self.code
    }
}

impl CompileService {
    /// Hashes the code of a job, whose key is what somebody claims. A job of other code ends: its
    /// ticket begins, so that this is told like any failure, and whoever counts frames under the
    /// claim learns that it may be wrong.
    pub(crate) fn prove(&self, ticket: &mut Ticket, code: Bytes) -> Result<Source, CompileFailure> {
        let (key, code_len) = (ticket.key(), code.len());
        Source::proven(key, code).inspect_err(|failure| {
            ticket.begin();
            self.log_failure(key, code_len, failure, self.cache.generation());
            if ticket.note_wrong_claim() {
                // So that EVMs ask again, by the code's own hash.
                self.cache.bump_epoch();
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{B256, KECCAK256_EMPTY};

    const SPEC: SpecId = SpecId::CANCUN;

    #[test]
    fn only_the_codes_own_hash_is_proven() {
        let code = Bytes::from_static(&[0x5b, 0x00]);
        for wrong in [B256::ZERO, KECCAK256_EMPTY, keccak256([0x00, 0x5b])] {
            let claimed = RuntimeCacheKey { code_hash: wrong, spec_id: SPEC };
            let failure = Source::proven(claimed, code.clone()).unwrap_err();
            let expected = keccak256(&code);
            assert!(matches!(failure, CompileFailure::WrongHash { found } if found == expected));
        }
        let source = Source::of(&Bytecode::new_legacy(code.clone()), SPEC);
        assert_eq!(Source::proven(source.key(), code.clone()).unwrap().code(), &code);
    }
}
