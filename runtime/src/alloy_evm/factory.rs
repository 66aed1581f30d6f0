//! The factory that a node hands its backend to once, and that makes all its EVMs.

use super::JitEvm;
use crate::runtime::JitBackend;
use ::alloy_evm::{
    Database, EvmEnv, EvmFactory,
    eth::{EthEvmBuilder, EthEvmContext},
    precompiles::PrecompilesMap,
    revm::{
        context::DBErrorMarker,
        context_interface::result::{EVMError, HaltReason},
    },
};
use revm::{
    Inspector,
    context::{BlockEnv, TxEnv},
    inspector::NoOpInspector,
    primitives::hardfork::SpecId,
};

/// Makes [`JitEvm`]s that share one backend. Cloning it is as cheap as cloning the handle.
///
/// With [`JitBackend::disabled`] it makes what alloy-evm's `EthEvmFactory` makes.
#[derive(Clone, Debug)]
pub struct JitEvmFactory {
    backend: JitBackend,
}

impl JitEvmFactory {
    /// A factory of EVMs that run what `backend` compiles.
    pub const fn new(backend: JitBackend) -> Self {
        Self { backend }
    }

    /// The backend.
    pub const fn backend(&self) -> &JitBackend {
        &self.backend
    }
}

impl EvmFactory for JitEvmFactory {
    type Evm<DB: Database, I: Inspector<EthEvmContext<DB>>> = JitEvm<DB, I, PrecompilesMap>;
    type Context<DB: Database> = EthEvmContext<DB>;
    type Tx = TxEnv;
    type Error<DBError: DBErrorMarker> = EVMError<DBError>;
    type HaltReason = HaltReason;
    type Spec = SpecId;
    type BlockEnv = BlockEnv;
    type Precompiles = PrecompilesMap;

    fn create_evm<DB: Database>(&self, db: DB, env: EvmEnv) -> Self::Evm<DB, NoOpInspector> {
        let inner = EthEvmBuilder::new(db, env).build().into_inner();
        JitEvm::new(inner, false, self.backend.clone())
    }

    fn create_evm_with_inspector<DB: Database, I: Inspector<Self::Context<DB>>>(
        &self,
        db: DB,
        env: EvmEnv,
        inspector: I,
    ) -> Self::Evm<DB, I> {
        let inner = EthEvmBuilder::new(db, env).inspector(inspector).build().into_inner();
        JitEvm::new(inner, true, self.backend.clone())
    }
}
