//! Failures: told, and remembered, so that code which can't be compiled isn't tried again and
//! again.
//!
//! Bounded maps that forget the oldest entry first: one for code that was denied because its
//! program broke a rule, and one for all other failures, so that no number of these ends a denial.
//! A failure for want of code memory holds only until a program is freed; one that may not be the
//! code's doing holds from the second on.

use crate::{
    config::CompilationKind, error::CompileFailure, lookup::RuntimeCacheKey,
    service::CompileService, source::Source,
};
use alloy_primitives::map::HashMap;
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

/// Failures remembered of either sort. Beyond that the oldest is forgotten, and its code may be
/// tried again.
const MAX_FAILURES: usize = 16 * 1024;

/// What failed, and why.
#[derive(Default)]
pub(crate) struct FailureLog {
    denials: Latest,
    others: Latest,
}

/// The latest failures.
#[derive(Default)]
struct Latest {
    by_key: HashMap<RuntimeCacheKey, Remembered>,
    /// Keys of `by_key`, oldest first.
    order: VecDeque<RuntimeCacheKey>,
}

struct Remembered {
    failure: Arc<CompileFailure>,
    holds: Holds,
}

/// How long a failure keeps code from being tried again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Until the next clear.
    On,
    /// A shortage: while so many programs were released.
    While(u64),
    /// Not at all: it is the first that may not be the code's doing.
    NotYet,
}

impl FailureLog {
    /// Why `key` failed, if that still holds after so many releases of programs.
    pub(crate) fn get(&self, key: &RuntimeCacheKey, releases: u64) -> Option<Arc<CompileFailure>> {
        let remembered = self.denials.get(key).or_else(|| self.others.get(key))?;
        let holds = match remembered.holds {
            Holds::On => true,
            Holds::While(then) => then == releases,
            Holds::NotYet => false,
        };
        holds.then(|| Arc::clone(&remembered.failure))
    }

    /// Remembers a failure of an attempt that began after so many releases.
    pub(crate) fn insert(
        &mut self,
        key: RuntimeCacheKey,
        failure: Arc<CompileFailure>,
        releases: u64,
    ) {
        if failure.is_fault() {
            self.denials.insert(key, Remembered { failure, holds: Holds::On });
            return;
        }
        let is_first = || self.others.get(&key).is_none_or(|last| last.holds != Holds::NotYet);
        let holds = if failure.is_shortage() {
            Holds::While(releases)
        } else if failure.is_excusable() && is_first() {
            Holds::NotYet
        } else {
            Holds::On
        };
        self.others.insert(key, Remembered { failure, holds });
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Latest {
    fn get(&self, key: &RuntimeCacheKey) -> Option<&Remembered> {
        self.by_key.get(key)
    }

    fn insert(&mut self, key: RuntimeCacheKey, remembered: Remembered) {
        if self.by_key.insert(key, remembered).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_FAILURES
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }
}

impl CompileService {
    /// Accounts for a failure that befell the compilation of `source` to this kind. The other isn't
    /// barred by it: it takes other work.
    pub(crate) fn fail(
        &self,
        (source, kind): (&Source, CompilationKind),
        failure: CompileFailure,
        generation: u64,
        releases: u64,
    ) -> Arc<CompileFailure> {
        let key = source.key();
        self.log_failure(key, source.code().len(), &failure, generation);
        let failure = Arc::new(failure);
        // In blocking mode who asks has the program, so it is made for each.
        let is_served = failure.is_beyond_budget() && self.config.blocking;
        if !failure.is_circumstantial() && !is_served {
            self.cache.remember_failure((key, kind), &failure, generation, releases);
        }
        failure
    }

    /// Warns of a failure. A shortage of code memory strikes every contract from then on: the log
    /// tells of the first between two clears.
    pub(crate) fn log_failure(
        &self,
        key: RuntimeCacheKey,
        code_len: usize,
        failure: &CompileFailure,
        generation: u64,
    ) {
        let RuntimeCacheKey { code_hash, spec_id } = key;
        if failure.is_circumstantial() || failure.is_refusal() {
            // Whatever ails the helpers, or the system, was told once, where it came up.
            tracing::debug!(%code_hash, ?spec_id, code_len, %failure, "not compiled this time");
        } else if failure.is_beyond_budget() {
            // With a small budget, of many contracts.
            if self.may_log() {
                tracing::warn!(%code_hash, ?spec_id, code_len, %failure,
                    "a contract is interpreted; told of once a minute");
            }
        } else if !failure.is_shortage() {
            tracing::warn!(%code_hash, ?spec_id, code_len, %failure,
                "compilation failed; the code is interpreted");
        } else if self.is_first_shortage(generation) {
            tracing::warn!(%code_hash, ?spec_id, code_len, %failure,
                "no memory for compiled code; this and further code is interpreted until programs \
                 are freed; further failures of this kind are only counted");
        }
    }

    /// Whether a shortage wasn't asked about in this generation before.
    pub(crate) fn is_first_shortage(&self, generation: u64) -> bool {
        self.shortage_logged.swap(generation + 1, Ordering::Relaxed) != generation + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::HelperError;
    use alloy_primitives::B256;
    use cranevm_codegen::Fault;
    use revm::primitives::hardfork::SpecId;

    fn key(n: usize) -> RuntimeCacheKey {
        let code_hash = B256::left_padding_from(&n.to_be_bytes());
        RuntimeCacheKey { code_hash, spec_id: SpecId::CANCUN }
    }

    #[test]
    fn failures_are_bounded() {
        let mut log = FailureLog::default();
        let failure = Arc::new(CompileFailure::Panic { message: "told".into() });
        for n in 0..MAX_FAILURES + 2 {
            log.insert(key(n), Arc::clone(&failure), 0);
            log.insert(key(n), Arc::clone(&failure), 0);
        }
        let Latest { by_key, order } = &log.others;
        assert_eq!((by_key.len(), order.len()), (MAX_FAILURES, MAX_FAILURES));
        assert!(log.get(&key(1), 0).is_none());
        assert!(log.get(&key(2), 0).is_some());
        log.clear();
        assert!(log.get(&key(2), 0).is_none());
    }

    #[test]
    fn what_may_not_be_the_codes_doing_holds_from_the_second_on() {
        let mut log = FailureLog::default();
        let killed = HelperError::Killed { status: "signal: 9".into() };
        let killed = Arc::new(CompileFailure::Helper(killed));
        log.insert(key(1), Arc::clone(&killed), 0);
        assert!(log.get(&key(1), 0).is_none());
        log.insert(key(2), Arc::clone(&killed), 0);
        assert!(log.get(&key(2), 0).is_none(), "another's");
        log.insert(key(1), killed, 0);
        assert!(log.get(&key(1), 0).is_some());
        assert_eq!(log.others.order.len(), 2);
    }

    #[test]
    fn no_number_of_failures_ends_a_denial() {
        let mut log = FailureLog::default();
        let fault = Fault::Gas { before: 1, after: 2 };
        log.insert(key(0), Arc::new(CompileFailure::Faulted { fault }), 0);
        let failure = Arc::new(CompileFailure::Panic { message: "told".into() });
        for n in 0..=MAX_FAILURES {
            log.insert(key(n), Arc::clone(&failure), 0);
        }
        assert!(log.get(&key(0), 0).is_some_and(|failure| failure.is_fault()));
    }
}
