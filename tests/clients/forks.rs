//! A chain that runs natively up to a fork and interprets from there on, until its own opcodes of
//! that fork are known to the compiler: it chooses by making the EVM with another handle.

use crate::common::{PROBE, TARGET, call, chain::is_native, database, evm};
use cranevm as revmc;
use revm::ExecuteEvm;
use revmc::{
    SpecId,
    revm_evm::JitEvm,
    runtime::{JitBackend, RuntimeConfig},
};

/// The chain's factory.
#[derive(Debug, Clone)]
struct Factory {
    backend: JitBackend,
    /// The first fork that is interpreted.
    interpreted_from: SpecId,
}

impl Factory {
    const fn new(backend: JitBackend, interpreted_from: SpecId) -> Self {
        Self { backend, interpreted_from }
    }

    /// Made for each EVM: it has to be cheap.
    fn backend_for(&self, spec_id: SpecId) -> JitBackend {
        match spec_id < self.interpreted_from {
            true => self.backend.clone(),
            false => JitBackend::disabled(),
        }
    }

    fn runs_natively(&self, spec_id: SpecId) -> bool {
        let inner = evm(database(&[(TARGET, PROBE)]), spec_id);
        let mut evm = JitEvm::new(inner, self.backend_for(spec_id));
        is_native(&evm.transact(call()).unwrap().result)
    }
}

#[test]
fn a_chain_interprets_from_a_fork_on() {
    let config = RuntimeConfig { blocking: true, ..Default::default() };
    let factory = Factory::new(JitBackend::new(config).unwrap(), SpecId::PRAGUE);
    let forks = [SpecId::SHANGHAI, SpecId::CANCUN, SpecId::PRAGUE, SpecId::OSAKA];
    // There and back, as a reorganisation across the fork does.
    for spec_id in forks.into_iter().chain(forks.into_iter().rev()) {
        assert_eq!(factory.runs_natively(spec_id), spec_id < SpecId::PRAGUE, "{spec_id:?}");
    }
    // Each fork has its own program, and those that are interpreted have none.
    assert_eq!(factory.backend.stats().resident_entries, 2);
}

/// What it costs to be off is a handle without anything behind it.
#[test]
fn a_handle_that_is_off_is_made_for_each_evm() {
    let off = Factory::new(JitBackend::disabled(), SpecId::FRONTIER);
    for _ in 0..10_000 {
        assert!(!off.backend_for(SpecId::OSAKA).enabled());
    }
    assert!(!off.runs_natively(SpecId::OSAKA));
}
