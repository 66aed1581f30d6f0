//! A chain whose handler is its own, over an EVM that it wraps for each transaction: it uses the
//! wrapper through revm's `EvmTr` and `InspectorEvmTr` alone, never through `ExecuteEvm`.

use crate::common::{
    CALLEE, LONG, SPEC, StepCounter, TARGET, call, calling,
    chain::{ChainHandler, TREASURY, transact},
    context, database, summing,
};
use cranevm as revmc;
use revm::{
    MainBuilder,
    context::{ContextSetters, ContextTr, JournalTr, TxEnv, result::ResultAndState},
    database::{CacheDB, EmptyDB},
    handler::EvmTr,
    inspector::InspectorHandler,
};
use revmc::{
    U256,
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig, RuntimeTuning},
};

/// The chain's factory: one backend, and an EVM for each transaction.
struct Chain {
    backend: JitBackend,
    state: CacheDB<EmptyDB>,
}

impl Chain {
    fn new(backend: JitBackend) -> Self {
        let contracts = [(TARGET, &calling()[..]), (CALLEE, &summing()[..])];
        Self { backend, state: database(&contracts) }
    }

    fn execute(&self, tx: TxEnv) -> ResultAndState {
        let inner = context(self.state.clone(), SPEC).build_mainnet();
        transact(&mut JitEvm::new(inner, self.backend.clone()), tx)
    }

    /// With an inspector, whose wrapper is told to interpret, as chains did with revmc.
    fn trace(&self, tx: TxEnv) -> (ResultAndState, usize) {
        let inner =
            context(self.state.clone(), SPEC).build_mainnet_with_inspector(StepCounter::default());
        let mut evm = JitEvm::disabled(inner);
        evm.ctx().set_tx(tx);
        let result = ChainHandler::new().inspect_run(&mut evm).expect("the transaction is valid");
        let state = evm.ctx().journal_mut().finalize();
        (ResultAndState::new(result, state), evm.inspector.0)
    }
}

#[test]
fn a_chains_handler_promotes_over_evms_that_live_for_one_transaction() {
    let tuning = RuntimeTuning { jit_hot_threshold: 4, ..Default::default() };
    let config = RuntimeConfig { enabled: true, tuning, ..Default::default() };
    let chain = Chain::new(JitBackend::new(config).unwrap());
    let plain = Chain::new(JitBackend::disabled());
    let expected = plain.execute(call());
    assert_eq!(expected.state[&TREASURY].info.balance, U256::ONE, "it is the chain's handler");
    for _ in 0..3 {
        assert_eq!(chain.execute(call()), expected);
    }
    assert_eq!(chain.backend.stats().compilations_dispatched, 0, "not hot yet");
    assert_eq!(chain.execute(call()), expected);
    assert!(chain.backend.wait_idle(LONG));
    assert_eq!(chain.backend.stats().resident_entries, 2);
    let hits = chain.backend.stats().lookup_hits;
    assert_eq!(chain.execute(call()), expected);
    assert!(chain.backend.stats().lookup_hits > hits, "the next EVM runs natively");
    let (traced, steps) = chain.trace(call());
    assert_eq!(traced, expected);
    assert!(steps > 1000, "{steps}");
}
