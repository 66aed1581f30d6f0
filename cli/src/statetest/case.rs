//! One case: set up the state, run the transaction, compare with the expectation.

use super::roots;
use crate::{EngineRunner, Environment, error::panic_message, replay::rules};
use revm::{
    context_interface::result::ExecutionResult,
    database::{CacheState, State},
    primitives::hardfork::SpecId,
};
use revm_statetest_types::{SpecName, Test, TestUnit};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What differs from the expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) what: &'static str,
    pub(super) expected: String,
    pub(super) got: String,
}

impl Mismatch {
    fn new(what: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self { what, expected: expected.to_string(), got: got.to_string() }
    }
}

/// revm's fork of that name; `None` for forks that it doesn't have.
pub(super) fn spec_of(name: &SpecName) -> Option<SpecId> {
    match name {
        SpecName::Constantinople | SpecName::ByzantiumToConstantinopleAt5 | SpecName::Unknown => {
            None
        }
        name => Some(name.to_spec_id()),
    }
}

/// A case before it runs: everything but the engine.
pub(super) struct Case<'a> {
    pub(super) unit: &'a TestUnit,
    pub(super) test: &'a Test,
    pub(super) spec: SpecId,
    /// The state of `unit`, made once for all its cases.
    pub(super) state: &'a CacheState,
}

impl Case<'_> {
    /// Runs the case. A panic is a mismatch like any other.
    pub(super) fn run(&self, runner: &EngineRunner) -> Result<(), Mismatch> {
        catch_unwind(AssertUnwindSafe(|| self.run_unguarded(runner)))
            .unwrap_or_else(|payload| Err(Mismatch::new("panic", "none", panic_message(&*payload))))
    }

    fn run_unguarded(&self, runner: &EngineRunner) -> Result<(), Mismatch> {
        let expected_error = self.test.expect_exception.as_deref();
        let environment = match self.environment() {
            Ok(environment) => environment,
            // A transaction that can't even be formed is invalid.
            Err(_) if expected_error.is_some() => return Ok(()),
            Err(message) => return Err(Mismatch::new("exception", "none", message)),
        };
        let mut db =
            State::builder().with_cached_prestate(self.state.clone()).with_bundle_update().build();
        let result = runner.session(&environment, &mut db).run_and_commit();
        match (expected_error, result) {
            (Some(_), Err(_)) => Ok(()),
            (None, Ok(result)) => self.check(&result, &db.cache),
            (Some(error), Ok(_)) => Err(Mismatch::new("exception", error, "none")),
            (None, Err(error)) => Err(Mismatch::new("exception", "none", error)),
        }
    }

    fn environment(&self) -> Result<Environment, String> {
        let mut cfg = revm::context::CfgEnv::default();
        cfg.set_spec_and_mainnet_gas_params(self.spec);
        let chain_id = self.unit.env.current_chain_id;
        cfg.chain_id = chain_id.and_then(|id| id.try_into().ok()).unwrap_or(1);
        cfg.set_max_blobs_per_tx(rules::max_blobs(self.spec));
        let block = self.unit.block_env(&mut cfg);
        let tx = self.test.tx_env(self.unit).map_err(|error| error.to_string())?;
        Ok(Environment { cfg, block, tx })
    }

    fn check(&self, result: &ExecutionResult, state: &CacheState) -> Result<(), Mismatch> {
        let compare = |what, expected: &dyn ToString, got: &dyn ToString, same: bool| {
            if same {
                return Ok(());
            }
            Err(Mismatch::new(what, expected.to_string(), got.to_string()))
        };
        if let (Some(expected), Some(got)) = (&self.unit.out, result.output()) {
            compare("output", expected, got, expected == got)?;
        }
        let logs = roots::logs_hash(result.logs());
        compare("logs hash", &self.test.logs, &logs, self.test.logs == logs)?;
        let root = roots::state_root(state.trie_account());
        compare("state root", &self.test.hash, &root, self.test.hash == root)
    }
}
